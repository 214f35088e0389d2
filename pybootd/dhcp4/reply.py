"""What a reply holds and where it goes (RFC 2131 4.1 and table 3, RFC 2132, RFC 4578)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from urllib.parse import quote

from pybootd.config.loader import Config
from pybootd.core.client import Client
from pybootd.dhcp4.subnets import DhcpRequest, Subnet, override
from pybootd.dhcp4.wire import options, pxe
from pybootd.dhcp4.wire.packet import (
    BOOTREPLY,
    BROADCAST_FLAG,
    NOBODY,
    MessageType,
    Packet,
    encode,
)
from pybootd.leases.lease import FOREVER
from pybootd.system.sockets import BROADCAST

_HEADERS = 28  # IP and UDP
_SMALLEST = 576  # RFC 2131 2: without option 57, an IP datagram of this size
_INFINITE = 0xFFFFFFFF  # RFC 2131 3.3
_FILE, _SNAME = 127, 63  # the octets of the fields, less a closing NUL
_CLASSES = 1024  # of clients that are answered alike, remembered

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


@dataclass(frozen=True, slots=True)
class Reply:
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

    def __init__(self, config: Config, settings: Sequence[options.Setting]) -> None:
        bootp = config.bootp
        self._config = config
        self._servername = bootp.servername.encode()[:_SNAME]
        self._port = bootp.port
        self._given = {one.code: one.value for one in settings}
        self._always = {one.code: one.value for one in settings if one.always}
        self._bodies: dict[tuple[object, ...], dict[int, bytes]] = {}

    def boot_file(self, request: DhcpRequest, own: str = "") -> str:
        """Choose the client's boot file, ``own`` being what is set for it alone; empty: none."""
        client = request.client
        file = pxe.boot_file(self._config.bootfile, client, own)
        if file and client.vendor_class.startswith("HTTPClient") and "://" not in file:
            return self._url(request, file)
        return file

    def _url(self, request: DhcpRequest, file: str) -> str:
        """Name a file of ours as HTTP Boot wants it, if we serve files over HTTP; else empty."""
        httpd = self._config.httpd
        if not httpd.enable:
            return ""
        host = request.network.settings.next_server or request.server
        port = "" if httpd.port == 80 else f":{httpd.port}"
        return f"http://{host}{port}/{quote(file.lstrip('/'))}"

    def advice(self, client: Client, own: str = "") -> str:
        """Say what the configuration lacks for this client; empty: nothing."""
        file = pxe.boot_file(self._config.bootfile, client, own)
        over_http = client.vendor_class.startswith("HTTPClient")
        if over_http and "://" not in file and not self._config.httpd.enable:
            line = f"[bootfile] {client.architecture or 0:05d} = http://HOST/FILE"
            return f"boots over HTTP and wants a URL: write {line}, or [httpd] enable = yes"
        return pxe.advice(self._config.bootfile, client, own)

    def lease_time(self, request: DhcpRequest) -> float:
        """Grant what the client asks for, up to the maximum, or else the usual time; seconds."""
        settings = request.network.settings
        asked = int.from_bytes(request.packet.options.get(options.LEASE_TIME, b"")[:4])
        return min(asked, settings.max_lease_time) if asked else settings.lease_time

    def give(
        self,
        request: DhcpRequest,
        kind: MessageType | None,
        address: IPv4Address,
        seconds: float,
        boot_file: str,
        hostname: str = "",
    ) -> Reply:
        """Build an OFFER or ACK (``kind`` None: a BOOTP reply) of ``address`` for ``seconds``.

        ``address`` NOBODY: the answer to an INFORM.
        """
        asked = request.packet
        sent: dict[int, bytes] = {}
        if kind is not None:
            sent[options.TYPE] = bytes((kind,))
            sent[options.SERVER_ID] = request.identifier.packed
            if address != NOBODY:
                sent[options.LEASE_TIME] = _whole(seconds).to_bytes(4)
        self._echo(sent, asked)  # before what may be left out
        timed = options.LEASE_TIME in sent
        sent |= self._body(request, boot_file, hostname, seconds if timed else None)
        if options.UUID in asked.options and options.UUID in sent:
            sent[options.UUID] = asked.options[options.UUID]  # its own, not its class's
        file = boot_file.encode()
        return self._send(
            request,
            Packet(
                BOOTREPLY,
                asked.htype,
                xid=asked.xid,
                flags=asked.flags & BROADCAST_FLAG,
                ciaddr=NOBODY if kind is MessageType.OFFER else asked.ciaddr,
                yiaddr=address,
                siaddr=request.network.settings.next_server or request.server,
                giaddr=asked.giaddr,
                chaddr=asked.chaddr,
                sname=self._servername,
                # shim reads this field alone; a name that is longer stands in option 67
                file=file if len(file) <= _FILE else b"",
                options=sent,
                cookie=asked.cookie,
            ),
            durable=kind is not MessageType.OFFER and address != NOBODY,
        )

    def direct(self, request: DhcpRequest, kind: MessageType, boot_file: str) -> Reply:
        """Build the OFFER or ACK to a client whose address is another server's.

        ``boot_file`` empty: it is to ask port 4011.
        """
        asked = request.packet
        settings, file = request.network.settings, boot_file.encode()
        sent = {options.TYPE: bytes((kind,)), options.SERVER_ID: request.identifier.packed}
        sent |= pxe.reply_options(asked, request.client, boot_file)
        if options.CLASS not in sent:  # without it this is no proxy's answer
            sent[options.CLASS] = b"PXEClient"
            sent |= {options.VENDOR: pxe.FETCH_FILE} if boot_file else {}
        if request.origin.boot_server:
            sent = pxe.boot_server_options(asked, sent)
        if boot_file:
            have = self._have(request, boot_file, "")
            sent[options.BOOT_FILE] = have[options.BOOT_FILE]
            if not request.client.vendor_class.startswith("HTTPClient"):
                sent[options.TFTP_SERVER] = have[options.TFTP_SERVER]
        wanted = asked.options.get(options.WANTED, b"")
        sent |= {code: value for code, value in self._given.items() if code in wanted}
        sent |= self._always
        self._echo(sent, asked)
        return self._send(
            request,
            Packet(
                BOOTREPLY,
                asked.htype,
                xid=asked.xid,
                flags=asked.flags & BROADCAST_FLAG,
                ciaddr=NOBODY if kind is MessageType.OFFER else asked.ciaddr,
                siaddr=settings.next_server or request.server,
                giaddr=asked.giaddr,
                chaddr=asked.chaddr,
                sname=self._servername,
                file=file if len(file) <= _FILE else b"",
                options=sent,
            ),
            broadcast=True,
        )

    def refuse(self, request: DhcpRequest, reason: str) -> Reply:
        """Build a NAK: server id, message, client-id and option 82, nothing else."""
        asked = request.packet
        sent = {
            options.TYPE: bytes((MessageType.NAK,)),
            options.SERVER_ID: request.identifier.packed,
            options.MESSAGE: reason.encode(),
        }
        self._echo(sent, asked)
        relayed = asked.giaddr != NOBODY
        return self._send(
            request,
            Packet(
                BOOTREPLY,
                asked.htype,
                xid=asked.xid,
                # RFC 2131 4.3.2: the relay must broadcast it
                flags=BROADCAST_FLAG if relayed else asked.flags & BROADCAST_FLAG,
                giaddr=asked.giaddr,
                chaddr=asked.chaddr,
                options=sent,
            ),
            broadcast=True,
        )

    # inside

    def _body(
        self, request: DhcpRequest, boot_file: str, hostname: str, seconds: float | None
    ) -> dict[int, bytes]:
        """Return what all clients of a class are told alike, worked out once for the class."""
        asked, client = request.packet, request.client
        key = (
            request.network,
            request.server,
            asked.giaddr,
            override(asked),
            asked.options.get(options.WANTED),
            options.UUID in asked.options,
            client.vendor_class,
            client.network_boot,
            client.ipxe,
            boot_file,
            hostname,
            seconds,
        )
        body = self._bodies.get(key)
        if body is None:
            have = self._have(request, boot_file, hostname)
            if seconds is not None:
                have = _renewals(seconds) | have
            body = self._fill(have, request, boot_file)
            if client.network_boot and pxe.is_pi(asked):
                return body  # its MAC decides, too
            if len(self._bodies) >= _CLASSES:
                self._bodies.clear()
            self._bodies[key] = body
        return body

    def _have(self, request: DhcpRequest, boot_file: str, hostname: str) -> dict[int, bytes]:
        """Return every option that the client may ask for."""
        have = self._common_options(request.network, request.server, _router(request))
        if hostname:
            have[options.HOSTNAME] = hostname.encode()
        if boot_file:
            client = request.client
            # old Intel firmware reads a C string (netbootxyz/netboot.xyz#1198)
            intel = client.vendor_class.startswith("PXEClient") and not client.ipxe
            have.setdefault(options.BOOT_FILE, boot_file.encode() + (b"\0" if intel else b""))
        else:
            have.pop(options.TFTP_SERVER, None)
        return have

    def _common_options(
        self, network: Subnet, server: IPv4Address, router: IPv4Address | None
    ) -> dict[int, bytes]:
        settings = network.settings
        gateway = router if settings.gateway == "self" else settings.gateway
        have = {
            options.MASK: network.network.netmask.packed,
            options.BROADCAST: network.network.broadcast_address.packed,
            options.DNS: b"".join(address.packed for address in settings.dns),
            options.NTP: b"".join(address.packed for address in settings.ntp),
            options.DOMAIN: settings.domain.encode(),
            options.TFTP_SERVER: str(settings.next_server or server).encode(),
        }
        if isinstance(gateway, IPv4Address):
            have[options.ROUTER] = gateway.packed
        return {code: value for code, value in have.items() if value} | self._given

    def _fill(
        self, have: dict[int, bytes], request: DhcpRequest, boot_file: str
    ) -> dict[int, bytes]:
        """Choose from what there is, in the order in which the client asks."""
        client = request.client
        sent: dict[int, bytes] = {}
        if client.network_boot:
            sent |= pxe.reply_options(request.packet, client, boot_file)
            if client.ipxe:
                sent[options.IPXE] = self._given.get(options.IPXE, pxe.NO_PROXY)
        for code in _wanted(request.packet.options.get(options.WANTED)):
            if code in have and code not in sent:
                sent[code] = have[code]
        if boot_file and client.network_boot:
            sent.setdefault(options.BOOT_FILE, have[options.BOOT_FILE])
            if not client.vendor_class.startswith("HTTPClient"):
                sent.setdefault(options.TFTP_SERVER, have[options.TFTP_SERVER])
        return sent | self._always

    @staticmethod
    def _echo(sent: dict[int, bytes], asked: Packet) -> None:
        # RFC 6842 3: the client-id in every reply; RFC 3011 2: the network that it chose;
        # RFC 3046 2.2: option 82, which encode puts last
        for code in (options.CLIENT_ID, options.SUBNET, options.RELAY_AGENT):
            if code in asked.options:
                sent[code] = asked.options[code]

    def _send(
        self, request: DhcpRequest, reply: Packet, *, broadcast: bool = False, durable: bool = False
    ) -> Reply:
        """Encode the reply and say where it goes, RFC 2131 4.1."""
        asked, origin = request.packet, request.origin
        data = encode(reply, _room(request))
        port, mac = self._port + 1, b""
        if origin.boot_server:
            # iPXE asks 4011 from 68, OVMF from 4011 (captured)
            to = origin.source if origin.source != NOBODY else BROADCAST
            port = origin.port
        elif asked.giaddr != NOBODY:
            to, port = asked.giaddr, self._port
        elif broadcast:
            to = BROADCAST
        elif asked.ciaddr != NOBODY:
            to = asked.ciaddr  # even with the broadcast bit
        elif reply.yiaddr == NOBODY:
            to = origin.source if origin.source != NOBODY else BROADCAST
        elif asked.flags & BROADCAST_FLAG or not asked.chaddr or self._buggy(asked.chaddr):
            to = BROADCAST  # RFC 4390 2.1: an InfiniBand client shows no hardware address
        else:
            # the client's hardware address, not the frame's sender: that may be a bridge
            to, mac = reply.yiaddr, asked.chaddr
        index, boot = origin.interface.index, origin.boot_server
        return Reply(data, to, port, index, request.server, mac, durable, boot)

    def _buggy(self, mac: bytes) -> bool:
        for prefix, buggy in self._config.buggy:
            if prefix.holds(mac):
                return buggy
        return False


def _router(request: DhcpRequest) -> IPv4Address | None:
    """Return the router that ``gateway = self`` means: the relay, or we, if on the network."""
    asked, network = request.packet, request.network.network
    for address in (asked.giaddr, request.identifier):
        if address != NOBODY and address in network:
            return address
    return None


def _room(request: DhcpRequest) -> int:
    """Say how many octets the client takes, BOOTP header and all, on a link of this MTU."""
    if request.client.plain_bootp and options.SIZE not in request.packet.options:
        return 300  # RFC 1542 2.1: a vendor field of 64 octets
    said = int.from_bytes(request.packet.options.get(options.SIZE, b"")[:2])
    # OVMF says 65280: no more than the link carries unfragmented
    return max(_SMALLEST, min(said, request.origin.interface.mtu)) - _HEADERS


def _wanted(asked: bytes | None) -> Sequence[int]:
    """Return the options wanted, in order; the mask before the router (RFC 2132 3.3)."""
    if asked is None:
        return _UNASKED
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
