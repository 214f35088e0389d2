"""A pool whose addresses other daemons give, too."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from pybootd.core.client import IPAddress
from pybootd.leases.lease import NEVER, Lease, LeaseState
from pybootd.leases.pool import OFFER_HOLD_S, Pool


class SharedPool(Pool):
    """Offers are saved as well, and each daemon looks for a client's address at the same place.

    In need any daemon takes back any offer: the store, which knows whether it has been requested
    meanwhile, puts the new one in its place or refuses it.
    """

    _used_up = False  # every address has been given once

    def exclude_addresses(self, addresses: Iterable[IPAddress]) -> None:
        """Note which addresses are the server's or a router's: they are never given."""
        super().exclude_addresses(addresses)
        self._used_up = False

    def learn_lease(self, lease: Lease) -> None:
        """Take over what another daemon has made of the address; FREE: nobody's."""
        number = int(lease.address)
        before = self._by_address.get(number)
        lease.due, lease.given_back = NEVER, lease.state is LeaseState.RELEASED
        lease.checked = lease.state in (LeaseState.BOUND, LeaseState.RELEASED)
        if before is not None and before.owner:
            taken = _taken_back(before, lease)
            if taken and 0 < before.version < lease.version:
                self._offers.scarce_until = max(self._offers.scarce_until, lease.expires)
            idle = taken and before.state is LeaseState.OFFERED and not before.booted
            lease.checked |= before.checked and (before.owner == lease.owner or idle)
            if self._by_owner.get(before.owner) is before:
                del self._by_owner[before.owner]
        had = self._by_owner.get(lease.owner) if lease.owner else None
        if had is not None:  # it moved here
            self._clear_lease(had, lease.expires)
        self._offers.end_offer(number)
        self._by_address[number] = lease
        if lease.owner:
            self._by_owner[lease.owner] = lease
            self.note_offer_sent(lease, idle=not lease.booted)
        self._queue_return(lease)

    def note_offer_stored(self, lease: Lease) -> None:
        """Note that the shared store has this offer as it is here."""
        self._offers.mark_stored(int(lease.address))

    def drop_lease(self, address: IPAddress, now: float) -> None:
        """Forget a lease that no store has."""
        lease = self._by_address.get(int(address))
        if lease is not None:
            self._clear_lease(lease, now)

    def withdraw_offer(self, lease: Lease, now: float) -> None:
        """Leave the offer as it is: the others still make it."""

    # inside

    def _register_lease(self, lease: Lease, now: float) -> None:
        self._offers.await_store(int(lease.address))
        super()._register_lease(lease, now)

    def _hold_offer(self, lease: Lease, now: float) -> None:
        if lease.state is LeaseState.OFFERED:
            if (
                self._offers.is_stored(int(lease.address))
                and lease.expires > now + OFFER_HOLD_S / 2
            ):
                return  # the store says so already
            self.changed[int(lease.address)] = lease
        super()._hold_offer(lease, now)

    def _next_untouched(self, owner: bytes) -> int:
        """Find an address never given, from where every daemon looks first for this client."""
        count = self.last - self.first + 1
        start = crc32(owner) % max(1, count)
        for step in range(0 if self._used_up else count):
            number = self.first + (start + step) % count
            if number not in self._by_address and number in self._range:
                return number
        self._used_up = True
        return -1

    def _choose_offer(self, owner: bytes) -> tuple[int, bool]:
        return self._offers.pop_any_stored(crc32(owner))


def _taken_back(before: Lease, lease: Lease) -> bool:
    """Tell whether an offer made way for another before the store heard of its request."""
    unheard = before.state is LeaseState.OFFERED or (
        before.state is LeaseState.BOUND and not before.stored_until
    )
    if not unheard or lease.state is not LeaseState.OFFERED or before.owner == lease.owner:
        return False
    return lease.expires - OFFER_HOLD_S < before.expires
