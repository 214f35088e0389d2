"""Leases in an SQLite file."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

from pybootd.core.client import IPAddress
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.store import LeaseStore, MemoryStore, StoreError, StoreLost

log = logging.getLogger(__name__)

MEMORY = "memory"
SCHEMA = 1  # PRAGMA user_version; a later one adds its steps to _migrate
_MAGIC = b"SQLite format 3\0"
_BUSY_TIMEOUT_S = (
    0.05  # seconds that a transaction waits, and the daemon with it, for another program
)
# what SQLite says of a file that is not its own any more; ERROR: a table is missing, say
_DAMAGED = frozenset((sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_MAX_CLOCK_STEP_S = 1.0  # seconds by which the wall clock may wander before that is written down

# ``expires``: wall clock less the drift, NULL: never; ``seconds``: NULL: for ever
_TABLES = (
    """CREATE TABLE lease (
        address INTEGER PRIMARY KEY,
        mac BLOB NOT NULL,
        client_id BLOB,
        state TEXT NOT NULL,
        expires REAL,
        seconds REAL,
        hostname TEXT NOT NULL,
        uuid BLOB,
        booted INTEGER NOT NULL
    )""",
    "CREATE TABLE clock (drift REAL NOT NULL)",
    "INSERT INTO clock VALUES (0)",
)
_SAVE = "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

Row = tuple[int, bytes, bytes | None, str, float | None, float | None, str, bytes | None, int]


class SqliteStore(LeaseStore):
    """Keeps leases in an SQLite file; one batch is one transaction, on disk when ``save`` returns.

    The wall clock may be set while the daemon runs: expiry times are written as if it had never
    been, and how far it has been set since beside them. ``clock`` tells it (seconds).
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self.database: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._offset = 0.0  # wall clock less monotonic clock when the leases were loaded
        self._drift = 0.0
        self._version = 0
        self._stored: set[int] = set()
        self._inodes: list[tuple[int, int] | None] = []
        self._waits_for_others = True

    def open(self) -> None:
        """Open or make the file; a damaged one is set aside. Raises StoreError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file()
            try:
                self._open_database()
            except sqlite3.OperationalError:
                raise  # no space, no right, locked: nothing is wrong with the file
            except sqlite3.DatabaseError as error:
                self._check_ours()
                aside = self._set_aside()
                log.error(
                    "lease file %s is damaged (%s): kept as %s, a fresh one is begun; "
                    "clients keep their addresses when they renew",
                    self.path,
                    error,
                    aside,
                )
                self._open_database()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StoreError(f"lease file {self.path}: {explain_error(error)}") from error
        except StoreError:
            self.close()
            raise

    def load_leases(self, now: float) -> Iterable[Lease]:
        """Return every lease kept; raises StoreError."""
        wall = self._clock()
        self._offset, self._drift = wall - now, 0.0
        with self._transaction() as file:
            drift = read_drift(file)
            if drift:
                file.execute("UPDATE lease SET expires = expires + ?", (drift,))
            file.execute("DELETE FROM clock")
            file.execute("INSERT INTO clock VALUES (0)")
            rows = file.execute("SELECT * FROM lease").fetchall()
        self._version = self._data_version()
        self._stored = {row[0] for row in rows}
        return list(read_rows(rows, now - wall, now))

    def save_leases(self, batch: Collection[Lease], now: float) -> None:
        """Keep these leases, all or none, safe on disk; raises StoreError."""
        free = [(int(one.address),) for one in batch if one.state is LeaseState.FREE]
        kept = [_row(one, self._offset) for one in batch if one.state is not LeaseState.FREE]
        drift = self._clock() - now - self._offset
        if self.database is None or self._inodes != self._read_inodes():
            raise StoreLost(f"lease file {self.path} was taken away")
        with self._transaction() as file:
            if free:
                file.executemany("DELETE FROM lease WHERE address = ?", free)
            file.executemany(_SAVE, kept)
            if abs(drift - self._drift) > _MAX_CLOCK_STEP_S:
                file.execute("UPDATE clock SET drift = ?", (drift,))
        if abs(drift - self._drift) > _MAX_CLOCK_STEP_S:
            self._drift = drift
        self._stored.difference_update(number for (number,) in free)
        self._stored.update(row[0] for row in kept)

    def rebuild_store(self, leases: Collection[Lease], now: float, why: str) -> None:
        """Write all leases to a fresh file; what is at its path is set aside. Raises StoreError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            aside = self._set_aside()
            self.close()
            self._lock_file()
            self._open_database()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StoreError(f"{why}, and can't be made again: {explain_error(error)}") from error
        self._drift = 0.0
        self._stored.clear()
        self.save_leases(leases, now)
        self._version = self._data_version()
        there = f"; what was there is kept as {aside}" if aside else ""
        log.error("%s: a fresh one holds all %d leases%s", why, len(leases), there)

    def list_removed(self) -> Collection[IPAddress]:
        """Return the addresses whose leases somebody else took out of the file since last time."""
        if self.database is None or (version := self._data_version()) == self._version:
            return ()
        self._version = version
        with self._transaction() as file:
            there = {number for (number,) in file.execute("SELECT address FROM lease")}
        gone = self._stored - there
        self._stored -= gone
        return [IPv4Address(number) for number in gone]

    def close(self) -> None:
        """Close the file; may be called twice."""
        file, self.database = self.database, None
        if file is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    # inside

    def _lock_file(self) -> None:
        """Make sure that no other daemon gives addresses from this file."""
        # not on the file itself: closing any descriptor of it would drop SQLite's own locks
        self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"lease file {self.path}: another pybootd uses it") from None

    def _open_database(self) -> None:
        file = self.database = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
        file.text_factory = decode_text
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        version = check_schema(file, self.path)
        if version < SCHEMA:
            _migrate_file(file, version)
        self._inodes = self._read_inodes()
        self._set_busy_timeout(_BUSY_TIMEOUT_S)

    def _check_ours(self) -> None:
        """Leave alone what never was a database: a path written by mistake. Raises StoreError."""
        with self.path.open("rb") as file:
            head = file.read(len(_MAGIC))
        if head.strip(b"\0") and head != _MAGIC:
            raise StoreError(f"lease file {self.path}: no lease file: change [bootp] leases")

    def _set_aside(self) -> Path | None:
        """Move what is there out of the way, with the journal that belongs to it; its new path."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self._clock()))
        aside, moved = self.path.with_name(f"{self.path.name}.damaged-{stamp}"), None
        Path(f"{self.path}-shm").unlink(missing_ok=True)  # an index of the journal alone
        for suffix in ("-wal", ""):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
                moved = aside
        # last, for it takes away a journal that it finds in its place
        if self.database is not None:
            self.database.close()
            self.database = None
        return moved

    def _read_inodes(self) -> list[tuple[int, int] | None]:
        """Say which files are at the paths of the database and its journal."""
        return [_inode(Path(f"{self.path}{suffix}")) for suffix in ("", "-wal")]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; raises StoreError, after which the next one may succeed."""
        file = self.database
        if file is None:
            raise StoreError(f"lease file {self.path}: not open")
        try:
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                file.execute("ROLLBACK")
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _DAMAGED:
                raise StoreLost(f"lease file {self.path} is damaged ({error})") from error
            if code == sqlite3.SQLITE_BUSY:
                self._set_busy_timeout(
                    0.0
                )  # all who ask now would wait, and everybody else for them
            raise StoreError(f"lease file {self.path}: {explain_error(error)}") from error
        if not self._waits_for_others:
            self._set_busy_timeout(_BUSY_TIMEOUT_S)

    def _set_busy_timeout(self, seconds: float) -> None:
        """Set how long a transaction waits for another program's."""
        self._waits_for_others = seconds > 0
        if self.database is not None:
            self.database.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")

    def _data_version(self) -> int:
        """Return a number that changes when another process writes the file."""
        if self.database is None:
            return 0
        try:
            (version,) = self.database.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return self._version
        return int(version)


def open_store(where: str) -> LeaseStore:
    """Open the store that ``[bootp] leases`` names; memory where there is no right to write.

    Raises StoreError.
    """
    if where == MEMORY:
        return MemoryStore()
    store = SqliteStore(Path(where))
    try:
        store.open()
    except StoreError as error:
        if _may_write(store.path):
            raise
        log.warning("%s: leases are kept in memory and lost at the end", error)
        return MemoryStore()
    return store


def check_schema(file: sqlite3.Connection, path: Path) -> int:
    """Return the schema of a file; raises sqlite3.DatabaseError: damaged, StoreError: newer."""
    (state,) = file.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(f"integrity check: {state.splitlines()[-1]}")
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA:
        raise StoreError(
            f"lease file {path}: written by a newer pybootd (schema {version}, this one "
            f"knows {SCHEMA}): change [bootp] leases, or run that pybootd"
        )
    return int(version)


def _may_write(path: Path) -> bool:
    """Tell whether the file may be written or made, and its journal in the nearest folder."""
    folder = next(one for one in path.absolute().parents if os.access(one, os.F_OK))
    return os.access(folder, os.W_OK) and (os.access(path, os.W_OK) or not path.exists())


def _migrate_file(file: sqlite3.Connection, version: int) -> None:
    """Bring the file's tables up from an older schema, 0: an empty file."""
    file.execute("BEGIN IMMEDIATE")
    if version < 1:
        for statement in _TABLES:
            file.execute(statement)
    file.execute(f"PRAGMA user_version = {SCHEMA}")
    file.execute("COMMIT")


def _row(lease: Lease, offset: float) -> Row:
    return (
        int(lease.address),
        lease.mac,
        lease.client_id,
        lease.state.value,
        None if lease.expires == FOREVER else lease.expires + offset,
        None if lease.seconds == FOREVER else lease.seconds,
        lease.hostname,
        lease.uuid.bytes if lease.uuid else None,
        lease.booted,
    )


def read_drift(file: sqlite3.Connection) -> float:
    """Return by how many seconds the wall clock was set; 0 where the table does not say it."""
    row = file.execute("SELECT drift FROM clock").fetchone()
    drift = row[0] if row else 0.0
    return drift if isinstance(drift, int | float) and math.isfinite(drift) else 0.0


def decode_text(octets: bytes) -> str:
    """Read text of the file, also what is not UTF-8."""
    return octets.decode("utf-8", "replace")


def read_rows(rows: Iterable[Row], offset: float, now: float) -> Iterator[Lease]:
    """Turn rows into leases; a faulty one is logged. ``offset``: monotonic less wall clock."""
    for row in rows:
        try:
            yield _lease(row, offset, now)
        except (TypeError, ValueError) as error:  # somebody wrote it by hand
            log.warning("a lease in the lease file can't be read and is left out: %s", error)


def _lease(row: Row, offset: float, now: float) -> Lease:
    number, mac, client_id, state, expires, seconds, hostname, uuid, booted = row
    if not (isinstance(mac, bytes) and isinstance(hostname, str)):
        raise TypeError("mac is not octets, or hostname not text")
    if not (isinstance(client_id, bytes | None) and isinstance(uuid, bytes | None)):
        raise TypeError("client_id or uuid is not octets")
    if not (_is_time(expires) and _is_time(seconds)):
        raise TypeError("expires or seconds is not a number")
    granted = math.inf if seconds is None else seconds
    return Lease(
        address=IPv4Address(number),
        owner=b"" if state == LeaseState.DECLINED.value else mac or b"id:" + (client_id or b""),
        mac=mac,
        client_id=client_id,
        state=LeaseState(state),
        # the clock may have been behind when the daemon started: never more than was granted
        expires=FOREVER if expires is None else min(expires + offset, now + granted),
        seconds=granted,
        hostname=hostname,
        uuid=UUID(bytes=uuid) if uuid else None,
        booted=bool(booted),
    )


def _is_time(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _inode(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that takes its place; None: there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def explain_error(error: Exception) -> str:
    """Say in a few words what the system or SQLite said."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
