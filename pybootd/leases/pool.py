"""Pools, reservations and the life of a lease.

An address stays with its client for good: a lease that ran out or was released is still that
client's. With ``reclaim`` a released address is free for a client that asks for it by name (RFC
2131 4.3.4), and a pool whose addresses have all been given takes back released ones first, then the
one that ran out first. Times are monotonic seconds here; a store turns them into wall-clock time.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from pybootd.core.client import IPAddress
from pybootd.leases.lease import NEVER, Lease, LeaseState
from pybootd.leases.offers import Offers
from pybootd.leases.range import AddressRange

OFFER_HOLD_S = 60.0
"""Seconds that an offer is kept for a client that has not yet requested it."""
DECLINE_HOLD_S = 600.0
"""Seconds that an address found in use is left alone."""
IPNetwork = IPv4Network | IPv6Network
MIN_QUEUE = 64
"""Entries that a queue of addresses may have before it is looked through for stale ones."""
EVERYWHERE = IPv4Network("0.0.0.0/0")
"""The network of an address that is in none of ours."""

# an address in one of these states is anybody's as soon as it expires
_LOOSE = frozenset((LeaseState.OFFERED, LeaseState.DECLINED, LeaseState.FREE))


class Pool:
    """The addresses of one network: ``count`` from ``start``, and the reservations in it.

    ``static`` maps MACs to addresses kept for them, inside or outside the range; ``own`` are the
    server's addresses. ``changed`` collects the leases to be saved, by address.
    """

    def __init__(
        self,
        network: IPNetwork,
        start: IPAddress,
        count: int,
        *,
        static: Mapping[bytes, IPAddress] | None = None,
        own: Iterable[IPAddress] = (),
        reclaim: bool = False,
        changed: MutableMapping[int, Lease] | None = None,
    ) -> None:
        self._range = AddressRange(network, start, count, static or {})
        self.first, self.last = self._range.first, self._range.last
        self.changed: MutableMapping[int, Lease] = {} if changed is None else changed
        self._reclaim = reclaim
        self.exclude_addresses(own)
        self._by_address: dict[int, Lease] = {}
        self._by_owner: dict[bytes, Lease] = {}
        self._moves: dict[bytes, Lease] = {}  # offers to clients that keep another address so long
        self._offers = Offers()
        self._next = self.first
        # (due, address): those that nobody has bound, by the end of their offer or block, and, to
        # reclaim, the released and the bound ones. An entry counts if its lease still says so; one
        # that comes too early, since the lease was renewed, is put back.
        self._returning: list[tuple[float, int]] = []
        self._given_back: list[tuple[float, int]] = []
        self._expiring: list[tuple[float, int]] = []

    def __str__(self) -> str:
        return f"{self._range.make_address(self.first)} - {self._range.make_address(self.last)}"

    def __len__(self) -> int:
        return len(self._by_address)

    @property
    def queued_addresses(self) -> int:
        """How many entries wait until their addresses may be given again; some count no more."""
        return len(self._returning) + len(self._given_back) + len(self._expiring)

    def list_leases(self) -> Collection[Lease]:
        """Return every lease, of whatever state."""
        return self._by_address.values()

    def exclude_addresses(self, addresses: Iterable[IPAddress]) -> None:
        """Note which addresses are the server's or a router's: they are never given."""
        self._range.set_excluded(addresses)

    def restore_lease(self, lease: Lease) -> None:
        """Take back a lease that a store kept, or another configuration's pool."""
        number = int(lease.address)
        lease.due = NEVER  # no queue of this pool holds it yet
        other = self._by_owner.get(lease.owner) if lease.owner else None
        if other is not None:  # one client had two: identity was set otherwise when it got them
            keep, lose = sorted((lease, other), key=lambda one: -one.expires)
            self._by_address[number] = lease
            self._by_owner[keep.owner] = keep
            self._free_address(lose, lose.expires)
            lease = keep
        self._by_address[int(lease.address)] = lease
        lease.given_back = lease.state is LeaseState.RELEASED
        if lease.owner:
            lease.checked = lease.checked or lease.state is not LeaseState.OFFERED
            self._by_owner[lease.owner] = lease
            self.note_offer_sent(lease, idle=False)
        self._queue_return(lease)

    def find_lease(self, owner: bytes) -> Lease | None:
        """Return the client's lease, whatever its state."""
        return self._by_owner.get(owner)

    def find_lease_at(self, address: IPAddress) -> Lease | None:
        """Return what is known of the address."""
        return self._by_address.get(int(address))

    def offer_address(
        self,
        owner: bytes,
        mac: bytes,
        now: float,
        wanted: IPAddress | None = None,
        *,
        move: bool = True,
    ) -> Lease | None:
        """Find an address for the client; None when there is none.

        RFC 2131 4.3.1: the one kept for it, the one it had, the one it asks for, a new one.
        A lease that it has ends when the one kept for it is bound; ``move``: if it may.
        """
        kept, had = self._range.reserved_address(mac), self._by_owner.get(owner)
        if kept is not None:
            moves = (
                had is not None and had.state is not LeaseState.OFFERED and int(had.address) != kept
            )
            lease = None
            if not moves:
                lease = self._take_address(kept, owner, mac, now)
            elif move:
                lease = self._offer_move(kept, owner, mac, now)
            if lease is not None:
                return lease
        if had is not None and self._range.allows_client(int(had.address), mac):
            self._hold_offer(had, now)
            return had
        if wanted is not None:
            lease = self._take_address(int(wanted), owner, mac, now)
            if lease is not None:
                return lease
        number = self._choose_address(owner, now)
        return None if number is None else self._assign_address(number, owner, mac, now)

    def note_offer_sent(self, lease: Lease, idle: bool) -> None:
        """Note that the offer leaves: in need, it may be taken back. ``idle`` as in Offers."""
        if lease.state is not LeaseState.OFFERED or self.is_moving(lease):
            return
        if int(lease.address) in self._range:
            self._offers.add_offer(int(lease.address), idle)

    def is_moving(self, lease: Lease) -> bool:
        """Tell whether the offer is for a client that has another address until it is bound."""
        return self._moves.get(lease.owner) is lease

    def is_reserved_for(self, address: IPAddress, mac: bytes) -> bool:
        """Tell whether the address is reserved for this client."""
        return self._range.reserved_address(mac) == int(address)

    def claim_address(
        self, address: IPAddress, owner: bytes, mac: bytes, now: float, *, chosen: bool = False
    ) -> Lease | None:
        """Give the client the very address that it names; None when it can't be its.

        ``chosen``: it says that we offered it, and we may have taken that back meanwhile.
        """
        number = int(address)
        lease = self._by_address.get(number)
        rival = lease is not None and lease.state is LeaseState.OFFERED and lease.owner != owner
        if chosen and rival and now < self._offers.scarce_until and number in self._range:
            return self._assign_address(number, owner, mac, now)
        return self._take_address(number, owner, mac, now)

    def bind_lease(self, lease: Lease, seconds: float, now: float) -> None:
        """Lease the address for this long (``FOREVER``: for good)."""
        if self.is_moving(lease):
            self._register_lease(lease, now)
        if lease.state is LeaseState.OFFERED:
            lease.due = NEVER  # it leaves the queue of offers
            self._offers.end_offer(int(lease.address))
        lease.state, lease.given_back = LeaseState.BOUND, False
        lease.expires = now + seconds
        lease.seconds = seconds
        lease.checked = True
        self._queue_return(lease)
        self.changed[int(lease.address)] = lease

    def release_lease(self, lease: Lease, now: float) -> None:
        """Note that the client gave the address back; it stays the client's own."""
        if lease.state is LeaseState.OFFERED:
            self.withdraw_offer(lease, now)
            return
        lease.state, lease.given_back = LeaseState.RELEASED, True
        lease.expires, lease.due = now, NEVER
        self._queue_return(lease)
        self.changed[int(lease.address)] = lease

    def withdraw_offer(self, lease: Lease, now: float) -> None:
        """Take back an offer: the client chose another server's, or may not have it."""
        if lease.state is LeaseState.OFFERED:
            lease.expires = now
            self._queue_return(lease)

    def block_address(self, address: IPAddress, now: float, hold: float = DECLINE_HOLD_S) -> None:
        """Leave an address alone for this long: somebody else uses it."""
        number = int(address)
        lease = self._by_address.get(number)
        if lease is None:
            lease = self._by_address[number] = Lease(address, b"", b"")
        self._free_address(lease, now + hold)
        lease.state, lease.seconds = LeaseState.DECLINED, hold

    def unblock_address(self, address: IPAddress, now: float) -> None:
        """Let an address be given again that was left alone."""
        lease = self._by_address.get(int(address))
        if lease is not None and lease.state is LeaseState.DECLINED:
            self._free_address(lease, now)

    def forget_lease(self, address: IPAddress, now: float) -> Lease | None:
        """Take the address from its client, which begins again; returns the lease as it was."""
        lease = self._by_address.get(int(address))
        if lease is None or lease.state is LeaseState.OFFERED:
            return None
        was = replace(lease)
        self._free_address(lease, now)
        return was

    # inside

    def _take_address(self, number: int, owner: bytes, mac: bytes, now: float) -> Lease | None:
        """Give this very address if it is free, or the client's own."""
        if not self._is_free_for(number, owner, mac, now):
            return None
        lease = self._by_address.get(number)
        if lease is None or lease.owner != owner:
            return self._assign_address(number, owner, mac, now)
        self._hold_offer(lease, now)
        return lease

    def _is_free_for(self, number: int, owner: bytes, mac: bytes, now: float) -> bool:
        if not self._range.allows_client(number, mac):
            return False
        lease = self._by_address.get(number)
        if lease is None or lease.owner == owner:
            return True
        if self._range.reserved_address(mac) == number and lease.state is not LeaseState.DECLINED:
            # a reservation outweighs the client that had the address before, but not while that one
            # uses it; its own MAC may come with another client-id, though
            return lease.mac == mac or lease.expires <= now
        free = lease.state in _LOOSE or (self._reclaim and lease.given_back)
        return free and lease.expires <= now

    def _offer_move(self, number: int, owner: bytes, mac: bytes, now: float) -> Lease | None:
        """Offer the address that is kept for a client, and leave it the one that it has."""
        if not self._is_free_for(number, owner, mac, now):
            return None
        lease = self._moves.get(owner)
        if lease is None or int(lease.address) != number or lease.expires <= now:
            lease = self._moves[owner] = Lease(self._range.make_address(number), owner, mac)
        lease.expires = now + OFFER_HOLD_S
        return lease

    def _assign_address(self, number: int, owner: bytes, mac: bytes, now: float) -> Lease:
        lease = Lease(self._range.make_address(number), owner, mac)
        self._register_lease(lease, now)
        return lease

    def _register_lease(self, lease: Lease, now: float) -> None:
        """Make the address this client's and nobody else's; its former one becomes free."""
        number, owner = int(lease.address), lease.owner
        before = self._by_address.get(number)
        if before is not None and before.owner:
            del self._by_owner[before.owner]
        had = self._by_owner.get(owner)
        if had is not None:
            self._free_address(had, now)
        self._moves.pop(owner, None)
        if before is not None:
            lease.version = before.version
            if before.state is LeaseState.OFFERED and before.expires > now:  # taken back
                lease.checked = lease.checked or before.checked
        self._offers.prepare_offer(number)
        self._by_address[number] = self._by_owner[owner] = lease
        self._hold_offer(lease, now)
        self._queue_return(lease)

    def _free_address(self, lease: Lease, when: float) -> None:
        """Take the address from its client; anybody may have it from ``when`` on."""
        self._clear_lease(lease, when)
        self.changed[int(lease.address)] = lease

    def _clear_lease(self, lease: Lease, when: float) -> None:
        if lease.owner and self._by_owner.get(lease.owner) is lease:
            del self._by_owner[lease.owner]
        self._offers.end_offer(int(lease.address))
        lease.owner, lease.mac, lease.client_id = b"", b"", None
        lease.hostname, lease.uuid, lease.booted, lease.checked = "", None, False, False
        lease.state, lease.expires, lease.due = LeaseState.FREE, when, NEVER
        lease.given_back, lease.stored_until = False, 0.0
        self._queue_return(lease)

    def _hold_offer(self, lease: Lease, now: float) -> None:
        """Keep what is offered from being taken by others until its client requests it."""
        if not lease.is_active(now):
            if lease.state is LeaseState.BOUND:
                lease.state = LeaseState.RELEASED  # it ran out
            lease.expires = now + OFFER_HOLD_S

    def _choose_address(self, owner: bytes, now: float) -> int | None:
        """Find an address never given, else one that came back, was released or ran out, in turn.

        In need it is that of the oldest offer that nobody has requested.
        """
        number = self._next_untouched(owner)
        if number < 0:
            number = self._pop_due(self._returning, now)
        if number < 0 and self._reclaim:
            number = self._pop_due(self._given_back, now)
        if number < 0 and self._offers.exceed_share(self.last - self.first + 1):
            number = self._reclaim_offer(owner, now)
        if number < 0 and self._reclaim:
            number = self._pop_due(self._expiring, now)
        if number < 0:
            number = self._reclaim_offer(owner, now)
        return number if number >= 0 else None

    def _next_untouched(self, owner: bytes) -> int:
        """Find an address never given; -1 when each was."""
        while self._next <= self.last:
            number = self._next
            self._next += 1
            if number in self._range and number not in self._by_address:
                return number
        return -1

    def _reclaim_offer(self, owner: bytes, now: float) -> int:
        """Take the address of an offer that nobody requested; -1 where there is none."""
        while True:
            number, idle = self._choose_offer(owner)
            lease = self._by_address.get(number)
            if number < 0 or (lease is not None and lease.state is LeaseState.OFFERED):
                break
        if lease is not None:
            lease.checked = lease.checked and idle
            self._offers.scarce_until = now + OFFER_HOLD_S
        return number if number in self._range else -1

    def _choose_offer(self, owner: bytes) -> tuple[int, bool]:
        """Choose the offer that is taken back for this client, as ``Offers.take_back`` does."""
        return self._offers.pop_oldest()

    def _pop_due(self, queue: list[tuple[float, int]], now: float) -> int:
        """Take the first address that is due out of the queue; -1 when none is."""
        while queue and queue[0][0] <= now:
            due, number = heapq.heappop(queue)
            lease = self._by_address.get(number)
            if lease is None or lease.due != due:
                continue
            lease.due = NEVER
            if lease.expires > now:
                self._queue_return(lease)
            elif number in self._range:
                return number
        return -1

    def _queue_return(self, lease: Lease) -> None:
        """Queue the address for when it may be given to others."""
        loose = lease.state in _LOOSE
        if lease.expires < lease.due and (loose or self._reclaim):
            lease.due = lease.expires
            queue = self._given_back if lease.given_back else self._expiring
            queue = self._returning if loose else queue
            heapq.heappush(queue, (lease.due, int(lease.address)))
            if len(queue) > 2 * len(self._by_address) + MIN_QUEUE:
                self._compact_queue(queue)

    def _compact_queue(self, queue: list[tuple[float, int]]) -> None:
        """Drop the entries that count no more: a client may release its address for ever."""
        by_address = self._by_address
        queue[:] = [
            (due, number)
            for due, number in queue
            if number in by_address and by_address[number].due == due
        ]
        heapq.heapify(queue)
