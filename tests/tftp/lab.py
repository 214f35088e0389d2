"""A real server on loopback sockets whose clock the test holds; a client that speaks packets."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pybootd.config.options.files import TftpConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import (
    EventBus,
    Malformed,
    TransferEnded,
    TransferRefused,
    TransferStarted,
    Uploaded,
)
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.files.source import FileRequest, OpenedFile, StreamBody
from pybootd.files.uploads import Uploads
from pybootd.tftp.server import TftpServer
from pybootd.tftp.wire.packet import Ack, Data, Error, Oack, Packet, Rrq, decode, encode

Address = tuple[str, int]
BASE = TftpConfig(port=0)


class Lab:
    """A server, what it published, and its time in ``now``."""

    def __init__(
        self, root: Path, config: TftpConfig = BASE, uploads: Uploads | None = None
    ) -> None:
        self.root = root
        self.now = 1000.0
        self.loop = Loop(lambda: self.now)
        self.bus = EventBus()
        self.events: list[object] = []
        self.opener: Callable[[FileRequest], OpenedFile | Later[OpenedFile]] | None = None
        self._files = Files(LocalSource(root))
        for kind in (TransferStarted, TransferEnded, TransferRefused, Malformed, Uploaded):
            self.bus.subscribe(kind, self.events.append)
        self.clients = ClientTable()
        self.server = TftpServer(config, self.loop, self.bus, self.clients, self, uploads)
        self._peers: list[Client] = []

    def open(self, request: FileRequest) -> OpenedFile | Later[OpenedFile]:
        return self.opener(request) if self.opener else self._files.open(request)

    def start(self) -> None:
        self.loop.open()
        self.server.open()
        self.server.start()

    def close(self) -> None:
        self.server.close()
        self.loop.close()
        for client in self._peers:
            client.sock.close()

    @property
    def address(self) -> Address:
        return ("127.0.0.1", self.server.port)

    def client(self, address: str = "127.0.0.1", port: int = 0) -> "Client":
        made = Client(self, address, port)
        self._peers.append(made)
        return made

    def turn(self, times: int = 3) -> None:
        for _ in range(times):
            self.loop.turn(0.0)

    def wait(self, seconds: float, step: float = 0.01) -> None:
        """Let this time pass, as a loop sees it that is woken often."""
        for _ in range(round(seconds / step)):
            self.now += step
            self.loop.turn(0.0)

    def ended(self) -> list[TransferEnded]:
        return [event for event in self.events if isinstance(event, TransferEnded)]

    def sockets(self) -> int:
        """Count the sockets that the loop watches, the listening one left out."""
        return self.loop.watched - 1


class Client:
    """One UDP port of a client. ``tid`` is where the last packet came from."""

    def __init__(self, lab: Lab, address: str, port: int) -> None:
        self.lab = lab
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.sock.bind((address, port))
        self.sock.setblocking(False)
        self.tid: Address = lab.address

    def ask(
        self, name: str, mode: str = "octet", to: Address | None = None, **options: str
    ) -> None:
        self.tid = to or self.lab.address
        self.send(Rrq(name, mode, tuple(options.items())))

    def send(self, packet: Packet | bytes, to: Address | None = None) -> None:
        data = packet if isinstance(packet, bytes) else encode(packet)
        self.sock.sendto(data, to or self.tid)
        self.lab.turn()

    def receive(self) -> Packet | None:
        try:
            data, self.tid = self.sock.recvfrom(70000)
        except (BlockingIOError, ConnectionRefusedError):
            return None
        return decode(data)

    def waiting(self) -> list[Packet]:
        """Return everything that has come."""
        found = []
        while (packet := self.receive()) is not None:
            found.append(packet)
        return found

    def ack(self, block: int) -> list[Packet]:
        self.send(Ack(block))
        return self.waiting()

    def fetch(self, name: str, mode: str = "octet", **options: str) -> bytes:
        """Fetch a file as RFC 1350 and 7440 say; raises what it is refused with."""
        self.ask(name, mode, **options)
        return self.go_on()

    def go_on(self) -> bytes:
        """Fetch what has been asked for."""
        content = bytearray()
        size, window, block, got = 512, 1, 0, 0
        while True:
            packet = self.receive()
            if packet is None:
                raise TimeoutError(f"nothing came after block {block}")
            if isinstance(packet, Error):
                raise RefusedError(packet)
            if isinstance(packet, Oack):
                granted = dict(packet.options)
                size = int(granted.get("blksize", 512))
                window = int(granted.get("windowsize", 1))
                self.send(Ack(0))
                continue
            assert isinstance(packet, Data)
            assert packet.block == (block + 1) & 0xFFFF
            block, got = block + 1, got + 1
            content += packet.payload
            last = len(packet.payload) < size
            if last or got == window:
                got = 0
                self.send(Ack(block & 0xFFFF))
            if last:
                return bytes(content)


class RefusedError(Exception):
    """The server answered with an ERROR."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.code, error.message)
        self.error = error


class Trickle(StreamBody):
    """A stream that the test fills; ``end`` makes what was given all there is."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.data = bytearray()
        self.ended = False
        self.broken: Exception | None = None
        self.closed = False
        self.callback: Callable[[float], None] | None = None

    def read(self, count: int) -> bytes | None:
        if self.broken is not None:
            raise self.broken
        if len(self.data) < count and not self.ended:
            return None
        taken = bytes(self.data[:count])
        del self.data[:count]
        return taken

    def when_ready(self, callback: Callable[[float], None]) -> None:
        assert self.callback is None, "asked twice"
        self.callback = callback

    def give(self, lab: Lab, data: bytes = b"", *, end: bool = False) -> None:
        self.data += data
        self.ended = end
        callback, self.callback = self.callback, None
        if callback is not None:
            callback(lab.now)

    def close(self) -> None:
        self.closed = True


@contextlib.contextmanager
def running(root: Path, uploads: Uploads | None = None, **settings: object) -> Iterator[Lab]:
    lab = Lab(root, replace(BASE, **settings), uploads)  # type: ignore[arg-type]
    lab.start()
    try:
        yield lab
    finally:
        lab.close()
