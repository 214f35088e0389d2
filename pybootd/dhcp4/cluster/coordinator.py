"""Several daemons with one truth about addresses: what is decided here counts once they agree.

Decisions are made in memory, as ever. What they did to leases goes to the database in batches, by
one worker; what was to be said waits for the commit. Where the database has something newer, the
memory learns it and the request is decided again. While the database is away, only clients whose
lease it is known to hold are served, from memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pybootd.config.options.bootp import BootpConfig
from pybootd.core.loop import Loop, Timer
from pybootd.core.workers import Later, TaskResult
from pybootd.dhcp4.actions import Action, Probe, Wait
from pybootd.dhcp4.cluster.group import DecideAgain, LeaseGroup, SharingServer, decide_nothing
from pybootd.dhcp4.cluster.outage import Outage, OwedRows, log_conflicts
from pybootd.dhcp4.cluster.replica import Replica
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.shared.connection import SchemaError
from pybootd.leases.shared.listener import Listener
from pybootd.leases.shared.local_copy import LocalCopy
from pybootd.leases.shared.postgres import DatabaseReply, PostgresStore
from pybootd.leases.store import StoreError

log = logging.getLogger(__name__)

WORKERS = "lease database"
EXCHANGE_TIMEOUT_S = 3.0  # seconds that clients known here wait for the database
MAX_BATCH = 256  # requests in one round trip
RETRY_S = 1.0  # seconds until a database that is away is tried again
MAX_DECISIONS = 20  # a request is decided again this often where others are always faster
REFRESH_DELAY_S = 0.2  # seconds for which news of others are gathered
MAX_WAITING = 4096  # requests that wait for the database; of strangers' no more are taken


class Coordinator:
    """The leases of a server that shares them with others."""

    def __init__(
        self, loop: Loop, store: PostgresStore, server: SharingServer, copy: LocalCopy | None = None
    ) -> None:
        self._loop = loop
        self.store = store
        self._server = server
        self._copy = copy
        self._replica = Replica(server, store.daemon_name, copy)
        self._queue: list[LeaseGroup] = []
        self.exchanging = False
        """Whether the database is being asked."""
        self._stale = False  # others have written since
        self._away: Outage | None = None
        self._round = 0
        self._late: Timer | None = None
        self._timer: Timer | None = None
        self._listener = Listener(loop, store, self._note_news)
        self._closed = False

    @classmethod
    def from_config(cls, bootp: BootpConfig, loop: Loop, server: SharingServer) -> Coordinator:
        """Share through the database that ``[bootp] leases`` names."""
        copy = None if bootp.lease_copy == "none" else LocalCopy(loop, Path(bootp.lease_copy))
        return cls(loop, PostgresStore(bootp.leases), server, copy)

    # life

    def start(self, now: float) -> list[Lease]:
        """Return the leases to begin with; raises StoreError where there is no use in waiting."""
        try:
            self.store.open()
            leases = list(self.store.load_leases(now))
        except SchemaError:
            raise
        except StoreError as error:
            leases = self._copy.read_leases(now) if self._copy is not None else []
            self._begin_outage(f"{error}; {len(leases)} leases are known from the local copy", now)
            return leases
        self._listener.open()
        if self._copy is not None:
            self._copy.begin_copy(leases, now)
        return leases

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._closed = True
        self._listener.close()
        for timer in (self._timer, self._late):
            if timer is not None:
                timer.cancel()
        if self._copy is not None:
            self._copy.close()
        self.store.disconnect()

    def reread_all(self) -> None:
        """Read everything again next time: the pools are others now."""
        self._server.handler.offline = self._away is not None
        self.store.newest = 0
        self._stale = True
        self._schedule_refresh()

    # requests

    def handle_request(self, packet: Packet, origin: Arrival, now: float) -> list[Action]:
        """Decide a request, or ask the database first where it may know better."""
        again = partial(self._decide_request, packet, origin, MAX_DECISIONS)
        if self._away is None and self._needs_database(packet, origin):
            if len(self._queue) < MAX_WAITING:  # else it comes again
                self._queue.append(LeaseGroup((), [], again))
            return []
        return again(now)

    @property
    def waiting_requests(self) -> int:
        """How many requests wait for the database."""
        return len(self._queue)

    def submit_batch(self, now: float) -> None:
        """Send what has gathered, unless something is under way: then it goes with the next."""
        self._queue_changes(now)
        if self.exchanging or self._away is not None or self._closed:
            return
        if self._queue or self._stale:
            batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
            self._stale = bool(self._queue) and self._stale
            self._start_exchange(
                batch, self.store.newest, partial(self._finish_exchange, batch), now
            )

    def _needs_database(self, packet: Packet, origin: Arrival) -> bool:
        """Tell whether what we know of the client may be less than others know."""
        sent = packet.options
        kind = int.from_bytes(sent.get(options.TYPE, b""))
        handler = self._server.handler
        owner = handler.identify_client(packet.chaddr, sent.get(options.CLIENT_ID))
        if kind in (MessageType.REQUEST, MessageType.RELEASE, MessageType.DECLINE):
            if not self._server.subnets.includes_server_of(packet):
                return False
            named = sent.get(options.REQUESTED, b"")
            address = IPv4Address(named) if len(named) == 4 else packet.ciaddr
            network = self._server.subnets.find_subnet(address)
            lease = network.pool.find_lease_at(address) if network is not None else None
            return lease is None or lease.owner != owner
        place = self._server.subnets.choose_subnet(packet, origin) if self._stale else None
        return place is not None and place[0].pool.find_lease(owner) is None

    def _decide_request(
        self, packet: Packet, origin: Arrival, tries: int, now: float
    ) -> list[Action]:
        if not tries:
            log.warning("dhcp %s: no agreement with other daemons", packet.chaddr.hex(":"))
            return []
        effects = self._server.decide_packet(packet, origin, now)
        return self._hold_effects(
            effects, partial(self._decide_request, packet, origin, tries - 1), now
        )

    def _hold_effects(self, effects: list[Action], again: DecideAgain, now: float) -> list[Action]:
        """Keep what may not be done before the database agrees; return the rest."""
        for place, effect in enumerate(effects):
            if isinstance(effect, Wait | Probe):
                resume = partial(self._resume_request, effect.resume, again)
                effects[place] = replace(effect, resume=resume)
        changed = self._server.subnets.changed
        if not changed:
            return effects
        leases = sorted(changed.values(), key=lambda lease: lease.state is not LeaseState.FREE)
        changed.clear()
        if self._away is not None:
            self._away.add_to_backlog(leases)
            return effects
        self._queue.append(
            LeaseGroup([self._replica.make_network_row(lease) for lease in leases], effects, again)
        )
        return []

    def _resume_request(
        self, resume: Callable[[Any, float], list[Action]], again: DecideAgain, got: Any, now: float
    ) -> list[Action]:
        return self._hold_effects(resume(got, now), again, now)

    def _queue_changes(self, now: float) -> None:
        """Queue what changed without a request."""
        if self._server.subnets.changed:
            self._hold_effects([], decide_nothing, now)

    # the database

    def _start_exchange(
        self,
        batch: Sequence[LeaseGroup],
        since: int,
        done: Callable[[TaskResult[DatabaseReply], float], None],
        now: float,
    ) -> None:
        self.exchanging = True
        self._round += 1
        call = self.store.prepare_exchange([group.rows for group in batch], now, since)
        self._late = self._loop.call_later(
            EXCHANGE_TIMEOUT_S, partial(self._expire_exchange, self._round, batch)
        )
        self._loop.run_in_worker(Later(call, WORKERS, 1), done)

    def _stop_waiting(self) -> None:
        self.exchanging = False
        if self._late is not None:
            self._late.cancel()

    def _finish_exchange(
        self, batch: Sequence[LeaseGroup], outcome: TaskResult[DatabaseReply], now: float
    ) -> None:
        self._stop_waiting()
        if self._closed:
            return
        if self._away is not None:  # it came after all
            self.retry_database(now)
            return
        try:
            reply = outcome.get()
        except StoreError as error:
            self._serve_from_memory(str(error), batch, now)
            return
        self.store.newest = reply.newest
        failed = [row for number in reply.failed for row in batch[number].rows]
        disputed = self._replica.find_disputed(failed, reply, now)
        effects = self._replica.learn_reply(reply, self._find_pending, now, disputed)
        for number, group in enumerate(batch):
            if number in reply.failed:
                effects += _decide_again(group, now)
            elif group.rows:
                effects += group.effects
            else:
                effects += group.decide_again(now)
        self._server.perform_actions(effects, now)

    def _find_pending(self) -> set[int]:
        """Return the addresses whose leases wait to be written."""
        return {row[0] for group in self._queue for row in group.rows}

    # hearing of others

    def _note_news(self) -> None:
        self._stale = True
        self._schedule_refresh()

    def _schedule_refresh(self) -> None:
        if self._timer is None and self._away is None:
            self._timer = self._loop.call_later(REFRESH_DELAY_S, self._refresh)

    def _refresh(self, now: float) -> None:
        self._timer = None
        if self._away is None:
            self._listener.open()
        self.submit_batch(now)
        if self._stale and not self._closed:  # something else was under way
            self._schedule_refresh()

    # away, and back

    def _expire_exchange(self, number: int, batch: Sequence[LeaseGroup], now: float) -> None:
        if number == self._round and self.exchanging and self._away is None:
            self._serve_from_memory(
                f"{self.store.name}: no answer for {EXCHANGE_TIMEOUT_S:g} s", batch, now
            )

    def _begin_outage(self, reason: str, now: float) -> None:
        self._away = Outage(now)
        self._server.handler.offline = True
        self._listener.close()
        if self._timer is not None:
            self._timer.cancel()
        log.error("%s; clients known here keep their addresses, new ones wait", reason)
        self._timer = self._loop.call_later(RETRY_S, self.retry_database)

    def _serve_from_memory(self, reason: str, batch: Sequence[LeaseGroup], now: float) -> None:
        """Serve from memory from now on, those too whose requests the database has."""
        waiting, self._queue = [*batch, *self._queue], []
        self._begin_outage(reason, now)
        if self._away is None:
            return
        effects: list[Action] = []
        for group in waiting:
            self._away.note_uncertain(group.rows)
            effects += _decide_again(group, now)
        self._server.perform_actions(effects, now)

    def retry_database(self, now: float) -> None:
        """Try whether the database is back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._away is None or self._closed:
            return
        if self.exchanging:
            self._timer = self._loop.call_later(RETRY_S, self.retry_database)
            return
        owed = self._away.list_owed(self._replica.make_network_row)
        batch = [LeaseGroup([row], [], decide_nothing) for _, row in owed]
        self._start_exchange(batch, 0, partial(self._finish_retry, owed), now)

    def _finish_retry(self, owed: OwedRows, outcome: TaskResult[DatabaseReply], now: float) -> None:
        self._stop_waiting()
        away = self._away
        if self._closed or away is None:
            return
        try:
            reply = outcome.get()
        except StoreError as error:
            log.debug("still away: %s", error)
            self._timer = self._loop.call_later(RETRY_S, self.retry_database)
            return
        self._end_outage(away, owed, reply, now)

    def _end_outage(self, away: Outage, owed: OwedRows, reply: DatabaseReply, now: float) -> None:
        settled = away.settle_backlog(owed, reply, self._replica.make_network_row)
        log_conflicts(settled.lost, reply)
        log.warning(
            "%s is back after %.0f s: %d leases written that were confirmed meanwhile, "
            "%d in conflict",
            self.store.name,
            now - away.since,
            len(owed) - len(settled.lost),
            len(settled.lost),
        )
        self._away = None
        self._server.handler.offline = False
        self.store.newest = reply.newest
        effects = self._replica.learn_reply(reply, self._find_pending, now, settled.disputed)
        self._replica.drop_unknown(settled.late.keys(), now)
        self._server.subnets.changed.update(settled.late)
        self._stale = True
        self._listener.open()
        self._schedule_refresh()
        self._server.perform_actions(effects, now)


def _decide_again(group: LeaseGroup, now: float) -> list[Action]:
    for effect in group.effects:
        if isinstance(effect, Probe):  # the request waits for it, and for nothing else
            return effect.resume(b"", now)
    return group.decide_again(now)
