"""A wire to any DHCP server: frames built by hand go in, whatever comes back is read off it."""

import itertools
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address as A

from pybootd.dhcp4.wire.packet import Packet, decode, encode
from pybootd.lab.network import Host, Network

SERVER, RELAY = A("10.7.0.1"), A("10.7.0.2")
FIRST, COUNT = A("10.7.1.0"), 2000
MASK = A("255.255.0.0")
NEXT_SERVER = A("10.7.0.9")
EVERYBODY, NOBODY = A("255.255.255.255"), A("0.0.0.0")
BROADCAST_MAC = b"\xff" * 6
LEASE_TIME, MAX_LEASE_TIME = 3600, 7200
SILENCE = 0.2  # seconds after which no answer is none
PATIENCE = 3.0  # seconds that an answer that must come may take


def in_pool(address: A) -> bool:
    return FIRST <= address < FIRST + COUNT


@dataclass
class Seen:
    """One datagram from the server: where it went, and what it says."""

    mac: bytes
    source: A
    to: A
    sport: int
    port: int
    data: bytes
    packet: Packet = field(init=False)

    def __post_init__(self) -> None:
        self.packet = decode(self.data)

    @property
    def kind(self) -> int:
        value = self.packet.options.get(53, b"")
        return value[0] if len(value) == 1 else 0

    @property
    def options(self) -> dict[int, bytes]:
        return self.packet.options

    def order(self) -> list[int]:
        """Return the codes in the order in which they stand in the options field."""
        codes, at = [], 240
        while at < len(self.data) and self.data[at] != 255:
            if self.data[at] == 0:
                at += 1
                continue
            codes.append(self.data[at])
            at += 2 + self.data[at + 1]
        return codes


def _sum(data: bytes) -> int:
    words = struct.unpack(f"!{len(data) // 2 + len(data) % 2}H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def frame(
    payload: bytes,
    mac: bytes,
    *,
    target: bytes = BROADCAST_MAC,
    source: A = NOBODY,
    to: A = EVERYBODY,
    sport: int = 68,
    checksum: int | None = None,
) -> bytes:
    """Wrap a payload for port 67; ``checksum`` None: the right one."""
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", sport, 67, length, 0)
    pseudo = source.packed + to.packed + struct.pack("!HH", 17, length)
    right = _sum(pseudo + udp + payload) or 0xFFFF
    udp = struct.pack("!HHHH", sport, 67, length, right if checksum is None else checksum)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 17, 0)
    head += source.packed + to.packed
    head = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
    return target + mac + b"\x08\x00" + head + udp + payload


class Wire:
    """A cable to the server's network that sends as anybody and hears everything."""

    def __init__(self, client: Host, relay: Host, server_mac: bytes) -> None:
        self.server_mac = server_mac
        self.addresses: dict[A, bytes] = {}  # who answers ARP for what
        self._numbers = itertools.count(1)
        with client.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.socket.bind(("eth0", 3))
        with relay.inside():
            self.relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.relay.bind((str(RELAY), 67))
            self.stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.relay.setblocking(False)

    def close(self) -> None:
        for sock in (self.socket, self.relay, self.stranger):
            sock.close()

    def mac(self) -> bytes:
        """Return a MAC that nobody has had."""
        return b"\2\0" + next(self._numbers).to_bytes(4)

    def ask(self, data: bytes, mac: bytes, **how: object) -> list[Seen]:
        """Send, and return what comes back until the first reply or for as long as silence is."""
        quiet = bool(how.pop("quiet", False))
        self._drain()
        self.socket.send(frame(data, mac, **how))  # type: ignore[arg-type]
        return self._await(data[4:8], SILENCE if quiet else PATIENCE)

    def through_relay(self, data: bytes, *, quiet: bool = False, port: bool = True) -> list[Seen]:
        """Send as the relay does; ``port`` False: from another source port than 67."""
        self._drain()
        (self.relay if port else self.stranger).sendto(data, (str(SERVER), 67))
        return self._await(data[4:8], SILENCE if quiet else PATIENCE)

    def _drain(self) -> None:
        for sock in (self.socket, self.relay):
            try:
                while True:
                    sock.recv(4096)
            except BlockingIOError:
                pass

    def _await(self, xid: bytes, limit: float) -> list[Seen]:
        deadline = time.monotonic() + limit
        seen: list[Seen] = []
        while not seen and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self.socket, self.relay], [], [], left)
            if self.relay in ready:
                data, (address, sport) = self.relay.recvfrom(4096)
                if data[4:8] == xid:
                    seen.append(Seen(b"", A(address), RELAY, sport, 67, data))
            if self.socket in ready:
                found = self._hear(self.socket.recv(4096))
                if found is not None and found.data[4:8] == xid and found.to != RELAY:
                    seen.append(found)
        return seen

    def _hear(self, data: bytes) -> Seen | None:
        if data[6:12] != self.server_mac:
            return None
        if data[12:14] == b"\x08\x06":
            self._answer_arp(data)
            return None
        if data[12:14] != b"\x08\x00" or data[23] != 17:
            return None
        length = int.from_bytes(data[16:18])
        sport, port = struct.unpack("!HH", data[34:38])
        return Seen(data[:6], A(data[26:30]), A(data[30:34]), sport, port, data[42 : 14 + length])

    def _answer_arp(self, data: bytes) -> None:
        mac = self.addresses.get(A(data[38:42]))
        if data[20:22] == b"\0\1" and mac is not None:
            reply = data[14:20] + b"\0\2" + mac + data[38:42] + data[22:32]
            self.socket.send(data[6:12] + mac + b"\x08\x06" + reply)


class Client:
    """One client on the wire, with its own MAC; ``kinds`` as in option 53."""

    def __init__(self, wire: Wire, *, options: dict[int, bytes] | None = None) -> None:
        self.wire = wire
        self.chaddr = wire.mac()
        self.always = options or {}
        self._xids = itertools.count(int.from_bytes(self.chaddr[2:]) << 8)

    def packet(self, kind: int | None, **fields: object) -> Packet:
        sent: dict[int, bytes] = {} if kind is None else {53: bytes((kind,))}
        for name, code in (("wanted", 50), ("server", 54)):
            value = fields.pop(name, None)
            if isinstance(value, A):
                sent[code] = value.packed
        more = fields.pop("options", {})
        assert isinstance(more, dict)
        given = {"chaddr": self.chaddr, "xid": next(self._xids)} | fields
        return Packet(options=sent | self.always | more, **given)  # type: ignore[arg-type]

    def say(self, kind: int | None, *, how: dict[str, object] | None = None, **f: object) -> Seen:
        """Send a message that must be answered; returns the reply."""
        return self.hear(encode(self.packet(kind, **f)), **(how or {}))

    def hear(self, data: bytes, **how: object) -> Seen:
        seen = self.wire.ask(data, self.chaddr, **how)
        assert seen, "no answer"
        return seen[0]

    def silence(
        self, kind: int | None, *, how: dict[str, object] | None = None, **f: object
    ) -> None:
        """Send a message that must not be answered."""
        self.quiet(encode(self.packet(kind, **f)), **(how or {}))

    def quiet(self, data: bytes, **how: object) -> None:
        seen = self.wire.ask(data, self.chaddr, quiet=True, **how)
        assert not seen, f"answered with {seen[0].kind}"

    def discover(self, **fields: object) -> Seen:
        offer = self.say(1, **fields)
        assert offer.kind == 2, f"kind {offer.kind}"
        return offer

    def lease(self, **fields: object) -> Seen:
        """Get an address: four messages; returns the ACK."""
        offer = self.discover(**fields)
        fields.pop("wanted", None)
        ack = self.say(3, wanted=offer.packet.yiaddr, server=SERVER, **fields)
        assert ack.kind == 5, f"kind {ack.kind}"
        self.wire.addresses[ack.packet.yiaddr] = self.chaddr
        return ack

    def relayed(
        self, kind: int | None, *, quiet: bool = False, port: bool = True, **f: object
    ) -> Seen:
        packet = self.packet(kind, giaddr=RELAY, hops=1, **f)
        seen = self.wire.through_relay(encode(packet), quiet=quiet, port=port)
        assert bool(seen) != quiet, "no answer" if not seen else f"answered with {seen[0].kind}"
        return seen[0] if seen else Seen(b"", NOBODY, NOBODY, 0, 0, bytes((2, 1, 6)) + bytes(233))

    def relayed_lease(self, **fields: object) -> Seen:
        offer = self.relayed(1, **fields)
        ack = self.relayed(3, wanted=offer.packet.yiaddr, server=SERVER, **fields)
        self.wire.addresses[ack.packet.yiaddr] = self.chaddr
        return ack

    def from_its_address(self, address: A, **how: object) -> dict[str, object]:
        """Say how a client with an address sends to the server."""
        self.wire.addresses[address] = self.chaddr
        return {"source": address, "to": SERVER, "target": self.wire.server_mac} | how


@contextmanager
def wired(network: Network) -> Iterator[tuple[Host, Wire]]:
    """Build the network; yields the host for the server to be measured, and the wire to it."""
    lan = network.switch()
    server, client, relay = (network.host(name) for name in ("server", "client", "relay"))
    server.plug(lan, f"{SERVER}/16")
    client.plug(lan)
    relay.plug(lan, f"{RELAY}/16")
    wire = Wire(client, relay, bytes.fromhex(server.mac().replace(":", "")))
    try:
        yield server, wire
    finally:
        wire.close()
