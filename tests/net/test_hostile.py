"""What strangers send, files that change, signals at the wrong moment: the daemon goes on."""

import contextlib
import os
import random
import signal
import socket
import struct
import time
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from tests.dhcp4.vectors import VECTORS

SERVER = "192.168.1.1"
HERE = """
[bootp]
pool_start = 192.168.1.100
pool_count = 99
allow_simple_dhcp = on
leases = memory
boot_file = {}
[tftp]
root = ./files
"""
TFTP = (
    b"\0\1pxelinux.0\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0timeout\x002\0",
    b"\0\2up\0octet\0",
    b"\0\3\0\1data",
    b"\0\4\0\1",
    b"\0\5\0\1no\0",
    b"\0\6tsize\x001\0",
)


class Client:
    """The client's host: a TFTP socket for each question."""

    def __init__(self, host, sockets):
        self.host = host
        self.sockets = sockets
        host.ip("address", "add", "192.168.1.2/24", "dev", "eth0")

    def socket(self):
        with self.host.inside():
            sock = self.sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.settimeout(10)
        return sock

    def ask(self, name):
        """Ask for a file; return the socket, the first answer, and where to answer."""
        sock = self.socket()
        sock.sendto(b"\0\1" + name.encode() + b"\0octet\0", (SERVER, 69))
        return sock, *sock.recvfrom(600)

    def last_of(self, name, blocks, meanwhile):
        """Fetch a file, do something behind its first block; return the last packet."""
        sock, data, to = self.ask(name)
        meanwhile()
        with sock:
            for block in range(1, blocks):
                sock.sendto(struct.pack("!HH", 4, block), to)
                data = sock.recv(600)
                if data[1] == 5:
                    break
        return data


@pytest.fixture
def client(lan):
    """Give the client's host an address; its sockets end with the test."""
    with contextlib.ExitStack() as sockets:
        yield Client(lan[1], sockets)


@pytest.fixture
def running(lan, tmp_path):
    """Start the daemon, and see at the end that it is as it was."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "pxelinux.0").write_bytes(b"boot me" * 30_000)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(HERE.format("pxelinux.0"))
    daemon = DaemonProcess(lan[0], ini, tmp_path / "log", (67, 69))
    with daemon:
        yield daemon
    assert "Traceback" not in (tmp_path / "log").read_text()


def descriptors(daemon):
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


def mangled(data, chance):
    """Cut the packet everywhere, and turn over each of its bits; leave some out by chance."""
    for length in range(len(data)):
        yield data[:length]
    for bit in range(len(data) * 8):
        if chance.random() < 1000 / (len(data) * 8):
            turned = bytearray(data)
            turned[bit // 8] ^= 1 << bit % 8
            yield bytes(turned)


@pytest.mark.net
def test_every_cut_and_turned_bit_of_real_packets(client, firmware, running):
    chance = random.Random(1)
    before = descriptors(running)
    for vector in VECTORS:
        for data in mangled(vector.data, chance):
            firmware.socket.sendto(data, ("255.255.255.255", 67))
        assert firmware.boot("52:54:00:00:00:99", patience=20) is not None
    for packet in TFTP:
        for data in mangled(packet, chance):
            with client.socket() as sock:
                sock.sendto(data, (SERVER, 69))
        sock, data, _ = client.ask("pxelinux.0")
        sock.close()
        assert data.startswith(b"\0\3\0\1boot me")
    deadline = time.monotonic() + 60
    while descriptors(running) > before + 4:
        assert time.monotonic() < deadline, descriptors(running)
        time.sleep(0.1)


@pytest.mark.net
def test_files_that_change_under_a_transfer(client, running):
    files = running.ini.parent / "files"

    def replace(file: Path):
        (files / "new").write_bytes(b"n" * 210_000)
        (files / "new").rename(file)

    def grow(file: Path):
        with file.open("ab") as end:
            end.write(b"more")

    for change, whole in (
        (lambda file: os.truncate(file, 10), False),
        (grow, False),
        (replace, True),
        (Path.unlink, True),
    ):
        file = files / "file"
        file.write_bytes(b"o" * 210_000)
        last = client.last_of("file", 411, lambda change=change, file=file: change(file))
        if whole:  # what is held open stays as it was
            assert last == struct.pack("!HH", 3, 411) + b"o" * (210_000 % 512)
        else:
            assert last == b"\0\5\0\0the file changed while it was read\0"


@pytest.mark.net
def test_sigterm_in_the_middle_of_fifty_transfers(client, running):
    def stop():
        """Return the seconds that it took; every client is told."""
        transfers = [client.ask("pxelinux.0") for _ in range(50)]
        began = time.monotonic()
        assert running.stop() == 0
        took = time.monotonic() - began
        for sock, _, _ in transfers:
            with sock:
                answer = sock.recv(600)
                while answer[1] == 3:  # the first block, repeated
                    answer = sock.recv(600)
                assert answer == b"\0\5\0\0the server stops\0"
        return took

    took = stop()
    for _ in range(3):
        if took >= 1.0:  # the machine may have been busy with something else
            running.start()
            took = stop()
    assert took < 1.0


@pytest.mark.net
def test_sighup_keeps_leases_and_gives_the_new_boot_file(firmware, running, follow):
    mac, log = "52:54:00:12:34:56", follow(running.console.path)
    before = firmware.boot(mac, patience=10)
    running.ini.write_text(HERE.format("other.0") + "[bootfil]\n")
    os.kill(running.pid, signal.SIGHUP)
    log.line_of("is in force")
    log.line_of("[bootfil]: warning: unknown section, ignored (did you mean [bootfile]?)")
    after = firmware.boot(mac, patience=10)
    assert (before.yiaddr, before.file) == (after.yiaddr, b"pxelinux.0")
    assert after.file == b"other.0"
    assert firmware.boot("52:54:00:12:34:57", patience=10).yiaddr != after.yiaddr
