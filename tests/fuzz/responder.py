"""Requests of a few clients, as octets, in any order: what the whole DHCP server says to them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from math import inf

from pybootd.access.base import Access, AccessDecision
from pybootd.config.client_classes import SubnetConfig
from pybootd.config.ini import Section
from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client import Client
from pybootd.core.events import AddressConflict, Released
from pybootd.core.workers import Later, TaskResult
from pybootd.dhcp4.actions import Action, Probe, Publish, Wait
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import BOOTP, Arrival, read_kind
from pybootd.dhcp4.wire.packet import BOOTREPLY, COOKIE, NOBODY, DhcpPacketError, Packet, decode
from tests.dhcp4.desk import FIRST, LAN, SERVER, WAN, Desk

from .codecs import FILES
from .feed import Feed

A = IPv4Address
MACS = tuple(b"\x52\x54\0\0\0" + bytes((n,)) for n in range(6))
KEPT = A("192.168.1.200")
BEHIND = IPv4Network("10.77.0.0/24")
RELAY = A("10.77.0.254")
OURS = (SERVER, A("10.9.0.1"))
ADDRESSES = (
    *(NOBODY, FIRST, FIRST + 1, FIRST + 2, SERVER, KEPT, RELAY, A("10.77.0.9"), A("10.77.0.10")),
    *(A("10.9.0.1"), A("10.9.0.5"), A("192.168.1.255"), A("255.255.255.255"), A("10.0.0.1")),
)
ANSWERED = frozenset((1, 3, 8))  # DISCOVER, REQUEST, INFORM (RFC 2131 table 4), and BOOTP's 0
DELAYS = (0.0, 0.1, 1.0, 31.0, 61.0, 301.0, 601.0, 1001.0)
PIECES = tuple(
    bytes.fromhex(text)
    for text in [
        "350101",
        "350103",
        "350104",
        "350107",
        "350108",
        "3604c0a80101",
        "36040a090001",
        "36040a000001",
        "390205c0",
        "39020240",
        "5d020000",
        "5d020007",
        "5d020010",
        "6111005250693400000000000000000000000000",
        "af03b00101",
        "4d0469505845",
        "3301ff",
        "330400000010",
        "3707010306337a3a3b43",
        "3d0701525400000001",
        "3d0701525400000002",
        "520401027031",
        "520605040a4d0001",
        "52060b040a4d0009",
        "76040a4d0000",
        "340101",
        "340103",
        "2b06470480000000",
    ]
) + tuple(
    bytes((60, len(name))) + name for name in (b"PXEClient:Arch:00007", b"HTTPClient:Arch:00016")
)


class Slow(Access):
    """An access list that has to ask somebody; it denies one client and fails for another."""

    @classmethod
    def from_config(cls, section: Section) -> "Slow":
        return cls()

    def check(self, client: Client) -> AccessDecision | Later[AccessDecision]:
        if client.mac[-1:] == b"\3":
            return AccessDecision(False, "denied")
        return Later(lambda: AccessDecision(True, "allowed", error=client.mac[-1:] == b"\4"))


def _first(how: int) -> IPv4Address:
    """Let the pool begin at the server's own address, which it must leave out."""
    return SERVER if how & 128 else FIRST


def _desk(feed: Feed) -> Desk:
    """Make a server that the first three octets configure."""
    how, count, mode = feed.octet(), 1 + feed.octet() % 3, feed.octet()
    bootp = BootpConfig(
        pool_start=_first(how),
        pool_count=count,
        mode="proxy" if mode & 1 else "dhcp",
        identity="client-id" if how & 1 else "mac",
        reclaim="expired" if how & 2 else "never",
        conflict_check=bool(how & 4),
        allow_simple_dhcp=bool(how & 8),
        authoritative=not how & 16,
        lease_time=300,
        max_lease_time=1000,
    )
    behind = {"pool_start": A("10.77.0.9"), "pool_count": 2, "lease_time": 60}
    config = Config(
        bootp=bootp,
        bootfile=FILES,
        static={MACS[5]: KEPT},
        subnets=(SubnetConfig(BEHIND, behind),) if how & 32 else (),
    )
    return Desk(config=config, access=Slow() if how & 64 else None)


@dataclass
class Wire:
    """One server, and a note of all that it said. ``users``: who was told of an address."""

    desk: Desk
    asked: dict[int, tuple[Packet, Arrival]] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    users: dict[IPv4Address, tuple[Packet, float]] = field(default_factory=dict)
    waiting: list[Callable[[Feed], list[Action]]] = field(default_factory=list)

    def ask(self, data: bytes, origin: Arrival) -> None:
        try:
            packet = decode(data)
        except DhcpPacketError:
            return
        # its number, so that a reply shows which request it answers
        packet.xid = len(self.asked) + 1
        self.asked[packet.xid] = packet, origin
        handler, now = self.desk.handler, self.desk.now
        if origin.boot_server:
            self.carry_out(handler.proxy.handle_port_4011(packet, origin, now))
        elif self.desk.config.bootp.mode == "proxy":
            self.carry_out(handler.proxy.handle_port_67(packet, origin, now))
        else:
            self.carry_out(handler.handle_request(packet, origin, now))

    def carry_out(self, effects: list[Action]) -> None:
        for effect in effects:
            match effect:
                case Reply():
                    self.check(effect)
                case Publish(event):
                    if isinstance(event, Released | AddressConflict):
                        self.users.pop(event.address, None)
                case Wait(later, resume):
                    self.waiting.append(
                        lambda _, later=later, resume=resume: resume(
                            TaskResult(later.call()), self.desk.now
                        )
                    )
                case Probe():
                    self.waiting.append(lambda feed, probe=effect: self.probed(probe, feed))
        self.desk.subnets.changed.clear()  # saved

    def probed(self, probe: Probe, feed: Feed) -> list[Action]:
        user = feed.choose((b"", b"", MACS[0], b"\2\0\0\0\0\x99"))
        return probe.resume(user, max(self.desk.now, probe.deadline if not user else 0.0))

    def go_on(self, feed: Feed) -> None:
        if self.waiting:
            self.carry_out(self.waiting.pop(feed.octet() % len(self.waiting))(feed))

    def check(self, reply: Reply) -> None:
        """See that it answers a request that wants it, once, and is no larger than may be."""
        said = decode(reply.data)
        asked, origin = self.asked[said.xid]
        kind = read_kind(asked)
        assert said.op == BOOTREPLY
        assert asked.op != BOOTREPLY
        assert kind in ANSWERED or kind == BOOTP
        assert said.xid not in self.answered
        self.answered.add(said.xid)
        assert (said.chaddr, said.giaddr, said.hops, said.secs) == (
            asked.chaddr,
            asked.giaddr,
            0,
            0,
        )
        room = max(576, min(int.from_bytes(asked.options.get(57, b"")[:2]), 1500)) - 28
        assert 300 <= len(reply.data) <= room
        if (
            82 in said.options or len(asked.options.get(82, b"")) <= 44
        ):  # all that BOOTP has room for
            assert said.options.get(82) == asked.options.get(82) or not said.cookie
        if asked.giaddr != NOBODY and not origin.boot_server:
            assert (reply.to, reply.port) == (asked.giaddr, 67)
        if said.yiaddr != NOBODY:
            self.given(said, asked)

    def moves(self, address: IPv4Address) -> None:
        """Note that the client with this address has given up the one it had."""
        identify, network = (
            self.desk.handler.identify_client,
            self.desk.subnets.find_subnet(address),
        )
        lease = network.pool.find_lease_at(address) if network else None
        for other, (asked, _) in list(self.users.items()):
            owner = identify(asked.chaddr, asked.options.get(61))
            if lease is not None and other != address and owner == lease.owner:
                del self.users[other]

    def given(self, said: Packet, asked: Packet) -> None:
        """No address is ever two clients', and each is one that may be given."""
        address, config = said.yiaddr, self.desk.config
        assert config.bootp.mode == "dhcp"
        assert address not in OURS
        first = config.bootp.pool_start
        assert first is not None
        in_pool = first <= address < first + config.bootp.pool_count
        behind = bool(config.subnets) and address in (A("10.77.0.9"), A("10.77.0.10"))
        assert in_pool or behind or (address == KEPT and asked.chaddr == MACS[5])
        if address in self.users:
            before, until = self.users[address]
            assert until <= self.desk.now or _same(before, asked)
        if said.options.get(53) in (b"\5", None):
            lasts = int.from_bytes(said.options[51]) if 51 in said.options else inf
            # without reclaim an address stays its client's, save for one that is kept for another
            self.moves(address)
            stays = config.bootp.reclaim == "never" and address != KEPT
            self.users[address] = asked, inf if stays else self.desk.now + lasts


def _same(one: Packet, other: Packet) -> bool:
    if one.chaddr and one.chaddr == other.chaddr:
        return True
    return bool(one.options.get(61)) and one.options.get(61) == other.options.get(61)


def _message(feed: Feed) -> bytes:
    """Build a request of known pieces; 240 octets of header are too far for chance."""
    size, who = feed.octet(), feed.octet()
    if size == 255:
        return feed.take(feed.number() % 1500)
    mac = MACS[who % 6]
    head = bytes((1 + (who >> 7), 1, 6 if who & 64 == 0 else feed.octet() % 18, 0))
    fields = b"xid!" + bytes(2) + (b"\x80\0" if who & 32 else b"\0\0")
    where = feed.octet()
    ciaddr, giaddr = ADDRESSES[where % 14], NOBODY
    if where & 128:
        giaddr = feed.choose(ADDRESSES)
    fields += ciaddr.packed + bytes(8) + giaddr.packed + mac.ljust(16, b"\0")
    fields += feed.take(feed.octet() % 64 if where & 64 else 0).ljust(192, b"\0")
    options = b""
    for _ in range(size % 12):
        options += _option(feed)
    return head + fields + (b"" if size & 128 else COOKIE) + options + b"\xff"


def _option(feed: Feed) -> bytes:
    code = feed.octet()
    if code < len(PIECES):
        return PIECES[code]
    if code in (50, 54, 118):
        return bytes((code, 4)) + feed.choose(ADDRESSES).packed
    length = feed.octet()
    return bytes((code, length)) + feed.take(length).ljust(length, b"\0")


def dhcp_server(data: bytes) -> None:
    """Serve a few clients: requests, answers of access lists and probes, time, in any order."""
    feed = Feed(data)
    wire = Wire(_desk(feed))
    while feed and len(wire.asked) < 40:
        step = feed.octet()
        wire.desk.now += DELAYS[step & 7]
        if step & 8:
            wire.go_on(feed)
            continue
        interface, local = (WAN, OURS[1]) if step & 16 else (LAN, OURS[0])
        source = feed.choose(ADDRESSES) if step & 32 else NOBODY
        origin = Arrival(interface, local, source, bool(step & 32), 68, bool(step & 64))
        wire.ask(_message(feed), origin)
    while wire.waiting:
        wire.go_on(feed)
    assert not wire.desk.handler.waiting_requests()
    for network in wire.desk.subnets:
        owners = [lease.owner for lease in network.pool.list_leases() if lease.owner]
        assert len(owners) == len(set(owners))
        assert len(network.pool) <= 256
