"""What a request asks for and what it is granted (RFC 2347, 2348, 2349, 7440)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from pybootd.tftp.wire.packet import Oack, Options, encode

_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)

# curl 7.88 and others: tftp_parse_option_ack() calls a granted tsize of 0 invalid, and gives up on
# an empty file; it asks for these options in this order.
_CURL = ("tsize", "blksize", "timeout")


@dataclass(frozen=True, slots=True)
class Terms:
    """How a file travels: octets a block, blocks a window, the client's own timeout in seconds.

    ``granted`` is the OACK's content, and ``oack`` its octets; both empty where none is due.
    ``probing``: the client asked for the size, and may want no more.
    """

    blocksize: int = 512
    windowsize: int = 1
    timeout: int | None = None
    granted: Options = ()
    oack: bytes = b""
    probing: bool = False


PLAIN = Terms()


@lru_cache(256)
def negotiate(options: Options, blocksize: int, windowsize: int, size: int | None) -> Terms:
    """Grant what can be granted: at most so large a block and window; ``size`` None: unknown.

    ``size`` is the file's that is read, or what a write request says of the file that it brings.
    An option that is malformed, repeated, out of range or unknown is left out of the answer.
    """
    if not options:
        return PLAIN
    if size == 0 and tuple(name for name, _ in options) == _CURL:
        size = None
    times = Counter(name.lower() for name, _ in options)
    values: dict[str, int] = {}
    granted: list[tuple[str, str]] = []
    for name, text in options:
        option = name.lower()
        # RFC 2347: an option may be specified once only
        if times[option] > 1 or not _NUMBER.fullmatch(text):
            continue
        value = _grant(option, int(text), blocksize, windowsize, size)
        if value is not None:
            values[option] = value
            granted.append((name, str(value)))
    return Terms(
        values.get("blksize", 512),
        values.get("windowsize", 1),
        values.get("timeout"),
        tuple(granted),
        encode(Oack(tuple(granted))) if granted else b"",
        bool(granted) and times["tsize"] > 0,
    )


def asked_size(options: Options) -> int | None:
    """Return the octets that a write request is to bring, None where it doesn't say (RFC 2349)."""
    sizes = [text for name, text in options if name.lower() == "tsize"]
    return int(sizes[0]) if len(sizes) == 1 and _NUMBER.fullmatch(sizes[0]) else None


def _grant(
    option: str, value: int, blocksize: int, windowsize: int, size: int | None
) -> int | None:
    match option:
        case "blksize" if 8 <= value <= 65464:  # RFC 2348
            return min(value, blocksize)
        case "windowsize" if 1 <= value <= 65535:  # RFC 7440 3
            return min(value, windowsize)
        case "timeout" if 1 <= value <= 255:  # RFC 2349
            return value
        case "tsize":  # RFC 2349: 0 asks, whatever else a client that reads writes asks as well
            return size
    return None
