"""Thousands of clients behind one relay, each with its own MAC; who was told which address."""

import selectors
import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address as A

from pybootd.dhcp4.wire.packet import MessageType, Packet, decode, encode
from pybootd.lab.network import Host

WINDOW = 60  # exchanges under way at a time
PATIENCE = 0.5  # seconds before a message is sent again


def macs(count: int, group: int = 0) -> list[bytes]:
    return [bytes((2, group)) + number.to_bytes(4) for number in range(count)]


class Crowd:
    """The relay, and the clients behind it. ``told`` holds every address that an ACK confirmed.

    ``moved`` counts the clients that were told of one address, and later of another.
    """

    def __init__(self, host: Host, relay: A, server: A) -> None:
        self.relay, self.server = relay, server
        self.told: dict[bytes, A] = {}
        self.moved = 0
        self._open: dict[bytes, tuple[float, bytes]] = {}
        with host.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((str(relay), 67))
        self.socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.socket, selectors.EVENT_READ)

    def close(self) -> None:
        self._selector.close()
        self.socket.close()

    def serve(self, clients: Iterable[bytes], seconds: float) -> set[bytes]:
        """Let each client get an address, for at most so long; returns those that got none."""
        waiting = list(reversed(list(clients)))
        self._open.clear()
        deadline = time.monotonic() + seconds
        while (waiting or self._open) and (now := time.monotonic()) < deadline:
            while waiting and len(self._open) < WINDOW:
                self._send(waiting.pop(), MessageType.DISCOVER, now)
            self._selector.select(0.05)
            self._receive(time.monotonic())
            for mac, (when, data) in list(self._open.items()):
                if now - when > PATIENCE:
                    self._transmit(mac, data, now)
        return set(waiting) | self._open.keys()

    def listen(self) -> None:
        """Read what came since."""
        self._open.clear()
        self._receive(time.monotonic())

    def _send(self, mac: bytes, kind: MessageType, now: float, wanted: bytes = b"") -> None:
        options = {53: bytes((kind,)), 55: b"\1\3\6"}
        if wanted:
            options |= {50: wanted, 54: self.server.packed}
        xid = int.from_bytes(mac[2:])
        self._transmit(
            mac, encode(Packet(xid=xid, chaddr=mac, giaddr=self.relay, options=options)), now
        )

    def _transmit(self, mac: bytes, data: bytes, now: float) -> None:
        self._open[mac] = now, data
        self.socket.sendto(data, (str(self.server), 67))

    def _receive(self, now: float) -> None:
        """Read what has come, and go on with each exchange."""
        for _ in range(WINDOW):
            try:
                packet = decode(self.socket.recv(2000))
            except (BlockingIOError, ConnectionRefusedError):
                return
            mac, kind = packet.chaddr, packet.options[53][0]
            if kind == MessageType.ACK:
                self.moved += self.told.get(mac, packet.yiaddr) != packet.yiaddr
                self.told[mac] = packet.yiaddr
                self._open.pop(mac, None)
            elif mac in self._open and kind == MessageType.OFFER:
                self._send(mac, MessageType.REQUEST, now, packet.yiaddr.packed)
            elif mac in self._open and kind == MessageType.NAK:
                self._send(mac, MessageType.DISCOVER, now)

    def shared(self) -> int:
        """Count the addresses that more than one client was told of."""
        return len(self.told) - len(set(self.told.values()))
