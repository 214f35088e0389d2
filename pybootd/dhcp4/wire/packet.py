"""BOOTP and DHCP on the wire: bytes <-> values (RFC 951, RFC 2131, RFC 2132, RFC 3396)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address

BOOTREQUEST, BOOTREPLY = 1, 2
BROADCAST_FLAG = 0x8000
COOKIE = b"\x63\x82\x53\x63"  # RFC 2131 3
MINIMUM = 300  # RFC 951 3: the BOOTP message; some relays drop what is shorter
NOBODY = IPv4Address(0)

_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
_FIXED = _HEADER.size  # 236
_START = _FIXED + len(COOKIE)
_ZERO = bytes(4)
_PAD, _OVERLOAD, _RELAY_AGENT, _END = 0, 52, 82, 255
_LONGEST = 255
_FILE_ROOM, _SNAME_ROOM = 128, 64


class DhcpPacketError(Exception):
    """Bytes that are no BOOTP or DHCP message; the text says why, for people.

    ``mac`` is the sender's hardware address as the bytes have it, empty where they end before it.
    """

    def __init__(self, problem: str, mac: bytes = b"") -> None:
        super().__init__(problem)
        self.mac = mac


class MessageType(IntEnum):
    """Option 53 (RFC 2132 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


# the same as names of this module: Python 3.11 takes 0.1 us to find a member of an enum
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = MessageType


@dataclass(slots=True)
class Packet:
    """One message, its fields named as in RFC 2131 table 1.

    ``chaddr`` is cut to hlen; ``sname`` and ``file`` end before their first NUL. ``options`` holds
    every option in the order in which it came, long ones joined (RFC 3396), those in ``sname`` and
    ``file`` included (option 52, which itself is not kept). ``cookie`` False: a vendor field that
    is not in RFC 1048 form, or none; it is not kept. An address of 0.0.0.0 is NOBODY itself, which
    is cheaper to tell than an equal one. ``cut_off``: the options stop in the middle of
    one, or without an END in a message that is shorter than BOOTP's; it counts in no comparison.
    """

    op: int = BOOTREQUEST
    htype: int = 1
    hops: int = 0
    xid: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = NOBODY
    yiaddr: IPv4Address = NOBODY
    siaddr: IPv4Address = NOBODY
    giaddr: IPv4Address = NOBODY
    chaddr: bytes = b""
    sname: bytes = b""
    file: bytes = b""
    options: dict[int, bytes] = field(default_factory=dict)
    cookie: bool = True
    cut_off: bool = field(default=False, compare=False)


def _address(octets: bytes) -> IPv4Address:
    return NOBODY if octets == _ZERO else IPv4Address(octets)


def decode(data: bytes) -> Packet:
    """Read one message, and of its options all that can be read; raises DhcpPacketError."""
    if len(data) < _FIXED:
        problem = f"{len(data)} octets are too few for a BOOTP message"
        raise DhcpPacketError(problem, _read_mac(data))
    (op, htype, hlen, hops, xid, secs, flags, ci, yi, si, gi, chaddr, sname, file) = (
        _HEADER.unpack_from(data)
    )
    if op not in (BOOTREQUEST, BOOTREPLY):
        raise DhcpPacketError(f"op {op} is neither request nor reply", _read_mac(data))
    if hlen > 16:
        raise DhcpPacketError(f"hardware address of {hlen} octets", _read_mac(data))
    options: dict[int, bytes] = {}
    cookie, cut_off = data[_FIXED:_START] == COOKIE, False
    if cookie:
        ended = _read_options(data, _START, options)
        cut_off = ended is None or (not ended and bool(options) and len(data) < MINIMUM)
        overload = options.pop(_OVERLOAD, None)
        if overload is not None:
            file, sname = _read_overloaded(overload, file, sname, options)
    return Packet(
        op,
        htype,
        hops,
        xid,
        secs,
        flags,
        _address(ci),
        _address(yi),
        _address(si),
        _address(gi),
        chaddr[:hlen],
        sname.partition(b"\0")[0],
        file.partition(b"\0")[0],
        options,
        cookie,
        cut_off,
    )


def _read_mac(data: bytes) -> bytes:
    """Return the hardware address of what may be no message; empty where it is cut off."""
    return data[28:34] if len(data) >= 34 else b""


def _read_options(data: bytes, at: int, options: dict[int, bytes]) -> bool | None:
    """Read options up to the END: True; False: there is none; None: the last one is cut off."""
    end = len(data)
    while at < end:
        code = data[at]
        at += 1
        if code == _PAD:
            continue
        if code == _END:
            return True
        if at == end or at + 1 + data[at] > end:
            return None  # a stray octet, or an option that was cut: the others count
        value = data[at + 1 : at + 1 + data[at]]
        at += 1 + len(value)
        # RFC 3396 5: one option in several pieces is the pieces joined
        options[code] = options[code] + value if code in options else value
    return False


def _read_overloaded(
    overload: bytes, file: bytes, sname: bytes, options: dict[int, bytes]
) -> tuple[bytes, bytes]:
    """Read the options that stand in ``file``, then in ``sname`` (RFC 2132 9.3, RFC 3396 5)."""
    if overload not in (b"\1", b"\2", b"\3"):
        return file, sname  # an illegal value: the fields are what they were without it
    if overload[0] & 1:
        _read_options(file, 0, options)
        file = b""
    if overload[0] & 2:
        _read_options(sname, 0, options)
        sname = b""
    options.pop(_OVERLOAD, None)  # RFC 2132 9.3: not among the overloaded ones
    return file, sname


def encode(packet: Packet, limit: int = 65507, *, overload: bool = True) -> bytes:
    """Write the message, padded to 300 octets and never over ``limit`` (octets, at least 300).

    Options that don't fit go to ``file`` and ``sname`` where these are empty (option 52), with
    ``overload``; those that don't fit there either are left out. Option 82 is the last (RFC 3046
    2.1), and left out where it alone is over the limit. Raises ValueError when a field is longer
    than its place.
    """
    if len(packet.sname) > _SNAME_ROOM or len(packet.file) > _FILE_ROOM:
        raise ValueError("sname holds 64 octets at most, file 128")
    if len(packet.chaddr) > 16:
        raise ValueError("chaddr holds 16 octets at most")
    file, sname, vendor = packet.file, packet.sname, b""
    if packet.cookie:
        sent = packet.options
        if _RELAY_AGENT in sent:
            sent = {code: value for code, value in sent.items() if code != _RELAY_AGENT}
            sent[_RELAY_AGENT] = packet.options[_RELAY_AGENT]
        vendor = b"".join(
            [
                bytes((code, len(value))) + value if len(value) <= _LONGEST else _piece(code, value)
                for code, value in sent.items()
            ]
        )
        if len(vendor) + _START + 1 > limit:
            file, sname, vendor = _place(packet, limit - _START - 1, overload)
        vendor = COOKIE + vendor + b"\xff"
    header = _HEADER.pack(
        packet.op,
        packet.htype,
        len(packet.chaddr),
        packet.hops,
        packet.xid,
        packet.secs,
        packet.flags,
        *[
            _ZERO if address is NOBODY else address.packed
            for address in (packet.ciaddr, packet.yiaddr, packet.siaddr, packet.giaddr)
        ],
        packet.chaddr,
        sname,
        file,
    )
    return (header + vendor).ljust(MINIMUM, b"\0")


def _piece(code: int, value: bytes) -> bytes:
    length = len(value)
    if length <= _LONGEST:
        return bytes((code, length)) + value
    return b"".join(_piece(code, value[at : at + _LONGEST]) for at in range(0, length, _LONGEST))


def _place(packet: Packet, room: int, may_overload: bool) -> tuple[bytes, bytes, bytes]:
    """Share the options among the three fields; returns ``file``, ``sname`` and the options."""
    last = packet.options.get(_RELAY_AGENT)
    tail = b"" if last is None else _piece(_RELAY_AGENT, last)
    if len(tail) > room:  # a part of it would mislead the relay
        tail = b""
    everything = [(c, v) for c, v in packet.options.items() if c != _RELAY_AGENT]
    needed = sum(len(_piece(code, value)) for code, value in everything)
    # three octets for option 52; RFC 3396 5 reads options, file, sname in this order
    free = may_overload and not (packet.file and packet.sname)
    overload = free and needed > room - len(tail) >= 3
    fields = [bytearray(), bytearray(), bytearray()]
    rooms = [
        room - len(tail) - (3 if overload else 0),
        _FILE_ROOM - 1 if overload and not packet.file else 0,
        _SNAME_ROOM - 1 if overload and not packet.sname else 0,
    ]
    for code, value in everything:
        _place_one(code, value, fields, rooms)
    used = (1 if fields[1] else 0) | (2 if fields[2] else 0)
    head = bytes((_OVERLOAD, 1, used)) if used else b""
    file = bytes(fields[1]) + b"\xff" if used & 1 else packet.file
    sname = bytes(fields[2]) + b"\xff" if used & 2 else packet.sname
    return file, sname, head + bytes(fields[0]) + tail


def _place_one(code: int, value: bytes, fields: list[bytearray], rooms: list[int]) -> None:
    """Put one option where it fits whole, or its pieces one field after the other, or nowhere."""
    pieces = [value[at : at + _LONGEST] for at in range(0, len(value), _LONGEST)] or [b""]
    chosen, number = [], 0
    left = list(rooms)
    for piece in pieces:
        while number < len(left) and left[number] < len(piece) + 2:
            number += 1
        if number == len(left):
            return
        left[number] -= len(piece) + 2
        chosen.append(number)
    for piece, number in zip(pieces, chosen, strict=True):
        fields[number] += _piece(code, piece)
    rooms[:] = left
