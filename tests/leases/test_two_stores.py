"""Whatever happens to leases, SQLite and PostgreSQL keep the same.

A pool decides, both stores keep what it decides, and each restart reads both. An offer takes its
address from the client that had it last, which SQLite hears as "free": it keeps no offers. Another
daemon writes to the database, too, from what it knew when it last read there; SQLite follows.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address as A
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from pybootd.core.client import make_identity
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.shared import admin
from pybootd.leases.shared.pool import SharedPool
from pybootd.leases.shared.postgres import DatabaseReply, PostgresStore
from pybootd.leases.shared.rows import make_row
from pybootd.leases.sqlite import SqliteStore
from tests.postgres import Cluster

NETWORK = IPv4Network("10.0.0.0/28")
KEPT = bytes((2, 0, 0, 0, 0, 9))  # has a reservation
CLIENTS = st.integers(0, 9).map(lambda n: bytes((2, 0, 0, 0, 0, n)))
ADDRESSES = st.integers(1, 8).map(lambda n: A("10.0.0.0") + n)
SECONDS = st.sampled_from([30.0, 100.0, 1000.0, FOREVER])
# less than a second is the clock's own wandering
STEPS = st.integers(-5000, 5000).filter(lambda seconds: abs(seconds) > 2)
CLOCK = """
    CREATE TABLE pybootd.wall (seconds double precision);
    INSERT INTO pybootd.wall VALUES (0);
    CREATE OR REPLACE FUNCTION pybootd.now() RETURNS double precision LANGUAGE sql VOLATILE AS
        $$ SELECT seconds FROM pybootd.wall $$;
"""


@dataclass(slots=True)
class Side:
    """One daemon: what it knows, and its way to the database."""

    pool: SharedPool
    store: PostgresStore

    def learn(self, told: DatabaseReply) -> None:
        """Take over what the database said, as ``sharing`` does."""
        self.store.newest = told.newest
        for lease, writer in told.leases:
            here = self.pool.find_lease_at(lease.address)
            if writer != self.store.daemon_name or here is None or told.failed:
                self.pool.learn_lease(lease)
                continue
            here.version = lease.version
            if here.state is lease.state is LeaseState.OFFERED and here.owner == lease.owner:
                self.pool.note_offer_stored(here)

    def rebuild(self, now: float) -> None:
        """Know what the database knows, and nothing else."""
        told = self.store.prepare_exchange((), now, 0)()
        there = {lease.address for lease, _ in told.leases}
        for lease in list(self.pool.list_leases()):
            if lease.address not in there:
                self.pool.drop_lease(lease.address, now)
        self.pool.changed.clear()
        self.learn(replace(told, failed=frozenset([0])))


class TwoStores(RuleBasedStateMachine):
    """What may happen to leases."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.admin = psycopg.connect(self.url, autocommit=True)
        self.admin.execute("TRUNCATE pybootd.lease; UPDATE pybootd.clock SET drift = 0")
        self.wall = 1_700_000_000.0
        self.now = 100.0
        self.strangers = (b"\x66" + number.to_bytes(5) for number in itertools.count())
        self._start()

    def _start(self) -> None:
        self._set_wall()
        self.sqlite = SqliteStore(Path(self.folder.name) / "leases.db", lambda: self.wall)
        self.sqlite.open()
        self.one, self.two = self._side("one"), self._side("two")
        kept = {one.address: one for one in self.one.store.load_leases(self.now)}
        offered = {number for number, one in kept.items() if one.state is LeaseState.OFFERED}
        expected = {number: _seen(one) for number, one in kept.items() if number not in offered}
        assert {one.address: _seen(one) for one in self.sqlite.load_leases(self.now)} == expected
        for side in (self.one, self.two):
            for lease in side.store.load_leases(self.now):
                assert lease.owner in (b"", make_identity(lease.mac, lease.client_id, False))
                side.pool.restore_lease(lease)
            side.pool.changed.clear()
        self.pool = self.one.pool

    def _side(self, name: str) -> Side:
        store = PostgresStore(self.url, name)
        store.open()
        return Side(SharedPool(NETWORK, A("10.0.0.1"), 6, static={KEPT: A("10.0.0.8")}), store)

    def _stop(self) -> None:
        self.sqlite.close()
        for side in (self.one, self.two):
            side.store.close()

    def _set_wall(self) -> None:
        self.admin.execute("UPDATE pybootd.wall SET seconds = %s", (self.wall,))

    def _save(self, side: Side | None = None) -> bool:
        """Save what changed; False: another daemon was first, and nothing is saved."""
        side = side or self.one
        changed = sorted(
            side.pool.changed.values(), key=lambda one: one.state is not LeaseState.FREE
        )
        side.pool.changed.clear()
        if not changed:
            return True
        rows = [make_row(lease) for lease in changed]
        told = side.store.prepare_exchange([rows], self.now, side.store.newest)()
        if told.failed:
            self._begin_again(side)
            return False
        there = {lease.address: lease.state for lease, _ in told.leases}
        batch = []
        for one in changed:
            if one.state is not LeaseState.OFFERED:
                batch.append(one)
            elif there.get(one.address, LeaseState.OFFERED) is LeaseState.OFFERED:
                batch.append(replace(one, state=LeaseState.FREE))
        self.sqlite.save_leases(batch, self.now)
        side.learn(told)
        return True

    def _begin_again(self, side: Side) -> None:
        side.rebuild(self.now)
        self.sqlite.save_leases((), self.now)  # it sees the clock, too

    def _offer(self, side: Side, mac: bytes, wanted: A | None = None) -> Lease | None:
        """Offer an address and save that; None: there is none, or another daemon was first."""
        lease = side.pool.offer_address(mac, mac, self.now, wanted)
        if lease is None or not self._save(side):
            return None
        side.pool.note_offer_sent(lease, idle=True)
        return lease

    def _held(self) -> set[tuple[Any, ...]]:
        return set(
            self.admin.execute(
                "SELECT address, owner, state, version FROM pybootd.lease "
                "WHERE state NOT IN ('offered', 'free')"
            ).fetchall()
        )

    @rule(mac=CLIENTS, wanted=st.none() | ADDRESSES)
    def offer(self, mac: bytes, wanted: A | None) -> None:
        self._offer(self.one, mac, wanted)

    @rule(mac=CLIENTS, seconds=SECONDS, name=st.sampled_from(["", "box", "b\u00f6x"]))
    def bind(self, mac: bytes, seconds: float, name: str) -> None:
        lease = self.pool.offer_address(mac, mac, self.now)
        if lease is not None:
            lease.hostname, lease.booted = name, bool(name)
            lease.client_id = mac if name else None
            self.pool.bind_lease(lease, seconds, self.now)
        self._save()

    @rule(mac=CLIENTS)
    def release(self, mac: bytes) -> None:
        lease = self.pool.find_lease(mac)
        if lease is not None and lease.state in (LeaseState.OFFERED, LeaseState.BOUND):
            self.pool.release_lease(lease, self.now)
        self._save()

    @rule(address=ADDRESSES)
    def decline(self, address: A) -> None:
        self.pool.block_address(address, self.now)
        self._save()

    @rule(address=ADDRESSES)
    def take_away(self, address: A) -> None:
        self.pool.forget_lease(address, self.now)
        self._save()

    @rule(mac=CLIENTS, bind=st.booleans())
    def another_daemon_gives(self, mac: bytes, bind: bool) -> None:
        if not bind:
            self._offer(self.two, mac)
        elif (lease := self.two.pool.offer_address(mac, mac, self.now)) is not None:
            self.two.pool.bind_lease(lease, 100.0, self.now)
            self._save(self.two)

    @rule(side=st.sampled_from(["one", "two"]))
    def hear(self, side: str) -> None:
        heard = getattr(self, side)
        heard.learn(heard.store.prepare_exchange((), self.now, heard.store.newest)())
        self.sqlite.save_leases((), self.now)  # it sees the clock, too

    @rule(sides=st.lists(st.sampled_from(["one", "two"]), min_size=1, max_size=12))
    def flood(self, sides: list[str]) -> None:
        held = self._held()
        for name in sides:
            side, mac = getattr(self, name), next(self.strangers)
            if self._offer(side, mac) is None:
                self._begin_again(side)  # the other did something meanwhile
                given = self._offer(side, mac)
                left = self.admin.execute(
                    "SELECT address FROM pybootd.lease WHERE state = 'offered' AND address <= %s",
                    (A("10.0.0.6"),),
                ).fetchall()
                assert given is not None or not left
        # what a client was told it has is never taken for strangers, save a block that ended
        lost = {row for row in held - self._held() if row[2] != "declined"}
        assert not lost

    @rule(seconds=st.sampled_from([1.0, 20.0, 70.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds
        self._set_wall()

    @rule(seconds=STEPS)
    def set_clock(self, seconds: int) -> None:
        self.wall += seconds
        self._set_wall()

    @rule(monotonic=st.sampled_from([5.0, 1000.0]), meanwhile=STEPS)
    def restart(self, monotonic: float, meanwhile: int) -> None:
        self._stop()
        self.now, self.wall = monotonic, self.wall + meanwhile
        self._start()

    def teardown(self) -> None:
        self.restart(50.0, 10)
        self._stop()
        self.admin.close()
        self.folder.cleanup()


def _seen(lease: Lease) -> tuple[Any, ...]:
    """Say what a lease is; real milliseconds pass between two stores' looks at the clock."""
    expires = lease.expires if lease.expires == FOREVER else round(lease.expires)
    return (
        *(lease.owner, lease.mac, lease.client_id, lease.state, expires, lease.seconds),
        *(lease.hostname, lease.uuid, lease.booted),
    )


@pytest.mark.net
def test_both_stores_keep_the_same(cluster: Cluster) -> None:
    url = cluster.create()
    admin.migrate_database(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(CLOCK)
    machine: Callable[[], TwoStores] = type("Machine", (TwoStores,), {"url": url})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=checks
        ),
    )
