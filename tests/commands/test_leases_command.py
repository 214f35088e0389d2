"""pybootd leases: what a person sees of the lease file, and may take out of it."""

import contextlib
import json
import sqlite3
from ipaddress import IPv4Address as A
from pathlib import Path

import pytest

from pybootd.cli import main
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.sqlite import SqliteStore

ONE, TWO = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    path = tmp_path / "pybootd.ini"
    path.write_text("[bootp]\npool_start = 10.0.0.1\nleases = leases.db\n")
    return path


@pytest.fixture
def store(ini: Path) -> SqliteStore:
    made = SqliteStore(ini.parent / "leases.db")
    made.open()
    list(made.load_leases(0.0))
    leases = [
        Lease(A("10.0.0.10"), ONE, ONE, None, LeaseState.BOUND, 90000.5, 90000.0, "box"),
        Lease(A("10.0.0.9"), TWO, TWO, b"\1x", LeaseState.BOUND, -5.0, 60.0),
        Lease(A("10.0.0.8"), b"", b"", None, LeaseState.DECLINED, 75.5, 600.0),
        Lease(A("10.0.0.7"), b"\3", b"\3", None, LeaseState.BOUND, FOREVER, FOREVER),
        Lease(A("10.0.0.6"), b"\4", b"\4", None, LeaseState.RELEASED, -9.0, 60.0),
    ]
    made.save_leases(leases, 0.0)
    return made


def test_a_table_while_the_daemon_runs(
    ini: Path, store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leases", "-c", str(ini)]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["address", "MAC", "state", "left", "name"],
        ["10.0.0.6", "04", "released", "-", "-"],
        ["10.0.0.7", "03", "bound", "for good", "-"],
        ["10.0.0.8", "-", "declined", "1 min 15 s", "-"],
        ["10.0.0.9", "02:00:00:00:00:02", "expired", "-", "-"],
        ["10.0.0.10", "02:00:00:00:00:01", "bound", "1 d 1 h", "box"],
    ]
    store.close()


def test_json(ini: Path, store: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.close()
    assert main(["leases", "-c", str(ini), "--json"]) == 0
    found = {entry["address"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert len(found) == 5
    assert found["10.0.0.7"]["expires"] is None
    assert found["10.0.0.9"]["client_id"] == "0178"
    assert found["10.0.0.10"]["hostname"] == "box"
    assert found["10.0.0.10"]["expires"].endswith("+00:00")


def test_taking_a_lease_away(
    ini: Path, store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["leases", "-c", str(ini), "--release", "02-00-00-00-00-01"]
    assert main(words) == 0
    assert capsys.readouterr().out == "10.0.0.10 is free again\n"
    assert store.list_removed() == [A("10.0.0.10")]
    assert main(words) == 1
    assert "02:00:00:00:00:01 has no lease" in capsys.readouterr().err
    store.close()


@pytest.mark.parametrize(
    ("leases", "why"), [("memory", "the daemon alone knows them"), ("none.db", "there is none")]
)
def test_no_file(ini: Path, leases: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    ini.write_text(f"[bootp]\npool_start = 10.0.0.1\nleases = {leases}\n")
    assert main(["leases", "-c", str(ini)]) == 1
    assert why in capsys.readouterr().err


def test_not_a_mac(ini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["leases", "--release", "xx"])
    assert "is no MAC address" in capsys.readouterr().err


@pytest.mark.parametrize("clock", ["", "NULL", "'x'", "x'00'", "9e999"])
def test_a_clock_that_says_nothing(
    ini: Path, store: SqliteStore, clock: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its empty table was a traceback, of the daemon at its start as well."""
    store.close()
    with contextlib.closing(sqlite3.connect(ini.parent / "leases.db")) as file, file:
        file.execute("DROP TABLE clock")
        file.execute("CREATE TABLE clock (drift)")
        if clock:
            file.execute(f"INSERT INTO clock VALUES ({clock})")  # noqa: S608
    assert main(["leases", "-c", str(ini)]) == 0
    assert "10.0.0.10" in capsys.readouterr().out
    store.open()
    assert len(list(store.load_leases(0.0))) == 5
    store.close()
