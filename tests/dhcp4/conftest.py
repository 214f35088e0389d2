"""One PostgreSQL cluster for all tests of a process that want one."""

from collections.abc import Iterator

import pytest

from tests import postgres


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    yield from postgres.running()
