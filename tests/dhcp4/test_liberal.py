"""Liberal in what is read: a fault costs the option that has it, not the packet."""

import itertools

import pytest

from pybootd.core.events import Offered
from pybootd.dhcp4.wire.packet import NOBODY, DhcpPacketError, MessageType, Packet, decode, encode

from .desk import FIRST, HERE, MAC, SERVER, A, Desk, answer, elsewhere, events, kind, request
from .vectors import VECTORS, Vector, text, wire

DISCOVER, REQUEST = MessageType.DISCOVER, MessageType.REQUEST


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: one.name)
def test_every_cut_of_a_real_packet_costs_only_what_was_cut(vector: Vector) -> None:
    whole = decode(vector.data)
    for length in range(236):
        with pytest.raises(DhcpPacketError, match="too few") as caught:
            decode(vector.data[:length])
        assert caught.value.mac == (MAC if length >= 34 else b"")
    for length in range(236, len(vector.data)):
        packet = decode(vector.data[:length])
        assert packet.options.items() <= whole.options.items()
        assert packet.chaddr == MAC
        answered = Desk().handler.handle_request(packet, HERE, 1000.0)
        found = answer(answered)
        if found is not None:
            # a DHCP client whose option 53 was cut off gets no address for good, as BOOTP would
            assert (53 in found.options) == (53 in whole.options) or not packet.options


@pytest.mark.parametrize(
    ("tail", "lost"),
    [
        ("35", set()),  # a stray octet
        ("0c", {12}),
        ("0c05", {12}),
        ("0c05 626f", {12}),
        ("0cff 626f78", {12}),
        ("3d07 01 5254", {61}),
    ],
)
def test_a_cut_or_stray_end_costs_that_option(tail: str, lost: set[int]) -> None:
    head = wire("350101 3902 05c0 3703 010306")[:-1]
    data = head[: head.index(b"\xff", 240)] + bytes.fromhex(tail)
    packet = decode(data)
    assert set(packet.options) == {53, 57, 55}
    assert not lost & packet.options.keys()
    (offered, *_) = events(Desk().handler.handle_request(packet, HERE, 1000.0))
    assert isinstance(offered, Offered)


@pytest.mark.parametrize("value", ["3400", "340100", "340104", "3401ff", "34020101"])
def test_an_illegal_option_52_costs_itself(value: str) -> None:
    data = bytearray(wire("350101" + value))
    data[44:52] = b"server\0\0"
    data[108:116] = b"file.0\0\0"
    packet = decode(bytes(data))
    assert (packet.sname, packet.file) == (b"server", b"file.0")
    assert packet.options == {53: b"\1"}


@pytest.mark.parametrize("value", [1, 2, 3])
def test_a_cut_option_in_an_overloaded_field_costs_itself(value: int) -> None:
    data = bytearray(wire(f"350101 3401{value:02x}"))
    data[44:108] = (b"\x0c\x03box\x3c\x60" + b"x" * 57)[:64]
    data[108:236] = (b"\x0f\x03lab\x3c\xf0" + b"x" * 121)[:128]
    packet = decode(bytes(data))
    expected = {53: b"\1"}
    expected |= {15: b"lab"} if value & 1 else {}
    expected |= {12: b"box"} if value & 2 else {}
    assert packet.options == expected
    assert kind(answer(Desk().handler.handle_request(packet, HERE, 1000.0))) == MessageType.OFFER


@pytest.mark.parametrize("value", ["00", "63", "ff", "02", "05", "06", "09", "0d", ""])
def test_a_type_that_is_no_request_gets_silence(value: str) -> None:
    octets = bytes.fromhex(value)
    desk = Desk()
    assert desk.effects(Packet(chaddr=MAC, options={53: octets})) == []
    assert not any(network.pool.list_leases() for network in desk.subnets)


def test_no_type_at_all_is_bootp_unless_it_may_have_been_cut_off() -> None:
    assert answer(Desk().effects(Packet(chaddr=MAC))) is not None
    host_name = bytes.fromhex(text(12, "box"))
    for octets in (host_name, host_name + b"\x35", host_name + b"\x35\1"):
        packet = decode(wire("")[:240] + octets)
        assert packet.cut_off
        assert Desk().handler.handle_request(packet, HERE, 1000.0) == []


def test_a_missing_end_is_no_fault_of_a_whole_message() -> None:
    data = wire("350101 0c03626f78")
    packet = decode(data[: data.index(b"\xff", 240)])
    assert packet.options == {53: b"\1", 12: b"box"}
    padded = decode(data.replace(b"box\xff", b"box\0"))
    assert (padded.options, padded.cut_off) == (packet.options, False)


@pytest.mark.parametrize("code", [12, 43, 50, 51, 54, 55, 57, 60, 61, 77, 82, 93, 97, 118])
def test_an_option_without_a_value_is_as_good_as_none(code: int) -> None:
    plain = Desk().ask(request(DISCOVER))
    given = Desk().ask(request(DISCOVER, options={code: b""}))
    assert plain is not None
    assert given is not None
    echoed = {code: b""} if code in (61, 82, 97, 118) else {}
    if code == 97:  # it is a network boot client then, and told where its file is
        assert plain.options.items() <= given.options.items()
    else:
        assert given.options == plain.options | echoed
    assert (given.yiaddr, given.file) == (plain.yiaddr, plain.file)


def test_an_option_that_came_twice_counts_once() -> None:
    twice = {50: FIRST.packed * 2, 54: SERVER.packed * 2}
    desk = Desk()
    desk.ask(request(DISCOVER))
    ack = desk.ask(Packet(chaddr=MAC, options={53: b"\3\3"} | twice))
    assert (kind(ack), ack and ack.yiaddr) == (MessageType.ACK, FIRST)


def test_any_single_octet_of_an_option_may_be_wrong() -> None:
    """Whatever a length says, decoding ends and what it returns can be written."""
    data = bytearray(VECTORS[0].data)
    for at, octet in itertools.product(range(240, 300), (0, 1, 127, 255)):
        before, data[at] = data[at], octet
        packet = decode(bytes(data))
        assert decode(encode(packet)) == packet
        data[at] = before


def test_a_server_id_of_odd_length_names_no_server() -> None:
    desk = Desk()
    desk.lease()
    for octets in (b"", b"\1", b"\1\2\3\4\5"):
        ack = desk.ask(Packet(chaddr=MAC, options={53: b"\3", 50: FIRST.packed, 54: octets}))
        assert kind(ack) == MessageType.ACK
    renewed = Packet(chaddr=MAC, ciaddr=FIRST, options={53: b"\3", 54: b"\1"})
    assert kind(desk.ask(renewed, elsewhere(source=FIRST))) == MessageType.ACK
    other = Packet(chaddr=MAC, options={53: b"\3", 50: FIRST.packed, 54: A("10.0.0.9").packed})
    assert desk.ask(other) is None
    assert NOBODY not in desk.subnets.own
