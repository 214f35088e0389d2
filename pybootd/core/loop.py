"""The select loop: readiness, timers, worker calls and signals. It knows no protocol.

Everything that the loop calls back gets ``now``: seconds of a monotonic clock, read once a turn.
No other module reads that clock, so that every decision can be tested without sleeping.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import select
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar, Protocol, TypeVar

from pybootd.core.workers import Later, TaskResult, TooManyWaitingError, WorkerPool

log = logging.getLogger(__name__)

T = TypeVar("T")
Callback = Callable[[float], None]
Guard = Callable[[Callback], Callback]


class HasFileno(Protocol):
    """Anything with a file descriptor: a socket, say."""

    def fileno(self) -> int:
        """Return the file descriptor."""
        ...


class Timer:
    """One call at a moment to come; ``cancel`` takes it back."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Forget the call; harmless when it has already happened."""
        self.callback = None


class Selector:
    """A selector of the standard library, spoken to as ``select.epoll`` is."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.register = self._selector.register
        self.modify = self._selector.modify
        self.unregister = self._selector.unregister
        self.close = self._selector.close

    def poll(self, timeout: float | None, most: int = -1) -> list[tuple[int, int]]:
        """Return (descriptor, events) of those that are ready; ``timeout`` in seconds."""
        return [(key.fd, events) for key, events in self._selector.select(timeout)]


# selectors.EpollSelector spends more on each event than it takes to read a datagram
if sys.platform == "linux":
    Poller = select.epoll
    _READ, _WRITE, _ONCE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
else:
    Poller = Selector
    _READ, _WRITE, _ONCE = selectors.EVENT_READ, selectors.EVENT_WRITE, 0


class Loop:
    """One thread that waits for files, timers, workers and signals, and calls back.

    A callback that raises is logged with its traceback and ends nothing else. ``guard`` wraps every
    callback as it is handed over, None: they are called as they are. The tests use it to fail a
    callback that holds the loop up.
    """

    guard: ClassVar[Guard | None] = None

    def __init__(self, clock: Callable[[], float] = time.monotonic, workers: int = 16) -> None:
        self._clock = clock
        self._workers = workers
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: deque[Callback] = deque()
        self._pools: dict[str, WorkerPool] = {}
        self._signals: dict[int, Callback] = {}
        self._previous: dict[int, Any] = {}
        self._running = False
        self._poller: Poller | None = None
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._edges: set[int] = set()  # those that are told of once for each arrival
        self._wake_in: socket.socket | None = None
        self._wake_out: socket.socket | None = None
        self.now = clock()
        self._longest = 0.0  # seconds of a turn, while timers run

    def open(self) -> None:
        """Take the descriptors that the loop itself needs."""
        self._poller = Poller()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self.watch(self._wake_out, self._woken)

    def close(self) -> None:
        """Give back descriptors and signal handlers; worker threads end with the process."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._previous:
            signal.set_wakeup_fd(-1)
        self._previous.clear()
        if self._poller is not None:
            self._poller.close()
        self._readers.clear()
        self._writers.clear()
        self._edges.clear()
        for end in (self._wake_in, self._wake_out):
            if end is not None:
                end.close()
        self._poller = self._wake_in = self._wake_out = None

    # files

    def watch(
        self,
        file: HasFileno,
        readable: Callback | None = None,
        writable: Callback | None = None,
        *,
        once: bool = False,
    ) -> None:
        """Call ``readable`` or ``writable`` whenever the file is; replaces an earlier watch.

        ``once``: where the system can, only once for each arrival, which saves it work. A reader
        that leaves something then has to look again without being told. Another ``readable`` for a
        file that is watched so costs no system call.
        """
        if readable is None and writable is None:
            self.unwatch(file)
            return
        if (guard := Loop.guard) is not None:
            readable = readable and guard(readable)
            writable = writable and guard(writable)
        number, poller = file.fileno(), self._open_poller()
        if once and readable is not None and writable is None:
            if number in self._edges:
                self._readers[number] = readable
                return
            self._edges.add(number)
        else:
            self._edges.discard(number)
        known = number in self._readers or number in self._writers
        self._readers.pop(number, None)
        self._writers.pop(number, None)
        if readable is not None:
            self._readers[number] = readable
        if writable is not None:
            self._writers[number] = writable
        events = (_READ if readable else 0) | (_WRITE if writable else 0) | (_ONCE if once else 0)
        if known:
            poller.modify(number, events)
        else:
            poller.register(number, events)

    def unwatch(self, file: HasFileno) -> None:
        """Stop watching; harmless when it isn't watched. To be called before the file is closed."""
        if self._forget(file.fileno()):
            self._open_poller().unregister(file.fileno())

    def close_watched(self, sock: socket.SocketType) -> None:
        """Close a socket that no other descriptor stands for, and so stop watching it."""
        number = sock.fileno()
        # epoll(7): a file that is closed is no longer watched, so that needs no other call
        if self._forget(number) and sys.platform != "linux":
            self._open_poller().unregister(number)
        sock.close()

    def _forget(self, number: int) -> bool:
        self._edges.discard(number)
        read = self._readers.pop(number, None)
        written = self._writers.pop(number, None)
        return read is not None or written is not None

    @property
    def watched(self) -> int:
        """How many files are watched, the loop's own one left out."""
        return len(self._readers.keys() | self._writers.keys()) - (self._wake_out is not None)

    def _open_poller(self) -> Poller:
        if self._poller is None:
            raise RuntimeError("the loop is not open")
        return self._poller

    # timers

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call back once at ``when`` (seconds, monotonic) or soon after."""
        timer = Timer(when, _guarded(callback))
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Call back once, ``delay`` seconds after this turn's ``now``."""
        return self.call_at(self.now + delay, callback)

    # workers and other threads

    def call_soon(self, callback: Callback) -> None:
        """Call back at the end of this turn; for callbacks, in the loop's own thread."""
        self._soon.append(_guarded(callback))

    def call_from_thread(self, callback: Callback) -> None:
        """Call back in the loop's thread, in the next turn; may be called from any thread."""
        self._soon.append(_guarded(callback))
        self._wake()

    def run_in_worker(self, later: Later[T], done: Callable[[TaskResult[T], float], None]) -> None:
        """Run a blocking call on a worker, then ``done(result, now)`` in the loop's thread.

        The result of a call that found no room is TooManyWaitingError.
        """

        def run() -> None:
            result: TaskResult[T]
            try:
                result = TaskResult(later.call())
            except BaseException as error:  # the loop's side decides what it means
                result = TaskResult(None, error)
            self.call_from_thread(lambda now: done(result, now))

        def refuse() -> None:
            why = TooManyWaitingError(f"too many calls wait for the workers of {later.pool}")
            self.call_from_thread(lambda now: done(TaskResult(None, why), now))

        pool = self._pools.get(later.pool)
        if pool is None:
            pool = self._pools[later.pool] = WorkerPool(later.pool, later.workers or self._workers)
        pool.submit(run, later.owner, refuse)

    def _wake(self) -> None:
        wake = self._wake_in
        if wake is not None:
            # full: a wake-up is already on its way; closed: there is no loop to wake
            with contextlib.suppress(BlockingIOError, OSError):
                wake.send(b"\0")

    def _woken(self, now: float) -> None:
        wake = self._wake_out
        if wake is None:
            return
        with contextlib.suppress(BlockingIOError):
            # set_wakeup_fd writes the signal's number; a zero byte is a plain wake-up
            for number in wake.recv(4096):
                handler = self._signals.get(number)
                if handler is not None:
                    self._call(handler, now)

    # signals

    def on_signal(self, number: signal.Signals, callback: Callback) -> None:
        """Call back in a turn of the loop when the process gets the signal (main thread only)."""
        if self._wake_in is None:
            raise RuntimeError("the loop is not open")
        if not self._previous:
            signal.set_wakeup_fd(self._wake_in.fileno(), warn_on_full_buffer=False)
        self._signals[number] = callback
        previous = signal.signal(number, _noted)
        self._previous.setdefault(number, previous)

    # turns

    def run(self) -> None:
        """Turn until ``stop``."""
        self._running = True
        while self._running:
            self.turn(None)

    def stop(self) -> None:
        """Leave ``run`` at the end of this turn; to be called from a callback."""
        self._running = False

    def turn(self, limit: float | None = 0.0) -> None:
        """Wait until something is due, ``limit`` seconds at most, and call back whatever is."""
        ready = self._open_poller().poll(self._patience(limit))
        now = self.now = self._clock()
        readers = self._readers
        for number, events in ready:
            try:
                if events == _READ and (reader := readers.get(number)) is not None:
                    reader(now)
                else:
                    self._ready(number, events, now)
            except Exception:
                log.exception("error while serving a socket; the daemon goes on")
        if self._timers:
            self._run_timers(now)
        for _ in range(len(self._soon)):
            self._call(self._soon.popleft(), now)

    def _ready(self, number: int, events: int, now: float) -> None:
        """Call the reader, the writer, or both where there is an error or the other side's end."""
        writer = self._writers.get(number)
        if events & ~_WRITE:
            self._readers.get(number, _noone)(now)
        # the reader may have closed the file, or have it watched otherwise
        if events & ~_READ and writer is not None and self._writers.get(number) is writer:
            writer(now)

    def _patience(self, limit: float | None) -> float | None:
        if self._soon:
            return 0.0
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if not timers:
            return limit
        clock = self._clock()
        if clock - self.now > self._longest:
            self._longest = clock - self.now
        wait = max(0.0, timers[0][0] - clock)
        return wait if limit is None else min(wait, limit)

    def take_longest(self) -> float:
        """Return the seconds that the longest turn took since the last call."""
        longest, self._longest = self._longest, 0.0
        return longest

    def _run_timers(self, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._call(callback, now)

    def _call(self, callback: Callback, now: float) -> None:
        try:
            callback(now)
        except Exception:
            log.exception("error in a timer or a worker's result; the daemon goes on")


def _guarded(callback: Callback) -> Callback:
    return callback if Loop.guard is None else Loop.guard(callback)


def _noone(now: float) -> None:
    """Do nothing: the file was closed earlier in this turn."""


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: the signal's number is on its way through the wake-up socket."""
