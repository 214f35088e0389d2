"""Fetches the boot file that a server named, by TFTP or HTTP.

The name, the server and all that it sends are a stranger's: whatever is wrong with them is a
FetchError.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from pybootd.commands.probe.prober import Prober
from pybootd.commands.probe.result import ServerAnswer
from pybootd.lab.firmware import BootError

_MAX_FILE = 512 << 20  # octets
_HTTP_TIMEOUT_S = 10.0


class FetchError(Exception):
    """The boot file can't be fetched; the text says from where and why."""


def fetch_boot_file(prober: Prober, answer: ServerAnswer) -> bytes:
    """Fetch the file that an answer names. Raises FetchError."""
    try:
        if "://" in answer.file:
            return _fetch_by_http(answer.file)
        server = _resolve_server(answer.file_server)
        return prober.fetch_file(server, answer.file, blksize=1468, tsize=0)
    except BootError as error:
        raise FetchError(str(error)) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        if getattr(error, "errno", None) == errno.ENETUNREACH and not prober.link.addresses:
            raise FetchError(
                f"{prober.interface} has no address to fetch it with: give it one of that network,"
                " or leave the file out (--no-fetch)"
            ) from error
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        where = answer.file if "://" in answer.file else f"{answer.file_server} {answer.file}"
        raise FetchError(f"{where}: {text}") from error


def _resolve_server(server: str) -> IPv4Address:
    """Find the address of a server. Raises OSError, ValueError."""
    return IPv4Address(socket.getaddrinfo(server, None, socket.AF_INET)[0][4][0])


def _fetch_by_http(url: str) -> bytes:
    """Fetch by plain HTTP. Raises FetchError, OSError, ValueError, HTTPException."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise FetchError(f"{url}: only http:// is tried here")
    port = 80 if parts.port is None else parts.port
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=_HTTP_TIMEOUT_S)
    with contextlib.closing(connection):
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target)
        answer = connection.getresponse()
        if answer.status != 200:
            raise FetchError(f"{url}: {answer.status} {answer.reason}")
        return answer.read(_MAX_FILE)
