"""What a client may ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.files.paths import MAX_NAME, clean_name, encode_name
from pybootd.files.source import FileError, Forbidden, Missing


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("pxelinux.0", "pxelinux.0"),
        ("/pxelinux.0", "pxelinux.0"),
        ("//a///b", "a/b"),
        ("./a/./b/.", "a/b"),
        ("\\Boot\\BCD", "Boot/BCD"),
        ("a/../b", "b"),
        ("a/b/../../c", "c"),
        ("a\\..\\b", "b"),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
        ("with space+%2e%2e", "with space+%2e%2e"),
        ("grüße", "grüße"),
        ("latin\udcfc", "latin\udcfc"),
        ("dir/", "dir"),
    ],
)
def test_a_name_is_cleaned(asked: str, meant: str) -> None:
    assert clean_name(asked) == meant


@pytest.mark.parametrize(
    "asked",
    [
        "..",
        "../etc/passwd",
        "/../etc/passwd",
        "a/../../etc/passwd",
        "..\\..\\etc\\passwd",
        "a/..\\../b",
        "a\0",
        "a\0.jpg",
        "a\nb",
        "\x1b[2Ja",
        "a\x7f",
        "a\x85b",
    ],
)
def test_a_name_that_leads_out_or_hides_something_is_forbidden(asked: str) -> None:
    with pytest.raises(Forbidden):
        clean_name(asked)


@pytest.mark.parametrize("asked", ["", "/", ".", "a/..", "\\", "x" * (MAX_NAME + 1)])
def test_a_name_of_nothing_is_missing(asked: str) -> None:
    with pytest.raises(Missing):
        clean_name(asked)


def test_octets_that_are_no_utf8_are_kept() -> None:
    octets = b"caf\xe9/\xff\xfe"
    assert encode_name(clean_name(octets.decode("utf-8", "surrogateescape"))) == octets
    with pytest.raises(Missing):
        encode_name("\ud800")


@given(st.text(st.one_of(st.characters(), st.sampled_from("./\\")), max_size=40))
def test_whatever_is_asked_stays_below_the_root(asked: str) -> None:
    try:
        name = clean_name(asked)
    except FileError:
        return
    parts = name.split("/")
    assert parts
    assert not {"", ".", ".."} & set(parts)
    assert not any(ord(letter) < 32 or letter == "\\" for letter in name)
    assert clean_name(name) == name
