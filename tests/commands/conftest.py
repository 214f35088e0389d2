"""What the tools' tests share."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def unprivileged():
    """Return a function that finds a Python which another user can run in a user namespace.

    It takes the module that this Python must be able to import, and returns a command;
    ``inside``: one that enters the user namespace first.
    """

    def find(module, inside=False):
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        enter = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
        for python in (sys.executable, "/usr/bin/python3"):
            command = [*become, *enter, python]
            tried = [*command, "-c", f"import {module}"]
            if subprocess.run(tried, capture_output=True, cwd=ROOT).returncode == 0:
                return command if inside else [*become, python]
        pytest.skip("this system lets no unprivileged user make a namespace, or run a Python in it")

    return find
