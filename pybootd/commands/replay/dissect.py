"""UDP datagrams and TCP segments out of captured frames, each once."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NamedTuple

from pybootd.commands.replay.pcap import Frame
from pybootd.core.bounded_map import BoundedMap

# LINKTYPE_...: see https://www.tcpdump.org/linktypes.html
_NULL, _ETHERNET, _LOOP, _WIFI, _SLL, _RADIOTAP, _SLL2 = 0, 1, 108, 105, 113, 127, 276
_RAW = frozenset((12, 14, 101, 228))
_PPP, _PPP_HDLC, _CISCO_HDLC, _PPPOE = 9, 50, 104, 51
_TAGS = (0x8100, 0x88A8, 0x9100)  # VLAN tags: IEEE 802.1Q, 802.1ad, and an older one
_IPV4, _PPPOE_SESSION, _MPLS = 0x0800, 0x8864, (0x8847, 0x8848)
_UDP, _TCP = 17, 6
_MORE, _OFFSET = 0x2000, 0x1FFF  # of the fragment field (RFC 791 3.1)
_DOUBLED_S = 0.005  # a bridge's ports and the bridge show a frame within that time
_MAX_RECENT = 4096  # packets that are remembered, to find doubled ones


class Datagram(NamedTuple):
    """One UDP datagram; ``when`` in seconds since the epoch.

    ``data`` may be shorter than the ``length`` that was sent: the capture cut it, or it is the
    first fragment of a larger one.
    """

    when: float
    source: IPv4Address
    source_port: int
    target: IPv4Address
    target_port: int
    data: bytes
    length: int

    @property
    def is_cut(self) -> bool:
        """Tell whether the capture holds a part of it alone."""
        return len(self.data) < self.length


class Segment(NamedTuple):
    """One TCP segment, as ``Datagram``; ``sequence`` is its first octet's number."""

    when: float
    source: IPv4Address
    source_port: int
    target: IPv4Address
    target_port: int
    data: bytes
    length: int
    sequence: int
    acknowledged: int
    flags: int


@dataclass(slots=True)
class CaptureNotes:
    """What is to be known of a capture: how many packets are not as they were on the wire."""

    frames: int = 0
    cut: int = 0
    doubled: int = 0
    unknown_links: set[int] = field(default_factory=set)
    began: float = 0.0
    ended: float = 0.0
    fragmented: int = 0


class Dissector:
    """Takes frames, yields what they carry; ``notes`` says what was missing."""

    def __init__(self) -> None:
        self.notes = CaptureNotes()
        self._recent: BoundedMap[bytes, float] = BoundedMap(_MAX_RECENT)

    def dissect_frames(self, frames: Iterable[Frame]) -> Iterator[Datagram | Segment]:
        """Yield datagrams and segments in the order of their frames."""
        for frame in frames:
            notes = self.notes
            notes.frames += 1
            notes.began = frame.when if notes.frames == 1 else min(notes.began, frame.when)
            notes.ended = max(notes.ended, frame.when)
            packet = find_ip_packet(frame.link, frame.octets)
            if packet is None:
                notes.unknown_links.add(frame.link)
                continue
            carried = self._dissect_packet(frame.when, packet)
            if carried is not None:
                notes.cut += len(frame.octets) < frame.length
                yield carried

    def _dissect_packet(self, when: float, packet: bytes) -> Datagram | Segment | None:
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] not in (_UDP, _TCP):
            return None
        header = (packet[0] & 15) * 4
        total = int.from_bytes(packet[2:4]) or len(packet)  # 0: left to the card (TSO)
        if header < 20 or total < header:
            return None
        payload, length = packet[header:total], total - header
        # without what a router changes: TTL and checksum
        if self._is_doubled(when, packet[:8] + packet[9:10] + packet[12:20] + payload):
            self.notes.doubled += 1
            return None
        fragment = int.from_bytes(packet[6:8])
        if fragment & _OFFSET:
            return None  # the first has the ports, and says how long the whole is
        self.notes.fragmented += bool(fragment & _MORE)
        source, target = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        if packet[9] == _UDP:
            return _read_datagram(when, source, target, payload)
        return _read_segment(when, source, target, payload, length)

    def _is_doubled(self, when: float, content: bytes) -> bool:
        before = self._recent.get(content)
        self._recent[content] = when
        return before is not None and 0 <= when - before < _DOUBLED_S


def _read_datagram(
    when: float, source: IPv4Address, target: IPv4Address, payload: bytes
) -> Datagram | None:
    if len(payload) < 8:
        return None
    source_port, target_port, length = struct.unpack_from("!HHH", payload)
    if length < 8:
        return None
    data = payload[8:length]
    return Datagram(when, source, source_port, target, target_port, data, length - 8)


def _read_segment(
    when: float, source: IPv4Address, target: IPv4Address, payload: bytes, length: int
) -> Segment | None:
    if len(payload) < 20:
        return None
    source_port, target_port, sequence, acknowledged = struct.unpack_from("!HHII", payload)
    header = (payload[12] >> 4) * 4
    if header < 20 or length < header:
        return None
    data = payload[header:]
    return Segment(
        when,
        source,
        source_port,
        target,
        target_port,
        data,
        length - header,
        sequence,
        acknowledged,
        payload[13],
    )


def find_ip_packet(link: int, frame: bytes) -> bytes | None:
    """Return the IPv4 packet in a frame, b"" where it carries none; None: an unknown link type."""
    if link in _RAW:
        return frame
    if link == _ETHERNET:
        return _skip_tags(frame, 12)
    if link == _SLL:
        return _skip_tags(frame, 14)
    if link == _SLL2:
        return _skip_tags(frame, 0, after=20)
    if link in (_NULL, _LOOP):  # the address family, 2 in the byte order of the host
        return frame[4:] if frame[:4] in (b"\0\0\0\2", b"\2\0\0\0") else b""
    if link == _RADIOTAP:
        skipped = int.from_bytes(frame[2:4], "little")
        return _find_in_wifi(frame[skipped:]) if skipped >= 8 else b""
    if link == _WIFI:
        return _find_in_wifi(frame)
    if link == _PPPOE:
        return _find_in_ppp(frame[6:])
    if link in (_PPP, _PPP_HDLC):
        return _find_in_ppp(frame[2:] if frame[:2] == b"\xff\x03" else frame)
    if link == _CISCO_HDLC:
        return frame[4:] if frame[2:4] == b"\x08\x00" else b""
    return None


def _skip_tags(frame: bytes, at: int, after: int = 0) -> bytes:
    """Follow VLAN tags, MPLS labels and PPPoE; ``at`` is where the EtherType stands.

    ``after``: where the payload begins, if not right behind the EtherType.
    """
    kind = int.from_bytes(frame[at : at + 2])
    rest = frame[after or at + 2 :]
    while kind in _TAGS and len(rest) >= 4:
        kind, rest = int.from_bytes(rest[2:4]), rest[4:]
    if kind == _PPPOE_SESSION:
        return _find_in_ppp(rest[6:])
    if kind in _MPLS:
        while len(rest) >= 4 and not rest[2] & 1:  # RFC 3032 2.1: bottom of stack
            rest = rest[4:]
        return rest[4:]
    return rest if kind == _IPV4 else b""


def _find_in_ppp(frame: bytes) -> bytes:
    return frame[2:] if frame[:2] == b"\x00\x21" else b""


def _find_in_wifi(frame: bytes) -> bytes:
    """Find IP in an 802.11 data frame that is not encrypted."""
    if len(frame) < 24 or frame[0] & 0x0C != 0x08 or frame[1] & 0x40:
        return b""
    at = 24 + (6 if frame[1] & 3 == 3 else 0) + (2 if frame[0] & 0x80 else 0)
    return frame[at + 8 :] if frame[at : at + 8] == b"\xaa\xaa\x03\0\0\0\x08\0" else b""
