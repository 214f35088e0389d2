"""TFTP packets: bytes <-> values (RFC 1350, 2347).

Names and option values are UTF-8 with surrogateescape, so that no octet of them gets lost.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

DATA_HEADER = 4
"""Octets in front of a block (RFC 1350 5)."""
LARGEST = DATA_HEADER + 65464
"""The longest packet in octets: DATA with the largest block (RFC 2348)."""

MAX_ERROR_CHARACTERS = 400
"""Characters of an ERROR's text."""

_WORDS = struct.Struct(">HH")


class TftpPacketError(ValueError):
    """Bytes that are no TFTP packet, or values that no packet can hold; the text says why."""


class Opcode(IntEnum):
    """The kinds of packet (RFC 1350 5, RFC 2347)."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


_REQUESTS = frozenset((Opcode.RRQ, Opcode.WRQ))


class ErrorCode(IntEnum):
    """Why a transfer ends early (RFC 1350 appendix, RFC 2347)."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TRANSFER = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTIONS_REFUSED = 8


Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Rrq:
    """Read request. ``mode`` is lower case; ``options`` keep their order, repetitions included."""

    name: str
    mode: str = "octet"
    options: Options = ()


@dataclass(frozen=True, slots=True)
class Wrq:
    """Write request; as Rrq."""

    name: str
    mode: str = "octet"
    options: Options = ()


@dataclass(frozen=True, slots=True)
class Data:
    """One block of a file; ``block`` is the number on the wire, 0 to 65535."""

    block: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to ``block`` has arrived."""

    block: int


@dataclass(frozen=True, slots=True)
class Error:
    """The transfer is over; a code that no table knows is kept as its number."""

    code: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Oack:
    """The options that are granted (RFC 2347)."""

    options: Options


Packet = Rrq | Wrq | Data | Ack | Error | Oack


def decode(data: bytes) -> Packet:
    """Read one datagram; raises TftpPacketError."""
    if len(data) > LARGEST:
        raise TftpPacketError(f"{len(data)} octets are more than any TFTP packet has")
    if len(data) < 2:
        raise TftpPacketError("shorter than an opcode")
    opcode = int.from_bytes(data[:2])
    if opcode in _REQUESTS:
        return _decode_request(opcode, data[2:])
    if opcode == Opcode.OACK:
        return Oack(_decode_options(data[2:].split(b"\0")))
    if not Opcode.DATA <= opcode <= Opcode.ERROR:
        raise TftpPacketError(f"unknown opcode {opcode}")
    if len(data) < 4:
        raise TftpPacketError(f"{Opcode(opcode).name} without a number")
    number = int.from_bytes(data[2:4])
    if opcode == Opcode.DATA:
        return Data(number, data[4:])
    if opcode == Opcode.ACK:
        return Ack(number)  # what follows the number is padding
    return Error(number, _text(data[4:].partition(b"\0")[0]))


@lru_cache(256)  # when a rack powers on, every machine asks the same
def _decode_request(opcode: int, body: bytes) -> Rrq | Wrq:
    parts = body.split(b"\0")
    if len(parts) < 3:  # each string ends in NUL, so the last part is what follows the last NUL
        raise TftpPacketError(f"{Opcode(opcode).name} without NUL behind its name and mode")
    name, mode = _text(parts[0]), _text(parts[1]).lower()
    options = _decode_options(parts[2:])
    return Rrq(name, mode, options) if opcode == Opcode.RRQ else Wrq(name, mode, options)


def _decode_options(parts: list[bytes]) -> Options:
    """Pair names with values; a name without a whole value, or without a letter, is left out."""
    pairs = zip(parts[:-1:2], parts[1:-1:2], strict=False)
    return tuple((_text(name), _text(value)) for name, value in pairs if name)


def encode(packet: Packet) -> bytes:
    """Write one datagram; raises TftpPacketError for values that don't fit."""
    match packet:
        case Rrq(name, mode, options):
            return _strings(Opcode.RRQ, name, mode, *_flat(options))
        case Wrq(name, mode, options):
            return _strings(Opcode.WRQ, name, mode, *_flat(options))
        case Oack(options):
            return _strings(Opcode.OACK, *_flat(options))
        case Data(block, payload):
            return _words(Opcode.DATA, block) + payload
        case Ack(block):
            return _words(Opcode.ACK, block)
        case Error(code, message):
            return _words(Opcode.ERROR, code) + _string(message)


_DATA = Opcode.DATA << 16
_ACK = Opcode.ACK << 16


def data_header(block: int) -> bytes:
    """Write the first four octets of a block's packet; a number beyond 16 bits wraps to 0."""
    return (_DATA | block & 0xFFFF).to_bytes(4)


def ack_packet(block: int) -> bytes:
    """Write what acknowledges a block; a number beyond 16 bits wraps to 0."""
    return (_ACK | block & 0xFFFF).to_bytes(4)


def error_packet(code: ErrorCode, why: str) -> bytes:
    """Write an ERROR for people: what no packet can hold is replaced, and a long text is cut."""
    return encode(Error(code, why.replace("\0", "?")[:MAX_ERROR_CHARACTERS]))


def _flat(options: Options) -> list[str]:
    return [text for pair in options for text in pair]


def _words(opcode: Opcode, number: int) -> bytes:
    try:
        return _WORDS.pack(opcode, number)
    except struct.error:
        raise TftpPacketError(f"{opcode.name}: {number} does not fit 16 bits") from None


def _strings(opcode: Opcode, *texts: str) -> bytes:
    return opcode.to_bytes(2) + b"".join(map(_string, texts))


def _string(text: str) -> bytes:
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        octets = text.encode("utf-8", "replace")
    if b"\0" in octets:
        raise TftpPacketError(f"a NUL inside of {text!r}")
    return octets + b"\0"


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
