"""What is asked for and what is granted."""

import pytest

from pybootd.tftp.wire.options import PLAIN, Terms, negotiate
from pybootd.tftp.wire.packet import Options

SIZE = 5_000_000_000


def grant(*options: tuple[str, str]) -> Terms:
    return negotiate(options, blocksize=1468, windowsize=64, size=SIZE)


@pytest.mark.parametrize(
    ("name", "asked", "granted"),
    [
        # RFC 2348 2
        ("blksize", "8", "8"),
        ("blksize", "1428", "1428"),
        ("blksize", "65464", "1468"),
        ("blksize", "7", None),
        ("blksize", "0", None),
        ("blksize", "65465", None),
        ("blksize", "-1", None),
        ("blksize", "+512", None),
        ("blksize", " 512", None),
        ("blksize", "512 ", None),
        ("blksize", "5e2", None),
        ("blksize", "0x200", None),
        ("blksize", "", None),
        ("blksize", "٥١٢", None),
        ("blksize", "9" * 30, None),
        # RFC 2349
        ("timeout", "1", "1"),
        ("timeout", "255", "255"),
        ("timeout", "0", None),
        ("timeout", "256", None),
        ("timeout", "1.5", None),
        ("tsize", "0", str(SIZE)),
        ("tsize", "enable", None),
        # RFC 7440 3
        ("windowsize", "1", "1"),
        ("windowsize", "16", "16"),
        ("windowsize", "65535", "64"),
        ("windowsize", "0", None),
        ("windowsize", "65536", None),
        # RFC 2347: unknown ones are left out, names have no letter case
        ("multicast", "", None),
        ("rollover", "0", None),
        ("BLKSIZE", "1024", "1024"),
    ],
)
def test_one_option(name: str, asked: str, granted: str | None) -> None:
    expected: Options = () if granted is None else ((name, granted),)
    assert grant((name, asked)).granted == expected


def test_several_keep_their_order_and_the_bad_ones_are_left_out() -> None:
    terms = grant(
        ("tsize", "0"), ("x", "1"), ("WindowSize", "4"), ("timeout", "0"), ("blksize", "9")
    )
    assert terms.granted == (("tsize", str(SIZE)), ("WindowSize", "4"), ("blksize", "9"))
    assert (terms.blocksize, terms.windowsize, terms.timeout) == (9, 4, None)
    assert terms.oack == b"\0\6tsize\x005000000000\0WindowSize\x004\0blksize\x009\0"


def test_a_repeated_option_is_left_out() -> None:
    terms = grant(("blksize", "1024"), ("timeout", "3"), ("BlkSize", "600"))
    assert terms == Terms(512, 1, 3, (("timeout", "3"),), b"\0\6timeout\x003\0")


def test_a_size_that_nobody_knows_is_left_out() -> None:
    assert negotiate((("tsize", "0"),), 512, 1, None) == PLAIN


def test_an_empty_file_for_curl() -> None:
    """Curl 7.88 gives up when it is granted a size of 0."""
    curl = (("tsize", "0"), ("blksize", "512"), ("timeout", "6"))
    assert negotiate(curl, 512, 1, 0).granted == curl[1:]
    assert negotiate(curl, 512, 1, 7).granted == (("tsize", "7"), *curl[1:])
    assert negotiate(curl[:2], 512, 1, 0).granted == curl[:2]
