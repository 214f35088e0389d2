"""What was checked is what leaves: files that are written to while they are sent, in every way."""

import contextlib
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from pybootd.config.options.files import HttpdConfig, TftpConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus
from pybootd.core.loop import Loop
from pybootd.files.checksums import CheckedFile
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.files.source import FileRequest
from pybootd.http.server import HttpServer
from pybootd.tftp.server import TftpServer

PAGE, PAGES = 4096, 3072
SIZE = PAGE * PAGES
WAYS = ("http", "tftp", "tftp window", "tftp netascii")

# writes the number of its pass over all pages, one after the other, and puts the file's time back
WRITER = """
import os, struct, sys, time
path, page, pages, once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
file = os.open(path, os.O_RDWR)
before = os.fstat(file)
number = 0
while True:
    number += 1
    if once:  # back to the first content, for as long as a transfer takes
        number %= 2
        time.sleep(once * (1 - number))
    octets = struct.pack("<I", number) * (page // 4)
    for place in range(pages):
        os.pwrite(file, octets, place * page)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
"""


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

    def __init__(self, servers: Servers, way: str) -> None:
        self.way = way
        self.data = bytearray()
        self.whole = self.over = False
        if way == "http":
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            self.sock.settimeout(20)
            self.sock.connect(("127.0.0.1", servers.http.port))
            self.sock.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
            self._received = b""
            self._head = b""
            return
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(20)
        self.window = 16 if way == "tftp window" else 1
        mode = b"netascii" if way == "tftp netascii" else b"octet"
        options = b"blksize\0008192\0windowsize\0%d\0" % self.window
        request = b"\0\1file\0" + mode + b"\0" + options
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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "root" / "file"
    made.parent.mkdir()
    made.write_bytes(state(0))
    return made


@contextlib.contextmanager
def writing(path: Path, once: float = 0.0) -> Iterator[None]:
    """Have another process write to the file all the time."""
    command = [sys.executable, "-c", WRITER, path, str(PAGE), str(PAGES), str(once)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as running:
        try:
            yield
            assert running.poll() is None, running.communicate()[1]
        finally:
            running.kill()


def rewrite(path: Path) -> None:
    """Write in place, and put the time back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(state(1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("way", WAYS)
def test_a_change_with_its_time_put_back_ends_a_transfer_before_any_of_it_leaves(
    file: Path, way: str
) -> None:
    with serving(file.parent) as servers:
        fetch = Fetch(servers, way)
        while len(fetch.data) < SIZE // 4:
            fetch.read_some()
        rewrite(file)
        fetch.read_all()
        assert not fetch.whole
        assert set(fetch.data) == {0}
        again = Fetch(servers, way)
        assert again.read_all() == state(1)  # no block of the old file is sent of the new one
        assert again.whole


@pytest.mark.parametrize("way", WAYS)
def test_what_is_pinned_is_sent_as_it_was_checked_whatever_happens_to_the_file(
    file: Path, way: str
) -> None:
    with serving(file.parent, {"file": digest(state(0))}) as servers:
        fetch = Fetch(servers, way)
        while len(fetch.data) < SIZE // 4:
            fetch.read_some()
        rewrite(file)
        assert fetch.read_all() == state(0)
        assert fetch.whole
        refused = Fetch(servers, way)
        assert refused.read_all() == b""
        assert not refused.whole
        file.write_bytes(state(0))
        assert Fetch(servers, way).read_all() == state(0)


@pytest.mark.parametrize("way", ["http", "tftp", "tftp window"])
def test_octets_of_one_state_leave_while_a_writer_races(file: Path, way: str) -> None:
    """A writer goes over the file from its begin: what is behind it is never newer."""
    with serving(file.parent) as servers, writing(file):
        came = cut = 0
        end = time.monotonic() + 2
        while time.monotonic() < end:
            fetch = Fetch(servers, way)
            numbers = array("I", fetch.read_all()[: len(fetch.data) // 4 * 4])
            came += len(numbers) > 0
            cut += not fetch.whole
            for number, behind in pairwise(numbers):
                assert number - 1 <= behind <= number
        assert came
        assert cut


@pytest.mark.parametrize("way", ["http", "tftp", "tftp window"])
def test_no_octet_but_the_pinned_leaves_while_a_writer_races(file: Path, way: str) -> None:
    pins = {"file": digest(state(0))}
    with serving(file.parent, pins) as servers, writing(file, 0.02):
        whole = refused = 0
        end = time.monotonic() + 10
        while time.monotonic() < end and not (whole > 2 and refused > 2):
            fetch = Fetch(servers, way)
            data = fetch.read_all()
            assert data in (b"", state(0))
            whole += fetch.whole
            refused += not data
        assert whole
        assert refused


def test_a_link_more_or_less_and_another_right_are_no_change(file: Path) -> None:
    body = LocalSource(file.parent).open("file", None)  # type: ignore[arg-type]
    key = body.key
    file.with_name("other").hardlink_to(file)
    assert body.pread(4, 0) == bytes(4)
    file.chmod(0o600)
    assert body.pread(4, 0) == bytes(4)
    file.unlink()
    assert body.pread(4, 0) == bytes(4)
    body.close()
    other = LocalSource(file.parent).open("other", None)  # type: ignore[arg-type]
    assert other.key != key
    other.close()


def test_clients_that_ask_together_share_one_checked_copy(file: Path) -> None:
    files = Files(LocalSource(file.parent), pins={"file": digest(state(0))})

    request = FileRequest("file", "192.0.2.9", "192.0.2.1")
    bodies = [files.open(request).call().body for _ in range(1)]
    bodies += [files.open(request).body for _ in range(3)]
    assert all(isinstance(body, CheckedFile) for body in bodies)
    places = {os.fstat(body.fileno())[1:3] for body in bodies}
    assert len(places) == 1
    for body in bodies:
        body.close()
        body.close()
    files.close()
