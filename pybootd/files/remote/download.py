"""A remote file passed on while it arrives: one download, and the window that its readers share.

Clients that ask for one file at about the same time follow one download: a window of its latest
octets. The download waits when the window is full and the last of them is not through; a client
that holds up most of the others is left behind, and gets its own download when it reads on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from pybootd.core.events import FileProblem
from pybootd.files.remote.origin import HttpOrigin, OriginResponse, Version
from pybootd.files.remote.shares import Requester
from pybootd.files.source import FileError, StreamBody, Unavailable

log = logging.getLogger(__name__)

MAX_WINDOWS = 32 << 20
"""Octets that the windows of all downloads share."""
MAX_WINDOW, MIN_WINDOW = 4 << 20, 256 << 10
"""Octets of one window; the smallest may be beyond MAX_WINDOWS."""
HOLDUP_S = 0.5
"""Seconds that most readers may be held up before the last one is left behind."""
LINGER_S = 0.5
"""Seconds that a download waits for readers: firmware asks twice for what it wants."""
ANSWER_TIMEOUT_S = 60.0
"""Seconds that an answer may take, redirections, name service and all."""


class DownloadHost(Protocol):
    """Who has downloads: what they share, and where they report."""

    origin: HttpOrigin
    closed: bool
    window_octets: int

    def call_in_loop(self, callback: Callable[[float], None]) -> None:
        """Call back in the loop's thread."""

    def count_window_octets(self, more: int) -> None:
        """Count octets that a window holds now, or, below zero, no longer holds."""

    def forget_download(self, download: Download) -> None:
        """Let go of a download that is over."""

    def start_own_download(self, reader: DownloadBody) -> None:
        """Start a download for a reader that was left behind, from where it is."""


class DownloadBody(StreamBody):
    """One reader of a download: a place in its window, or behind it."""

    download: Download

    def __init__(self, source: DownloadHost, requester: Requester) -> None:
        self.requester = requester
        self.size: int | None = None
        self.offset = 0
        self.callback: Callable[[float], None] | None = None
        self._source = source
        self._index = 0  # of the chunk that is read next, among all that ever arrived
        self._within = 0
        self._early: list[bytes] = []  # taken already, because more was asked than a window holds

    def read_from(self, download: Download) -> None:
        """Read from this download, whose window begins where this reader is."""
        self.download = download
        self._index = self._within = 0
        download.readers.add(self)

    def read(self, count: int) -> bytes | None:
        """Take the next octets, ``count`` of them or fewer at the end; None: not there yet."""
        download = self.download
        with download.lock:
            if self in download.readers:
                return self._read_window(count)
        self._source.start_own_download(self)
        return None

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when more has arrived, or it is known that nothing will."""
        download = self.download
        with download.lock:
            if self.offset == download.end and not download.over:
                self.callback = callback
                return
        self._source.call_in_loop(callback)

    def close(self) -> None:
        """Read no more."""
        self.callback = None
        self.download.remove_reader(self)

    def _read_window(self, count: int) -> bytes | None:
        download = self.download
        early = sum(map(len, self._early))
        there = download.end - self.offset
        if early + there < count and not download.ended:
            if download.error is not None:
                raise download.error
            if there:
                self._early.append(self._take_octets(there))
            return None
        data = self._take_octets(min(count - early, there))
        if self._early:
            data = b"".join((*self._early, data))
            self._early.clear()
        return data

    def _take_octets(self, count: int) -> bytes:
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
            download.wake_when_read()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Download:
    """One file on its way, and the window that its readers look through.

    What changes is touched under ``lock``, by its own thread and by the readers'.
    """

    def __init__(
        self,
        source: DownloadHost,
        url: str,
        start: int,
        version: Version | None,
        requester: Requester,
    ) -> None:
        self.lock = threading.Condition()
        self.url = url
        self.requester = requester
        self.version = version
        self.readers: set[DownloadBody] = set()
        self.chunks: list[bytes] = []
        self.first = 0  # index of the first chunk in the window
        self.base = self.end = start  # octets before the window, and up to its end
        self.answered = self.ended = self.full = False
        self.error: FileError | None = None
        self._source = source
        self._response: OriginResponse | None = None
        self._holdup = 0.0  # seconds that most readers were held up by the last

    @property
    def over(self) -> bool:
        """Tell whether nothing more will arrive."""
        return self.ended or self.error is not None

    # for readers

    def is_for_requester_alone(self) -> bool:
        """Tell whether no other client reads it."""
        with self.lock:
            return all(one.requester.peer == self.requester.peer for one in self.readers)

    def add_reader(self, reader: DownloadBody) -> bool:
        """Take a new reader in; False when it is too late for one."""
        with self.lock:
            if self.error is not None:
                return not self.answered  # it shares the refusal
            if self.base:
                return False
            reader.read_from(self)
            self.lock.notify_all()
            return True

    def remove_reader(self, reader: DownloadBody) -> None:
        """Forget a reader."""
        with self.lock:
            self.readers.discard(reader)
            self.lock.notify_all()

    def wait_for_answer(self) -> int | None:
        """Block until the response is there, and return the size that it says; raises FileError."""
        with self.lock:
            self.lock.wait_for(lambda: self.answered or self.error is not None, ANSWER_TIMEOUT_S)
            if self.answered and self.version is not None:
                return self.version.size
            text = f"{self.url}: no answer for {ANSWER_TIMEOUT_S:g} s"
            raise self.error or Unavailable(text, FileProblem.ORIGIN_UNREACHABLE)

    def wake_when_read(self) -> None:
        """Wake the download up when a quarter of the full window has been read by all."""
        slowest = min(reader.offset for reader in self.readers)
        if slowest - self.base >= (self.end - self.base) // 4:
            self.full = False
            self.lock.notify_all()

    def fail_download(self, error: FileError) -> None:
        """End it with an error, which every reader gets; any thread may say so."""
        with self.lock:
            if not self.over:
                self.error = error
            self._notify_readers()
            response = self._response
        if response is not None:
            response.abort_response()

    # its own thread

    def run_download(self) -> None:
        """Fetch the file, then stay for readers that come within a moment."""
        try:
            self._fetch_file()
        except FileError as error:
            self.fail_download(error)
        except Exception:
            log.exception("error while fetching %s", self.url)
            self.fail_download(Unavailable(f"{self.url}: internal error", FileProblem.INTERNAL))
        finally:
            if self._response is not None:
                self._response.close()
        with self.lock:
            if not self.answered:
                self.lock.wait_for(lambda: self._source.closed, LINGER_S)
            while self.error is None and not self._source.closed:
                self._wait_for_readers()
        self._source.count_window_octets(self.base - self.end)
        self._source.forget_download(self)

    def _fetch_file(self) -> None:
        response = self._source.origin.request_file(
            self.url, self.end, self.version, self.requester.via
        )
        with self.lock:
            self._response, self.version, self.answered = response, response.version, True
            self._notify_readers()
        while self._wait_for_room():
            data = response.read_piece()
            with self.lock:
                if data:
                    self.chunks.append(data)
                    self.end += len(data)
                    self._source.count_window_octets(len(data))
                elif self.error is None:
                    self.ended = True
                self._notify_readers()
                if self.over:
                    return

    def _wait_for_room(self) -> bool:
        """Block while the window is full; False when nobody is left to read."""
        with self.lock:
            while self.error is None:
                self._trim_window()
                if not self.readers:
                    self._wait_for_readers()
                    continue
                self.full = self._is_window_full()
                if not self.full:
                    return True
                before = monotonic()
                self.lock.wait(0.1)
                self._drop_slow_readers(monotonic() - before)
        return False

    def _wait_for_readers(self) -> None:
        """Block while somebody reads, and a moment longer; then it is too late to join."""
        if self.readers:
            self.lock.wait()
            return
        self.lock.wait_for(lambda: self.readers or self.error or self._source.closed, LINGER_S)
        if not self.readers and self.error is None:
            self.error = Unavailable(f"{self.url}: no reader is left", FileProblem.STOPPED)

    def _trim_window(self) -> None:
        """Drop from a full window what all its readers have taken."""
        if not self.readers or not self._is_window_full():
            return
        slowest = min(reader.offset for reader in self.readers)
        count, base = 0, self.base
        while count < len(self.chunks) and base + len(self.chunks[count]) <= slowest:
            base += len(self.chunks[count])
            count += 1
        del self.chunks[:count]
        self.first += count
        self._source.count_window_octets(self.base - base)
        self.base = base

    def _is_window_full(self) -> bool:
        kept = self.end - self.base
        # half of what is free: the many that come later find room, too
        free = MAX_WINDOWS - (self._source.window_octets - kept)
        return kept >= max(MIN_WINDOW, min(MAX_WINDOW, free // 2))

    def _drop_slow_readers(self, seconds: float) -> None:
        """Part with the last readers once they have held up most of the others for too long."""
        waiting = sum(reader.offset == self.end for reader in self.readers)
        if not waiting or waiting * 2 < len(self.readers):
            self._holdup = max(0.0, self._holdup - seconds)
            return
        self._holdup += seconds
        if self._holdup < HOLDUP_S:
            return
        self._holdup = 0.0
        middle = (self.base + self.end) // 2
        for reader in [one for one in self.readers if one.offset < middle]:
            log.debug("%s: a reader at %d of %d is left behind", self.url, reader.offset, self.end)
            self.readers.discard(reader)

    def _notify_readers(self) -> None:
        """Wake those that wait, and call back the readers."""
        self.lock.notify_all()
        waiting = [reader.callback for reader in self.readers if reader.callback is not None]
        if not waiting:
            return
        for reader in self.readers:
            reader.callback = None

        def call_back(now: float) -> None:
            for callback in waiting:
                callback(now)

        self._source.call_in_loop(call_back)
