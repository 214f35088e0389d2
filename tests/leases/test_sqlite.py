"""The lease file: what it keeps, over restarts, set clocks, damage and full disks."""

import logging
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Address as A
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.sqlite import SqliteStore, open_store
from pybootd.leases.store import MemoryStore, StoreError

MAC = b"\2\0\0\0\0\1"
UUID_ = UUID("00112233-4455-6677-8899-aabbccddeeff")


class Wall:
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "leases.db"


def opened(path: Path, wall: Wall) -> SqliteStore:
    store = SqliteStore(path, wall)
    store.open()
    return store


def lease(
    last: int = 1, state: LeaseState = LeaseState.BOUND, expires: float = 150.0, **more: object
) -> Lease:
    given: dict[str, object] = {"seconds": 100.0, "hostname": "box"} | more
    return Lease(A("10.0.0.0") + last, MAC, MAC, state=state, expires=expires, **given)  # type: ignore[arg-type]


def reloaded(store: SqliteStore, wall: Wall, now: float) -> list[Lease]:
    store.close()
    again = opened(store.path, wall)
    leases = list(again.load_leases(now))
    again.close()
    return leases


@pytest.fixture
def store(path: Path, wall: Wall) -> Iterator[SqliteStore]:
    made = opened(path, wall)
    list(made.load_leases(50.0))
    yield made
    made.close()


def test_what_is_kept_comes_back(store: SqliteStore, wall: Wall) -> None:
    kept = [
        lease(1, uuid=UUID_, booted=True, client_id=b"\0\xff"),
        lease(2, LeaseState.RELEASED, 60.0),
        Lease(A("10.0.0.3"), b"", b"", None, LeaseState.DECLINED, 99.0, 600.0),
        lease(4, expires=FOREVER, seconds=FOREVER),
        Lease(A("10.0.0.5"), b"id:x", b"", b"x", LeaseState.BOUND, 150.0, 100.0),
    ]
    store.save_leases(kept, 50.0)
    wall.time += 10
    # another boot of the machine: its monotonic clock starts at 7
    found = reloaded(store, wall, 7.0)
    for one, before in zip(found, kept, strict=True):
        before.expires -= 53.0
        assert one == before


def test_a_free_address_is_forgotten(store: SqliteStore, wall: Wall) -> None:
    store.save_leases([lease()], 50.0)
    store.save_leases([Lease(A("10.0.0.1"), b"", b"", state=LeaseState.FREE)], 51.0)
    assert reloaded(store, wall, 0.0) == []


def test_a_clock_set_while_the_daemon_runs_moves_no_lease(store: SqliteStore, wall: Wall) -> None:
    store.save_leases([lease(1)], 50.0)
    wall.time += 3600 + 10  # ten seconds, and somebody sets it an hour forward
    store.save_leases([lease(2, expires=160.0)], 60.0)
    first, second = reloaded(store, wall, 60.0)
    assert (first.expires, second.expires) == (pytest.approx(150.0), pytest.approx(160.0))
    wall.time -= 7200
    # set back while no daemon ran: nobody can know, but no lease is longer than it was granted
    assert [one.expires for one in reloaded(store, wall, 60.0)] == [160.0, 160.0]


def test_a_batch_is_all_or_nothing(store: SqliteStore, wall: Wall) -> None:
    bad = lease(2)
    bad.hostname = None  # type: ignore[assignment]
    with pytest.raises(StoreError, match="NOT NULL"):
        store.save_leases([lease(1), bad], 50.0)
    store.save_leases([lease(3)], 50.0)
    assert [str(one.address) for one in reloaded(store, wall, 0.0)] == ["10.0.0.3"]


def test_it_is_on_disk_before_save_returns(store: SqliteStore) -> None:
    assert store.database is not None
    assert store.database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store.database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("damage", ["lost", "middle"])
def test_a_damaged_file_is_set_aside(
    path: Path, wall: Wall, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(path, wall)
    list(store.load_leases(0.0))
    store.save_leases([lease(n) for n in range(1, 200)], 50.0)
    store.close()
    data = path.read_bytes()
    bad = bytes(4096) + data[4096:] if damage == "lost" else data[:4096] + b"\xa5" * 8192
    path.write_bytes(bad)
    store = opened(path, wall)
    assert list(store.load_leases(0.0)) == []
    store.save_leases([lease()], 50.0)
    store.close()
    (aside,) = path.parent.glob("leases.db.damaged-*[0-9]")
    assert aside.read_bytes() == bad
    assert aside.name in caplog.text
    assert "is damaged" in caplog.text


def test_a_file_that_never_was_a_database_is_left_alone(path: Path, wall: Wall) -> None:
    path.parent.mkdir()
    path.write_text("[bootp]\npool_start = 192.168.1.100\n" * 99)
    with pytest.raises(StoreError, match=r"no lease file: change \[bootp\] leases"):
        opened(path, wall)
    assert path.read_text().startswith("[bootp]")


def test_a_newer_schema_is_refused_and_left_alone(path: Path, wall: Wall) -> None:
    opened(path, wall).close()
    file = sqlite3.connect(path)
    file.execute("PRAGMA user_version = 99")
    file.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="written by a newer pybootd"):
        opened(path, wall)
    assert path.read_bytes() == before


def test_two_daemons_do_not_share_a_file(store: SqliteStore, wall: Wall) -> None:
    with pytest.raises(StoreError, match="another pybootd uses it"):
        opened(store.path, wall)


def test_a_lease_that_a_person_takes_out_is_told(store: SqliteStore) -> None:
    store.save_leases([lease(1), lease(2)], 50.0)
    assert store.list_removed() == ()
    other = sqlite3.connect(store.path)
    with other:
        other.execute("DELETE FROM lease WHERE address = ?", (int(A("10.0.0.1")),))
    other.close()
    assert store.list_removed() == [A("10.0.0.1")]
    assert store.list_removed() == ()


def test_a_row_that_makes_no_sense_is_left_out(
    store: SqliteStore, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    store.save_leases([lease(1), lease(2)], 50.0)
    assert store.database is not None
    store.database.execute("UPDATE lease SET state = 'gone' WHERE address % 2")
    assert len(reloaded(store, wall, 0.0)) == 1
    assert "is left out" in caplog.text


def test_a_full_disk_and_space_again(store: SqliteStore, wall: Wall) -> None:
    assert store.database is not None
    (pages,) = store.database.execute("PRAGMA page_count").fetchone()
    store.database.execute(f"PRAGMA max_page_count = {pages}")
    crowd = [lease(n, hostname="x" * 200) for n in range(100)]
    with pytest.raises(StoreError, match="full"):
        store.save_leases(crowd, 50.0)
    store.database.execute("PRAGMA max_page_count = 10000")
    store.save_leases(crowd, 50.0)
    assert len(reloaded(store, wall, 0.0)) == 100


def test_memory(tmp_path: Path) -> None:
    store = open_store("memory")
    assert isinstance(store, MemoryStore)
    assert list(store.load_leases(0.0)) == []


def test_a_path_is_a_file(path: Path) -> None:
    store = open_store(str(path))
    assert isinstance(store, SqliteStore)
    store.close()
    assert path.exists()


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="lease file"):
        open_store(str(tmp_path / "file" / "leases.db"))


NOBODY = """
import os, sys
from pybootd.leases.sqlite import open_store
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
print(type(open_store(sys.argv[1])).__name__)
"""


def test_no_right_to_write_there_is_memory_and_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, str(tmp_path / "made" / "leases.db")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "MemoryStore\n"
    assert "kept in memory" in done.stderr


def test_memory_warns_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_store("memory").close()
    assert not caplog.text


STATES = st.sampled_from(
    (LeaseState.BOUND, LeaseState.RELEASED, LeaseState.DECLINED, LeaseState.FREE)
)
STEPS = st.one_of(
    st.tuples(st.just("save"), st.dictionaries(st.integers(1, 4), STATES), st.floats(1, 1000)),
    st.tuples(st.just("sleep"), st.floats(0, 500)),
    st.tuples(st.just("set clock"), st.floats(-5000, 5000)),
    st.tuples(st.just("restart"), st.floats(0, 500)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=15))
def test_whatever_happens_each_lease_lasts_as_long_as_was_said(
    steps: list[tuple[Any, ...]],
) -> None:
    """Over restarts and set clocks, to within the second that the wall clock may wander."""
    wall, now = Wall(), 50.0
    kept: dict[
        int, tuple[LeaseState, float, float]
    ] = {}  # by address: until when, of how many seconds
    with tempfile.TemporaryDirectory() as folder:
        store = opened(Path(folder) / "leases.db", wall)
        list(store.load_leases(now))
        for what, *how in [*steps, ("restart", 0.0)]:
            if what == "sleep":
                now, wall.time = now + how[0], wall.time + how[0]
            elif what == "set clock":
                wall.time += how[0]
            elif what == "save":
                states, seconds = how
                store.save_leases(
                    [lease(n, s, now + seconds, seconds=seconds) for n, s in states.items()], now
                )
                kept |= {n: (state, now + seconds, seconds) for n, state in states.items()}
                kept = {n: one for n, one in kept.items() if one[0] is not LeaseState.FREE}
            else:
                store.save_leases([], now)
                store.close()
                wall.time += how[0]  # meanwhile nobody counts but the wall clock
                store = opened(store.path, wall)
                loaded = {int(one.address) & 7: one for one in store.load_leases(now)}
                kept = {n: (s, until - how[0], given) for n, (s, until, given) in kept.items()}
                assert {n: one.state for n, one in loaded.items()} == {
                    n: state for n, (state, _, _) in kept.items()
                }
                for n, (_, until, _) in kept.items():
                    assert abs(loaded[n].expires - until) <= 1.1
                kept = {n: (s, loaded[n].expires, g) for n, (s, _, g) in kept.items()}
        store.close()
