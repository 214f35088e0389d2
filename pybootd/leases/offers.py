"""Offers that nobody has requested yet: how many there are, and which may be taken back.

A stranger who asks with ever new MACs can have an offer of each address, but no more than that:
in need the oldest offer is taken back for the next client, and an address that was offered to
several goes to the first that requests it.

Where several daemons share a store, an offer that one of them made is taken back by any that needs
its address: the new one takes the old one's place in the store, if that is still as this daemon
knows it. So that they seldom want the same, each takes any offer rather than the oldest, and only
some of them before the store has answered.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

OFFER_SHARE = 8
"""One of so many addresses may be on offer; beyond, offers are taken back before old leases."""
MIN_OFFERS = 16
"""At least so many may be on offer, whatever the pool's size."""
_MAX_CANDIDATES = 256  # of the older offers of a shared pool one is chosen
_MIN_RECLAIMED = 4  # so many may be taken back at a time however few there are


class Offers:
    """The offers of one pool, by the numbers of their addresses."""

    def __init__(self) -> None:
        self._preparing: set[int] = set()  # somebody who uses the address is still looked for
        self._unsaved: set[int] = set()  # not in the shared store yet
        self._made: OrderedDict[int, bool] = OrderedDict()  # the oldest first
        self.scarce_until = float("-inf")

    def exceed_share(self, addresses: int) -> bool:
        """Tell whether more addresses are on offer than honest clients are likely to wait for."""
        return len(self._preparing) + len(self._made) >= max(MIN_OFFERS, addresses // OFFER_SHARE)

    def prepare_offer(self, number: int) -> None:
        """Note that the address has an owner from now on, but is not offered yet."""
        self._made.pop(number, None)
        self._preparing.add(number)

    def add_offer(self, number: int, idle: bool) -> None:
        """Note that the offer leaves. ``idle``: no client uses it before it requests it."""
        self._preparing.discard(number)
        self._made[number] = idle
        self._made.move_to_end(number)

    def await_store(self, number: int) -> None:
        """Note that the shared store has to hear of the offer before it may be taken back."""
        self._unsaved.add(number)

    def mark_stored(self, number: int) -> None:
        """Note that the shared store has the offer."""
        self._unsaved.discard(number)

    def is_stored(self, number: int) -> bool:
        """Tell whether the shared store has the offer, if there is one."""
        return number not in self._unsaved

    def end_offer(self, number: int) -> None:
        """Note that the address was requested, or has no owner."""
        self._preparing.discard(number)
        self._unsaved.discard(number)
        self._made.pop(number, None)

    def pop_oldest(self) -> tuple[int, bool]:
        """Take the oldest offer that was made: its address, and whether that is idle.

        -1: there is none.
        """
        return self._made.popitem(last=False) if self._made else (-1, False)

    def pop_any_stored(self, key: int) -> tuple[int, bool]:
        """Take one of the older offers that the shared store has, as ``take_back`` does.

        ``key`` says which. Half of them at most are taken before the store has answered: another
        daemon may be about to take the same.
        """
        older = [one for one in islice(self._made, _MAX_CANDIDATES) if one not in self._unsaved]
        if not older or len(self._unsaved) >= max(_MIN_RECLAIMED, len(older)):
            return -1, False
        number = older[key % len(older)]
        return number, self._made.pop(number)
