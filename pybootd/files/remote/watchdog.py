"""Ends waits that a peer could go on with for ever: one that sends an octet now and then.

A socket's timeout bounds each part of an answer; this bounds the whole.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from time import monotonic

_LOOK_S = 0.2


class TimeLimit:
    """A wait with an end. ``expired``: it was ended."""

    __slots__ = ("expired", "interrupt", "until")

    def __init__(self, until: float, interrupt: Callable[[], None]) -> None:
        self.until = until
        self.interrupt = interrupt
        self.expired = False


class Watchdog:
    """One thread that looks after all the waits there are; it ends with the last of them."""

    def __init__(self) -> None:
        self._limits: set[TimeLimit] = set()
        self._lock = threading.Lock()
        self._running = False

    @contextlib.contextmanager
    def limit_wait(self, seconds: float, interrupt: Callable[[], None]) -> Iterator[TimeLimit]:
        """Call ``interrupt``, from another thread, if what is done inside takes longer."""
        limit = TimeLimit(monotonic() + seconds, interrupt)
        with self._lock:
            self._limits.add(limit)
            if not self._running:
                self._running = True
                threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            yield limit
        finally:
            with self._lock:
                self._limits.discard(limit)

    def _watch(self) -> None:
        idle = 0
        look = threading.Event()
        while True:
            look.wait(_LOOK_S)
            now = monotonic()
            with self._lock:
                late = [one for one in self._limits if now > one.until and not one.expired]
                for limit in late:
                    limit.expired = True
                idle = 0 if self._limits else idle + 1
                if idle > 10 / _LOOK_S:  # a download begins another wait soon
                    self._running = False
                    return
            for limit in late:
                # the socket may be gone by now
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    limit.interrupt()


watchdog = Watchdog()
