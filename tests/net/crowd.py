"""Many TFTP clients at once, in one loop: each checks what it gets, and keeps nothing."""

import re
import selectors
import socket
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from pybootd.lab.network import Host


class Member:
    """One client that fetches one file (RFC 1350, 2348, 7440)."""

    def __init__(self, target: tuple[str, int], name: str, options: dict[str, int]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.target = target
        self.size = options["blksize"]
        self.window = options["windowsize"]
        words = [name, "octet", *(str(word) for pair in options.items() for word in pair)]
        self.last = b"\0\1" + b"".join(word.encode() + b"\0" for word in words)
        self.block = 0  # the last that came in order
        self.octets = self.sum = self.repeated = 0
        self.error = ""
        self.done = False
        self.heard = 0.0

    def send(self) -> None:
        self.socket.sendto(self.last, self.target)

    def take(self, now: float) -> None:
        """Take whatever has come."""
        while not self.done:
            try:
                data, source = self.socket.recvfrom(65536)
            except BlockingIOError:
                return
            self.heard, self.target = now, source
            opcode, number = struct.unpack_from("!HH", data)
            if opcode == 5:
                self.error, self.done = data[4:-1].decode(), True
            elif opcode == 6:
                self.acknowledge()
            elif number == (self.block + 1) & 0xFFFF:
                self.block += 1
                self.octets += len(data) - 4
                self.sum = zlib.crc32(data[4:], self.sum)
                self.done = len(data) - 4 < self.size
                if self.done or self.block % self.window == 0:
                    self.acknowledge()

    def acknowledge(self) -> None:
        self.last = struct.pack("!HH", 4, self.block & 0xFFFF)
        self.send()


def fetch(
    host: Host,
    server: str,
    names: list[str],
    *,
    blksize: int,
    windowsize: int,
    limit: float = 60,
    meanwhile: Callable[[list[Member]], None] = lambda members: None,
) -> list[Member]:
    """Fetch all the files at once from a host, ``limit`` seconds at most.

    ``meanwhile`` is shown the clients again and again.
    """
    options = {"blksize": blksize, "windowsize": windowsize, "tsize": 0}
    with host.inside():
        members = [Member((server, 69), name, options) for name in names]
    selector = selectors.DefaultSelector()
    for member in members:
        selector.register(member.socket, selectors.EVENT_READ, member)
        member.send()
    now = start = time.monotonic()
    while not all(member.done for member in members) and now - start < limit:
        ready = selector.select(0.2)
        now = time.monotonic()
        for key, _ in ready:
            key.data.take(now)
        meanwhile(members)
        for member in members:
            if not member.done and now - max(start, member.heard) > 1:
                member.repeated += 1
                member.heard = now
                member.acknowledge() if member.block else member.send()
    for member in members:
        member.socket.close()
        if not member.done:
            member.error = f"not done after {limit:g} s: {member.octets} octets"
    selector.close()
    return members


def peak_memory(pid: int) -> float:
    """Return the most memory that a process ever had resident, in MB (10^6 octets)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6
