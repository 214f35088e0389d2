"""The network that real firmware boots in: our daemon, a switch, the installer's boot tree."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pybootd.lab import debian_installer, machine
from pybootd.lab.network import Host, Network, Switch


@pytest.fixture(scope="session")
def installer_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay the Debian installer's boot tree out, once for each test process."""
    root = tmp_path_factory.mktemp("installer") / "root"
    debian_installer.build(root)
    return root


@pytest.fixture
def lan(network: Network) -> Iterator[Switch]:
    """Make the switch that the machines are plugged into."""
    switch = network.switch()
    with machine.advertise_router(switch):
        yield switch


@pytest.fixture
def server(network: Network, lan: Switch) -> Host:
    """Make the host that the daemon runs on."""
    host = network.host("server")
    host.plug(lan, "10.7.0.1/24")
    return host
