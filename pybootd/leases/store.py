"""What a lease store promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from pybootd.leases.pool import Lease


class LeaseStore(ABC):
    """Keeps leases over restarts; never offers, and FREE ones are forgotten."""

    @abstractmethod
    def open(self) -> None:
        """Take what it needs; raises StoreError."""

    @abstractmethod
    def load(self, now: float) -> Iterable[Lease]:
        """Return every lease kept, in monotonic time; raises StoreError."""

    @abstractmethod
    def save(self, batch: Collection[Lease], now: float) -> None:
        """Keep these leases, all or none; when it returns they are safe. Raises StoreError."""

    def begin_anew(self, leases: Collection[Lease], now: float, why: str) -> None:
        """Keep these leases, which are all there are, in place of what was lost; raises StoreError.

        ``why``: what the log says of it.
        """
        self.save(leases, now)

    def removed(self) -> Collection[IPv4Address]:
        """Return the addresses whose leases somebody else took out of the store since last time."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; may be called twice."""
