"""pybootd leases --import with a database, which daemons use meanwhile."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pybootd.leases.lease import LeaseState
from pybootd.leases.lease_file import read_lease_file
from pybootd.leases.shared import admin
from pybootd.leases.shared.postgres import PostgresStore
from tests.leases.moving import HOUR, INI, KEPT, NOW, ONE, THREE, A, call, fill, lease, said, same
from tests.postgres import Cluster

pytestmark = pytest.mark.net


@pytest.fixture
def url(cluster: Cluster) -> str:
    made = cluster.create()
    admin.migrate_database(made)
    return made


@pytest.fixture
def daemon(url: str) -> Iterator[PostgresStore]:
    made = PostgresStore(url, "daemon")
    made.open()
    list(made.load_leases(NOW))
    yield made
    made.close()


def test_a_file_to_a_database_and_back(
    ini: Path, old: Path, url: str, daemon: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(url, autocommit=True) as file:  # a clock that was set
        file.execute("UPDATE pybootd.clock SET drift = -5000")
    heard: list[psycopg.Notify] = []
    ear = daemon.open_listener()
    ear.add_notify_handler(heard.append)
    ini.write_text(INI.format(url))
    assert call(ini, old) == 0
    ear.execute("SELECT")  # with its answer comes what was told before
    ear.close()
    assert heard
    assert said(capsys) == ("6 leases taken over, 0 were there, 0 left out\n", "")
    assert same(admin.read_database(url), KEPT)
    assert call(ini, old) == 0
    assert said(capsys) == ("0 leases taken over, 6 were there, 0 left out\n", "")
    ini.write_text(INI.format("new.db"))
    assert call(ini, url) == 0
    assert same(read_lease_file(ini.parent / "new.db"), KEPT)
    # daemons hear of all of them
    told = daemon.prepare_exchange((), NOW, daemon.newest)()
    assert {(one.address, one.owner) for one, _ in told.leases} == {
        (one.address, one.owner) for one in KEPT
    }


def test_leases_that_stand_against_each_other(
    ini: Path, url: str, daemon: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    macs = [bytes((2, n)) for n in range(9)]
    daemon.save_leases(
        [
            lease(1, macs[0]),  # another's
            lease(2, macs[2], left=50.0),  # the same, older
            lease(7, macs[3], left=50.0),  # an older one elsewhere
            lease(8, macs[4]),  # a newer one elsewhere
            lease(5, macs[8], LeaseState.OFFERED, -1.0, seconds=0.0),  # nobody's any more
        ],
        NOW,
    )
    mine = [lease(n, macs[n], left=HOUR - 60) for n in (1, 2, 3, 4, 5)]
    mine.append(lease(7, macs[7], left=HOUR - 90))  # which comes free
    ini.write_text(INI.format(url))
    assert call(ini, fill(ini.parent / "old.db", mine)) == 1
    out, err = said(capsys)
    assert out == "4 leases taken over, 0 were there, 2 left out\n"
    assert sorted(err.splitlines()) == [
        "pybootd leases: 10.0.0.1 of 02:01 is left out: it belongs to 02:00 there",
        "pybootd leases: 10.0.0.4 of 02:04 is left out: the client has 10.0.0.8 there",
    ]
    found = {int(one.address) & 255: one.mac for one in admin.read_database(url)}
    numbers = {1: 0, 2: 2, 3: 3, 5: 5, 7: 7, 8: 4}
    assert found == {last: macs[number] for last, number in numbers.items()}


def test_it_waits_for_its_turn_and_sees_what_was_given_meanwhile(
    ini: Path, old: Path, url: str, daemon: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    ini.write_text(INI.format(url))
    done: list[int] = []
    asking = threading.Thread(target=lambda: done.append(call(ini, old)))
    with psycopg.connect(url) as other, psycopg.connect(url, autocommit=True) as look:
        other.execute("SELECT pybootd.take_turn()")
        asking.start()
        wait(look, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        other.execute(
            "INSERT INTO pybootd.lease (address, owner, mac, state, expires, seconds, version,"
            " writer) VALUES ('10.0.0.1', %(mac)s, %(mac)s, 'bound', pybootd.now() + 60, 60,"
            " nextval('pybootd.lease_version'), 'x')",
            {"mac": THREE},
        )
        other.commit()
        asking.join(60)
    assert done == [1]
    out, err = said(capsys)
    assert "10.0.0.1 of 02:00:00:00:00:01 is left out: it belongs to 02:00:00:00:00:03" in err
    assert "10.0.0.5 of 02:00:00:00:00:03 is left out: the client has 10.0.0.1" in err
    assert out == "4 leases taken over, 0 were there, 2 left out\n"


@pytest.mark.parametrize("how", ["killed", "full"])
def test_nothing_is_half_done_in_a_database(
    ini: Path, old: Path, url: str, daemon: PostgresStore, how: str
) -> None:
    """It ends while it writes the last lease, when an older one has been taken away for it."""
    daemon.save_leases([lease(9, ONE, left=50.0)], NOW)
    fails = "RAISE disk_full" if how == "full" else "PERFORM pg_advisory_xact_lock(77)"
    with psycopg.connect(url, autocommit=True) as file:
        file.execute(
            "CREATE FUNCTION pybootd.last() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {fails}; RETURN NEW; END $$;"
            "CREATE TRIGGER last BEFORE INSERT ON pybootd.lease FOR EACH ROW"
            " WHEN (NEW.address = '10.0.0.1') EXECUTE FUNCTION pybootd.last();"
            "SELECT pg_advisory_lock(77)"
        )
        ini.write_text(INI.format(url))
        words = [sys.executable, "-m", "pybootd", "leases", "-c", ini, "--import", old]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as asking:
            if how == "killed":
                wait(file, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                asking.send_signal(signal.SIGKILL)
            _, line = asking.communicate(timeout=60)
        file.execute("SELECT pg_advisory_unlock(77)")
        wait(
            file,
            "SELECT WHERE NOT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE '%INSERT INTO pybootd.lease%'"
            " AND pid <> pg_backend_pid())",
        )
    assert asking.returncode == (-signal.SIGKILL if how == "killed" else 1)
    assert line.count("\n") == (how == "full")
    assert [one.address for one in admin.read_database(url)] == [A("10.0.0.9")]


def test_a_database_without_tables(
    ini: Path, old: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    ini.write_text(INI.format(cluster.create()))
    assert call(ini, old) == 1
    assert "holds no tables: run pybootd leases --migrate" in capsys.readouterr().err


def wait(file: psycopg.Connection[tuple[()]], query: str) -> None:
    deadline = time.monotonic() + 60
    while not file.execute(query.encode()).fetchall():
        assert time.monotonic() < deadline, query
        time.sleep(0.02)
