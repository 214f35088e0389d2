"""Which addresses of a network the configuration lets a pool give, and to which clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network

from pybootd.core.client import IPAddress


class AddressRange:
    """``count`` addresses from ``start``, and those that ``static`` keeps for some MACs."""

    def __init__(
        self,
        network: IPv4Network | IPv6Network,
        start: IPAddress,
        count: int,
        static: Mapping[bytes, IPAddress],
    ) -> None:
        self.make_address = type(start)
        """Turns a number into an address of this family."""
        self.first = int(start)
        self.last = min(self.first + count - 1, int(network.broadcast_address))
        self._static = {mac: one for mac, one in static.items() if one in network}
        self._reserved = {int(address) for address in self._static.values()}
        self._edges: set[int] = set()
        if network.version == 4 and network.prefixlen < 31:  # RFC 3021: a /31 has neither
            self._edges = {int(network.network_address), int(network.broadcast_address)}
        self._own: set[int] = set()

    def set_excluded(self, addresses: Iterable[IPAddress]) -> None:
        """Note which addresses are the server's or a router's: they are never given."""
        self._own = {int(address) for address in addresses}

    def __contains__(self, number: int) -> bool:
        """Tell whether anybody may have the address."""
        return (
            self.first <= number <= self.last
            and number not in self._reserved
            and number not in self._edges
            and number not in self._own
        )

    def reserved_address(self, mac: bytes) -> int | None:
        """Return the address that is kept for this MAC."""
        address = self._static.get(mac)
        return None if address is None else int(address)

    def allows_client(self, number: int, mac: bytes) -> bool:
        """Tell whether this client may have the address."""
        if number in self:
            return True
        shared = number in self._own or number in self._edges
        return self.reserved_address(mac) == number and not shared
