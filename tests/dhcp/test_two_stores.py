"""Whatever happens to leases, SQLite and PostgreSQL keep the same.

One pool decides, both stores keep what it decides, and each restart reads both. An offer takes its
address from whoever had it last, which SQLite hears as "free": it keeps no offers.
"""

from collections.abc import Callable
from dataclasses import replace
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

from pybootd.dhcp import postgres
from pybootd.dhcp.leases import FOREVER, Lease, Pool, State, identify
from pybootd.dhcp.postgres import PostgresStore
from pybootd.dhcp.stores import SqliteStore
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
        self._start()

    def _start(self) -> None:
        self._set_wall()
        self.sqlite = SqliteStore(Path(self.folder.name) / "leases.db", lambda: self.wall)
        self.postgres = PostgresStore(self.url, "test")
        self.sqlite.open()
        self.postgres.open()
        kept = {one.address: one for one in self.postgres.load(self.now)}
        offered = {number for number, one in kept.items() if one.state is State.OFFERED}
        expected = {number: _seen(one) for number, one in kept.items() if number not in offered}
        assert {one.address: _seen(one) for one in self.sqlite.load(self.now)} == expected
        self.pool = Pool(NETWORK, A("10.0.0.1"), 6, static={KEPT: A("10.0.0.8")}, shared=True)
        for lease in kept.values():
            assert lease.owner in (b"", identify(lease.mac, lease.client_id, False))
            self.pool.restore(lease)
        self.pool.changed.clear()

    def _stop(self) -> None:
        self.sqlite.close()
        self.postgres.close()

    def _set_wall(self) -> None:
        self.admin.execute("UPDATE pybootd.wall SET seconds = %s", (self.wall,))

    def _save(self) -> None:
        changed = list(self.pool.changed.values())
        self.pool.changed.clear()
        if changed:
            self.postgres.save(changed, self.now)
            self.sqlite.save(
                [
                    replace(one, state=State.FREE) if one.state is State.OFFERED else one
                    for one in changed
                ],
                self.now,
            )

    @rule(mac=CLIENTS, wanted=st.none() | ADDRESSES)
    def offer(self, mac: bytes, wanted: A | None) -> None:
        self.pool.offer(mac, mac, self.now, wanted)
        self._save()

    @rule(mac=CLIENTS, seconds=SECONDS, name=st.sampled_from(["", "box", "b\u00f6x"]))
    def bind(self, mac: bytes, seconds: float, name: str) -> None:
        lease = self.pool.offer(mac, mac, self.now)
        if lease is not None:
            lease.hostname, lease.booted = name, bool(name)
            lease.client_id = mac if name else None
            self.pool.bind(lease, seconds, self.now)
        self._save()

    @rule(mac=CLIENTS)
    def release(self, mac: bytes) -> None:
        lease = self.pool.find(mac)
        if lease is not None and lease.state in (State.OFFERED, State.BOUND):
            self.pool.release(lease, self.now)
        self._save()

    @rule(address=ADDRESSES)
    def decline(self, address: A) -> None:
        self.pool.block(address, self.now)
        self._save()

    @rule(address=ADDRESSES)
    def take_away(self, address: A) -> None:
        self.pool.forget(address, self.now)
        self._save()

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
    postgres.migrate(url)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(CLOCK)
    machine: Callable[[], TwoStores] = type("Machine", (TwoStores,), {"url": url})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=checks
        ),
    )
