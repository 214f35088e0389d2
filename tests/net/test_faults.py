"""What a server meets in its life: each fault is caused for real, and what must hold is looked at.

The lease file has its own tests, kills and full disks in ``test_dhcp_endurance``.
"""

import contextlib
import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from pybootd.dhcp4.wire.packet import MessageType
from pybootd.lab.daemon_process import DaemonProcess

from .fault_rig import INI, Rig

SERVER = "192.168.1.1"
BOOT_FILE = "boot me" * 300
MACS = [f"52:54:00:00:00:{number:02x}" for number in range(20)]

pytestmark = pytest.mark.net("curl")


@pytest.fixture
def make(lan, firmware, tmp_path):
    """Make a daemon with this configuration, not started yet."""
    made = []
    lan[1].ip("address", "add", "192.168.1.9/24", "dev", "eth0")

    def make(text=INI):
        made.append(Rig(lan[0], firmware, tmp_path, text))
        return made[-1]

    yield make
    for rig in made:
        status = rig.daemon.stop()
        assert status in (0, None), rig.log.read_text()
        assert not rig.said("Traceback")


def fetch(lan, url=f"tftp://{SERVER}/pxelinux.0", patience=20):
    """Fetch a file as the client; what came, or curl's exit status when it failed."""
    words = ("curl", "-s", "--max-time", str(patience), url)
    got = lan[1].run(*words, check=False, timeout=patience + 10)
    return got.returncode or got.stdout


class Transfer:
    """A TFTP client that goes from block to block when it is told to."""

    def __init__(self, host, name, local="192.168.1.9"):
        with host.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((local, 0))
        self.socket.settimeout(20)
        self.socket.sendto(b"\0\1" + name.encode() + b"\0octet\0", (SERVER, 69))
        self.block, self.got = 0, b""
        self.last, self.peer = self.socket.recvfrom(600)

    def run(self, blocks=0):
        """Take so many blocks, or all; the octets that came, or an ERROR's text."""
        end = self.block + blocks if blocks else 0
        with self.socket if not blocks else contextlib.nullcontext():
            while True:
                opcode, number = struct.unpack_from("!HH", self.last)
                if opcode == 5:
                    return self.last[4:-1].decode()
                if number == self.block + 1:
                    self.block += 1
                    self.got += self.last[4:]
                if self.block == end or len(self.last) < 516:
                    break
                self.socket.sendto(struct.pack("!HH", 4, self.block), self.peer)
                self.last = self.socket.recv(600)
        return self.got


def test_a_full_log_disk_stops_nothing(make, lan):
    rig = make(INI + "[logger]\ntype = file\nfile = ./logs/log\n")
    logs = rig.log.with_name("logs")
    logs.mkdir()
    lan[0].run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", logs)
    rig.daemon.start()
    rig.boot(MACS[:3])
    lan[0].run("dd", "if=/dev/zero", f"of={logs}/fill", "bs=4k", check=False)
    for _ in range(6):  # more lines than the last page of the log has room for
        rig.boot(MACS)
    assert fetch(lan) == BOOT_FILE
    before = lan[0].run("cat", logs / "log").stdout
    lan[0].run("rm", logs / "fill")
    rig.boot(MACS)
    after = lan[0].run("cat", logs / "log").stdout
    assert f"{MACS[19]} has" in after[len(before) :]
    assert rig.log.read_text() == ""  # nothing on stderr


@pytest.mark.parametrize("how", ["unmounted", "removed"])
def test_a_root_that_goes_and_comes_back(make, lan, how):
    rig = make(INI + "[httpd]\nenable = yes\n")
    root = rig.log.with_name("files")
    if how == "unmounted":
        lan[0].run("mount", "-t", "tmpfs", "tmpfs", root)
        shown = root.with_name("boot file")
        shown.write_text(BOOT_FILE)
        lan[0].run("cp", shown, root / "pxelinux.0")
    rig.daemon.start()
    urls = (f"tftp://{SERVER}/pxelinux.0", f"http://{SERVER}/pxelinux.0")
    assert [fetch(lan, url) for url in urls] == [BOOT_FILE] * 2
    if how == "unmounted":
        (root / "pxelinux.0").unlink()  # outside: what the mount hides
        lan[0].run("umount", "-l", root)
    else:
        root.rename(root.with_name("away"))
    assert fetch(lan, urls[0]) == 68  # TFTP's "no such file"
    assert "no such file" in fetch(lan, urls[1])
    rig.boot(MACS[:3])
    if how == "unmounted":
        lan[0].run("mount", "-t", "tmpfs", "tmpfs", root)
        lan[0].run("cp", shown, root / "pxelinux.0")
    else:
        root.with_name("away").rename(root)
    assert [fetch(lan, url) for url in urls] == [BOOT_FILE] * 2


@pytest.mark.parametrize("change", ["truncated", "replaced"])
def test_a_file_that_changes_under_an_http_transfer(make, lan, change):
    """A client gets the old file whole, or learns that it did not: never half of it for all."""
    rig = make(INI + "[httpd]\nenable = yes\n")
    file = rig.log.with_name("files") / "big"
    old = os.urandom(30 << 20)
    file.write_bytes(old)
    rig.daemon.start()
    with lan[1].inside():
        sock = socket.create_connection((SERVER, 80), timeout=20)
    with sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = sock.recv(1 << 16)
        if change == "truncated":
            os.truncate(file, 1 << 20)
        else:
            new = file.with_name("new")
            new.write_bytes(bytes(30 << 20))
            new.rename(file)
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(1 << 20):
                got += data
    body = got.partition(b"\r\n\r\n")[2]
    if change == "truncated":
        assert len(body) < 30 << 20
        assert rig.says("http 192.168.1.9 big: failed") == 1
    else:
        assert body == old
    assert fetch(lan) == BOOT_FILE


class Few:
    """A host whose programs may have few files open at a time."""

    def __init__(self, host, files):
        self.host = host
        self.files = files
        self.udp_ports = host.udp_ports

    def popen(self, *words, **more):
        return self.host.popen("prlimit", f"--nofile={self.files}:{self.files}", *words, **more)


def test_no_descriptor_is_left(make, lan):
    rig = make(INI + "[httpd]\nenable = yes\n")
    for number in range(40):
        (rig.log.with_name("files") / f"file{number}").write_bytes(b"f" * 100_000)
    rig.daemon = DaemonProcess(Few(lan[0], 48), rig.daemon.ini, rig.log)
    rig.daemon.start()
    fetch(lan)
    rig.boot(MACS[:1])
    folder = Path(f"/proc/{rig.daemon.pid}/fd")
    idle = len(list(folder.iterdir()))
    with contextlib.ExitStack() as stack:
        with lan[1].inside():
            for _ in range(60):
                sock = stack.enter_context(socket.create_connection((SERVER, 80), timeout=20))
                sock.sendall(b"GET /file0 HTTP/1.1\r\n")  # the rest never comes
            transfers = []
            for number in range(40):
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sock.settimeout(20)
                sock.sendto(b"\0\1file%d\0octet\0" % number, (SERVER, 69))
                transfers.append(sock)
        answers = [sock.recv(600) for sock in transfers]
        refused = [answer for answer in answers if answer[1] == 5]
        assert refused  # told so, and nobody is left without an answer
        assert rig.said("http: ")
        rig.boot(MACS[:4])  # addresses need no descriptor
    deadline = time.monotonic() + 60
    while fetch(lan, patience=3) != BOOT_FILE or len(list(folder.iterdir())) > idle + 8:
        assert time.monotonic() < deadline, sorted(map(os.readlink, folder.iterdir()))
        time.sleep(0.2)
    assert fetch(lan, f"http://{SERVER}/pxelinux.0") == BOOT_FILE
    assert len(rig.log.read_text().splitlines()) < 300


def test_workers_that_are_all_stuck_hold_up_nobody_else(make, lan):
    """An origin takes connections, and never answers."""
    text = INI.replace("root = ./files", "root = http://192.168.1.9:8080/")
    rig = make(text + "[httpd]\nenable = yes\nroot = ./files\n")
    stuck, served = threading.Event(), []
    with lan[1].inside():
        origin = socket.create_server(("192.168.1.9", 8080), backlog=200)

    def serve():
        while True:
            try:
                sock, _ = origin.accept()
            except OSError:
                return
            served.append(sock)
            if stuck.is_set():
                continue
            with contextlib.suppress(OSError), sock:  # its transfer may have been given up
                sock.settimeout(5)
                sock.recv(4096)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BOOT_FILE)}\r\n"
                sock.sendall(f"{head}Connection: close\r\n\r\n{BOOT_FILE}".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        rig.daemon.start()
        assert fetch(lan) == BOOT_FILE
        stuck.set()
        with contextlib.ExitStack() as stack:
            with lan[1].inside():
                for number in range(100):
                    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    sock.sendto(b"\0\1stuck%d\0octet\0" % number, (SERVER, 69))
            deadline = time.monotonic() + 20
            while len(served) < 16 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert len(served) >= 16
            rig.boot(MACS[:5])
            for _ in range(5):
                assert fetch(lan, f"http://{SERVER}/pxelinux.0") == BOOT_FILE
        stuck.clear()
        for sock in served:
            sock.close()
        deadline = time.monotonic() + 60
        while fetch(lan, patience=5) != BOOT_FILE:
            assert time.monotonic() < deadline
    finally:
        origin.shutdown(socket.SHUT_RDWR)
        origin.close()
        thread.join()


@pytest.mark.parametrize("only", ["", "interface = eth0\n", f"address = {SERVER}\n"])
def test_an_interface_that_goes_and_comes_back(make, lan, switch, only):
    """Also for the transfer that was under way: to its client it was a loss."""
    rig = make(INI.replace("[bootp]\n", f"[bootp]\n{only}"))
    (rig.log.with_name("files") / "file").write_bytes(bytes(100_000))
    rig.daemon.start()
    rig.boot(MACS[:2])
    transfer = Transfer(lan[1], "file")
    transfer.run(10)
    lan[0].ip("link", "del", "eth0")
    time.sleep(1)
    again = lan[0].plug(switch, mac="52:54:00:99:99:99")
    lan[0].ip("link", "set", "dev", again, "down")
    lan[0].ip("link", "set", "dev", again, "name", "eth0", "up")
    lan[0].ip("address", "add", f"{SERVER}/24", "broadcast", "+", "dev", "eth0")
    rig.boot(MACS[:4], patience=30)
    assert fetch(lan) == BOOT_FILE
    assert transfer.run() == bytes(100_000)


@pytest.mark.net("curl", "tc")
def test_buffers_that_are_full(make, lan):
    """The wire takes next to nothing: what can't leave is lost, and nothing else."""
    rig = make(INI + "[httpd]\nenable = yes\n")
    file = rig.log.with_name("files") / "file"
    file.write_bytes(os.urandom(200_000))
    rig.daemon = DaemonProcess(lan[0], rig.daemon.ini, rig.log, (67, 69), "-d")
    rig.daemon.start()
    rig.boot(MACS)
    transfer = Transfer(lan[1], "file")
    transfer.run(10)
    # what waits for the wire fills the sockets' buffers
    shape = ("rate", "8kbit", "burst", "1600", "limit", "10000000")
    lan[0].run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *shape)
    for _ in range(100):
        for mac in MACS:
            rig.firmware.send(mac, MessageType.DISCOVER)
    assert rig.says("dhcp: no reply to 255.255.255.255: Resource temporarily unavailable") == 1
    # a queue that is too short: frames to clients without an address are refused
    lan[0].run("tc", "qdisc", "change", "dev", "eth0", "root", "tbf", *shape[:-1], "1600")
    for _ in range(100):
        rig.firmware.send(MACS[0], MessageType.DISCOVER, flags=0)
    assert rig.says(f"no frame to {MACS[0]} out of eth0: [Errno 105] No buffer space available")
    lan[0].run("tc", "qdisc", "del", "dev", "eth0", "root")
    rig.boot(MACS, patience=40)
    assert transfer.run() == file.read_bytes()
    assert fetch(lan) == BOOT_FILE
