"""A log that a flood can't fill: so many lines at once, so many a second, of each source too."""

from __future__ import annotations

import logging
from collections import OrderedDict

SOURCE = (300, 10.0)
"""Lines at once, and lines a second, about one address or client."""
ALL = (5_000, 100.0)
"""The same of all lines together: a thousand machines may start at the same time."""
_SOURCES = 1_000


class Throttle(logging.Filter):
    """Leaves out what is too much, and says afterwards how much that was."""

    def __init__(self) -> None:
        super().__init__()
        self._all = _Bucket(*ALL)
        # a storm of machines that boot must not hide the line that says why one doesn't
        self._serious = _Bucket(*ALL)
        self._sources: OrderedDict[str, _Bucket] = OrderedDict()
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the line pass, or not; the first that passes again tells of those left out."""
        now = record.created
        facts = getattr(record, "facts", None)
        client = facts.get("client") if facts else None
        source = (facts.get("ip") or (client and client.name)) if facts else None
        every = self._every(record.levelno)
        if (source and not self._source(str(source)).take(now)) or not every.take(now):
            self._left_out += 1
            return False
        if self._left_out:
            count, self._left_out = self._left_out, 0
            record.msg = f"{record.getMessage()} ({count} earlier lines left out: too many at once)"
            record.args = None
        return True

    def full(self, source: str, level: int, now: float) -> bool:
        """Tell beforehand that a line about this source would be left out, and count it so."""
        if self._every(level).holds(now) and self._source(source).holds(now):
            return False
        self._left_out += 1
        return True

    def _every(self, level: int) -> _Bucket:
        return self._serious if level >= logging.WARNING else self._all

    def _source(self, name: str) -> _Bucket:
        bucket = self._sources.get(name)
        if bucket is None:
            bucket = self._sources[name] = _Bucket(*SOURCE)
            if len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
        return bucket


class _Bucket:
    """Tokens that come back with time; ``now`` is the wall clock, which may be set back."""

    __slots__ = ("_empty", "_most", "_rate", "_since", "_tokens")

    def __init__(self, most: float, rate: float) -> None:
        self._tokens = self._most = most
        self._rate = rate
        self._since = 0.0
        self._empty = 0.0  # until then

    def holds(self, now: float) -> bool:
        """Tell whether there is a token."""
        if self._since <= now < self._empty:
            return False
        passed, self._since = max(0.0, now - self._since), now
        self._tokens = min(self._most, self._tokens + passed * self._rate)
        if self._tokens >= 1:
            return True
        self._empty = now + (1 - self._tokens) / self._rate
        return False

    def take(self, now: float) -> bool:
        """Take a token, if there is one."""
        if not self.holds(now):
            return False
        self._tokens -= 1
        return True
