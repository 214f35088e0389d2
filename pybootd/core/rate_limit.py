"""Rates: so many at once, so many a second, of everything or of each key.

A request may bear a forged address and a log line a stranger's name, so what is remembered of keys
is bounded, too.
"""

from __future__ import annotations

from collections.abc import Hashable

from pybootd.core.bounded_map import BoundedMap

REMIND_S = 60.0
"""Seconds between two log lines that say the same of the same."""
MAX_KEYS = 4096
"""Keys that a rate limit remembers unless it is told otherwise."""


class TokenBucket:
    """At most ``burst`` tokens, ``rate`` of which come back a second.

    ``now`` is seconds of any clock; one that is set back gives no tokens until it has caught up.
    """

    __slots__ = ("_burst", "_empty_until", "_rate", "_since", "_tokens")

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = self._tokens = burst
        self._rate = rate
        self._since = self._empty_until = 0.0

    def has_token(self, now: float) -> bool:
        """Tell whether there is a token."""
        if self._since <= now < self._empty_until:
            return False
        passed, self._since = max(0.0, now - self._since), now
        self._tokens = min(self._burst, self._tokens + passed * self._rate)
        if self._tokens >= 1 - 1e-9:  # sums of floating-point shares
            return True
        self._empty_until = now + (1 - self._tokens) / self._rate
        return False

    def take_token(self, now: float) -> bool:
        """Take a token; False: there is none."""
        if not self.has_token(now):
            return False
        self._tokens -= 1
        return True

    def is_full(self, now: float) -> bool:
        """Tell whether it has all of its tokens."""
        self.has_token(now)
        return self._tokens >= self._burst - 1e-9

    def give_back(self) -> None:
        """Put a token back that was not needed."""
        self._tokens = min(self._burst, self._tokens + 1)
        self._empty_until = 0.0


class RateLimit:
    """A token bucket for each key, of which at most ``max_keys`` are remembered.

    When more keys come, the one that was longest unused is forgotten, and with it what it had used
    up. With ``strict`` a new key is refused instead until the oldest has all of its tokens again:
    then a flood of new keys gets no more than ``max_keys`` times the rate.
    """

    def __init__(
        self, burst: float, rate: float, *, max_keys: int = MAX_KEYS, strict: bool = False
    ) -> None:
        self._burst, self._rate, self._strict = burst, rate, strict
        self._buckets: BoundedMap[Hashable, TokenBucket] = BoundedMap(max_keys)

    def has_token(self, key: Hashable, now: float) -> bool:
        """Tell whether the key has a token left, without taking it."""
        bucket = self._buckets.get(key)
        return bucket.has_token(now) if bucket is not None else not self._is_full(now)

    def take_token(self, key: Hashable, now: float) -> bool:
        """Take one of the key's tokens; False: it has none left."""
        bucket = self._buckets.use(key)
        if bucket is None:
            if self._is_full(now):
                return False
            bucket = self._buckets[key] = TokenBucket(self._burst, self._rate)
        return bucket.take_token(now)

    def give_back(self, key: Hashable) -> None:
        """Put a token of the key back that was not needed."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.give_back()

    def _is_full(self, now: float) -> bool:
        buckets = self._buckets
        if not self._strict or len(buckets) < buckets.limit:
            return False
        return not buckets[buckets.oldest()].is_full(now)


def once_per(seconds: float, *, max_keys: int = 100) -> RateLimit:
    """Limit what repeats to once in so many seconds for each key, a log line say.

    More than ``max_keys`` keys get no more lines than ``max_keys`` of them would.
    """
    return RateLimit(1, 1 / seconds, max_keys=max_keys, strict=True)
