#!/usr/bin/env python3
"""A small HTTP server that says who may boot: the other end of ``access = http``.

It shows all that such a server needs. Run it, and let pybootd ask it::

    [bootp]
    access = http

    [http]
    location = 127.0.0.1:13400
    pxe = /boot
    dhcp = /linux

``/boot`` is asked when a machine's firmware boots, ``/linux`` when its system asks for an address.
Its configuration, ``config.ini`` beside it, lists the UUIDs that may. Each question is printed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from configparser import ConfigParser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

CONFIG = Path(__file__).with_name("config.ini")
GRANT = ("on", "true", "enable", "enabled", "yes", "1")


class Authorization(ThreadingHTTPServer):
    """The server, with its lists."""

    daemon_threads = True

    def __init__(self, config: ConfigParser, port: int | None = None) -> None:
        self.config = config
        http = config["httpd"]
        where = (
            http.get("address", "127.0.0.1"),
            port if port is not None else http.getint("port", 13400),
        )
        super().__init__(where, Question)

    def answer(self, path: str, asked: dict[str, str]) -> tuple[HTTPStatus, list[str]]:
        """Decide: a status, and lines for the machine that may."""
        if path not in ("/boot", "/linux"):
            return HTTPStatus.NOT_FOUND, []
        uuid = asked.get("uuid", "").lower()
        if self.config.get("uuid", uuid, fallback="").lower() not in GRANT:
            return HTTPStatus.UNAUTHORIZED, []
        lines = []
        if name := self.config.get("client", uuid, fallback=""):
            lines.append(f"client: {name}")
        if path == "/boot" and (file := self.config.get("file", uuid, fallback="")):
            lines.append(f"file: {file}")
        return HTTPStatus.OK, lines


class Question(BaseHTTPRequestHandler):
    """One machine that wants to boot."""

    server: Authorization

    def do_GET(self) -> None:
        """Answer ``/boot?mac=...&uuid=...`` or ``/linux?mac=...&uuid=...``."""
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, lines = self.server.answer(url.path, asked)
        answer = ", ".join(lines)
        print(f"{self.path} -> {status.value} {status.phrase}{f' ({answer})' if answer else ''}")
        body = "".join(f"{line}\n" for line in lines).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing here: what was asked and answered is printed above."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Say who may boot, for pybootd's access = http.")
    parser.add_argument("-c", "--config", type=Path, default=CONFIG, help="default: %(default)s")
    parser.add_argument("-p", "--port", type=int, help="instead of the configured one; 0: any")
    arguments = parser.parse_args()
    config = ConfigParser(delimiters="=", interpolation=None)
    config.read_string(arguments.config.read_text(encoding="utf-8"))
    sys.stdout.reconfigure(line_buffering=True)
    # a shell starts what it puts into the background with this ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Authorization(config, arguments.port) as server:
        host, port = server.server_address[:2]
        print(f"http://{host}:{port}/boot and /linux: asked who may boot; Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
