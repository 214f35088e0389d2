"""Files of web servers: by way of the cache, else passed on while they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from urllib.parse import quote, urlsplit

from pybootd.config.ini import ConfigError, Section
from pybootd.core.events import FileProblem
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files.filters import is_url
from pybootd.files.remote.cache import FileCache
from pybootd.files.remote.cache_store import CacheStore
from pybootd.files.remote.download import Download, DownloadBody
from pybootd.files.remote.origin import PSEUDONYM, HttpOrigin, Version
from pybootd.files.remote.shares import Requester, count_held, find_victim
from pybootd.files.source import (
    Body,
    FileError,
    FileRequest,
    Source,
    SourceSettings,
    Unavailable,
)

MAX_DOWNLOADS = 64
"""Downloads at a time."""
MAX_VIA = 1000
"""Characters of the field ``Via``: a request that came through more programs goes in a circle."""
MAX_DOWNLOADS_PER_CLIENT = 32
"""Downloads at a time that one client has asked for."""


class RemoteSource(Source):
    """The files whose URLs begin with ``prefix``; a whole URL, which a filter gives, is free."""

    renders_templates = False  # a mirror's files are someone else's: none of them is run here

    def __init__(self, prefix: str, origin: HttpOrigin | None = None) -> None:
        self.prefix = prefix if prefix.endswith("/") or "?" in prefix else f"{prefix}/"
        self.origin = origin or HttpOrigin()
        self.closed = False
        self.window_octets = 0  # octets in all windows
        self._window_lock = threading.Lock()
        self._loop: Loop | None = None
        self._lock = threading.Lock()
        self._downloads: dict[Download, None] = {}  # in the order in which they began
        self._by_url: dict[str, Download] = {}
        self.cache: FileCache | None = None

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

    def apply_settings(self, settings: SourceSettings) -> None:
        """Take who we are to web servers, and the place to keep files in."""
        self.origin.credentials = settings.credentials
        if settings.cache is not None:
            self.cache = FileCache(self, CacheStore.shared_at(settings.cache, settings.cache_size))

    def start(self, loop: Loop) -> None:
        """Take the loop, in which readers are called back."""
        self._loop = loop

    def close(self) -> None:
        """End every download."""
        self.closed = True
        if self.cache is not None:
            self.cache.close()
        with self._lock:
            downloads = list(self._downloads)
        for download in downloads:
            download.fail_download(Unavailable("the daemon stops", FileProblem.STOPPED))
        self.origin.close()

    def open(self, name: str, request: FileRequest) -> Later[Body]:
        """Ask for the file, or follow those who just did; a worker waits for the answer."""
        via = request.about.get("via", "")
        if PSEUDONYM in via or len(via) > MAX_VIA:
            text = f"{name}: its web server leads back to pybootd"
            raise Unavailable(text, FileProblem.ORIGIN_ANSWER)
        requester = Requester(request.peer, via)
        url = name if is_url(name) else self.prefix + quote(name, errors="surrogateescape")
        # workers for each host: one that is silent delays no other
        pool = f"fetch {urlsplit(url).netloc}"
        # who waits for all of a file keeps no worker from those who wait for an answer
        pool += " whole" if request.pin else ""
        call = partial(self._open_url, url, request.pin, requester)
        return Later(call, pool, MAX_DOWNLOADS, request.peer)

    @property
    def download_count(self) -> int:
        """How many downloads are under way."""
        return len(self._downloads)

    def call_in_loop(self, callback: Callable[[float], None]) -> None:
        """Call back in the loop's thread."""
        if self._loop is None:
            raise RuntimeError("the source was not started")
        self._loop.call_from_thread(callback)

    def count_window_octets(self, more: int) -> None:
        """Count octets that a window holds now, or, below zero, no longer holds."""
        with self._window_lock:
            self.window_octets += more

    def forget_download(self, download: Download) -> None:
        """Let go of a download that is over."""
        with self._lock:
            self._downloads.pop(download, None)
            if self._by_url.get(download.url) is download:
                del self._by_url[download.url]

    def open_uncached(self, url: str, requester: Requester) -> DownloadBody:
        """Follow those who just asked for the file, or ask for it; blocks. Raises FileError."""
        reader = DownloadBody(self, requester)
        with self._lock:
            download = self._by_url.get(url)
            if download is None or not download.add_reader(reader):
                download = self._by_url[url] = self._start_download(reader, url, None)
        try:
            reader.size = download.wait_for_answer()
        except FileError:
            download.remove_reader(reader)
            raise
        return reader

    def open_rest(
        self, url: str, offset: int, version: Version, requester: Requester
    ) -> DownloadBody:
        """Pass on what comes after ``offset`` octets of this version. Raises FileError."""
        reader = DownloadBody(self, requester)
        reader.size, reader.offset = version.size, offset
        with self._lock:
            self._start_download(reader, url, version)
        return reader

    def start_own_download(self, reader: DownloadBody) -> None:
        """Start a download for a reader that was left behind, from where it is."""
        left = reader.download
        with self._lock:
            self._start_download(reader, left.url, left.version)

    def _open_url(self, url: str, pin: str, requester: Requester) -> Body:
        if self.cache is not None:
            return self.cache.open_url(url, pin, requester)
        if pin:
            text = f"{url} is pinned, and without [cache] dir it can't be checked"
            raise Unavailable(text, FileProblem.UNCHECKED)
        return self.open_uncached(url, requester)

    def _start_download(self, reader: DownloadBody, url: str, version: Version | None) -> Download:
        """Start a download for a reader, from where it is."""
        if self.closed:
            raise Unavailable("the daemon stops", FileProblem.STOPPED)
        self._make_room(url, reader.requester.peer)
        download = Download(self, url, reader.offset, version, reader.requester)
        reader.read_from(download)
        self._downloads[download] = None
        # daemon: one that hangs must not hold up the end of the process
        threading.Thread(target=download.run_download, name="download", daemon=True).start()
        return download

    def _make_room(self, url: str, peer: str) -> None:
        """See that one more download may begin; the newest of the greediest client gives way."""
        if count_held(self._downloads, peer) >= MAX_DOWNLOADS_PER_CLIENT:
            text = f"{url}: {MAX_DOWNLOADS_PER_CLIENT} downloads are under way for this client"
            raise Unavailable(text, FileProblem.BUSY)
        if len(self._downloads) < MAX_DOWNLOADS:
            return
        text = f"{url}: {MAX_DOWNLOADS} downloads are under way, and no more are made at once"
        alone = [one for one in self._downloads if one.is_for_requester_alone()]
        victim = find_victim(alone, peer)
        if victim is None:
            raise Unavailable(text, FileProblem.BUSY)
        del self._downloads[victim]
        if self._by_url.get(victim.url) is victim:
            del self._by_url[victim.url]
        victim.fail_download(Unavailable("it gave way to another client's", FileProblem.BUSY))
