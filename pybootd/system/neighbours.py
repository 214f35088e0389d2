"""Which hardware address is behind an IP address: the system's own table (ARP).

The kernel asked or was asked on the wire; no packet of DHCP, TFTP or HTTP can write there.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address

from pybootd.system.interfaces import Interface, list_interfaces

if sys.platform == "linux":
    import fcntl

LOOK_AGAIN_S = 1.0
"""Seconds between two looks at the interfaces, where none is on the network of an address."""
_SIOCGARP = 0x8954  # arp(7)
_ATF_COM = 0x02  # the entry is complete
# struct arpreq: two socket addresses, flags, a netmask, the interface's name
_REQUEST = struct.Struct("=HH4s8x16sI16s16s")
_FAMILY = struct.Struct("=H")


class NeighbourTable:
    """Asks the system; ``clock`` is that of the loop (monotonic seconds)."""

    def __init__(
        self,
        clock: Callable[[], float],
        find_interfaces: Callable[[], Iterable[Interface]] = list_interfaces,
    ) -> None:
        self._clock = clock
        self._find_interfaces = find_interfaces
        self._interfaces: list[Interface] = []
        self._looked = float("-inf")
        self._socket: socket.socket | None = None

    def find_hardware_address(self, address: IPv4Address | IPv6Address) -> bytes | None:
        """Return the hardware address behind an address on one of our links.

        None: the system has not seen it, it is behind a router, or this system can't tell.
        """
        if sys.platform != "linux" or not isinstance(address, IPv4Address):
            return None
        names = self._find_links(address)
        if not names and self._clock() - self._looked >= LOOK_AGAIN_S:
            self._looked = self._clock()
            with contextlib.suppress(OSError):
                self._interfaces = list(self._find_interfaces())
            names = self._find_links(address)
        for name in names:
            found = self._ask_system(address, name)
            if found is not None:
                return found
        return None

    def close(self) -> None:
        """Give the socket back; may be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _find_links(self, address: IPv4Address) -> list[str]:
        return [
            one.name
            for one in self._interfaces
            if any(address in own.network for own in one.addresses)
        ]

    def _ask_system(self, address: IPv4Address, interface: str) -> bytes | None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        family = _FAMILY.pack(socket.AF_INET)
        asked = _REQUEST.pack(
            socket.AF_INET, 0, address.packed, b"", 0, family, interface.encode()[:15]
        )
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGARP, asked)
        except OSError:  # ENXIO: no such entry
            return None
        hardware, flags = _REQUEST.unpack(answer)[3:5]
        mac = hardware[2:8]
        return mac if flags & _ATF_COM and any(mac) else None
