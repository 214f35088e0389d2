"""Asks a network as a boot client's firmware would.

Nothing is taken: servers are asked for offers (and, as proxies want it, on port 4011), no address
is requested.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator
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

    def collect_offers(self, wait: float) -> list[ServerAnswer]:
        """Broadcast a DISCOVER and collect every offer, ``wait`` seconds. Raises ProbeError."""
        xid = random.getrandbits(32)
        with self._open_broadcaster() as sock:
            message = self.make_message(MessageType.DISCOVER, xid)
            _send_message(sock, message, "255.255.255.255", _BOOTPS)
            return list(_collect_answers(sock, xid, self.mac, wait))

    def ask_boot_server(self, server: IPv4Address, wait: float) -> ServerAnswer | None:
        """Ask port 4011 for the boot file; needs an address on the interface."""
        own = self.link.address_towards(server)
        if own is None:
            return None
        xid = random.getrandbits(32)
        message = self.make_message(MessageType.REQUEST, xid)
        message.ciaddr, message.flags = own, 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(own), 0))
            _send_message(sock, message, str(server), _PXE)
            return next(_collect_answers(sock, xid, self.mac, wait), None)

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
    sock: socket.socket, xid: int, mac: bytes, wait: float
) -> Iterator[ServerAnswer]:
    began = time.monotonic()
    while (left := began + wait - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data, (sender, port) = sock.recvfrom(65535)
            came = packet.decode(data)
        except (OSError, packet.DhcpPacketError):
            continue
        if came.op == packet.BOOTREPLY and came.xid == xid and came.chaddr == mac:
            yield ServerAnswer(IPv4Address(sender), port, time.monotonic() - began, came)
