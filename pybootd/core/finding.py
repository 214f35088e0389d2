"""Something that is wrong, or worth knowing, and what to do about it: one form for all of it.

A fault of the configuration, what ``doctor`` and ``probe`` find, why a boot stopped: each is a
finding. Programs go by ``code`` and ``grade``; the sentences are for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Grade(Enum):
    """How much it matters: a FAULT keeps something from working, a WARNING may, FINE is fine."""

    FAULT = "fault"
    WARNING = "warning"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` names the kind for programs; ``problem`` and ``advice`` are sentences for people.

    ``advice`` says what to do, "" where there is nothing to do.
    """

    grade: Grade
    problem: str
    advice: str = ""
    code: str = ""
