"""Leases through kills, full pools, full disks, and servers that go away; real clients moved."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address as A
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Host, Network
from pybootd.leases.lease_file import read_lease_file

from .dhcp_crowd import Crowd, macs

SERVER, RELAY = A("10.7.0.1"), A("10.7.0.2")
KILLS = int(os.environ.get("PYBOOTD_KILLS", "12"))  # make endurance: 200
ROUND = 50  # kills of one daemon's leases
POOL = "pool_count = 10000\nlease_time = 5\nleases = leases.db\n"

pytestmark = pytest.mark.net


@dataclass
class Lab:
    """A server, and a host that is the relay."""

    folder: Path
    network: Network
    server: Host
    crowd: Crowd

    def daemon(self, text: str) -> DaemonProcess:
        path = self.folder / "pybootd.ini"
        path.write_text(f"[bootp]\nallow_simple_dhcp = on\npool_start = 10.7.64.0\n{text}\n")
        return DaemonProcess(self.server, path, self.folder / "log", (67,), "-p")

    def said(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def lab(network: Network, tmp_path: Path) -> Iterator[Lab]:
    lan = network.switch()
    server, relay = network.host("server"), network.host("relay")
    server.plug(lan, f"{SERVER}/16")
    relay.plug(lan, f"{RELAY}/16")
    crowd = Crowd(relay, RELAY, SERVER)
    yield Lab(tmp_path, network, server, crowd)
    crowd.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(0, KILLS, ROUND))
def test_no_lease_is_lost_by_a_kill(lab: Lab, seed: int) -> None:
    """After each restart every client that got an ACK is given its address, and nobody else is.

    Each kill comes under load; before one in four, another while the daemon starts.
    """
    chance, crowd = random.Random(seed), lab.crowd
    kills = min(ROUND, KILLS - seed)
    before: dict[bytes, A] = {}
    loaded = 0
    for kill in range(kills):
        daemon = lab.daemon("pool_count = 48000\nleases = leases.db")
        if chance.random() < 0.25:
            words = (sys.executable, "-m", "pybootd", "-p", "-c", daemon.ini)
            with lab.server.popen(*words, stderr=subprocess.DEVNULL, cwd=lab.folder) as starting:
                time.sleep(chance.uniform(0.0, 0.8))
                starting.kill()
        with daemon:
            # the file has all that were told of, and those of the round before come back
            if crowd.told:
                rows = {
                    lease.mac: lease.address for lease in read_lease_file(lab.folder / "leases.db")
                }
                assert crowd.told.items() <= rows.items()
            assert not crowd.serve(before, 20.0)
            # new ones, or some that came long ago; more than there is time for
            some = macs(5000, kill % 9)
            chance.shuffle(some)
            loaded += bool(crowd.serve(some, chance.uniform(0.05, 0.3)))
            os.kill(daemon.pid, signal.SIGKILL)
        crowd.listen()
        before = {mac: crowd.told[mac] for mac in some if mac in crowd.told}
        assert not crowd.shared()
        assert not crowd.moved
    told = len(crowd.told)
    print(f"{kills} kills, {loaded} under load: {told} clients told of an address, all kept")
    assert loaded > kills / 2


def test_ten_thousand_clients_and_one_more(lab: Lab) -> None:
    with lab.daemon(POOL):
        assert not lab.crowd.serve(macs(10_000), 90.0)
        assert not lab.crowd.shared()
        assert len(lab.crowd.told) == 10_000
        late = macs(3, 1)
        assert lab.crowd.serve(late, 2.0) == set(late)
    refused = [line for line in lab.said().splitlines() if "no free address left" in line]
    assert len(refused) == 1
    with lab.daemon(POOL + "reclaim = expired"):
        assert not lab.crowd.serve(late, 10.0)
        assert len({lab.crowd.told[mac] for mac in late}) == 3


def test_a_full_disk_confirms_nothing_until_there_is_space(lab: Lab) -> None:
    disk = lab.folder / "disk"
    disk.mkdir()
    lab.server.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)
    with lab.daemon(f"pool_count = 1000\nleases = {disk}/leases.db"):
        assert not lab.crowd.serve(macs(20), 5.0)
        lab.server.run("dd", "if=/dev/zero", f"of={disk}/fill", "bs=4k", check=False)
        unlucky = macs(500, 1)
        left = lab.crowd.serve(unlucky, 2.0)
        lab.crowd.listen()
        assert left  # the space that the file has already may do for some
        # a client that was told of a lease has it on the disk
        listed = lab.server.run(
            sys.executable, "-m", "pybootd", "leases", "-c", lab.folder / "pybootd.ini", "--json"
        )
        kept = {entry["address"] for entry in json.loads(listed.stdout)}
        assert {str(address) for address in lab.crowd.told.values()} <= kept
        assert len(re.findall("no lease is confirmed: .* full", lab.said())) == 1
        lab.server.run("rm", f"{disk}/fill")
        assert not lab.crowd.serve(unlucky, 10.0)
