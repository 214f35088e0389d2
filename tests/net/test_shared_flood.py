"""Strangers ask two daemons, with one lease database, with ever new MACs: newcomers get in."""

import subprocess
import sys
import time

import psycopg
import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.leases.shared import admin

from .conftest import Firmware
from .test_flood import ATTACK, memory

pytestmark = pytest.mark.net
POOL = 50
INI = """\
[status]
port = 0
[bootp]
pool_start = 192.168.1.100
pool_count = {pool}
allow_simple_dhcp = on
leases = {url}
lease_copy = none
share = {share}
"""


def wait(what, patience=30.0):
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("share", ["1/1", "{number}/2"])
def test_newcomers_get_an_address_of_any_daemon(cluster, network, tmp_path, share):
    """A thousand new MACs a second for a pool of 50, of which each offer could last a minute."""
    url = cluster.create()
    admin.migrate_database(url)
    lan, client, stranger = network.switch(), network.host("client"), network.host("stranger")
    client.plug(lan)
    stranger.plug(lan, "192.168.1.66/24")
    daemons = []
    for number in (1, 2):
        host = network.host(f"server{number}")
        host.plug(lan, f"192.168.1.{number}/24")
        ini = tmp_path / f"{number}.ini"
        ini.write_text(INI.format(pool=POOL, url=url, share=share.format(number=number)))
        daemons.append(DaemonProcess(host, ini, tmp_path / f"{number}.log", (67,), "-p"))
        daemons[-1].start()
    firmware = Firmware(client)
    before = {mac: firmware.boot(mac, None, 10.0) for mac in _macs(0, 5)}
    assert None not in before.values()
    small = [memory(daemon.pid) for daemon in daemons]
    attacker = stranger.popen(
        *(sys.executable, "-c", ATTACK, "ff" * 6, "dhcp", "120", "1000"), stdout=subprocess.PIPE
    )
    assert attacker.stdout.readline() == "go\n"
    with psycopg.connect(url, autocommit=True) as file:
        count = "SELECT count(*) FROM pybootd.lease WHERE state IN ('offered', 'bound')"
        wait(lambda: file.execute(count).fetchone() == (POOL,))
        given, tries = dict(before), []
        for mac in _macs(5, 10):
            for patience in (1, 2, 4, 8, 16):  # iPXE's; UEFI repeats after 4, 8, 16 and 32 s
                ack = firmware.boot(mac, None, float(patience))
                if ack is not None and ack.options[53] == b"\5":
                    break
            assert ack is not None, f"{mac}: {tries}"
            given[mac] = ack
            tries.append(patience)
        assert attacker.poll() is None, "the flood was over before the last of them came"
        kept = {str(one.address): one.mac for one in admin.read_database(url)}
    attacker.terminate()
    attacker.communicate(timeout=10)
    firmware.socket.close()
    grown = [memory(daemon.pid) - size for daemon, size in zip(daemons, small, strict=True)]
    print(f"the last patience of each, in s: {tries}; {grown} kB more")
    # what was confirmed, before and meanwhile, was never taken back
    assert kept == {str(ack.yiaddr): bytes.fromhex(mac.replace(":", ""))
                    for mac, ack in given.items()}  # fmt: skip
    assert max(grown) < 40_000
    for number, daemon in enumerate(daemons, 1):
        assert daemon.stop() == 0
        said = (tmp_path / f"{number}.log").read_text()
        assert "Traceback" not in said
        assert "no agreement" not in said


def _macs(first, end):
    return [f"52:54:00:00:02:{number:02x}" for number in range(first, end)]
