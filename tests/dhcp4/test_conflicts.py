"""What strangers can do with DECLINE and ARP to a pool, and forged addresses to a reply."""

import logging

import pytest

from pybootd.core.events import AddressConflict
from pybootd.dhcp4.actions import Action, Probe
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, decode, encode
from pybootd.leases.conflicts import MAX_ADDRESSES, MAX_DECLINES
from pybootd.leases.pool import DECLINE_HOLD_S

from .desk import FIRST, HERE, MAC, PXE, SERVER, A, Desk, answer, elsewhere, events, kind, request

DISCOVER, REQUEST, DECLINE = MessageType.DISCOVER, MessageType.REQUEST, MessageType.DECLINE
INFORM = MessageType.INFORM
POOL = 100
LIAR = bytes.fromhex("52540066e666")


def mac(number: int) -> bytes:
    return b"\x52\x54" + number.to_bytes(4)


def is_offered(desk: Desk, number: int) -> bool:
    return desk.ask(request(DISCOVER, mac=mac(number))) is not None


def test_declines_of_mere_offers_block_nothing() -> None:
    desk = Desk(pool_count=POOL)
    for number in range(112):
        offer = desk.ask(request(DISCOVER, mac=mac(number)))
        assert offer is not None
        decline = request(DECLINE, mac=mac(number), wanted=offer.yiaddr, server=SERVER)
        assert desk.effects(decline) == []
    assert all(is_offered(desk, 1000 + number) for number in range(POOL))


def test_a_decline_of_another_clients_lease_changes_nothing() -> None:
    desk = Desk()
    had = desk.lease().yiaddr
    desk.lease(mac=mac(1))
    assert desk.effects(request(DECLINE, mac=mac(1), wanted=had, server=SERVER)) == []
    assert desk.leased(had)


def test_a_decline_of_a_confirmed_lease_is_believed() -> None:
    desk = Desk()
    had = desk.lease().yiaddr
    (event,) = events(desk.effects(request(DECLINE, wanted=had, server=SERVER)))
    assert isinstance(event, AddressConflict)
    assert desk.clients.find_by_address(had) is None
    offer = desk.ask(request(DISCOVER, mac=mac(1), wanted=had))
    assert offer is not None
    assert offer.yiaddr != had


def test_one_client_cannot_decline_a_pool_away() -> None:
    desk = Desk(pool_count=POOL)
    for _ in range(112):
        had = desk.lease(mac=LIAR).yiaddr
        desk.effects(request(DECLINE, mac=LIAR, wanted=had, server=SERVER))
    assert sum(is_offered(desk, number) for number in range(POOL)) >= POOL - MAX_DECLINES


def probe_of(actions: list[Action]) -> Probe | None:
    return next((one for one in actions if isinstance(one, Probe)), None)


def ask_with_probes(desk: Desk, number: int, user: bytes) -> A | None:
    """Return the address that is offered while ``user`` answers for each that is probed."""
    actions = desk.effects(request(DISCOVER, mac=mac(number)))
    while (probe := probe_of(actions)) is not None:
        actions = probe.resume(user, desk.now)
    offer = answer(actions)
    return None if offer is None else offer.yiaddr


def test_a_host_that_answers_for_every_address_does_not_empty_the_pool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk(pool_count=POOL, conflict_check=True)
    with caplog.at_level(logging.WARNING):
        given = {ask_with_probes(desk, number, LIAR) for number in range(POOL)}
    assert given == {FIRST + number for number in range(POOL)}
    (line,) = caplog.messages
    assert LIAR.hex(":") in line
    assert str(FIRST) in line


def test_a_host_with_a_few_addresses_keeps_them() -> None:
    desk = Desk(pool_count=POOL, conflict_check=True)
    static = {FIRST + number for number in range(MAX_ADDRESSES)}
    actions = desk.effects(request(DISCOVER))
    while (probe := probe_of(actions)) is not None:
        actions = probe.resume(LIAR if probe.address in static else b"", desk.now)
    offer = answer(actions)
    assert offer is not None
    assert offer.yiaddr == FIRST + MAX_ADDRESSES
    assert not static & {ask_with_probes(desk, number, b"") for number in range(20)}
    desk.now += DECLINE_HOLD_S + 1
    actions = desk.effects(request(DISCOVER, mac=mac(99), wanted=FIRST))
    probe = probe_of(actions)
    assert probe is not None
    conflict, *_ = events(probe.resume(LIAR, desk.now))  # it is believed again
    assert isinstance(conflict, AddressConflict)


def test_what_clients_hear_of_such_a_host_blocks_no_address() -> None:
    desk = Desk(pool_count=POOL, conflict_check=True)
    for number in range(MAX_ADDRESSES + 1):
        ask_with_probes(desk, number, LIAR)
    for number in range(200, 200 + POOL):
        had = ask_with_probes(desk, number, b"")
        assert had is not None
        asked = request(REQUEST, mac=mac(number), wanted=had, server=SERVER)
        assert kind(desk.ask(asked)) == MessageType.ACK
        desk.effects(request(DECLINE, mac=mac(number), wanted=had, server=SERVER))
    assert all(ask_with_probes(desk, 500 + number, b"") for number in range(POOL - 5))


# where replies never go

MANY = [
    A("255.255.255.255"),
    A("192.168.1.255"),  # of the subnet
    A("192.168.1.0"),
    A("10.9.255.255"),  # of another link
    A("224.0.0.1"),
    A("239.255.255.250"),
    A("240.0.0.1"),
    A("127.0.0.1"),
    A("0.0.0.1"),
]
MESSAGES = (None, DISCOVER, REQUEST, INFORM, MessageType.RELEASE)


def replies(actions: list[Action]) -> list[Reply]:
    return [one for one in actions if isinstance(one, Reply)]


@pytest.mark.parametrize("address", MANY, ids=str)
@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("mode", ["dhcp", "proxy"])
def test_no_reply_to_a_forged_address_of_many(mode: str, message: int | None, address: A) -> None:
    desk = Desk(mode=mode, pool_start=FIRST if mode == "dhcp" else None)
    for field in ("giaddr", "ciaddr", "source"):
        sent = {field: address} if field != "source" else {}
        origin = elsewhere(source=address if field == "source" else NOBODY)
        packet = decode(encode(request(message, options=PXE, **sent)))
        handle = desk.handler.proxy.handle_port_67
        if mode == "dhcp":
            handle = desk.handler.handle_request
        for reply in replies(handle(packet, origin, desk.now)):
            # what the client's own link is told does not go where the forger says
            assert field == "ciaddr"
            assert (reply.mac == MAC) or reply.to == A("255.255.255.255")
            assert message in (DISCOVER, REQUEST)


@pytest.mark.parametrize("address", MANY, ids=str)
@pytest.mark.parametrize("mode", ["dhcp", "proxy"])
def test_port_4011_answers_no_forged_address_of_many(mode: str, address: A) -> None:
    desk = Desk(mode=mode, pool_start=FIRST if mode == "dhcp" else None)
    for ciaddr, source in ((NOBODY, address), (address, address), (address, FIRST)):
        origin = elsewhere(source=source, unicast=True, port=4011, boot_server=True)
        packet = decode(encode(request(REQUEST, options=PXE, ciaddr=ciaddr)))
        assert replies(desk.handler.proxy.handle_port_4011(packet, origin, desk.now)) == []


def test_a_host_of_a_network_without_a_broadcast_address_is_answered() -> None:
    """RFC 3021: a /31 has two hosts."""
    desk = Desk(pool_start=A("192.168.1.2"), pool_count=2, netmask=A("255.255.255.254"))
    packet = request(INFORM, ciaddr=A("192.168.1.3"))
    assert desk.subnets.may_answer(packet, HERE, packet.ciaddr)
