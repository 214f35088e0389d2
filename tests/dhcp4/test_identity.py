"""Nobody is somebody by saying so: a packet that only claims changes nothing of any other."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import ClassVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.access.base import Access, AccessDecision
from pybootd.config.ini import Section
from pybootd.core.client import Client, KnownClient, make_identity
from pybootd.core.events import Confirmed, Offered
from pybootd.dhcp4.actions import Action
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet, decode, encode

from .desk import FIRST, HERE, MAC, OTHER, PXE, SERVER, A, Desk, answer, events, kind, request

DISCOVER, REQUEST, INFORM = MessageType.DISCOVER, MessageType.REQUEST, MessageType.INFORM
STRANGER = bytes.fromhex("52540066e666")
OUTSIDE = A("192.168.1.66")  # where the stranger is; no pool has it
THEIRS = A("192.168.1.2")  # another DHCP server
SHOWN = UUID(bytes_le=bytes(range(16)))
OWN = UUID(int=7)


def to_4011(desk: Desk, packet: Packet, source: IPv4Address) -> list[Action]:
    """Send it as a host sends it that has this address."""
    arrival = replace(HERE, source=source, unicast=True, port=4011, boot_server=True)
    beside = desk.config.bootp.mode == "proxy"
    packet = decode(encode(packet))
    return desk.handler.proxy.handle_port_4011(packet, arrival, desk.now, beside_other=beside)


def to_67(desk: Desk, packet: Packet, source: IPv4Address = NOBODY) -> list[Action]:
    packet, arrival = decode(encode(packet)), replace(HERE, source=source)
    if desk.config.bootp.mode == "proxy":
        return desk.handler.proxy.handle_port_67(packet, arrival, desk.now)
    return desk.handler.handle_request(packet, arrival, desk.now)


def proxy_desk() -> Desk:
    return Desk(mode="proxy", pool_start=None)


# one packet to port 4011, or to 67 of a proxy


def test_a_packet_to_port_4011_gives_a_stranger_no_address() -> None:
    desk = Desk()
    assert answer(to_4011(desk, request(REQUEST, mac=STRANGER, options=PXE), OUTSIDE)) is not None
    assert desk.clients.find_by_address(OUTSIDE) is None  # check_ip asks for that


@pytest.mark.parametrize("claim", ["ciaddr", "requested", "source"])
def test_a_packet_to_port_4011_takes_no_address_from_its_client(claim: str) -> None:
    desk = Desk()
    had = desk.lease(options=PXE).yiaddr
    victim = desk.clients.find_by_address(had)
    packet = request(
        REQUEST, mac=STRANGER, options=PXE, wanted=had if claim == "requested" else None
    )
    packet.ciaddr = had if claim == "ciaddr" else NOBODY
    effects = to_4011(desk, packet, had if claim == "source" else OUTSIDE)
    assert desk.clients.find_by_address(had) is victim
    assert victim is not None
    assert victim.address == had
    assert all(one.claimed for one in events(effects) if isinstance(one, Confirmed))


@pytest.mark.parametrize("port", [67, 4011])
def test_beside_another_server_a_claim_counts_for_nothing(port: int) -> None:
    desk, had = proxy_desk(), A("192.168.1.55")
    desk.neighbours |= {had: MAC, OUTSIDE: STRANGER}
    for mac in (MAC, STRANGER):
        to_67(desk, request(DISCOVER, mac=mac, options=PXE))
    victim = desk.clients.find_by_address(had)
    assert victim is not None
    assert victim.client.mac == MAC
    packet = request(REQUEST, mac=STRANGER, options=PXE, wanted=had, server=THEIRS, ciaddr=had)
    (to_67 if port == 67 else to_4011)(desk, packet, OUTSIDE)
    assert desk.clients.find_by_address(had) is victim
    assert victim.address == had


def test_beside_another_server_no_machine_is_another_by_saying_so() -> None:
    """The system sees who is behind the address that a packet comes from."""
    desk, had = proxy_desk(), A("192.168.1.55")
    desk.neighbours |= {had: MAC, OUTSIDE: STRANGER}
    to_67(desk, request(DISCOVER, options=PXE))
    victim = desk.clients.find_by_address(had)
    assert victim is not None
    before = replace(victim)
    claimed = request(REQUEST, options=PXE | {93: b"\0\0", 97: b"\0" + OWN.bytes_le})
    assert to_4011(desk, claimed, OUTSIDE) == []
    assert victim == before
    assert answer(to_4011(desk, request(REQUEST, options=PXE), had)) is not None


def test_a_client_that_moves_is_where_the_system_sees_it() -> None:
    desk, had = proxy_desk(), A("192.168.1.55")
    to_67(desk, request(DISCOVER, options=PXE))
    assert desk.clients.find_by_address(had) is None
    desk.neighbours[had] = MAC
    known = desk.clients.find_by_address(had)
    assert known is not None
    del desk.neighbours[had]  # the system forgets what is not used
    assert desk.clients.find_by_address(had) is known
    desk.neighbours[had + 1] = MAC
    assert desk.clients.find_by_address(had + 1) is known
    desk.neighbours[had + 1] = OTHER  # another machine, of which we know nothing
    assert desk.clients.find_by_address(had + 1) is None


def test_where_we_give_the_addresses_a_lease_alone_counts() -> None:
    desk = Desk()
    had = desk.lease(options=PXE).yiaddr
    to_4011(desk, request(REQUEST, mac=STRANGER, options=PXE), OUTSIDE)
    desk.neighbours |= {had: STRANGER, OUTSIDE: STRANGER}
    known = desk.clients.find_by_address(had)
    assert known is not None
    assert known.client.mac == MAC
    assert desk.clients.find_by_address(OUTSIDE) is None


def test_an_access_list_is_told_no_address_that_a_client_only_claims() -> None:
    class Listener(Access):
        told: ClassVar[list[object]] = []

        @classmethod
        def from_config(cls, section: Section) -> Access:
            return cls()

        def check(self, client: Client) -> AccessDecision:
            self.told.append((client.address, client.known))
            return AccessDecision(True, "")

    desk = Desk(access=Listener())
    had = desk.lease().yiaddr
    Listener.told.clear()
    for message in (REQUEST, INFORM):
        desk.effects(request(message, mac=STRANGER, ciaddr=had, options={97: PXE[97]}))
    desk.effects(request(REQUEST, ciaddr=had))
    assert Listener.told == [(None, False), (None, False), (had, True)]


# clients without a hardware address: htype 32, hlen 0, option 61 (RFC 4390 2.1)


def infiniband(message: int, client_id: bytes, uuid: UUID, **more: object) -> Packet:
    sent = PXE | {61: client_id, 97: b"\0" + uuid.bytes_le}
    return request(message, mac=b"", options=sent, htype=32, flags=0x8000, **more)  # type: ignore[arg-type]


def lease_infiniband(desk: Desk, client_id: bytes, uuid: UUID) -> Packet:
    offer = desk.ask(infiniband(DISCOVER, client_id, uuid))
    assert offer is not None
    ack = desk.ask(infiniband(REQUEST, client_id, uuid, wanted=offer.yiaddr, server=SERVER))
    assert kind(ack) == MessageType.ACK
    assert ack is not None
    return ack


@pytest.mark.parametrize("identity", ["mac", "client-id"])
def test_two_clients_without_a_hardware_address_are_two(identity: str) -> None:
    desk = Desk(identity=identity)
    one, two = lease_infiniband(desk, b"\xff1", SHOWN), lease_infiniband(desk, b"\xff2", OWN)
    assert one.yiaddr != two.yiaddr
    first, second = (desk.clients.find_by_address(ack.yiaddr) for ack in (one, two))
    assert first is not None
    assert second is not None
    assert (first.uuid, second.uuid) == (SHOWN, OWN)
    assert (first.client.name, second.client.name) == ("id:ff31", "id:ff32")
    # the system's request lacks the UUID; it gets its own back and no other's
    plain = request(DISCOVER, mac=b"", options={61: b"\xff2"}, htype=32)
    (event,) = events(desk.effects(plain))
    assert isinstance(event, Offered)
    assert (event.client.uuid, event.address) == (OWN, two.yiaddr)


def test_beside_another_server_a_client_without_a_hardware_address_is_answered() -> None:
    desk = proxy_desk()
    for client_id, uuid in ((b"\xff1", SHOWN), (b"\xff2", OWN)):
        assert answer(to_67(desk, infiniband(DISCOVER, client_id, uuid))) is not None
    uuids = [desk.clients.find_by_identity(make_identity(b"", one)) for one in (b"\xff1", b"\xff2")]
    assert [known.uuid if known else None for known in uuids] == [SHOWN, OWN]


# whatever a stranger sends

KEPT = A("192.168.1.200")
STATIC = bytes.fromhex("525400000005")
PEER = b"\xffpeer"  # a client without a hardware address
THERE = A("192.168.1.55")  # where MAC is beside another server
ADDRESSES = (NOBODY, FIRST, FIRST + 1, FIRST + 2, KEPT, THERE, OUTSIDE, SERVER, THEIRS)

PACKETS = st.builds(
    lambda message, mac, ciaddr, giaddr, flags, secs, pxe, sent: Packet(
        xid=66,
        htype=1 if mac else 32,
        chaddr=mac,
        ciaddr=ciaddr,
        giaddr=giaddr,
        flags=flags,
        secs=secs,
        options=({} if message is None else {53: bytes((message,))}) | (PXE if pxe else {}) | sent,
    ),
    st.one_of(st.sampled_from((1, 3, 3, 4, 7, 8)), st.none(), st.integers(0, 13)),
    st.sampled_from((STRANGER, STRANGER, b"", OUTSIDE.packed + b"\0\0")),
    st.sampled_from(ADDRESSES),
    st.sampled_from((NOBODY, NOBODY, *ADDRESSES)),
    st.sampled_from((0, 0x8000)),
    st.sampled_from((0, 9)),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            50: st.sampled_from(ADDRESSES).map(lambda address: address.packed),
            54: st.sampled_from(ADDRESSES).map(lambda address: address.packed),
            60: st.sampled_from((PXE[60], b"HTTPClient", b"x")),
            61: st.sampled_from((b"\1" + MAC, b"\xffanother", b"", PEER)),
            77: st.just(b"iPXE"),
            82: st.just(b"\5\4" + KEPT.packed),
            93: st.sampled_from((b"\0\0", b"\0\7", b"\0\x10")),
            97: st.sampled_from((PXE[97], b"\0" + OWN.bytes_le)),
        },
    ),
).filter(lambda packet: bool(packet.chaddr) or packet.options.get(61) != PEER)
ARRIVALS = st.builds(
    lambda source, unicast, boot: (source, unicast, boot),
    st.sampled_from((NOBODY, OUTSIDE, FIRST, THERE)),
    st.booleans(),
    st.booleans(),
)
STRANGERS = st.lists(st.lists(st.tuples(PACKETS, ARRIVALS), max_size=4), min_size=8, max_size=8)
Said = list[tuple[bytes, IPv4Address, bytes]]


def ask_as(desk: Desk, packet: Packet, boot: IPv4Address | None = None) -> Said:
    """Say what a client gets, and where it goes."""
    effects = to_67(desk, packet) if boot is None else to_4011(desk, packet, boot)
    return [(one.data, one.to, one.mac) for one in effects if isinstance(one, Reply)]


def look(known: KnownClient | None) -> tuple[object, ...] | None:
    if known is None:
        return None
    return (
        *(known.client.identity, known.uuid, known.address, known.booted, known.hostname),
        *(known.file, known.boot_file, known.server, tuple(known.variables.items())),
    )


def tell_dhcp(desk: Desk, between: Callable[[int], None]) -> list[object]:
    """Tell what four clients get, one of which is new; ``between`` is called after each step."""
    first = desk.lease(options=PXE | {12: b"node"}).yiaddr
    peer = lease_infiniband(desk, PEER, SHOWN).yiaddr
    between(0)
    told: list[object] = [ask_as(desk, request(REQUEST, ciaddr=first))]
    between(1)
    told += ask_as(desk, request(DISCOVER, mac=STATIC, options=PXE))
    between(2)
    told += ask_as(desk, request(REQUEST, mac=STATIC, options=PXE, wanted=KEPT, server=SERVER))
    told += ask_as(desk, request(DISCOVER, options=PXE))
    between(3)
    told += ask_as(desk, request(REQUEST, options=PXE, wanted=first, server=SERVER))
    told += ask_as(desk, infiniband(REQUEST, PEER, SHOWN, ciaddr=peer))
    between(4)
    told += ask_as(desk, request(REQUEST, options=PXE, ciaddr=first), first)
    offer = answer(to_67(desk, request(DISCOVER, mac=OTHER, options=PXE)))
    between(5)
    assert offer is not None  # which address it is depends on those that are taken
    told += [(offer.file, offer.siaddr, sorted(offer.options.items()))]
    asked = request(REQUEST, mac=OTHER, options=PXE, wanted=offer.yiaddr, server=SERVER)
    ack = answer(to_67(desk, asked))
    between(6)
    assert ack is not None
    told += [(kind(ack), ack.file, ack.yiaddr == offer.yiaddr)]
    told += [look(desk.clients.find_by_address(one)) for one in (first, peer, KEPT)]
    known = desk.clients.find_by_address(ack.yiaddr)
    assert known is not None
    assert known.client.mac == OTHER
    told += [ask_as(desk, request(INFORM, ciaddr=first))]
    between(7)
    return told


def tell_proxy(desk: Desk, between: Callable[[int], None]) -> list[object]:
    told: list[object] = [ask_as(desk, request(DISCOVER, options=PXE))]
    between(0)
    told += ask_as(desk, request(REQUEST, options=PXE, wanted=THERE, server=THEIRS))
    desk.neighbours[THERE] = MAC
    between(1)
    told += [look(desk.clients.find_by_address(THERE))]
    between(2)
    told += ask_as(desk, request(REQUEST, options=PXE, ciaddr=THERE), THERE)
    between(3)
    told += [look(desk.clients.find_by_address(THERE))]
    told += ask_as(desk, infiniband(DISCOVER, PEER, OWN))
    between(4)
    told += ask_as(desk, request(DISCOVER, mac=OTHER, options=PXE))
    between(5)
    told += [look(desk.clients.find_by_address(one)) for one in (THERE, FIRST, KEPT)]
    told += [look(desk.clients.find_by_identity(one)) for one in (MAC, OTHER, b"id:" + PEER)]
    return told


@pytest.mark.parametrize("mode", ["dhcp", "proxy"])
@given(sent=STRANGERS, served=st.booleans())
def test_a_stranger_changes_nothing_of_what_others_get(
    mode: str, sent: list[list[tuple[Packet, tuple[IPv4Address, bool, bool]]]], served: bool
) -> None:
    """Whatever it sends, to port 67 or 4011, with its hardware address or with none.

    ``served``: it boots here itself before.
    """

    def make() -> Desk:
        server = Desk(static={STATIC: KEPT}, pool_count=50)
        desk = proxy_desk() if mode == "proxy" else server
        desk.neighbours[OUTSIDE] = STRANGER
        return desk

    desk = make()

    def disturb(step: int) -> None:
        if served and step == 0:
            if mode == "dhcp":
                desk.lease(mac=STRANGER, options=PXE)
            else:
                to_67(desk, request(DISCOVER, mac=STRANGER, options=PXE))
        for packet, (source, unicast, boot) in sent[step]:
            if boot:
                to_4011(desk, packet, source)
            else:
                arrival = Arrival(HERE.interface, SERVER, source, unicast)
                packet = decode(encode(packet))
                if mode == "proxy":
                    desk.handler.proxy.handle_port_67(packet, arrival, desk.now)
                else:
                    desk.handler.handle_request(packet, arrival, desk.now)

    tell = tell_proxy if mode == "proxy" else tell_dhcp
    assert tell(desk, disturb) == tell(make(), lambda step: None)
    # and it is nowhere but where we confirmed it, or the system sees it
    for number in range(256):
        address = A("192.168.1.0") + number
        known = desk.clients.find_by_address(address)
        if known is not None and known.client.mac == STRANGER:
            assert desk.leased(address) or desk.neighbours.get(address) == STRANGER
            assert mode == "proxy" or desk.leased(address)
