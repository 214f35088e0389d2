"""Leases to be taken over from one store into another, and the command that does it."""

from ipaddress import IPv4Address as A
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.cli import main
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.sqlite import SqliteStore

ONE, TWO, THREE = (bytes((2, 0, 0, 0, 0, n)) for n in (1, 2, 3))
NOW = 1000.0
HOUR = 3600.0


def lease(
    last: int, mac: bytes, state: LeaseState = LeaseState.BOUND, left: float = HOUR, **more: object
) -> Lease:
    """Give 10.0.0.x, for an hour or since ``left`` is less, some time ago."""
    given: dict[str, object] = {"seconds": HOUR} | more
    return Lease(A("10.0.0.0") + last, mac, mac, state=state, expires=NOW + left, **given)  # type: ignore[arg-type]


def blocked(last: int, left: float = 300.0) -> Lease:
    return lease(last, b"", LeaseState.DECLINED, left, seconds=600.0)


INI = "[bootp]\npool_start = 10.0.0.1\nleases = {}\n"
KEPT = [
    lease(1, ONE, hostname="b\xf6x", booted=True, uuid=UUID(int=7)),
    lease(2, TWO, LeaseState.RELEASED, -60.0, client_id=b"\1x"),
    blocked(3, 500.0),
    lease(4, b"\4", left=FOREVER, seconds=FOREVER),
    lease(5, THREE, left=-50.0, client_id=b"\0\xff"),
    Lease(A("10.0.0.6"), b"id:y", b"", b"y", LeaseState.BOUND, NOW + HOUR, HOUR),
]


def fill(path: Path, leases: list[Lease]) -> Path:
    store = SqliteStore(path)
    store.open()
    list(store.load_leases(NOW))
    store.save_leases(leases, NOW)
    store.close()
    return path


def same(found: list[Lease], expected: list[Lease]) -> bool:
    """Compare all that a lease is; a loaded machine takes its time between two clocks."""
    for one, other in zip(found, expected, strict=True):
        assert one.expires == pytest.approx(other.expires - NOW, abs=60.0)
        one.expires, one.checked, one.stored_until, one.version = (
            other.expires,
            other.checked,
            0.0,
            0,
        )
    return found == expected


def call(ini: Path, source: object) -> int:
    return main(["leases", "-c", str(ini), "--import", str(source)])


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return what it printed after the name of the place, and its lines of errors."""
    out, err = capsys.readouterr()
    return out.rpartition(": ")[2], err
