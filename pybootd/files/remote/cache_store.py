"""What is kept of remote files on disk: their octets, each under its checksum, and an index.

Below the folder, ``files/SHA256`` holds octets, ``index/SHA256-OF-URL`` says which URL they came
from and how the web server knows them, and ``parts/`` holds what is not whole yet. Everything gets
its name when it is whole and on disk. Nothing is read before the first question, which may have to
wait for the disk. One daemon has a folder for itself: one that was empty, and is marked since by a
CACHEDIR.TAG (https://bford.info/cachedir/). Any other is left as it is, and nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

from pybootd.files.local import LocalFile
from pybootd.files.source import Unavailable

log = logging.getLogger(__name__)

_PIECE = 1 << 20  # octets that are summed up at once
_REMIND_S = 60.0  # between two warnings that nothing can be kept, or two notes of a file's use
_DIGEST = re.compile("[0-9a-f]{64}")
_PART = re.compile(r"\d+-\d+")
_TAG = "CACHEDIR.TAG"
_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55\n# The cache of pybootd: [cache] dir\n"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class CacheFull(Exception):
    """There is no room for a file; the text says why."""


class NotOurCacheError(Exception):
    """The folder isn't one that this store made; the text says why."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One URL's file: its sha256 in hexadecimal, its octets, and what the web server says of it."""

    url: str
    digest: str
    size: int
    etag: str
    modified: str


class CacheStore:
    """The files below ``folder``, at most ``size`` octets: those used least recently go first.

    Threads may share it.
    """

    by_folder: ClassVar[WeakValueDictionary[Path, CacheStore]] = WeakValueDictionary()

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.folder = folder
        self._files, self._index, self._parts = (
            folder / name for name in ("files", "index", "parts")
        )
        self._lock = threading.RLock()
        self._entries: dict[str, CacheEntry] = {}  # by URL
        self._kept: OrderedDict[str, int] = OrderedDict()  # digest -> octets, the last used last
        self._sound: dict[str, Hashable] = {}  # digest -> the file that was found to have it
        self._touched: dict[str, float] = {}  # digest -> when its use was noted on disk
        self._loaded = False
        self._refusal = ""  # why nothing is kept
        self._total = 0  # octets of what is kept
        self._unfinished = 0  # octets of what is not whole yet
        self._number = 0
        self._warned_at = -_REMIND_S

    @classmethod
    def shared_at(cls, folder: Path, size: int) -> CacheStore:
        """Return the store in this folder, one for all that ask."""
        made = cls.by_folder.get(folder)
        if made is None:
            made = cls.by_folder[folder] = cls(folder, size)
        made.size = size
        return made

    def find_entry(self, url: str) -> CacheEntry | None:
        """Return what is kept of a URL."""
        with self._lock:
            self._load_index()
            entry = self._entries.get(url)
            return entry if entry is not None and entry.digest in self._kept else None

    def open_file(self, digest: str) -> LocalFile | None:
        """Open the octets with this checksum; None: they aren't kept, or are no longer what was.

        What hasn't been looked at since it was opened by this process is read and summed up.
        """
        with self._lock:
            self._load_index()
            size = self._kept.get(digest)
            if size is None:
                return None
        try:
            descriptor = os.open(self._files / digest, _READ)
        except OSError as error:
            self._drop_damaged(digest, error.strerror or "")
            return None
        body = LocalFile(descriptor, os.fstat(descriptor))
        identity = (body.key, os.fstat(descriptor).st_ctime_ns)
        if body.size != size or (
            self._sound.get(digest) != identity and not _has_digest(body, digest)
        ):
            body.close()
            self._drop_damaged(digest, "it isn't what was written")
            return None
        self._note_use(digest, identity)
        return body

    def begin_file(self, size: int | None) -> PartialFile:
        """Begin a file of so many octets, None: it isn't known how many. Raises CacheFull."""
        with self._lock:
            self._load_index()
            if self._refusal:
                raise CacheFull(self._refusal)
            if size is not None:
                self._make_room(size)
            self._number += 1
            path = self._parts / f"{os.getpid()}-{self._number}"
            try:
                descriptor = os.open(
                    path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
                )
            except OSError as error:
                raise CacheFull(f"{path}: {error.strerror}") from error
            return PartialFile(self, path, descriptor)

    def warn_not_kept(self, reason: Exception) -> None:
        """Warn that nothing can be kept, once a minute at most."""
        now = time.monotonic()
        with self._lock:
            if now - self._warned_at < _REMIND_S:
                return
            self._warned_at = now
        log.warning("[cache] dir: remote files are served, but not kept: %s", reason)

    # what parts and readers tell

    def count_unfinished(self, octets: int) -> None:
        """Count what is written of files that aren't whole; raises CacheFull."""
        with self._lock:
            if octets > 0:
                self._make_room(octets)
            self._unfinished += octets

    def name_file(self, part: PartialFile, entry: CacheEntry) -> None:
        """Give a whole file its names; raises OSError."""
        with self._lock:
            part.path.replace(self._files / entry.digest)
            _write_whole(self._index_of(entry.url), json.dumps(asdict(entry)).encode("ascii"))
            status = os.fstat(part.descriptor)
            before = self._entries.get(entry.url)
            self._entries[entry.url] = entry
            self._count_entry(entry)
            if before is not None and all(
                one.digest != before.digest for one in self._entries.values()
            ):
                self._drop_file(before.digest)
        body = LocalFile(os.dup(part.descriptor), status)
        body.close()
        self._note_use(entry.digest, (body.key, status.st_ctime_ns))
        with self._lock, contextlib.suppress(CacheFull):
            self._make_room(0)

    # inside

    def _index_of(self, url: str) -> Path:
        return self._index / hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()

    def _note_use(self, digest: str, identity: Hashable) -> None:
        now = time.monotonic()
        with self._lock:
            if digest not in self._kept:
                return
            self._sound[digest] = identity
            self._kept.move_to_end(digest)
            if now - self._touched.get(digest, -_REMIND_S) < _REMIND_S:
                return
            self._touched[digest] = now
            for url in self._urls_of(digest):
                with contextlib.suppress(OSError):
                    os.utime(self._index_of(url))  # so that the next start knows the order

    def _urls_of(self, digest: str) -> list[str]:
        return [url for url, entry in self._entries.items() if entry.digest == digest]

    def _count_entry(self, entry: CacheEntry) -> None:
        self._total += entry.size - self._kept.pop(entry.digest, 0)
        self._kept[entry.digest] = entry.size

    def _make_room(self, more: int) -> None:
        """Let the least recently used go until ``more`` octets fit; raises CacheFull."""
        if self._unfinished + more > self.size:
            raise CacheFull(f"{self._unfinished + more} octets at once are more than [cache] size")
        while self._kept and self._total + self._unfinished + more > self.size:
            self._drop_file(next(iter(self._kept)))

    def _drop_file(self, digest: str) -> None:
        self._total -= self._kept.pop(digest, 0)
        self._sound.pop(digest, None)
        self._touched.pop(digest, None)
        urls = self._urls_of(digest)
        for path in (*map(self._index_of, urls), self._files / digest):
            with contextlib.suppress(OSError):
                path.unlink()
        for url in urls:
            del self._entries[url]

    def _drop_damaged(self, digest: str, why: str) -> None:
        with self._lock:
            if digest in self._kept:
                log.warning("%s: %s; it is fetched again", self._files / digest, why)
                self._drop_file(digest)

    def _load_index(self) -> None:
        """Read the index, and remove what nothing in it names; once."""
        if self._loaded:
            return
        self._loaded = True
        try:
            self._claim_folder()
        except OSError as error:
            self._refusal = f"{error.filename or self.folder}: {error.strerror}"
        except NotOurCacheError as error:
            self._refusal = str(error)
        if self._refusal:
            self.warn_not_kept(CacheFull(self._refusal))
            return
        found: list[tuple[float, CacheEntry]] = []
        for path in self._parts.iterdir():
            if _PART.fullmatch(path.name):
                _remove_file(path)
        for path in self._index.iterdir():
            entry = _read_entry(path)
            if entry is not None and path == self._index_of(entry.url):
                found.append((path.stat().st_mtime, entry))
            elif _DIGEST.fullmatch(path.name.removesuffix(".new")):
                _remove_file(path)
        there = {path.name for path in self._files.iterdir() if _DIGEST.fullmatch(path.name)}
        for _, entry in sorted(found, key=lambda one: one[0]):
            if entry.digest in there:
                self._entries[entry.url] = entry
                self._count_entry(entry)
        for name in there - self._kept.keys():
            _remove_file(self._files / name)
        with contextlib.suppress(CacheFull):
            self._make_room(0)

    def _claim_folder(self) -> None:
        """Make the folder, or mark an empty one; raises NotOurCacheError for another's, OSError."""
        folders = (self._files, self._index, self._parts)
        self.folder.mkdir(parents=True, exist_ok=True)
        tag = self.folder / _TAG
        try:
            descriptor = os.open(tag, _READ | os.O_NONBLOCK)
        except FileNotFoundError:
            if any(self.folder.iterdir()):
                text = f"{self.folder} holds files of others: name another folder"
                raise NotOurCacheError(text) from None
            descriptor = os.open(tag, _NEW, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_SIGNATURE)
        else:
            with os.fdopen(descriptor, "rb") as file:
                if file.read(len(_SIGNATURE)) != _SIGNATURE:
                    text = f"{self.folder} is another program's cache: name another folder"
                    raise NotOurCacheError(text)
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise NotOurCacheError(f"{folder} is no folder of pybootd's: remove it")


class PartialFile:
    """A file that is being fetched. What has been written can be read from ``descriptor``."""

    def __init__(self, store: CacheStore, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.written = 0
        self._store = store
        self._sum = hashlib.sha256()

    def append_data(self, data: bytes) -> None:
        """Append octets; raises CacheFull."""
        self._store.count_unfinished(len(data))
        self.written += len(data)
        self._sum.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.descriptor, view) :]
        except OSError as error:
            raise CacheFull(f"{self.path}: {error.strerror}") from error

    def compute_digest(self) -> str:
        """Return the sha256 of what was written, in hexadecimal."""
        return self._sum.hexdigest()

    def keep_file(self, url: str, etag: str, modified: str) -> CacheEntry:
        """Keep it, for it is whole: on disk before it has a name. Raises CacheFull."""
        entry = CacheEntry(url, self.compute_digest(), self.written, etag, modified)
        try:
            when = _parse_date(modified)
            if when is not None:
                os.utime(self.descriptor, (when, when))  # HTTP clients are told of it
            os.fsync(self.descriptor)
            self._store.count_unfinished(-self.written)
            self.written = 0
            self._store.name_file(self, entry)
        except OSError as error:
            raise CacheFull(f"{self.path}: {error.strerror}") from error
        return entry

    def close(self) -> None:
        """Let go of it; what wasn't kept is gone once its last reader is."""
        self._store.count_unfinished(-self.written)
        self.written = 0
        with contextlib.suppress(OSError):
            self.path.unlink()
        os.close(self.descriptor)


def _remove_file(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _has_digest(body: LocalFile, digest: str) -> bool:
    """Read a file and tell whether it has this checksum."""
    summed = hashlib.sha256()
    try:
        for offset in range(0, body.size, _PIECE):
            summed.update(body.pread(min(_PIECE, body.size - offset), offset))
    except Unavailable:
        return False
    return summed.hexdigest() == digest


def _parse_date(modified: str) -> float | None:
    try:
        return parsedate_to_datetime(modified).timestamp()
    except (TypeError, ValueError):
        return None


def _read_entry(path: Path) -> CacheEntry | None:
    try:
        found = CacheEntry(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    sound = isinstance(found.url, str) and isinstance(found.size, int)
    sound = sound and isinstance(found.etag, str) and isinstance(found.modified, str)
    sound = sound and isinstance(found.digest, str) and _DIGEST.fullmatch(found.digest) is not None
    return found if sound else None


def _write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that its name always stands for all of it."""
    part = path.with_name(f"{path.name}.new")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
