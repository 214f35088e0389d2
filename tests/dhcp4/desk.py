"""A handler on a desk: requests and moments in, decoded effects out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from pybootd.access.base import Access, AccessDecision
from pybootd.config.bootfile import BootFileConfig
from pybootd.config.client_classes import ClientProfile
from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.config.options.files import HttpdConfig
from pybootd.core.client import Client, IPAddress
from pybootd.core.client_table import ClientTable
from pybootd.core.mac import MacPrefix
from pybootd.dhcp4.actions import Action, Publish
from pybootd.dhcp4.bootfile import BootFileChoice, choose_boot_file
from pybootd.dhcp4.handler import DhcpHandler
from pybootd.dhcp4.own_options import OwnOption, OwnOptions, read_own_options
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import Arrival, DhcpRequest
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire.packet import MessageType, Packet, decode, encode
from pybootd.system.interfaces import Interface

A = IPv4Address
MAC = bytes.fromhex("525400123456")
OTHER = bytes.fromhex("525400abcdef")
SERVER = A("192.168.1.1")
FIRST = A("192.168.1.100")
LAN = Interface("lan0", 2, (IPv4Interface("192.168.1.1/24"),), b"\2\0\0\0\0\1")
WAN = Interface("wan0", 3, (IPv4Interface("10.9.0.1/16"),), b"\2\0\0\0\0\2")
HERE = Arrival(LAN, SERVER)
PXE = {60: b"PXEClient:Arch:00007:UNDI:003000", 93: b"\0\7", 97: b"\0" + bytes(range(16))}
FILES = BootFileConfig("default.0", "menu.ipxe", {0: "pxelinux.0", 7: "shim.efi"})


def request(
    kind: int | None,
    *,
    mac: bytes = MAC,
    options: Mapping[int, bytes] | None = None,
    wanted: IPv4Address | None = None,
    server: IPv4Address | None = None,
    **fields: Any,
) -> Packet:
    """Build a request; ``wanted`` is option 50, ``server`` option 54."""
    sent: dict[int, bytes] = {} if kind is None else {53: bytes((kind,))}
    if wanted is not None:
        sent[50] = wanted.packed
    if server is not None:
        sent[54] = server.packed
    return Packet(xid=7, chaddr=mac, options=sent | dict(options or {}), **fields)


class Desk:
    """One handler, its memory, and a clock that stands still until it is told."""

    def __init__(
        self,
        *,
        access: Access | None = None,
        settings: Sequence[OwnOption] = (),
        static: Mapping[bytes, IPv4Address] | None = None,
        buggy: Sequence[tuple[MacPrefix, bool]] = (),
        files: BootFileConfig = FILES,
        config: Config | None = None,
        **bootp: Any,
    ) -> None:
        given = {
            "pool_start": FIRST,
            "allow_simple_dhcp": True,
            "conflict_check": False,
            "max_lease_time": 100_000,
        }
        self.config = config or Config(
            bootp=BootpConfig(**(given | bootp)),
            bootfile=files,
            static=static or {},
            buggy=tuple(buggy),
        )
        self.neighbours: dict[IPAddress, bytes] = {}  # what the system has seen on the link
        self.clients = ClientTable(find_neighbour=self.neighbours.get)
        self.subnets = Subnets(self.config)
        self.subnets.follow_interfaces([LAN, WAN])
        own = OwnOptions(tuple(settings)) if settings else read_own_options(self.config)
        self.handler = DhcpHandler(self.config, self.subnets, self.clients, access, own)
        self.now = 1000.0

    def effects(self, packet: Packet, origin: Arrival = HERE) -> list[Action]:
        return self.handler.handle_request(decode(encode(packet)), origin, self.now)

    def ask(self, packet: Packet, origin: Arrival = HERE) -> Packet | None:
        """Return the reply's packet, None when there is no reply."""
        return answer(self.effects(packet, origin))

    def reply(self, packet: Packet, origin: Arrival = HERE) -> Reply:
        """Return the reply and where it goes; fails when there is none."""
        (found,) = [effect for effect in self.effects(packet, origin) if isinstance(effect, Reply)]
        return found

    def lease(self, origin: Arrival = HERE, **more: Any) -> Packet:
        """Go through all four messages and return the ACK."""
        offer = self.ask(request(MessageType.DISCOVER, **more), origin)
        assert offer is not None
        more.pop("wanted", None)
        ack = self.ask(
            request(MessageType.REQUEST, wanted=offer.yiaddr, server=A(offer.options[54]), **more),
            origin,
        )
        assert ack is not None
        assert kind(ack) == MessageType.ACK
        return ack

    def leased(self, address: IPv4Address) -> bool:
        network = self.subnets.find_subnet(address)
        lease = network.pool.find_lease_at(address) if network else None
        return lease is not None and lease.is_active(self.now)


def answer(effects: Sequence[Action]) -> Packet | None:
    replies = [effect for effect in effects if isinstance(effect, Reply)]
    return decode(replies[0].data) if replies else None


def kind(packet: Packet | None) -> int | None:
    return None if packet is None else packet.options[53][0]


def events(effects: Sequence[Action]) -> list[Any]:
    return [effect.event for effect in effects if isinstance(effect, Publish)]


def elsewhere(**changes: Any) -> Arrival:
    return replace(HERE, **changes)


def choose(
    files: BootFileConfig,
    client: Client,
    *,
    named: str = "",
    own: str = "",
    httpd: HttpdConfig | None = None,
) -> BootFileChoice:
    """Choose; ``named`` by the access list, ``own`` set in the client's section."""
    (subnet,) = Desk().subnets
    asked = DhcpRequest(Packet(), HERE, subnet, SERVER, client, client.mac, 1)
    asked.profile = ClientProfile(boot_file=own)
    verdict = AccessDecision(True, "", file=named)
    return choose_boot_file(asked, verdict, files, httpd or HttpdConfig())
