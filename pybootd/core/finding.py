"""Something that is wrong, or worth knowing, and what to do about it: one form for all of it.

A fault of the configuration, what ``doctor`` and ``probe`` find, why a boot stopped: each is a
finding. Programs go by ``code`` and ``grade``; the sentences are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pybootd.core.text import make_printable


class Grade(Enum):
    """How much it matters: a FAULT keeps something from working, a WARNING may, FINE is fine."""

    FAULT = "fault"
    WARNING = "warning"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a configuration file something stands; an empty ``section``: in none.

    ``line`` 0: it has no line, such as an option that is missing. ``path`` None: in no file.
    """

    path: Path | None = None
    line: int = 0
    section: str = ""
    option: str = ""

    def __str__(self) -> str:
        """Return ``FILE:LINE: [SECTION] OPTION:``, what is empty left out; "" for no file."""
        if self.path is None:
            return ""
        where = f"{self.path}:{self.line}:" if self.line else f"{self.path}:"
        inside = f" [{self.section}]" if self.section else ""
        return where + inside + (f" {self.option}:" if self.option else ":" if inside else "")


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Finding:
    """``problem`` and ``advice`` are sentences for people; ``code`` names the kind for programs.

    ``advice`` says what to do, "" where there is nothing to do; ``meant`` is the word that was
    most likely meant, "" where none is near.
    """

    grade: Grade
    problem: str
    advice: str = ""
    code: str = ""
    meant: str = ""
    place: Place = NOWHERE

    def __str__(self) -> str:
        """Return all of it in one printable line; the grade is told where it is a warning."""
        parts = [str(self.place)] if self.place.path is not None else []
        parts += ["warning:"] if self.grade is Grade.WARNING else []
        parts.append(f"{self.problem}: {self.advice}" if self.advice else self.problem)
        parts += [f"(did you mean {self.meant}?)"] if self.meant else []
        return make_printable(" ".join(parts))
