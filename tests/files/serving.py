"""Both file servers on the loopback, and a client that takes a file in one of several ways."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from pybootd.config.options.files import HttpdConfig, TftpConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus
from pybootd.core.loop import Loop
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.http.server import HttpServer
from pybootd.tftp.server import TftpServer

PAGE, PAGES = 4096, 3072
SIZE = PAGE * PAGES
WAYS = ("http", "tftp", "tftp window", "tftp netascii")
"""HTTP; TFTP block by block, in windows, and as text."""


def state(number: int) -> bytes:
    return struct.pack("<I", number) * (SIZE // 4)


class Servers:
    """Both file servers on the loopback, in a thread."""

    def __init__(self, root: Path, pins: Mapping[str, str]) -> None:
        self.files = Files(LocalSource(root), str(root), pins=pins)
        self.loop = Loop()
        self.loop.open()
        self.files.start(self.loop)
        parts = (self.loop, EventBus(), ClientTable(), self.files)
        self.tftp = TftpServer(TftpConfig(port=0, cache=1 << 20), *parts)
        self.http = HttpServer(HttpdConfig(port=0), *parts)
        for server in (self.tftp, self.http):
            server.open()
            server.start()
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def close(self) -> None:
        self.loop.call_from_thread(lambda now: self.loop.stop())
        self.thread.join()
        for part in (self.tftp, self.http, self.files, self.loop):
            part.close()


@contextlib.contextmanager
def serving(root: Path, pins: Mapping[str, str] | None = None) -> Iterator[Servers]:
    made = Servers(root, pins or {})
    try:
        yield made
    finally:
        made.close()


class Fetch:
    """One transfer. ``data`` are the octets that came, ``whole``: up to the announced end."""

    def __init__(self, servers: Servers, way: str, name: str = "file") -> None:
        self.way = way
        self.data = bytearray()
        self.whole = self.over = False
        if way == "http":
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            self.sock.settimeout(20)
            self.sock.connect(("127.0.0.1", servers.http.port))
            self.sock.sendall(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode())
            self._received = b""
            self._head = b""
            return
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(20)
        self.window = 16 if way == "tftp window" else 1
        mode = b"netascii" if way == "tftp netascii" else b"octet"
        options = b"blksize\0008192\0windowsize\0%d\0" % self.window
        request = b"\0\1" + name.encode() + b"\0" + mode + b"\0" + options
        self.sock.sendto(request, ("127.0.0.1", servers.tftp.port))
        self.block = 0

    def read_some(self) -> None:
        """Take a little more."""
        if self.way == "http":
            self._read_http()
        else:
            self._read_tftp()
        if self.over:
            self.sock.close()

    def read_all(self) -> bytes:
        while not self.over:
            self.read_some()
        return bytes(self.data)

    def _read_http(self) -> None:
        try:
            piece = self.sock.recv(16384)
        except ConnectionResetError:
            piece = b""
        if not piece:
            self.over = True
        if not self._head:
            self._received += piece
            self._head, found, rest = self._received.partition(b"\r\n\r\n")
            if not found:
                self._head = b""
                return
            if not self._head.startswith(b"HTTP/1.1 200"):
                self.over = True
                return
            piece = rest
        self.data += piece
        if len(self.data) == SIZE:
            self.whole = self.over = True

    def _read_tftp(self) -> None:
        packet, peer = self.sock.recvfrom(65536)
        number, octets = int.from_bytes(packet[2:4], "big"), packet[4:]
        if packet[1] == 5:
            self.over = True
            return
        if packet[1] == 3:
            if number != (self.block + 1) & 0xFFFF:
                return
            self.block += 1
            self.data += octets
            self.whole = self.over = len(octets) < 8192
        if self.block % self.window == 0 or self.over:
            self.sock.sendto(struct.pack(">HH", 4, self.block & 0xFFFF), peer)
