"""A web server that behaves as its URLs ask: ``/silent/3@1000/file`` is silent for 3 s after 1000.

Each directory of the path is a manner, and they add up; the rest is a file below ``root``, or
``octets/COUNT``: so many octets that can be told apart.
"""

import argparse
import gzip
import random
import socket
import threading
import time
import zlib
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@cache
def _random() -> bytes:
    return random.Random(7).randbytes(1 << 20)


def octets(count: int) -> bytes:
    """Make octets of which no two thousand are alike for the first million."""
    return (_random() * (count // len(_random()) + 1))[:count]


class Site(ThreadingHTTPServer):
    """The web server; ``requests`` are the paths and Range headers that it was asked for."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path = Path(), address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, Visit)
        self.root = root
        self.requests: list[tuple[str, str]] = []
        self.authorizations: list[str] = []  # of each request, "" for none
        self.vias: list[str] = []
        self.go_on = threading.Event()  # what "/held/..." waits for
        self.sent = 0
        self.log: Path | None = None  # where a line "STATUS PATH" is written for each answer
        self.connections: set[socket.socket] = set()
        self.url = f"http://{address[0]}:{self.server_address[1]}"

    def kill(self) -> None:
        """End at once, whatever is on its way."""
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.go_on.set()  # only now, or what was held back would still be sent

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away."""


class Visit(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Site

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing: ``requests`` has it."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Note an answer where somebody wants to know."""
        if self.server.log is not None:
            with self.server.log.open("a") as log:
                log.write(f"{code} {self.path}\n")

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range", "")))
        self.server.authorizations.append(self.headers.get("Authorization", ""))
        self.server.vias.append(self.headers.get("Via", ""))
        self.manners: dict[str, str] = {}
        parts = unquote(urlsplit(self.path).path, errors="surrogateescape").strip("/").split("/")
        while parts and parts[0] in MANNERS:
            name = parts.pop(0)
            self.manners[name] = parts.pop(0) if MANNERS[name] else ""
        if "status" in self.manners:
            self.answer(int(self.manners["status"]), b"no\n")
        elif "redirect" in self.manners:
            target = self.manners["redirect"]
            rest = "/".join(parts)
            place = self.path if target == "loop" else f"{target}/{rest}".replace("+", "/")
            self.answer(
                302, b"", [("Location", place if "://" in place else f"/{place.strip('/')}")]
            )
        elif "secret" in self.manners and not self.headers.get("Authorization"):
            self.answer(401, b"who are you?\n")
        elif "drip-head" in self.manners:
            self.drip(b"HTTP/1.1 200 OK\r\nX: ")
        elif "drip" in self.manners:
            self.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        elif "drip-chunk" in self.manners:
            self.drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        elif "hangup" in self.manners:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.file(parts)

    def drip(self, head: bytes) -> None:
        """Send the head, then an octet now and then, until the other side has enough of it."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.sendall(head)
            while not self.server.go_on.wait(0.2):
                self.connection.sendall(b"0")

    def file(self, parts: list[str]) -> None:
        if parts[0] == "octets":
            content = octets(int(parts[1]))
        else:
            try:
                content = self.server.root.joinpath(*parts).read_bytes()
            except OSError:
                self.answer(404, b"no such file\n")
                return
        if "slow-answer" in self.manners:
            time.sleep(float(self.manners["slow-answer"]))
        headers = [("ETag", f'"{zlib.crc32(content)}"')] if "etag" in self.manners else []
        if headers and self.headers.get("If-None-Match") == headers[0][1]:
            self.answer(304, b"", headers)
            return
        status, start = 200, 0
        span = self.headers.get("Range", "")
        if "ranges" in self.manners and span and self.headers.get("If-Range") == headers[0][1]:
            status, start = 206, int(span.removeprefix("bytes=").rstrip("-"))
            end = f"{len(content) - 1}/{len(content)}"
            headers.append(("Content-Range", f"bytes {start}-{end}"))
        if "gzip" in self.manners:
            content = gzip.compress(content, 1)
            headers.append(("Content-Encoding", "gzip"))
        if "encoding" in self.manners:
            headers.append(("Content-Encoding", self.manners["encoding"]))
        self.answer(status, content[start:], headers, start)

    def answer(self, status: int, body: bytes, headers=(), start: int = 0) -> None:
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.chunked = "chunked" in self.manners
        if self.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "no-length" in self.manners:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.body(body, start)
        if self.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def body(self, body: bytes, start: int) -> None:
        """Send the body as its manners want."""
        stops = {}
        for manner in ("silent", "cut", "held"):
            if manner in self.manners:
                how, _, place = self.manners[manner].rpartition("@")
                stops[int(place) - start] = (manner, how)
        sent = 0
        for place in sorted(place for place in stops if place > 0):
            self.piece(body[sent:place])
            sent = place
            manner, how = stops[place]
            if manner == "silent":
                time.sleep(float(how))
            elif manner == "held":
                self.server.go_on.wait(30)
            else:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                raise ConnectionAbortedError
        self.piece(body[sent:])

    def piece(self, data: bytes) -> None:
        view = memoryview(data)
        for place in range(0, len(data), 65536):
            part = view[place : place + 65536]
            if self.chunked:
                self.wfile.write(b"%x\r\n" % len(part) + part + b"\r\n")
            else:
                self.wfile.write(part)
            self.server.sent += len(part)


# manner -> whether it takes the next part of the path as its argument
MANNERS = {
    "chunked": False,
    "cut": True,
    "drip": False,
    "drip-chunk": False,
    "drip-head": False,
    "encoding": True,
    "etag": False,
    "gzip": False,
    "hangup": False,
    "held": True,
    "no-length": False,
    "ranges": False,
    "secret": False,
    "redirect": True,
    "silent": True,
    "slow-answer": True,
    "status": True,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--address", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--log", type=Path)
    wanted = parser.parse_args()
    site = Site(wanted.root, (wanted.address, wanted.port))
    site.log = wanted.log
    site.serve_forever()
