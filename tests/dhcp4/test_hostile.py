"""Whatever a stranger sends: no error, and no answer that can't be read."""

from ipaddress import IPv4Address as A

from hypothesis import given, settings
from hypothesis import strategies as st

from pybootd.dhcp4.actions import Probe
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.wire.packet import NOBODY, DhcpPacketError, Packet, decode

from .desk import FIRST, LAN, MAC, OTHER, PXE, SERVER, WAN, Desk
from .vectors import VECTORS

ADDRESSES = st.sampled_from(
    [NOBODY, FIRST, FIRST + 1, SERVER, A("192.168.1.254"), A("10.9.0.5"), A("255.255.255.255")]
) | st.integers(0, 2**32 - 1).map(A)
OPTIONS = st.dictionaries(
    st.sampled_from((12, 50, 51, 52, 54, 55, 57, 60, 61, 77, 82, 93, 94, 97, 118, 175))
    | st.integers(1, 254),
    st.binary(max_size=40) | ADDRESSES.map(lambda address: address.packed),
    max_size=8,
)
KINDS = st.sampled_from([b"\1", b"\3", b"\4", b"\7", b"\x08"]) | st.binary(max_size=3)
PACKETS = st.builds(
    Packet,
    op=st.just(1),
    htype=st.integers(0, 255),
    hops=st.integers(0, 255),
    secs=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    ciaddr=ADDRESSES,
    giaddr=st.just(NOBODY) | ADDRESSES,
    chaddr=st.sampled_from([MAC, OTHER]) | st.binary(max_size=16),
    sname=st.just(b"") | st.binary(max_size=64),
    options=st.builds(lambda kind, more: {53: kind} | more, KINDS, OPTIONS) | OPTIONS,
    cookie=st.booleans(),
)
ORIGINS = st.builds(
    Arrival,
    st.sampled_from([LAN, WAN]),
    st.sampled_from([SERVER, A("10.9.0.1")]),
    ADDRESSES,
    st.booleans(),
)


def serve(desk: Desk, packet: Packet, origin: Arrival) -> None:
    for effect in desk.handler.handle_request(packet, origin, desk.now):
        if isinstance(effect, Reply):
            assert decode(effect.data).op == 2
            assert 300 <= len(effect.data) <= 1472
        elif isinstance(effect, Probe):
            effect.resume(OTHER, effect.deadline)


@settings(max_examples=50)
@given(st.lists(st.tuples(PACKETS, ORIGINS), max_size=12), st.sampled_from(["mac", "client-id"]))
def test_any_packets_in_any_order(steps: list[tuple[Packet, Arrival]], identity: str) -> None:
    desk = Desk(identity=identity, pool_count=2, conflict_check=True, reclaim="expired")
    for packet, origin in steps:
        serve(desk, packet, origin)
        desk.now += 17.0
    leases = [lease for network in desk.subnets for lease in network.pool.list_leases()]
    owners = [lease.owner for lease in leases if lease.owner]
    assert len(owners) == len(set(owners))
    assert len(leases) <= 2


@settings(max_examples=50)
@given(st.sampled_from(VECTORS), st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255))))
def test_real_packets_with_octets_changed(vector: object, changes: list[tuple[int, int]]) -> None:
    data = bytearray(getattr(vector, "data"))  # noqa: B009
    for at, octet in changes:
        data[at % len(data)] = octet
    try:
        packet = decode(bytes(data))
    except DhcpPacketError:
        return
    serve(Desk(), packet, Arrival(LAN, SERVER))


def test_a_boot_clients_own_words_are_no_trap() -> None:
    for strange in (b"", b"\0", b"\xff" * 255, b"PXEClient" + bytes(300)):
        for code in (*PXE, 77, 12, 43, 175, 61, 82, 118, 55, 57, 50, 51, 54):
            packet = Packet(chaddr=MAC, options={53: b"\1"} | PXE | {code: strange})
            serve(Desk(), packet, Arrival(LAN, SERVER))
