"""What is written for people can be rendered."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pybootd.config.options import table
from pybootd.daemon import USUAL, Daemon

docutils = pytest.importorskip("docutils.core")

TOP = Path(__file__).parents[2]
DOCUMENTS = sorted((*TOP.glob("*.rst"), *TOP.glob("tests/**/*.rst")))


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
    """With every option in it: the README's tables are included."""
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "text", "docs", tmp_path]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    options = (tmp_path / "options.txt").read_text(encoding="utf-8")
    fixed = {option.name for option in table.all_options() if not option.free}
    assert not {name for name in fixed if f'"{name}"' not in options}
    assert "class" in (tmp_path / "plugins.txt").read_text(encoding="utf-8")


def test_the_numbers_of_the_page_on_sizes_are_its_script_s():
    """Each of its tables, the simulation's too."""
    command = [sys.executable, "bench/scale/paper.py", "--check", "docs/scaling.rst"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        0,
        "docs/scaling.rst: every number is reproduced\n",
    ), done.stderr


def test_every_sample_of_the_readme_passes_its_check(tmp_path):
    """Each with what it leaves out, for it is about something else."""
    readme = (TOP / "README.rst").read_text(encoding="utf-8")
    found = re.findall(r"::\n\n((?:    .*\n|\n)+)", readme)
    samples = [text for text in map(textwrap.dedent, found) if re.match(r"\[(?!https?:)\w", text)]
    assert len(samples) > 9
    (tmp_path / "tftpboot").mkdir()
    (tmp_path / "origins.ini").touch(0o600)
    ini = tmp_path / "pybootd.ini"
    for sample in samples:
        sample = sample.replace("/var/cache/", f"{tmp_path}/")  # not everybody may write there
        start, root = "pool_start = 192.168.1.100\n", "[tftp]\nroot = ./tftpboot\n"
        if "[bootp]" not in sample:
            sample += f"[bootp]\n{start}"
        elif "pool_start" not in sample.partition("[bootp]")[2].partition("\n[")[0]:
            sample = sample.replace("[bootp]\n", f"[bootp]\n{start}")
        ini.write_text(sample if "[tftp]" in sample else sample + root)
        assert Daemon.from_file(ini, USUAL).config.warnings == ()


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
