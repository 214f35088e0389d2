"""Where leases are kept: in memory alone, or in a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pybootd.dhcp.leases import Lease, LeaseStore


class MemoryStore(LeaseStore):
    """Keeps nothing: leases last as long as the daemon."""

    def load(self, now: float) -> Iterable[Lease]:
        """Return nothing."""
        return ()

    def save(self, batch: Collection[Lease], now: float) -> None:
        """Do nothing: the pools hold all there is."""

    def close(self) -> None:
        """Do nothing."""
