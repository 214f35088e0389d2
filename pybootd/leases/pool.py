"""Pools, reservations and the life of a lease.

An address stays with its client for good: a lease that ran out or was released is still that
client's, unless ``reclaim`` lets a full pool take back the one that ran out first. Times are
monotonic seconds here; a store turns them into wall-clock time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID

from pybootd.leases.offers import Offers
from pybootd.leases.range import AddressRange

OFFER_HOLD = 60.0  # seconds that an offer is kept for a client that has not yet requested it
DECLINE_HOLD = 600.0  # seconds that an address found in use is left alone
FOREVER = math.inf  # the lease of a BOOTP client (RFC 1534 3)
NEVER = math.inf
EVERYWHERE = IPv4Network("0.0.0.0/0")


class StoreError(Exception):
    """Leases could not be read or written; the text says why, for people."""


class StoreLost(StoreError):
    """What was kept is damaged, or not there any more; ``LeaseStore.begin_anew`` helps."""


class State(Enum):
    """What an address is to its client; DECLINED: somebody else uses it; FREE: it has none.

    A lease that ran out is BOUND or RELEASED, its ``expires`` past.
    """

    OFFERED = "offered"
    BOUND = "bound"
    RELEASED = "released"
    DECLINED = "declined"
    FREE = "free"


@dataclass(slots=True)
class Lease:
    """One address and whose it is.

    ``owner`` is the client's identity (MAC or client-id, see ``identity``), empty for nobody;
    ``expires`` when the offer, the lease or the block ends (monotonic seconds); ``seconds`` the
    time granted; ``booted``: the client network-booted from us, so its system is served as well;
    ``checked``: nobody else answered at the address, or its client has used it. ``due``: the
    pool's own note of when to look at it again. Where several daemons share a store, ``version``
    is the state of the store that this is based on (0: the store has none), and until ``kept`` it
    is known to hold the lease as bound (monotonic seconds).
    """

    address: IPv4Address
    owner: bytes
    mac: bytes
    client_id: bytes | None = None
    state: State = State.OFFERED
    expires: float = 0.0
    seconds: float = 0.0
    hostname: str = ""
    uuid: UUID | None = None
    booted: bool = False
    checked: bool = False
    due: float = NEVER
    version: int = 0
    kept: float = 0.0

    def active(self, now: float) -> bool:
        """Tell whether its client may use the address now."""
        return self.state is State.BOUND and self.expires > now


# an address in one of these states is anybody's as soon as it expires
_LOOSE = frozenset((State.OFFERED, State.DECLINED, State.FREE))


def identify(mac: bytes, client_id: bytes | None, by_client_id: bool) -> bytes:
    """Return what tells clients apart: RFC 2131 4.2 says client-id, else MAC; else MAC first.

    Empty for a client that shows neither.
    """
    if client_id and (by_client_id or not mac):
        return b"id:" + client_id
    return mac


class Pool:
    """The addresses of one network: ``count`` from ``start``, and the reservations in it.

    ``static`` maps MACs to addresses kept for them, inside or outside the range; ``own`` are the
    server's addresses. ``changed`` collects the leases to be saved, by address.
    """

    def __init__(
        self,
        network: IPv4Network,
        start: IPv4Address,
        count: int,
        *,
        static: Mapping[bytes, IPv4Address] | None = None,
        own: Iterable[IPv4Address] = (),
        reclaim: bool = False,
        changed: MutableMapping[int, Lease] | None = None,
    ) -> None:
        self._range = AddressRange(network, start, count, static or {})
        self.first, self.last = self._range.first, self._range.last
        self.changed: MutableMapping[int, Lease] = {} if changed is None else changed
        self._reclaim = reclaim
        self.own(own)
        self._by_address: dict[int, Lease] = {}
        self._by_owner: dict[bytes, Lease] = {}
        self._moves: dict[bytes, Lease] = {}  # offers to clients that keep another address so long
        self._offers = Offers()
        self._next = self.first
        # (due, address): those that nobody has bound, by the end of their offer or block, and, to
        # reclaim, the bound ones. An entry counts if its lease still says so; one that comes too
        # early, since the lease was renewed, is put back.
        self._returning: list[tuple[float, int]] = []
        self._expiring: list[tuple[float, int]] = []

    def __str__(self) -> str:
        return f"{IPv4Address(self.first)} - {IPv4Address(self.last)}"

    def __len__(self) -> int:
        return len(self._by_address)

    def leases(self) -> Collection[Lease]:
        """Return every lease, of whatever state."""
        return self._by_address.values()

    def own(self, addresses: Iterable[IPv4Address]) -> None:
        """Note which addresses are the server's: they are never given."""
        self._range.own(addresses)

    def restore(self, lease: Lease) -> None:
        """Take back a lease that a store kept, or another configuration's pool."""
        number = int(lease.address)
        lease.due = NEVER  # no queue of this pool holds it yet
        other = self._by_owner.get(lease.owner) if lease.owner else None
        if other is not None:  # one client had two: identity was set otherwise when it got them
            keep, lose = sorted((lease, other), key=lambda one: -one.expires)
            self._by_address[number] = lease
            self._by_owner[keep.owner] = keep
            self._free(lose, lose.expires)
            lease = keep
        self._by_address[int(lease.address)] = lease
        if lease.owner:
            lease.checked = lease.checked or lease.state is not State.OFFERED
            self._by_owner[lease.owner] = lease
            self.made(lease, idle=False)
        self._note(lease)

    def find(self, owner: bytes) -> Lease | None:
        """Return the client's lease, whatever its state."""
        return self._by_owner.get(owner)

    def at(self, address: IPv4Address) -> Lease | None:
        """Return what is known of the address."""
        return self._by_address.get(int(address))

    def offer(
        self,
        owner: bytes,
        mac: bytes,
        now: float,
        wanted: IPv4Address | None = None,
        *,
        move: bool = True,
    ) -> Lease | None:
        """Find an address for the client; None when there is none.

        RFC 2131 4.3.1: the one kept for it, the one it had, the one it asks for, a new one.
        A lease that it has ends when the one kept for it is bound; ``move``: if it may.
        """
        kept, had = self._range.kept(mac), self._by_owner.get(owner)
        if kept is not None:
            moves = had is not None and had.state is not State.OFFERED and int(had.address) != kept
            lease = None
            if not moves:
                lease = self._take(kept, owner, mac, now)
            elif move:
                lease = self._move(kept, owner, mac, now)
            if lease is not None:
                return lease
        if had is not None and self._range.allows(int(had.address), mac):
            self._hold(had, now)
            return had
        if wanted is not None:
            lease = self._take(int(wanted), owner, mac, now)
            if lease is not None:
                return lease
        number = self._fresh(owner, now)
        return None if number is None else self._give(number, owner, mac, now)

    def made(self, lease: Lease, idle: bool) -> None:
        """Note that the offer leaves: in need, it may be taken back. ``idle`` as in Offers."""
        if lease.state is not State.OFFERED or self.moves(lease):
            return
        if int(lease.address) in self._range:
            self._offers.make(int(lease.address), idle)

    def moves(self, lease: Lease) -> bool:
        """Tell whether the offer is for a client that has another address until it is bound."""
        return self._moves.get(lease.owner) is lease

    def keeps(self, address: IPv4Address, mac: bytes) -> bool:
        """Tell whether the address is reserved for this client."""
        return self._range.kept(mac) == int(address)

    def adopt(
        self, address: IPv4Address, owner: bytes, mac: bytes, now: float, *, chosen: bool = False
    ) -> Lease | None:
        """Give the client the very address that it names; None when it can't be its.

        ``chosen``: it says that we offered it, and we may have taken that back meanwhile.
        """
        number = int(address)
        lease = self._by_address.get(number)
        rival = lease is not None and lease.state is State.OFFERED and lease.owner != owner
        if chosen and rival and now < self._offers.scarce_until and number in self._range:
            return self._give(number, owner, mac, now)
        return self._take(number, owner, mac, now)

    def bind(self, lease: Lease, seconds: float, now: float) -> None:
        """Lease the address for this long (``FOREVER``: for good)."""
        if self.moves(lease):
            self._put(lease, now)
        if lease.state is State.OFFERED:
            lease.due = NEVER  # it leaves the queue of offers
            self._offers.end(int(lease.address))
        lease.state = State.BOUND
        lease.expires = now + seconds
        lease.seconds = seconds
        lease.checked = True
        self._note(lease)
        self.changed[int(lease.address)] = lease

    def release(self, lease: Lease, now: float) -> None:
        """Note that the client gave the address back; it stays the client's own."""
        if lease.state is State.OFFERED:
            self.withdraw(lease, now)
            return
        lease.state = State.RELEASED
        lease.expires = now
        self._note(lease)
        self.changed[int(lease.address)] = lease

    def withdraw(self, lease: Lease, now: float) -> None:
        """Take back an offer: the client chose another server's, or may not have it."""
        if lease.state is State.OFFERED:
            lease.expires = now
            self._note(lease)

    def block(self, address: IPv4Address, now: float, hold: float = DECLINE_HOLD) -> None:
        """Leave an address alone for this long: somebody else uses it."""
        number = int(address)
        lease = self._by_address.get(number)
        if lease is None:
            lease = self._by_address[number] = Lease(address, b"", b"")
        self._free(lease, now + hold)
        lease.state, lease.seconds = State.DECLINED, hold

    def forget(self, address: IPv4Address, now: float) -> Lease | None:
        """Take the address from its client, which starts anew; returns the lease as it was."""
        lease = self._by_address.get(int(address))
        if lease is None or lease.state is State.OFFERED:
            return None
        was = replace(lease)
        self._free(lease, now)
        return was

    # inside

    def _take(self, number: int, owner: bytes, mac: bytes, now: float) -> Lease | None:
        """Give this very address if it is free, or the client's own."""
        if not self._free_for(number, owner, mac, now):
            return None
        lease = self._by_address.get(number)
        if lease is None or lease.owner != owner:
            return self._give(number, owner, mac, now)
        self._hold(lease, now)
        return lease

    def _free_for(self, number: int, owner: bytes, mac: bytes, now: float) -> bool:
        if not self._range.allows(number, mac):
            return False
        lease = self._by_address.get(number)
        if lease is None or lease.owner == owner:
            return True
        if self._range.kept(mac) == number and lease.state is not State.DECLINED:
            # a reservation outweighs whoever had the address before, but for as long as that one
            # uses it; its own MAC may come with another client-id, though
            return lease.mac == mac or lease.expires <= now
        return lease.state in _LOOSE and lease.expires <= now

    def _move(self, number: int, owner: bytes, mac: bytes, now: float) -> Lease | None:
        """Offer the address that is kept for a client, and leave it the one that it has."""
        if not self._free_for(number, owner, mac, now):
            return None
        lease = self._moves.get(owner)
        if lease is None or int(lease.address) != number or lease.expires <= now:
            lease = self._moves[owner] = Lease(IPv4Address(number), owner, mac)
        lease.expires = now + OFFER_HOLD
        return lease

    def _give(self, number: int, owner: bytes, mac: bytes, now: float) -> Lease:
        lease = Lease(IPv4Address(number), owner, mac)
        self._put(lease, now)
        return lease

    def _put(self, lease: Lease, now: float) -> None:
        """Make the address this client's and nobody else's; its former one becomes free."""
        number, owner = int(lease.address), lease.owner
        before = self._by_address.get(number)
        if before is not None and before.owner:
            del self._by_owner[before.owner]
        had = self._by_owner.get(owner)
        if had is not None:
            self._free(had, now)
        self._moves.pop(owner, None)
        if before is not None:
            lease.version = before.version
            if before.state is State.OFFERED and before.expires > now:  # taken back
                lease.checked = lease.checked or before.checked
        self._offers.prepare(number)
        self._by_address[number] = self._by_owner[owner] = lease
        self._hold(lease, now)
        self._note(lease)

    def _free(self, lease: Lease, when: float) -> None:
        """Take the address from its client; anybody may have it from ``when`` on."""
        self._clear(lease, when)
        self.changed[int(lease.address)] = lease

    def _clear(self, lease: Lease, when: float) -> None:
        if lease.owner and self._by_owner.get(lease.owner) is lease:
            del self._by_owner[lease.owner]
        self._offers.end(int(lease.address))
        lease.owner, lease.mac, lease.client_id = b"", b"", None
        lease.hostname, lease.uuid, lease.booted, lease.checked = "", None, False, False
        lease.state, lease.expires, lease.due, lease.kept = State.FREE, when, NEVER, 0.0
        self._note(lease)

    def _hold(self, lease: Lease, now: float) -> None:
        """Keep what is offered from being taken by others until its client requests it."""
        if not lease.active(now):
            if lease.state is State.BOUND:
                lease.state = State.RELEASED  # it ran out
            lease.expires = now + OFFER_HOLD

    def _fresh(self, owner: bytes, now: float) -> int | None:
        """Find an address never given, else one that came back, else one that ran out.

        In need it is that of the oldest offer that nobody has requested.
        """
        number = self._untouched(owner)
        if number < 0:
            number = self._due(self._returning, now)
        if number < 0 and self._offers.many(self.last - self.first + 1):
            number = self._take_back(owner, now)
        if number < 0 and self._reclaim:
            number = self._due(self._expiring, now)
        if number < 0:
            number = self._take_back(owner, now)
        return number if number >= 0 else None

    def _untouched(self, owner: bytes) -> int:
        """Find an address never given; -1 when each was."""
        while self._next <= self.last:
            number = self._next
            self._next += 1
            if number in self._range and number not in self._by_address:
                return number
        return -1

    def _take_back(self, owner: bytes, now: float) -> int:
        """Take the address of an offer that nobody requested; -1 where there is none."""
        while True:
            number, idle = self._choose(owner)
            lease = self._by_address.get(number)
            if number < 0 or (lease is not None and lease.state is State.OFFERED):
                break
        if lease is not None:
            lease.checked = lease.checked and idle
            self._offers.scarce_until = now + OFFER_HOLD
        return number if number in self._range else -1

    def _choose(self, owner: bytes) -> tuple[int, bool]:
        """Choose the offer that is taken back for this client, as ``Offers.take_back`` does."""
        return self._offers.take_back()

    def _due(self, queue: list[tuple[float, int]], now: float) -> int:
        """Take the first address that is due out of the queue; -1 when none is."""
        while queue and queue[0][0] <= now:
            due, number = heapq.heappop(queue)
            lease = self._by_address.get(number)
            if lease is None or lease.due != due:
                continue
            lease.due = NEVER
            if lease.expires > now:
                self._note(lease)
            elif number in self._range:
                return number
        return -1

    def _note(self, lease: Lease) -> None:
        """Queue the address for when it may be given to others."""
        loose = lease.state in _LOOSE
        if lease.expires < lease.due and (loose or self._reclaim):
            lease.due = lease.expires
            queue = self._returning if loose else self._expiring
            heapq.heappush(queue, (lease.due, int(lease.address)))
