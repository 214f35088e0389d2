"""What a make target says of the packages that it needs, where it can't install them."""

import os
import subprocess
from pathlib import Path

import pytest

from pybootd.lab import debian_installer

SCRIPT = Path(__file__).parents[1] / "packages.sh"


def ask(path, *packages):
    done = subprocess.run(
        ["/bin/sh", SCRIPT, *packages], env={"PATH": str(path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def programs(tmp_path):
    """Make a folder of programs in which no package is installed, and nobody is root."""
    for name, does in (("dpkg-query", "exit 1"), ("id", "echo 1000")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    return tmp_path


def test_another_distribution_is_told_what_it_needs(tmp_path):
    if any(Path(at, "dpkg-query").exists() for at in ("/usr/sbin", "/sbin")):
        pytest.skip("dpkg-query lies where the script always looks")
    said = ask(tmp_path, "iproute2", "util-linux")
    assert said.startswith("not Debian: ")
    assert said.endswith(": iproute2 util-linux\n")


def test_who_is_not_root_is_told_what_is_missing(programs):
    assert ask(programs, "iproute2").endswith("only root may install them: iproute2\n")


def test_the_installer_is_that_of_this_release(programs):
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    assert ask(path, "debian-installer-netboot").endswith(f": {debian_installer.name_package()}\n")
