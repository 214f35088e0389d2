"""A log that a flood can't fill: so many lines at once, so many a second, of each source too."""

from __future__ import annotations

import logging

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.rate_limit import TokenBucket

SOURCE = (300, 10.0)
"""Lines at once, and lines a second, about one address or client."""
ALL = (5_000, 100.0)
"""The same of all lines together: a thousand machines may start at the same time."""
_SOURCES = 1_000


class Throttle(logging.Filter):
    """Leaves out what is too much, and says afterwards how much that was."""

    def __init__(self) -> None:
        super().__init__()
        self._all = TokenBucket(*ALL)
        # a storm of machines that boot must not hide the line that says why one doesn't
        self._serious = TokenBucket(*ALL)
        self._sources: BoundedMap[str, TokenBucket] = BoundedMap(_SOURCES)
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the line pass, or not; the first that passes again tells of those left out."""
        now = record.created
        facts = getattr(record, "facts", None)
        client = facts.get("client") if facts else None
        source = (facts.get("ip") or (client and client.name)) if facts else None
        every = self._bucket_of_level(record.levelno)
        if (
            source and not self._bucket_of_source(str(source)).take_token(now)
        ) or not every.take_token(now):
            self._left_out += 1
            return False
        if self._left_out:
            count, self._left_out = self._left_out, 0
            record.msg = f"{record.getMessage()} ({count} earlier lines left out: too many at once)"
            record.args = None
        return True

    def leave_out_line(self, source: str, level: int, now: float) -> bool:
        """Tell beforehand that a line about this source would be left out, and count it so."""
        if self._bucket_of_level(level).has_token(now) and self._bucket_of_source(source).has_token(
            now
        ):
            return False
        self._left_out += 1
        return True

    def _bucket_of_level(self, level: int) -> TokenBucket:
        return self._serious if level >= logging.WARNING else self._all

    def _bucket_of_source(self, name: str) -> TokenBucket:
        bucket = self._sources.get(name)
        if bucket is None:
            bucket = self._sources[name] = TokenBucket(*SOURCE)
        return bucket
