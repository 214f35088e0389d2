"""What a person's command does with a lease database, also while daemons use it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from pybootd.config.ini import ConfigError
from pybootd.config.loader import Config
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.shared import schema
from pybootd.leases.shared.connection import (
    CHANNEL,
    READ_CLOCK,
    SchemaError,
    check_tables,
    connect_database,
    describe_database,
    explain_database_error,
    explain_newer_tables,
    load_library,
    read_version,
)
from pybootd.leases.shared.rows import read_row
from pybootd.leases.store import StoreError

if TYPE_CHECKING:
    import psycopg

_COLUMNS = (
    "version, address - '0.0.0.0'::inet, owner, mac, client_id, state, expires, seconds, hostname,"
    " uuid, booted, writer"
)
_LOAD = f"SELECT {_COLUMNS} FROM pybootd.lease ORDER BY version"  # noqa: S608
_RELEASE = """
    UPDATE pybootd.lease
    SET owner = NULL, state = 'free', mac = '', client_id = NULL, hostname = '', uuid = NULL,
        booted = false, expires = pybootd.now() - (SELECT drift FROM pybootd.clock),
        version = nextval('pybootd.lease_version'), writer = ''
    WHERE mac = %s AND owner IS NOT NULL
    RETURNING host(address)
"""


def migrate_database(url: str) -> tuple[int, int]:
    """Make the tables, or bring them up to this version; return the versions before and after.

    Raises StoreError.
    """
    with open_transaction(url, made=False) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('pybootd.schema'))")
        before = read_version(connection)
        if before > schema.VERSION:
            raise SchemaError(explain_newer_tables(before))
        for step in schema.list_steps(before):
            connection.execute(step.encode())
        connection.execute("UPDATE pybootd.schema SET version = %s", (schema.VERSION,))
    return before, schema.VERSION


def read_database(url: str) -> list[Lease]:
    """Read the leases, those that are offered left out; ``expires`` in seconds from now.

    Raises StoreError.
    """
    with open_transaction(url) as connection:
        leases, _ = read_all_leases(connection, 0.0)
    kept = (lease for lease in leases if lease.state is not LeaseState.OFFERED)
    return sorted(kept, key=lambda lease: lease.address)


def read_all_leases(connection: psycopg.Connection[Any], now: float) -> tuple[list[Lease], float]:
    """Return the leases and offers, and the lease clock less the monotonic clock, ``now``."""
    clock, drift = connection.execute(READ_CLOCK).fetchone() or (0.0, 0.0)
    offset = clock - drift - now
    leases = (
        read_row(row[0], row[1:], -offset, now) for row in connection.execute(_LOAD).fetchall()
    )
    return [lease for lease in leases if lease.state is not LeaseState.FREE], offset


def remove_database_leases(url: str, mac: bytes) -> list[IPv4Address]:
    """Take the leases of a client away; every running daemon hears of it. Raises StoreError."""
    with open_transaction(url) as connection:
        connection.execute("SELECT pybootd.take_turn()")
        rows = connection.execute(_RELEASE, (mac,)).fetchall()
        connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
    return [IPv4Address(address) for (address,) in rows]


@contextlib.contextmanager
def open_transaction(url: str, *, made: bool = True) -> Iterator[psycopg.Connection[Any]]:
    """One transaction, for a person's command; raises StoreError. ``made``: there are tables."""
    psycopg = load_library()
    try:
        connection = connect_database(url)
        with contextlib.closing(connection), connection.transaction():
            if made:
                check_tables(connection, f"lease database {describe_database(url)}")
            yield connection
    except psycopg.Error as error:
        name, reason = describe_database(url), explain_database_error(error)
        raise StoreError(f"lease database {name}: {reason}") from error


def require_library(config: Config) -> None:
    """Check that psycopg is installed; raises ConfigError."""
    try:
        load_library()
    except StoreError as error:
        raise ConfigError([config.sections["bootp"].fault("leases", str(error))]) from error
