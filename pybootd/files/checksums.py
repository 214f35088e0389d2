"""Checksums that files must have: a file that differs is not served."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Mapping

from pybootd.core.bounded_map import BoundedMap
from pybootd.files.filters import compile_pattern
from pybootd.files.source import Altered, StaticBody, TextBody

_PIECE = 1 << 20  # octets that are read at once
_MAX_KNOWN = 1024  # files whose checksums are remembered


class Pins:
    """The lines ``pattern = sha256:...`` of ``[pins]``; the first pattern that fits decides."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        self._lines = [(compile_pattern(pattern), digest) for pattern, digest in lines.items()]
        self._known: BoundedMap[Hashable, str] = BoundedMap(_MAX_KNOWN)
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def find_pin(self, name: str) -> str:
        """Return the sha256, in hexadecimal, that the file served by this name must have, or ""."""
        if not self._lines:
            return ""
        bare = name.lstrip("/")
        return next((digest for pattern, digest in self._lines if pattern.match(bare)), "")

    def known_digest(self, body: StaticBody) -> str:
        """Return a file's checksum if that needs no reading, or ""."""
        return self._known.get(_identity(body), "")

    def compute_digest(self, body: StaticBody) -> str:
        """Read a file and return its checksum; for a worker. Raises Unavailable."""
        identity = _identity(body)
        found = self._known.get(identity)
        if found is not None:
            return found
        import hashlib  # it loads OpenSSL, which most daemons don't need

        summed = hashlib.sha256()
        for offset in range(0, body.size, _PIECE):
            summed.update(body.pread(min(_PIECE, body.size - offset), offset))
        digest = summed.hexdigest()
        if not isinstance(body, TextBody):
            with self._lock:
                self._known[identity] = digest
        return digest


def altered_error(name: str, digest: str, pin: str) -> Altered:
    """Make the error that says that a file isn't the one that was pinned."""
    return Altered(f"{name} is not what [pins] says: it has sha256:{digest}, not sha256:{pin}")


def _identity(body: StaticBody) -> Hashable:
    """Tell a file by what changes when it is written to, even if its time is set back."""
    descriptor = body.fileno()
    if descriptor is None:
        return body.key
    return body.key, os.fstat(descriptor).st_ctime_ns
