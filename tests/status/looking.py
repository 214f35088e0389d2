"""The status address on the loopback, and who looks: raw sockets, or a command."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pybootd.config.options.service import StatusConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus
from pybootd.core.loop import Loop
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.status.service import StatusService
from tests.observe.story import Story


class Rig(Story):
    """Watching on a port of the loopback; its loop turns while a client waits."""

    def __init__(self, folder: Path, **config: Any) -> None:
        super().__init__()
        self.loop = Loop(lambda: self.now)
        self.loop.open()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        files = {"tftp": Files(LocalSource(folder))}
        status = StatusConfig(**{"port": self.port, **config})
        self.bus, self.clients = EventBus(), ClientTable()
        self.watching = StatusService(status, self.loop, self.bus, self.clients, files, None)
        self.timeline = self.watching.timeline
        self.watching.open()
        self.watching.start()
        self.sockets: list[socket.socket] = []

    def tell(self, *told: object, each: float = 0.1) -> None:
        for event in told:
            super().tell(event, each=each)
            self.loop.turn(0.0)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.watching.close()
        self.loop.close()

    def ask(self, path: str, *fields: str) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), 5)
        self.sockets.append(sock)
        head = "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *fields))
        sock.sendall(f"{head}\r\n\r\n".encode())
        sock.setblocking(False)
        return sock

    def read(self, sock: socket.socket, until: bytes) -> bytes:
        got = b""
        for _ in range(500):
            self.loop.turn(0.005)
            try:
                got += sock.recv(1 << 20)
            except BlockingIOError:
                continue
            if until in got:
                return got
        raise AssertionError(f"{until!r} did not come: {got!r}")

    def get(self, path: str, *fields: str) -> tuple[int, str]:
        """Return status and body."""
        got = b""
        sock = self.ask(path, "Connection: close", *fields)
        for _ in range(500):
            self.loop.turn(0.005)
            try:
                data = sock.recv(1 << 20)
            except BlockingIOError:
                continue
            if not data:
                break
            got += data
        head, _, body = got.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    def settle(self) -> None:
        """Have everything judged, and the files looked at that this needs."""
        for _ in range(5):
            self.get("/api/clients")
            for _ in range(1000):
                self.loop.turn(0.002)
                if not self.watching.is_looking:
                    break
            self.now += 1.1

    def json(self, path: str) -> Any:
        status, body = self.get(path)
        assert status == 200
        return json.loads(body)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.5)):
            self.now += 0.5
            self.loop.turn(0.0)

    def command(self, *words: str, until: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of ours to its end, or until it has printed ``until``."""
        name, *more = words
        line = [sys.executable, "-m", "pybootd", name, "--at", f"127.0.0.1:{self.port}", *more]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        said = b""
        os.set_blocking(process.stdout.fileno(), False)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            self.loop.turn(0.01)
            if until:
                self.now += 0.01
            with contextlib.suppress(BlockingIOError):
                said += os.read(process.stdout.fileno(), 1 << 16)
            if until and until.encode() in said:
                break
        process.terminate()
        os.set_blocking(process.stdout.fileno(), True)
        rest, errors = process.communicate()
        output = (said + rest).decode()
        return subprocess.CompletedProcess(line, process.returncode, output, errors.decode())
