"""Files that clients bring: new ones only, in a directory of their own, whole or not at all.

``check``, ``begin``, ``write``, ``keep`` and ``drop`` may block: they are for workers.
"""

from __future__ import annotations

import errno
import logging
import os
import posixpath
import secrets
import stat
import threading
from pathlib import Path

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.core.events import FileProblem
from pybootd.core.finding import Finding
from pybootd.files import paths
from pybootd.files.local import explain
from pybootd.files.resolver import TEMPLATE
from pybootd.files.source import FileError, Forbidden

log = logging.getLogger(__name__)

_UNFINISHED = ".pybootd-upload-"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class Exists(FileError):
    """There is something of this name already, and nothing is ever written over."""

    problem = FileProblem.EXISTS


class NoSpace(FileError):
    """The file is larger than the disk, or the administrator, has room for."""

    problem = FileProblem.NO_SPACE


class Uploads:
    """A directory that takes new files: ``largest`` octets each, ``most`` of them altogether."""

    def __init__(self, folder: Path, largest: int, most: int) -> None:
        self.folder = folder
        self.largest = largest
        self._most = most
        self._lock = threading.Lock()  # counted and made in one step, whatever worker does so

    @classmethod
    def from_config(cls, config: Config) -> Uploads | None:
        """Build it from ``[tftp] upload``; None where there is none. Raises ConfigError."""
        tftp = config.tftp
        if not tftp.upload:
            return None
        section = config.sections.get("tftp", Section("tftp", config.path))
        folder = (config.path.parent / tftp.upload).absolute()
        roots = {root for root in (tftp.root, config.httpd.root) if root and "://" not in root}
        if problem := _problem(folder, sorted(roots)):
            raise ConfigError([_fault(section, problem)])
        return cls(folder, tftp.upload_size, tftp.upload_count)

    def tidy(self) -> None:
        """Remove what a daemon that was killed left behind; to be called before the first file."""
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            log.warning("[tftp] upload: no right to write to %s: uploads will fail", self.folder)
            return
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            left.unlink(missing_ok=True)

    def check(self, name: str) -> str:
        """Return the cleaned name if a file of this name would be taken now; raises FileError."""
        name = paths.clean(name)
        base = posixpath.basename(name)
        if base.lower().endswith(TEMPLATE):
            raise Forbidden(
                f"no {TEMPLATE} is taken: it would be a template", FileProblem.UPLOADS_REFUSED
            )
        if base.startswith(_UNFINISHED):
            raise Forbidden(
                f"no name that begins with {_UNFINISHED} is taken", FileProblem.UPLOADS_REFUSED
            )
        try:
            parent = self._parent(name)
            try:
                status = os.stat(paths.encode(base), dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
        except FileNotFoundError:
            self._count()
            return name
        except OSError as error:
            raise _explained(error) from error
        if stat.S_ISDIR(status.st_mode):
            raise Forbidden("is a directory", FileProblem.NOT_A_FILE)
        raise Exists("there is a file of this name already")

    def begin(self, name: str) -> Incoming:
        """Begin a file of a name that ``check`` returned; raises FileError."""
        with self._lock:
            self._count()
            path = self.folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
            try:
                return Incoming(self, name, path, os.open(path, _NEW, 0o644))
            except OSError as error:
                raise _explained(error) from error

    def _count(self) -> None:
        left = self._most
        for _, _, found in os.walk(self.folder):
            left -= len(found)
            if left <= 0:
                text = f"{self._most} files are here: upload_count allows no more"
                raise Forbidden(text, FileProblem.UPLOADS_REFUSED)

    def _parent(self, name: str) -> int:
        """Open the directory that a file of this name belongs into; raises OSError, FileError."""
        folder = posixpath.dirname(name)
        if not folder:
            return os.open(self.folder, _FOLDER)
        try:
            opened = paths.open_beneath(os.fsencode(self.folder), paths.encode(folder))
        except (FileNotFoundError, NotADirectoryError):
            text = f"there is no directory {folder}, and none is made"
            raise Forbidden(text, FileProblem.UPLOADS_REFUSED) from None
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            os.close(opened)
            raise Forbidden(f"{folder} is no directory", FileProblem.UPLOADS_REFUSED)
        return opened


class Incoming:
    """A file that is being brought: under a name of its own until it is whole."""

    def __init__(self, uploads: Uploads, name: str, path: Path, descriptor: int) -> None:
        self._uploads = uploads
        self._name = name
        self._path = path
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Append octets; raises FileError."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _explained(error) from error

    def keep(self) -> None:
        """Give the file its name, all of it on disk; raises FileError, Exists if it is taken."""
        base = paths.encode(posixpath.basename(self._name))
        try:
            os.fsync(self._descriptor)
            parent = self._uploads._parent(self._name)
            try:
                # a link, for it never takes another file's name
                os.link(self._path, base, dst_dir_fd=parent, follow_symlinks=False)
                self.leave()
                os.fsync(parent)
            finally:
                os.close(parent)
        except FileExistsError:
            raise Exists("there is a file of this name already") from None
        except OSError as error:
            raise _explained(error) from error
        self._close()

    def drop(self) -> None:
        """Take back what was written."""
        self._close()
        self.leave()

    def leave(self) -> None:
        """Take away the name that it has while it isn't whole, whoever may still be writing."""
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _problem(folder: Path, roots: list[str]) -> str:
    """Say why files can't be taken there; "" when they can."""
    try:
        if not folder.is_dir():
            return f"{folder} is no directory" if folder.exists() else f"{folder} does not exist"
    except PermissionError:
        return f"{folder} can't be read: no right to"
    for root in roots:
        if Path(root).resolve().is_relative_to(folder.resolve()):
            return f"{folder} holds the root, {root}: what is brought would be booted; name another"
    return ""


def _fault(section: Section, problem: str) -> Finding:
    written = {option.lower(): option for option in section.options}
    return section.fault(written.get("upload", "upload"), problem)


def _explained(error: OSError) -> FileError:
    if error.errno in _FULL:
        return NoSpace("no space is left on the disk")
    if error.errno == errno.EROFS:
        return Forbidden(
            "the upload directory is on a file system that is read only",
            FileProblem.UPLOADS_REFUSED,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Forbidden(
            "the upload directory can't be written to: no right to", FileProblem.UPLOADS_REFUSED
        )
    return explain(error)
