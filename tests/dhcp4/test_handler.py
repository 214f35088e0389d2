"""Playbooks: requests and times in, effects out. Each names the rule that it holds us to."""

import logging

import pytest

from pybootd.access.base import Access, AccessDecision
from pybootd.config.bootfile import BootFileConfig
from pybootd.config.ini import Section
from pybootd.core.client import Client
from pybootd.core.events import (
    AddressConflict,
    Advice,
    BootFileReason,
    Confirmed,
    Offered,
    RefusalCause,
    Refused,
    Released,
)
from pybootd.core.mac import MacPrefix
from pybootd.core.workers import Later, TaskResult
from pybootd.dhcp4.actions import Probe, Publish, Wait
from pybootd.dhcp4.own_options import OwnOption
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.pool import DECLINE_HOLD_S

from .desk import (
    FIRST,
    MAC,
    OTHER,
    PXE,
    SERVER,
    WAN,
    A,
    Desk,
    answer,
    elsewhere,
    events,
    kind,
    request,
)

DISCOVER, REQUEST, DECLINE = MessageType.DISCOVER, MessageType.REQUEST, MessageType.DECLINE
RELEASE, INFORM, ACK, NAK, OFFER = (
    MessageType.RELEASE,
    MessageType.INFORM,
    MessageType.ACK,
    MessageType.NAK,
    2,
)
RELAY = A("192.168.1.254")
SECOND = A("192.168.1.101")
KEPT = A("192.168.1.5")


# the four messages, RFC 2131 3.1


def test_an_offer_and_its_confirmation() -> None:
    desk = Desk()
    effects = desk.effects(request(DISCOVER, secs=9, hops=0, flags=0x8000))
    offer = answer(effects)
    assert offer is not None
    assert (offer.op, offer.xid, offer.secs, offer.hops) == (2, 7, 0, 0)  # table 3
    assert (offer.yiaddr, offer.siaddr, offer.ciaddr) == (FIRST, SERVER, NOBODY)
    assert (offer.flags, offer.chaddr, offer.sname) == (0x8000, MAC, b"pybootd")
    assert (offer.options[53], offer.options[54]) == (b"\2", SERVER.packed)
    assert offer.options[51] == (86400).to_bytes(4)
    assert not desk.leased(FIRST)
    assert isinstance(events(effects)[0], Offered)

    effects = desk.effects(request(REQUEST, wanted=FIRST, server=SERVER))
    ack = answer(effects)
    assert (kind(ack), ack and ack.yiaddr) == (ACK, FIRST)
    assert desk.leased(FIRST)
    assert all(isinstance(one, Reply | Publish) and one.durable for one in effects)
    (confirmed,) = events(effects)
    client = Client(MAC, interface="lan0", address=FIRST)
    reason = BootFileReason.DEFAULT
    assert confirmed == Confirmed(client, FIRST, "default.0", False, file_reason=reason)
    known = desk.clients.find_by_address(FIRST)
    assert known is not None
    assert known.server == SERVER


def test_secs_and_hops_are_zero_in_replies() -> None:  # RFC 2131 table 3
    ack = Desk().lease(secs=99, hops=3, giaddr=RELAY)
    assert (ack.secs, ack.hops) == (0, 0)


def test_only_the_broadcast_bit_is_echoed() -> None:  # RFC 2131 2: the others are zero
    desk = Desk()
    for sent, back in ((0x7FFF, 0), (0xFFFF, 0x8000)):
        offer = desk.ask(request(DISCOVER, flags=sent))
        assert offer is not None
        assert offer.flags == back


def test_a_reply_is_no_request() -> None:
    assert Desk().effects(Packet(op=2, chaddr=MAC, options={53: b"\1"})) == []


@pytest.mark.parametrize("code", [2, 5, 6, 9, 13, 200])
def test_other_messages_are_passed_over(code: int) -> None:
    assert Desk().effects(request(code)) == []


def test_a_client_without_any_identity_is_passed_over() -> None:
    assert Desk().effects(request(DISCOVER, mac=b"")) == []


def test_a_client_without_hardware_address_goes_by_its_id() -> None:
    desk = Desk()
    assert desk.lease(mac=b"", options={61: b"\0abc"}).yiaddr == FIRST
    reply = desk.reply(request(DISCOVER, mac=b"", options={61: b"\0abc"}))
    assert str(reply.to) == "255.255.255.255"


def test_no_pool_on_that_network_no_answer() -> None:
    desk = Desk()
    wan = Arrival(WAN, A("10.9.0.1"))
    assert desk.effects(request(DISCOVER), wan) == []
    assert desk.effects(request(REQUEST, wanted=FIRST), wan) == []


def test_each_network_has_its_own_server_id() -> None:
    desk = Desk(pool_start=A("10.9.1.1"))
    ack = desk.lease(Arrival(WAN, A("10.9.0.1")))
    assert (ack.yiaddr, ack.options[54]) == (A("10.9.1.1"), A("10.9.0.1").packed)
    assert desk.effects(request(DISCOVER)) == []


def test_the_pool_exhausted_is_told_once_in_a_while() -> None:
    desk = Desk(pool_count=1)
    desk.lease()
    levels = []
    for number in range(3):
        (refused,) = events(desk.effects(request(DISCOVER, mac=OTHER[:5] + bytes((number,)))))
        assert "no free address left in 192.168.1.100" in refused.reason
        levels.append(refused.level)
    assert levels == [logging.WARNING, logging.DEBUG, logging.DEBUG]


# REQUEST, RFC 2131 4.3.2


def test_selecting_another_server_gives_our_offer_back() -> None:
    desk = Desk(pool_count=1)
    desk.ask(request(DISCOVER))
    effects = desk.effects(request(REQUEST, wanted=FIRST, server=A("192.168.1.2")))
    assert answer(effects) is None
    assert events(effects)[0].server == A("192.168.1.2")
    offer = desk.ask(request(DISCOVER, mac=OTHER))
    assert offer is not None
    assert offer.yiaddr == FIRST


def test_selecting_an_address_that_was_not_offered() -> None:
    desk = Desk()
    desk.ask(request(DISCOVER))
    assert kind(desk.ask(request(REQUEST, wanted=SECOND, server=SERVER))) == NAK


def test_selecting_after_a_restart_is_adopted() -> None:
    ack = Desk().ask(request(REQUEST, wanted=SECOND, server=SERVER))
    assert ack is not None
    assert (kind(ack), ack.yiaddr) == (ACK, SECOND)


def test_selecting_what_another_has() -> None:
    desk = Desk()
    desk.lease()
    assert kind(desk.ask(request(REQUEST, mac=OTHER, wanted=FIRST, server=SERVER))) == NAK


def test_init_reboot() -> None:
    desk = Desk()
    desk.lease()
    assert kind(desk.ask(request(REQUEST, wanted=FIRST))) == ACK
    assert kind(desk.ask(request(REQUEST, wanted=SECOND))) == NAK  # not its address
    assert kind(desk.ask(request(REQUEST, wanted=A("10.0.0.5")))) == NAK  # wrong network
    assert desk.effects(request(REQUEST, mac=OTHER, wanted=SECOND)) == []  # no record of it
    assert kind(desk.ask(request(REQUEST, mac=OTHER, wanted=A("10.0.0.5")))) == NAK


def test_init_reboot_where_other_servers_share_the_wire() -> None:
    desk = Desk(authoritative=False)
    assert desk.ask(request(REQUEST, wanted=A("10.0.0.5"))) is None
    desk.lease()
    assert kind(desk.ask(request(REQUEST, wanted=SECOND))) == NAK  # we do have a record


def test_renewing_extends_the_lease() -> None:
    desk = Desk(lease_time=100, max_lease_time=100)
    desk.lease()
    desk.now += 60
    origin = elsewhere(source=FIRST, unicast=True)
    reply = desk.reply(request(REQUEST, ciaddr=FIRST), origin)
    assert (reply.to, reply.port, reply.mac) == (FIRST, 68, b"")
    desk.now += 60
    assert desk.leased(FIRST)
    ack = desk.ask(request(REQUEST, ciaddr=FIRST))  # REBINDING
    assert ack is not None
    assert (kind(ack), ack.ciaddr, ack.yiaddr) == (ACK, FIRST, FIRST)


def test_renewing_what_ran_out_but_is_still_kept() -> None:
    desk = Desk(lease_time=100, max_lease_time=100)
    desk.lease()
    desk.now += 1000
    assert kind(desk.ask(request(REQUEST, ciaddr=FIRST))) == ACK


def test_renewing_what_another_has() -> None:
    desk = Desk()
    desk.lease()
    assert kind(desk.ask(request(REQUEST, mac=OTHER, ciaddr=FIRST))) == NAK


def test_renewing_what_we_forgot_is_adopted_if_it_may_be_ours() -> None:
    desk = Desk()
    assert kind(desk.ask(request(REQUEST, ciaddr=SECOND))) == ACK
    assert kind(desk.ask(request(REQUEST, mac=OTHER, ciaddr=A("192.168.1.9")))) == NAK
    shy = Desk(authoritative=False)
    assert shy.ask(request(REQUEST, ciaddr=A("192.168.1.9"))) is None


def test_a_client_that_moved_here_starts_over() -> None:
    desk = Desk()
    assert kind(desk.ask(request(REQUEST, ciaddr=A("10.0.0.5")))) == NAK


def test_a_relayed_client_that_renews_straight_to_us_is_found_by_its_address() -> None:
    desk = Desk()
    desk.lease(giaddr=RELAY)
    origin = Arrival(WAN, A("10.9.0.1"), FIRST, unicast=True)
    ack = desk.ask(request(REQUEST, ciaddr=FIRST), origin)
    assert (kind(ack), ack and ack.yiaddr) == (ACK, FIRST)


def test_a_request_that_names_no_address_is_passed_over() -> None:
    assert Desk().ask(request(REQUEST)) is None


def test_a_nak_holds_only_what_it_must() -> None:  # RFC 2131 table 3, RFC 6842
    desk = Desk()
    given = {61: b"\1" + MAC, 55: b"\1\3\6", 82: b"\1\1x"}
    reply = desk.reply(request(REQUEST, wanted=A("10.0.0.5"), options=given, secs=3))
    nak = answer([reply])
    assert nak is not None
    assert list(nak.options) == [53, 54, 56, 61, 82]
    assert (nak.options[61], nak.options[82]) == (b"\1" + MAC, b"\1\1x")
    assert (nak.yiaddr, nak.siaddr, nak.ciaddr) == (NOBODY, NOBODY, NOBODY)
    assert (nak.file, nak.sname, nak.secs) == (b"", b"", 0)
    assert (str(reply.to), reply.port) == ("255.255.255.255", 68)


def test_a_nak_through_a_relay_is_broadcast_by_it() -> None:  # RFC 2131 4.3.2
    desk = Desk()
    reply = desk.reply(request(REQUEST, wanted=A("10.0.0.5"), giaddr=RELAY))
    nak = answer([reply])
    assert nak is not None
    assert (reply.to, reply.port, nak.flags, nak.giaddr) == (RELAY, 67, 0x8000, RELAY)


# DECLINE, RELEASE, INFORM, BOOTP


def test_a_declined_address_is_left_alone() -> None:
    desk = Desk(pool_count=2)
    desk.lease()
    effects = desk.effects(request(DECLINE, wanted=FIRST, server=SERVER))
    assert isinstance(events(effects)[0], AddressConflict)
    assert answer(effects) is None
    assert desk.lease(wanted=FIRST).yiaddr == SECOND
    assert desk.ask(request(DISCOVER, mac=OTHER, wanted=FIRST)) is None
    desk.now += DECLINE_HOLD_S
    assert desk.lease(mac=OTHER).yiaddr == FIRST


def test_release_and_decline_from_others_do_nothing() -> None:
    desk = Desk()
    desk.lease()
    assert desk.effects(request(RELEASE, mac=OTHER, ciaddr=FIRST, server=SERVER)) == []
    assert desk.effects(request(DECLINE, mac=OTHER, wanted=FIRST, server=SERVER)) == []
    assert desk.effects(request(RELEASE, ciaddr=FIRST, server=A("9.9.9.9"))) == []
    assert desk.effects(request(DECLINE, server=SERVER)) == []
    assert desk.leased(FIRST)


def test_release_works_without_a_server_id() -> None:  # systemd-networkd
    desk = Desk()
    desk.lease()
    (effect,) = desk.effects(request(RELEASE, ciaddr=FIRST))
    assert isinstance(effect, Publish)
    assert isinstance(effect.event, Released)
    assert not desk.leased(FIRST)
    assert desk.clients.find_by_address(FIRST) is None
    assert desk.effects(request(RELEASE, ciaddr=FIRST)) == []
    assert desk.lease().yiaddr == FIRST


def test_inform_gives_options_but_no_lease() -> None:  # RFC 2131 4.3.5
    desk = Desk(domain="example.com")
    address = A("192.168.1.77")
    asked = {55: bytes((1, 3, 15, 51, 58, 59))}
    effects = desk.effects(request(INFORM, ciaddr=address, options=asked))
    ack = answer(effects)
    assert ack is not None
    assert list(ack.options) == [53, 54, 1, 3, 15]
    assert (ack.yiaddr, ack.ciaddr) == (NOBODY, address)
    (reply,) = effects
    assert isinstance(reply, Reply)
    assert (reply.to, reply.mac, reply.durable) == (address, b"", False)
    assert not desk.subnets.changed


def test_inform_without_ciaddr_is_answered_to_its_source() -> None:
    source = A("192.168.1.77")
    reply = Desk().reply(request(INFORM), elsewhere(source=source))
    assert reply.to == source


def test_bootp() -> None:  # RFC 951, RFC 1534
    desk = Desk()
    effects = desk.effects(request(None))
    reply = answer(effects)
    assert reply is not None
    assert (reply.yiaddr, reply.siaddr, reply.file) == (FIRST, SERVER, b"default.0")
    assert not {51, 53, 54, 58, 59} & reply.options.keys()
    assert reply.options[1] == b"\xff\xff\xff\0"
    assert isinstance(events(effects)[0], Confirmed)
    desk.now += 1e9
    assert desk.leased(FIRST)


def test_bootp_without_a_vendor_field() -> None:
    reply = Desk().ask(Packet(xid=7, chaddr=MAC, cookie=False))
    assert reply is not None
    assert (reply.yiaddr, reply.cookie) == (FIRST, False)


def test_bootp_for_another_server() -> None:  # RFC 951 7.3
    desk = Desk()
    assert desk.effects(request(None, sname=b"other")) == []
    assert desk.ask(request(None, sname=b"pybootd")) is not None


def test_bootp_with_an_address() -> None:
    reply = Desk().reply(request(None, ciaddr=A("192.168.1.50")))
    assert (reply.to, reply.durable) == (A("192.168.1.50"), False)


# where it goes, RFC 2131 4.1


def test_destinations() -> None:
    desk = Desk()
    discover = desk.reply(request(DISCOVER))
    assert (discover.to, discover.port, discover.mac) == (FIRST, 68, MAC)
    assert (discover.interface, discover.source) == (2, SERVER)
    flagged = desk.reply(request(DISCOVER, flags=0x8000))
    assert (str(flagged.to), flagged.mac) == ("255.255.255.255", b"")
    relayed = desk.reply(request(DISCOVER, giaddr=RELAY, flags=0x8000))
    assert (relayed.to, relayed.port) == (RELAY, 67)
    desk.lease()
    renewed = desk.reply(request(REQUEST, ciaddr=FIRST, flags=0x8000), elsewhere(source=FIRST))
    assert (renewed.to, renewed.mac) == (FIRST, b"")


def test_other_ports() -> None:
    desk = Desk(port=1067)
    assert desk.reply(request(DISCOVER)).port == 1068
    assert desk.reply(request(DISCOVER, giaddr=RELAY)).port == 1067


def test_buggy_clients_get_broadcasts() -> None:
    buggy = ((MacPrefix(OTHER, 48), False), (MacPrefix(MAC[:3] + bytes(3), 24), True))
    desk = Desk(buggy=buggy)
    assert str(desk.reply(request(DISCOVER)).to) == "255.255.255.255"
    assert desk.reply(request(DISCOVER, mac=OTHER)).mac == OTHER


# identity and life


def test_one_mac_one_address_whatever_its_client_ids() -> None:
    desk = Desk()
    assert {desk.lease(options=given).yiaddr for given in ({}, {61: b"a"}, {61: b"b"})} == {FIRST}


def test_by_client_id() -> None:  # RFC 2131 4.2
    desk = Desk(identity="client-id")
    given = [desk.lease(options=one).yiaddr for one in ({}, {61: b"a"}, {61: b"b"}, {61: b"a"})]
    assert given == [FIRST, SECOND, A("192.168.1.102"), SECOND]
    assert desk.lease(mac=OTHER, options={61: b"a"}).yiaddr == SECOND


def test_the_client_id_comes_back_and_never_unsent() -> None:  # RFC 6842
    desk = Desk()
    assert desk.lease(options={61: b"\0\xff\0"}).options[61] == b"\0\xff\0"
    assert 61 not in desk.lease().options


def test_a_reservation() -> None:
    desk = Desk(static={OTHER: KEPT})
    assert desk.lease(mac=OTHER).yiaddr == KEPT
    assert desk.lease().yiaddr == FIRST


def test_lease_times() -> None:
    desk = Desk(lease_time=1000, max_lease_time=2000)
    for asked, given in ((500, 500), (0xFFFFFFFF, 2000), (0, 1000), (None, 1000)):
        sent = {55: b"\x3a\x3b"} | ({} if asked is None else {51: asked.to_bytes(4)})
        ack = desk.lease(options=sent)
        times = [int.from_bytes(ack.options[code]) for code in (51, 58, 59)]
        assert times == [given, given // 2, given * 7 // 8]


def test_a_lease_for_ever_has_no_t1() -> None:
    desk = Desk(lease_time=0xFFFFFFFF, max_lease_time=0xFFFFFFFF)
    ack = desk.lease()
    assert ack.options[51] == b"\xff" * 4
    assert 58 not in ack.options


def test_a_lease_that_was_kept_on_disk_is_still_the_clients() -> None:
    desk = Desk(allow_simple_dhcp=False)
    kept = Lease(SECOND, MAC, MAC, None, LeaseState.BOUND, 2000.0, 1000.0, booted=True)
    desk.subnets.restore_leases([kept])
    assert desk.lease().yiaddr == SECOND  # it network-booted from us before the restart


# what is in it


def test_options_come_in_the_order_asked_the_mask_before_the_router() -> None:  # RFC 2132 3.3
    desk = Desk(dns=(A("1.1.1.1"), A("8.8.8.8")), ntp=(A("1.2.3.4"),), domain="example.com")
    ack = desk.lease(options={55: bytes((42, 15, 3, 1, 6, 28, 99))})
    assert list(ack.options) == [53, 54, 51, 1, 42, 15, 3, 6, 28]
    assert ack.options[6] == A("1.1.1.1").packed + A("8.8.8.8").packed
    assert ack.options[42] == A("1.2.3.4").packed
    assert ack.options[15] == b"example.com"
    assert ack.options[28] == A("192.168.1.255").packed
    assert ack.options[3] == SERVER.packed


def test_a_client_that_asks_for_nothing_gets_what_it_needs() -> None:  # GRUB
    ack = Desk(dns=(A("1.1.1.1"),)).lease()
    assert {1, 3, 6, 28, 58, 59} <= ack.options.keys()


@pytest.mark.parametrize(
    ("gateway", "relay", "router"),
    [
        ("none", NOBODY, None),
        ("self", NOBODY, SERVER),
        ("self", RELAY, RELAY),
        (A("192.168.1.9"), NOBODY, A("192.168.1.9")),
    ],
)
def test_gateway(gateway: object, relay: A, router: A | None) -> None:
    options = Desk(gateway=gateway).lease(giaddr=relay).options
    assert options.get(3) == (router and router.packed)


def test_netmask_and_next_server() -> None:
    desk = Desk(netmask=A("255.255.255.128"), next_server=A("192.168.1.7"))
    ack = desk.lease(options={55: bytes((1, 28, 66, 67))})
    assert ack.options[1] == A("255.255.255.128").packed
    assert ack.options[28] == A("192.168.1.127").packed
    assert (ack.siaddr, ack.options[66]) == (A("192.168.1.7"), b"192.168.1.7")


def test_settings_when_asked_or_always() -> None:
    desk = Desk(
        settings=[OwnOption(224, b"x"), OwnOption(209, b"cfg", True), OwnOption(3, b"\1\2\3\4")]
    )
    assert 224 not in desk.lease().options
    ack = desk.lease(options={55: bytes((224, 3))})
    assert (ack.options[224], ack.options[209]) == (b"x", b"cfg")
    assert ack.options[3] == b"\1\2\3\4"


def test_a_pxe_client_gets_its_file_everywhere() -> None:  # a reply that OVMF, iPXE and shim take
    desk = Desk(allow_simple_dhcp=False)
    ack = desk.lease(options=PXE, flags=0x8000)
    assert (ack.siaddr, ack.file) == (SERVER, b"shim.efi")
    assert (ack.options[66], ack.options[67]) == (b"192.168.1.1", b"shim.efi\0")
    assert (ack.options[60], ack.options[43]) == (b"PXEClient", b"\6\1\x08\xff")
    assert ack.options[97] == PXE[97]


def test_an_http_client_gets_a_url() -> None:  # UEFI 2.10 24.7.3
    url = "http://192.168.1.1/shim.efi"
    desk = Desk(files=BootFileConfig(by_architecture={16: url}))
    sent = {60: b"HTTPClient:Arch:00016:UNDI:003000", 93: b"\0\x10", 55: b"\x43\xeb"}
    ack = desk.lease(options=sent)
    assert (ack.options[60], ack.options[67]) == (b"HTTPClient", url.encode())
    assert not {43, 66} & ack.options.keys()


def test_a_name_too_long_for_the_field_stands_in_67() -> None:
    name = "http://example.com/" + "x" * 120
    ack = Desk(files=BootFileConfig(name)).lease(options=PXE)
    assert (ack.file, ack.options[67]) == (b"", name.encode() + b"\0")


def test_a_running_ipxe_gets_its_own_entry() -> None:
    assert Desk().lease(options=PXE | {77: b"iPXE"}).file == b"menu.ipxe"


@pytest.mark.parametrize(
    ("said", "mtu", "longest"),
    [(None, 1500, 548), (300, 1500, 548), (1472, 1500, 1444), (65280, 1500, 1472)],
)
def test_replies_fit(said: int | None, mtu: int, longest: int) -> None:
    wide = [OwnOption(code, bytes(250), True) for code in range(224, 234)]
    sent = {} if said is None else {57: said.to_bytes(2)}
    reply = Desk(settings=wide).reply(request(DISCOVER, options=sent))
    assert longest - 252 < len(reply.data) <= longest


def test_option_82_comes_back_last() -> None:  # RFC 3046 2.2
    ack = Desk().lease(giaddr=RELAY, options={82: b"\1\4port", 61: b"x"})
    assert list(ack.options)[-1] == 82
    assert ack.options[82] == b"\1\4port"


# who is served


def test_a_plain_client_is_served_once_it_booted_from_us() -> None:
    desk = Desk(allow_simple_dhcp=False)
    for packet in (request(DISCOVER), request(None), request(INFORM, ciaddr=FIRST)):
        effects = desk.effects(packet)
        assert answer(effects) is None
        assert "does not boot" in events(effects)[0].reason
    desk.lease(options=PXE)
    assert desk.lease().yiaddr == FIRST


def test_the_same_refusal_is_told_once_a_minute() -> None:
    desk = Desk(allow_simple_dhcp=False)
    levels = []
    for wait in (0, 1, 60):
        desk.now += wait
        levels.append(events(desk.effects(request(DISCOVER)))[0].level)
    assert levels == [logging.INFO, logging.DEBUG, logging.INFO]


class Listed(Access):
    """Says what it was told to, and counts how often it was asked."""

    def __init__(self, verdict: AccessDecision, later: bool = False) -> None:
        self.verdict = verdict
        self.later = later
        self.asked: list[Client] = []

    @classmethod
    def from_config(cls, section: Section) -> Access:
        raise NotImplementedError

    def check(self, client: Client) -> AccessDecision | Later[AccessDecision]:
        self.asked.append(client)
        return Later(lambda: self.verdict) if self.later else self.verdict


@pytest.mark.parametrize(
    ("verdict", "reserved", "served"),
    [
        (AccessDecision(True, "in [mac]"), False, True),
        (AccessDecision(False, "blocked in [mac]"), False, False),
        (AccessDecision(False, "blocked in [mac]"), True, False),
        (AccessDecision(None, "not in [mac]"), False, False),
        (AccessDecision(None, "not in [mac]"), True, True),
        (AccessDecision(None, "no answer", error=True), True, False),
    ],
)
def test_access(verdict: AccessDecision, reserved: bool, served: bool) -> None:
    static = {MAC: KEPT} if reserved else {}
    effects = Desk(access=Listed(verdict), static=static).effects(request(DISCOVER))
    assert (answer(effects) is not None) == served
    if not served:
        level = logging.ERROR if verdict.error else logging.INFO
        cause = RefusalCause.NO_ACCESS if verdict.error else RefusalCause.ACCESS
        client = Client(MAC, interface="lan0")
        assert events(effects) == [Refused(client, verdict.reason, level, cause)]


def test_a_verdicts_host_name_and_file() -> None:
    desk = Desk(access=Listed(AccessDecision(True, "", hostname="box", file="own.efi")))
    ack = desk.lease(options=PXE | {55: b"\x0c"})
    assert (ack.options[12], ack.file) == (b"box", b"own.efi")
    known = desk.clients.find_by_address(FIRST)
    assert known is not None
    assert (known.hostname, known.file, known.boot_file) == ("box", "own.efi", "own.efi")


def test_a_uuid_once_shown_is_kept() -> None:
    access = Listed(AccessDecision(True, ""))
    desk = Desk(access=access)
    desk.lease(options=PXE)
    desk.lease()
    assert access.asked[0].uuid == access.asked[-1].uuid is not None
    assert access.asked[-1].address == FIRST


def test_a_slow_access_list_is_asked_once_and_answers_the_newest_request() -> None:
    access = Listed(AccessDecision(True, ""), later=True)
    desk = Desk(access=access)
    (wait,) = desk.effects(request(DISCOVER))
    assert isinstance(wait, Wait)
    newest = request(DISCOVER)
    newest.xid = 8
    assert desk.effects(newest) == []
    assert isinstance(desk.effects(request(DISCOVER, mac=OTHER))[0], Wait)  # another client asks
    offer = answer(wait.resume(TaskResult(wait.later.call()), desk.now))
    assert offer is not None
    assert (offer.xid, offer.yiaddr) == (8, FIRST)
    assert len(access.asked) == 2


def test_an_access_list_that_fails_leaves_the_request_unanswered() -> None:
    desk = Desk(access=Listed(AccessDecision(True, ""), later=True))
    (wait,) = desk.effects(request(DISCOVER))
    assert isinstance(wait, Wait)
    effects = wait.resume(TaskResult(None, OSError("no route")), desk.now)
    assert answer(effects) is None
    (refused,) = events(effects)
    assert (refused.reason, refused.level) == ("access: no route", logging.ERROR)
    assert isinstance(desk.effects(request(DISCOVER))[0], Wait)  # it may be asked again


# does somebody use the address already?


def test_an_address_is_probed_before_it_is_offered_first() -> None:
    desk = Desk(conflict_check=True)
    (probe,) = desk.effects(request(DISCOVER))
    assert isinstance(probe, Probe)
    assert (probe.address, probe.interface, probe.deadline) == (FIRST, 2, desk.now + 0.3)
    assert desk.effects(request(DISCOVER)) == []  # it repeats itself meanwhile
    effects = probe.resume(b"", desk.now + 0.3)
    assert kind(answer(effects)) == OFFER
    assert kind(desk.ask(request(DISCOVER))) == OFFER  # not again
    assert kind(desk.ask(request(REQUEST, wanted=FIRST, server=SERVER))) == ACK


def test_an_address_in_use_is_not_offered() -> None:
    desk = Desk(conflict_check=True)
    (probe,) = desk.effects(request(DISCOVER))
    assert isinstance(probe, Probe)
    conflict, again = probe.resume(OTHER, desk.now + 0.001)
    assert isinstance(conflict, Publish)
    assert isinstance(conflict.event, AddressConflict)
    assert isinstance(again, Probe)
    assert (again.address, again.deadline) == (SECOND, probe.deadline)
    offer = answer(again.resume(b"", again.deadline))
    assert offer is not None
    assert offer.yiaddr == SECOND


def test_no_more_than_the_time_given_is_spent_on_probes() -> None:
    desk = Desk(conflict_check=True)
    (probe,) = desk.effects(request(DISCOVER))
    assert isinstance(probe, Probe)
    effects = probe.resume(OTHER, probe.deadline)
    offer = answer(effects)
    assert offer is not None
    assert offer.yiaddr == SECOND


def test_the_client_itself_is_no_conflict() -> None:
    desk = Desk(conflict_check=True)
    (probe,) = desk.effects(request(DISCOVER))
    assert isinstance(probe, Probe)
    assert kind(answer(probe.resume(MAC, desk.now))) == OFFER


def test_two_identities_of_one_machine_do_not_take_its_address_from_each_other_for_ever() -> None:
    """Its firmware sends a client-id, the boot program that it loads sends none."""
    desk = Desk(conflict_check=True, identity="client-id", static={MAC: FIRST})
    first = desk.effects(request(DISCOVER, options={61: b"\1" + MAC}))
    second = desk.effects(request(DISCOVER))
    desk.now += 0.3
    for (probe,) in (first, second):
        assert isinstance(probe, Probe)
        offer = answer(probe.resume(b"", desk.now))
        assert offer is not None
        assert (kind(offer), offer.yiaddr) == (OFFER, FIRST)


def moving() -> tuple[Desk, Lease]:
    """Make a server where the client has a lease, and another address is kept for it since."""
    desk = Desk(static={MAC: KEPT}, conflict_check=True)
    lease = Lease(FIRST, MAC, MAC, None, LeaseState.BOUND, desk.now + 1000, 1000)
    desk.subnets.restore_leases([lease])
    return desk, lease


def test_who_moves_to_its_reserved_address_keeps_the_other_until_the_ack() -> None:
    desk, lease = moving()
    (probe,) = desk.effects(request(DISCOVER))
    assert isinstance(probe, Probe)
    assert probe.address == KEPT
    offer = answer(probe.resume(b"", desk.now))
    assert offer is not None
    assert (kind(offer), offer.yiaddr) == (OFFER, KEPT)
    assert lease.is_active(desk.now)
    assert kind(desk.ask(request(REQUEST, ciaddr=FIRST))) == ACK  # it may go on with that
    assert kind(desk.ask(request(REQUEST, wanted=KEPT, server=SERVER))) == ACK
    assert [desk.leased(KEPT), desk.leased(FIRST)] == [True, False]


def test_who_finds_its_reserved_address_in_use_keeps_the_one_it_has() -> None:
    desk, lease = moving()
    (probe,) = desk.effects(request(DISCOVER))
    assert isinstance(probe, Probe)
    _, *rest = probe.resume(OTHER, desk.now)
    offer = answer(rest)
    assert offer is not None
    assert (offer.yiaddr, lease.is_active(desk.now)) == (FIRST, True)
    assert kind(desk.ask(request(REQUEST, wanted=KEPT, server=SERVER))) == NAK


def test_bootp_moves_to_a_reserved_address_at_once() -> None:
    desk, _ = moving()
    reply = desk.ask(request(None))
    assert reply is not None
    assert reply.yiaddr == KEPT
    assert [desk.leased(KEPT), desk.leased(FIRST)] == [True, False]


def test_neither_behind_a_relay_nor_before_an_ack() -> None:
    desk = Desk(conflict_check=True)
    assert kind(desk.ask(request(DISCOVER, giaddr=RELAY))) == OFFER
    assert kind(desk.ask(request(REQUEST, mac=OTHER, wanted=SECOND, server=SERVER))) == ACK


def test_an_architecture_without_a_line_is_told_once() -> None:
    desk = Desk()
    told = [
        one.text
        for number in range(3)
        for one in events(
            desk.effects(
                request(DISCOVER, mac=OTHER[:5] + bytes((number,)), options=PXE | {93: b"\0\x0b"})
            )
        )
        if isinstance(one, Advice)
    ]
    assert told == ["is efi-arm64 and gets the default, default.0: write [bootfile] 00011 = FILE"]


def test_ipxe_need_not_wait_for_a_proxy() -> None:
    offer = Desk().ask(request(DISCOVER, options=PXE | {77: b"iPXE", 175: b"\xeb\3\1\0\0"}))
    assert offer is not None
    assert (offer.file, offer.options[175]) == (b"menu.ipxe", b"\xb0\1\1")
    assert 175 not in Desk().lease(options=PXE).options


def test_a_pool_that_holds_the_router_does_not_give_it_away() -> None:
    desk = Desk(gateway=A("192.168.1.100"))
    assert desk.lease().yiaddr == A("192.168.1.101")
