"""DHCP messages on a wire, each with the MAC that its frame went to."""

import ctypes
import socket
import struct
from dataclasses import dataclass

import pytest

from pybootd.dhcp4.wire.packet import (
    BOOTREPLY,
    BOOTREQUEST,
    BROADCAST_FLAG,
    DhcpPacketError,
    MessageType,
    Packet,
    decode,
)
from pybootd.lab.network import Host

BROADCAST, EVERYBODY = b"\xff" * 6, "255.255.255.255"
_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26  # socket(7)
# IPv4, UDP, source port 67 or 68: files that go over the same wire would fill the buffer
_FILTER = (
    (0x28, 0, 0, 12),
    (0x15, 0, 6, 0x0800),
    (0x30, 0, 0, 23),
    (0x15, 0, 4, 17),
    (0x28, 0, 0, 34),
    (0x15, 1, 0, 67),
    (0x15, 0, 1, 68),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


@dataclass
class Frame:
    """One DHCP message, and the MAC and the address that it went to."""

    target: bytes
    to: str
    packet: Packet

    @property
    def kind(self) -> int:
        return self.packet.options[53][0]


class Capture:
    """The DHCP messages that cross an interface of a host, in both directions."""

    def __init__(self, host: Host) -> None:
        self.frames: list[Frame] = []
        with host.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            program = ctypes.create_string_buffer(
                b"".join(struct.pack("HBBI", *i) for i in _FILTER)
            )
            where = struct.pack("HL", len(_FILTER), ctypes.addressof(program))
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)
            self.socket.bind(("eth0", _ETH_P_ALL))
        self.socket.setblocking(False)

    def read(self) -> list[Frame]:
        while True:
            try:
                data = self.socket.recv(4096)
            except BlockingIOError:
                return self.frames
            try:
                packet = decode(data[42:])
            except DhcpPacketError as error:  # pragma: no cover
                pytest.fail(f"octets on port 67 or 68: {error}")
            self.frames.append(Frame(data[:6], socket.inet_ntoa(data[30:34]), packet))

    def kinds(self) -> list[int]:
        return [frame.kind for frame in self.read()]

    def last(self, kind: int) -> Frame:
        return [frame for frame in self.read() if frame.kind == kind][-1]


def delivered(frames: list[Frame], mac: str) -> set[str]:
    """Check that each OFFER and ACK of this client's went the way that its request asked for.

    Tells which ways there were, ``unicast`` and ``broadcast`` (RFC 2131 4.1).
    """
    own, ways = bytes.fromhex(mac.replace(":", "")), set()
    flags: dict[tuple[int, int], int] = {}
    answers = {MessageType.OFFER: MessageType.DISCOVER, MessageType.ACK: MessageType.REQUEST}
    for frame in frames:
        packet = frame.packet
        if packet.chaddr != own:
            continue
        if packet.op == BOOTREQUEST:
            flags[packet.xid, frame.kind] = packet.flags
        elif packet.op == BOOTREPLY and frame.kind in answers:
            asked = flags[packet.xid, answers[MessageType(frame.kind)]]
            broadcast = asked & BROADCAST_FLAG
            ways.add("broadcast" if broadcast else "unicast")
            there = (BROADCAST, EVERYBODY) if broadcast else (own, str(packet.yiaddr))
            assert (frame.target, frame.to) == there
    return ways
