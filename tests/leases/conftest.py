"""One PostgreSQL cluster for all tests of a process that want one; leases to be taken over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.leases.moving import INI, KEPT, fill


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    yield from postgres.running()


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    path = tmp_path / "pybootd.ini"
    path.write_text(INI.format("new.db"))
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return fill(tmp_path / "old.db", KEPT)
