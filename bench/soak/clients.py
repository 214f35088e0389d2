"""Software clients that boot in several ways, and some that break off; each checks what it gets."""

import hashlib
import http.client
import random
import socket
import threading
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from pybootd.dhcp4.wire.packet import DhcpPacketError, MessageType, Packet, decode, encode
from pybootd.lab.firmware import BootError, FileNotServed, FirmwareTransfer
from pybootd.lab.network import Host
from pybootd.tftp.wire import packet as tftp

SERVER, RELAY = "10.7.0.1", "10.7.0.2"
PATIENCE = 0.4  # seconds before a request is sent again
TRIES = 12
PXE = {60: b"PXEClient:Arch:00007:UNDI:003000", 93: b"\0\7", 55: bytes((1, 3, 6, 12, 66, 67))}


class Relay:
    """One relay on the clients' side; hands each answer to the client that waits for it."""

    def __init__(self, host: Host) -> None:
        with host.inside():
            self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._sock.bind((RELAY, 67))
        self._waiting: dict[bytes, list[Packet]] = {}
        self._came = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                packet = decode(self._sock.recv(2048))
            except DhcpPacketError:
                continue
            with self._came:
                if packet.chaddr in self._waiting:
                    self._waiting[packet.chaddr].append(packet)
                    self._came.notify_all()

    def send(self, packet: Packet) -> None:
        """Send what wants no answer."""
        self._sock.sendto(encode(packet), (SERVER, 67))

    def ask(self, packet: Packet, *kinds: MessageType) -> Packet:
        """Send until an answer of one of these kinds comes. Raises BootError."""
        mac = packet.chaddr
        with self._came:
            self._waiting[mac] = []
        for _ in range(TRIES):
            self.send(packet)
            until = time.monotonic() + PATIENCE
            with self._came:
                while (left := until - time.monotonic()) > 0:
                    for answer in self._waiting[mac]:
                        if answer.options[53][0] in kinds and answer.xid == packet.xid:
                            del self._waiting[mac]
                            return answer
                    self._came.wait(left)
        raise BootError(f"no {kinds[0].name} after {TRIES} tries")


@dataclass
class Tally:
    """What became of the boots."""

    done: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    octets: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Machine:
    """One machine, known by its MAC; boots as it is told, again and again."""

    def __init__(self, number: int, host: Host, relay: Relay, files: dict[str, str]) -> None:
        self.mac = b"\2\0\0\0" + number.to_bytes(2)
        self.host, self.relay, self.files = host, relay, files
        self.address: IPv4Address | None = None
        self.octets = 0

    def boot(self, how: str, chance: random.Random) -> None:
        """Boot in one of the ways of ``WAYS``. Raises BootError."""
        self.octets = 0
        xid = chance.getrandbits(32)
        offer = self.relay.ask(self._message(MessageType.DISCOVER, xid), MessageType.OFFER)
        if how == "discover only":
            return
        named = {50: offer.yiaddr.packed, 54: offer.options[54]}
        ack = self.relay.ask(
            self._message(MessageType.REQUEST, xid, named), MessageType.ACK, MessageType.NAK
        )
        if ack.options[53][0] == MessageType.NAK:
            raise BootError("NAK")
        self.address = ack.yiaddr
        WAYS[how](self, chance)
        if chance.random() < 0.2:
            release = self._message(MessageType.RELEASE, xid, {54: offer.options[54]})
            release.ciaddr = ack.yiaddr
            self.relay.send(release)

    def _message(self, kind: MessageType, xid: int, more: dict[int, bytes] | None = None) -> Packet:
        options = {53: bytes((kind,))} | PXE | (more or {})
        return Packet(xid=xid, chaddr=self.mac, giaddr=IPv4Address(RELAY), options=options)

    # the ways

    def over_tftp(self, chance: random.Random) -> None:
        """Probe as OVMF does, load a boot file, miss some names, load a kernel in windows."""
        self._probe("boot.efi")
        self.fetch("boot.efi", blksize=1468, windowsize=4)
        for name in ("grub.cfg-01", "grub.cfg-0A"):
            try:
                self.fetch(name)
            except FileNotServed:
                continue
            raise BootError(f"{name} was served")
        self.fetch("kernel", blksize=1468, windowsize=chance.choice((1, 8, 64)), tsize=0)

    def over_http(self, chance: random.Random) -> None:
        """Load a boot file by TFTP, then kernel and initrd by HTTP, each checked."""
        self.fetch("boot.efi", blksize=1024)
        for name in ("kernel", "initrd"):
            self.get(name)

    def from_afar(self, chance: random.Random) -> None:
        """Load what a web server holds, through ours, by TFTP and by HTTP."""
        self.fetch("mirror/kernel", blksize=1408, windowsize=chance.choice((1, 16)))
        self.get("mirror/initrd")

    def break_off(self, chance: random.Random) -> None:
        """Begin transfers and say so when they are broken off."""
        self._partly("kernel", chance.randrange(1, 40), tftp.encode(tftp.Error(8, "aborted")))
        self._get_partly("initrd", chance.randrange(1, 100_000))
        self._get_partly("mirror/initrd", chance.randrange(1, 100_000))

    def fall_silent(self, chance: random.Random) -> None:
        """Begin transfers, and be switched off."""
        self._partly("kernel", chance.randrange(0, 40), b"")
        self._partly("mirror/kernel", chance.randrange(0, 40), b"")

    # how

    def _socket(self) -> socket.socket:
        with self.host.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE)
        sock.bind((str(self.address), 0))
        return sock

    def fetch(self, name: str, **options: int) -> None:
        """Fetch a file by TFTP, and check it."""
        asked = tuple((option, str(value)) for option, value in options.items())
        with self._socket() as sock:
            self._check(name, FirmwareTransfer(sock, SERVER, name, asked, None, TRIES).fetch())

    def get(self, name: str) -> None:
        """Fetch a file by HTTP, and check it."""
        connection = self._connect(name)
        try:
            self._check(name, connection.getresponse().read())
        except (OSError, http.client.HTTPException) as error:
            raise BootError(f"{name} by HTTP: {error!r}") from error
        finally:
            connection.close()

    def _check(self, name: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != self.files[name.removeprefix("mirror/")]:
            raise BootError(f"{name}: {len(content)} octets, and they are not the file's")
        self.octets += len(content)

    def _connect(self, name: str) -> http.client.HTTPConnection:
        made = http.client.HTTPConnection(SERVER, timeout=20, source_address=(str(self.address), 0))
        try:
            with self.host.inside():
                made.connect()
            made.request("GET", f"/{name}")
        except OSError as error:
            made.close()
            raise BootError(f"{name} by HTTP: {error!r}") from error
        return made

    def _probe(self, name: str) -> None:
        with self._socket() as sock:
            self._started(sock, name, 0, tftp.encode(tftp.Error(8, "aborted")))

    def _partly(self, name: str, blocks: int, last: bytes) -> None:
        with self._socket() as sock:
            self._started(sock, name, blocks, last)

    def _started(self, sock: socket.socket, name: str, blocks: int, last: bytes) -> None:
        """Take so many blocks, then send ``last`` if anything; a loss ends it sooner."""
        request = tftp.Rrq(name, "octet", (("tsize", "0"), ("blksize", "1468")))
        sock.sendto(tftp.encode(request), (SERVER, 69))
        try:
            peer = sock.recvfrom(2048)[1]
            for block in range(blocks):
                sock.sendto(tftp.encode(tftp.Ack(block)), peer)
                sock.recv(2048)
        except TimeoutError:
            return
        if last:
            sock.sendto(last, peer)

    def _get_partly(self, name: str, octets: int) -> None:
        connection = self._connect(name)
        try:
            connection.getresponse().read(octets)
        except (OSError, http.client.HTTPException) as error:
            raise BootError(f"{name} by HTTP: {error!r}") from error
        finally:
            connection.close()


WAYS = {
    "over TFTP": Machine.over_tftp,
    "over HTTP": Machine.over_http,
    "from a remote root": Machine.from_afar,
    "broken off": Machine.break_off,
    "switched off": Machine.fall_silent,
    "discover only": Machine.break_off,
}
