"""Network interfaces of this host, their addresses and MTU, and its name servers."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import netifaces

_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 1, 0x10  # rtnetlink(7)
# resolv.conf(5); where it names a local cache of systemd's alone, the second one has the real ones
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: its IPv4 addresses with their networks, and its MTU in octets."""

    name: str
    index: int
    addresses: tuple[IPv4Interface, ...]
    mac: bytes = b""
    mtu: int = 1500

    def address_towards(self, target: IPv4Address) -> IPv4Address | None:
        """Return this interface's own address on the target's network, else its first one."""
        for own in self.addresses:
            if target in own.network:
                return own.ip
        return self.addresses[0].ip if self.addresses else None


def list_interfaces() -> list[Interface]:
    """List the interfaces that exist now, with or without IPv4 addresses."""
    found = []
    for name in netifaces.interfaces():
        try:
            index = socket.if_nametoindex(name)
            families = netifaces.ifaddresses(name)
        except (OSError, ValueError):
            continue  # gone since it was listed, or an alias that the system doesn't number
        addresses = []
        for entry in families.get(netifaces.AF_INET, ()):
            mask = entry.get("mask") or entry.get("netmask") or "255.255.255.255"
            addresses.append(IPv4Interface(f"{entry['addr']}/{mask.partition('/')[0]}"))
        link = families.get(getattr(netifaces, "AF_PACKET", netifaces.AF_LINK), ())
        mac = bytes.fromhex(link[0].get("addr", "").replace(":", "")) if link else b""
        found.append(Interface(name, index, tuple(addresses), mac, mtu(name)))
    return found


def open_change_socket() -> socket.socket | None:
    """Open a socket that is readable when an interface or an address has come or gone, or None.

    None where the system doesn't tell (rtnetlink(7)).
    """
    if sys.platform != "linux":
        return None
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.setblocking(False)
        sock.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR))
    except OSError:
        sock.close()
        return None
    return sock


def name_servers() -> tuple[IPv4Address, ...]:
    """List the name servers that this host asks: IPv4, and such as others can ask, too."""
    for path in _RESOLVERS:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            continue
        found = []
        for words in map(str.split, lines):
            if words[:1] == ["nameserver"]:
                with contextlib.suppress(ValueError):  # an IPv6 address, or none
                    found.append(IPv4Address(words[1] if len(words) > 1 else ""))
        if usable := [address for address in found if not address.is_loopback]:
            return tuple(usable)
    return ()


def mtu(name: str) -> int:
    """Return the interface's MTU in octets; 1500 where the system does not tell."""
    try:
        return int(Path(f"/sys/class/net/{name}/mtu").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1500


def by_index(known: Iterable[Interface]) -> dict[int, Interface]:
    """Index interfaces by their number."""
    return {interface.index: interface for interface in known}
