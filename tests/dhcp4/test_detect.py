"""mode = auto: who else is there, and what that makes us."""

from ipaddress import IPv4Address as A

from pybootd.dhcp4.proxy.detect import (
    AGAIN,
    EVERY,
    FIRST,
    LISTEN,
    REST,
    LinkDetector,
    LinkRole,
    is_probe,
)
from pybootd.dhcp4.wire.packet import BOOTREPLY, MessageType, Packet

MAC = b"\2\0\0\0\0\1"
GIVEN = A("10.7.0.50")
OTHER = A("10.7.0.2")


def offer(xid: int = 9, kind: int = MessageType.OFFER, yiaddr: A = GIVEN) -> Packet:
    options = {53: bytes((kind,)), 54: OTHER.packed}
    return Packet(BOOTREPLY, xid=xid, yiaddr=yiaddr, chaddr=MAC, options=options)


def probe(scout: LinkDetector) -> list[float]:
    """Run a probe to its verdict; when it asked."""
    asked = []
    while True:
        now = scout.due
        if scout.act(now) is None:
            return asked
        asked.append(now)


def test_nobody_answers_and_we_are_the_server() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    assert (scout.role, scout.due) == (LinkRole.UNKNOWN, 100.0)
    assert probe(scout) == [100.0, 102.0, 104.0]
    assert (scout.role, scout.due) == (LinkRole.SERVER, 100.0 + FIRST + EVERY)


def test_an_offer_of_an_address_makes_us_a_proxy_at_once() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    scout.act(100.0)
    scout.reply(offer(), 100.3)
    assert (scout.role, scout.other, scout.due) == (LinkRole.PROXY, OTHER, 100.3 + EVERY)


def test_what_is_no_offer_of_an_address_is_passed_over() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    scout.act(100.0)
    for packet in (offer(kind=MessageType.NAK), offer(yiaddr=A(0)), Packet(xid=9)):
        scout.reply(packet, 100.1)
    assert scout.role is LinkRole.UNKNOWN


def test_what_another_server_tells_a_client_counts_too() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    probe(scout)
    scout.reply(offer(xid=8, kind=MessageType.ACK), 200.0)
    assert scout.role is LinkRole.PROXY


def test_an_offer_after_the_verdict_counts_too() -> None:
    """Dnsmasq pings for a client first, and then for us: six seconds."""
    scout = LinkDetector(MAC, 9, 100.0)
    probe(scout)
    scout.reply(offer(), 106.0)
    assert scout.role is LinkRole.PROXY


def test_a_client_that_asks_begins_a_probe_but_not_all_the_time() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    probe(scout)
    scout.asked(100.0 + FIRST + 1)
    assert scout.due == 100.0 + FIRST + REST
    scout.asked(100.0 + FIRST + REST)
    assert scout.due == 100.0 + FIRST + REST
    assert scout.act(scout.due) is not None
    scout.asked(scout.due)  # it is being done
    assert scout.due == 100.0 + FIRST + REST + 2


def test_a_server_that_has_gone_is_replaced_after_a_longer_wait() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    scout.act(100.0)
    scout.reply(offer(), 100.3)
    began = scout.due
    assert len(probe(scout)) == 3
    assert scout.role is LinkRole.SERVER
    assert scout.due == began + AGAIN + EVERY


def test_a_client_that_takes_another_servers_offer_tells_of_it() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    probe(scout)
    scout.heard(OTHER, 200.0)
    assert (scout.role, scout.other) == (LinkRole.PROXY, OTHER)
    # a probe under way is answered by that
    scout.asked(300.0)
    scout.act(300.0)
    scout.heard(OTHER, 303.0)
    assert scout.due == 303.0 + EVERY


def test_beside_another_server_a_client_is_left_to_it_first() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    scout.reply(offer(), 100.0)
    scout.asked(101.0)
    assert scout.due == 101.0 + LISTEN
    scout.asked(103.0)
    assert scout.due == 101.0 + LISTEN
    scout.reply(offer(xid=8), 104.0)
    assert scout.due == 104.0 + EVERY


def test_a_probe_is_known_by_others_like_us() -> None:
    scout = LinkDetector(MAC, 9, 100.0)
    packet = scout.act(100.0)
    assert packet is not None
    assert is_probe(packet)
    assert (packet.flags, packet.chaddr, packet.options[53]) == (0x8000, MAC, b"\1")
    assert not is_probe(offer())
