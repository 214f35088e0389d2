"""Clients behind a relay that knows several servers, each message kept with who sent it when."""

import random
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address as A
from typing import TYPE_CHECKING

from pybootd.dhcp4.wire.packet import MessageType, Packet, decode, encode
from pybootd.lab.network import Host

if TYPE_CHECKING:
    from .shared_files import Files

_RCVBUFFORCE = 33  # socket(7); Python has no name for it
PXE = {55: b"\1\3\6\x42\x43", 60: b"PXEClient:Arch:00007:UNDI:003000", 93: b"\0\7"}
WAIT = 4.0  # RFC 2131 4.1: seconds until a message is sent again, doubled up to four times that


@dataclass(slots=True)
class Client:
    """One machine: what it last sent, when it sends that again, and what it was told."""

    mac: bytes
    xid: int
    boots: bool = False  # and so asks for a boot file, as PXE firmware does
    kind: MessageType = MessageType.DISCOVER
    address: A | None = None
    server: A | None = None
    since: float = 0.0
    again: float = 0.0
    wait: float = WAIT
    offers: dict[A, A] = field(default_factory=dict)  # by server
    told: list[A] = field(default_factory=list)  # addresses of its ACKs
    busy: bool = False


class Crowd:
    """The relay and its clients, each ``boots``-th one boots from the network.

    ``heard``: (second, server, kind) and how many.
    """

    def __init__(
        self,
        host: Host,
        relay: A,
        servers: Iterable[A],
        group: int,
        count: int,
        wait: float = WAIT,
        boots: int = 0,
    ) -> None:
        self.relay, self.servers, self.wait = relay, list(servers), wait
        self.clients = {
            mac: Client(mac, int.from_bytes(mac[2:]), boots > 0 and number % boots == 0)
            for number in range(count)
            for mac in (bytes((2, group)) + number.to_bytes(4),)
        }
        self.confirmed: Callable[[Crowd, Client, Packet], None] | None = None  # called with an ACK
        self.heard: Counter[tuple[int, A, MessageType]] = Counter()
        self.differed = 0  # offers of another address than an offer before
        self.refused = 0  # NAKs
        self.begun = time.monotonic()
        with host.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 8 << 20)
        self.socket.bind((str(relay), 67))
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()

    # what clients do

    def start(self, clients: Iterable[Client]) -> None:
        """Let them begin again."""
        now = time.monotonic()
        for client in clients:
            client.kind, client.since, client.wait = MessageType.DISCOVER, now, self.wait
            client.offers.clear()
            client.busy = True
            self.send(client, now)

    def renew(self, clients: Iterable[Client]) -> None:
        """Let them ask for more time, as in REBINDING: any server may answer."""
        now = time.monotonic()
        for client in clients:
            client.kind, client.since, client.wait = MessageType.REQUEST, now, self.wait
            client.server = None
            client.busy = True
            self.send(client, now)

    def send(self, client: Client, now: float) -> None:
        options = {53: bytes((client.kind,)), 55: b"\1\3\6"}
        if client.boots:
            options |= PXE
        ciaddr = A(0)
        if client.kind == MessageType.REQUEST and client.address is not None:
            if client.server is None:
                ciaddr = client.address
            else:
                options |= {50: client.address.packed, 54: client.server.packed}
        packet = Packet(
            xid=client.xid,
            chaddr=client.mac,
            ciaddr=ciaddr,
            giaddr=self.relay,
            secs=min(0xFFFF, int(now - client.since)),
            options=options,
        )
        data = encode(packet)
        for server in self.servers:
            self.socket.sendto(data, (str(server), 67))
        client.again = now + client.wait * random.uniform(0.75, 1.25)
        client.wait = min(2 * client.wait, 4 * self.wait)

    def busy(self) -> list[Client]:
        return [client for client in self.clients.values() if client.busy]

    def receive(self, now: float) -> None:
        while True:
            try:
                packet = decode(self.socket.recv(2000))
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue  # a daemon that was killed
            client = self.clients.get(packet.chaddr)
            if client is not None:
                self._take(client, packet, now)

    def _take(self, client: Client, packet: Packet, now: float) -> None:
        kind = MessageType(packet.options[53][0])
        server = A(packet.options[54])
        self.heard[int(now - self.begun), server, kind] += 1
        if kind == MessageType.OFFER:
            self.differed += any(one != packet.yiaddr for one in client.offers.values())
            client.offers[server] = packet.yiaddr
            if client.busy and client.kind == MessageType.DISCOVER:
                client.kind, client.wait = MessageType.REQUEST, self.wait
                client.address, client.server = packet.yiaddr, server
                self.send(client, now)
        elif kind == MessageType.ACK:
            if client.kind == MessageType.REQUEST:
                client.told.append(packet.yiaddr)
                client.address, client.busy = packet.yiaddr, False
                if self.confirmed is not None:
                    self.confirmed(self, client, packet)
        elif kind == MessageType.NAK and client.busy and client.kind == MessageType.REQUEST:
            self.refused += 1
            self.start([client])

    def waited(self, now: float) -> None:
        """Send again what was not answered."""
        for client in self.busy():
            if client.again > now:
                continue
            chose = client.kind == MessageType.REQUEST and client.server is not None
            if chose and client.wait >= 4 * self.wait:  # its server is gone: RFC 2131 3.1 5
                client.kind, client.wait = MessageType.DISCOVER, self.wait
                client.offers.clear()
            self.send(client, now)


def turn(
    crowds: "list[Crowd | Files]", seconds: float, until: Callable[[], bool] | None = None
) -> bool:
    """Let all clients go on until it is true, left out: until none waits; False: not in time."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for crowd in crowds:
            selector.register(crowd.socket, selectors.EVENT_READ, crowd)
        while (now := time.monotonic()) < deadline:
            for key, _ in selector.select(0.05):
                key.data.receive(now)
            for crowd in crowds:
                crowd.waited(now)
            if until() if until is not None else not any(crowd.busy() for crowd in crowds):
                return True
    return False
