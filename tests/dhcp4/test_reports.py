"""What people reported in public of other servers and clients: each report's input, and our answer.

The name of the report stands beside its test. What each asks for is the kind, not the one client.
"""

import logging

import pytest

from pybootd.core.events import Offered, Refused
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet, decode, encode
from pybootd.system.interfaces import Interface

from .desk import (
    FIRST,
    HERE,
    LAN,
    MAC,
    PXE,
    SERVER,
    WAN,
    A,
    Desk,
    answer,
    elsewhere,
    events,
    request,
)
from .desk import kind as kind_of
from .vectors import wire

DISCOVER, REQUEST, INFORM = MessageType.DISCOVER, MessageType.REQUEST, MessageType.INFORM
ACK, NAK, OFFER = MessageType.ACK, MessageType.NAK, MessageType.OFFER
RELAY, EVERYBODY = A("192.168.1.254"), A("255.255.255.255")
PORT = bytes.fromhex("0104 65746830 0206 020000000009")  # option 82: circuit and remote


def test_a_discover_with_the_old_address_in_ciaddr() -> None:
    """TechnitiumSoftware/DnsServer#2158, nettools/n-dhcp4#45: NetworkManager after a lease."""
    old = A("192.168.1.104")
    packet = request(DISCOVER, ciaddr=old, wanted=old, options={61: b"\1" + MAC}, secs=47648)
    reply = Desk().reply(packet)
    offer = answer([reply])
    assert offer is not None
    assert (reply.to, reply.mac) == (old, MAC)
    assert (offer.yiaddr, offer.ciaddr) == (old, NOBODY)


@pytest.mark.parametrize("server", [SERVER, None])
def test_a_request_that_names_its_address_in_ciaddr_alone(server: A | None) -> None:
    """lvfrazao/dhcppython#15: source 0.0.0.0, no option 50; it answers no ARP yet."""
    desk = Desk()
    desk.ask(request(DISCOVER))
    reply = desk.reply(request(REQUEST, ciaddr=FIRST, server=server))
    ack = answer([reply])
    assert ack is not None
    assert (kind_of(ack), ack.yiaddr) == (ACK, FIRST)
    assert (reply.to, reply.mac) == (FIRST, MAC)


def test_a_discover_that_asks_for_0_0_0_0() -> None:
    """mirage/charrua#17, FreeRTOS-Plus-TCP#518: no preference."""
    offer = Desk().ask(request(DISCOVER, wanted=NOBODY))
    assert offer is not None
    assert offer.yiaddr == FIRST


def test_a_request_for_0_0_0_0() -> None:
    """FreeRADIUS/freeradius-server#1954: 250 octets, option 50 is 0.0.0.0, ciaddr too."""
    data = wire("350103 3204 00000000", size=250)
    assert Desk().handler.handle_request(decode(data), HERE, 1000.0) == []


def test_an_end_that_is_padded_with_ends() -> None:
    """insomniacslk/dhcp#265: BDCOM P3608 GPON relays."""
    data = wire("350101 370401030606").rstrip(b"\0").ljust(300, b"\xff")
    assert kind_of(answer(Desk().handler.handle_request(decode(data), HERE, 1000.0))) == OFFER


def test_what_stands_behind_the_end_is_passed_over() -> None:
    """insomniacslk/dhcp#546: octets that are no padding."""
    data = wire("350101")[:244] + bytes.fromhex("350107 3604 0a000001")
    assert decode(data).options == {53: b"\1"}


def test_answers_to_a_relay_go_to_its_server_port() -> None:
    """FreeRADIUS/freeradius-server#591, tinkerbell/dhcp#67: not to 68, not to the sender."""
    arrival = elsewhere(source=A("10.9.9.9"), unicast=True, port=1067)
    for packet in (request(DISCOVER, giaddr=RELAY), request(INFORM, giaddr=RELAY, ciaddr=FIRST)):
        reply = Desk().reply(packet, arrival)
        assert (reply.to, reply.port, reply.mac) == (RELAY, 67, b"")


def test_option_82_comes_back_in_every_answer() -> None:
    """flan/staticdhcpd#69: INIT-REBOOT through a relay that forwards by circuit; and last."""
    desk = Desk()
    given = {82: PORT, 61: b"\1" + MAC}
    desk.lease(options=given, giaddr=RELAY)
    for wanted, expected in ((FIRST, ACK), (A("192.168.1.101"), NAK), (A("10.1.1.1"), NAK)):
        reply = desk.ask(request(REQUEST, wanted=wanted, options=given, giaddr=RELAY))
        assert reply is not None
        assert kind_of(reply) == expected
        assert list(reply.options.items())[-1] == (82, PORT)


def test_option_82_without_a_relay_comes_back_too() -> None:
    """xebd/accel-ppp#117: ONUs add it, leave giaddr 0, and drop an answer without it."""
    reply = Desk().reply(request(DISCOVER, options={82: PORT}))
    offer = answer([reply])
    assert offer is not None
    assert (reply.to, reply.mac, offer.options[82]) == (FIRST, MAC, PORT)


def test_a_relay_whose_giaddr_is_its_loopback() -> None:
    """sonic-net/sonic-buildimage#6066: dual ToR; 82.5 names the client's network."""
    given = {82: PORT + bytes((5, 4)) + A("192.168.1.0").packed}
    loopback = A("10.255.0.7")
    reply = Desk().reply(request(DISCOVER, giaddr=loopback, options=given))
    offer = answer([reply])
    assert offer is not None
    assert (reply.to, offer.yiaddr, offer.giaddr) == (loopback, FIRST, loopback)
    assert offer.options[3] == SERVER.packed


def test_a_relay_that_no_subnet_fits_is_told_of() -> None:
    """sonic-net/SONiC#1966: giaddr is the interface's first address, of another network."""
    desk, relay = Desk(), A("172.16.0.1")
    said = []
    for _ in range(3):
        (refused,) = events(desk.effects(request(DISCOVER, giaddr=relay)))
        assert isinstance(refused, Refused)
        assert "172.16.0.1" in refused.reason
        said.append(refused.level)
    assert said == [logging.WARNING, logging.DEBUG, logging.DEBUG]


@pytest.mark.parametrize("hlen", [0, 6, 8, 16])
@pytest.mark.parametrize("htype", [1, 6, 7, 27, 32, 255])
def test_hardware_other_than_ethernet(htype: int, hlen: int) -> None:
    """canonical/cloud-init#4830, isc-projects/kea#134: IPoIB shows no address, but an id."""
    mac = bytes(range(1, hlen + 1))
    given = {61: b"\xff\0\0\0\1\0\3\0\x20" + bytes(8)}
    reply = Desk().reply(request(DISCOVER, mac=mac, htype=htype, options=given))
    offer = answer([reply])
    assert offer is not None
    assert (offer.htype, offer.chaddr, offer.options[61]) == (htype, mac, given[61])
    assert reply.to == (FIRST if hlen else EVERYBODY)


def test_a_decline_with_an_empty_option_60() -> None:
    """saravana815/dhtest#24: other servers pass the DECLINE over."""
    desk = Desk()
    desk.lease()
    packet = request(MessageType.DECLINE, wanted=FIRST, server=SERVER, options={60: b""})
    desk.effects(packet)
    assert desk.lease().yiaddr != FIRST


@pytest.mark.parametrize(
    ("octets", "name"),
    [(b"", ""), (b"\0", ""), (b"box\0", "box"), (b"box\0\0", "box"), (b"a b\xff", "a b?")],
)
def test_host_names_as_they_come(octets: bytes, name: str) -> None:
    """TechnitiumSoftware/DnsServer#1955 (empty), AdguardTeam/AdGuardHome#2582 (NUL)."""
    desk = Desk()
    desk.lease(options={12: octets})
    known = desk.clients.find_by_address(FIRST)
    assert known is not None
    assert known.hostname == name


@pytest.mark.parametrize("said", [0, 1, 68, 300, 548, 575, 576])
def test_a_size_below_the_least(said: int) -> None:
    """netduino/Netduino.IP#3: option 57 may not be under 576, and is."""
    desk = Desk(domain="x" * 250, dns=tuple(A("1.1.1.1") + n for n in range(60)))
    reply = desk.reply(request(DISCOVER, options={57: said.to_bytes(2), 55: b"\6\x0f\1\3"}))
    assert 300 <= len(reply.data) <= 548
    assert decode(reply.data).options[1] == b"\xff\xff\xff\0"


@pytest.mark.parametrize("message", [DISCOVER, INFORM, None])
def test_no_answer_is_under_300_octets(message: int | None) -> None:
    """opnsense/core#7744, TechnitiumSoftware/DnsServer#1025: relays discard them."""
    packet = request(message, giaddr=RELAY, ciaddr=FIRST if message == INFORM else NOBODY)
    reply = Desk().reply(packet)
    assert len(reply.data) >= 300
    nak = Desk().reply(request(REQUEST, wanted=A("10.0.0.5"), giaddr=RELAY))
    assert len(nak.data) >= 300


def test_the_end_comes_before_the_padding_and_53_first() -> None:
    """insomniacslk/dhcp#408 (old U-Boot), flan/staticdhcpd#15 (Dell iDRAC ignores the offer)."""
    data = Desk().reply(request(DISCOVER, options={55: b"\1"})).data
    assert data[240:243] == b"\x35\1\2"
    assert data[243:249] == b"\x36\4" + SERVER.packed
    assert data[255:269] == b"\1\4\xff\xff\xff\0\3\4" + SERVER.packed + b"\xff\0"
    assert not data[268:].strip(b"\0")


def test_a_request_of_more_than_576_octets_through_a_relay() -> None:
    """edge-core/sonic-buildimage#427: option 82 made it 582 octets long."""
    wide = bytes((1, 250)) + bytes(250)
    packet = request(DISCOVER, giaddr=RELAY, options=PXE | {82: wide, 43: bytes(200)})
    assert len(encode(packet)) > 576
    reply = Desk().reply(packet)
    offer = answer([reply])
    assert offer is not None
    assert (len(reply.data) <= 548, offer.options[82]) == (True, wide)
    assert (offer.file, offer.siaddr) == (b"shim.efi", SERVER)


def test_ipxe_whose_user_class_is_bare_text() -> None:
    """metal3-io/baremetal-operator#446: "invalid option 77", and no answer."""
    options = PXE | {77: b"iPXE", 57: b"\5\xc0", 175: b"\xb1\5\1\x80\x86\x10\x0e"}
    effects = Desk().effects(request(DISCOVER, options=options, secs=12))
    (offered, *_) = events(effects)
    assert isinstance(offered, Offered)
    assert (offered.client.user_class, offered.boot_file) == ("iPXE", "menu.ipxe")


def test_a_discover_from_a_guessed_address() -> None:
    """ipbus/ipbus-firmware#229: the source is a made-up address of another network."""
    arrival = elsewhere(source=A("192.168.203.17"))
    reply = Desk().reply(request(DISCOVER), arrival)
    assert (reply.to, reply.mac) == (FIRST, MAC)


def test_the_broadcast_bit_comes_back_through_a_relay() -> None:
    """pyke369/pdhcp#3: a gateway sends by unicast what came back without it."""
    offer = Desk().ask(request(DISCOVER, giaddr=RELAY, flags=0x8000, options=PXE))
    assert offer is not None
    assert offer.flags == 0x8000


def test_who_renews_in_the_form_of_init_reboot() -> None:
    """NetworkConfiguration/dhcpcd#361: option 50 for ciaddr, from its address, across a router."""
    desk = Desk()
    desk.lease(giaddr=RELAY)
    arrival = elsewhere(interface=WAN, local=A("10.9.0.1"), source=FIRST, unicast=True)
    reply = desk.reply(request(REQUEST, wanted=FIRST), arrival)
    ack = answer([reply])
    assert ack is not None
    assert (kind_of(ack), ack.yiaddr, ack.ciaddr) == (ACK, FIRST, NOBODY)
    assert (reply.to, reply.mac) == (FIRST, b"")


def test_an_inform_takes_no_lease_away() -> None:
    """inverse-inc/packetfence#3146, mirage/charrua#26: no NAK, whatever address it says."""
    desk = Desk()
    desk.lease()
    for address in (FIRST, A("192.168.1.9"), A("10.1.2.3"), SERVER):
        assert kind_of(desk.ask(request(INFORM, ciaddr=address))) == ACK
    assert desk.leased(FIRST)


def test_rebinding_through_a_relay() -> None:
    """openwrt/openwrt#1017: a client that never renews by unicast, only by broadcast."""
    desk = Desk()
    desk.lease(giaddr=RELAY)
    reply = desk.reply(request(REQUEST, ciaddr=FIRST, giaddr=RELAY))
    ack = answer([reply])
    assert ack is not None
    assert (kind_of(ack), reply.to, ack.yiaddr, ack.ciaddr) == (ACK, RELAY, FIRST, FIRST)


@pytest.mark.parametrize("asked", [b"\x2b\x3c\x42\x43", b"\x43", b"\6", b"\3", b"\0", b"\xff"])
def test_who_asks_for_no_mask_and_no_router_gets_them(asked: bytes) -> None:
    """raspberrypi/firmware#1001: the Pi 3's boot code; it can't reach another network then."""
    offer = Desk().ask(request(DISCOVER, options={55: asked}))
    assert offer is not None
    assert (offer.options[1], offer.options[3]) == (b"\xff\xff\xff\0", SERVER.packed)
    inform = Desk().ask(request(INFORM, ciaddr=FIRST, options={55: b"\6"}))
    assert inform is not None
    assert 1 not in inform.options


def test_a_request_with_another_xid_than_its_offer() -> None:
    """zephyrproject-rtos/zephyr#89641: the client counts it up."""
    desk = Desk()
    desk.ask(request(DISCOVER))
    sent = {53: b"\3", 50: FIRST.packed, 54: SERVER.packed}
    ack = desk.ask(Packet(xid=8, chaddr=MAC, options=sent))
    assert ack is not None
    assert (kind_of(ack), ack.xid) == (ACK, 8)


def test_chaddr_behind_hlen_is_passed_over() -> None:
    """systemd/systemd#11664: padding that is no zeros makes no other client."""
    desk = Desk()
    first = bytearray(wire("350101"))
    second = bytearray(first)
    second[34:44] = b"\xaa" * 10
    given = [
        answer(desk.handler.handle_request(decode(bytes(one)), HERE, 1000.0))
        for one in (first, second)
    ]
    assert [offer and offer.yiaddr for offer in given] == [FIRST, FIRST]


def test_a_client_on_a_small_link() -> None:
    """NetworkConfiguration/dhcpcd#345: an MTU of 576 octets."""
    small = Interface("lan0", LAN.index, LAN.addresses, LAN.mac, 576)
    desk = Desk(domain="x" * 250, dns=tuple(A("1.1.1.1") + n for n in range(60)))
    packet = request(DISCOVER, options={57: b"\5\xdc", 55: b"\6\x0f\1\3"})
    reply = desk.reply(packet, elsewhere(interface=small))
    assert len(reply.data) <= 576 - 28
