"""Files of this host: regular files below a directory."""

from __future__ import annotations

import errno
import itertools
import os
import posixpath
import stat
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from pybootd.config.ini import ConfigError, Section
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.events import FileProblem
from pybootd.files import paths, suggestions
from pybootd.files.source import (
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    Source,
    SourceSettings,
    StaticBody,
    Unavailable,
)

MAX_LISTINGS = 64
"""Folders whose entries are kept."""
LISTING_S = 2.0
"""Seconds that a folder's entries are kept, unless it changes before."""

_MAX_TEMPLATE_FOLDERS = 64
_MISSING = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))
_FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.ELOOP))


class LocalFile(StaticBody):
    """A regular file, held open: it stays readable when its name is removed or given to another.

    ``key`` holds the time of the last change of any kind, which no program can set back.
    """

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        self._descriptor = descriptor
        self.size = status.st_size
        self.modified = int(status.st_mtime)
        self._modified_ns, self._changed_ns = status.st_mtime_ns, status.st_ctime_ns
        self._metadata = _metadata_of(status)
        self.key = (status.st_dev, status.st_ino, self.size, self._modified_ns, self._changed_ns)

    def pread(self, count: int, offset: int) -> bytes:
        """Read ``count`` octets from ``offset``; raises Unavailable when the file has changed."""
        try:
            data = os.pread(self._descriptor, count, offset)
            status = os.fstat(self._descriptor)
        except OSError as error:
            text = f"the file can't be read: {error.strerror}"
            raise Unavailable(text, FileProblem.READ_ERROR) from error
        # compared after it was read: a change since then isn't in what was read
        if status.st_ctime_ns != self._changed_ns:
            self._check_change(status)
        if len(data) != max(0, min(count, self.size - offset)):
            raise Unavailable("the file changed while it was read", FileProblem.CHANGED)
        return data

    def _check_change(self, status: os.stat_result) -> None:
        """Raise Unavailable unless it was a link, an owner or a right that changed.

        A file whose name is given to another loses a link, and is read to its end.
        """
        metadata = _metadata_of(status)
        written = (status.st_size, status.st_mtime_ns) != (self.size, self._modified_ns)
        if written or metadata == self._metadata:
            raise Unavailable("the file changed while it was read", FileProblem.CHANGED)
        self._metadata, self._changed_ns = metadata, status.st_ctime_ns

    def fileno(self) -> int | None:
        """Return the descriptor, None once closed."""
        return self._descriptor if self._descriptor >= 0 else None

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _metadata_of(status: os.stat_result) -> tuple[int, ...]:
    return status.st_nlink, status.st_mode, status.st_uid, status.st_gid


def _find_fault(root: Path) -> str:
    """Say why files can't be served from there; "" when they can."""
    try:
        if not root.is_dir():
            return f"{root} is no directory" if root.exists() else f"{root} does not exist"
        readable = os.access(root, os.R_OK | os.X_OK)
    except PermissionError:  # it stands in a directory that we may not enter
        readable = False
    return "" if readable else f"{root} can't be read: no right to"


class LocalSource(Source):
    """The regular files below ``root``; an absolute name, which only a filter gives, is free."""

    opens_paths = True
    opens_at_once = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = os.fsencode(root)
        # folder -> when it was changed, when it was read, its names by their lower case
        self._listings: BoundedMap[str, tuple[int, float, Mapping[str, list[str]]]]
        self._listings = BoundedMap(MAX_LISTINGS)
        self._links = paths.NO_LINKS_OUT
        self._lock = threading.Lock()
        self._template_folders: BoundedMap[str, LocalSource] = BoundedMap(_MAX_TEMPLATE_FOLDERS)

    @classmethod
    def from_config(cls, section: Section) -> LocalSource:
        """Build it from the option ``root``, relative to the configuration file's directory."""
        text = section.options.get("root", "").removeprefix("file://")
        root = (section.path.parent / text).absolute()
        fault = _find_fault(root) if text else "missing: name the directory that holds the files"
        if fault:
            raise ConfigError([section.fault("root", fault)])
        return cls(root)

    def apply_settings(self, settings: SourceSettings) -> None:
        """Take the folders that links may lead to."""
        folders = tuple(map(os.fsencode, settings.links))
        uploads = os.fsencode(settings.uploads) if settings.uploads else b""
        self._links = paths.LinkRules(folders, uploads)

    def open(self, name: str, request: FileRequest) -> LocalFile:
        """Open a regular file; never waits. Raises FileError."""
        path = paths.encode_name(name)
        try:
            if path.startswith(b"/"):
                descriptor = paths.open_anywhere(path)
            else:
                descriptor = paths.open_beneath(self._root, path, self._links)
        except OSError as error:
            raise explain_os_error(error) from error
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            return LocalFile(descriptor, status)
        os.close(descriptor)
        text = "is a directory" if stat.S_ISDIR(status.st_mode) else "is no regular file"
        raise Forbidden(text, FileProblem.NOT_A_FILE)

    def list_folder(self, folder: str) -> Collection[str]:
        """List a folder below the root, without links to folders, so that every walk ends."""
        try:
            opened = self._open_folder(folder)
        except (OSError, FileError):
            return ()
        try:
            return [
                f"{entry.name}/" if entry.is_dir() else entry.name
                for entry in _read_entries(opened)
                if not (entry.is_symlink() and entry.is_dir())
            ]
        except OSError:  # it is no folder
            return ()
        finally:
            os.close(opened)

    def match_letter_case(self, name: str, now: float) -> str | None:
        """Return the one name that differs in letter case alone; the folders' entries are kept."""
        return suggestions.match_entries(lambda folder: self._entries_of(folder, now), name)

    def find_dead_link(self, name: str) -> str:
        """Return where a link below the root leads that ends nowhere; "": it is none."""
        folder, base = posixpath.split(name)
        try:
            opened = self._open_folder(folder)
        except (OSError, FileError):
            return ""
        target = b""
        try:
            target = os.readlink(paths.encode_name(base), dir_fd=opened)
            os.stat(paths.encode_name(base), dir_fd=opened)
        except FileNotFoundError:  # what it leads to, or there is no such name
            return os.fsdecode(target)
        except OSError:  # it is no link
            return ""
        finally:
            os.close(opened)
        return ""

    def find_template(self, name: str) -> tuple[Source, str]:
        """Return where a template's includes are: below the root, else in the file's own folder."""
        name = name.removeprefix(f"{self.root}/")
        if not name.startswith("/"):
            return self, name
        folder = posixpath.dirname(name)
        with self._lock:  # templates are rendered by workers
            beside = self._template_folders.use(folder)
            if beside is None:
                beside = self._template_folders[folder] = LocalSource(Path(folder))
        return beside, posixpath.basename(name)

    def _open_folder(self, folder: str) -> int:
        """Open a folder below the root, "" being the root; raises OSError, FileError."""
        if folder:
            return paths.open_beneath(self._root, paths.encode_name(folder), self._links)
        return os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _entries_of(self, folder: str, now: float) -> Mapping[str, list[str]]:
        """Return what a folder holds, by names in lower case; nothing if it can't be had."""
        try:
            opened = self._open_folder(folder)
        except (OSError, FileError):
            return {}
        try:
            changed = os.fstat(opened).st_mtime_ns
            listing = self._listings.get(folder)
            if listing is not None and listing[0] == changed and now - listing[1] < LISTING_S:
                return listing[2]
            entries = suggestions.group_by_case(entry.name for entry in _read_entries(opened))
        except OSError:  # it is no folder
            return {}
        finally:
            os.close(opened)
        self._listings[folder] = changed, now, entries
        return entries


def _read_entries(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(itertools.islice(entries, suggestions.MAX_ENTRIES + 1))


def explain_os_error(error: OSError) -> FileError:
    """Say what an error of the system means for the client that asks."""
    if error.errno in _MISSING:
        return Missing("no such file")
    if error.errno == errno.EISDIR:
        return Forbidden("is a directory", FileProblem.NOT_A_FILE)
    if error.errno == errno.ENXIO:  # open(2): a socket, or a device without a driver
        return Forbidden("is no regular file", FileProblem.NOT_A_FILE)
    if error.errno in _FORBIDDEN:
        return Forbidden(f"the file can't be opened: {error.strerror}")
    return Unavailable(f"the file can't be opened: {error.strerror}", FileProblem.READ_ERROR)
