"""Each option is declared once; values, --check, the sample, the reference and the page follow."""

import importlib.util
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from pybootd import cli
from pybootd.config import values
from pybootd.config.client_classes import FIELDS
from pybootd.config.loader import Config, examine, load
from pybootd.config.options import table
from pybootd.config.options.clients import MATCH_FIELDS
from pybootd.config.options.declaration import option
from pybootd.config.options.files import TftpConfig
from pybootd.config.reference import render_rst, render_sample
from pybootd.config.values import WORD

TOP = Path(__file__).parents[2]
FIXED = [one for one in table.all_options() if not one.free]


def name_of(one) -> str:
    return f"{one.section}.{one.name}"


def manual_page() -> str:
    path = TOP / "packaging/man.py"
    spec = importlib.util.spec_from_file_location("man", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page().replace(r"\-", "-")


@pytest.mark.parametrize("one", FIXED, ids=name_of)
def test_a_default_is_what_its_text_means(one) -> None:
    if one.default_written:
        assert one.parser.parse(one.default_written) == one.default
    else:
        assert one.default_text, "says what holds without it"


def with_value(one) -> bool:
    """Tell whether the example means something on any host: users and groups don't."""
    return bool(one.example) and one.parser not in (values.USER, values.GROUP)


@pytest.mark.parametrize("one", [one for one in FIXED if with_value(one)], ids=name_of)
def test_an_example_can_be_read(one) -> None:
    one.parser.parse(one.example)


@pytest.mark.parametrize("one", [*table.all_options()], ids=name_of)
def test_help_is_sentences(one) -> None:
    assert one.help.endswith(".")
    assert one.help.count("``") % 2 == 0


@pytest.mark.parametrize("section", table.SECTIONS.values(), ids=lambda one: one.name)
def test_a_configuration_without_the_section_has_its_defaults(section) -> None:
    if section.config is None:
        assert section.extra or section.label
        return
    assert getattr(Config(), section.name) == section.config()
    assert list(section.options) == list(section.config.__dataclass_fields__)


def test_the_sample_files_are_the_rendered_one() -> None:
    """After a change: pybootd --sample > pybootd/etc/pybootd.ini."""
    assert (TOP / "pybootd/etc/pybootd.ini").read_text(encoding="utf-8") == render_sample()
    assert (TOP / "etc/pybootd.ini").read_text(encoding="utf-8") == render_sample()


def test_the_sample_has_every_option_and_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "pybootd.ini"
    path.write_text(render_sample())
    assert not load(path).warnings
    kinds = re.split(r"^;?\[", render_sample(), flags=re.M)[1:]
    for section, text in zip(table.SECTIONS.values(), kinds, strict=True):
        assert text.startswith(section.name)
        lines = {line.lstrip(";").partition(" = ")[0] for line in text.splitlines()}
        assert {one.name for one in FIXED if one.section == section.name} <= lines


def test_every_line_of_the_sample_may_be_made_one_of_the_file(tmp_path: Path) -> None:
    lines = render_sample().splitlines()
    text = "\n".join(re.sub("^;(?! )", "", line) for line in lines)
    text = re.sub(r"^(user|group) = .*", r"\1 = root", text, flags=re.M)
    path = tmp_path / "pybootd.ini"
    path.write_text(text)
    config, faults = examine(path, ("bootp", "tftp"))
    assert faults == []
    without = {"dir", "file", "share", "lease_copy"}  # what they need stands in no line, or nowhere
    assert {one.place.option for one in config.warnings} <= without


@dataclass(frozen=True, slots=True)
class Colourful(TftpConfig):
    colour: str = option(WORD, "grey", "Colour of the blocks.", example="dark red", also=("class",))


def test_an_option_that_is_added_in_one_place_is_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tftp = replace(table.SECTIONS["tftp"], config=Colourful)
    sections = MappingProxyType({**table.SECTIONS, "tftp": tftp})
    path = tmp_path / "pybootd.ini"
    path.write_text("[tftp]\nroot = .\ncolour = blue\n[httpd]\ncolour = red\n")
    before = [render_sample(), render_rst(), manual_page()]
    assert not any("colour" in text for text in before)
    monkeypatch.setattr(table, "SECTIONS", sections)
    assert load(path, ("tftp",)).tftp.colour == "blue"
    assert cli.main(["--check", "-t", "-c", str(path)]) == 0
    assert "[httpd] colour: warning: unknown option, ignored (did you mean [tftp] colour?)" in (
        capsys.readouterr().out
    )
    assert "; Colour of the blocks.\n;colour = grey\n" in render_sample()
    assert "``colour``\n    Colour of the blocks.\n" in render_rst()
    assert "As in ``[tftp]``: ``colour``" in render_rst()
    assert "Colour of the blocks." in manual_page()


def test_what_a_class_matches_is_declared() -> None:
    assert list(FIELDS) == list(MATCH_FIELDS)


def test_the_limits_of_every_number_are_in_the_reference() -> None:
    text = render_rst()
    for one in FIXED:
        if isinstance(one.default, int) and not isinstance(one.default, bool):
            assert f"Value: {one.parser.accepts}" in text
    assert "Value: 0 to 1048576 addresses. Default: ``10``." in text  # pool_count
