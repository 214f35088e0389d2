"""A lease database that may be stopped."""

from collections.abc import Iterator

import pytest

from tests.postgres import Cluster, running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from running()
