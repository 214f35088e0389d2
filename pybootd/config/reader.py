"""Sections of one file -> values, each fault and warning noted on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pybootd.config import values
from pybootd.config.ini import Section
from pybootd.core.finding import Finding, Grade, Place
from pybootd.core.text import did_you_mean

Parser = Callable[[str], Any]
_AS_WRITTEN: tuple[Parser, ...] = (values.word, Path)  # they take what may be a comment, too
Tables = Mapping[str, Mapping[str, Parser]]
_NO_OTHERS: Tables = MappingProxyType({})


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

    def missing(self, section: str, option: str, problem: str) -> None:
        """Note that an option must be there, and isn't."""
        known = self.section(section)
        place = Place(self.path, known.line, known.name, option)
        self.faults.append(Finding(Grade.FAULT, problem, place=place))

    def table(self, name: str, tables: Tables) -> dict[str, Any]:
        """Read the options of a section, each as the table of this name says."""
        return self.options(self.section(name), tables[name], tables)

    def options(
        self, section: Section, table: Mapping[str, Parser], tables: Tables = _NO_OTHERS
    ) -> dict[str, Any]:
        """Read the options of a section; one that the table lacks is a warning with a guess.

        It may belong to another of the ``tables``; of several that have it the first is meant.
        """
        found: dict[str, Any] = {}
        earlier: dict[str, str] = {}
        for written, text in section.options.items():
            option = written.lower()
            if option in earlier:
                line = section.lines.get(earlier[option], section.line)
                self.faults.append(section.fault(written, f"written twice, first in line {line}"))
            earlier[option] = written
            if option not in table:
                homes = (f"[{name}] {option}" for name in tables if option in tables[name])
                guess = next(homes, "") or did_you_mean(option, table)
                self.warnings.append(section.warning(written, "unknown option, passed over", guess))
                continue
            value = self.value(section, written, table[option], text)
            if value is not None:
                found[option] = value
        return found

    def value(self, section: Section, option: str, parser: Parser, text: str) -> Any:
        """Read one value; None, and a fault noted, when it is none."""
        commented = " ;" in text or " #" in text
        try:
            value = parser(text)
        except ValueError as error:
            meant, problem = getattr(error, "meant", ""), str(error)
            if commented:
                problem += "; a comment needs a line of its own"
            self.faults.append(section.fault(option, problem, meant))
            return None
        if commented and parser in _AS_WRITTEN:
            problem = "all that stands behind = is its value; a comment needs a line of its own"
            self.warnings.append(section.warning(option, problem))
        return value

    def below(self, path: Path) -> Path:
        """Make a path absolute, from the configuration file's folder; links stay what they are."""
        return Path(os.path.abspath(self.path.absolute().parent / path))  # noqa: PTH100
