"""The frames of a capture file: pcap or pcapng, also packed with gzip."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pybootd.commands.display import CommandError

# magic number: the unit of the fractions, and the size of a record's head (the second: a variant of
# Kuznetzov's libpcap patches)
_PCAP = {0xA1B2C3D4: (1e-6, 16), 0xA1B23C4D: (1e-9, 16), 0xA1B2CD34: (1e-6, 24)}
_GZIP = b"\x1f\x8b"
# block types of pcapng (draft-ietf-opsawg-pcapng)
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_TIME_UNIT = 9  # if_tsresol
_MAX_FILE = 1 << 30  # octets, also unpacked
_MAX_FRAME = 1 << 18
_MAX_MOMENT = 1e11  # seconds since the epoch; beyond, a time unit is not what it says


class CaptureCode(StrEnum):
    """Why a capture can't be read."""

    UNREADABLE = "capture-unreadable"
    TOO_LARGE = "capture-too-large"
    NOT_A_CAPTURE = "not-a-capture"


class CaptureError(CommandError):
    """The file is no capture that can be read."""


class Frame(NamedTuple):
    """One captured frame; ``when`` in seconds since the epoch, ``link`` its LINKTYPE_... .

    ``octets`` may be fewer than the ``length`` that the frame had: tcpdump's ``-s`` cuts it.
    """

    when: float
    link: int
    octets: bytes
    length: int


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield the file's frames; what is broken ends it. Raises CaptureError."""
    content = _read_file(path)
    frames = _choose_format(content)
    if frames is None:
        raise CaptureError(CaptureCode.NOT_A_CAPTURE, f"{path} is neither a pcap nor a pcapng file")
    last = 0.0
    for frame in frames:
        # a moment that can't be is that of the frame before
        last = frame.when if 0.0 <= frame.when < _MAX_MOMENT else last
        yield frame._replace(when=last)


def _read_file(path: Path) -> bytes:
    too_large = CaptureError(
        CaptureCode.TOO_LARGE, f"{path} is larger than {_MAX_FILE >> 20} MB", "cut out the boot"
    )
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CaptureError(CaptureCode.UNREADABLE, f"{path}: {why}") from error
    if content.startswith(_GZIP):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            content = unpacker.decompress(content, _MAX_FILE + 1)
        except zlib.error as error:
            raise CaptureError(CaptureCode.UNREADABLE, f"{path}: {error}") from error
    if len(content) > _MAX_FILE:
        raise too_large
    return content


def _choose_format(content: bytes) -> Iterator[Frame] | None:
    head = content[:4]
    if int.from_bytes(head) == _SECTION:
        return _read_blocks(content)
    for order in ("<", ">"):
        known = _PCAP.get(struct.unpack(f"{order}I", head)[0]) if len(head) == 4 else None
        if known is not None and len(content) >= 24:
            return _read_records(content, order, *known)
    return None


def _read_records(content: bytes, order: str, unit: float, head: int) -> Iterator[Frame]:
    link = struct.unpack_from(f"{order}I", content, 20)[0] & 0xFFFF
    at = 24
    while at + head <= len(content):
        seconds, fraction, kept, length = struct.unpack_from(f"{order}IIII", content, at)
        if kept > _MAX_FRAME:
            return
        at += head
        yield Frame(seconds + fraction * unit, link, content[at : at + kept], length)
        at += kept


def _read_blocks(content: bytes) -> Iterator[Frame]:
    """Read pcapng: sections of either byte order, interfaces with their own units."""
    order, at = "<", 0
    links: list[tuple[int, float]] = []
    last = 0.0
    while at + 12 <= len(content):
        kind = struct.unpack_from(f"{order}I", content, at)[0]
        if kind == _SECTION:
            order = "<" if content[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            links = []
        size = struct.unpack_from(f"{order}I", content, at + 4)[0]
        if size < 12 or size % 4 or at + size > len(content):
            return
        body = content[at + 8 : at + size - 4]
        if kind == _INTERFACE and len(body) >= 8:
            links.append((struct.unpack_from(f"{order}H", body)[0], _read_unit(body[8:], order)))
        frame = _read_packet(kind, body, order, links, last)
        if frame is not None:
            last = frame.when
            yield frame
        at += size


def _read_packet(
    kind: int, body: bytes, order: str, links: list[tuple[int, float]], last: float
) -> Frame | None:
    """Read a block that holds a packet; one without a time has that of the ``last``."""
    if kind == _SIMPLE_PACKET and len(body) >= 4 and links:
        (length,) = struct.unpack_from(f"{order}I", body)
        return Frame(last, links[0][0], body[4 : 4 + length], length)
    if kind not in (_PACKET, _OLD_PACKET) or len(body) < 20:
        return None
    number, high, low, kept, length = struct.unpack_from(f"{order}IIIII", body)
    if kind == _OLD_PACKET:  # interface and count of drops, 16 bits each
        (number,) = struct.unpack_from(f"{order}H", body)
    if number >= len(links):
        return None
    link, unit = links[number]
    return Frame((high << 32 | low) * unit, link, body[20 : 20 + kept], length)


def _read_unit(options: bytes, order: str) -> float:
    """Return the unit of an interface's times, seconds."""
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(f"{order}HH", options, at)
        if code == _TIME_UNIT and length == 1 and at + 4 < len(options):
            value = options[at + 4]
            return float(2.0 ** -(value & 0x7F)) if value & 0x80 else float(10.0**-value)
        at += 4 + (length + 3 & ~3)
    return 1e-6
