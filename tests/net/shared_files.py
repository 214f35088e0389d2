"""Who fetches its boot file from which daemon, how that ended, and how fast it went when."""

import os
import random
import subprocess
import sys
import time
from bisect import bisect
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address as A
from pathlib import Path

from pybootd.dhcp4.wire.packet import Packet
from pybootd.lab.network import Host

from .shared_crowd import Client, Crowd

NAME = "boot.img"
TOP = Path(__file__).parents[2]


def write(folder: Path, size: int) -> None:
    """Make the file, ``size`` octets."""
    folder.mkdir()
    (folder / NAME).write_bytes(random.Random(size).randbytes(size))


@dataclass(slots=True)
class Fetched:
    """One transfer; times as ``Files`` counts them, ``silence`` its longest wait, seconds."""

    client: Client
    crowd: Crowd
    server: A
    begun: float
    ended: float = 0.0
    how: str = ""
    silence: float = 0.0


class Files:
    """Clients that got an address and a boot file's name fetch it; one that fails starts again.

    For ``turn`` it is one more crowd. Times are seconds since ``zero``.
    """

    def __init__(self, host: Host, folder: Path, crowds: list[Crowd]) -> None:
        words = [sys.executable, "-m", "tests.net.shared_fetch", folder]
        self.process = host.popen(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TOP)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.orders, self.socket = self.process.stdin, self.process.stdout
        assert self.socket.readline() == "ready\n"
        self.zero = time.monotonic()
        self.all: list[Fetched] = []
        self.running: dict[int, Fetched] = {}  # by its place in all
        self.having: set[bytes] = set()  # hardware addresses of those whose file is whole
        self.moved: list[tuple[float, A, int]] = []
        self._fetching: set[bytes] = set()
        self._rest = b""
        for crowd in crowds:
            crowd.confirmed = self.begin

    def close(self) -> None:
        self.orders.close()
        self.process.wait(10)
        self.socket.close()

    def begin(self, crowd: Crowd, client: Client, ack: Packet) -> None:
        """Let a client fetch what its ACK names, if it hasn't and doesn't."""
        if not client.boots or client.mac in self.having or client.mac in self._fetching:
            return
        self._fetching.add(client.mac)
        number = len(self.all)
        self.all.append(Fetched(client, crowd, ack.siaddr, time.monotonic() - self.zero))
        self.running[number] = self.all[number]
        self.orders.write(f"{number} {ack.yiaddr} {ack.siaddr} {ack.file.decode()}\n")
        self.orders.flush()

    def busy(self) -> bool:
        return bool(self.running)

    def waited(self, now: float) -> None:
        assert self.process.poll() is None, "the clients' process has ended"

    def receive(self, now: float) -> None:
        data = os.read(self.socket.fileno(), 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            kind, when, *words = line.decode().split()
            at = float(when) - self.zero
            if kind == "moved":
                self.moved.append((at, A(words[0]), int(words[1])))
            else:
                self._end(int(words[0]), at, words[1], float(words[2]))

    def _end(self, number: int, at: float, how: str, silence: float) -> None:
        one = self.running.pop(number)
        self._fetching.remove(one.client.mac)
        one.ended, one.how, one.silence = at, how, silence
        if how == "whole":
            self.having.add(one.client.mac)
        else:
            one.crowd.start([one.client])  # as firmware does, from its DISCOVER on

    def serving(self) -> Counter[A]:
        """Count the transfers under way by their servers."""
        return Counter(one.server for one in self.running.values())

    def during(self, when: float) -> list[Fetched]:
        """List the transfers that were under way at a moment."""
        return [one for one in self.all if one.begun < when < (one.ended or when + 1)]

    def phases(self, marks: list[tuple[float, str]], servers: list[A]) -> str:
        """Write what each server sent from each of the marks to the next one."""
        starts = [when for when, _ in marks]
        octets: Counter[tuple[int, A]] = Counter()
        ended: Counter[tuple[int, A, bool]] = Counter()
        for when, server, count in self.moved:
            octets[bisect(starts, when) - 1, server] += count
        for one in self.all:
            ended[bisect(starts, one.ended) - 1, one.server, one.how == "whole"] += 1
        lines = [
            " " * 30 + "".join(f"{server!s:>20}" for server in servers),
            f"{'from':24}seconds" + "   MB/s  whole failed" * len(servers),
        ]
        for number, (start, what) in enumerate(marks[:-1]):
            seconds = starts[number + 1] - start
            cells = f"{what.rpartition('; ')[2]:24}{seconds:7.1f}"
            for server in servers:
                good, bad = (ended[number, server, whole] or "-" for whole in (True, False))
                rate = octets[number, server] / 1e6 / max(seconds, 0.1)
                cells += f"{rate:7.1f}{good:>7}{bad:>7}"
            lines.append(cells)
        return "\n".join(lines)
