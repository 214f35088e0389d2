"""Sections of one file -> values, each fault and warning noted on the way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pybootd.config.ini import Section
from pybootd.config.options import table
from pybootd.config.options.clients import DHCP_OPTION
from pybootd.config.options.declaration import Option
from pybootd.config.values import ValueParser
from pybootd.core.finding import Finding, Grade, Place
from pybootd.core.text import did_you_mean

T = TypeVar("T")


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
                guess = _home_of(option) or did_you_mean(option, declared)
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
        commented = " ;" in text or " #" in text
        try:
            value = parser.parse(text)
        except ValueError as error:
            meant, problem = getattr(error, "meant", ""), str(error)
            if commented:
                problem += "; a comment needs its own line"
            self.faults.append(section.fault(option, problem, meant))
            return None
        if commented and parser.free:
            problem = "all that stands behind = is its value; a comment needs its own line"
            self.warnings.append(section.warning(option, problem))
        return value

    def absolute_path(self, path: Path) -> Path:
        """Make a path absolute, from the configuration file's folder; links stay what they are."""
        return Path(os.path.abspath(self.path.absolute().parent / path))  # noqa: PTH100


def split_dhcp_option(key: str) -> str:
    """Return which DHCP option a line ``option NAME = value`` sets; "" for another line."""
    word, _, name = key.partition(" ")
    return name.strip() if word.lower() == "option" else ""


def _home_of(option: str) -> str:
    """Return an option with the section that it belongs to, ``[tftp] root``; "": with none."""
    homes = (one for one in table.all_options() if one.name == option and not one.free)
    return next((f"[{one.section}] {one.name}" for one in homes), "")
