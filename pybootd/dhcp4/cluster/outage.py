"""While the database is away: what it lacks, what is uncertain, and how the two agree again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pybootd.leases.lease import Lease
from pybootd.leases.shared.postgres import DatabaseReply
from pybootd.leases.shared.rows import Row

log = logging.getLogger(__name__)

OwedRows = Sequence[tuple[Lease, Row]]
"""Leases that the database lacks, each with its row as it was sent."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is true of each address now that the database is back; addresses are numbers.

    ``lost``: leases that another daemon gave away meanwhile. ``late``: those that changed once
    more while they were written, to be written again. ``disputed``: addresses of which memory
    counts for nothing.
    """

    lost: Sequence[Lease]
    late: dict[int, Lease]
    disputed: set[int]


class Outage:
    """The database is away since ``since`` (monotonic seconds)."""

    def __init__(self, since: float) -> None:
        self.since = since
        self._backlog: dict[int, Lease] = {}
        self._uncertain: set[int] = set()

    def add_to_backlog(self, leases: Sequence[Lease]) -> None:
        """Note leases that changed, which the database lacks."""
        self._backlog.update((int(lease.address), lease) for lease in leases)

    def note_uncertain(self, rows: Sequence[Row]) -> None:
        """Note rows that were sent and not answered: the database may have them or not."""
        self._uncertain.update(row[0] for row in rows)

    def list_owed(self, make_row: Callable[[Lease], Row]) -> OwedRows:
        """Return what the database lacks, as it is now."""
        return [(lease, make_row(lease)) for lease in self._backlog.values()]

    def settle_backlog(
        self, owed: OwedRows, reply: DatabaseReply, make_row: Callable[[Lease], Row]
    ) -> Settlement:
        """Compare what was sent with what the database said of it."""
        lost = [lease for number, (lease, _) in enumerate(owed) if number in reply.failed]
        gone = {int(lease.address) for lease in lost}
        written = {row[0] for lease, row in owed if make_row(lease) == row} - gone
        late = {n: lease for n, lease in self._backlog.items() if n not in written | gone}
        return Settlement(lost, late, (self._uncertain | gone) - written - late.keys())


def log_conflicts(lost: Sequence[Lease], reply: DatabaseReply) -> None:
    """Name each lease that was confirmed here while another daemon gave its address away."""
    now_there = {lease.address: lease for lease, _ in reply.leases}
    for lease in lost:
        other = now_there.get(lease.address)
        owner = other.mac.hex(":") if other is not None and other.owner else "nobody"
        log.error(
            "dhcp conflict: %s was %s for %s while the lease database was away, but it is %s's now",
            lease.address,
            lease.state.value,
            lease.mac.hex(":") or "nobody",
            owner,
        )
