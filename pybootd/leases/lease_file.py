"""What a person's command does with a lease file, also while a daemon uses it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

from pybootd.leases.lease import Lease
from pybootd.leases.sqlite import check_schema, decode_text, explain_error, read_drift, read_rows
from pybootd.leases.store import StoreError
from pybootd.system.privileges import acting_as_owner


def read_lease_file(
    path: Path, clock: Callable[[], float] = time.time, *, whole: bool = False
) -> list[Lease]:
    """Read the leases of a file, also while a daemon uses it; ``expires`` in seconds from now.

    Raises StoreError; with ``whole`` also where some leases may be missing.
    """
    with _open_file(path) as file:
        if whole:
            check_schema(file, path)
        drift = read_drift(file)
        rows = file.execute("SELECT * FROM lease ORDER BY address").fetchall()
    leases = list(read_rows(rows, drift - clock(), 0.0))
    if whole and len(leases) < len(rows):
        raise StoreError(f"lease file {path}: some of its leases can't be read")
    return leases


def is_in_use(path: Path) -> bool:
    """Tell whether a daemon gives addresses from this file."""
    try:
        lock = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def remove_leases(path: Path, mac: bytes) -> list[IPv4Address]:
    """Take the leases of a client out of a file; a running daemon notes it before its next answer.

    Raises StoreError.
    """
    with _open_file(path) as file:
        rows = file.execute("DELETE FROM lease WHERE mac = ? RETURNING address", (mac,)).fetchall()
    return [
        IPv4Address(number)
        for (number,) in rows
        if isinstance(number, int) and 0 <= number < 1 << 32
    ]


@contextlib.contextmanager
def _open_file(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        if not path.exists():
            raise StoreError(f"lease file {path}: there is none")
        with (
            acting_as_owner(path.parent),
            contextlib.closing(sqlite3.connect(path, timeout=5.0)) as file,
            file,
        ):
            file.text_factory = decode_text
            yield file
    except (OSError, sqlite3.Error) as error:  # systemd keeps others out of the folder
        raise StoreError(f"lease file {path}: {explain_error(error)}") from error
