"""Several daemons with one truth about addresses: what is decided here counts once they agree.

Decisions are made in memory, as ever. What they did to leases goes to the database in batches, by
one worker; what was to be said waits for the commit. Where the database has something newer, the
memory learns it and the request is decided anew. While the database is away, clients whose lease it
is known to hold are served from memory, and nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client import IPAddress
from pybootd.core.loop import Loop, Timer
from pybootd.core.workers import Later, TaskResult
from pybootd.dhcp4.actions import Effect, Probe, Wait
from pybootd.dhcp4.handler import DhcpHandler
from pybootd.dhcp4.subnets import Arrival, Subnets
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.shared.connection import SchemaError
from pybootd.leases.shared.listener import Listener
from pybootd.leases.shared.local_copy import LocalCopy
from pybootd.leases.shared.pool import SharedPool
from pybootd.leases.shared.postgres import DatabaseReply, PostgresStore
from pybootd.leases.shared.rows import Row, make_row
from pybootd.leases.store import StoreError

log = logging.getLogger(__name__)

WORKERS = "lease database"
PATIENCE = 3.0  # seconds that clients known here wait for the database
_BATCH = 256  # requests in one round trip
_RETRY = 1.0  # seconds until a database that is away is tried again
_TRIES = 20  # a request is decided anew this often where others are always faster
_REFRESH = 0.2  # seconds for which news of others are gathered
_MOST = 4096  # requests that wait for the database; of strangers' no more are taken

Again = Callable[[float], list[Effect]]
Owed = Sequence[tuple[Lease, Row]]


class Server(Protocol):
    """Who asks for leases."""

    @property
    def networks(self) -> Subnets:
        """The networks in force, with their pools."""

    @property
    def responder(self) -> DhcpHandler:
        """Who decides."""

    def decide(self, packet: Packet, origin: Arrival, now: float) -> list[Effect]:
        """Decide what to do about a request."""

    def carry_out(self, effects: Iterable[Effect], now: float) -> None:
        """Do it."""


@dataclass(slots=True, eq=False)
class LeaseGroup:
    """What one request did to leases, what is to be said of it, and how to decide it anew."""

    leases: Sequence[Row]
    effects: list[Effect]
    again: Again


@dataclass(slots=True)
class Outage:
    """The database is away: since when, and what it doesn't have."""

    since: float
    backlog: dict[int, Lease] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)  # addresses; it may have them or not


class Coordinator:
    """The leases of a server that shares them with others."""

    def __init__(
        self, loop: Loop, store: PostgresStore, server: Server, copy: LocalCopy | None = None
    ) -> None:
        self._loop = loop
        self.store = store
        self._server = server
        self._copy = copy
        self._queue: list[LeaseGroup] = []
        self._busy = False
        self._stale = False  # others have written since
        self._away: Outage | None = None
        self._round = 0
        self._late: Timer | None = None
        self._timer: Timer | None = None
        self._ear = Listener(loop, store, self._news)
        self._closed = False

    @classmethod
    def from_config(cls, bootp: BootpConfig, loop: Loop, server: Server) -> Coordinator:
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
            leases = self._copy.read(now) if self._copy is not None else []
            self._leave(f"{error}; {len(leases)} leases are known from the local copy", now)
            return leases
        self._ear.open()
        if self._copy is not None:
            self._copy.begin(leases, now)
        return leases

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._closed = True
        self._ear.close()
        for timer in (self._timer, self._late):
            if timer is not None:
                timer.cancel()
        if self._copy is not None:
            self._copy.close()
        self.store.disconnect()

    def forget_all(self) -> None:
        """Read everything anew next time: the pools are others now."""
        self._server.responder.offline = self._away is not None
        self.store.newest = 0
        self._stale = True
        self._refresh_soon()

    # requests

    def request(self, packet: Packet, origin: Arrival, now: float) -> list[Effect]:
        """Decide a request, or ask the database first where it may know better."""
        again = partial(self._answer, packet, origin, _TRIES)
        if self._away is None and self._doubtful(packet, origin):
            if len(self._queue) < _MOST:  # else it comes again
                self._queue.append(LeaseGroup((), [], again))
            return []
        return again(now)

    @property
    def owes(self) -> bool:
        """Whether requests wait for the database."""
        return bool(self._queue)

    def submit(self, now: float) -> None:
        """Send what has gathered, unless something is under way: then it goes with the next."""
        self._take_rest(now)
        if self._busy or self._away is not None or self._closed:
            return
        if self._queue or self._stale:
            batch, self._queue = self._queue[:_BATCH], self._queue[_BATCH:]
            self._stale = bool(self._queue) and self._stale
            self._send(batch, self.store.newest, partial(self._answered, batch), now)

    def _doubtful(self, packet: Packet, origin: Arrival) -> bool:
        """Tell whether what we know of the client may be less than others know."""
        sent = packet.options
        kind = int.from_bytes(sent.get(options.TYPE, b""))
        responder = self._server.responder
        owner = responder.identify_client(packet.chaddr, sent.get(options.CLIENT_ID))
        if kind in (MessageType.REQUEST, MessageType.RELEASE, MessageType.DECLINE):
            if not responder.is_for_us(packet):
                return False
            named = sent.get(options.REQUESTED, b"")
            address = IPv4Address(named) if len(named) == 4 else packet.ciaddr
            network = self._server.networks.holding(address)
            lease = network.pool.find_lease_at(address) if network is not None else None
            return lease is None or lease.owner != owner
        place = self._server.networks.choose(packet, origin) if self._stale else None
        return place is not None and place[0].pool.find_lease(owner) is None

    def _answer(self, packet: Packet, origin: Arrival, tries: int, now: float) -> list[Effect]:
        if not tries:
            log.warning("dhcp %s: no agreement with other daemons", packet.chaddr.hex(":"))
            return []
        effects = self._server.decide(packet, origin, now)
        return self._hold(effects, partial(self._answer, packet, origin, tries - 1), now)

    def _hold(self, effects: list[Effect], again: Again, now: float) -> list[Effect]:
        """Keep what may not be done before the database agrees; return the rest."""
        for place, effect in enumerate(effects):
            if isinstance(effect, Wait | Probe):
                resume = partial(self._resumed, effect.resume, again)
                effects[place] = replace(effect, resume=resume)
        changed = self._server.networks.changed
        if not changed:
            return effects
        leases = sorted(changed.values(), key=lambda lease: lease.state is not LeaseState.FREE)
        changed.clear()
        if self._away is not None:
            self._away.backlog.update((int(lease.address), lease) for lease in leases)
            return effects
        self._queue.append(LeaseGroup([self._row(lease) for lease in leases], effects, again))
        return []

    def _resumed(
        self, resume: Callable[[Any, float], list[Effect]], again: Again, got: Any, now: float
    ) -> list[Effect]:
        return self._hold(resume(got, now), again, now)

    def _take_rest(self, now: float) -> None:
        """Queue what changed without a request."""
        if self._server.networks.changed:
            self._hold([], _nothing, now)

    # the database

    def _send(
        self,
        batch: Sequence[LeaseGroup],
        since: int,
        done: Callable[[TaskResult[DatabaseReply], float], None],
        now: float,
    ) -> None:
        self._busy = True
        self._round += 1
        call = self.store.prepare_exchange([group.leases for group in batch], now, since)
        self._late = self._loop.after(PATIENCE, partial(self._too_late, self._round, batch))
        self._loop.work(Later(call, WORKERS, 1), done)

    def _over(self) -> None:
        self._busy = False
        if self._late is not None:
            self._late.cancel()

    def _answered(
        self, batch: Sequence[LeaseGroup], outcome: TaskResult[DatabaseReply], now: float
    ) -> None:
        self._over()
        if self._closed:
            return
        if self._away is not None:  # it came after all
            self._try_again(now)
            return
        try:
            told = outcome.get()
        except StoreError as error:
            self._go_away(str(error), batch, now)
            return
        self.store.newest = told.newest
        failed = [row for number in told.failed for row in batch[number].leases]
        effects = self._learn(told, now, self._disputed(failed, told, now))
        for number, group in enumerate(batch):
            if number in told.failed:
                effects += self._again(group, now)
            elif group.leases:
                effects += group.effects
            else:
                effects += group.again(now)
        self._server.carry_out(effects, now)

    def _disputed(self, failed: Sequence[Row], told: DatabaseReply, now: float) -> set[int]:
        """Return the addresses of which memory counts for nothing, since it was wrong."""
        around = self._server.networks.around
        owners = {(row[1], around(IPv4Address(row[0]))) for row in failed if row[1]}
        there = {int(lease.address) for lease, _ in told.leases}
        disputed = {row[0] for row in failed}
        for number in disputed - there:
            self._drop(number, now)
        return disputed | {
            int(one.address) for one, _ in told.leases if (one.owner, around(one.address)) in owners
        }

    def _row(self, lease: Lease) -> Row:
        return make_row(lease, self._server.networks.around(lease.address))

    def _drop(self, number: int, now: float) -> None:
        pool = self._pool(IPv4Address(number))
        if pool is not None:
            pool.drop_lease(IPv4Address(number), now)

    def _pool(self, address: IPAddress) -> SharedPool | None:
        network = self._server.networks.holding(address)
        return network.pool if network and isinstance(network.pool, SharedPool) else None

    def _again(self, group: LeaseGroup, now: float) -> list[Effect]:
        """Decide a request anew."""
        for effect in group.effects:
            if isinstance(effect, Probe):  # the request waits for it, and for nothing else
                return effect.resume(b"", now)
        return group.again(now)

    def _learn(self, told: DatabaseReply, now: float, unsure: Collection[int] = ()) -> list[Effect]:
        """Take over what others did. ``unsure``: addresses of which memory counts for nothing."""
        effects: list[Effect] = []
        pending: set[int] | None = None
        for lease, writer in told.leases:
            pool = self._pool(lease.address)
            if pool is None:
                continue
            number = int(lease.address)
            current = pool.find_lease_at(lease.address)
            if self._copy is not None:
                self._copy.note(lease)
            if current is not None and number not in unsure:
                if current.version >= lease.version:
                    continue
                if pending is None:
                    pending = {row[0] for group in self._queue for row in group.leases}
                same = current.owner == lease.owner
                offered = current.state is lease.state is LeaseState.OFFERED
                # an offer that is still to be written undoes no lease that another daemon made
                behind = current.state is LeaseState.OFFERED and not offered
                if writer == self.store.daemon_name or (number in pending and same and not behind):
                    current.version = lease.version
                    current.stored_until = lease.stored_until if same else 0.0
                    if same and offered:
                        pool.note_offer_stored(current)
                    continue
            effects += self._take_over(pool, lease, by_hand=not writer, now=now)
        return effects

    def _take_over(
        self, pool: SharedPool, lease: Lease, *, by_hand: bool, now: float
    ) -> list[Effect]:
        responder, effects = self._server.responder, list[Effect]()
        if lease.owner:
            lease.owner = responder.identify_client(lease.mac, lease.client_id)
        if lease.state is LeaseState.FREE:
            effects = responder.forget([lease.address], now) if by_hand else []
            self._server.networks.changed.pop(int(lease.address), None)
        pool.learn_lease(lease)
        responder.place(lease, now)
        return effects

    # hearing of others

    def _news(self) -> None:
        self._stale = True
        self._refresh_soon()

    def _refresh_soon(self) -> None:
        if self._timer is None and self._away is None:
            self._timer = self._loop.after(_REFRESH, self._refresh)

    def _refresh(self, now: float) -> None:
        self._timer = None
        if self._away is None:
            self._ear.open()
        self.submit(now)
        if self._stale and not self._closed:  # something else was under way
            self._refresh_soon()

    # away, and back

    def _too_late(self, number: int, batch: Sequence[LeaseGroup], now: float) -> None:
        if number == self._round and self._busy and self._away is None:
            self._go_away(f"{self.store.name}: no answer for {PATIENCE:g} s", batch, now)

    def _leave(self, reason: str, now: float) -> None:
        self._away = Outage(now)
        self._server.responder.offline = True
        self._ear.close()
        if self._timer is not None:
            self._timer.cancel()
        log.error("%s; clients known here keep their addresses, new ones wait", reason)
        self._timer = self._loop.after(_RETRY, self._try_again)

    def _go_away(self, reason: str, batch: Sequence[LeaseGroup], now: float) -> None:
        """Serve from memory from now on, those too whose requests the database has."""
        waiting, self._queue = [*batch, *self._queue], []
        self._leave(reason, now)
        if self._away is None:
            return
        effects: list[Effect] = []
        for group in waiting:
            self._away.unsure.update(row[0] for row in group.leases)
            effects += self._again(group, now)
        self._server.carry_out(effects, now)

    def _try_again(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._away is None or self._closed:
            return
        if self._busy:
            self._timer = self._loop.after(_RETRY, self._try_again)
            return
        owed = [(lease, self._row(lease)) for lease in self._away.backlog.values()]
        batch = [LeaseGroup([row], [], _nothing) for _, row in owed]
        self._send(batch, 0, partial(self._tried, owed), now)

    def _tried(self, owed: Owed, outcome: TaskResult[DatabaseReply], now: float) -> None:
        self._over()
        away = self._away
        if self._closed or away is None:
            return
        try:
            told = outcome.get()
        except StoreError as error:
            log.debug("still away: %s", error)
            self._timer = self._loop.after(_RETRY, self._try_again)
            return
        self._come_back(away, owed, told, now)

    def _come_back(self, away: Outage, owed: Owed, told: DatabaseReply, now: float) -> None:
        lost = [lease for number, (lease, _) in enumerate(owed) if number in told.failed]
        self._name_conflicts(lost, told)
        log.warning(
            "%s is back after %.0f s: %d leases written that were confirmed meanwhile, "
            "%d in conflict",
            self.store.name,
            now - away.since,
            len(owed) - len(lost),
            len(lost),
        )
        self._away = None
        self._server.responder.offline = False
        self.store.newest = told.newest
        gone = {int(lease.address) for lease in lost}
        written = {row[0] for lease, row in owed if self._row(lease) == row} - gone
        late = {n: lease for n, lease in away.backlog.items() if n not in written | gone}
        effects = self._learn(told, now, (away.unsure | gone) - written - late.keys())
        for network in self._server.networks:
            for lease in list(network.pool.list_leases()):
                if not lease.version and int(lease.address) not in late:
                    self._drop(int(lease.address), now)
        self._server.networks.changed.update(late)
        self._stale = True
        self._ear.open()
        self._refresh_soon()
        self._server.carry_out(effects, now)

    def _name_conflicts(self, lost: Sequence[Lease], told: DatabaseReply) -> None:
        now_there = {lease.address: lease for lease, _ in told.leases}
        for lease in lost:
            other = now_there.get(lease.address)
            whose = other.mac.hex(":") if other is not None and other.owner else "nobody"
            log.error(
                "dhcp conflict: %s was %s for %s while the lease database was away, but it is "
                "%s's now",
                lease.address,
                lease.state.value,
                lease.mac.hex(":") or "nobody",
                whose,
            )


def _nothing(now: float) -> list[Effect]:
    return []
