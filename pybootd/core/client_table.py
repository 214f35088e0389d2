"""What is known of clients, found by identity or by IP address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
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
    """What is known of clients, found by identity or by address; the longest unseen go first.

    ``limit`` bounds how many are kept, so that a flood of made-up MACs costs bounded memory.

    An address belongs to the client to which we confirmed it. Beside another DHCP server it belongs
    to the client whose hardware address the system has seen behind it: ``find_neighbour`` returns
    that, None where it is not known. What a packet says of its sender's address counts for nothing.
    """

    def __init__(
        self,
        limit: int = 20_000,
        find_neighbour: Callable[[IPAddress], bytes | None] | None = None,
    ) -> None:
        self._limit = limit
        self._find_neighbour = find_neighbour
        self._by_identity: OrderedDict[bytes, KnownClient] = OrderedDict()
        self._strangers: Newcomers[bytes] = Newcomers(limit)
        self._by_address: dict[IPAddress, KnownClient] = {}

    def __len__(self) -> int:
        return len(self._by_identity)

    def find_by_identity(self, identity: bytes) -> KnownClient | None:
        """Return what is known of the client with this ``Client.identity``."""
        return self._by_identity.get(identity)

    def find_by_address(self, address: IPAddress) -> KnownClient | None:
        """Return what is known of the client that the address belongs to."""
        known = self._by_address.get(address)
        if known is not None and known.confirmed:
            return known
        mac = self._find_neighbour(address) if self._find_neighbour is not None else None
        if mac is None:
            return known  # what was seen before still stands
        seen = self._by_identity.get(mac)
        if seen is known:
            return known
        if known is not None:
            self.withdraw_address(known)
        if seen is None or not seen.proxied:
            return None
        if not seen.confirmed:
            self._move_client(seen, address)
        return seen

    def has_neighbour(self, address: IPAddress, mac: bytes) -> bool | None:
        """Tell whether this hardware address is behind the address; None: nobody knows."""
        found = self._find_neighbour(address) if self._find_neighbour is not None else None
        return None if found is None else found == mac

    def note_client(self, client: Client) -> KnownClient:
        """Note a request of the client and return what is known of it."""
        identity = client.identity
        known = self._by_identity.get(identity)
        if known is None:
            known = self._by_identity[identity] = KnownClient(client)
            self._strangers.add(identity)
            if len(self._by_identity) > self._limit:
                gone = self._strangers.first_to_go(self._by_identity)
                self._strangers.discard(gone)
                self.withdraw_address(self._by_identity.pop(gone))
        else:
            self._by_identity.move_to_end(identity)
            self._strangers.heard(identity)
            known.client = client
        # the UUID comes with PXE requests alone; the system's plain DHCP request lacks it
        known.uuid = client.uuid or known.uuid
        return known

    def confirm_address(self, known: KnownClient, address: IPAddress) -> None:
        """Note that we gave the client this address, and no other client has it."""
        known.confirmed = True
        if known.address != address:
            self._move_client(known, address)

    def withdraw_address(self, known: KnownClient) -> None:
        """Note that the client is at no address any more."""
        if known.address is not None and self._by_address.get(known.address) is known:
            del self._by_address[known.address]
        known.address, known.confirmed = None, False

    def _move_client(self, known: KnownClient, address: IPAddress) -> None:
        if known.address is not None and self._by_address.get(known.address) is known:
            del self._by_address[known.address]
        earlier = self._by_address.get(address)
        if earlier is not None:
            self.withdraw_address(earlier)
        self._by_address[address] = known
        self._strangers.discard(known.client.identity)
        known.address = address
