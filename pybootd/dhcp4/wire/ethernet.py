"""Below UDP: IPv4 packets and ARP queries, encoded (RFC 768, RFC 791, RFC 826)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

ETH_IP, ETH_ARP = 0x0800, 0x0806
BROADCAST_MAC = b"\xff" * 6

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_PROTOCOL_UDP = 17


def checksum(data: bytes) -> int:
    """Compute the Internet checksum (RFC 1071): 16-bit ones' complement, of whole words."""
    if len(data) % 2:
        data += b"\0"
    # a number modulo 0xffff is the ones' complement sum of its 16-bit digits
    return -int.from_bytes(data) % 0xFFFF


def encode_datagram(
    data: bytes, source: IPv4Address, target: IPv4Address, sport: int, port: int
) -> bytes:
    """Wrap octets in UDP and IPv4 (RFC 768, RFC 791)."""
    length = _UDP.size + len(data)
    pseudo = source.packed + target.packed + struct.pack("!HH", _PROTOCOL_UDP, length)
    total = checksum(pseudo + _UDP.pack(sport, port, length, 0) + data) or 0xFFFF
    head = (0x45, 0, _IP.size + length, 0, 0, 64, _PROTOCOL_UDP)
    header = _IP.pack(*head, 0, source.packed, target.packed)
    header = _IP.pack(*head, checksum(header), source.packed, target.packed)
    return header + _UDP.pack(sport, port, length, total) + data


def encode_arp_probe(mac: bytes, address: IPv4Address) -> bytes:
    """Ask who uses the address, without claiming one (RFC 5227 2.1.1)."""
    return _ARP.pack(1, ETH_IP, 6, 4, 1, mac, bytes(4), bytes(6), address.packed)


def decode_arp_sender(data: bytes) -> tuple[bytes, bytes] | None:
    """Read who sent an ARP packet: MAC and address, 6 and 4 octets; None: it is cut off."""
    return (data[8:14], data[14:18]) if len(data) >= _ARP.size else None
