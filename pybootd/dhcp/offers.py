"""Offers that nobody has requested yet: how many there are, and which may be taken back.

A stranger who asks with ever new MACs can so have an offer of each address, but no more than that:
in need the oldest offer is taken back for whoever comes next, and an address that was offered to
several is the first one's that requests it.
"""

from __future__ import annotations

from collections import OrderedDict

SHARE = 8
"""Of so many addresses one may be offered before offers are taken back rather than old leases."""
FEW = 16
"""So many offers are never too many."""


class Offers:
    """The offers of one pool, by the numbers of their addresses."""

    def __init__(self) -> None:
        self._preparing: set[int] = set()  # somebody who uses the address is still looked for
        self._made: OrderedDict[int, bool] = OrderedDict()  # the oldest first
        self.scarce_until = float("-inf")

    def many(self, addresses: int) -> bool:
        """Tell whether more are offered than clients that mean it are likely to wait for."""
        return len(self._preparing) + len(self._made) >= max(FEW, addresses // SHARE)

    def prepare(self, number: int) -> None:
        """Note that the address is somebody's from now on, but not offered yet."""
        self._made.pop(number, None)
        self._preparing.add(number)

    def make(self, number: int, idle: bool) -> None:
        """Note that the offer leaves. ``idle``: nobody uses the address before he requests it."""
        self._preparing.discard(number)
        self._made[number] = idle
        self._made.move_to_end(number)

    def end(self, number: int) -> None:
        """Note that the address was requested, or is nobody's."""
        self._preparing.discard(number)
        self._made.pop(number, None)

    def take_back(self) -> tuple[int, bool]:
        """Take the oldest offer that was made: its address, and whether that is idle.

        -1: there is none.
        """
        return self._made.popitem(last=False) if self._made else (-1, False)
