"""Leases in a PostgreSQL database, which several daemons share.

What is said of times: ``expires`` of a Lease is monotonic seconds here as everywhere; in the
database it is in seconds of the lease clock (see ``schema``), so that no host's clock matters.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pybootd.config import values
from pybootd.config.ini import ConfigError
from pybootd.config.loader import Config
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.pool import EVERYWHERE, OFFER_HOLD_S
from pybootd.leases.shared import schema
from pybootd.leases.store import LeaseStore, StoreError

if TYPE_CHECKING:
    import psycopg

CHANNEL = "pybootd"  # what NOTIFY is sent on
_GET = "on Debian apt install python3-psycopg, elsewhere pip install 'pybootd[postgresql]'"
_STEP = 1.0  # seconds by which the database's clock may be off before it is said to have jumped
# seconds; what the URL says goes before
_CONNECT = {
    "connect_timeout": "3",
    "application_name": "pybootd",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
_PATIENCE = "5s"  # of the database with one statement
_COLUMNS = (
    "version, address - '0.0.0.0'::inet, owner, mac, client_id, state, expires, seconds, hostname,"
    " uuid, booted, writer"
)
_LOAD = f"SELECT {_COLUMNS} FROM pybootd.lease ORDER BY version"  # noqa: S608
_SAVE = (
    "SELECT * FROM pybootd.save(%s, %s, %s, %s::int[], %s::bigint[], %s::bytea[], %s::bytea[],"
    " %s::bytea[], %s::text[], %s::double precision[], %s::double precision[], %s::text[],"
    " %s::uuid[], %s::boolean[], %s::bigint[], %s::cidr[])"
)
_CLOCK = "SELECT pybootd.now(), drift FROM pybootd.clock"
_SET_DRIFT = "UPDATE pybootd.clock SET drift = %s WHERE drift = %s"
_RELEASE = """
    UPDATE pybootd.lease
    SET owner = NULL, state = 'free', mac = '', client_id = NULL, hostname = '', uuid = NULL,
        booted = false, expires = pybootd.now() - (SELECT drift FROM pybootd.clock),
        version = nextval('pybootd.lease_version'), writer = ''
    WHERE mac = %s AND owner IS NOT NULL
    RETURNING host(address)
"""

# a Lease as it was at one moment, and its request's number in front
Row = tuple[Any, ...]


class SchemaError(StoreError):
    """The database is there, but has no tables that this pybootd knows."""


class LeaseConflict(StoreError):
    """The database has a lease that stands against one of those that were to be saved."""


@dataclass(frozen=True, slots=True)
class DatabaseReply:
    """What the database said: requests that failed, by number, and leases with their writers.

    FREE leases are among them: addresses that came free. ``newest``: the version of the last.
    """

    failed: frozenset[int]
    leases: Sequence[tuple[Lease, str]]
    newest: int


def is_url(where: str) -> bool:
    """Tell whether ``[bootp] leases`` names a database."""
    return where.startswith(values.DATABASES)


def snapshot(lease: Lease, network: IPv4Network = EVERYWHERE) -> Row:
    """Keep a lease, its client's only one in the network, as it is now; it may change later."""
    return (
        int(lease.address),
        lease.owner or None,
        lease.mac,
        lease.client_id,
        lease.state.value,
        lease.expires,
        lease.seconds,
        # text of a client's own: what no database takes would stop everybody
        lease.hostname.replace("\0", "").encode(errors="replace").decode(),
        lease.uuid,
        lease.booted,
        lease.version,
        str(network),
    )


def _frees_first(lease: Lease) -> bool:
    return lease.state is not LeaseState.FREE


class PostgresStore(LeaseStore):
    """Keeps leases in a database; what ``save`` returned from is committed.

    ``url`` is a libpq connection URL: passwords, certificates and services are as libpq finds
    them. ``who`` names this daemon to the others.
    """

    def __init__(self, url: str, who: str = "") -> None:
        self.who = who or f"{socket.gethostname()}/{secrets.token_hex(4)}"
        self._url = url
        self.name = f"lease database {shown(url)}"
        self._file: psycopg.Connection[Any] | None = None
        self._ear: psycopg.Connection[Any] | None = None
        self._ended = False
        self._in_use = threading.Lock()
        self._offset: float | None = None  # lease clock less monotonic clock
        self.newest = 0  # the version of the store that was read last

    def open(self) -> None:
        """Connect; raises SchemaError, and StoreError when it can't be had."""
        try:
            self._connected()
        except StoreError:
            self.close()
            raise

    def load_leases(self, now: float) -> Iterable[Lease]:
        """Return every lease and offer; raises StoreError."""
        told = self.prepare((), now, 0)()
        self.newest = told.newest
        return [lease for lease, _ in told.leases if lease.state is not LeaseState.FREE]

    def save_leases(self, batch: Collection[Lease], now: float) -> None:
        """Commit these leases, all or none; raises StoreError, Conflict if others have them."""
        rows = [snapshot(lease) for lease in sorted(batch, key=_frees_first)]
        told = self.prepare([rows], now, self.newest)()
        if told.failed:
            taken = ", ".join(str(lease.address) for lease in batch)
            raise LeaseConflict(f"{self.name}: another daemon gave one of {taken} to somebody else")
        self.newest = told.newest
        versions = {lease.address: lease.version for lease, _ in told.leases}
        for lease in batch:
            lease.version = versions.get(lease.address, lease.version)

    def prepare(
        self, requests: Sequence[Sequence[Row]], now: float, since: int
    ) -> Callable[[], DatabaseReply]:
        """Return a call for a worker: write each request's leases, all or none, in one round trip.

        It returns what has changed since version ``since``, and raises StoreError. FREE leases of
        a request stand first.
        """
        begun = time.perf_counter()

        def call() -> DatabaseReply:
            try:
                with self._in_use:
                    return self._exchange(requests, now, since, begun)
            finally:
                if self._ended:
                    self.close()

        return call

    def close(self) -> None:
        """Disconnect; may be called twice."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(Exception):
                file.close()

    def listen(self) -> psycopg.Connection[Any]:
        """Return a connection that hears when others write; raises StoreError."""
        import psycopg

        with self._errors(close=False):
            file = connect(self._url)
            self._ear = file
            try:
                file.execute(f"LISTEN {CHANNEL}")
            except psycopg.Error:
                file.close()
                raise
        if self._ended:
            file.close()
            raise StoreError(f"{self.name}: closed")
        return file

    def end(self) -> None:
        """Disconnect for good; a worker that is under way does it when it has finished."""
        self._ended = True
        if self._ear is not None:
            self._ear.close()
        if self._in_use.acquire(blocking=False):
            self.close()
            self._in_use.release()

    # inside

    def _connected(self) -> psycopg.Connection[Any]:
        if self._file is None or self._file.closed:
            with self._errors():
                self._file = connect(self._url)
                _check(self._file, self.name)
        return self._file

    @contextlib.contextmanager
    def _errors(self, *, close: bool = True) -> Iterator[None]:
        import psycopg

        try:
            yield
        except (psycopg.Error, UnicodeError, OSError) as error:
            if close:
                self.close()
            raise StoreError(f"{self.name}: {_reason(error)}") from error

    def _exchange(
        self, requests: Sequence[Sequence[Row]], now: float, since: int, begun: float
    ) -> DatabaseReply:
        with self._errors():
            file = self._connected()
            if self._offset is None:
                clock, drift = file.execute(_CLOCK).fetchone() or (0.0, 0.0)
                self._offset = clock - drift - now - (time.perf_counter() - begun)
            offset = self._offset
            numbered = [(n, *row) for n, rows in enumerate(requests) for row in rows]
            answer = self._ask(file, numbered, now, since, offset)
            elapsed = time.perf_counter() - begun
            self._see_clock(file, answer[0][7], answer[0][8], now, elapsed)
        failed, leases, newest = set(), [], since
        for kind, version, *row in answer[1:]:
            if kind == "failed":
                failed.add(version)
                continue
            newest = max(newest, version)
            leases.append((_lease(version, row, -offset, now), row[-1]))
        return DatabaseReply(frozenset(failed), leases, newest)

    def _ask(
        self, file: psycopg.Connection[Any], rows: list[Row], now: float, since: int, offset: float
    ) -> list[Row]:
        if not rows:
            # the reader's way takes no turn: it waits for no writer
            found = file.execute(_SAVE, (since, self.who, now + offset, *[[]] * 13))
            return found.fetchall()
        columns = [list(column) for column in zip(*rows, strict=True)]
        columns[6] = [None if end == FOREVER else float(end + offset) for end in columns[6]]
        columns[7] = [None if given == FOREVER else float(given) for given in columns[7]]
        found = file.execute(_SAVE, (since, self.who, now + offset, *columns), binary=True)
        return found.fetchall()

    def _see_clock(
        self,
        file: psycopg.Connection[Any],
        clock: float,
        drift: float,
        now: float,
        elapsed: float,
    ) -> None:
        """Follow the database's clock where it is slightly off; where it jumped, tell the others.

        It was read at some moment between ``now`` and ``elapsed`` seconds later.
        """
        offset = self._offset or 0.0
        moment = clock - drift - offset
        late = min(max(moment, now), now + elapsed)
        if abs(moment - late) > _STEP:
            file.execute(_SET_DRIFT, (clock - offset - late, drift))
        else:
            self._offset = offset + moment - late


def migrate(url: str) -> tuple[int, int]:
    """Make the tables, or bring them up to this version; return the versions before and after.

    Raises StoreError.
    """
    with visit(url, made=False) as file:
        file.execute("SELECT pg_advisory_xact_lock(hashtext('pybootd.schema'))")
        before = _version(file)
        if before > schema.VERSION:
            raise SchemaError(_too_new(before))
        for step in schema.steps(before):
            file.execute(step.encode())
        file.execute("UPDATE pybootd.schema SET version = %s", (schema.VERSION,))
    return before, schema.VERSION


def read_database(url: str) -> list[Lease]:
    """Read the leases, those that are offered left out; ``expires`` in seconds from now.

    Raises StoreError.
    """
    with visit(url) as file:
        leases, _ = read_all(file, 0.0)
    kept = (lease for lease in leases if lease.state is not LeaseState.OFFERED)
    return sorted(kept, key=lambda lease: lease.address)


def read_all(file: psycopg.Connection[Any], now: float) -> tuple[list[Lease], float]:
    """Return the leases and offers, and the lease clock less the monotonic clock, ``now``."""
    clock, drift = file.execute(_CLOCK).fetchone() or (0.0, 0.0)
    offset = clock - drift - now
    leases = (_lease(row[0], row[1:], -offset, now) for row in file.execute(_LOAD).fetchall())
    return [lease for lease in leases if lease.state is not LeaseState.FREE], offset


def remove(url: str, mac: bytes) -> list[IPv4Address]:
    """Take the leases of a client away; every running daemon hears of it. Raises StoreError."""
    with visit(url) as file:
        file.execute("SELECT pybootd.take_turn()")
        rows = file.execute(_RELEASE, (mac,)).fetchall()
        file.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
    return [IPv4Address(address) for (address,) in rows]


@contextlib.contextmanager
def visit(url: str, *, made: bool = True) -> Iterator[psycopg.Connection[Any]]:
    """One transaction, for a person's command; raises StoreError. ``made``: there are tables."""
    psycopg = _library()
    try:
        file = connect(url)
        with contextlib.closing(file), file.transaction():
            if made:
                _check(file, f"lease database {shown(url)}")
            yield file
    except psycopg.Error as error:
        raise StoreError(f"lease database {shown(url)}: {_reason(error)}") from error


def require(config: Config) -> None:
    """See that there is what talks to the database; raises ConfigError."""
    try:
        _library()
    except StoreError as error:
        raise ConfigError([config.sections["bootp"].fault("leases", str(error))]) from error


def _library() -> Any:
    try:
        import psycopg
    except ImportError as error:  # where libpq is missing, it has several lines
        reason = str(error).partition("\n")[0]
        raise StoreError(f"a lease database needs psycopg: {_GET} ({reason})") from error
    return psycopg


def _parsed(url: str) -> dict[str, Any]:
    psycopg = _library()
    try:
        return dict(psycopg.conninfo.conninfo_to_dict(url))
    except psycopg.Error:  # its message may quote a part of the password
        raise SchemaError(
            "postgresql://...: no connection URL that libpq reads: a special character of a user "
            "name or password is written as %XX"
        ) from None


def connect(url: str) -> psycopg.Connection[Any]:
    """Connect, with statements that commit by themselves; raises psycopg.Error."""
    import psycopg

    given = _parsed(url)
    more: Any = {name: value for name, value in _CONNECT.items() if name not in given}
    file: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True, **more)
    try:
        file.execute("SELECT set_config('statement_timeout', %s, false)", (_PATIENCE,))
    except psycopg.Error:
        file.close()
        raise
    return file


def _version(file: psycopg.Connection[Any]) -> int:
    """Return the version of the tables; 0: there are none."""
    row = file.execute("SELECT to_regclass('pybootd.schema') IS NOT NULL").fetchone()
    if not row or not row[0]:
        return 0
    row = file.execute("SELECT version FROM pybootd.schema").fetchone()
    return int(row[0]) if row else 0


def _check(file: psycopg.Connection[Any], name: str) -> None:
    """See that the tables are those that this pybootd knows; raises SchemaError."""
    version = _version(file)
    if version > schema.VERSION:
        raise SchemaError(f"{name}: {_too_new(version)}")
    if version < schema.VERSION:
        what = "holds no tables" if version == 0 else f"has tables of an older schema, {version}"
        raise SchemaError(f"{name} {what}: run pybootd leases --migrate")


def _too_new(version: int) -> str:
    return f"made by a newer pybootd (schema {version}, this one knows {schema.VERSION})"


def shown(url: str) -> str:
    """Name a database without what nobody else is to know."""
    given = _parsed(url)
    service = given.get("service")
    host = given.get("host") or given.get("hostaddr") or ("" if service else "localhost")
    words = [str(given.get("dbname") or given.get("user") or "")]
    words += [f"on {host}"] if host else []
    words += [f"of service {service}"] if service else []
    return " ".join(word for word in words if word)


def _lease(version: int, row: Sequence[Any], offset: float, now: float) -> Lease:
    """Read a row (``_COLUMNS`` without the version); ``offset``: monotonic less lease clock."""
    number, owner, mac, client_id, state, expires, seconds, hostname, uuid, booted, _ = row
    granted = math.inf if seconds is None else seconds
    made = LeaseState(state)
    # never more than was granted, whatever happened to the clock while nobody watched it
    most = now + (OFFER_HOLD_S if made is LeaseState.OFFERED else granted)
    ends = FOREVER if expires is None else min(expires + offset, most)
    return Lease(
        address=IPv4Address(number),
        owner=owner or b"",
        mac=mac,
        client_id=client_id,
        state=made,
        expires=ends,
        seconds=granted,
        hostname=hostname,
        uuid=uuid if uuid is None or isinstance(uuid, UUID) else UUID(str(uuid)),
        booted=booted,
        version=version,
        stored_until=ends if made is LeaseState.BOUND else 0.0,
    )


def _reason(error: Exception) -> str:
    """Say in one line what a database's message of several says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
