"""The select loop: readiness, timers, worker calls and signals. It knows no protocol.

Everything that the loop calls back gets ``now``: seconds of a monotonic clock, read once a turn.
No other module reads that clock, so that every decision can be tested without sleeping.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import queue
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
Callback = Callable[[float], None]


class HasFileno(Protocol):
    """Anything with a file descriptor: a socket, say."""

    def fileno(self) -> int:
        """Return the file descriptor."""
        ...


@dataclass(frozen=True, slots=True)
class Later(Generic[T]):
    """An answer that needs someone else: ``call`` blocks, so the loop runs it on a worker.

    ``pool`` names the workers that may run it; a pool whose threads are all stuck delays no other.
    """

    call: Callable[[], T]
    pool: str = "default"


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a worker call came to: a value, or the exception that it raised."""

    value: T | None
    error: BaseException | None = None

    def get(self) -> T:
        """Return the value, or raise what the call raised."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class Timer:
    """One call at a moment to come; ``cancel`` takes it back."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Forget the call; harmless when it has already happened."""
        self.callback = None


class Pool:
    """Worker threads for calls that block; started when needed, never waited for at the end."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads = 0
        self._idle = threading.Semaphore(0)

    def submit(self, call: Callable[[], None]) -> None:
        """Run the call on an idle thread, on a new one below the limit, or when one is free."""
        self._calls.put(call)
        if not self._idle.acquire(blocking=False) and self._threads < self.limit:
            self._threads += 1
            name = f"{self.name}-{self._threads}"
            # daemon: a call that hangs must not hold up the end of the process
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._calls.get()()
            self._idle.release()


class Loop:
    """One thread that waits for files, timers, workers and signals, and calls back.

    A callback that raises is logged with its traceback and ends nothing else.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, workers: int = 16) -> None:
        self._clock = clock
        self._workers = workers
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: deque[Callback] = deque()
        self._pools: dict[str, Pool] = {}
        self._signals: dict[int, Callback] = {}
        self._previous: dict[int, Any] = {}
        self._running = False
        self._selector: selectors.BaseSelector | None = None
        self._wake_in: socket.socket | None = None
        self._wake_out: socket.socket | None = None
        self.now = clock()

    def open(self) -> None:
        """Take the descriptors that the loop itself needs."""
        self._selector = selectors.DefaultSelector()
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
        if self._selector is not None:
            self._selector.close()
        for end in (self._wake_in, self._wake_out):
            if end is not None:
                end.close()
        self._selector = self._wake_in = self._wake_out = None

    # files

    def watch(
        self, file: HasFileno, readable: Callback | None = None, writable: Callback | None = None
    ) -> None:
        """Call ``readable`` or ``writable`` whenever the file is; replaces an earlier watch."""
        events = (selectors.EVENT_READ if readable else 0) | (
            selectors.EVENT_WRITE if writable else 0
        )
        if not events:
            self.unwatch(file)
            return
        selector = self._open_selector()
        try:
            selector.modify(file, events, (readable, writable))
        except KeyError:
            selector.register(file, events, (readable, writable))

    def unwatch(self, file: HasFileno) -> None:
        """Stop watching; harmless when it isn't watched. To be called before the file is closed."""
        with contextlib.suppress(KeyError, ValueError):
            self._open_selector().unregister(file)

    def _open_selector(self) -> selectors.BaseSelector:
        if self._selector is None:
            raise RuntimeError("the loop is not open")
        return self._selector

    # timers

    def at(self, when: float, callback: Callback) -> Timer:
        """Call back once at ``when`` (seconds, monotonic) or soon after."""
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def after(self, delay: float, callback: Callback) -> Timer:
        """Call back once, ``delay`` seconds after this turn's ``now``."""
        return self.at(self.now + delay, callback)

    # workers and other threads

    def post(self, callback: Callback) -> None:
        """Call back in the loop's thread, in the next turn; may be called from any thread."""
        self._soon.append(callback)
        self._wake()

    def work(self, later: Later[T], done: Callable[[Outcome[T], float], None]) -> None:
        """Run a blocking call on a worker, then ``done(outcome, now)`` in the loop's thread."""

        def run() -> None:
            outcome: Outcome[T]
            try:
                outcome = Outcome(later.call())
            except BaseException as error:  # the loop's side decides what it means
                outcome = Outcome(None, error)
            self.post(lambda now: done(outcome, now))

        pool = self._pools.get(later.pool)
        if pool is None:
            pool = self._pools[later.pool] = Pool(later.pool, self._workers)
        pool.submit(run)

    def _wake(self) -> None:
        wake = self._wake_in
        if wake is not None:
            # full: a wake-up is already on its way; closed: nobody is left to wake
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
        selector = self._open_selector()
        ready = selector.select(self._patience(limit))
        now = self.now = self._clock()
        for key, events in ready:
            readable, writable = key.data
            try:
                if events & selectors.EVENT_READ and readable is not None:
                    readable(now)
                if events & selectors.EVENT_WRITE and writable is not None and self._same(key):
                    writable(now)
            except Exception:
                log.exception("error while serving a socket; the daemon goes on")
        if self._timers:
            self._run_timers(now)
        for _ in range(len(self._soon)):
            self._call(self._soon.popleft(), now)

    def _same(self, key: selectors.SelectorKey) -> bool:
        """Tell whether the file is still watched as it was (its reader may have closed it)."""
        return self._open_selector().get_map().get(key.fileobj) == key

    def _patience(self, limit: float | None) -> float | None:
        if self._soon:
            return 0.0
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if not timers:
            return limit
        wait = max(0.0, timers[0][0] - self._clock())
        return wait if limit is None else min(wait, limit)

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


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: the signal's number is on its way through the wake-up socket."""
