"""Remote files by way of the store: fetched once, read while they arrive, kept for the next time.

What is kept is served when the web server says that it is still the same (RFC 9110 13.1), and while
it says nothing at all. A file that can't be kept is passed on as ``remote`` does without a store.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit

from pybootd.core.events import FileProblem
from pybootd.files.checksums import differs
from pybootd.files.remote.cache_store import CacheEntry, CacheStore, Full, PartialFile
from pybootd.files.remote.origin import HttpOrigin, OriginResponse, Version
from pybootd.files.source import Body, FileError, StreamBody, Unavailable

log = logging.getLogger(__name__)

MOST = 64  # fetches at a time
FRESH = 0.5  # seconds that an answer holds for who asks next: firmware asks twice for what it wants
DOWN = 10.0  # seconds for which a web server that failed isn't asked for what is kept
ANSWER = 60.0  # seconds that an answer may take, redirections, name service and all


class Passing(Protocol):
    """What passes files on without keeping them."""

    origin: HttpOrigin

    def post(self, callback: Callable[[float], None]) -> None:
        """Call back in the loop's thread."""

    def pass_on(self, url: str) -> StreamBody:
        """Pass a file on. Raises FileError."""

    def go_on_from(self, url: str, offset: int, version: Version) -> StreamBody:
        """Pass the rest of a file on. Raises FileError."""


class Fetch:
    """One file on its way into the store. ``entry``: what was kept of it before.

    Whatever changes is touched under ``lock``.
    """

    def __init__(self, keeper: FileCache, url: str, entry: CacheEntry | None, pin: str) -> None:
        self.lock = threading.Condition()
        self.url = url
        self.entry = entry
        self.pin = pin
        self.version: Version | None = None
        self.part: PartialFile | None = None
        self.end = 0  # octets that can be read
        self.spilled = False  # it could not be kept
        self.error: FileError | None = None
        self.over_at: float | None = None
        self.readers: set[Arriving] = set()
        self._keeper = keeper
        self._answer: OriginResponse | None = None

    @property
    def over(self) -> bool:
        """Nothing more will arrive."""
        return self.over_at is not None

    def wait(self, *, whole: bool) -> None:
        """Block until the answer is there, or all of it; raises FileError."""
        with self.lock:
            if whole:  # the web server's silence has a limit, so it comes to an end
                self.lock.wait_for(lambda: self.over)
            elif not self.lock.wait_for(lambda: self.over or self.part is not None, ANSWER):
                text = f"{self.url}: no answer for {ANSWER:g} s"
                raise Unavailable(text, FileProblem.ORIGIN_UNREACHABLE)
            if self.error is not None:
                raise self.error

    def read(self) -> Arriving | None:
        """Return a body that reads what arrives; None: it is over, so that there is none."""
        with self.lock:
            if self.over or self.part is None or self.version is None:
                return None
            reader = Arriving(self, self._keeper.passing, self.part, self.version)
            self.readers.add(reader)
            return reader

    def run(self) -> None:
        """Fetch it; for a thread of its own."""
        error: FileError | None = None
        try:
            self._run()
        except Full as full:
            self.spilled = True
            self._keeper.store.complain(full)
        except FileError as refusal:
            error = refusal
        except Exception:
            log.exception("error while fetching %s", self.url)
            error = Unavailable(f"{self.url}: internal error", FileProblem.INTERNAL)
        self.stop(error)
        if self._answer is not None:
            self._answer.close()
        if self.part is not None:
            self.part.close()

    def _run(self) -> None:
        origin, store, entry = self._keeper.passing.origin, self._keeper.store, self.entry
        if entry is None:
            answer: OriginResponse | None = origin.get(self.url)
        else:
            answer = origin.get_if_changed(self.url, entry.etag, entry.modified)
        if answer is None:
            return  # what is kept is still the same
        self._answer, self.entry = answer, None
        if not answer.framed:
            self.spilled = True  # nobody could tell whether it came whole
            return
        part = store.begin(answer.version.size)
        with self.lock:
            self.part, self.version = part, answer.version
            self.lock.notify_all()
        while data := answer.read():
            if self.over:
                return
            part.write(data)
            with self.lock:
                self.end += len(data)
                self._tell()
        if self.pin and part.digest() != self.pin:
            raise differs(self.url, part.digest(), self.pin)
        self.entry = part.keep(self.url, answer.version.etag, answer.version.modified)

    def stop(self, error: FileError | None) -> None:
        """End it; any thread may say so."""
        with self.lock:
            if not self.over:
                self.error = error
                self.over_at = monotonic()
            self._tell()
            answer = self._answer
        if answer is not None:
            answer.stop()

    def _tell(self) -> None:
        """Tell whoever waits, and the readers that have enough to go on."""
        self.lock.notify_all()
        ready = [reader for reader in self.readers if reader.callback and reader.may_go_on()]
        callbacks = [reader.callback for reader in ready]
        for reader in ready:
            reader.callback = None
        if callbacks:
            self._keeper.passing.post(lambda now: _call(callbacks, now))


def _call(callbacks: list[Callable[[float], None] | None], now: float) -> None:
    for callback in callbacks:
        if callback is not None:
            callback(now)


class Arriving(StreamBody):
    """One reader of a file that is being fetched, at its own pace."""

    def __init__(self, fetch: Fetch, passing: Passing, part: PartialFile, version: Version) -> None:
        self.size = version.size
        self.callback: Callable[[float], None] | None = None
        self._fetch = fetch
        self._passing = passing
        self._version = version
        self._descriptor = os.dup(part.descriptor)
        self._offset = 0
        self._wanted = 1
        self._rest: StreamBody | None = None  # what comes in place of a file that can't be kept

    def may_go_on(self) -> bool:
        """Tell whether as much as was asked for has arrived, or is known never to."""
        fetch = self._fetch
        return fetch.over or fetch.end - self._offset >= self._wanted

    def read(self, count: int) -> bytes | None:
        """Take the next octets, ``count`` of them or fewer at the end; None: not there yet."""
        if self._rest is not None:
            return self._rest.read(count)
        fetch = self._fetch
        with fetch.lock:
            there, error = fetch.end - self._offset, fetch.error
            if there < count and not fetch.over:
                self._wanted = count
                return None
        if there < count and error is not None:
            raise error
        if there < count and fetch.spilled:
            self._rest = self._passing.go_on_from(fetch.url, self._offset, self._version)
            return self._rest.read(count)
        data = os.pread(self._descriptor, count, self._offset)
        self._offset += len(data)
        return data

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when ``read`` has more to say than None."""
        if self._rest is not None:
            self._rest.when_ready(callback)
            return
        with self._fetch.lock:
            if not self.may_go_on():
                self.callback = callback
                return
        self._passing.post(callback)

    def close(self) -> None:
        """Read no more; may be called twice."""
        self.callback = None
        with self._fetch.lock:
            self._fetch.readers.discard(self)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        if self._rest is not None:
            self._rest.close()


class FileCache:
    """Opens remote files by way of the store; everything here blocks."""

    def __init__(self, passing: Passing, store: CacheStore) -> None:
        self.passing = passing
        self.store = store
        self._lock = threading.Lock()
        self._fetches: dict[str, Fetch] = {}  # the newest of each URL
        self._down: dict[str, float] = {}  # host -> when it is asked again for what is kept
        self._closed = False

    def open(self, url: str, pin: str = "") -> Body:
        """Open a file; with a pin, whole and with that checksum. Raises FileError."""
        body: Body | None
        if pin and (body := self.store.open(pin)):
            return body
        host = urlsplit(url).netloc
        if not pin and monotonic() < self._down.get(host, 0.0) and (body := self._stale(url)):
            return body
        for _ in range(2):
            fetch = self._fetch(url, pin)
            try:
                fetch.wait(whole=bool(pin))
            except Unavailable as error:
                return self._instead(url, host, pin, error)
            self._up(host)
            if fetch.spilled:
                return self._passed(url, pin)
            if reader := fetch.read():
                return reader
            entry = fetch.entry
            if entry is not None and pin and entry.digest != pin:
                raise differs(url, entry.digest, pin)
            if entry is not None and (body := self.store.open(entry.digest)):
                return body
            self._forget(fetch)  # what was kept is damaged: fetch it anew
        return self._passed(url, pin)

    def close(self) -> None:
        """End every fetch."""
        with self._lock:
            self._closed = True
            fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.stop(Unavailable("the daemon stops", FileProblem.STOPPED))

    def _fetch(self, url: str, pin: str) -> Fetch:
        """Join the fetch that is under way, or was a moment ago, or begin one."""
        with self._lock:
            now = monotonic()
            for old in [one for one in self._fetches.values() if _is_old(one, now)]:
                del self._fetches[old.url]
            fetch = self._fetches.get(url)
            if fetch is not None and fetch.pin == pin and not (fetch.error and fetch.part):
                return fetch
            if self._closed:
                raise Unavailable("the daemon stops", FileProblem.STOPPED)
            if sum(not one.over for one in self._fetches.values()) >= MOST:
                text = f"{url}: {MOST} fetches are under way, and no more at once"
                raise Unavailable(text, FileProblem.BUSY)
            entry = None if pin else self.store.find(url)
            fetch = self._fetches[url] = Fetch(self, url, entry, pin)
        # daemon: one that hangs must not hold up the end of the process
        threading.Thread(target=fetch.run, name="fetch", daemon=True).start()
        return fetch

    def _forget(self, fetch: Fetch) -> None:
        with self._lock:
            if self._fetches.get(fetch.url) is fetch:
                del self._fetches[fetch.url]

    def _passed(self, url: str, pin: str) -> StreamBody:
        if pin:
            text = f"{url} is pinned, and can't be kept on disk to be checked"
            raise Unavailable(text, FileProblem.UNCHECKED)
        return self.passing.pass_on(url)

    def _stale(self, url: str) -> Body | None:
        entry = self.store.find(url)
        return self.store.open(entry.digest) if entry is not None else None

    def _instead(self, url: str, host: str, pin: str, error: Unavailable) -> Body:
        """Serve what is kept of a file whose web server fails, else raise what it says."""
        body = None if pin else self._stale(url)
        if body is None:
            raise error
        with self._lock:
            first = host not in self._down
            self._down[host] = monotonic() + DOWN
        if first:
            log.warning("%s; until it answers, what the cache has is served", error)
        return body

    def _up(self, host: str) -> None:
        with contextlib.suppress(KeyError):
            del self._down[host]
            log.info("%s answers again", host)


def _is_old(fetch: Fetch, now: float) -> bool:
    return fetch.over_at is not None and now - fetch.over_at > FRESH
