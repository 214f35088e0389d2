"""One PostgreSQL cluster for all tests of a process that want one."""

from collections.abc import Iterator

import pytest

from tests import postgres


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.Cluster() as made:
        yield made
