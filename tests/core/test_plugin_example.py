"""The example package, really installed, and its classes used by their names."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "plugin_example"

# what a daemon does with the names, in a process that finds the package as any other
USE = """
import json, sys
from pathlib import Path
from pybootd.access.base import build_access
from pybootd.core.client import Client
from pybootd.core.mac import parse_mac
from pybootd.config.ini import ConfigError
from pybootd.config.loader import examine
from pybootd.files.resolver import Files
from pybootd.files.source import FileError, FileRequest

config, faults = examine(Path(sys.argv[1]), ("bootp", "tftp"))
told = {"faults": [*map(str, faults), *map(str, config.warnings)]}
try:
    access = build_access(config)
    files = Files.from_config(config)
except ConfigError as error:
    told["faults"] += map(str, error.faults)
else:
    for mac in ("52:54:00:12:34:56", "52:54:00:00:00:01"):
        verdict = access.check(Client(parse_mac(mac))).call()
        told[mac] = [verdict.allow, verdict.reason]
    for name in json.loads(sys.argv[2]):
        try:
            opened = files.open(FileRequest(name, "10.0.0.7", "10.0.0.1")).call()
            told[name] = [opened.served, opened.body.pread(100, 0).decode()]
        except FileError as error:
            told[name] = [type(error).__name__, str(error)]
    told["suggested"] = files.suggest_names("boot/bcdd")
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the package, without the network, and return where it is."""
    source = tmp_path_factory.mktemp("source") / "plugin_example"
    shutil.copytree(EXAMPLE, source)  # a build leaves folders behind
    target = tmp_path_factory.mktemp("site")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", target, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def use(installed, tmp_path):
    """Start a process that uses a configuration's plug-ins, and return what it tells."""

    def use(text, *names):
        path = tmp_path / "pybootd.ini"
        path.write_text(text)
        command = [sys.executable, "-c", USE, path, json.dumps(names)]
        environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return json.loads(done.stdout)

    return use


def configuration(
    tmp_path, access="macfile", path="macs", root=None, filters="lowercase, patterns"
):
    """Write what the README of the example says."""
    with zipfile.ZipFile(tmp_path / "boot.zip", "w") as archive:
        archive.writestr("boot/bcd", "the store")
        archive.writestr("Grub/Menu.cfg", "a menu")
        archive.writestr("hosts.cfg.j2", "{% include 'part' %} {{ ip }}")
        archive.writestr("part", "for")
    (tmp_path / "macs").write_text("52:54:00:12:34:56\n\n")
    return f"""
[bootp]
access = {access}
pool_start = 192.168.1.100
[macfile]
path = {path}
[tftp]
root = {root or f"zip://{tmp_path / 'boot.zip'}"}
filters = {filters}
[lowercase]
[filters]
alias = boot/bcd
"""


def test_the_classes_are_chosen_by_name(use, tmp_path):
    assert use(configuration(tmp_path), "BOOT/Bcd", "boot/bcd", "alias", "nothing") == {
        "faults": [],
        "52:54:00:12:34:56": [True, f"in {tmp_path}/macs"],
        "52:54:00:00:00:01": [None, f"not in {tmp_path}/macs"],
        "BOOT/Bcd": ["boot/bcd", "the store"],
        "boot/bcd": ["boot/bcd", "the store"],
        "alias": ["boot/bcd", "the store"],
        "nothing": ["Missing", f"nothing is not in {tmp_path}/boot.zip"],
        "suggested": ["boot/bcd"],
    }


def test_a_source_of_others_has_templates_suggestions_and_other_letter_case(use, tmp_path):
    """What sources of pybootd can do; without the filter that turns names to lower case."""
    text = configuration(tmp_path, filters="patterns").replace("[lowercase]\n", "")
    told = use(text, "hosts.cfg", "grub/MENU.CFG", "hosts.cfg.j2", "grub/none")
    assert told["faults"] == []
    assert told["hosts.cfg"] == ["hosts.cfg.j2", "for 10.0.0.7"]
    assert told["hosts.cfg.j2"] == ["hosts.cfg.j2", "{% include 'part' %} {{ ip }}"]
    assert told["grub/MENU.CFG"] == ["Grub/Menu.cfg", "a menu"]
    assert told["grub/none"][0] == "Missing"
    assert told["suggested"] == ["boot/bcd"]


def test_what_the_class_can_not_use_is_told_with_its_line(use, tmp_path):
    ini = tmp_path / "pybootd.ini"
    told = use(configuration(tmp_path, path=""))["faults"]
    assert told == [f"{ini}:6: [macfile] path: required: a file with a MAC in each line"]
    told = use(configuration(tmp_path, root=f"zip://{ini}"))["faults"]
    assert told == [f"{ini}:8: [tftp] root: {ini} is no ZIP archive"]


def test_a_name_that_nobody_has_is_told_with_those_that_there_are(use, tmp_path):
    ini = tmp_path / "pybootd.ini"
    told = use(configuration(tmp_path, access="macfiles"))["faults"]
    assert told[-1] == (
        f"{ini}:3: [bootp] access: pybootd.access knows no 'macfiles': "
        "there are http, mac, macfile, uuid (did you mean macfile?)"
    )
    told = use(configuration(tmp_path, filters="lower"))["faults"]
    assert told[-1].endswith("there are lowercase, patterns (did you mean lowercase?)")


def test_the_tutorial_shows_the_names_that_the_package_registers():
    text = (EXAMPLE / "README.rst").read_text()
    for line in ("access = macfile", "filters = lowercase, patterns", "root = zip:///"):
        assert line in text
