"""The sockets: those of one port, and the packet sockets below IP."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from pybootd.core.loop import Loop, Timer
from pybootd.dhcp4.wire.ethernet import (
    BROADCAST_MAC,
    ETH_ARP,
    ETH_IP,
    decode_arp_sender,
    encode_arp_probe,
)
from pybootd.system import sockets
from pybootd.system.interfaces import Interface

log = logging.getLogger(__name__)

_ARP_BUFFER = 16_384  # octets
_ARP_FRAME = 64  # octets of a frame that are read
_MAX_ARP_FRAMES = 64  # frames read in one turn of the loop

Readable = Callable[[socket.socket, float], None]
Answered = Callable[[bytes, float], None]


class DhcpSockets:
    """One UDP port: a socket for all interfaces, or one for each that is served.

    ``what`` and ``option`` name it in errors; ``receive_buffer`` in octets.
    """

    def __init__(
        self, loop: Loop, port: int, what: str, option: str, receive_buffer: int = 0
    ) -> None:
        self._loop = loop
        self._port = port
        self._what = what
        self._option = option
        self._receive_buffer = receive_buffer
        self._sockets: dict[int, socket.socket] = {}  # by interface; 0: all of them
        self._readable: Readable | None = None

    def open_sockets(self, devices: Mapping[int, str]) -> None:
        """Bind, for each interface (number and name) or, where there is none, for all of them.

        Raises BindError.
        """
        for index, name in (devices or {0: ""}).items():
            self._sockets[index] = self._bind_socket(name)

    def _bind_socket(self, name: str) -> socket.socket:
        return sockets.udp_socket(
            sockets.ANY,
            self._port,
            what=self._what,
            option=self._option,
            interface=name,
            receive_buffer=self._receive_buffer,
        )

    def start_reading(self, readable: Readable) -> None:
        """Call ``readable(socket, now)`` whenever something has come."""
        self._readable = readable
        for sock in self._sockets.values():
            self._watch_socket(sock)

    def _watch_socket(self, sock: socket.socket) -> None:
        readable = self._readable
        if readable is not None:
            self._loop.watch(sock, lambda now: readable(sock, now))

    def pause_socket(self, sock: socket.socket, seconds: float) -> None:
        """Leave what comes to the socket waiting for so long; then it is read together."""
        self._loop.unwatch(sock)
        self._loop.call_later(seconds, lambda now: self._resume_socket(sock))

    def _resume_socket(self, sock: socket.socket) -> None:
        if sock in self._sockets.values():  # it may be closed by now
            self._watch_socket(sock)

    def follow_devices(self, devices: Mapping[int, str]) -> None:
        """Serve these interfaces from now on, where single ones are served."""
        if 0 in self._sockets:
            return
        for index in set(self._sockets) - set(devices):
            self._close_socket(self._sockets.pop(index))
        for index in set(devices) - set(self._sockets):
            try:
                sock = self._sockets[index] = self._bind_socket(devices[index])
            except sockets.BindError as error:
                log.warning("%s on %s: %s", self._what, devices[index], error)
            else:
                self._watch_socket(sock)

    def socket_of(self, interface: int) -> socket.socket | None:
        """Return the socket that serves the interface."""
        return self._sockets.get(interface) or self._sockets.get(0)

    def close_sockets(self) -> None:
        """Give the sockets back; may be called twice."""
        for sock in self._sockets.values():
            self._close_socket(sock)
        self._sockets.clear()

    def _close_socket(self, sock: socket.socket) -> None:
        self._loop.unwatch(sock)
        sock.close()


@dataclass(slots=True)
class ArpProbe:
    """An address that someone may use, and who wants to know."""

    address: bytes
    answered: Answered
    timer: Timer


class Ethernet:
    """Sends to hardware addresses where the system lets us; ``open`` never fails.

    It listens to ARP only while a probe is open, so that an idle daemon sleeps.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._frames: socket.socket | None = None
        self._arp: socket.socket | None = None
        self._probes: dict[int, ArpProbe] = {}
        self._numbers = itertools.count()

    def open_link(self) -> None:
        """Take the sockets, while we may."""
        if not hasattr(socket, "AF_PACKET"):
            return
        try:
            self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self._arp = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_ARP))
            self._arp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ARP_BUFFER)
            self._frames.setblocking(False)
            self._arp.setblocking(False)
        except PermissionError:
            self.close_link()
            log.warning(
                "no right to open packet sockets (CAP_NET_RAW): replies to clients without an "
                "address are broadcast, and addresses are not probed before they are offered"
            )

    def close_link(self) -> None:
        """Give back the sockets; open probes are forgotten."""
        for probe in self._probes.values():
            probe.timer.cancel()
        self._probes.clear()
        if self._arp is not None:
            self._loop.unwatch(self._arp)
            self._arp.close()
        if self._frames is not None:
            self._frames.close()
        self._arp = self._frames = None

    def send_frame(self, data: bytes, interface: Interface, mac: bytes) -> bool:
        """Send an IPv4 packet out of an interface to a MAC; False where that can't be done."""
        if self._frames is None or len(mac) != 6 or len(interface.mac) != 6:
            return False
        try:
            self._frames.sendto(data, (interface.name, ETH_IP, 0, 0, mac))
        except OSError as error:
            log.debug("no frame to %s out of %s: %s", mac.hex(":"), interface.name, error)
            return False
        return True

    def probe_address(
        self, address: IPv4Address, interface: Interface, until: float, answered: Answered
    ) -> None:
        """Ask who uses the address (RFC 5227 2.1.1): ``answered(mac, now)``, empty if none did.

        ``until``: how long to wait, a moment of the loop's clock.
        """
        sent = (
            self._arp is not None
            and len(interface.mac) == 6
            and self._send_arp_probe(address, interface)
        )
        number = next(self._numbers)
        # one that can't be asked is answered in this turn, but never inside this call
        when = until if sent else self._loop.now
        timer = self._loop.call_at(when, lambda now: self._settle_probe(number, b"", now))
        self._probes[number] = ArpProbe(address.packed, answered, timer)

    def _send_arp_probe(self, address: IPv4Address, interface: Interface) -> bool:
        if self._arp is None:
            return False
        if not self._probes:
            self._discard_arp()
            self._loop.watch(self._arp, self._read_arp)
        try:
            query = encode_arp_probe(interface.mac, address)
            self._arp.sendto(query, (interface.name, ETH_ARP, 0, 0, BROADCAST_MAC))
        except OSError as error:
            log.debug("no ARP out of %s: %s", interface.name, error)
            return False
        return True

    def _discard_arp(self) -> None:
        """Forget the ARP traffic that came unasked."""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while self._arp is not None:
                self._arp.recv(_ARP_FRAME)

    def _read_arp(self, now: float) -> None:
        for _ in range(_MAX_ARP_FRAMES):
            if self._arp is None:
                return
            try:
                data = self._arp.recv(_ARP_FRAME)
            except (BlockingIOError, InterruptedError):
                return
            sender = decode_arp_sender(data)
            if sender is not None:
                mac, address = sender
                found = [n for n, one in self._probes.items() if one.address == address]
                for number in found:
                    self._settle_probe(number, mac, now)

    def _settle_probe(self, number: int, mac: bytes, now: float) -> None:
        probe = self._probes.pop(number, None)
        if probe is None:
            return
        probe.timer.cancel()
        if not self._probes and self._arp is not None:
            self._loop.unwatch(self._arp)
        probe.answered(mac, now)
