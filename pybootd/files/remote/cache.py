"""Remote files by way of the cache: fetched once, read while they arrive, kept for the next time.

What is kept is served when the web server says that it is still the same (RFC 9110 13.1), and while
it gives no answer. A file that can't be kept is passed on as ``download`` does without a cache.
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

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.events import FileProblem
from pybootd.files.checksums import altered_error
from pybootd.files.remote.cache_store import CacheEntry, CacheFull, CacheStore, PartialFile
from pybootd.files.remote.download import ANSWER_TIMEOUT_S
from pybootd.files.remote.origin import HttpOrigin, OriginResponse, Version
from pybootd.files.remote.shares import Requester, count_held, find_victim
from pybootd.files.source import Body, FileError, StreamBody, Unavailable

log = logging.getLogger(__name__)

MAX_FILLS = 64
"""Files that are fetched into the cache at a time."""
MAX_FILLS_PER_CLIENT = 32
"""Files that are fetched into the cache at a time for one client."""
_MAX_HOSTS = 256  # web servers that are known to be down
FRESH_S = 0.5
"""Seconds that an answer holds for the next request: firmware asks twice for what it wants."""
DOWN_S = 10.0
"""Seconds for which a web server that failed isn't asked for what is kept."""


class UncachedOrigin(Protocol):
    """What passes files on without a cache."""

    origin: HttpOrigin

    def call_in_loop(self, callback: Callable[[float], None]) -> None:
        """Call back in the loop's thread."""

    def open_uncached(self, url: str, requester: Requester) -> StreamBody:
        """Pass a file on. Raises FileError."""

    def open_rest(
        self, url: str, offset: int, version: Version, requester: Requester
    ) -> StreamBody:
        """Pass the rest of a file on. Raises FileError."""


class CacheFill:
    """One file on its way into the cache. ``entry``: what was kept of it before.

    What changes is touched under ``lock``.
    """

    def __init__(
        self,
        cache: FileCache,
        url: str,
        entry: CacheEntry | None,
        pin: str,
        requester: Requester,
    ) -> None:
        self.requester = requester
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
        self.readers: set[FillBody] = set()
        self.shared = False  # other clients ask for it, too
        self._cache = cache
        self._response: OriginResponse | None = None

    @property
    def over(self) -> bool:
        """Nothing more will arrive."""
        return self.over_at is not None

    def is_for_requester_alone(self) -> bool:
        """Tell whether no other client waits for it or reads it."""
        return not self.shared

    def wait_until_readable(self, *, whole: bool) -> None:
        """Block until the answer is there, or all of it; raises FileError."""
        with self.lock:
            if whole:  # the web server's silence has a limit, so it comes to an end
                self.lock.wait_for(lambda: self.over)
            elif not self.lock.wait_for(
                lambda: self.over or self.part is not None, ANSWER_TIMEOUT_S
            ):
                text = f"{self.url}: no answer for {ANSWER_TIMEOUT_S:g} s"
                raise Unavailable(text, FileProblem.ORIGIN_UNREACHABLE)
            if self.error is not None:
                raise self.error

    def open_reader(self) -> FillBody | None:
        """Return a body that reads what arrives; None: it is over, so that there is none."""
        with self.lock:
            if self.over or self.part is None or self.version is None:
                return None
            reader = FillBody(self, self._cache.uncached, self.part, self.version)
            self.readers.add(reader)
            return reader

    def run_fill(self) -> None:
        """Fetch the file; for its own thread."""
        error: FileError | None = None
        try:
            self._fetch_file()
        except CacheFull as full:
            self.spilled = True
            self._cache.store.warn_not_kept(full)
        except FileError as refusal:
            error = refusal
        except Exception:
            log.exception("error while fetching %s", self.url)
            error = Unavailable(f"{self.url}: internal error", FileProblem.INTERNAL)
        self.stop_fill(error)
        if self._response is not None:
            self._response.close()
        if self.part is not None:
            self.part.close()

    def _fetch_file(self) -> None:
        origin, store, entry = self._cache.uncached.origin, self._cache.store, self.entry
        if entry is None:
            response: OriginResponse | None = origin.request_file(self.url, via=self.requester.via)
        else:
            response = origin.request_if_changed(
                self.url, entry.etag, entry.modified, self.requester.via
            )
        if response is None:
            return  # what is kept is still the same
        self._response, self.entry = response, None
        if not response.framed:
            self.spilled = True  # it can't be told whether it came whole
            return
        part = store.begin_file(response.version.size)
        with self.lock:
            self.part, self.version = part, response.version
            self.lock.notify_all()
        while data := response.read_piece():
            if self.over:
                return
            part.append_data(data)
            with self.lock:
                self.end += len(data)
                self._notify_readers()
        if self.pin and part.compute_digest() != self.pin:
            raise altered_error(self.url, part.compute_digest(), self.pin)
        self.entry = part.keep_file(self.url, response.version.etag, response.version.modified)

    def stop_fill(self, error: FileError | None) -> None:
        """End it; any thread may say so."""
        with self.lock:
            if not self.over:
                self.error = error
                self.over_at = monotonic()
            self._notify_readers()
            response = self._response
        if response is not None:
            response.abort_response()

    def _notify_readers(self) -> None:
        """Wake those that wait, and call the readers that have enough to go on."""
        self.lock.notify_all()
        ready = [reader for reader in self.readers if reader.callback and reader.has_news()]
        callbacks = [reader.callback for reader in ready]
        for reader in ready:
            reader.callback = None
        if callbacks:
            self._cache.uncached.call_in_loop(lambda now: _run_callbacks(callbacks, now))


def _run_callbacks(callbacks: list[Callable[[float], None] | None], now: float) -> None:
    for callback in callbacks:
        if callback is not None:
            callback(now)


class FillBody(StreamBody):
    """One reader of a file that is being fetched, at its own pace."""

    def __init__(
        self, fill: CacheFill, uncached: UncachedOrigin, part: PartialFile, version: Version
    ) -> None:
        self.size = version.size
        self.callback: Callable[[float], None] | None = None
        self._fill = fill
        self._uncached = uncached
        self._version = version
        self._descriptor = os.dup(part.descriptor)
        self._offset = 0
        self._wanted = 1
        self._rest: StreamBody | None = None  # what comes in place of a file that can't be kept

    def has_news(self) -> bool:
        """Tell whether as much as was asked for has arrived, or is known never to."""
        fill = self._fill
        return fill.over or fill.end - self._offset >= self._wanted

    def read(self, count: int) -> bytes | None:
        """Take the next octets, ``count`` of them or fewer at the end; None: not there yet."""
        if self._rest is not None:
            return self._rest.read(count)
        fill = self._fill
        with fill.lock:
            there, error = fill.end - self._offset, fill.error
            if there < count and not fill.over:
                self._wanted = count
                return None
        if there < count and error is not None:
            raise error
        if there < count and fill.spilled:
            self._rest = self._uncached.open_rest(
                fill.url, self._offset, self._version, fill.requester
            )
            return self._rest.read(count)
        data = os.pread(self._descriptor, count, self._offset)
        self._offset += len(data)
        return data

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when ``read`` has more to say than None."""
        if self._rest is not None:
            self._rest.when_ready(callback)
            return
        with self._fill.lock:
            if not self.has_news():
                self.callback = callback
                return
        self._uncached.call_in_loop(callback)

    def close(self) -> None:
        """Read no more; may be called twice."""
        self.callback = None
        with self._fill.lock:
            self._fill.readers.discard(self)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        if self._rest is not None:
            self._rest.close()


class FileCache:
    """Opens remote files by way of the cache; everything here blocks."""

    def __init__(self, uncached: UncachedOrigin, store: CacheStore) -> None:
        self.uncached = uncached
        self.store = store
        self._lock = threading.Lock()
        self._fills: dict[str, CacheFill] = {}  # the newest of each URL
        # host -> when it is asked again for what is kept
        self._down: BoundedMap[str, float] = BoundedMap(_MAX_HOSTS)
        self._closed = False

    def open_url(self, url: str, pin: str, requester: Requester) -> Body:
        """Open a file; with a pin, whole and with that checksum. Raises FileError."""
        body: Body | None
        if pin and (body := self.store.open_file(pin)):
            return body
        host = urlsplit(url).netloc
        if not pin and monotonic() < self._down.get(host, 0.0) and (body := self._open_stale(url)):
            return body
        for _ in range(2):
            fill = self._start_or_join_fill(url, pin, requester)
            try:
                fill.wait_until_readable(whole=bool(pin))
            except Unavailable as error:
                return self._open_despite(url, host, pin, error)
            self._note_up(host)
            if fill.spilled:
                return self._open_uncached(url, pin, requester)
            if reader := fill.open_reader():
                return reader
            entry = fill.entry
            if entry is not None and pin and entry.digest != pin:
                raise altered_error(url, entry.digest, pin)
            if entry is not None and (body := self.store.open_file(entry.digest)):
                return body
            self._forget_fill(fill)  # what was kept is damaged: it is fetched again
        return self._open_uncached(url, pin, requester)

    def close(self) -> None:
        """End every fill."""
        with self._lock:
            self._closed = True
            fills = list(self._fills.values())
        for fill in fills:
            fill.stop_fill(Unavailable("the daemon stops", FileProblem.STOPPED))

    def _start_or_join_fill(self, url: str, pin: str, requester: Requester) -> CacheFill:
        """Join the fill that is under way, or was a moment ago, or begin one."""
        with self._lock:
            now = monotonic()
            for old in [one for one in self._fills.values() if _is_over_long(one, now)]:
                del self._fills[old.url]
            fill = self._fills.get(url)
            if fill is not None and fill.pin == pin and not (fill.error and fill.part):
                fill.shared |= fill.requester.peer != requester.peer
                return fill
            if self._closed:
                raise Unavailable("the daemon stops", FileProblem.STOPPED)
            self._make_room(url, requester.peer)
            entry = None if pin else self.store.find_entry(url)
            fill = self._fills[url] = CacheFill(self, url, entry, pin, requester)
        # daemon: one that hangs must not hold up the end of the process
        threading.Thread(target=fill.run_fill, name="fetch", daemon=True).start()
        return fill

    def _make_room(self, url: str, peer: str) -> None:
        """See that one more fill may begin; the newest of the greediest client gives way."""
        running = [one for one in self._fills.values() if not one.over]
        if count_held(running, peer) >= MAX_FILLS_PER_CLIENT:
            text = f"{url}: {MAX_FILLS_PER_CLIENT} files are being fetched for this client"
            raise Unavailable(text, FileProblem.BUSY)
        if len(running) < MAX_FILLS:
            return
        text = f"{url}: {MAX_FILLS} files are being fetched, and no more at once"
        victim = find_victim([one for one in running if one.is_for_requester_alone()], peer)
        if victim is None:
            raise Unavailable(text, FileProblem.BUSY)
        del self._fills[victim.url]
        victim.stop_fill(Unavailable("it gave way to another client's", FileProblem.BUSY))

    def _forget_fill(self, fill: CacheFill) -> None:
        with self._lock:
            if self._fills.get(fill.url) is fill:
                del self._fills[fill.url]

    def _open_uncached(self, url: str, pin: str, requester: Requester) -> StreamBody:
        if pin:
            text = f"{url} is pinned, and can't be kept on disk to be checked"
            raise Unavailable(text, FileProblem.UNCHECKED)
        return self.uncached.open_uncached(url, requester)

    def _open_stale(self, url: str) -> Body | None:
        entry = self.store.find_entry(url)
        return self.store.open_file(entry.digest) if entry is not None else None

    def _open_despite(self, url: str, host: str, pin: str, error: Unavailable) -> Body:
        """Serve what is kept of a file whose web server fails, else raise what it says."""
        body = None if pin else self._open_stale(url)
        if body is None:
            raise error
        with self._lock:
            first = host not in self._down
            self._down[host] = monotonic() + DOWN_S
        if first:
            log.warning("%s; until it answers, what the cache has is served", error)
        return body

    def _note_up(self, host: str) -> None:
        with contextlib.suppress(KeyError):
            del self._down[host]
            log.info("%s answers again", host)


def _is_over_long(fill: CacheFill, now: float) -> bool:
    return fill.over_at is not None and now - fill.over_at > FRESH_S
