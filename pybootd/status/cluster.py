"""What each of several daemons tells the others of itself, through the lease database.

Every five seconds its own row, and a row for each machine whose boot went on since; what
the others wrote is read in the same breath. It serves those who look on: nothing depends on it.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pybootd import __version__
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.loop import Loop, Timer
from pybootd.core.workers import Later, TaskResult
from pybootd.leases.shared.connection import connect_database
from pybootd.observe.boots.timeline import CLIENTS
from pybootd.status.peers import PeerMachine, Peers
from pybootd.system import interfaces

if TYPE_CHECKING:
    import psycopg

    from pybootd.dhcp4.server import DhcpServer

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds
GONE = 4 * EVERY  # seconds of silence after which a daemon is called silent
_FORGOTTEN = 7 * 86400.0  # seconds that what a daemon wrote stays
_OVERLAP = 20.0  # seconds that are read once more: what was written then may have come later
_AWAY = 3 * EVERY  # seconds without an answer after which the database is called away

_SELF = """
    INSERT INTO pybootd.daemon VALUES (%s, %s, %s, pybootd.now(), %s)
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, started = excluded.started,
        seen = excluded.seen, counts = excluded.counts
"""
_BOOT = """
    INSERT INTO pybootd.boot VALUES (%s, %s, pybootd.now(), %s)
    ON CONFLICT (daemon, machine) DO UPDATE SET seen = excluded.seen, "row" = excluded."row"
"""
_TIDY = "DELETE FROM pybootd.daemon WHERE seen < pybootd.now() - %s"
_TIDY_BOOTS = "DELETE FROM pybootd.boot WHERE seen < pybootd.now() - %s"
_DAEMONS = """
    SELECT name, version, started, seen, pybootd.now(), counts FROM pybootd.daemon ORDER BY name
"""
_BOOTS = """
    SELECT daemon, machine, seen, pybootd.now() - seen, "row"::text FROM pybootd.boot
    WHERE daemon <> %s AND seen > %s ORDER BY seen DESC LIMIT %s
"""

Json = dict[str, Any]
# how many machines stand how; and by name the mark and the row of those with another mark than told
Changes = Callable[[Mapping[str, int]], tuple[Mapping[str, int], dict[str, tuple[int, str]]]]


class ClusterPresence:
    """A service like the others; ``changes`` tells of the machines that this daemon saw.

    ``others``, ``daemons`` and ``away`` are for the status address.
    """

    def __init__(self, url: str, loop: Loop, dhcp: DhcpServer, changes: Changes) -> None:
        self._url = url
        self._loop = loop
        self._dhcp = dhcp
        self._changes = changes
        self.name = ""
        self.others = Peers()
        self.changed: Callable[[list[PeerMachine]], None] | None = None
        self._daemons: list[tuple[Any, ...]] = []
        self._started = time.time()
        self._written: BoundedMap[str, int] = BoundedMap(CLIENTS)
        self._since = 0.0  # by the database's clock: what was written before is known
        self._answered = 0.0
        self._failed = False
        self._trusted = 0.0  # from then on the silence of a daemon means something
        self._file: psycopg.Connection[Any] | None = None
        self._timer: Timer | None = None
        self._closed = False

    def open(self) -> None:
        """Find out what this daemon is called: host and address."""
        own = [str(one.ip) for face in interfaces.list_interfaces() for one in face.addresses]
        outside = [address for address in own if not address.startswith("127.")]
        self.name = " ".join([socket.gethostname(), *outside[:1]])

    def start(self) -> None:
        """Write and read from now on."""
        self._answered = self._loop.now
        self._start_exchange(self._loop.now)

    def close(self) -> None:
        """Stop, and disconnect soon; may be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._closed:
            self._loop.run_in_worker(
                Later(self._disconnect, "presence", 1), lambda outcome, now: None
            )
        self._closed = True

    @property
    def away(self) -> float | None:
        """For how many seconds the database has not answered; None: it does."""
        since = self._loop.now - self._answered
        return round(since, 1) if self._failed or since > _AWAY else None

    @property
    def daemons(self) -> list[Json]:
        """A row for each daemon; while the database is away, what it told last."""
        since = self._loop.now - self._answered
        doubted = self._answered < self._trusted
        return [
            {
                "name": name,
                "version": version,
                "started": round(started, 3),
                "seen": round(max(0.0, clock - seen) + since, 1),
                "silent": clock - seen > GONE and not doubted,
                "here": name == self.name,
                "leases": counts.get("leases", 0),
                **{state: counts.get(state, 0) for state in ("up", "booting", "failed", "quiet")},
            }
            for name, version, started, seen, clock, counts in self._daemons
        ]

    def _start_exchange(self, now: float) -> None:
        states, found = self._changes(self._written)
        texts = [text for _, text in found.values()]
        marks = {name: mark for name, (mark, _) in found.items()}
        counts, wall = json.dumps({**states, "leases": self._count_leases(now)}), time.time()
        later = Later(lambda: self._exchange_rows(counts, texts, wall), "presence", 1)
        self._loop.run_in_worker(
            later, lambda outcome, now: self._take_exchange(outcome, marks, now)
        )

    def _count_leases(self, now: float) -> int:
        networks = self._dhcp.subnets
        return sum(lease.is_active(now) for one in networks for lease in one.pool.list_leases())

    def _exchange_rows(
        self, counts: str, texts: list[str], wall: float
    ) -> tuple[list[tuple[Any, ...]], list[PeerMachine]]:
        """Write and read, on a worker; raises whatever goes wrong. ``wall``: when it was told."""
        rows = [_prepare_row(text, wall) for text in texts]
        if self._file is None or self._file.closed:
            self._file = connect_database(self._url)
        file = self._file
        with file.transaction(), file.cursor() as cursor:
            # who looks on loses nothing that matters if the database crashes
            cursor.execute("SET LOCAL synchronous_commit = off")
            cursor.execute(_SELF, (self.name, __version__, self._started, counts))
            cursor.executemany(_BOOT, [(self.name, *row) for row in rows])
            cursor.execute(_TIDY, (_FORGOTTEN,))
            cursor.execute(_TIDY_BOOTS, (_FORGOTTEN,))
        daemons = file.execute(_DAEMONS).fetchall()
        return daemons, self._read_machines(file.execute(_BOOTS, (self.name, self._since, CLIENTS)))

    def _disconnect(self) -> None:
        """Close the connection, on the worker, for nobody else may touch it."""
        if self._file is not None:
            self._file.close()

    def _read_machines(
        self, found: Iterable[tuple[str, str, float, float, str]]
    ) -> list[PeerMachine]:
        """Read what is new of other daemons' machines, the oldest first."""
        told = []
        for daemon, machine, seen, ago, text in found:
            before = self.others.by_name(machine)
            if before is None or (before.daemon, before.written) != (daemon, seen):
                row = json.loads(text)
                last = time.time() - max(0.0, ago) - row.pop("ago", 0.0)
                told.append(PeerMachine(daemon, row, seen, last))
        return told[::-1]

    def _take_exchange(
        self,
        outcome: TaskResult[tuple[list[Any], list[PeerMachine]]],
        marks: dict[str, int],
        now: float,
    ) -> None:
        if self._closed:
            return
        self._timer = self._loop.call_later(EVERY, self._start_exchange)
        try:
            daemons, told = outcome.get()
        except Exception as error:  # the leases tell that the database is away
            log.debug("presence: %s", error)
            self._failed = True
            self._written.clear()  # what it was told last may be lost
            return
        if self._failed:  # nobody could write meanwhile
            self._failed, self._trusted = False, now + GONE
        self._answered = now
        self._daemons = daemons
        self._since = max(clock for *_, clock, _ in daemons) - _OVERLAP
        for name, mark in marks.items():
            self._written[name] = mark
        news = self.others.note_machines(told, time.time())
        if news and self.changed is not None:
            self.changed(news)


def _prepare_row(text: str, wall: float) -> tuple[str, str]:
    """Make of a machine's row its name and what is written of it."""
    row = json.loads(text)
    # how far a transfer has come is old before anybody reads it; no other host's clock is ours
    told = {"transfers": [], "ago": max(0.0, wall - row["last"])}
    return row["name"], json.dumps(row | told)
