"""The lease database: what it keeps, what it refuses, and what it says when it can't be used."""

import json
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address as A
from ipaddress import IPv4Network
from pathlib import Path

import psycopg
import pytest

from pybootd.commands import leases as command
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.shared import admin, schema
from pybootd.leases.shared.connection import SchemaError
from pybootd.leases.shared.postgres import LeaseConflict, PostgresStore
from pybootd.leases.shared.rows import make_row
from pybootd.leases.store import StoreError
from tests.postgres import Cluster

# where the machine has no PostgreSQL, only a run of every group must fail
pytestmark = pytest.mark.net
ONE, TWO = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


@pytest.fixture
def url(cluster: Cluster) -> str:
    made = cluster.create()
    assert admin.migrate_database(made) == (0, 3)
    return made


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    made = PostgresStore(url, "first")
    made.open()
    list(made.load_leases(50.0))
    yield made
    made.close()


@pytest.fixture
def other(url: str) -> Iterator[PostgresStore]:
    made = PostgresStore(url, "second")
    yield made
    made.close()


def lease(
    last: int = 1,
    mac: bytes = ONE,
    state: LeaseState = LeaseState.BOUND,
    expires: float = 150.0,
    **more: object,
) -> Lease:
    given: dict[str, object] = {"seconds": 100.0} | more
    return Lease(A("10.0.0.0") + last, mac, mac, state=state, expires=expires, **given)  # type: ignore[arg-type]


def test_another_daemon_reads_what_one_wrote(store: PostgresStore, other: PostgresStore) -> None:
    kept = [
        lease(1, hostname="box", booted=True, client_id=b"\0\xff"),
        lease(2, TWO),
        Lease(A("10.0.0.3"), b"", b"", None, LeaseState.DECLINED, 99.0, 600.0),
        lease(4, b"\2\0\0\0\0\4", expires=FOREVER, seconds=FOREVER),
        Lease(A("10.0.0.5"), b"id:x", b"", b"x", LeaseState.BOUND, 150.0, 100.0),
        lease(6, b"\2\0\0\0\0\6", LeaseState.OFFERED, 110.0),
    ]
    store.save_leases(kept, 50.0)
    kept[1].state, kept[1].expires = LeaseState.RELEASED, 60.0
    store.save_leases(kept[1:2], 50.0)
    found = sorted(other.load_leases(7.0), key=lambda one: one.address)
    for one, before in zip(found, kept, strict=True):
        assert one.expires == pytest.approx(before.expires - 43.0, abs=5.0)
        assert one.stored_until == (one.expires if one.state is LeaseState.BOUND else 0.0)
        before.expires, before.stored_until, before.version = (
            one.expires,
            one.stored_until,
            one.version,
        )
        assert one == before


def test_the_tables_are_asked_for(cluster: Cluster) -> None:
    with pytest.raises(SchemaError, match="holds no tables: run pybootd leases --migrate"):
        PostgresStore(cluster.create()).open()


def test_tables_of_a_newer_version_are_left_alone(url: str) -> None:
    with psycopg.connect(url) as file:
        file.execute("UPDATE pybootd.schema SET version = 99")
    with pytest.raises(SchemaError, match="made by a newer pybootd"):
        PostgresStore(url).open()
    with pytest.raises(SchemaError, match="made by a newer pybootd"):
        admin.migrate_database(url)


def test_migrating_twice_does_nothing(url: str) -> None:
    assert admin.migrate_database(url) == (3, 3)


def test_older_tables_are_brought_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, store: PostgresStore
) -> None:
    url = cluster.create()
    with monkeypatch.context() as before:
        before.setattr(schema, "VERSION", 1)
        before.setattr(schema, "STEPS", schema.STEPS[:1])
        assert admin.migrate_database(url) == (0, 1)
        old = PostgresStore(url)
        old.open()
        old.save_leases([lease(1)], 50.0)
        old.close()
    with psycopg.connect(url) as file:  # as it was before schema 3
        file.execute("DROP FUNCTION pybootd.save, pybootd.write")
        file.execute("CREATE FUNCTION pybootd.save(n int) RETURNS int LANGUAGE sql AS 'SELECT n'")
    with pytest.raises(SchemaError, match="an older schema, 1: run pybootd leases --migrate"):
        PostgresStore(url).open()
    assert admin.migrate_database(url) == (1, 3)
    assert [one.address for one in admin.read_database(url)] == [A("10.0.0.1")]
    new = PostgresStore(url)
    new.save_leases([lease(2, TWO)], 50.0)
    new.close()


def test_no_message_shows_a_password() -> None:
    with pytest.raises(StoreError) as caught:
        PostgresStore("postgresql://boot:sesame@/leases?host=/nowhere").open()
    assert "sesame" not in str(caught.value)
    assert str(caught.value).startswith("lease database leases on /nowhere: ")
    assert "\n" not in str(caught.value)


def test_one_address_is_never_two_clients(store: PostgresStore, other: PostgresStore) -> None:
    store.save_leases([lease(1, ONE, LeaseState.OFFERED, 110.0)], 50.0)
    with pytest.raises(LeaseConflict, match=r"10\.0\.0\.1"):
        other.save_leases([lease(1, TWO)], 50.0)
    # told what is there, it may take an address that came free
    list(other.load_leases(50.0))
    with pytest.raises(LeaseConflict):
        other.save_leases([lease(2, ONE)], 50.0)  # nor one client two addresses
    other.save_leases([lease(1, ONE)], 50.0)  # but what one offered, another may confirm
    gone = lease(1, b"", LeaseState.FREE)
    gone.version = other.newest
    other.save_leases([gone], 50.0)
    store.save_leases([lease(1, TWO)], 50.0)


def test_an_address_has_one_row_whatever_writes_there(url: str, store: PostgresStore) -> None:
    store.save_leases([lease(1)], 50.0)
    again = "INSERT INTO pybootd.lease (address, owner, state, version, writer) "
    with (
        psycopg.connect(url, autocommit=True) as file,
        pytest.raises(psycopg.errors.UniqueViolation),
    ):
        file.execute(again + "VALUES ('10.0.0.1', %s, 'bound', 9, '')", (TWO,))


def test_an_offer_undoes_no_lease(store: PostgresStore, other: PostgresStore) -> None:
    list(other.load_leases(50.0))
    store.save_leases([lease(1)], 50.0)
    told = other.prepare_exchange(
        [[make_row(lease(1, ONE, LeaseState.OFFERED, 110.0))]], 50.0, other.newest
    )()
    assert not told.failed
    assert [(one.state, who) for one, who in told.leases] == [(LeaseState.BOUND, "first")]


def test_an_address_that_is_nobodys_may_be_blocked_by_any(
    store: PostgresStore, other: PostgresStore
) -> None:
    store.save_leases([lease(1)], 50.0)
    store.save_leases([lease(1, b"", LeaseState.FREE, version=store.newest)], 50.0)
    list(other.load_leases(50.0))  # which tells nothing of an address that is free
    other.save_leases([lease(1, b"", LeaseState.DECLINED)], 50.0)


def test_requests_of_a_batch_fail_alone(store: PostgresStore, other: PostgresStore) -> None:
    store.save_leases([lease(1)], 50.0)
    mine = [[make_row(lease(1, TWO))], [make_row(lease(2, TWO))]]
    told = other.prepare_exchange(mine, 50.0, 0)()
    assert told.failed == {0}
    assert {one.address: one.owner for one, _ in told.leases} == {
        A("10.0.0.1"): ONE,
        A("10.0.0.2"): TWO,
    }


def test_a_client_has_one_lease_in_each_network(store: PostgresStore, other: PostgresStore) -> None:
    """RFC 2131 2.1: a lease is of a client and a subnet."""
    nets = [IPv4Network("10.0.0.0/28"), IPv4Network("10.0.0.16/28")]
    store.save_leases([lease(1)], 50.0)
    mine = [[make_row(lease(2), nets[0])], [make_row(lease(17), nets[1])]]
    mine += [[make_row(lease(18), nets[1])]]
    told = other.prepare_exchange(mine, 50.0, 0)()
    assert told.failed == {0, 2}
    assert sorted(one.address for one, _ in told.leases) == [A("10.0.0.1"), A("10.0.0.17")]


def test_a_request_is_all_or_nothing(store: PostgresStore, other: PostgresStore) -> None:
    store.save_leases([lease(1), lease(2, TWO)], 50.0)
    gone = lease(2, b"", LeaseState.FREE)
    gone.version = store.newest
    told = other.prepare_exchange([[make_row(gone), make_row(lease(1, TWO))]], 50.0, 0)()
    assert told.failed == {0}
    assert {one.owner for one, _ in told.leases} == {ONE, TWO}


def test_a_thousand_clients_and_many_daemons_at_once(url: str) -> None:
    """Each tries to give the same few addresses to its own clients."""
    won: list[tuple[A, bytes]] = []

    def race(daemon: int) -> None:
        mine = PostgresStore(url, str(daemon))
        batch = [lease(n, bytes((2, 0, 0, 0, daemon, n))) for n in range(100)]
        told = mine.prepare_exchange([[make_row(one)] for one in batch], 50.0, 0)()
        won.extend((one.address, one.owner) for n, one in enumerate(batch) if n not in told.failed)
        mine.close()

    threads = [threading.Thread(target=race, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len({address for address, _ in won}) == 100
    assert {(one.address, one.owner) for one in admin.read_database(url)} == set(won)


def test_the_database_comes_back(store: PostgresStore, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as file:
        file.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(StoreError):
        store.save_leases([lease(1)], 50.0)
    store.save_leases([lease(1)], 50.0)
    assert len(admin.read_database(url)) == 1


def test_what_no_database_takes_is_left_out_of_a_name(store: PostgresStore, url: str) -> None:
    store.save_leases([lease(1, hostname="b\0ox\udc80")], 50.0)
    assert admin.read_database(url)[0].hostname == "box?"


def test_the_command(
    store: PostgresStore, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ini = tmp_path / "pybootd.ini"
    ini.write_text(f"[bootp]\nleases = {url}\n")
    store.save_leases([lease(1, hostname="box"), lease(2, TWO, LeaseState.OFFERED, 110.0)], 50.0)
    assert command.main(["-c", str(ini), "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["address"], shown["hostname"], shown["state"]) == ("10.0.0.1", "box", "bound")
    assert command.main(["-c", str(ini), "--release", "02:00:00:00:00:01"]) == 0
    assert capsys.readouterr().out == "10.0.0.1 is free again\n"
    assert command.main(["-c", str(ini), "--release", "02:00:00:00:00:01"]) == 1
    assert "has no lease in leases" in capsys.readouterr().err
    # the daemon hears of it
    told = store.prepare_exchange((), 50.0, store.newest)()
    assert [(one.address, one.state, who) for one, who in told.leases] == [
        (A("10.0.0.1"), LeaseState.FREE, "")
    ]


def test_migrating_by_command(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ini = tmp_path / "pybootd.ini"
    ini.write_text(f"[bootp]\nleases = {cluster.create()}\n")
    assert command.main(["-c", str(ini)]) == 1
    assert "run pybootd leases --migrate" in capsys.readouterr().err
    assert command.main(["-c", str(ini), "--migrate"]) == 0
    assert capsys.readouterr().out == "the tables are those of schema 3\n"
    ini.write_text("[bootp]\nleases = leases.db\n")
    assert command.main(["-c", str(ini), "--migrate"]) == 1
    assert "is a file" in capsys.readouterr().err
