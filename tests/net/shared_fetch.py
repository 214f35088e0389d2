"""Many TFTP clients in their own process, each byte compared with the file.

``python -m tests.net.shared_fetch FOLDER``. A line on stdin, ``NUMBER ADDRESS SERVER NAME``, starts
a client with that address. On stdout: ``ready``; ten times a second ``moved AT SERVER OCTETS``; and
``ended AT NUMBER HOW SILENCE``: whole, wrong or failed, and its longest wait for a packet, seconds.
"""

import os
import resource
import selectors
import socket
import sys
import time
from collections import Counter
from pathlib import Path

from pybootd.lab.firmware import BootError, FirmwareTransfer

ASKED = (("tsize", "0"), ("blksize", "1468"), ("windowsize", "4"))  # as OVMF does
PATIENCE = 1.0  # seconds until a client sends its last packet again
TRIES = 5


class Compared:
    """Stands where a transfer gathers what comes: compares it, and keeps nothing."""

    def __init__(self, file: bytes) -> None:
        self.file, self.count, self.same = file, 0, True

    def __iadd__(self, payload: bytes) -> "Compared":
        end = self.count + len(payload)
        self.same &= payload == self.file[self.count : end]
        self.count = end
        return self

    def __len__(self) -> int:
        return self.count


class Fetch:
    """One client and its transfer."""

    def __init__(self, number: str, address: str, server: str, name: str, file: bytes) -> None:
        self.number, self.server = number, server
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((address, 0))
        self.sock.setblocking(False)
        self.transfer = FirmwareTransfer(self.sock, server, name, ASKED, None)
        self.got = self.transfer.got = Compared(file)
        self.heard = self.asked = time.monotonic()
        self.silence, self.repeated = 0.0, 0
        self.sock.sendto(self.transfer.last, self.transfer.peer)

    def read(self, now: float) -> str:
        """Take what has come; "" while there is more to come, else how it ended."""
        transfer = self.transfer
        self.silence = max(self.silence, now - self.heard)
        self.heard = self.asked = now
        self.repeated = 0
        try:
            while not transfer.done:
                data, peer = self.sock.recvfrom(65536)
                if transfer.known and peer != transfer.peer:
                    continue
                transfer.peer, transfer.known = peer, True
                transfer.take_packet(data)
                if not transfer.unanswered:  # a window: what is next is on its way
                    break
        except BlockingIOError:
            return ""
        except BootError:
            return "failed"
        if not transfer.done:
            return ""
        return "whole" if self.got.same and self.got.count == len(self.got.file) else "wrong"

    def wait(self, now: float) -> str:
        """Send again what was not answered; "failed" when that was often enough."""
        if now - self.asked < PATIENCE:
            return ""
        self.asked = now
        self.repeated += 1
        if self.repeated > TRIES:
            self.silence = max(self.silence, now - self.heard)
            return "failed"
        self.sock.sendto(self.transfer.last, self.transfer.peer)
        return ""


class Clients:
    """All that fetch at the moment."""

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.selector = selectors.DefaultSelector()
        self.fetches: set[Fetch] = set()
        self.moved: Counter[str] = Counter()
        self.rest = b""

    def take_orders(self) -> bool:
        """Start what stdin asks for; False at its end."""
        data = os.read(0, 1 << 16)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            number, address, server, name = line.decode().split()
            fetch = Fetch(number, address, server, name, self.files[name])
            self.fetches.add(fetch)
            self.selector.register(fetch.sock, selectors.EVENT_READ, fetch)
        return bool(data)

    def end(self, fetch: Fetch, now: float, how: str) -> None:
        self.selector.unregister(fetch.sock)
        fetch.sock.close()
        self.fetches.remove(fetch)
        self.say("ended", now, fetch.number, how, f"{fetch.silence:.3f}")

    def say(self, *words: object) -> None:
        os.write(1, " ".join(map(str, words)).encode() + b"\n")

    def run(self) -> None:
        self.selector.register(0, selectors.EVENT_READ)
        os.write(1, b"ready\n")
        looked = time.monotonic()
        while True:
            ready = self.selector.select(0.1)
            now = time.monotonic()
            for key, _ in ready:
                fetch = key.data
                if fetch is None:
                    if not self.take_orders():
                        return
                    continue
                before = fetch.got.count
                how = fetch.read(now)
                self.moved[fetch.server] += fetch.got.count - before
                if how:
                    self.end(fetch, now, how)
            if now - looked >= 0.1:
                looked = now
                self.look(now)

    def look(self, now: float) -> None:
        for server, octets in self.moved.items():
            self.say("moved", now, server, octets)
        self.moved.clear()
        for fetch in list(self.fetches):
            if how := fetch.wait(now):
                self.end(fetch, now, how)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Clients(Path(sys.argv[1])).run()
