"""Files of this host: regular files below a directory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from pybootd.config.ini import ConfigError, Section
from pybootd.core.events import FileProblem
from pybootd.files import paths
from pybootd.files.source import (
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    Source,
    StaticBody,
    Unavailable,
)

_MISSING = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))
_FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.ELOOP))


class LocalFile(StaticBody):
    """A regular file, held open: it stays readable when its name is removed or given to another."""

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        self._descriptor = descriptor
        self.size = status.st_size
        self.modified = int(status.st_mtime)
        self.key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def pread(self, count: int, offset: int) -> bytes:
        """Read ``count`` octets from ``offset``; raises Unavailable when the file has changed."""
        try:
            data = os.pread(self._descriptor, count, offset)
            status = os.fstat(self._descriptor)
        except OSError as error:
            raise Unavailable(
                f"the file can't be read: {error.strerror}", FileProblem.READ_ERROR
            ) from error
        now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if now != self.key or len(data) != max(0, min(count, self.size - offset)):
            raise Unavailable("the file changed while it was read", FileProblem.CHANGED)
        return data

    def fileno(self) -> int | None:
        """Return the descriptor, None once closed."""
        return self._descriptor if self._descriptor >= 0 else None

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _problem(root: Path) -> str:
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

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = os.fsencode(root)

    @classmethod
    def from_config(cls, section: Section) -> LocalSource:
        """Build it from the option ``root``, relative to the configuration file's directory."""
        text = section.options.get("root", "").removeprefix("file://")
        root = (section.path.parent / text).absolute()
        problem = _problem(root) if text else "missing: name the directory that holds the files"
        if problem:
            raise ConfigError([section.fault("root", problem)])
        return cls(root)

    def open(self, name: str, request: FileRequest) -> LocalFile:
        """Open a regular file; never waits. Raises FileError."""
        path = paths.encode(name)
        try:
            if path.startswith(b"/"):
                descriptor = paths.open_anywhere(path)
            else:
                descriptor = paths.open_beneath(self._root, path)
        except OSError as error:
            raise explain(error) from error
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            return LocalFile(descriptor, status)
        os.close(descriptor)
        text = "is a directory" if stat.S_ISDIR(status.st_mode) else "is no regular file"
        raise Forbidden(text, FileProblem.NOT_A_FILE)


def explain(error: OSError) -> FileError:
    """Say what an error of the system means for the one who asked."""
    if error.errno in _MISSING:
        return Missing("no such file")
    if error.errno == errno.EISDIR:
        return Forbidden("is a directory", FileProblem.NOT_A_FILE)
    if error.errno == errno.ENXIO:  # open(2): a socket, or a device without a driver
        return Forbidden("is no regular file", FileProblem.NOT_A_FILE)
    if error.errno in _FORBIDDEN:
        return Forbidden(f"the file can't be opened: {error.strerror}")
    return Unavailable(f"the file can't be opened: {error.strerror}", FileProblem.READ_ERROR)
