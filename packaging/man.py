"""Write the manual page pybootd(8) out of the README: its parts on the command line and the file.

Usage: man.py OUTPUT
"""

import re
import sys
from pathlib import Path

from docutils.core import publish_string

TOP = Path(__file__).parent.parent
HEAD = """=======
pybootd
=======

------------------------------------------------------------------------
boot machines over the network: BOOTP, DHCP, PXE, TFTP and HTTP
------------------------------------------------------------------------

:Manual section: 8
:Version: pybootd {version}

"""
TAIL = """
Files
=====

``/etc/pybootd.ini``
    the configuration; ``pybootd --sample`` prints one with every option

``/var/lib/pybootd/leases.db``
    the leases
"""
FIRST, LAST = "Command line", "Forwarding"  # sections of the README, the last left out


def source() -> str:
    """Return the page as reStructuredText."""
    readme = (TOP / "README.rst").read_text(encoding="utf-8")
    begin, end = (re.search(rf"^{name}\n=+$", readme, re.M).start() for name in (FIRST, LAST))
    version = re.search('"(.+)"', (TOP / "pybootd" / "__init__.py").read_text(encoding="utf-8"))[1]
    text = readme[begin:end]
    for target in re.findall(r"`([^`<]+)`_", text):  # what is named stands elsewhere in the README
        if not re.search(rf"^(``)?{re.escape(target)}(``)?\n[-=]+$", text, re.M):
            text = text.replace(f"`{target}`_", f"{target} (README)")
    return HEAD.format(version=version) + text + TAIL


def page() -> str:
    """Return the page for man(1)."""
    settings = {"report_level": 2, "halt_level": 2, "output_encoding": "unicode"}
    return publish_string(source(), writer="manpage", settings_overrides=settings)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
