"""Sections of one file -> values, each fault and warning noted on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pybootd.config.guesses import SYNONYMS, normalize_name, unquote
from pybootd.config.ini import Section
from pybootd.config.options import table
from pybootd.config.options.clients import DHCP_OPTION
from pybootd.config.options.declaration import Option
from pybootd.config.values import ValueParser
from pybootd.core.finding import Finding, Grade, Place
from pybootd.core.text import did_you_mean

T = TypeVar("T")
_COMMENT = re.compile("[ \t][;#]")


class ConfigReader:
    """What has been read of a file so far: its sections by name, what is wrong with them."""

    def __init__(self, path: Path, faults: list[Finding]) -> None:
        self.path = path
        self.faults = [fault for fault in faults if fault.grade is Grade.FAULT]
        self.warnings = [fault for fault in faults if fault.grade is Grade.WARNING]
        self.sections: dict[str, Section] = {}

    def section(self, name: str) -> Section:
        """Return a section; one without options where it isn't written."""
        return self.sections.get(name) or Section(name, self.path)

    @staticmethod
    def written(section: Section, option: str) -> str:
        """Return an option's name as the section writes it, in its own letter case."""
        return next((name for name in section.options if name.lower() == option), option)

    def note_missing(self, section: str, option: str, problem: str) -> None:
        """Note that an option must be there, and isn't."""
        known = self.section(section)
        place = Place(self.path, known.line, known.name, option)
        self.faults.append(Finding(Grade.FAULT, problem, place=place))

    def read_section(self, name: str) -> dict[str, Any]:
        """Read the options of a section, as they are declared; what isn't written is left out."""
        return self.read_options(self.section(name), table.options_of(name))

    def read_options(self, section: Section, declared: Mapping[str, Option]) -> dict[str, Any]:
        """Read the options of a section; one that isn't declared is a warning with a guess."""
        found: dict[str, Any] = {}
        earlier: dict[str, str] = {}
        for written, text in section.options.items():
            option = written.lower()
            if option in earlier:
                line = section.lines.get(earlier[option], section.line)
                self.faults.append(section.fault(written, f"written twice, first in line {line}"))
            earlier[option] = written
            if split_dhcp_option(option) and DHCP_OPTION.name in declared:
                continue  # the DHCP server reads it
            known = declared.get(option)
            if known is None or known.free:
                guess = guess_option(option, declared)
                if option == "netmask" and table.section_kind(section.name) == "subnet":
                    guess = "[subnet NET/LEN]"
                self.warnings.append(section.warning(written, "unknown option, ignored", guess))
                continue
            value = self.parse_value(section, written, known.parser, text)
            if value is not None:
                found[option] = value
        return found

    def parse_value(
        self, section: Section, option: str, parser: ValueParser[T], text: str
    ) -> T | None:
        """Read one value; None, and a fault noted, when it is none."""
        try:
            value = parser.parse(text)
        except ValueError as error:
            self.faults.append(self._explain_value(section, option, parser, text, error))
            return None
        if not text:
            self.warnings.append(section.warning(option, "has no value, and is ignored"))
        elif not parser.free:
            return value
        elif (plain := unquote(text)) != text:
            problem = "the quotes are a part of its value: write it without them"
            self.warnings.append(section.warning(option, problem, plain))
        elif _has_comment(text):
            problem = "all that stands behind = is its value; a comment needs its own line"
            self.warnings.append(section.warning(option, problem))
        return value

    def _explain_value(
        self, section: Section, option: str, parser: ValueParser[T], text: str, error: ValueError
    ) -> Finding:
        """Say what is wrong with a value: what stands around it, if it is right without that."""
        first, _, more = text.partition("\n")
        plain, meant, problem = unquote(text), getattr(error, "meant", ""), str(error)
        if not text:
            problem, meant = "has no value: write one, or leave the line out", ""
        elif plain != text and _is_valid(parser, plain):
            problem, meant = f"{text!r} is in quotes: write it without them", plain
        elif more and _is_valid(parser, first):
            problem = "goes on in the next line, which is indented: move that to the left"
        elif _has_comment(text):
            plain = _COMMENT.split(text)[0].strip()
            problem += "; a comment needs its own line"
            meant = plain if _is_valid(parser, plain) else ""
        return section.fault(option, problem, meant)

    def absolute_path(self, path: Path) -> Path:
        """Make a path absolute, from the configuration file's folder; links stay what they are."""
        return Path(os.path.abspath(self.path.absolute().parent / path))  # noqa: PTH100


def _has_comment(text: str) -> bool:
    return _COMMENT.search(text) is not None


def _is_valid(parser: ValueParser[Any], text: str) -> bool:
    try:
        parser.parse(text)
    except ValueError:
        return False
    return True


def split_dhcp_option(key: str) -> str:
    """Return which DHCP option a line ``option NAME = value`` sets; "" for another line."""
    word, _, name = key.partition(" ")
    return name.strip() if word.lower() == "option" else ""


def guess_option(written: str, declared: Collection[str]) -> str:
    """Guess at the option that was meant, of this section (``declared``) or of another."""
    if dhcp_option := split_dhcp_option(written):
        return f"[options] {dhcp_option}"
    same = {normalize_name(name): name for name in declared}
    name = normalize_name(written)
    if name in same:
        return same[name]
    for one in table.all_options():
        if normalize_name(one.name) == name and not one.free:
            return f"[{one.section}] {one.name}"
    return SYNONYMS.get(name, "") or did_you_mean(written, declared)
