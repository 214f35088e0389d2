"""What is known of clients, found by hardware address or by IP address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from pybootd.core.client import Client, IPAddress, KnownClient

K = TypeVar("K", bound=Hashable)


class Newcomers(Generic[K]):
    """Who has no address yet, the longest unheard first.

    When they are more than half of the ``limit`` that may be remembered they are forgotten before
    anybody else: a flood of ever new MACs makes no machine with an address forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: dict[K, None] = {}

    def add(self, name: K) -> None:
        """Note somebody who is new."""
        self._names[name] = None

    def heard(self, name: K) -> None:
        """Note that a stranger was heard of again; anybody else is left alone."""
        if name in self._names:
            del self._names[name]
            self._names[name] = None

    def discard(self, name: K) -> None:
        """Forget a name: it has an address now, or is gone."""
        self._names.pop(name, None)

    def first_to_go(self, everybody: Iterable[K]) -> K:
        """Name who is to be forgotten; ``everybody`` is those remembered, longest unheard first."""
        flooded = len(self._names) > self._limit // 2
        return next(iter(self._names if flooded else everybody))


class ClientTable:
    """What is known of clients, found by MAC or by address; the longest unseen go first.

    ``limit`` bounds how many are kept, so that a flood of made-up MACs costs bounded memory.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._by_mac: OrderedDict[bytes, KnownClient] = OrderedDict()
        self._strangers: Newcomers[bytes] = Newcomers(limit)
        self._by_address: dict[IPAddress, KnownClient] = {}

    def __len__(self) -> int:
        return len(self._by_mac)

    def by_mac(self, mac: bytes) -> KnownClient | None:
        """Return what is known of the client with this MAC."""
        return self._by_mac.get(mac)

    def by_address(self, address: IPAddress) -> KnownClient | None:
        """Return what is known of the client at this address."""
        return self._by_address.get(address)

    def seen(self, client: Client) -> KnownClient:
        """Note a request of the client and return what is known of it."""
        known = self._by_mac.get(client.mac)
        if known is None:
            known = self._by_mac[client.mac] = KnownClient(client)
            self._strangers.add(client.mac)
            if len(self._by_mac) > self._limit:
                mac = self._strangers.first_to_go(self._by_mac)
                self._strangers.discard(mac)
                self._forget(self._by_mac.pop(mac))
        else:
            self._by_mac.move_to_end(client.mac)
            self._strangers.heard(client.mac)
            known.client = client
        # the UUID comes with PXE requests alone; the system's plain DHCP request lacks it
        known.uuid = client.uuid or known.uuid
        return known

    def place(self, known: KnownClient, address: IPAddress | None) -> None:
        """Note that the client is at this address, and no other client is."""
        if known.address == address:
            return
        self._forget(known)
        if address is not None:
            earlier = self._by_address.get(address)
            if earlier is not None:
                earlier.address = None
            self._by_address[address] = known
            self._strangers.discard(known.client.mac)
        known.address = address

    def _forget(self, known: KnownClient) -> None:
        if known.address is not None and self._by_address.get(known.address) is known:
            del self._by_address[known.address]
