"""UDP datagrams out of a capture file: pcap or pcapng, Ethernet, Linux "any", or bare IP."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from pybootd.commands.display import CommandError

_PCAP = {0xA1B2C3D4: 1e-6, 0xA1B23C4D: 1e-9}  # magic number: the unit of the fractions
_SECTION, _INTERFACE, _PACKET, _SIMPLE = 0x0A0D0D0A, 1, 6, 3
_TIME_UNIT = 9  # if_tsresol
_ETHERNET, _RAW, _SLL, _SLL2 = 1, (12, 14, 101, 228), 113, 276  # LINKTYPE_...
_VLAN = (0x8100, 0x88A8)
_MAX_FILE = 1 << 30  # octets of a file


class CaptureCode(StrEnum):
    """Why a capture can't be read."""

    UNREADABLE = "capture-unreadable"
    TOO_LARGE = "capture-too-large"
    NOT_A_CAPTURE = "not-a-capture"


class CaptureError(CommandError):
    """The file is no capture that can be read."""


class Datagram(NamedTuple):
    """One UDP datagram; ``when`` in seconds since the epoch."""

    when: float
    source: IPv4Address
    source_port: int
    target: IPv4Address
    target_port: int
    data: bytes


def read_capture(path: Path) -> Iterator[Datagram]:
    """Yield the file's UDP datagrams in order, cut or broken ones left out. Raises CaptureError."""
    try:
        if path.stat().st_size > _MAX_FILE:
            raise CaptureError(
                CaptureCode.TOO_LARGE,
                f"{path} is larger than {_MAX_FILE >> 20} MB",
                "cut out the boot",
            )
        content = path.read_bytes()
    except OSError as error:
        raise CaptureError(CaptureCode.UNREADABLE, f"{path}: {error.strerror}") from error
    for when, link, frame in _read_frames(path, content):
        datagram = _unpack_datagram(when, link, frame)
        if datagram is not None:
            yield datagram


def _read_frames(path: Path, content: bytes) -> Iterator[tuple[float, int, bytes]]:
    head = content[:4]
    if int.from_bytes(head) == _SECTION:
        return _read_blocks(content)
    for order in ("<", ">"):
        unit = _PCAP.get(struct.unpack(f"{order}I", head)[0]) if len(head) == 4 else None
        if unit is not None and len(content) >= 24:
            return _read_records(content, order, unit)
    raise CaptureError(CaptureCode.NOT_A_CAPTURE, f"{path} is neither a pcap nor a pcapng file")


def _read_records(content: bytes, order: str, unit: float) -> Iterator[tuple[float, int, bytes]]:
    link = struct.unpack_from(f"{order}I", content, 20)[0] & 0xFFFF
    at = 24
    while at + 16 <= len(content):
        seconds, fraction, kept, _ = struct.unpack_from(f"{order}IIII", content, at)
        at += 16
        yield seconds + fraction * unit, link, content[at : at + kept]
        at += kept


def _read_blocks(content: bytes) -> Iterator[tuple[float, int, bytes]]:
    """Read pcapng: sections of either byte order, interfaces with their own units."""
    order, at = "<", 0
    links: list[tuple[int, float]] = []
    while at + 12 <= len(content):
        kind = struct.unpack_from(f"{order}I", content, at)[0]
        if kind == _SECTION:
            order = "<" if content[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            links = []
        size = struct.unpack_from(f"{order}I", content, at + 4)[0]
        body = content[at + 8 : at + size - 4]
        if size < 12 or at + size > len(content):
            return
        at += size
        if kind == _INTERFACE and len(body) >= 8:
            links.append((struct.unpack_from(f"{order}H", body)[0], _unit(body[8:], order)))
        elif kind == _PACKET and len(body) >= 20:
            number, high, low, kept = struct.unpack_from(f"{order}IIII", body)
            if number < len(links):
                link, unit = links[number]
                yield (high << 32 | low) * unit, link, body[20 : 20 + kept]
        elif kind == _SIMPLE and links:
            yield 0.0, links[0][0], body[4:]


def _unit(options: bytes, order: str) -> float:
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(f"{order}HH", options, at)
        if code == _TIME_UNIT and length == 1:
            value = options[at + 4]
            return float(2.0 ** -(value & 0x7F)) if value & 0x80 else float(10.0**-value)
        at += 4 + (length + 3 & ~3)
    return 1e-6


def _unpack_datagram(when: float, link: int, frame: bytes) -> Datagram | None:
    packet = _ip_packet(link, frame)
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != 17:
        return None
    if int.from_bytes(packet[6:8]) & 0x3FFF:  # a fragment
        return None
    header = (packet[0] & 15) * 4
    if header < 20 or len(packet) < header + 8:
        return None
    total = int.from_bytes(packet[2:4])
    source_port, target_port, length = struct.unpack_from("!HHH", packet, header)
    data = packet[header + 8 : min(total, header + length)]
    source, target = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    return Datagram(when, source, source_port, target, target_port, data)


def _ip_packet(link: int, frame: bytes) -> bytes:
    if link in _RAW:
        return frame
    if link == _ETHERNET:
        at = 12
        while int.from_bytes(frame[at : at + 2]) in _VLAN:
            at += 4
        return frame[at + 2 :] if frame[at : at + 2] == b"\x08\x00" else b""
    if link == _SLL:
        return frame[16:] if frame[14:16] == b"\x08\x00" else b""
    if link == _SLL2:
        return frame[20:] if frame[:2] == b"\x08\x00" else b""
    return b""
