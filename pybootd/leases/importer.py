"""Leases that were in one store, taken over into another: a person's command."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path

from pybootd.core.client import IPAddress, make_identity
from pybootd.core.mac import format_mac
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.lease_file import read_lease_file
from pybootd.leases.pool import EVERYWHERE
from pybootd.leases.shared import admin
from pybootd.leases.shared.connection import CHANNEL, is_database_url
from pybootd.leases.shared.rows import make_row
from pybootd.leases.sqlite import SqliteStore
from pybootd.system.privileges import acting_as_owner

_CLOCK_TOLERANCE_S = 1.0  # by which a lease may seem later in one store than in another
_INSERT = """
    INSERT INTO pybootd.lease
    SELECT '0.0.0.0'::inet + one.address, owner, mac, client_id, state, expires, seconds, hostname,
        uuid, booted, nextval('pybootd.lease_version'), ''
    FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[], %s::text[],
        %s::double precision[], %s::double precision[], %s::text[], %s::uuid[], %s::boolean[])
        AS one (address, owner, mac, client_id, state, expires, seconds, hostname, uuid, booted)
    ON CONFLICT (address) DO UPDATE SET
        owner = excluded.owner, mac = excluded.mac, client_id = excluded.client_id,
        state = excluded.state, expires = excluded.expires, seconds = excluded.seconds,
        hostname = excluded.hostname, uuid = excluded.uuid, booted = excluded.booted,
        version = excluded.version, writer = excluded.writer
"""


@dataclass(slots=True)
class ImportPlan:
    """What an import does: leases to write, after addresses to free; how many were there already.

    ``left_out``: a line for each that is not taken over, which says why.
    """

    write: list[Lease] = field(default_factory=list)
    free: list[Lease] = field(default_factory=list)
    already_there: int = 0
    left_out: list[str] = field(default_factory=list)


def plan_import(
    theirs: Iterable[Lease],
    ours: Iterable[Lease],
    now: float,
    networks: Sequence[IPv4Network] | None = None,
) -> ImportPlan:
    """Say what to take over of ``theirs``, where ``ours`` are already; in monotonic time.

    ``networks``: a client may have one lease in each of them, and one elsewhere, as in a database.
    """
    planned, here = ImportPlan(), dict[IPAddress, Lease]()
    had: dict[tuple[bytes, IPv4Network], Lease] = {}

    def place(lease: Lease) -> tuple[bytes, IPv4Network]:
        found = (one for one in networks or () if lease.address in one)
        return lease.owner, min(found, key=lambda one: one.num_addresses, default=EVERYWHERE)

    def note(lease: Lease) -> None:
        here[lease.address] = lease
        if networks is not None and lease.owner:
            had[place(lease)] = lease

    for lease in ours:
        note(lease)
    for lease in sorted(theirs, key=_changed_at, reverse=True):
        if lease.state in (LeaseState.OFFERED, LeaseState.FREE) or _is_over(lease, now):
            continue
        held, other = here.get(lease.address), had.get(place(lease))
        why = _explain_objection(lease, held, now)
        if not why and other is not None and other.address != lease.address:
            why = _explain_preference(lease, other, now)
            if not why:
                gone = Lease(other.address, b"", b"", state=LeaseState.FREE, expires=now)
                planned.free.append(gone)
                here.pop(other.address, None)
        if why:
            client = _describe_client(lease)
            planned.left_out.append(f"{lease.address} of {client} is left out: {why} there")
        elif held is not None and _is_same(held, lease) and not _is_later(lease, held):
            planned.already_there += 1
        else:
            planned.write.append(lease)
            note(lease)
    return planned


def import_leases(
    source: str, target: str, networks: Sequence[IPv4Network], *, by_client_id: bool
) -> ImportPlan:
    """Take the leases of a file or database over into another, all at once; raises StoreError.

    ``networks``: in each of which a client may have a lease. ``by_client_id``: what tells clients
    apart, as in ``make_identity``.
    """
    now = time.monotonic()  # before: what is read late must not seem to be later than it is
    if is_database_url(source):
        theirs = admin.read_database(source)
    else:
        theirs = read_lease_file(Path(source), whole=True)
    theirs = [replace(lease, expires=lease.expires + now) for lease in theirs]
    _set_owners(theirs, by_client_id)
    if is_database_url(target):
        return _import_into_database(theirs, target, networks)
    return _import_into_file(theirs, Path(target), by_client_id)


# inside


def _import_into_database(
    theirs: Sequence[Lease], url: str, networks: Sequence[IPv4Network]
) -> ImportPlan:
    with admin.open_transaction(url) as connection:
        connection.execute("SELECT pybootd.take_turn()")
        now = time.monotonic()
        ours, offset = admin.read_all_leases(connection, now)
        planned = plan_import(theirs, ours, now, networks)
        for leases in filter(None, (planned.free, planned.write)):
            written = zip(*map(make_row, leases), strict=True)
            columns = [list(column) for column in written][:-2]
            columns[5] = [None if end == FOREVER else end + offset for end in columns[5]]
            columns[6] = [None if given == FOREVER else given for given in columns[6]]
            connection.execute(_INSERT, columns)
        connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
    return planned


def _import_into_file(theirs: Sequence[Lease], path: Path, by_client_id: bool) -> ImportPlan:
    with acting_as_owner(path.parent), contextlib.closing(SqliteStore(path)) as store:
        store.open()
        ours = list(store.load_leases(time.monotonic()))
        _set_owners(ours, by_client_id)
        planned = plan_import(theirs, ours, time.monotonic())
        store.save_leases(planned.write, time.monotonic())
    return planned


def _set_owners(leases: Iterable[Lease], by_client_id: bool) -> None:
    for lease in leases:
        if lease.owner:
            lease.owner = make_identity(lease.mac, lease.client_id, by_client_id)


def _changed_at(lease: Lease) -> float:
    """Return when the lease became what it is: given, extended or released."""
    if lease.state is LeaseState.RELEASED:
        return lease.expires
    return -FOREVER if lease.seconds == FOREVER else lease.expires - lease.seconds


def _is_later(lease: Lease, other: Lease) -> bool:
    # nobody knows when a lease for good was given: it stays
    return (
        _changed_at(other) > -FOREVER
        and _changed_at(lease) > _changed_at(other) + _CLOCK_TOLERANCE_S
    )


def _is_over(lease: Lease, now: float) -> bool:
    """Tell whether nobody is held to it any more; a lease that ran out is still its client's."""
    return lease.state in (LeaseState.OFFERED, LeaseState.DECLINED) and lease.expires <= now


def _is_same(one: Lease, other: Lease) -> bool:
    """Tell whether both are the same client's leases, or both are blocks."""
    return one.owner == other.owner and one.state is not LeaseState.OFFERED


def _explain_objection(lease: Lease, held: Lease | None, now: float) -> str:
    """Say why the lease can't have its address; "": it can."""
    if held is None or held.owner == lease.owner or _is_over(held, now):
        return ""
    if held.state is LeaseState.DECLINED:
        return "somebody else uses it"
    how = "is offered to" if held.state is LeaseState.OFFERED else "belongs to"
    return f"it {how} {_describe_client(held)}"


def _explain_preference(lease: Lease, other: Lease, now: float) -> str:
    """Say why the client keeps another address that it has or is offered; "": it doesn't."""
    if other.state is LeaseState.OFFERED:
        return "" if _is_over(other, now) else f"the client is offered {other.address}"
    return "" if _is_later(lease, other) else f"the client has {other.address}"


def _describe_client(lease: Lease) -> str:
    if not lease.owner:
        return "nobody"
    return format_mac(lease.mac) if lease.mac else f"client-id {(lease.client_id or b'').hex()}"
