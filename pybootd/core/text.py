"""Words for people: guesses at what was meant, names that steer no terminal, wildcards."""

from __future__ import annotations

import re
from collections.abc import Iterable

TRUE = frozenset(("on", "true", "enable", "enabled", "yes", "high", "ok", "1"))
FALSE = frozenset(("off", "false", "disable", "disabled", "no", "low", "ko", "0"))


def parse_flag(text: str) -> bool:
    """Read a boolean in any of its spellings; raises ValueError with a message for people."""
    word = text.lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError(f"{text!r} is neither on nor off: write on or off")


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Guess which of the words was meant, in any letter case; "" when none is near."""
    import difflib  # needed for faults alone, and slow to load

    by_lower = {known.lower(): known for known in words}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def make_printable(text: str) -> str:
    """Escape what could steer a terminal or forge a log line: names come from strangers."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )


def compile_wildcard(pattern: str) -> re.Pattern[str]:
    """Turn wildcards into an expression that matches in linear time: ``*`` any run, ``?`` one."""
    runs = [
        "".join("." if letter == "?" else re.escape(letter) for letter in run)
        for run in pattern.split("*")
    ]
    if len(runs) == 1:
        return re.compile(runs[0] + r"\Z", re.DOTALL)
    # atomic groups: the first place where a run fits is the best, no other need be tried
    middle = "".join(f"(?>.*?{run})" for run in runs[1:-1] if run)
    return re.compile(f"{runs[0]}{middle}.*{runs[-1]}\\Z", re.DOTALL)
