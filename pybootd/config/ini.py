"""An ``.ini`` file read into sections that know their lines, with every fault of its form.

``configparser`` reads; what it would give up at (a line without ``=``, something written twice) is
found beforehand, so that all faults are told at once.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pybootd.config.guesses import guess_header, guess_setting
from pybootd.config.options.table import SECTION_KINDS, SECTION_NAMES, all_options
from pybootd.core.finding import Finding, Grade, Place

SEARCHED = (Path("./pybootd.ini"), Path("/etc/pybootd.ini"))
_HEADER = re.compile(r"\[(?P<name>.+)\]")


class ConfigError(Exception):
    """A configuration that can't be used; ``faults`` holds everything that is wrong with it."""

    def __init__(self, faults: Sequence[Finding]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Section:
    """One section as it was written, for a plug-in that reads its own options.

    ``options`` keep their order and their letter case; ``lines`` tell where each stands; ``line``
    is the line of the section's header (0: it isn't there).
    """

    name: str
    path: Path = Path()
    options: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    line: int = 0

    def fault(self, option: str, problem: str, meant: str = "") -> Finding:
        """Say what is wrong with one of the section's options."""
        return Finding(Grade.FAULT, problem, meant=meant, place=self._place(option))

    def warning(self, option: str, problem: str, meant: str = "") -> Finding:
        """Say what is ignored, or most likely not meant; it stops nothing."""
        return Finding(Grade.WARNING, problem, meant=meant, place=self._place(option))

    def _place(self, option: str) -> Place:
        return Place(self.path, self.lines.get(option, self.line), self.name, option)


def read_ini(path: Path) -> tuple[dict[str, Section], list[Finding]]:
    """Read a file into its sections, as they were written, and the faults of its form."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = "not UTF-8 text: save the file as UTF-8"
        return {}, [Finding(Grade.FAULT, problem, place=Place(path, line))]
    except OSError as error:
        problem = f"can't be read: {error.strerror}: name another file with -c"
        return {}, [Finding(Grade.FAULT, problem, place=Place(path))]
    return parse_ini(text, path)


def parse_ini(text: str, path: Path) -> tuple[dict[str, Section], list[Finding]]:
    """Read text into its sections, as they were written, and the faults of its form."""
    scan = _Scan(path)
    kept = [scan.read_line(number, line) for number, line in enumerate(text.split("\n"), 1)]
    parser = configparser.ConfigParser(
        delimiters=("=",),
        comment_prefixes=("#", ";"),
        inline_comment_prefixes=None,
        interpolation=None,
        default_section="\0",  # no section lends its options to the others
        strict=False,  # what is written twice is noted below
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string("\n".join(kept), str(path))
    sections = {
        name: Section(name, path, dict(parser[name]), scan.lines[name], scan.headers[name])
        for name in parser.sections()
    }
    return sections, scan.faults


class _Scan:
    """One pass over the lines: where everything stands, and what configparser would stop at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[Finding] = []
        self.headers: dict[str, int] = {}
        self.lines: dict[str, dict[str, int]] = {}
        self._section = ""
        self._begun = 0  # the line that one indented further continues
        self._indent = -1  # of that line; -1: none
        self._kept = True  # whether configparser sees that line, and so what continues it

    def read_line(self, number: int, line: str) -> str:
        """Note the line; return it as configparser is to see it, "" where it must not."""
        content = line.strip()
        if not content or content[0] in "#;":
            return line
        if "\0" in line:
            self._fault(number, "", "a NUL character stands here")
            return ""
        indent = len(line) - len(line.lstrip())
        if indent > self._indent >= 0:
            if self._kept:
                self._note_continuation(number, content)
            return line if self._kept else ""
        self._indent = -1
        header = _HEADER.match(content)
        if header:
            return self._begin_section(number, header["name"], content[header.end() :].strip())
        if "=" not in content and (name := guess_header(content, SECTION_NAMES, SECTION_KINDS)):
            shown = self._begin_section(number, name, "")
            self._fault(number, "", f"{content!r}: a section's name stands in brackets", shown)
            return shown
        self._kept = self._note_option(number, content)
        if self._section:
            self._begun, self._indent = number, indent
        return line if self._kept else ""

    def _note_continuation(self, number: int, content: str) -> None:
        """Warn of what was most likely meant as its own line."""
        header = _HEADER.fullmatch(content)
        option, equals, _ = content.partition("=")
        if not header and not equals:
            return
        place = (header["name"], "") if header else (self._section, option.rstrip())
        problem = (
            f"indented, so it is read as a part of line {self._begun}; where it is meant as its own"
            " line, move it to the left"
        )
        where = Place(self.path, number, *place)
        self.faults.append(Finding(Grade.WARNING, problem, place=where))

    def _begin_section(self, number: int, name: str, behind: str) -> str:
        """Note a header; return it with single blanks."""
        name = " ".join(name.split()) or name
        self._section = name
        if behind and behind[0] not in "#;":
            place = Place(self.path, number, name)
            problem = f"{behind!r} behind the section's name is ignored: write it in the next line"
            self.faults.append(Finding(Grade.WARNING, problem, place=place))
        if name in self.headers:
            self._fault(number, "", f"section written twice, first in line {self.headers[name]}")
        else:
            self.headers[name] = number
            self.lines[name] = {}
        return f"[{name}]"

    def _note_option(self, number: int, content: str) -> bool:
        option, equals, _ = content.partition("=")
        option = option.rstrip()
        if not equals or not option:
            if content.startswith(("//", "--", "/*", "<!--")):
                problem, meant = f"{content!r}: a comment begins with ; or #", ""
            else:
                problem = f"{content!r} is no setting: write option = value"
                meant = guess_setting(content, {one.name for one in all_options()})
            self._fault(number, "", problem, meant)
        elif not self._section:
            self._fault(number, option, "stands before the first [section]")
        elif option in self.lines[self._section]:
            first = self.lines[self._section][option]
            self._fault(number, option, f"written twice, first in line {first}")
        else:
            self.lines[self._section][option] = number
            return True
        return False

    def _fault(self, number: int, option: str, problem: str, meant: str = "") -> None:
        place = Place(self.path, number, self._section, option)
        self.faults.append(Finding(Grade.FAULT, problem, meant=meant, place=place))


def find_file(given: str | None) -> Path:
    """Return the configuration file to read; raises ConfigError when none is there."""
    if given is not None:
        return Path(given)
    for path in SEARCHED:
        try:
            if path.exists():
                return path
        except PermissionError:
            return path  # what is wrong shows when it is read
    problem = f"no such file, nor {SEARCHED[1]}: name one with -c, or write one: pybootd --sample"
    raise ConfigError([Finding(Grade.FAULT, problem, place=Place(SEARCHED[0]))])
