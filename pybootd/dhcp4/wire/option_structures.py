"""Option values that are lists of structures: domain names, routes, sub-options."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

from pybootd.dhcp4.wire.option_types import HEX, OptionType, parse_address, split_items

MAX_POINTERS = 32
"""Compression pointers in one domain name (RFC 1035 4.1.4): a loop of them ends there."""

_LABEL = re.compile(rb"[!-+\--:<-~]{1,63}")  # printable, and no blank, comma or semicolon


class DomainListType(OptionType[tuple[str, ...]]):
    """Domain names, at least one (RFC 1035 3.1); written uncompressed, as RFC 3397 allows."""

    def from_wire(self, octets: bytes) -> tuple[str, ...]:
        """Read names one after the other, compressed ones too (RFC 3397 2)."""
        names, at = [], 0
        while at < len(octets):
            labels, at = _read_labels(octets, at)
            names.append(".".join(labels))
        if not names:
            raise ValueError("at least one domain name is needed")
        return tuple(names)

    def to_wire(self, value: tuple[str, ...]) -> bytes:
        """Write each name with all of its labels."""
        return b"".join(
            b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.split("."))
            + b"\0"
            for name in value
        )

    def from_text(self, text: str) -> tuple[str, ...]:
        """Read ``example.com, example.org``; names with other letters too (IDNA)."""
        names = []
        for item in split_items(text):
            try:
                name = item.rstrip(".").encode("idna").decode("ascii")
            except UnicodeError:
                name = ""
            if not all(_LABEL.fullmatch(label.encode()) for label in name.split(".")):
                raise ValueError(f"{item!r} is no domain name")
            names.append(name)
        if not names:
            raise ValueError("at least one domain name is needed")
        return tuple(names)

    def to_text(self, value: tuple[str, ...]) -> str:
        """Write ``example.com, example.org``."""
        return ", ".join(value)


class RouteListType(OptionType[tuple[tuple[IPv4Network, IPv4Address], ...]]):
    """Classless routes, networks with their routers, at least one (RFC 3442)."""

    def from_wire(self, octets: bytes) -> tuple[tuple[IPv4Network, IPv4Address], ...]:
        """Read a prefix length, the octets of the network that count, and a router."""
        routes, at = [], 0
        while at < len(octets):
            bits = octets[at]
            end = at + 1 + (bits + 7) // 8
            if bits > 32 or end + 4 > len(octets):
                raise ValueError("a route is cut off, or its prefix is longer than 32 bits")
            network = IPv4Network((octets[at + 1 : end].ljust(4, b"\0"), bits))
            routes.append((network, IPv4Address(octets[end : end + 4])))
            at = end + 4
        if not routes:
            raise ValueError("at least one route is needed")
        return tuple(routes)

    def to_wire(self, value: tuple[tuple[IPv4Network, IPv4Address], ...]) -> bytes:
        """Write a prefix length, the octets of the network that count, and a router."""
        return b"".join(
            bytes((network.prefixlen,))
            + network.network_address.packed[: (network.prefixlen + 7) // 8]
            + router.packed
            for network, router in value
        )

    def from_text(self, text: str) -> tuple[tuple[IPv4Network, IPv4Address], ...]:
        """Read ``10.0.0.0/8 10.0.0.1, 0.0.0.0/0 10.0.0.2``."""
        items = split_items(text)
        if not items or len(items) % 2:
            raise ValueError("routes are written NET/LEN GATEWAY, NET/LEN GATEWAY, ...")
        routes = []
        for target, gateway in zip(items[::2], items[1::2], strict=True):
            try:
                network = IPv4Network(target)
            except ValueError:
                raise ValueError(f"{target!r} is no network") from None
            routes.append((network, parse_address(gateway)))
        return tuple(routes)

    def to_text(self, value: tuple[tuple[IPv4Network, IPv4Address], ...]) -> str:
        """Write ``10.0.0.0/8 10.0.0.1, 0.0.0.0/0 10.0.0.2``."""
        return ", ".join(f"{network} {router}" for network, router in value)


class SubOptionsType(OptionType[tuple[tuple[int, bytes], ...]]):
    """Options in an option: code, length and value of each (RFC 3046 2.0)."""

    def from_wire(self, octets: bytes) -> tuple[tuple[int, bytes], ...]:
        """Read the sub-options in their order."""
        found, at = [], 0
        while at < len(octets):
            end = at + 2 + (octets[at + 1] if at + 1 < len(octets) else 0)
            if at + 2 > len(octets) or end > len(octets):
                raise ValueError("a sub-option is cut off")
            found.append((octets[at], octets[at + 2 : end]))
            at = end
        if not found:
            raise ValueError("at least one sub-option is needed")
        return tuple(found)

    def to_wire(self, value: tuple[tuple[int, bytes], ...]) -> bytes:
        """Write the sub-options in their order."""
        return b"".join(bytes((code, len(octets))) + octets for code, octets in value)

    def from_text(self, text: str) -> tuple[tuple[int, bytes], ...]:
        """Read ``1=65:74:68:30, 2=00``."""
        found = []
        for item in re.split(r"[,;\s]+", text):
            code, equals, digits = item.partition("=")
            if not equals or not code.isdecimal() or int(code) > 255:
                raise ValueError("sub-options are written CODE=01:02:ab, CODE=...")
            octets = HEX.from_text(digits) if digits else b""
            if len(octets) > 255:
                raise ValueError("a sub-option holds 255 octets at most")
            found.append((int(code), octets))
        return tuple(found)

    def to_text(self, value: tuple[tuple[int, bytes], ...]) -> str:
        """Write ``1=65:74:68:30, 2=00``."""
        return ", ".join(f"{code}={octets.hex(':')}" for code, octets in value)


def _read_labels(octets: bytes, at: int) -> tuple[list[str], int]:
    """Read one domain name; returns its labels, and where the next name begins."""
    labels: list[str] = []
    behind, pointers = 0, 0
    while at < len(octets):
        length = octets[at]
        if length >= 0xC0 and at + 1 < len(octets):
            behind = behind or at + 2
            at = int.from_bytes(octets[at : at + 2]) & 0x3FFF
            pointers += 1
            if pointers > MAX_POINTERS:
                break
        elif length == 0 and labels:
            return labels, behind or at + 1
        else:
            label = octets[at + 1 : at + 1 + length]
            if length > 63 or len(label) < length or not _LABEL.fullmatch(label) or b"." in label:
                break
            labels.append(label.decode("ascii"))
            at += 1 + length
    raise ValueError("a domain name is cut off, or holds what no name may hold")
