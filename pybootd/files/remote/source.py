"""Files of web servers, passed on while they arrive. With ``[cache]``, ``kept`` stores them.

Clients that ask for one file at about the same time follow one download: a window of its latest
octets. The download waits when the window is full and the last of them is not through; a client
that holds up most of the others is left behind, and takes a download of its own when it reads on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from urllib.parse import quote, urlsplit

from pybootd.config.ini import ConfigError, Section
from pybootd.core.events import FileProblem
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files.filters import is_url
from pybootd.files.remote.cache import FileCache
from pybootd.files.remote.cache_store import CacheStore
from pybootd.files.remote.origin import HttpOrigin, OriginResponse, Version
from pybootd.files.source import (
    Body,
    Equipment,
    FileError,
    FileRequest,
    Source,
    StreamBody,
    Unavailable,
)

log = logging.getLogger(__name__)

MEMORY = 32 << 20  # octets that the windows of all downloads share
LARGEST, SMALLEST = 4 << 20, 256 << 10  # octets of one window; the smallest may be beyond MEMORY
MOST = 64  # downloads at a time
PATIENCE = 0.5  # seconds that most readers may be held up before the last one is left behind
LINGER = 0.5  # seconds that a download waits for readers: firmware asks twice for what it wants
ANSWER = 60.0  # seconds that an answer may take, redirections, name service and all


class RemoteBody(StreamBody):
    """One reader of a download: a place in its window, or behind it."""

    download: Download

    def __init__(self, source: RemoteSource) -> None:
        self.size: int | None = None
        self.offset = 0
        self.callback: Callable[[float], None] | None = None
        self._source = source
        self._index = 0  # of the chunk that is read next, among all that ever arrived
        self._within = 0
        self._early: list[bytes] = []  # taken already, because more was asked than a window holds

    def follow(self, download: Download) -> None:
        """Read from this download, whose window begins where this reader is."""
        self.download = download
        self._index = self._within = 0
        download.readers.add(self)

    def read(self, count: int) -> bytes | None:
        """Take the next octets, ``count`` of them or fewer at the end; None: not there yet."""
        download = self.download
        with download.lock:
            if self in download.readers:
                return self._read(count)
        self._source.follow_alone(self)
        return None

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when more has arrived, or it is known that nothing will."""
        download = self.download
        with download.lock:
            if self.offset == download.end and not download.over:
                self.callback = callback
                return
        self._source.post(callback)

    def close(self) -> None:
        """Read no more."""
        self.callback = None
        self.download.leave(self)

    def _read(self, count: int) -> bytes | None:
        download = self.download
        early = sum(map(len, self._early))
        there = download.end - self.offset
        if early + there < count and not download.ended:
            if download.error is not None:
                raise download.error
            if there:
                self._early.append(self._take(there))
            return None
        data = self._take(min(count - early, there))
        if self._early:
            data = b"".join((*self._early, data))
            self._early.clear()
        return data

    def _take(self, count: int) -> bytes:
        """Take ``count`` octets that are there."""
        download = self.download
        pieces = []
        left = count
        while left:
            chunk = download.chunks[self._index - download.first]
            piece = chunk[self._within : self._within + left]
            pieces.append(piece)
            left -= len(piece)
            self._within += len(piece)
            if self._within == len(chunk):
                self._index += 1
                self._within = 0
        self.offset += count
        if download.full:
            download.make_room()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Download:
    """One file on its way, and the window that its readers look through.

    Whatever changes is touched under ``lock``, by its own thread and by the readers'.
    """

    def __init__(self, source: RemoteSource, url: str, start: int, version: Version | None) -> None:
        self.lock = threading.Condition()
        self.url = url
        self.version = version
        self.readers: set[RemoteBody] = set()
        self.chunks: list[bytes] = []
        self.first = 0  # index of the first chunk in the window
        self.base = self.end = start  # octets before the window, and up to its end
        self.answered = self.ended = self.full = False
        self.error: FileError | None = None
        self._source = source
        self._answer: OriginResponse | None = None
        self._held = 0.0  # seconds that most readers were held up by the last

    @property
    def over(self) -> bool:
        """Tell whether nothing more will arrive."""
        return self.ended or self.error is not None

    # for readers

    def join(self, reader: RemoteBody) -> bool:
        """Take a new reader in; False when it is too late for one."""
        with self.lock:
            if self.error is not None:
                return not self.answered  # it shares the refusal
            if self.base:
                return False
            reader.follow(self)
            self.lock.notify_all()
            return True

    def leave(self, reader: RemoteBody) -> None:
        """Forget a reader."""
        with self.lock:
            self.readers.discard(reader)
            self.lock.notify_all()

    def wait_for_answer(self) -> int | None:
        """Block until the answer is there, and return the size that it says; raises FileError."""
        with self.lock:
            self.lock.wait_for(lambda: self.answered or self.error is not None, ANSWER)
            if self.answered and self.version is not None:
                return self.version.size
            text = f"{self.url}: no answer for {ANSWER:g} s"
            raise self.error or Unavailable(text, FileProblem.ORIGIN_UNREACHABLE)

    def make_room(self) -> None:
        """Wake the download up when a quarter of the full window has been read by all."""
        slowest = min(reader.offset for reader in self.readers)
        if slowest - self.base >= (self.end - self.base) // 4:
            self.full = False
            self.lock.notify_all()

    def fail(self, error: FileError) -> None:
        """End it with an error, which every reader gets; any thread may say so."""
        with self.lock:
            if not self.over:
                self.error = error
            self._tell()
            answer = self._answer
        if answer is not None:
            answer.stop()

    # its own thread

    def run(self) -> None:
        """Fetch the file, then stay for readers that come within a moment."""
        try:
            self._fetch()
        except FileError as error:
            self.fail(error)
        except Exception:
            log.exception("error while fetching %s", self.url)
            self.fail(Unavailable(f"{self.url}: internal error", FileProblem.INTERNAL))
        finally:
            if self._answer is not None:
                self._answer.close()
        with self.lock:
            if not self.answered:
                self.lock.wait_for(lambda: self._source.closed, LINGER)
            while self.error is None and not self._source.closed:
                self._wait_for_readers()
        self._source.keep(self.base - self.end)
        self._source.forget(self)

    def _fetch(self) -> None:
        answer = self._source.origin.get(self.url, self.end, self.version)
        with self.lock:
            self._answer, self.version, self.answered = answer, answer.version, True
            self._tell()
        while self._wait_for_room():
            data = answer.read()
            with self.lock:
                if data:
                    self.chunks.append(data)
                    self.end += len(data)
                    self._source.keep(len(data))
                elif self.error is None:
                    self.ended = True
                self._tell()
                if self.over:
                    return

    def _wait_for_room(self) -> bool:
        """Block while the window is full; False when nobody is left to read."""
        with self.lock:
            while self.error is None:
                self._trim()
                if not self.readers:
                    self._wait_for_readers()
                    continue
                self.full = self._is_full()
                if not self.full:
                    return True
                before = monotonic()
                self.lock.wait(0.1)
                self._leave_behind(monotonic() - before)
        return False

    def _wait_for_readers(self) -> None:
        """Block while somebody reads, and a moment longer; then it is too late to join."""
        if self.readers:
            self.lock.wait()
            return
        self.lock.wait_for(lambda: self.readers or self.error or self._source.closed, LINGER)
        if not self.readers and self.error is None:
            self.error = Unavailable(f"{self.url}: no reader is left", FileProblem.STOPPED)

    def _trim(self) -> None:
        """Drop from a full window what all its readers have taken."""
        if not self.readers or not self._is_full():
            return
        slowest = min(reader.offset for reader in self.readers)
        count, base = 0, self.base
        while count < len(self.chunks) and base + len(self.chunks[count]) <= slowest:
            base += len(self.chunks[count])
            count += 1
        del self.chunks[:count]
        self.first += count
        self._source.keep(self.base - base)
        self.base = base

    def _is_full(self) -> bool:
        kept = self.end - self.base
        # half of what is free: the many that come later find room, too
        free = MEMORY - (self._source.kept - kept)
        return kept >= max(SMALLEST, min(LARGEST, free // 2))

    def _leave_behind(self, seconds: float) -> None:
        """Part with the last readers once they have held up most of the others for too long."""
        waiting = sum(reader.offset == self.end for reader in self.readers)
        if not waiting or waiting * 2 < len(self.readers):
            self._held = max(0.0, self._held - seconds)
            return
        self._held += seconds
        if self._held < PATIENCE:
            return
        self._held = 0.0
        middle = (self.base + self.end) // 2
        for reader in [one for one in self.readers if one.offset < middle]:
            log.debug("%s: a reader at %d of %d is left behind", self.url, reader.offset, self.end)
            self.readers.discard(reader)

    def _tell(self) -> None:
        """Tell the readers, and whoever waits for the answer, that there is news."""
        self.lock.notify_all()
        waiting = [reader.callback for reader in self.readers if reader.callback is not None]
        if not waiting:
            return
        for reader in self.readers:
            reader.callback = None

        def call_back(now: float) -> None:
            for callback in waiting:
                callback(now)

        self._source.post(call_back)


class RemoteSource(Source):
    """The files whose URLs begin with ``prefix``; a whole URL, which a filter gives, is free."""

    def __init__(self, prefix: str, origin: HttpOrigin | None = None) -> None:
        self.prefix = prefix if prefix.endswith("/") or "?" in prefix else f"{prefix}/"
        self.origin = origin or HttpOrigin()
        self.closed = False
        self.kept = 0  # octets in all windows
        self._kept_lock = threading.Lock()
        self._loop: Loop | None = None
        self._lock = threading.Lock()
        self._downloads: set[Download] = set()
        self._newest: dict[str, Download] = {}
        self._keeper: FileCache | None = None

    @classmethod
    def from_config(cls, section: Section) -> RemoteSource:
        """Build it from the option ``root``, the URL that every file's name is appended to."""
        prefix = section.options.get("root", "")
        try:
            parts = urlsplit(prefix)
            bad = not parts.hostname or (parts.port or 80) < 1 or not prefix.isprintable()
            secret = "@" in parts.netloc
        except ValueError:
            bad, secret = True, False
        if secret:
            problem = "holds a name or a password: write them into the file of [tftp] credentials"
            raise ConfigError([section.fault("root", problem)])
        if bad or parts.scheme not in ("http", "https") or " " in prefix:
            problem = f"{prefix!r} is no URL: write http://host/path"
            raise ConfigError([section.fault("root", problem)])
        return cls(prefix)

    def equip(self, equipment: Equipment) -> None:
        """Take who we are to web servers, and the place to keep files in."""
        self.origin.credentials = equipment.credentials
        if equipment.cache is not None:
            self._keeper = FileCache(self, CacheStore.at(equipment.cache, equipment.room))

    def start(self, loop: Loop) -> None:
        """Take the loop, in which readers are called back."""
        self._loop = loop

    def close(self) -> None:
        """End every download."""
        self.closed = True
        if self._keeper is not None:
            self._keeper.close()
        with self._lock:
            downloads = list(self._downloads)
        for download in downloads:
            download.fail(Unavailable("the daemon stops", FileProblem.STOPPED))
        self.origin.close()

    def open(self, name: str, request: FileRequest) -> Later[Body]:
        """Ask for the file, or follow those who just did; a worker waits for the answer."""
        url = name if is_url(name) else self.prefix + quote(name, errors="surrogateescape")
        # workers for each host: one that is silent delays no other
        pool = f"fetch {urlsplit(url).netloc}"
        # who waits for all of a file keeps no worker from those who wait for an answer
        pool += " whole" if request.pin else ""
        return Later(lambda: self._open(url, request.pin), pool)

    def post(self, callback: Callable[[float], None]) -> None:
        """Call back in the loop's thread."""
        if self._loop is None:
            raise RuntimeError("the source was not started")
        self._loop.post(callback)

    def keep(self, more: int) -> None:
        """Count octets that a window holds now, or, below zero, holds no more."""
        with self._kept_lock:
            self.kept += more

    def forget(self, download: Download) -> None:
        """Let go of a download that is over."""
        with self._lock:
            self._downloads.discard(download)
            if self._newest.get(download.url) is download:
                del self._newest[download.url]

    def pass_on(self, url: str) -> RemoteBody:
        """Follow those who just asked for the file, or ask for it; blocks. Raises FileError."""
        reader = RemoteBody(self)
        with self._lock:
            download = self._newest.get(url)
            if download is None or not download.join(reader):
                download = self._newest[url] = self._begin(reader, url, None)
        try:
            reader.size = download.wait_for_answer()
        except FileError:
            download.leave(reader)
            raise
        return reader

    def go_on_from(self, url: str, offset: int, version: Version) -> RemoteBody:
        """Pass on what comes after ``offset`` octets of this version. Raises FileError."""
        reader = RemoteBody(self)
        reader.size, reader.offset = version.size, offset
        with self._lock:
            self._begin(reader, url, version)
        return reader

    def follow_alone(self, reader: RemoteBody) -> None:
        """Start a download for a reader that was left behind, from where it is."""
        left = reader.download
        with self._lock:
            self._begin(reader, left.url, left.version)

    def _open(self, url: str, pin: str) -> Body:
        if self._keeper is not None:
            return self._keeper.open(url, pin)
        if pin:
            text = f"{url} is pinned, and without [cache] dir it can't be checked"
            raise Unavailable(text, FileProblem.UNCHECKED)
        return self.pass_on(url)

    def _begin(self, reader: RemoteBody, url: str, version: Version | None) -> Download:
        """Start a download for a reader, from where it is."""
        if self.closed:
            raise Unavailable("the daemon stops", FileProblem.STOPPED)
        if len(self._downloads) >= MOST:
            text = f"{url}: {MOST} downloads are under way, and no more are made at once"
            raise Unavailable(text, FileProblem.BUSY)
        download = Download(self, url, reader.offset, version)
        reader.follow(download)
        self._downloads.add(download)
        # daemon: one that hangs must not hold up the end of the process
        threading.Thread(target=download.run, name="download", daemon=True).start()
        return download
