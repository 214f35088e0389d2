"""Files that clients bring: new ones only, in a directory for them alone, whole or not at all.

All but the making of ``Uploads`` may block: it is for workers.
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
from pybootd.files.local import explain_os_error
from pybootd.files.resolver import TEMPLATE_SUFFIX
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
        if fault := _find_fault(folder, sorted(roots)):
            raise ConfigError([_make_fault(section, fault)])
        return cls(folder, tftp.upload_size, tftp.upload_count)

    def remove_unfinished(self) -> None:
        """Remove what a daemon that was killed left behind; to be called before the first file."""
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            log.warning("[tftp] upload: no right to write to %s: uploads will fail", self.folder)
            return
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            left.unlink(missing_ok=True)

    def check_name(self, name: str) -> str:
        """Return the cleaned name if a file of this name would be taken now; raises FileError."""
        name = paths.clean_name(name)
        base = posixpath.basename(name)
        if base.lower().endswith(TEMPLATE_SUFFIX):
            raise Forbidden(
                f"no {TEMPLATE_SUFFIX} is taken: it would be a template",
                FileProblem.UPLOADS_REFUSED,
            )
        if base.startswith(_UNFINISHED):
            raise Forbidden(
                f"no name that begins with {_UNFINISHED} is taken", FileProblem.UPLOADS_REFUSED
            )
        try:
            parent = self.open_parent(name)
            try:
                status = os.stat(paths.encode_name(base), dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
        except FileNotFoundError:
            self._check_count()
            return name
        except OSError as error:
            raise _explain_upload_error(error) from error
        if stat.S_ISDIR(status.st_mode):
            raise Forbidden("is a directory", FileProblem.NOT_A_FILE)
        raise Exists("there is a file of this name already")

    def begin_file(self, name: str) -> UploadedFile:
        """Begin a file of a name that ``check_name`` returned; raises FileError."""
        with self._lock:
            self._check_count()
            path = self.folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
            try:
                return UploadedFile(self, name, path, os.open(path, _NEW, 0o644))
            except OSError as error:
                raise _explain_upload_error(error) from error

    def _check_count(self) -> None:
        left = self._most
        for _, _, found in os.walk(self.folder):
            left -= len(found)
            if left <= 0:
                text = f"{self._most} files are here: upload_count allows no more"
                raise Forbidden(text, FileProblem.UPLOADS_REFUSED)

    def open_parent(self, name: str) -> int:
        """Open the directory that a file of this name belongs into; raises OSError, FileError."""
        folder = posixpath.dirname(name)
        if not folder:
            return os.open(self.folder, _FOLDER)
        try:
            opened = paths.open_beneath(os.fsencode(self.folder), paths.encode_name(folder))
        except (FileNotFoundError, NotADirectoryError):
            text = f"there is no directory {folder}, and none is made"
            raise Forbidden(text, FileProblem.UPLOADS_REFUSED) from None
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            os.close(opened)
            raise Forbidden(f"{folder} is no directory", FileProblem.UPLOADS_REFUSED)
        return opened


class UploadedFile:
    """A file that is being brought: under another name until it is whole."""

    def __init__(self, uploads: Uploads, name: str, path: Path, descriptor: int) -> None:
        self._uploads = uploads
        self._name = name
        self._path = path
        self._descriptor = descriptor

    def append_data(self, data: bytes) -> None:
        """Append octets; raises FileError."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _explain_upload_error(error) from error

    def keep_file(self) -> None:
        """Give the file its name, all of it on disk; raises FileError, Exists if it is taken."""
        base = paths.encode_name(posixpath.basename(self._name))
        try:
            os.fsync(self._descriptor)
            parent = self._uploads.open_parent(self._name)
            try:
                # a link, for it never takes another file's name
                os.link(self._path, base, dst_dir_fd=parent, follow_symlinks=False)
                self.remove_unfinished_name()
                os.fsync(parent)
            finally:
                os.close(parent)
        except FileExistsError:
            raise Exists("there is a file of this name already") from None
        except OSError as error:
            raise _explain_upload_error(error) from error
        self._close()

    def discard_file(self) -> None:
        """Take back what was written."""
        self._close()
        self.remove_unfinished_name()

    def remove_unfinished_name(self) -> None:
        """Take away its unfinished name, even if a worker is still writing."""
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _find_fault(folder: Path, roots: list[str]) -> str:
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


def _make_fault(section: Section, problem: str) -> Finding:
    written = {option.lower(): option for option in section.options}
    return section.fault(written.get("upload", "upload"), problem)


def _explain_upload_error(error: OSError) -> FileError:
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
    return explain_os_error(error)
