"""The reference of the verdicts, in reStructuredText, from their table."""

from __future__ import annotations

from collections.abc import Iterator

from pybootd.core.finding import Grade
from pybootd.observe.diagnosis.verdicts import VERDICTS, Certainty

_CERTAINTIES = {
    Certainty.CERTAIN: "certain: it was seen here",
    Certainty.LIKELY: "likely: the usual cause of what was seen",
    Certainty.UNKNOWN: "unknown: what was due next did not come",
}


def render_verdicts() -> str:
    """Return a section for each verdict: its code, grade, certainty, meaning and advice."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    for one in VERDICTS:
        yield f".. _verdict-{one.code}:"
        yield ""
        yield one.title
        yield "-" * len(one.title)
        yield ""
        grade = "a fault" if one.grade is Grade.FAULT else "a note, no fault"
        yield f"``{one.code}``, {grade}. As a rule {_CERTAINTIES[one.certainty]}."
        yield ""
        yield one.explanation
        yield ""
        yield f"*What to do:* {one.advice}"
        yield ""
