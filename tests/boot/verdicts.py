"""What the daemon itself thinks of a machine's boots, asked as a person asks it."""

import json
import sys
from typing import Any

from pybootd.lab.network import Host


def faults(server: Host, mac: str) -> list[Any]:
    """Return the verdicts of failure on the boots of one machine; fails if none was seen."""
    told = server.run(sys.executable, "-m", "pybootd", "why", "--json", mac).stdout
    boots = json.loads(told)["boots"]
    assert boots
    verdicts = [boot["verdict"] for boot in boots]
    return [one for one in verdicts if one is not None and one["grade"] == "fault"]
