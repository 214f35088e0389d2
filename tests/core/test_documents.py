"""What is written for people can be rendered."""

import subprocess
import sys
from pathlib import Path

import pytest

from pybootd import config

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
    for section, table in config.TABLE.items():
        assert f"[{section}]" in options
        assert not {option for option in table if f'"{option}"' not in options}
    assert "class" in (tmp_path / "plugins.txt").read_text(encoding="utf-8")
