"""How the tests read what comes from a web server: as a protocol does, in the loop."""

import time
from collections.abc import Callable

from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files.remote.download import DownloadBody
from pybootd.files.remote.source import RemoteSource
from pybootd.files.source import FileError, FileRequest, StreamBody

SILENCE = 1.0  # seconds that the tests' web server may be silent


def wait(condition: Callable[[], object], loop: Loop, limit: float = 60.0) -> None:
    """Turn the loop until the condition holds."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        loop.turn(0.02)


def start(source: RemoteSource, name: str) -> DownloadBody:
    later = source.open(name, FileRequest(name, "192.0.2.9", "192.0.2.1"))
    assert isinstance(later, Later)
    body = later.call()
    assert isinstance(body, DownloadBody)
    return body


class Reader:
    """Reads a body to its end, ``count`` octets at a time, whenever the loop says that it may."""

    def __init__(self, body: StreamBody, count: int = 1468, *, paused: bool = False) -> None:
        self.body, self.count, self.paused = body, count, paused
        self.data = bytearray()
        self.over = False
        self.error: FileError | None = None
        self.go(0.0)

    def go(self, now: float) -> None:
        try:
            while not self.paused:
                data = self.body.read(self.count)
                if data is None:
                    self.body.when_ready(self.go)
                    return
                self.data += data
                if len(data) < self.count:
                    break
            else:
                return
        except FileError as error:
            self.error = error
        self.over = True
        self.body.close()

    def take(self) -> bool:
        """Read once; tell whether anything was there."""
        data = self.body.read(self.count)
        self.data += data or b""
        return data is not None

    def go_on(self) -> None:
        self.paused = False
        self.go(0.0)


def fetch(source: RemoteSource, loop: Loop, name: str, count: int = 1468) -> bytes:
    reader = Reader(start(source, name), count)
    wait(lambda: reader.over, loop)
    if reader.error:
        raise reader.error
    return bytes(reader.data)
