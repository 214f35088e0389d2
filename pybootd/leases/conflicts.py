"""Who says that an address is in use, and when that is believed.

A host that answers for more addresses than it can have is told apart: proxy ARP, a fault, or a
stranger who wants the pool to look used up. What one client declines is bounded, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.client import IPAddress
from pybootd.core.rate_limit import RateLimit
from pybootd.leases.pool import DECLINE_HOLD_S

MAX_ADDRESSES = 4
"""Addresses in use by one host; one that answers for more of them within DECLINE_HOLD_S is not
believed."""
MAX_DECLINES = 3
"""Addresses that one client may find in use within DECLINE_HOLD_S."""
MAX_HOSTS = 256
"""Hosts that are remembered."""


class ConflictWatch:
    """Remembers for a while which host answered for which addresses, and which clients declined."""

    def __init__(self) -> None:
        self._answers: BoundedMap[bytes, dict[IPAddress, float]] = BoundedMap(MAX_HOSTS)
        self._declines = RateLimit(MAX_DECLINES, MAX_DECLINES / DECLINE_HOLD_S)
        self._everywhere_until = float("-inf")

    def believe_answer(self, mac: bytes, address: IPAddress, now: float) -> bool:
        """Note that a host answered for an address; tell whether it is taken to use it."""
        found = self._answers.get(mac, {})
        found = {one: when for one, when in found.items() if now - when < DECLINE_HOLD_S}
        found[address] = now
        self._answers[mac] = found
        if len(found) <= MAX_ADDRESSES:
            return True
        if len(found) > MAX_ADDRESSES + 1:  # no more than that need be known of it
            del found[min(found, key=lambda one: found[one])]
        self._everywhere_until = now + DECLINE_HOLD_S
        return False

    def list_answered(self, mac: bytes) -> Sequence[IPAddress]:
        """Return the addresses that the host answered for."""
        return list(self._answers.get(mac, ()))

    def believe_decline(self, owner: bytes, now: float) -> bool:
        """Note that a client declined its lease; tell whether the address is taken to be in use.

        While a host answers for all addresses, it is what the client has heard.
        """
        return self._declines.take_token(owner, now) and now >= self._everywhere_until
