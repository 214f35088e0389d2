"""Asks a network as a boot client's firmware would.

Nothing is taken: servers are asked for offers (and, as proxies want it, on port 4011), no address
is requested.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

from pybootd.commands.probe.result import ProbeCode, ProbeError, ServerAnswer
from pybootd.dhcp4.wire import options, packet
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.lab.firmware import Firmware
from pybootd.system import interfaces

HTTP_ARCHITECTURES = frozenset((15, 16, 17, 18, 19, 20, 23, 24, 26, 28, 30, 38, 40))
"""Option 93: those that boot by HTTP."""
_BOOTPS, _BOOTPC, _PXE = 67, 68, 4011
_ETH_P_IP = 0x0800
_HTTP_TIMEOUT_S = 10.0


class _ThisHost:
    """Stands for this host, where the software client would have one of a private network."""

    @staticmethod
    def inside() -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class Prober(Firmware):
    """Firmware of any architecture, on an interface of this host, that takes no address."""

    def __init__(
        self, interface: interfaces.Interface, mac: bytes, uuid: UUID, architecture: int
    ) -> None:
        super().__init__(_ThisHost(), interface.name, mac.hex(":"), uuid)  # type: ignore[arg-type]
        self.ARCHITECTURE = architecture
        name = "HTTPClient" if architecture in HTTP_ARCHITECTURES else "PXEClient"
        undi = "002001" if architecture == 0 else "003000"
        self.VENDOR_CLASS = f"{name}:Arch:{architecture:05d}:UNDI:{undi}".encode()
        self.link = interface
        self.ipxe = False

    def make_message(self, kind: MessageType, xid: int) -> Packet:
        """Make a message as the firmware would send it."""
        made = super().make_message(kind, xid)
        if self.ipxe:
            made.options[options.USER_CLASS] = b"iPXE"
        return made

    def resolve_name(self, server: str) -> IPv4Address:
        """Find the address of a server. Raises OSError, ValueError."""
        return IPv4Address(socket.getaddrinfo(server, None, socket.AF_INET)[0][4][0])

    def connect_http(self, host: str, port: int) -> http.client.HTTPConnection:
        """Return a connection to a web server, which it opens with its first request."""
        return http.client.HTTPConnection(host, port, timeout=_HTTP_TIMEOUT_S)

    def collect_offers(self, wait: float) -> list[ServerAnswer]:
        """Broadcast a DISCOVER and collect every offer, ``wait`` seconds. Raises ProbeError."""
        xid = random.getrandbits(32)
        with self._open_broadcaster() as sock:
            message = self.make_message(MessageType.DISCOVER, xid)
            sniffer = self._open_sniffer()
            with contextlib.nullcontext() if sniffer is None else sniffer:
                _send_message(sock, message, "255.255.255.255", _BOOTPS)
                return list(_collect_answers(sock, xid, self.mac, wait, sniffer))

    def ask_boot_server(self, server: IPv4Address, wait: float) -> ServerAnswer | None:
        """Ask port 4011 for the boot file; needs an address on the interface."""
        own = self.link.address_towards(server)
        if own is None:
            return None
        xid = random.getrandbits(32)
        message = self.make_message(MessageType.REQUEST, xid)
        message.ciaddr, message.flags = own, 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind((str(own), 0))
                _send_message(sock, message, str(server), _PXE)
            except (OSError, ProbeError):  # there is no way to such a server: it is silent
                return None
            return next(_collect_answers(sock, xid, self.mac, wait), None)

    def _open_sniffer(self) -> socket.socket | None:
        """Open what hears answers to the address that is offered, as no UDP socket does."""
        if not hasattr(socket, "AF_PACKET"):
            return None
        try:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
            sock.bind((self.interface, _ETH_P_IP))
        except OSError:
            return None
        return sock

    @contextlib.contextmanager
    def _open_broadcaster(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode())
                sock.bind(("", _BOOTPC))
            except PermissionError:
                raise ProbeError(
                    ProbeCode.PORT_RIGHT, "no right to use UDP port 68", "start as root"
                ) from None
            except OSError as error:
                raise ProbeError(
                    ProbeCode.PORT_TAKEN,
                    f"UDP port 68 on {self.interface} can't be used: {error.strerror}",
                    "stop this host's DHCP client meanwhile",
                ) from error
            yield sock


def _send_message(sock: socket.socket, message: Packet, address: str, port: int) -> None:
    try:
        sock.sendto(packet.encode(message), (address, port))
    except OSError as error:
        raise ProbeError(
            ProbeCode.NOT_SENT, f"nothing can be sent to {address}: {error.strerror}"
        ) from error


def _collect_answers(
    sock: socket.socket,
    xid: int,
    mac: bytes,
    wait: float,
    sniffer: socket.socket | None = None,
) -> Iterator[ServerAnswer]:
    """Yield the answers of ``wait`` seconds; ``sniffer`` hears those to the offered address."""
    began = time.monotonic()
    listening = [sock] if sniffer is None else [sock, sniffer]
    while (left := began + wait - time.monotonic()) > 0:
        for ready in select.select(listening, [], [], left)[0]:
            heard = _receive_datagram(ready, sniffed=ready is sniffer)
            if heard is None:
                continue
            sender, port, data = heard
            answer = read_answer(sender, port, time.monotonic() - began, data, xid, mac)
            if answer is not None:
                yield replace(answer, unicast=ready is sniffer)


def read_answer(
    sender: IPv4Address, port: int, after: float, data: bytes, xid: int, mac: bytes
) -> ServerAnswer | None:
    """Read a datagram that may be an answer to a request; None: it is none."""
    try:
        came = packet.decode(data)
    except packet.DhcpPacketError:
        return None
    if came.op != packet.BOOTREPLY or came.xid != xid or came.chaddr != mac:
        return None
    return ServerAnswer(sender, port, after, came)


def _receive_datagram(
    sock: socket.socket, *, sniffed: bool
) -> tuple[IPv4Address, int, bytes] | None:
    try:
        data, sender = sock.recvfrom(65535)
    except OSError:
        return None
    if not sniffed:
        return IPv4Address(sender[0]), sender[1], data
    header = (data[0] & 15) * 4 if data else 0
    if len(data) < max(header, 20) + 8 or data[9] != socket.IPPROTO_UDP:
        return None
    source, target = (int.from_bytes(data[header + at : header + at + 2]) for at in (0, 2))
    body = data[header + 8 :]
    # the address that is offered (yiaddr): no address of this host, so that no socket gets it
    if target != _BOOTPC or len(body) < 20 or data[16:20] != body[16:20]:
        return None
    return IPv4Address(data[12:16]), source, body
