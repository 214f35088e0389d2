"""What a lease store promises, and the one that keeps nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable

from pybootd.core.client import IPAddress
from pybootd.leases.lease import Lease


class StoreError(Exception):
    """Leases could not be read or written; the text says why, for people."""


class StoreLost(StoreError):
    """What was stored is damaged or gone; ``LeaseStore.rebuild_store`` helps."""


class LeaseStore(ABC):
    """Keeps leases over restarts; never offers, and FREE ones are forgotten."""

    @abstractmethod
    def open(self) -> None:
        """Take what it needs; raises StoreError."""

    @abstractmethod
    def load_leases(self, now: float) -> Iterable[Lease]:
        """Return every lease kept, in monotonic time; raises StoreError."""

    @abstractmethod
    def save_leases(self, batch: Collection[Lease], now: float) -> None:
        """Keep these leases, all or none; when it returns they are safe. Raises StoreError."""

    def rebuild_store(self, leases: Collection[Lease], now: float, why: str) -> None:
        """Keep these leases, which are all there are, in place of what was lost; raises StoreError.

        ``why``: what the log says of it.
        """
        self.save_leases(leases, now)

    def list_removed(self) -> Collection[IPAddress]:
        """Return the addresses whose leases somebody else took out of the store since last time."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; may be called twice."""


class MemoryStore(LeaseStore):
    """Keeps nothing: leases last as long as the daemon."""

    def open(self) -> None:
        """Do nothing."""

    def load_leases(self, now: float) -> Iterable[Lease]:
        """Return nothing."""
        return ()

    def save_leases(self, batch: Collection[Lease], now: float) -> None:
        """Do nothing: the pools hold all there is."""

    def close(self) -> None:
        """Do nothing."""
