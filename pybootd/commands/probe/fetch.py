"""Fetches the boot file that a server named, by TFTP or HTTP.

The name, the server and all that it sends are a stranger's: whatever is wrong with them is a
FetchError.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from pybootd.commands.probe.prober import Prober
from pybootd.commands.probe.result import ServerAnswer
from pybootd.lab.firmware import MAX_FETCH_S, MAX_FILE_OCTETS, BootError, ServerSilent

_PIECE = 1 << 20  # octets


class FetchError(Exception):
    """The boot file can't be fetched; the text says from where and why, ``advice`` what to do."""

    def __init__(self, text: str, advice: str = "") -> None:
        super().__init__(text)
        self.advice = advice


class FetchUntried(Exception):
    """The file is named in a way that is not tried from here; the text says which."""


class FetchedFile(NamedTuple):
    """A file's octets; ``size_unknown``: the web server did not say their number beforehand."""

    content: bytes
    size_unknown: bool = False


def fetch_boot_file(prober: Prober, answer: ServerAnswer) -> FetchedFile:
    """Fetch the file that an answer names. Raises FetchError, FetchUntried."""
    by_http = "://" in answer.file
    try:
        if by_http:
            return _fetch_by_http(prober, answer.file)
        server = prober.resolve_name(answer.file_server)
        return FetchedFile(prober.fetch_file(server, answer.file, blksize=1468, tsize=0))
    except ServerSilent as error:
        raise _describe_silence(answer, error) from error
    except BootError as error:
        raise FetchError(f"{answer.file_server}: {error}", "See that server's log.") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        if getattr(error, "errno", None) == errno.ENETUNREACH and not prober.link.addresses:
            raise FetchError(
                f"{prober.interface} has no address to fetch it with: give it one of that network,"
                " or leave the file out (--no-fetch)"
            ) from error
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        where = answer.file if by_http else f"{answer.file_server}, UDP port 69, {answer.file}"
        raise FetchError(f"{where}: {text}", "See that a server runs there.") from error


def _describe_silence(answer: ServerAnswer, error: ServerSilent) -> FetchError:
    """Say which host is silent on which way."""
    server = answer.file_server
    if error.strangers:
        return FetchError(
            f"{', '.join(error.strangers)} answers for {server}: firmware takes no notice of that",
            "Let the TFTP server answer from the address that it is asked on.",
        )
    return FetchError(
        f"{server} is silent on UDP port 69 (TFTP): {error}",
        f"See that a TFTP server runs on {server}, and that its firewall lets in UDP port 69 and"
        " lets its answers out, which come from another port.",
    )


def _fetch_by_http(prober: Prober, url: str) -> FetchedFile:
    """Fetch by plain HTTP. Raises as its caller, OSError, ValueError, HTTPException too."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        raise FetchUntried(f"{url} is not fetched: what the machine trusts is unknown")
    if parts.scheme != "http" or not parts.hostname:
        raise FetchError(f"{url}: only http:// is tried here")
    port = 80 if parts.port is None else parts.port
    connection = prober.connect_http(parts.hostname, port)
    with contextlib.closing(connection):
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target)
        answer = connection.getresponse()
        if answer.status != 200:
            raise FetchError(
                f"{url}: {answer.status} {answer.reason}", "See that web server's log."
            )
        size_unknown = answer.length is None
        return FetchedFile(_read_body(url, answer), size_unknown)


def _read_body(url: str, answer: http.client.HTTPResponse) -> bytes:
    """Read the whole body, which may neither be too large nor take too long."""
    deadline, content = time.monotonic() + MAX_FETCH_S, bytearray()
    while piece := answer.read1(_PIECE):
        content += piece
        if len(content) > MAX_FILE_OCTETS or time.monotonic() > deadline:
            raise FetchError(f"{url}: not whole after {len(content)} octets")
    if answer.length:
        raise FetchError(f"{url}: {answer.length} octets are missing at its end")
    return bytes(content)
