"""What is written for people can be rendered."""

import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from pybootd.config.options import table
from pybootd.daemon import USUAL, Daemon

docutils = pytest.importorskip("docutils.core")

TOP = Path(__file__).parents[2]
DOCUMENTS = sorted((*TOP.glob("*.rst"), *TOP.glob("bench/**/*.rst"), *TOP.glob("tests/**/*.rst")))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_the_document_is_well_formed(path, capsys):
    settings = {"report_level": 2, "halt_level": 5, "file_insertion_enabled": False}
    docutils.publish_string(
        path.read_text(encoding="utf-8"),
        source_path=str(path),
        writer="null",
        settings_overrides=settings,
    )
    assert capsys.readouterr().err == ""


def test_the_guide_can_be_built_without_a_warning(tmp_path):
    """With every option in it."""
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "text", "docs", tmp_path]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    options = (tmp_path / "reference/options.txt").read_text(encoding="utf-8")
    fixed = {option.name for option in table.all_options() if not option.free}
    assert not {name for name in fixed if f'"{name}"' not in options}
    assert "class" in (tmp_path / "guides/plugins.txt").read_text(encoding="utf-8")


def test_the_numbers_of_the_page_on_sizes_are_its_script_s():
    """Each of its tables, the simulation's too."""
    command = [sys.executable, "bench/scale/paper.py", "--check", "docs/scaling.rst"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        0,
        "docs/scaling.rst: every number is reproduced\n",
    ), done.stderr


def list_samples():
    """Yield (document, .ini) for each example of README and docs, without its indentation."""
    for path in (TOP / "README.rst", *sorted(TOP.glob("docs/**/*.rst"))):
        found = re.findall(r"::\n\n((?:    .*\n|\n)+)", path.read_text(encoding="utf-8"))
        for sample in map(textwrap.dedent, found):
            # neither a file of credentials nor a part of a unit
            if re.match(r"\[(?!https?:|Service\]|pybootd\])\w", sample):
                yield str(path.relative_to(TOP)), sample


@pytest.mark.parametrize(("document", "sample"), list(list_samples()))
def test_each_example_of_the_documents_passes_its_check(tmp_path, document, sample):
    """Each with what it leaves out, for it is about something else."""
    for name in ("tftpboot", "tftp", "upload", "labgrid"):
        (tmp_path / name).mkdir()
    (tmp_path / "origins.ini").touch(0o600)
    sample = re.sub(r"/(var/cache|srv)/", f"{tmp_path}/", sample)  # not everybody may write there
    sample = sample.replace("sha256:...", f"sha256:{64 * '0'}")
    sample = sample.replace("user = pybootd", "user = nobody")
    start, root = "pool_start = 192.168.1.100\n", "[tftp]\nroot = ./tftpboot\n"
    if "[bootp]" not in sample:
        sample += f"[bootp]\n{start}"
    elif not re.search(
        "pool_start|mode = proxy", sample.partition("[bootp]")[2].partition("\n[")[0]
    ):
        sample = sample.replace("[bootp]\n", f"[bootp]\n{start}")
    ini = tmp_path / "pybootd.ini"
    ini.write_text(sample if "[tftp]" in sample else f"{sample}\n{root}")
    assert Daemon.from_file(ini, USUAL).config.warnings == ()


def test_the_documents_have_examples_of_every_kind():
    samples = list(list_samples())
    assert len(samples) > 30
    assert {document.split("/")[0] for document, _ in samples} == {"README.rst", "docs"}


def test_the_readme_is_short():
    assert len((TOP / "README.rst").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("path", [TOP / "README.rst"], ids=str)
def test_what_the_readme_points_to_is_there(path):
    text = path.read_text(encoding="utf-8")
    linked = [*re.findall(r"<([\w./-]+)>`_", text), *re.findall(r"image:: (\S+)", text)]
    assert len(linked) > 5
    assert not [name for name in linked if not (TOP / name).is_file()]


def test_the_map_of_the_code_names_files_that_are_there():
    text = (TOP / "docs/internals/index.rst").read_text(encoding="utf-8")
    named = set(re.findall(r"``([\w/]+(?:\.py|/))``", text)) - {"pybootd/"}
    assert {"dhcp4/bootfile.py", "tftp/sender.py", "observe/diagnosis/"} <= named
    package = TOP / "pybootd"
    inside = [package, package / "observe/diagnosis"]  # a rule's file is named in its folder
    assert not [name for name in named if not any((at / name).exists() for at in inside)]


def test_the_picture_of_the_floors_is_the_contract_of_the_imports():
    picture = (TOP / "docs/internals/architecture.rst").read_text(encoding="utf-8")
    floors = re.findall(r"^    [1-9]  (\w.*)$", picture, re.M)
    # a folder has a slash behind it; of modules there are those that stand first
    drawn = [set(re.findall(r"(\w+)/", one)) for one in floors]
    modules = [set(re.findall(r"\w+", one.partition("  ")[0])) for one in floors]
    drawn = [one | named for one, named in zip(drawn, modules, strict=True)]
    contract = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contract["contracts"][0]["layers"]
    assert layers[0:2] == ["__main__", "cli"]
    layers = [set(layers[0:2]), *(set(layer.split(" | ")) for layer in layers[2:])]
    assert drawn == layers


def test_the_reference_is_what_the_code_s_tables_make():
    command = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run: make reference"


def find_test(named):
    """Tell whether ``FILE`` or ``FILE::test``, below tests/, is there."""
    file, _, test = named.partition("::")
    path = TOP / "tests" / file
    return path.is_file() and (not test or f"def {test}(" in path.read_text(encoding="utf-8"))


def test_every_promise_names_tests_that_are_there():
    text = (TOP / "docs/security.rst").read_text(encoding="utf-8")
    promised = text.partition("What is promised\n")[2].partition("What is not\n")[0]
    promises = re.findall(r"^- \*\*(?:.+\n)(?:  .+\n)*", promised, re.M)
    assert len(promises) > 15
    for promise in promises:
        named = re.findall(r"``(\w+/test_\w+\.py(?:::\w+)?)``", promise)
        assert named, promise
        assert not [one for one in named if not find_test(one)], promise


def test_every_row_of_the_faults_is_a_test():
    table = (TOP / "docs/faults.rst").read_text(encoding="utf-8")
    rows = re.findall(
        r"^   \* - (.+)\n     - .+\n(?:       .+\n)*     - .+\n(?:       .+\n)*     - (.+)",
        table,
        re.M,
    )[1:]
    assert len(rows) == table.count("\n   * - ") - 1 > 14
    for fault, named in rows:
        file, _, test = named.strip("`").partition("::")
        text = (TOP / "tests/net" / file).read_text(encoding="utf-8")
        assert f"\ndef {test}(" in text, fault
