"""How many requests one address may make that come to nothing.

A request may bear a forged address, and what answers it then goes to somebody who never asked. So
requests are counted until the client has acknowledged something: whoever does is who he says.
"""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

AT_ONCE = 10
"""Seconds' worth of requests that may come at once: a rack that powers on behind one address."""
ADDRESSES = 4096
"""Addresses that are remembered."""
_QUIET = 60.0  # seconds between two lines about one address


class Limit:
    """Lets each address make ``rate`` such requests a second; 0: as many as it likes."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        # by address: what is left to it, when that was so, and when it was told of last
        self._known: dict[str, list[float]] = {}

    def take(self, address: str, now: float) -> bool:
        """Count a request; False: it is too much, and to be dropped, which is logged."""
        rate = self.rate
        if not rate:
            return True
        most = float(rate * AT_ONCE)
        entry = self._known.get(address)
        if entry is None:
            entry = self._known[address] = [most, now, now - _QUIET]
            if len(self._known) > ADDRESSES:
                del self._known[next(iter(self._known))]
        left = entry[0] + (now - entry[1]) * rate
        entry[0], entry[1] = left if left < most else most, now
        if entry[0] >= 1:
            entry[0] -= 1
            return True
        del self._known[address]  # to be forgotten last
        self._known[address] = entry
        if now - entry[2] >= _QUIET:
            entry[2] = now
            why = f"more than {rate} requests a second came to nothing: further ones are dropped"
            log.warning("tftp %s: %s ([tftp] requests)", address, why)
        return False

    def give_back(self, address: str) -> None:
        """Note that a request came to something."""
        entry = self._known.get(address)
        if entry is not None:
            entry[0] += 1
