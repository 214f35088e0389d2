"""What a daemon knows of a shared lease database, kept beside it for a start without it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pybootd.core.loop import Loop, Timer
from pybootd.core.workers import Later, TaskResult
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.sqlite import SqliteStore
from pybootd.leases.store import StoreError

log = logging.getLogger(__name__)

_WORKERS = "copy of the leases"
_GATHER_S = 2.0  # seconds for which changes are gathered


class LocalCopy:
    """An SQLite file that follows the database a few seconds behind. Without it, boots go on."""

    def __init__(self, loop: Loop, path: Path) -> None:
        self._loop = loop
        self._store = SqliteStore(path)
        self._changed: dict[int, Lease] = {}
        self._timer: Timer | None = None
        self._writing = False
        self._open = False
        self._writes_all = False  # the next write says all there is

    def read_leases(self, now: float) -> list[Lease]:
        """Return the leases that the database had when it was last seen."""
        try:
            self._store.open()
            leases = list(self._store.load_leases(now))
        except StoreError as error:
            log.warning("no local copy of the leases: %s", error)
            return []
        finally:
            self._store.close()
        for lease in leases:
            lease.stored_until = lease.expires if lease.state is LeaseState.BOUND else 0.0
        return leases

    def begin_copy(self, leases: Sequence[Lease], now: float) -> None:
        """Keep these leases and no others."""
        self._writes_all = True
        for lease in leases:
            self.note_change(lease)

    def note_change(self, lease: Lease) -> None:
        """Keep what the database says of an address, soon."""
        self._changed[int(lease.address)] = lease
        if self._timer is None and not self._writing:
            self._timer = self._loop.call_later(_GATHER_S, self._write_changes)

    def close(self) -> None:
        """Stop following; the worker writes what there is, if the process lives so long."""
        if self._timer is not None:
            self._timer.cancel()
        if self._changed:
            self._write_changes(self._loop.now)
        if self._open or self._writing:
            self._loop.run_in_worker(
                Later(self._store.close, _WORKERS, 1), lambda outcome, now: None
            )

    def _write_changes(self, now: float) -> None:
        self._timer = None
        batch, self._changed = self._changed, {}
        whole, self._writes_all = self._writes_all, False
        self._writing = True

        def write() -> None:
            if not self._open:
                self._store.open()
                before = list(self._store.load_leases(now))
                self._open = True
                for lease in before if whole else ():
                    batch.setdefault(int(lease.address), replace(lease, state=LeaseState.FREE))
            # an offer is worth nothing after a restart, and the client that had the address before
            # has it no more
            leases = [
                replace(lease, state=LeaseState.FREE)
                if lease.state is LeaseState.OFFERED
                else lease
                for lease in batch.values()
            ]
            self._store.save_leases(leases, now)

        self._loop.run_in_worker(Later(write, _WORKERS, 1), self._finish_write)

    def _finish_write(self, outcome: TaskResult[None], now: float) -> None:
        self._writing = False
        if outcome.error is not None:
            log.warning("no local copy of the leases: %s; the daemon goes on", outcome.error)
        elif self._changed:
            self._timer = self._loop.call_later(_GATHER_S, self._write_changes)
