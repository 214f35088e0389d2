"""Interfaces that come, go or change their address while the daemon runs."""

import time

import pytest

from pybootd.lab.daemon_process import DaemonProcess

INI = """\
[bootp]
allow_simple_dhcp = on
leases = memory
conflict_check = off
pool_start = 10.7.0.100
{only}
[subnet 10.8.0.0/24]
pool_start = 10.8.0.100
[subnet 10.9.0.0/24]
pool_start = 10.9.0.100
"""


def address(client, patience=20.0):
    """Ask until there is an answer; the address."""
    deadline = time.monotonic() + patience
    while True:
        ask = ("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "1", "-T", "1", "-s", "/bin/true")
        said = client.run(*ask, check=False).stderr
        words = [line for line in said.splitlines() if "lease of" in line and "obtained" in line]
        if words or time.monotonic() > deadline:
            return words[-1].split()[3] if words else ""


@pytest.mark.net("udhcpc")
@pytest.mark.parametrize("only", ["", "interface = eth0, eth1"])
def test_interfaces_are_followed(network, tmp_path, only):
    near, far = network.switch("near"), network.switch("far")
    server, client, other = (network.host(name) for name in ("server", "client", "other"))
    server.plug(near, "10.7.0.1/24")
    if only:
        server.plug(far, "10.8.0.1/24")
    client.plug(near)
    other.plug(far)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(INI.format(only=only))
    with DaemonProcess(server, ini, tmp_path / "log", (67,), "-p", "-d") as daemon:
        assert address(client) == "10.7.0.100"
        if not only:
            server.plug(far, "10.8.0.1/24")
        assert address(other) == "10.8.0.100"
        server.ip("address", "add", "10.9.0.1/24", "dev", "eth1")
        server.ip("address", "del", "10.8.0.1/24", "dev", "eth1")
        time.sleep(0.4)
        assert address(other) == "10.9.0.100"
        server.ip("link", "del", "eth1")
        assert address(client) == "10.7.0.100"
        again = server.plug(far, "10.8.0.1/24")
        server.ip("link", "set", "dev", again, "down")
        server.ip("link", "set", "dev", again, "name", "eth1", "up")
        server.ip("address", "replace", "10.8.0.1/24", "broadcast", "+", "dev", "eth1")
        assert address(other) == "10.8.0.100"
        assert daemon.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()
