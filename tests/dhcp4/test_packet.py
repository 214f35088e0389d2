"""The codec: vectors both ways, long and overloaded options, and any octets at all."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.dhcp4.wire.packet import COOKIE, NOBODY, DhcpPacketError, Packet, decode, encode

from .vectors import MAC, VECTORS, Vector, wire


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_a_real_clients_packet_both_ways(vector: Vector) -> None:
    packet = decode(vector.data)
    assert tuple(packet.options) == vector.codes
    assert packet.chaddr == MAC
    again = encode(packet)
    if packet.cookie:
        # the same octets, but for padding: END first, then zeros
        assert again.rstrip(b"\0") == vector.data.rstrip(b"\0")
    assert decode(again) == packet
    assert len(again) >= 300


def test_header_fields() -> None:
    data = wire("350101", flags=0x8000, secs=7, ciaddr="c0a80164")
    packet = decode(data)
    assert (packet.xid, packet.flags, packet.secs) == (0x3903F326, 0x8000, 7)
    assert packet.ciaddr == IPv4Address("192.168.1.100")
    assert packet.yiaddr == packet.giaddr == NOBODY


def test_a_long_option_in_pieces_is_joined_and_split() -> None:
    value = bytes(range(256)) * 2
    packet = Packet(chaddr=MAC, options={53: b"\1", 43: value})
    data = encode(packet)
    assert data[243:245] == b"\x2b\xff"
    assert decode(data) == packet


def test_pieces_that_other_options_part_are_joined() -> None:  # RFC 3396 7
    packet = decode(wire("430161 350101 430162"))
    assert packet.options == {0x43: b"ab", 53: b"\1"}


def test_options_in_file_and_sname_are_read() -> None:  # RFC 2132 9.3
    data = bytearray(wire("350101 340103 0c0161"))
    data[108:112] = b"\x0c\x01b\xff"
    data[44:48] = b"\x0c\x01c\xff"
    packet = decode(bytes(data))
    assert packet.options == {53: b"\1", 12: b"abc"}
    assert (packet.file, packet.sname) == (b"", b"")


def test_what_does_not_fit_goes_to_file_and_sname() -> None:
    options = {53: b"\5", 17: b"r" * 40, 15: b"d" * 100, 12: b"h" * 40}
    packet = Packet(op=2, chaddr=MAC, options=options)
    data = encode(packet, 300)
    assert len(data) == 300
    assert decode(data).options == options


def test_a_file_name_is_never_overloaded_and_the_rest_is_left_out() -> None:
    options = {53: b"\5", 15: b"d" * 30, 12: b"h" * 60, 17: b"r" * 60}
    packet = Packet(op=2, chaddr=MAC, file=b"boot", sname=b"s", options=options)
    data = encode(packet, 300)
    assert (len(data), decode(data).file, decode(data).sname) == (300, b"boot", b"s")
    assert list(decode(data).options) == [53, 15]


@pytest.mark.parametrize("limit", [300, 576])
def test_option_82_is_last_and_never_left_out(limit: int) -> None:  # RFC 3046 2.1
    options = {53: b"\2", 82: b"\1\4port", 17: b"r" * 200}
    data = encode(Packet(op=2, file=b"x", sname=b"y", options=options), limit)
    assert data[:limit].rstrip(b"\0").endswith(b"\x52\x06\x01\x04port\xff")
    assert len(data) <= limit


def test_option_82_that_alone_is_over_the_limit_is_left_out_whole() -> None:  # found by fuzzing
    packet = Packet(op=2, options={53: b"\2", 82: b"\1\xff" + bytes(255)})
    data = encode(packet, 300)
    assert len(data) == 300
    assert decode(data).options == {53: b"\2"}


def test_option_82_that_leaves_no_room_for_option_52() -> None:  # found by fuzzing
    packet = Packet(op=2, options={12: b"h" * 40, 82: b"\1\x36" + bytes(54)})
    assert len(encode(packet, 300)) == 300
    assert decode(encode(packet, 300)).options == {82: packet.options[82]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too few"),
        (wire("350101")[:235], "too few"),
        (b"\3" + wire("350101")[1:], "op 3"),
        (b"\1\1\x11" + wire("350101")[3:], "17 octets"),
    ],
)
def test_what_is_no_packet_says_why(data: bytes, why: str) -> None:
    with pytest.raises(DhcpPacketError, match=why):
        decode(data)


def test_fields_that_are_too_long_are_refused() -> None:
    for packet in (Packet(file=b"f" * 129), Packet(sname=b"s" * 65), Packet(chaddr=bytes(17))):
        with pytest.raises(ValueError, match="holds"):
            encode(packet)


addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
names = st.binary(max_size=64).map(lambda name: name.partition(b"\0")[0])
packets = st.builds(
    Packet,
    op=st.sampled_from((1, 2)),
    htype=st.integers(0, 255),
    hops=st.integers(0, 255),
    xid=st.integers(0, 2**32 - 1),
    secs=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    chaddr=st.binary(max_size=16),
    sname=names,
    file=names,
    options=st.dictionaries(
        st.integers(1, 254).filter(lambda code: code != 52), st.binary(max_size=600), max_size=8
    ),
)


@given(packets)
def test_what_is_written_is_read_back(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


@given(packets, st.integers(300, 1500))
def test_a_limit_is_kept_and_what_is_there_is_right(packet: Packet, limit: int) -> None:
    data = encode(packet, limit)
    assert len(data) <= limit
    assert decode(data).options.items() <= packet.options.items()


@given(st.binary(max_size=700))
def test_any_octets_decode_or_raise_the_one_error(data: bytes) -> None:
    for candidate in (data, wire("350101")[:236] + COOKIE + data):
        try:
            packet = decode(candidate)
        except DhcpPacketError:
            continue
        assert decode(encode(packet)) == packet
