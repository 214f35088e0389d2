"""Every target's promises, tried by hypothesis on its words; ``make fuzz`` goes deeper."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .targets import ALL, BY_NAME, Target


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_any_octets_break_no_promise(target: Target) -> None:
    word = st.sampled_from((*target.words, b"\n", b"\0", b"\xff"))
    pieces = st.lists(word | st.binary(max_size=12), max_size=12).map(b"".join)

    @settings(max_examples=60, deadline=None)
    @given(pieces)
    def holds(data: bytes) -> None:
        target.run(data[: target.longest])

    holds()


LETTERS = st.sampled_from(("a", "b.efi", "dir", "back", "up", "abs", "Case", "..", ".", "", "c"))


@settings(max_examples=150, deadline=None)
@given(st.lists(LETTERS, max_size=6), st.sampled_from("/\\"))
def test_no_path_leads_out_of_the_root(parts: list[str], slash: str) -> None:
    BY_NAME["names"].run(slash.join(parts).encode())


PATTERNS = st.text("ab*?/.", min_size=1, max_size=6)
VALUES = st.lists(
    st.sampled_from(("{filename}", "{hostname}", "{group}", "{mac}", "dir/", "../", "/x/", "a")),
    min_size=1,
    max_size=4,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(PATTERNS, VALUES, min_size=1, max_size=4), st.text("ab/.", max_size=6))
def test_the_first_filter_that_fits_decides_and_leads_nowhere_else(
    lines: dict[str, str], asked: str
) -> None:
    written = "\n".join(f"{pattern} = {value}" for pattern, value in lines.items())
    BY_NAME["filters"].run(f"{written}\n\n\7\2ab{asked}".encode())


REQUESTS = st.sampled_from(
    (
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /b HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n",
        b"GET /c HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab",
        b"nonsense\r\n\r\n",
    )
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(REQUESTS, max_size=4).map(b"".join), st.sets(st.integers(0, 200)), st.integers(0, 2)
)
def test_answers_do_not_depend_on_where_the_network_cuts(
    sent: bytes, cuts: set[int], entity: int
) -> None:
    for cut in sorted(cuts, reverse=True):
        sent = sent[:cut] + b"\xff" + sent[cut:]
    BY_NAME["http"].run(bytes((entity,)) + sent)


LINES = st.sampled_from([word.decode() for word in BY_NAME["ini"].words if b"[" in word])
OPTIONS = st.sampled_from([word.decode() for word in BY_NAME["ini"].words if b"=" in word])
SETTINGS = st.builds(
    "{}{}".format, OPTIONS, st.text(max_size=8) | st.from_regex(r"[0-9./;,-]{1,9}")
)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINES | SETTINGS, max_size=12).map("\n".join))
def test_every_fault_of_a_configuration_is_one_line(written: str) -> None:
    BY_NAME["ini"].run(written.encode("utf-8", "replace"))
