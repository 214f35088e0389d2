"""What a reply holds and where it goes (RFC 2131 4.1 and table 3, RFC 2132, RFC 4578)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from pybootd.config.loader import Config
from pybootd.core.bounded_map import BoundedMap
from pybootd.dhcp4.own_options import OptionSet, OwnOptions
from pybootd.dhcp4.request import BOOTP, DhcpRequest, Subnet, read_server_id_override
from pybootd.dhcp4.wire import options, pxe
from pybootd.dhcp4.wire.packet import (
    BOOTREPLY,
    BROADCAST_FLAG,
    INFORM,
    MINIMUM,
    NAK,
    NOBODY,
    OFFER,
    REQUEST,
    MessageType,
    Packet,
    encode,
)
from pybootd.leases.lease import FOREVER
from pybootd.system.sockets import BROADCAST

_HEADERS = 28  # IP and UDP
_SMALLEST = 576  # RFC 2131 2: without option 57, an IP datagram of this size
_INFINITE = 0xFFFFFFFF  # RFC 2131 3.3
_FILE_ROOM, _SNAME_ROOM = 127, 63  # octets of the fields, less a closing NUL
MAX_BODIES = 1024
"""Options worked out for clients that are answered alike, remembered."""
_TYPES = {kind: bytes((kind,)) for kind in MessageType}

# for a client that asks for nothing (GRUB's DISCOVER holds option 53 alone)
_UNASKED = (
    options.MASK,
    options.ROUTER,
    options.DNS,
    options.HOSTNAME,
    options.DOMAIN,
    options.BROADCAST,
    options.T1,
    options.T2,
)
_BOOTP_FIRST = (options.MASK, options.ROUTER, options.DNS)


class Reply(NamedTuple):  # a frozen dataclass takes thrice as long to make
    """Send ``data`` to an address and port, out of an interface (its index), from ``source``.

    ``mac``: the client has no address yet, so it is reached by this; empty: as routing says.
    ``durable``: only once the leases are saved; ``boot_server``: it leaves from port 4011.
    """

    data: bytes
    to: IPv4Address
    port: int
    interface: int
    source: IPv4Address
    mac: bytes = b""
    durable: bool = False
    boot_server: bool = False


class ReplyBuilder:
    """Builds replies; all that the configuration says of them is worked out here once."""

    def __init__(self, config: Config, own_options: OwnOptions) -> None:
        bootp = config.bootp
        self._config = config
        self._servername = bootp.servername.encode()[:_SNAME_ROOM]
        self._port = bootp.port
        self._own_options = own_options
        self._bodies: BoundedMap[tuple[object, ...], dict[int, bytes]] = BoundedMap(MAX_BODIES)

    def granted_seconds(self, request: DhcpRequest) -> float:
        """Grant what the client asks for, up to the maximum, or else the usual time; seconds."""
        settings = request.subnet.settings
        asked = int.from_bytes(request.packet.options.get(options.LEASE_TIME, b"")[:4])
        return min(asked, settings.max_lease_time) if asked else settings.lease_time

    def build_reply(
        self, request: DhcpRequest, kind: MessageType | None, address: IPv4Address, seconds: float
    ) -> Reply:
        """Build an OFFER or ACK (``kind`` None: a BOOTP reply) of ``address`` for ``seconds``.

        ``address`` NOBODY: the answer to an INFORM.
        """
        asked = request.packet
        sent: dict[int, bytes] = {}
        if kind is not None:
            sent = self._begin_options(request, kind)
            if address is not NOBODY:
                sent[options.LEASE_TIME] = _whole(seconds).to_bytes(4)
            self._echo_options(sent, asked)  # before what may be left out
        timed = options.LEASE_TIME in sent
        sent |= self._common_part(request, seconds if timed else None)
        if kind is None:  # BOOTP has little room, and more need of a mask than of what it knows
            self._echo_options(sent, asked)
        if options.UUID in asked.options and options.UUID in sent:
            sent[options.UUID] = asked.options[options.UUID]  # its own, not its class's
        packet = self._begin_packet(request, kind, sent)
        packet.yiaddr = address
        packet.cookie = asked.cookie
        durable = kind is not OFFER and address is not NOBODY
        return self._address_reply(request, packet, durable=durable)

    def build_proxy_reply(
        self, request: DhcpRequest, kind: MessageType, *, boot_server_follows: bool = False
    ) -> Reply:
        """Build the OFFER or ACK to a client whose address is another server's.

        ``boot_server_follows``: it is told of no file, and is to ask port 4011.
        """
        asked = request.packet
        boot_file = "" if boot_server_follows else request.boot_file.told
        sent = self._begin_options(request, kind)
        sent |= pxe.reply_options(asked, request.client, boot_file)
        if options.CLASS not in sent:  # without it this is no proxy's answer
            sent[options.CLASS] = b"PXEClient"
            sent |= {options.VENDOR: pxe.FETCH_FILE} if boot_file else {}
        if request.arrival.boot_server:
            sent = pxe.boot_server_options(asked, sent)
        own = self._own_options.find_options(request.profile, request.subnet.network)
        if boot_file:
            have = self._available_options(request, boot_file, own)
            sent[options.BOOT_FILE] = have[options.BOOT_FILE]
            if not request.client.vendor_class.startswith("HTTPClient"):
                sent[options.TFTP_SERVER] = have[options.TFTP_SERVER]
        wanted = asked.options.get(options.WANTED, b"")
        sent |= {code: value for code, value in own.values.items() if code in wanted}
        sent |= own.always
        self._echo_options(sent, asked)
        packet = self._begin_packet(request, kind, sent, boot_file)
        return self._address_reply(request, packet, broadcast=True)

    def build_nak(self, request: DhcpRequest, reason: str) -> Reply:
        """Build a NAK: server id, message, client-id and option 82, nothing else."""
        asked = request.packet
        sent = self._begin_options(request, NAK)
        sent[options.MESSAGE] = reason.encode()
        self._echo_options(sent, asked)
        packet = self._begin_packet(request, NAK, sent)
        if asked.giaddr is not NOBODY:
            packet.flags = BROADCAST_FLAG  # RFC 2131 4.3.2: the relay must broadcast it
        return self._address_reply(request, packet, broadcast=True)

    # the packet

    @staticmethod
    def _begin_options(request: DhcpRequest, kind: MessageType) -> dict[int, bytes]:
        return {options.TYPE: _TYPES[kind], options.SERVER_ID: request.server_id.packed}

    def _begin_packet(
        self,
        request: DhcpRequest,
        kind: MessageType | None,
        sent: dict[int, bytes],
        boot_file: str | None = None,
    ) -> Packet:
        """Begin a reply with what all of its kind hold (RFC 2131 table 3).

        ``boot_file``: another one than the request's choice.
        """
        asked = request.packet
        if kind is NAK:
            ciaddr = siaddr = NOBODY
            sname = file = b""
        else:
            ciaddr = NOBODY if asked.ciaddr is NOBODY else request.ciaddr
            siaddr = request.subnet.settings.next_server or request.server
            sname = self._servername
            file = (request.boot_file.told if boot_file is None else boot_file).encode()
        return Packet(
            BOOTREPLY,
            asked.htype,
            xid=asked.xid,
            flags=asked.flags & BROADCAST_FLAG,
            ciaddr=ciaddr,
            siaddr=siaddr,
            giaddr=asked.giaddr,
            chaddr=asked.chaddr,
            sname=sname,
            # shim reads this field alone; a name that is longer stands in option 67
            file=file if len(file) <= _FILE_ROOM else b"",
            options=sent,
        )

    # the options

    def _common_part(self, request: DhcpRequest, seconds: float | None) -> dict[int, bytes]:
        """Return what all clients of a class are told alike, worked out once for the class."""
        asked, client = request.packet, request.client
        boot_file = request.boot_file.told
        own = self._own_options.find_options(request.profile, request.subnet.network)
        key = (
            own,
            request.subnet,
            request.server,
            None if asked.giaddr is NOBODY else asked.giaddr,
            read_server_id_override(asked),
            asked.options.get(options.WANTED),
            options.UUID in asked.options,
            client.vendor_class,
            client.plain_bootp,
            client.network_boot,
            client.ipxe,
            boot_file,
            request.hostname,
            seconds,
        )
        body = self._bodies.get(key)
        if body is None:
            have = self._available_options(request, boot_file, own)
            if seconds is not None:
                have = _renewals(seconds) | have
            body = self._choose_options(have, request, boot_file, own)
            if client.network_boot and pxe.is_pi(asked):
                return body  # its MAC decides, too
            self._bodies[key] = body
        return body

    def _available_options(
        self, request: DhcpRequest, boot_file: str, own: OptionSet
    ) -> dict[int, bytes]:
        """Return every option that the client may ask for; what the administrator sets goes first.

        But a host name that is the client's alone goes before option 12 for all clients.
        """
        have = self._subnet_options(request.subnet, request.server, _router(request))
        if boot_file:
            client = request.client
            # old Intel firmware reads a C string (netbootxyz/netboot.xyz#1198)
            intel = client.vendor_class.startswith("PXEClient") and not client.ipxe
            have[options.BOOT_FILE] = boot_file.encode() + (b"\0" if intel else b"")
            next_server = request.subnet.settings.next_server or request.server
            have[options.TFTP_SERVER] = str(next_server).encode()
        have |= own.values
        if request.hostname and options.HOSTNAME not in own.personal:
            have[options.HOSTNAME] = request.hostname.encode()
        return have

    @staticmethod
    def _subnet_options(
        subnet: Subnet, server: IPv4Address, router: IPv4Address | None
    ) -> dict[int, bytes]:
        settings = subnet.settings
        gateway = router if settings.gateway == "self" else settings.gateway
        have = {
            options.MASK: subnet.network.netmask.packed,
            options.DNS: b"".join(address.packed for address in settings.dns),
            options.NTP: b"".join(address.packed for address in settings.ntp),
            options.DOMAIN: settings.domain.encode(),
        }
        if subnet.network.prefixlen < 31:  # RFC 3021: a /31 has no broadcast address
            have[options.BROADCAST] = subnet.network.broadcast_address.packed
        if isinstance(gateway, IPv4Address):
            have[options.ROUTER] = gateway.packed
        return {code: value for code, value in have.items() if value}

    @staticmethod
    def _choose_options(
        have: dict[int, bytes], request: DhcpRequest, boot_file: str, own: OptionSet
    ) -> dict[int, bytes]:
        """Choose from what there is, in the order in which the client asks.

        An option that the administrator sets takes the place of the one that makes a client boot.
        """
        client = request.client
        sent: dict[int, bytes] = {}
        if client.network_boot:
            sent |= pxe.reply_options(request.packet, client, boot_file)
            if client.ipxe:
                sent[options.IPXE] = own.values.get(options.IPXE, pxe.NO_PROXY)
        for code in _wanted_codes(request):
            if code in have and (code not in sent or code in own.values):
                sent[code] = have[code]
        if boot_file and client.network_boot:
            sent.setdefault(options.BOOT_FILE, have[options.BOOT_FILE])
            if not client.vendor_class.startswith("HTTPClient"):
                sent.setdefault(options.TFTP_SERVER, have[options.TFTP_SERVER])
        return sent | own.always

    @staticmethod
    def _echo_options(sent: dict[int, bytes], asked: Packet) -> None:
        # RFC 6842 3: the client-id in every reply; RFC 3011 2: the network that it chose;
        # RFC 3046 2.2: option 82, which encode puts last
        for code in (options.CLIENT_ID, options.SUBNET, options.RELAY_AGENT):
            if code in asked.options:
                sent[code] = asked.options[code]

    def _address_reply(
        self, request: DhcpRequest, reply: Packet, *, broadcast: bool = False, durable: bool = False
    ) -> Reply:
        """Encode the reply and say where it goes, RFC 2131 4.1."""
        asked, arrival = request.packet, request.arrival
        bootp = request.kind == BOOTP
        data = encode(reply, _room(request), overload=not bootp)
        port, mac = self._port + 1, b""
        if arrival.boot_server:
            # iPXE asks 4011 from 68, OVMF from 4011 (captured)
            to = arrival.source if arrival.source is not NOBODY else BROADCAST
            port = arrival.port
        elif asked.giaddr is not NOBODY:
            to, port = asked.giaddr, self._port
        elif broadcast:
            to = BROADCAST
        elif request.ciaddr is not NOBODY:
            to = request.ciaddr  # even with the broadcast bit
            if request.kind == REQUEST and arrival.source is NOBODY:
                mac = asked.chaddr  # it has not set up its address yet: it answers no ARP
        elif reply.yiaddr is NOBODY:
            to = arrival.source if arrival.source is not NOBODY else BROADCAST
        elif (
            asked.flags & BROADCAST_FLAG or not asked.chaddr or self._wants_broadcast(asked.chaddr)
        ):
            to = BROADCAST  # RFC 4390 2.1: an InfiniBand client shows no hardware address
        else:
            # the client's hardware address, not the frame's sender: that may be a bridge
            to, mac = reply.yiaddr, asked.chaddr
        index, boot = arrival.interface.index, arrival.boot_server
        return Reply(data, to, port, index, request.server, mac, durable, boot)

    def _wants_broadcast(self, mac: bytes) -> bool:
        for prefix, buggy in self._config.buggy:
            if prefix.holds(mac):
                return buggy
        return False


def _router(request: DhcpRequest) -> IPv4Address | None:
    """Return the router that ``gateway = self`` means: the relay, or we, if on the network."""
    asked, network = request.packet, request.subnet.network
    alone = network.prefixlen == 32  # no router can be on it
    for address in (asked.giaddr, request.server_id):
        if address != NOBODY and (alone or address in network):
            return address
    return None


def _room(request: DhcpRequest) -> int:
    """Say how many octets the client takes, BOOTP header and all, on a link of this MTU."""
    if request.kind == BOOTP:
        return MINIMUM  # RFC 1542 2.1: a vendor field of 64 octets
    said = int.from_bytes(request.packet.options.get(options.SIZE, b"")[:2])
    # OVMF says 65280: no more than the link carries unfragmented
    return max(_SMALLEST, min(said, request.arrival.interface.mtu)) - _HEADERS


def _wanted_codes(request: DhcpRequest) -> Sequence[int]:
    """Return the options wanted, in order; the mask before the router (RFC 2132 3.3)."""
    asked = request.packet.options.get(options.WANTED)
    if request.kind == BOOTP:  # what stands first has the best chance of the little room
        return (*_BOOTP_FIRST, *(asked or _UNASKED))
    if not asked:  # an empty list asks for nothing in particular
        return _UNASKED
    if request.kind != INFORM:
        # no client can do without (raspberrypi/firmware#1001)
        return (options.MASK, *asked, options.ROUTER)
    if options.MASK in asked and options.ROUTER in asked:
        return (options.MASK, *asked)
    return asked


def _whole(seconds: float) -> int:
    return _INFINITE if seconds == FOREVER else min(int(seconds), _INFINITE)


def _renewals(seconds: float) -> dict[int, bytes]:
    """Return T1 and T2, half and seven eighths (RFC 2131 4.4.5), of a lease that ends."""
    whole = _whole(seconds)
    if whole == _INFINITE:
        return {}
    return {options.T1: (whole // 2).to_bytes(4), options.T2: (whole * 7 // 8).to_bytes(4)}
