"""Below IP: a reply to a client that has no address yet, and ARP to ask who uses one."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from pybootd.core.loop import Loop, Timer
from pybootd.system.interfaces import Interface

log = logging.getLogger(__name__)

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826
_ETH_IP, _ETH_ARP = 0x0800, 0x0806
_BROADCAST_MAC = b"\xff" * 6
_ARP_BUFFER = 16_384

Answered = Callable[[bytes, float], None]


def checksum(data: bytes) -> int:
    """Compute the Internet checksum (RFC 1071): 16-bit ones' complement, of whole words."""
    if len(data) % 2:
        data += b"\0"
    # a number modulo 0xffff is the ones' complement sum of its 16-bit digits
    return -int.from_bytes(data) % 0xFFFF


def datagram(data: bytes, source: IPv4Address, target: IPv4Address, sport: int, port: int) -> bytes:
    """Wrap octets in UDP and IPv4 (RFC 768, RFC 791)."""
    length = _UDP.size + len(data)
    pseudo = source.packed + target.packed + struct.pack("!HH", socket.IPPROTO_UDP, length)
    total = checksum(pseudo + _UDP.pack(sport, port, length, 0) + data) or 0xFFFF
    head = (0x45, 0, _IP.size + length, 0, 0, 64, socket.IPPROTO_UDP)
    header = _IP.pack(*head, 0, source.packed, target.packed)
    header = _IP.pack(*head, checksum(header), source.packed, target.packed)
    return header + _UDP.pack(sport, port, length, total) + data


@dataclass(slots=True)
class _Question:
    address: bytes
    answered: Answered
    timer: Timer


class Ethernet:
    """Sends to hardware addresses where the system lets us; ``open`` never fails.

    It listens to ARP only while a question is open, so that an idle daemon sleeps.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._frames: socket.socket | None = None
        self._arp: socket.socket | None = None
        self._questions: dict[int, _Question] = {}
        self._numbers = itertools.count()

    def open(self) -> None:
        """Take the sockets, while we may."""
        if not hasattr(socket, "AF_PACKET"):
            return
        try:
            self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self._arp = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_ARP))
            self._arp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ARP_BUFFER)
            self._frames.setblocking(False)
            self._arp.setblocking(False)
        except PermissionError:
            self.close()
            log.warning(
                "no right to open packet sockets (CAP_NET_RAW): replies to clients without an "
                "address are broadcast, and addresses are not probed before they are offered"
            )

    def close(self) -> None:
        """Give back the sockets; open questions are forgotten."""
        for question in self._questions.values():
            question.timer.cancel()
        self._questions.clear()
        if self._arp is not None:
            self._loop.unwatch(self._arp)
            self._arp.close()
        if self._frames is not None:
            self._frames.close()
        self._arp = self._frames = None

    def send(self, data: bytes, interface: Interface, mac: bytes) -> bool:
        """Send an IPv4 packet out of an interface to a MAC; False where that can't be done."""
        if self._frames is None or len(mac) != 6 or len(interface.mac) != 6:
            return False
        try:
            self._frames.sendto(data, (interface.name, _ETH_IP, 0, 0, mac))
        except OSError as error:
            log.debug("no frame to %s out of %s: %s", mac.hex(":"), interface.name, error)
            return False
        return True

    def ask(
        self, address: IPv4Address, interface: Interface, until: float, answered: Answered
    ) -> None:
        """Ask who uses the address (RFC 5227 2.1.1): ``answered(mac, now)``, empty if none did.

        ``until``: how long to wait, a moment of the loop's clock.
        """
        sent = self._arp is not None and len(interface.mac) == 6 and self._query(address, interface)
        number = next(self._numbers)
        # one that can't be asked is answered in this turn, but never inside this call
        when = until if sent else self._loop.now
        timer = self._loop.at(when, lambda now: self._settle(number, b"", now))
        self._questions[number] = _Question(address.packed, answered, timer)

    def _query(self, address: IPv4Address, interface: Interface) -> bool:
        if self._arp is None:
            return False
        if not self._questions:
            self._drain()
            self._loop.watch(self._arp, self._heard)
        head = (1, _ETH_IP, 6, 4, 1)
        query = _ARP.pack(*head, interface.mac, bytes(4), bytes(6), address.packed)
        try:
            self._arp.sendto(query, (interface.name, _ETH_ARP, 0, 0, _BROADCAST_MAC))
        except OSError as error:
            log.debug("no ARP out of %s: %s", interface.name, error)
            return False
        return True

    def _drain(self) -> None:
        """Forget the ARP traffic that nobody asked for."""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while self._arp is not None:
                self._arp.recv(64)

    def _heard(self, now: float) -> None:
        for _ in range(64):
            if self._arp is None:
                return
            try:
                data = self._arp.recv(64)
            except (BlockingIOError, InterruptedError):
                return
            if len(data) >= _ARP.size:
                mac, address = data[8:14], data[14:18]
                found = [n for n, one in self._questions.items() if one.address == address]
                for number in found:
                    self._settle(number, mac, now)

    def _settle(self, number: int, mac: bytes, now: float) -> None:
        question = self._questions.pop(number, None)
        if question is None:
            return
        question.timer.cancel()
        if not self._questions and self._arp is not None:
            self._loop.unwatch(self._arp)
        question.answered(mac, now)
