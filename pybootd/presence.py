"""What each of several daemons tells the others of itself, through the lease database.

Every five seconds one row of its own, and a row for each machine whose boot went on since; what
the others wrote is read in the same breath. It serves those who look on: nothing depends on it.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pybootd import __version__, net
from pybootd.dhcp import postgres
from pybootd.loop import Later, Loop, Outcome, Timer

if TYPE_CHECKING:
    import psycopg

    from pybootd.dhcp.server import DhcpServer

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds
GONE = 4 * EVERY  # seconds of silence after which a daemon is called silent
_FORGOTTEN = 7 * 86400.0  # seconds that what a daemon wrote stays
_RECENT = 300.0  # seconds for which a machine's row may still change by itself
_MOST = 200  # machines of other daemons that are read

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
    SELECT name, version, started, pybootd.now() - seen, counts FROM pybootd.daemon ORDER BY name
"""
_BOOTS = """
    SELECT daemon, "row" FROM pybootd.boot WHERE daemon <> %s ORDER BY seen DESC LIMIT %s
"""

Json = dict[str, Any]
# how many machines stand how, and the rows of those heard of within so many seconds, by name
Recent = Callable[[float], tuple[Mapping[str, int], dict[str, Json]]]


class Presence:
    """A service like the others; ``recent`` tells of the machines that this daemon saw.

    ``daemons`` and ``machines``: what was read last, for the status address.
    """

    def __init__(self, url: str, loop: Loop, dhcp: DhcpServer, recent: Recent) -> None:
        self._url = url
        self._loop = loop
        self._dhcp = dhcp
        self._recent = recent
        self.name = ""
        self.daemons: list[Json] = []
        self.machines: list[Json] = []
        self._started = time.time()
        self._written: dict[str, str] = {}
        self._file: psycopg.Connection[Any] | None = None
        self._timer: Timer | None = None

    def open(self) -> None:
        """Find out what this daemon is called: host and address."""
        own = [str(one.ip) for face in net.interfaces() for one in face.addresses]
        outside = [address for address in own if not address.startswith("127.")]
        self.name = " ".join([socket.gethostname(), *outside[:1]])

    def start(self) -> None:
        """Write and read from now on."""
        self._tell(self._loop.now)

    def close(self) -> None:
        """Stop; the connection ends with the process."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, now: float) -> None:
        states, rows = self._recent(_RECENT)
        # how far a transfer has come is old before anybody reads it
        texts = {name: json.dumps(row | {"transfers": []}) for name, row in rows.items()}
        changed = {n: text for n, text in texts.items() if self._written.get(n) != text}
        self._written = texts
        counts = json.dumps({**states, "leases": self._leases(now)})
        self._loop.work(Later(lambda: self._exchange(counts, changed), "presence", 1), self._told)

    def _leases(self, now: float) -> int:
        networks = self._dhcp.networks
        return sum(lease.active(now) for one in networks for lease in one.pool.leases())

    def _exchange(self, counts: str, changed: dict[str, str]) -> tuple[list[Any], list[Any]]:
        """Write and read, on a worker; raises whatever goes wrong."""
        if self._file is None or self._file.closed:
            self._file = postgres.connect(self._url)
        file = self._file
        with file.transaction(), file.cursor() as cursor:
            # who looks on loses nothing that matters if the database crashes
            cursor.execute("SET LOCAL synchronous_commit = off")
            cursor.execute(_SELF, (self.name, __version__, self._started, counts))
            cursor.executemany(_BOOT, [(self.name, *one) for one in changed.items()])
            cursor.execute(_TIDY, (_FORGOTTEN,))
            cursor.execute(_TIDY_BOOTS, (_FORGOTTEN,))
        daemons = file.execute(_DAEMONS).fetchall()
        return daemons, file.execute(_BOOTS, (self.name, _MOST)).fetchall()

    def _told(self, outcome: Outcome[tuple[list[Any], list[Any]]], now: float) -> None:
        self._timer = self._loop.after(EVERY, self._tell)
        try:
            daemons, boots = outcome.get()
        except Exception as error:  # the leases tell that the database is away
            log.debug("presence: %s", error)
            self._written.clear()
            self.daemons = [one | {"seen": one["seen"] + EVERY} for one in self.daemons]
            return
        self.machines = [{"daemon": daemon, **row} for daemon, row in boots]
        self.daemons = [
            {
                "name": name,
                "version": version,
                "started": round(started, 3),
                "seen": round(max(0.0, ago), 1),
                "silent": ago > GONE,
                "here": name == self.name,
                "leases": counts.get("leases", 0),
                **{state: counts.get(state, 0) for state in ("up", "booting", "failed", "quiet")},
            }
            for name, version, started, ago, counts in daemons
        ]
