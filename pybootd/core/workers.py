"""Worker threads for calls that block, shared fairly by the clients that it is called for."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

MAX_WAITING = 1000
"""Calls that may wait for a thread in one pool."""


class TooManyWaitingError(Exception):
    """A call was not made: too many wait for the same workers, most of them for this owner."""


@dataclass(frozen=True, slots=True)
class Later(Generic[T]):
    """An answer that needs someone else: ``call`` blocks, so the loop runs it on a worker.

    ``pool`` names the workers that may run it; a pool whose threads are all stuck delays no other.
    ``workers`` is how many threads the pool may have, 0: the loop's own number. ``owner`` is the
    client that it is called for, None: nobody's in particular. Owners take turns, so that one with
    a thousand calls delays another by one call only.
    """

    call: Callable[[], T]
    pool: str = "default"
    workers: int = 0
    owner: Hashable = None


@dataclass(frozen=True, slots=True)
class TaskResult(Generic[T]):
    """What a worker's call returned: a value, or the exception that it raised."""

    value: T | None
    error: BaseException | None = None

    def get(self) -> T:
        """Return the value, or raise what the call raised."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class _Call(NamedTuple):
    run: Callable[[], None]
    refuse: Callable[[], None]


class WorkerPool:
    """Up to ``limit`` threads, started when needed and never waited for at the end.

    Each owner's calls are made in their order, one owner's after the other's. An owner has at most
    half of the threads (rounded up; all of them where it is None), so that a peer that answers
    nobody holds up only its own calls. When more than ``max_waiting`` calls wait, the owner with
    the most of them loses its newest.
    """

    def __init__(self, name: str, limit: int, max_waiting: int = MAX_WAITING) -> None:
        self.name = name
        self.limit = limit
        self._max_waiting = max_waiting
        self._share = (limit + 1) // 2
        # by owner, the one whose turn it is first
        self._waiting: OrderedDict[Hashable, deque[_Call]] = OrderedDict()
        self._count = 0
        self._running: dict[Hashable, int] = {}
        self._threads = self._idle = 0
        self._changed = threading.Condition()

    def submit(
        self,
        run: Callable[[], None],
        owner: Hashable = None,
        refuse: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the call on an idle thread, on a new one below the limit, or when one is free.

        ``refuse`` is called instead, in this thread, if there is no room for it, now or later.
        """
        dropped = None
        with self._changed:
            self._waiting.setdefault(owner, deque()).append(_Call(run, refuse))
            self._count += 1
            if self._count > self._max_waiting:
                dropped = self._drop_one()
            if self._idle:
                self._idle -= 1  # here and not by the thread, or two calls would wake it twice
                self._changed.notify()
            elif self._threads < self.limit:
                self._threads += 1
                name = f"{self.name}-{self._threads}"
                # daemon: a call that hangs must not hold up the end of the process
                threading.Thread(target=self._work, name=name, daemon=True).start()
        if dropped is not None:
            dropped.refuse()

    def _drop_one(self) -> _Call:
        """Take out the newest call of the owner who has the most waiting."""
        owner = max(self._waiting, key=lambda one: len(self._waiting[one]))
        calls = self._waiting[owner]
        dropped = calls.pop()
        self._count -= 1
        if not calls:
            del self._waiting[owner]
        return dropped

    def _work(self) -> None:
        while True:
            with self._changed:
                while (owner := self._next_owner()) is _NOBODY:
                    self._idle += 1
                    self._changed.wait()
                calls = self._waiting[owner]
                call = calls.popleft()
                self._count -= 1
                if calls:
                    self._waiting.move_to_end(owner)
                else:
                    del self._waiting[owner]
                self._running[owner] = self._running.get(owner, 0) + 1
            call.run()
            with self._changed:
                self._running[owner] -= 1
                if not self._running[owner]:
                    del self._running[owner]

    def _next_owner(self) -> Hashable:
        """Say whose call is next, _NOBODY if none may be made now."""
        for owner in self._waiting:
            if owner is None or self._running.get(owner, 0) < self._share:
                return owner
        return _NOBODY


_NOBODY = object()
