"""What is written for people can be rendered."""

from pathlib import Path

import pytest

docutils = pytest.importorskip("docutils.core")

TOP = Path(__file__).parents[2]
DOCUMENTS = sorted((*TOP.glob("*.rst"), *TOP.glob("docs/**/*.rst"), *TOP.glob("tests/**/*.rst")))


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
