"""mode = auto: who else is there, and what that makes us."""

from ipaddress import IPv4Address as A

from pybootd.dhcp4.proxy.detect import (
    FIRST_VERDICT_S,
    LATER_VERDICT_S,
    LISTEN_S,
    MAX_UNPROVED_S,
    MIN_REST_S,
    PROBE_INTERVAL_S,
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


def probe(detector: LinkDetector) -> list[float]:
    """Run a probe to its verdict; when it asked."""
    asked = []
    while True:
        now = detector.due
        if detector.take_probe(now) is None:
            return asked
        asked.append(now)


def test_nobody_answers_and_we_are_the_server() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    assert (detector.role, detector.due) == (LinkRole.UNKNOWN, 100.0)
    assert probe(detector) == [100.0, 102.0, 104.0]
    assert (detector.role, detector.due) == (
        LinkRole.SERVER,
        100.0 + FIRST_VERDICT_S + PROBE_INTERVAL_S,
    )


def test_an_offer_of_an_address_makes_us_a_proxy_at_once() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    detector.take_probe(100.0)
    detector.read_reply(offer(), 100.3)
    assert (detector.role, detector.other, detector.due) == (
        LinkRole.PROXY,
        OTHER,
        100.3 + PROBE_INTERVAL_S,
    )


def test_what_is_no_offer_of_an_address_is_passed_over() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    detector.take_probe(100.0)
    for packet in (offer(kind=MessageType.NAK), offer(yiaddr=A(0)), Packet(xid=9)):
        detector.read_reply(packet, 100.1)
    assert detector.role is LinkRole.UNKNOWN


def test_what_another_server_tells_a_client_counts_too() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    probe(detector)
    detector.read_reply(offer(xid=8, kind=MessageType.ACK), 200.0)
    assert detector.role is LinkRole.PROXY


def test_an_offer_after_the_verdict_counts_too() -> None:
    """Dnsmasq pings for a client first, and then for us: six seconds."""
    detector = LinkDetector(MAC, 9, 100.0)
    probe(detector)
    detector.read_reply(offer(), 106.0)
    assert detector.role is LinkRole.PROXY


def test_a_client_that_asks_begins_a_probe_but_not_all_the_time() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    probe(detector)
    detector.note_request(100.0 + FIRST_VERDICT_S + 1)
    assert detector.due == 100.0 + FIRST_VERDICT_S + MIN_REST_S
    detector.note_request(100.0 + FIRST_VERDICT_S + MIN_REST_S)
    assert detector.due == 100.0 + FIRST_VERDICT_S + MIN_REST_S
    assert detector.take_probe(detector.due) is not None
    detector.note_request(detector.due)  # it is being done
    assert detector.due == 100.0 + FIRST_VERDICT_S + MIN_REST_S + 2


def test_a_server_that_has_gone_is_replaced_after_a_longer_wait() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    detector.take_probe(100.0)
    detector.read_reply(offer(), 100.3)
    began = detector.due
    assert len(probe(detector)) == 3
    assert detector.role is LinkRole.SERVER
    assert detector.due == began + LATER_VERDICT_S + PROBE_INTERVAL_S


def test_a_client_that_names_another_server_is_a_reason_to_ask_and_no_proof() -> None:
    """One packet of a stranger must not keep us from serving."""
    detector = LinkDetector(MAC, 9, 100.0)
    probe(detector)
    detector.weigh_choice(OTHER, 150.0)
    assert (detector.role, detector.other) == (LinkRole.SERVER, None)
    assert detector.due == 150.0
    assert len(probe(detector)) == 3
    assert detector.role is LinkRole.SERVER  # no server answered
    rested = detector.due - PROBE_INTERVAL_S
    detector.weigh_choice(OTHER, rested + 1)
    assert detector.due == rested + MIN_REST_S  # strangers don't make us ask all the time
    assert detector.take_probe(detector.due) is not None
    detector.weigh_choice(OTHER, detector.due)
    detector.read_reply(offer(), detector.due)
    assert (detector.role, detector.other) == (LinkRole.PROXY, OTHER)


def test_a_client_that_takes_the_known_servers_offer_saves_a_probe_but_not_for_ever() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    detector.take_probe(100.0)
    detector.read_reply(offer(), 100.0)
    for now in (150.0, 600.0):
        detector.note_request(now)
        detector.weigh_choice(OTHER, now + 1)
        assert (detector.role, detector.due) == (LinkRole.PROXY, now + 1 + PROBE_INTERVAL_S)
    # a probe under way is answered by that
    detector.note_request(650.0)
    detector.take_probe(650.0 + LISTEN_S)
    detector.weigh_choice(OTHER, 655.0)
    assert detector.due == 655.0 + PROBE_INTERVAL_S
    detector.weigh_choice(OTHER, 100.0 + MAX_UNPROVED_S)
    assert detector.due <= 100.0 + MAX_UNPROVED_S + MIN_REST_S
    detector.take_probe(detector.due)
    detector.weigh_choice(OTHER, detector.due)
    probe(detector)
    assert detector.role is LinkRole.SERVER  # the server has gone


def test_beside_another_server_a_client_is_left_to_it_first() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    detector.read_reply(offer(), 100.0)
    detector.note_request(101.0)
    assert detector.due == 101.0 + LISTEN_S
    detector.note_request(103.0)
    assert detector.due == 101.0 + LISTEN_S
    detector.read_reply(offer(xid=8), 104.0)
    assert detector.due == 104.0 + PROBE_INTERVAL_S


def test_a_probe_is_known_by_others_like_us() -> None:
    detector = LinkDetector(MAC, 9, 100.0)
    packet = detector.take_probe(100.0)
    assert packet is not None
    assert is_probe(packet)
    assert (packet.flags, packet.chaddr, packet.options[53]) == (0x8000, MAC, b"\1")
    assert not is_probe(offer())
