"""Leases in a PostgreSQL database, which several daemons share.

What is said of times: ``expires`` of a Lease is monotonic seconds here as everywhere; in the
database it is in seconds of the lease clock (see ``schema``), so that no host's clock matters.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.shared.connection import (
    CHANNEL,
    READ_CLOCK,
    check_tables,
    connect_database,
    describe_database,
    explain_database_error,
)
from pybootd.leases.shared.rows import Row, make_row, read_row
from pybootd.leases.store import LeaseStore, StoreError

if TYPE_CHECKING:
    import psycopg

_MAX_CLOCK_STEP_S = 1.0  # the database's clock has jumped if it is off by more
_SAVE = (
    "SELECT * FROM pybootd.save(%s, %s, %s, %s::int[], %s::bigint[], %s::bytea[], %s::bytea[],"
    " %s::bytea[], %s::text[], %s::double precision[], %s::double precision[], %s::text[],"
    " %s::uuid[], %s::boolean[], %s::bigint[], %s::cidr[])"
)
_SET_DRIFT = "UPDATE pybootd.clock SET drift = %s WHERE drift = %s"


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


def _is_not_free(lease: Lease) -> bool:
    return lease.state is not LeaseState.FREE


class PostgresStore(LeaseStore):
    """Keeps leases in a database; what ``save_leases`` returned from is committed.

    ``url`` is a libpq connection URL: passwords, certificates and services are as libpq finds
    them. ``daemon_name`` names this daemon to the others.
    """

    def __init__(self, url: str, daemon_name: str = "") -> None:
        self.daemon_name = daemon_name or f"{socket.gethostname()}/{secrets.token_hex(4)}"
        self._url = url
        self.name = f"lease database {describe_database(url)}"
        self._connection: psycopg.Connection[Any] | None = None
        self._listening: psycopg.Connection[Any] | None = None
        self._ended = False
        self._in_use = threading.Lock()
        self._offset: float | None = None  # lease clock less monotonic clock
        self.newest = 0  # the version of the store that was read last

    def open(self) -> None:
        """Connect; raises SchemaError, and StoreError when it can't be had."""
        try:
            self._ensure_connected()
        except StoreError:
            self.close()
            raise

    def load_leases(self, now: float) -> Iterable[Lease]:
        """Return every lease and offer; raises StoreError."""
        told = self.prepare_exchange((), now, 0)()
        self.newest = told.newest
        return [lease for lease, _ in told.leases if lease.state is not LeaseState.FREE]

    def save_leases(self, batch: Collection[Lease], now: float) -> None:
        """Commit these leases, all or none.

        Raises StoreError, LeaseConflict where another daemon gave one of them to another client.
        """
        rows = [make_row(lease) for lease in sorted(batch, key=_is_not_free)]
        told = self.prepare_exchange([rows], now, self.newest)()
        if told.failed:
            taken = ", ".join(str(lease.address) for lease in batch)
            raise LeaseConflict(f"{self.name}: another daemon gave one of {taken} to somebody else")
        self.newest = told.newest
        versions = {lease.address: lease.version for lease, _ in told.leases}
        for lease in batch:
            lease.version = versions.get(lease.address, lease.version)

    def prepare_exchange(
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
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def open_listener(self) -> psycopg.Connection[Any]:
        """Return a connection that hears when others write; raises StoreError."""
        import psycopg

        with self._translate_errors(close=False):
            connection = connect_database(self._url)
            self._listening = connection
            try:
                connection.execute(f"LISTEN {CHANNEL}")
            except psycopg.Error:
                connection.close()
                raise
        if self._ended:
            connection.close()
            raise StoreError(f"{self.name}: closed")
        return connection

    def disconnect(self) -> None:
        """Disconnect for good; a worker that is under way does it when it has finished."""
        self._ended = True
        if self._listening is not None:
            self._listening.close()
        if self._in_use.acquire(blocking=False):
            self.close()
            self._in_use.release()

    # inside

    def _ensure_connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            with self._translate_errors():
                self._connection = connect_database(self._url)
                check_tables(self._connection, self.name)
        return self._connection

    @contextlib.contextmanager
    def _translate_errors(self, *, close: bool = True) -> Iterator[None]:
        import psycopg

        try:
            yield
        except (psycopg.Error, UnicodeError, OSError) as error:
            if close:
                self.close()
            raise StoreError(f"{self.name}: {explain_database_error(error)}") from error

    def _exchange(
        self, requests: Sequence[Sequence[Row]], now: float, since: int, begun: float
    ) -> DatabaseReply:
        with self._translate_errors():
            connection = self._ensure_connected()
            if self._offset is None:
                clock, drift = connection.execute(READ_CLOCK).fetchone() or (0.0, 0.0)
                self._offset = clock - drift - now - (time.perf_counter() - begun)
            offset = self._offset
            numbered = [(n, *row) for n, rows in enumerate(requests) for row in rows]
            answer = self._run_save(connection, numbered, now, since, offset)
            elapsed = time.perf_counter() - begun
            self._follow_clock(connection, answer[0][7], answer[0][8], now, elapsed)
        failed, leases, newest = set(), [], since
        for kind, version, *row in answer[1:]:
            if kind == "failed":
                failed.add(version)
                continue
            newest = max(newest, version)
            leases.append((read_row(version, row, -offset, now), row[-1]))
        return DatabaseReply(frozenset(failed), leases, newest)

    def _run_save(
        self,
        connection: psycopg.Connection[Any],
        rows: list[Row],
        now: float,
        since: int,
        offset: float,
    ) -> list[Row]:
        if not rows:
            # the reader's way takes no turn: it waits for no writer
            found = connection.execute(_SAVE, (since, self.daemon_name, now + offset, *[[]] * 13))
            return found.fetchall()
        columns = [list(column) for column in zip(*rows, strict=True)]
        columns[6] = [None if end == FOREVER else float(end + offset) for end in columns[6]]
        columns[7] = [None if given == FOREVER else float(given) for given in columns[7]]
        found = connection.execute(
            _SAVE, (since, self.daemon_name, now + offset, *columns), binary=True
        )
        return found.fetchall()

    def _follow_clock(
        self,
        connection: psycopg.Connection[Any],
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
        if abs(moment - late) > _MAX_CLOCK_STEP_S:
            connection.execute(_SET_DRIFT, (clock - offset - late, drift))
        else:
            self._offset = offset + moment - late
