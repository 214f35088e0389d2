"""Checksums that files must have: what was checked is what is sent, octet for octet.

A pinned file is copied while it is summed up, and the copy is sent: it has no name, so nobody else
can write to it, whatever happens to the file.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.events import FileProblem
from pybootd.files.filters import compile_pattern
from pybootd.files.source import Altered, StaticBody, TextBody, Unavailable

MAX_COPIES = 64
"""Copies that are held open for the next client."""
MAX_COPIED_OCTETS = 4 << 30
"""Octets of the copies that are held open for the next client."""

_PIECE = 1 << 20  # octets that are read at once
_MAX_KNOWN = 1024  # files whose checksums are remembered


class Pins:
    """The lines ``pattern = sha256:...`` of ``[pins]``; the first pattern that fits decides."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        self._lines = [(compile_pattern(pattern), digest) for pattern, digest in lines.items()]

    def __bool__(self) -> bool:
        return bool(self._lines)

    def find_pin(self, name: str) -> str:
        """Return the sha256, in hexadecimal, that the file served by this name must have, or ""."""
        if not self._lines:
            return ""
        bare = name.lstrip("/")
        return next((digest for pattern, digest in self._lines if pattern.match(bare)), "")

    def check_octets(self, name: str, data: bytes) -> None:
        """Raise Altered if the octets aren't what the name is pinned to."""
        pin = self.find_pin(name)
        if pin and (digest := _sum_octets(data)) != pin:
            raise altered_error(name, digest, pin)


class CheckedFile(StaticBody):
    """A copy of a file, with the sha256 that it was pinned to."""

    immutable = True

    def __init__(self, descriptor: int, digest: str, size: int, modified: int | None) -> None:
        self._descriptor = descriptor
        self.size = size
        self.modified = modified
        self.digest = digest
        self.key = ("sha256", digest)

    def pread(self, count: int, offset: int) -> bytes:
        """Read ``count`` octets from ``offset``, fewer only at the end. Raises Unavailable."""
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            text = f"the checked copy can't be read: {error.strerror}"
            raise Unavailable(text, FileProblem.READ_ERROR) from error

    def fileno(self) -> int | None:
        """Return the descriptor, None once closed."""
        return self._descriptor if self._descriptor >= 0 else None

    def close(self) -> None:
        """Close the copy; it goes with the last that has it open."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def open_again(self, modified: int | None) -> CheckedFile:
        """Open the copy once more, for another reader."""
        return CheckedFile(os.dup(self._descriptor), self.digest, self.size, modified)


class CheckedCopies:
    """Makes the copies, and holds those that were used last. ``folder`` has room for them.

    Threads may share it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._digests: BoundedMap[Hashable, str] = BoundedMap(_MAX_KNOWN)  # by the file's key
        self._copies: OrderedDict[str, CheckedFile] = OrderedDict()  # by digest
        self._octets = 0
        self._lock = threading.Lock()
        self._copying: dict[Hashable, threading.Lock] = {}

    def find_checked(self, body: StaticBody, name: str, pin: str) -> StaticBody | None:
        """Return the body's checked copy if there is one; None: it has to be made.

        Raises Altered.
        """
        with self._lock:
            digest = self._digests.use(body.key)
            if digest is None:
                return None
            if digest != pin:
                raise altered_error(name, digest, pin)
            copy = self._copies.get(digest)
            if copy is None:
                return None
            self._copies.move_to_end(digest)
            return copy.open_again(body.modified)

    def make_checked(self, body: StaticBody, name: str, pin: str) -> StaticBody:
        """Copy a file, and return the copy if it has the checksum; for a worker.

        Raises Altered, and Unavailable when the file can't be read or there is no room.
        """
        if isinstance(body, TextBody):  # octets that are in memory already
            digest = _sum_octets(body.pread(body.size, 0))
            if digest != pin:
                raise altered_error(name, digest, pin)
            return body
        with self._lock:
            once = self._copying.setdefault(body.key, threading.Lock())
        try:
            with once:  # clients that ask together share one copy
                return self.find_checked(body, name, pin) or self._copy_file(body, name, pin)
        finally:
            with self._lock:
                self._copying.pop(body.key, None)

    def close(self) -> None:
        """Let the copies go that no reader has open."""
        with self._lock:
            for copy in self._copies.values():
                copy.close()
            self._copies.clear()
            self._octets = 0

    def _copy_file(self, body: StaticBody, name: str, pin: str) -> CheckedFile:
        import hashlib  # it loads OpenSSL, which most daemons don't need

        summed, descriptor = hashlib.sha256(), self._open_unnamed()
        try:
            for offset in range(0, body.size, _PIECE):
                data = body.pread(min(_PIECE, body.size - offset), offset)
                summed.update(data)
                _write_all(descriptor, data)
        except OSError as error:
            os.close(descriptor)
            text = f"{name} is pinned, and can't be copied to be checked: {error.strerror}"
            raise Unavailable(text, FileProblem.UNCHECKED) from error
        except BaseException:
            os.close(descriptor)
            raise
        copy = CheckedFile(descriptor, summed.hexdigest(), body.size, body.modified)
        return self._keep_copy(body, name, pin, copy)

    def _keep_copy(self, body: StaticBody, name: str, pin: str, copy: CheckedFile) -> CheckedFile:
        digest = copy.digest
        with self._lock:
            self._digests[body.key] = digest
            if digest != pin:
                copy.close()
                raise altered_error(name, digest, pin)
            opened = copy.open_again(body.modified)
            earlier = self._copies.pop(digest, None)
            if earlier is not None:
                self._octets -= earlier.size
                earlier.close()
            self._copies[digest] = copy
            self._octets += copy.size
            while len(self._copies) > MAX_COPIES or self._octets > MAX_COPIED_OCTETS:
                _, oldest = self._copies.popitem(last=False)
                self._octets -= oldest.size
                oldest.close()
        return opened

    def _open_unnamed(self) -> int:
        """Open a file without a name: on disk, in memory where no folder has room for it."""
        if self._folder is not None:
            with suppress(OSError, AttributeError):  # it may be missing, or another program's
                return os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with suppress(OSError), tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
        return os.memfd_create("pybootd-checked", os.MFD_CLOEXEC)


def altered_error(name: str, digest: str, pin: str) -> Altered:
    """Make the error that says that a file isn't the one that was pinned."""
    return Altered(f"{name} is not what [pins] says: it has sha256:{digest}, not sha256:{pin}")


def _sum_octets(data: bytes) -> str:
    import hashlib  # as above

    return hashlib.sha256(data).hexdigest()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
