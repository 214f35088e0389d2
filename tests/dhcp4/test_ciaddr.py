"""ciaddr counts in RENEWING, REBINDING and INFORM alone (RFC 2131 4.1, 4.3.2): each with each."""

import pytest

from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet

from .desk import FIRST, MAC, SERVER, WAN, A, Arrival, Desk, answer, elsewhere, request

DISCOVER, REQUEST, INFORM = MessageType.DISCOVER, MessageType.REQUEST, MessageType.INFORM
EVERYBODY = A("255.255.255.255")
OLD = {
    "none": NOBODY,
    "its own": FIRST,
    "another of the network": A("192.168.1.77"),
    "of another network": A("10.1.2.3"),
    "ours": SERVER,
    "broadcast": EVERYBODY,
}
STATES = {
    "INIT": (DISCOVER, {}),
    "INIT, asking for its address": (DISCOVER, {"wanted": FIRST}),
    "SELECTING": (REQUEST, {"wanted": FIRST, "server": SERVER}),
    "INIT-REBOOT": (REQUEST, {"wanted": FIRST}),
}


def prepared(kind: MessageType) -> Desk:
    desk = Desk()
    desk.lease()
    if kind is DISCOVER:
        desk.now += 1
    return desk


@pytest.mark.parametrize("flags", [0, 0x8000])
@pytest.mark.parametrize("ciaddr", OLD.values(), ids=OLD)
@pytest.mark.parametrize(("kind", "named"), STATES.values(), ids=STATES)
def test_an_address_that_is_repeated_changes_nothing(
    kind: MessageType, named: dict[str, A], ciaddr: A, flags: int
) -> None:
    plain = prepared(kind).reply(request(kind, flags=flags, **named))  # type: ignore[arg-type]
    given = prepared(kind).reply(
        request(kind, flags=flags, ciaddr=ciaddr, **named)  # type: ignore[arg-type]
    )
    assert given == plain
    assert (given.to, given.mac) == ((EVERYBODY, b"") if flags else (FIRST, MAC))


@pytest.mark.parametrize("ciaddr", OLD.values(), ids=OLD)
def test_through_a_relay_as_well(ciaddr: A) -> None:
    relay = A("192.168.1.254")
    reply = Desk().reply(request(DISCOVER, giaddr=relay, ciaddr=ciaddr))
    assert (reply.to, reply.port) == (relay, 67)


@pytest.mark.parametrize("flags", [0, 0x8000])
@pytest.mark.parametrize(
    "arrival",
    [elsewhere(source=FIRST, unicast=True), elsewhere(source=FIRST)],
    ids=["RENEWING", "REBINDING"],
)
def test_who_renews_is_answered_where_it_is(arrival: Arrival, flags: int) -> None:
    desk = prepared(REQUEST)
    reply = desk.reply(request(REQUEST, ciaddr=FIRST, flags=flags), arrival)
    ack = answer([reply])
    assert ack is not None
    assert (reply.to, reply.mac, ack.ciaddr, ack.yiaddr) == (FIRST, b"", FIRST, FIRST)


@pytest.mark.parametrize(
    "more", [{"wanted": FIRST}, {"server": SERVER}, {"wanted": FIRST, "server": SERVER}]
)
def test_who_names_too_much_while_it_renews_sends_from_its_address(more: dict[str, A]) -> None:
    desk = prepared(REQUEST)
    packet = request(REQUEST, ciaddr=FIRST, **more)  # type: ignore[arg-type]
    renewed = desk.reply(packet, elsewhere(source=FIRST, unicast=True))
    assert (renewed.to, renewed.mac) == (FIRST, b"")
    claimed = desk.reply(packet)
    assert (claimed.to, claimed.mac) == (FIRST, MAC)


@pytest.mark.parametrize("ciaddr", [FIRST, A("192.168.1.77"), A("10.1.2.3")])
def test_inform_is_answered_at_its_address(ciaddr: A) -> None:
    reply = Desk().reply(request(INFORM, ciaddr=ciaddr))
    ack = answer([reply])
    assert ack is not None
    assert (reply.to, reply.mac, ack.ciaddr, ack.yiaddr) == (ciaddr, b"", ciaddr, NOBODY)


def test_bootp_is_answered_at_its_address() -> None:  # RFC 951 3: it knows where it is
    reply = Desk().reply(Packet(chaddr=MAC, ciaddr=A("192.168.1.50")))
    assert (reply.to, reply.mac) == (A("192.168.1.50"), b"")


def test_an_address_in_a_discover_chooses_no_subnet() -> None:
    desk = Desk()
    wan = elsewhere(interface=WAN, local=A("10.9.0.1"), unicast=True)
    assert desk.effects(request(DISCOVER, ciaddr=FIRST), wan) == []


def test_a_request_of_ours_without_any_address_is_left_alone() -> None:
    assert Desk().effects(request(REQUEST, server=SERVER)) == []


def test_an_old_client_that_selects_by_ciaddr_gets_its_offer() -> None:  # RFC 1541
    desk = Desk()
    desk.ask(request(DISCOVER))
    reply = desk.reply(request(REQUEST, server=SERVER, ciaddr=FIRST))
    assert (reply.to, reply.mac) == (FIRST, MAC)
