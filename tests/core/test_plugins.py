"""Classes found by their name."""

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from pybootd.access.mac import MacAccess
from pybootd.core import plugins

GROUPS = (plugins.ACCESS, plugins.FILTERS, plugins.SOURCES)
TOP = Path(__file__).parents[2]


def test_the_table_and_the_entry_points_of_the_package_agree(tmp_path):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=TOP, check=True, timeout=60)
    registered = ConfigParser(delimiters="=")
    registered.optionxform = str
    registered.read(tmp_path / "pybootd.egg-info" / "entry_points.txt")
    for group in GROUPS:
        entries = dict(registered[group]) if group in registered else {}
        assert entries == dict(plugins.BUILT_IN[group])


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in GROUPS for name in plugins.BUILT_IN[group]]
)
def test_every_built_in_class_is_there_and_can_be_built(group, name):
    assert callable(plugins.find_class(group, name).from_config)


def test_a_built_in_class_is_found():
    assert plugins.find_class("pybootd.access", "mac") is MacAccess


def test_finding_a_built_in_class_reads_no_package_metadata():
    code = (
        "import sys; from pybootd.core import plugins; plugins.find_class('pybootd.access', 'mac');"
        "sys.exit('importlib.metadata' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_told_with_those_that_there_are_and_a_guess():
    with pytest.raises(plugins.PluginError) as caught:
        plugins.find_class("pybootd.access", "uid")
    text = "pybootd.access knows no 'uid': there are http, mac, uuid"
    assert caught.value.problem == text
    assert caught.value.meant == "uuid"
    assert str(caught.value) == f"{text} (did you mean uuid?)"


def installed(tmp_path, monkeypatch, value, module=""):
    """Put a package with one access class on the path, as pip would."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pybootd.access]\nmac = {value}\nours = {value}\n")
    (tmp_path / "stranger_pybootd.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger_pybootd", raising=False)


def test_an_installed_class_is_found_and_takes_no_built_in_name(tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch, "stranger_pybootd:Ours", "class Ours: pass")
    assert plugins.find_class("pybootd.access", "ours").__name__ == "Ours"
    assert plugins.find_class("pybootd.access", "mac") is MacAccess
    assert plugins.names("pybootd.access") == ["http", "mac", "ours", "uuid"]


@pytest.mark.parametrize(
    ("value", "module", "told"),
    [
        ("no_such_module:Ours", "", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("stranger_pybootd:Ours", "", "has no attribute 'Ours'"),
        ("stranger_pybootd:Ours", "1 / 0", "ZeroDivisionError"),
        ("stranger_pybootd:ours", "ours = 1", "is no class"),
    ],
)
def test_a_broken_plug_in_is_one_clear_error(tmp_path, monkeypatch, value, module, told):
    installed(tmp_path, monkeypatch, value, module)
    with pytest.raises(plugins.PluginError) as caught:
        plugins.find_class("pybootd.access", "ours")
    assert "'ours'" in str(caught.value)
    assert value in str(caught.value)
    assert told in str(caught.value)
