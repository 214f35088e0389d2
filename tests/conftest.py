"""What several rooms' tests share: private networks, and the reason when there can be none."""

import os
from collections.abc import Iterator

import pytest

from pybootd.tools import network as private

# dhclient, dnsmasq and ip are where a user's PATH doesn't look
os.environ["PATH"] = private.PATH


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``net("dhclient", ...)`` where the network or a program is missing."""
    for mark in item.iter_markers("net"):
        if reason := private.missing(*mark.args):
            pytest.skip(reason)


@pytest.fixture
def network() -> Iterator[private.Network]:
    """Make a private network, empty; every process in it ends with the test."""
    if reason := private.missing():
        pytest.skip(reason)
    with private.Network() as made:
        yield made
