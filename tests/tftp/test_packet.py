"""The codec: vectors both ways, what is bent straight, what is refused, and any octets at all."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.tftp.wire.packet import (
    Ack,
    Data,
    Error,
    Oack,
    Packet,
    Rrq,
    TftpPacketError,
    Wrq,
    decode,
    encode,
)

# as real clients send them (tsize before or behind blksize, a leading slash, a window)
VECTORS: tuple[tuple[str, bytes, Packet], ...] = (
    ("tftp-hpa", b"\0\1file\0netascii\0", Rrq("file", "netascii")),
    (
        "iPXE",
        b"\0\1pxelinux.0\0octet\0blksize\x001432\0tsize\x000\0",
        Rrq("pxelinux.0", "octet", (("blksize", "1432"), ("tsize", "0"))),
    ),
    (
        "OVMF",
        b"\0\1bootnetx64.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0",
        Rrq("bootnetx64.efi", "octet", (("tsize", "0"), ("blksize", "1468"), ("windowsize", "4"))),
    ),
    (
        "GRUB",
        b"\0\1/grub/grub.cfg\0octet\0blksize\x001024\0tsize\x000\0",
        Rrq("/grub/grub.cfg", "octet", (("blksize", "1024"), ("tsize", "0"))),
    ),
    ("atftp", b"\0\1f\0octet\0tsize\0enable\0", Rrq("f", "octet", (("tsize", "enable"),))),
    ("no UTF-8", b"\0\1\xff\xfe\0octet\0", Rrq("\udcff\udcfe")),
    ("put", b"\0\2file\0octet\0tsize\x0099\0", Wrq("file", "octet", (("tsize", "99"),))),
    ("data", b"\0\3\1\2abc", Data(258, b"abc")),
    ("empty data", b"\0\3\0\1", Data(1, b"")),
    ("ack", b"\0\4\xff\xff", Ack(65535)),
    ("error", b"\0\5\0\1no such file\0", Error(1, "no such file")),
    ("error of no table", b"\0\5\1\0\0", Error(256, "")),
    ("OACK", b"\0\6blksize\x001468\0tsize\x005\0", Oack((("blksize", "1468"), ("tsize", "5")))),
)


@pytest.mark.parametrize(("data", "packet"), [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS])
def test_a_packet_both_ways(data: bytes, packet: Packet) -> None:
    assert decode(data) == packet
    assert encode(packet) == data


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        (b"\0\1f\0OcTeT\0", Rrq("f")),
        (b"\0\1f\0octet\0\0\0\0\0", Rrq("f")),
        (b"\0\1f\0octet\0blksize\0", Rrq("f")),
        (b"\0\1f\0octet\0tsize\x000\0blksize\x001468", Rrq("f", "octet", (("tsize", "0"),))),
        (b"\0\1\0octet\0", Rrq("")),
        (b"\0\4\0\1\0\0\0", Ack(1)),
        (b"\0\5\0\1no NUL", Error(1, "no NUL")),
        (b"\0\6", Oack(())),
    ],
)
def test_what_is_bent_is_read_straight(data: bytes, packet: Packet) -> None:
    assert decode(data) == packet


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\7",
        b"\1\1f\0octet\0",
        b"\0\1",
        b"\0\1f",
        b"\0\1f\0",
        b"\0\1f\0octet",
        b"\0\2f\0octet",
        b"\0\3\0",
        b"\0\4",
        b"\0\4\0",
        b"\0\5\0",
        b"\0\3\0\1" + bytes(65465),
    ],
)
def test_what_is_no_packet_is_refused(data: bytes) -> None:
    with pytest.raises(TftpPacketError):
        decode(data)


@pytest.mark.parametrize(
    "packet", [Rrq("a\0b"), Data(65536, b""), Ack(-1), Oack((("blksize", "1\0"),)), Error(70000)]
)
def test_values_that_make_no_packet_are_refused(packet: Packet) -> None:
    with pytest.raises(TftpPacketError):
        encode(packet)


def test_a_text_for_people_may_hold_anything() -> None:
    assert encode(Error(0, "\ud800 \udcff")) == b"\0\5\0\0? ?\0"


@given(st.binary(max_size=80))
def test_any_octets_decode_or_raise_the_one_error(data: bytes) -> None:
    for opcode in (b"", b"\0\1", b"\0\2", b"\0\3", b"\0\4", b"\0\5", b"\0\6"):
        with contextlib.suppress(TftpPacketError):
            assert isinstance(decode(opcode + data), Packet)


TEXT = st.binary(max_size=20).map(
    lambda b: b.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
OPTIONS = st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=4).map(tuple)
NUMBER = st.integers(0, 65535)


@given(
    st.one_of(
        st.builds(Rrq, TEXT, TEXT.map(str.lower), OPTIONS),
        st.builds(Wrq, TEXT, TEXT.map(str.lower), OPTIONS),
        st.builds(Data, NUMBER, st.binary(max_size=64)),
        st.builds(Ack, NUMBER),
        st.builds(Error, NUMBER, TEXT),
        st.builds(Oack, OPTIONS),
    )
)
def test_a_packet_survives_the_wire(packet: Packet) -> None:
    assert decode(encode(packet)) == packet
