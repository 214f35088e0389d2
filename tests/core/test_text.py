"""Guesses, and names that steer no terminal."""

from hypothesis import given
from hypothesis import strategies as st

from pybootd.core.text import did_you_mean, make_printable


def test_a_guess_is_near_or_none() -> None:
    assert did_you_mean("host-nam", ["host-name", "domain-name"]) == "host-name"
    assert did_you_mean("POOLSTART", ["pool_start", "pool_count"]) == "pool_start"
    assert did_you_mean("qqqqqqq", ["host-name"]) == ""


@given(st.text())
def test_what_is_written_steers_nothing(text: str) -> None:
    written = make_printable(text)
    assert written.isprintable()
    assert written == text or not text.isprintable()
