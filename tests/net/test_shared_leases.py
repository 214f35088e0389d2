"""Several daemons, one truth about addresses, while daemons die and the database comes and goes."""

import contextlib
import json
import sys
import time
from collections import Counter
from uuid import UUID

import pytest

from pybootd.dhcp4.wire.packet import MessageType
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.leases.shared import admin

from .conftest import Firmware
from .shared_crowd import turn
from .shared_files import NAME
from .shared_site import SERVERS, Site

pytestmark = pytest.mark.net


@pytest.fixture
def running():
    with contextlib.ExitStack() as stack:
        yield stack


def test_a_daemon_dies_and_the_database_goes_and_comes_back(cluster, tmp_path, follow):
    with Site(cluster, tmp_path, 300, wait=0.5, boots=10) as site:
        assert site.storm(outage=3.0, patience=60.0), site.table()
        assert site.faults() == []  # every file that one in ten fetches is whole, too
        # nobody was offered two addresses, nor refused what it was offered
        assert [(crowd.differed, crowd.refused) for crowd in site.crowds] == [(0, 0)] * 2
        for number in {0, 1, 2} - {site.killed}:
            log = follow(tmp_path / f"{number}.log")
            assert "0 in conflict" in log.line_of("is back after")
            said = log.path.read_text()
            assert said.count("clients known here keep their addresses, new ones wait") == 1


def test_a_byte_that_differs_is_a_fault_of_the_storm(cluster, tmp_path):
    with Site(cluster, tmp_path, 2, wait=0.5, boots=1, size=100_000) as site:
        path = tmp_path / "files" / NAME  # the clients have read it, the daemons have not
        data = bytearray(path.read_bytes())
        data[70_000] ^= 1
        path.write_bytes(data)
        for crowd in site.crowds:
            crowd.start(crowd.clients.values())
        everyone = [*site.crowds, site.files]
        assert turn(everyone, 60.0, lambda: any(one.ended for one in site.files.all))
        assert any("file: wrong" in fault for fault in site.faults())
        assert site.files.having == set()


def test_each_answers_its_share_and_the_rest_when_nobody_does(cluster, tmp_path):
    with Site(cluster, tmp_path, 90, wait=0.5, more="share = {number}/3") as site:
        for crowd in site.crowds:
            crowd.start(crowd.clients.values())
        assert turn(site.crowds, 60.0, lambda: site.acked() == 90)
        offers = Counter(len(client.offers) for client in site.clients)
        assert offers[1] > 45  # where the machine is busy, others come in after 4 s
        site.daemons[0].stop()
        for crowd in site.crowds:
            crowd.heard.clear()
            crowd.start(crowd.clients.values())
        assert turn(site.crowds, 60.0)
        heard = sum((crowd.heard for crowd in site.crowds), Counter())
        assert {server for _, server, kind in heard if kind == MessageType.ACK} == set(SERVERS[1:])
        assert site.faults() == []


def test_each_daemon_shows_all_of_them(cluster, network, tmp_path):
    url = cluster.create()
    admin.migrate_database(url)
    lan, hosts, client = network.switch(), [], network.host("client")
    client.plug(lan)
    daemons = []
    for number in (1, 2):
        host = network.host(f"server{number}")
        host.plug(lan, f"192.168.1.{number}/24")
        ini = tmp_path / f"{number}.ini"
        ini.write_text(
            f"[bootp]\npool_start = 192.168.1.100\nleases = {url}\nlease_copy = none\n"
            f"share = {number}/2\n[bootfile]\ndefault = boot.0\n"
        )
        daemon = DaemonProcess(host, ini, tmp_path / f"{number}.log", (67,), "-p")
        daemon.start()
        daemons.append(daemon)
        hosts.append(host)

    def status(number, *words):
        ini = tmp_path / f"{number}.ini"
        return (
            hosts[number - 1]
            .run(sys.executable, "-m", "pybootd", "status", "-c", ini, *words)
            .stdout
        )

    firmware = Firmware(client)
    macs = [f"52:54:00:00:00:{n:02x}" for n in range(8)]
    for mac in macs:
        assert firmware.boot(mac, UUID(int=7)) is not None
    firmware.socket.close()
    # each saw its share of them, hears of the rest from the database, and shows all alike
    deadline = time.monotonic() + 60
    while True:
        own = [json.loads(status(number, "--json"))["clients"] for number in (1, 2)]
        shown = [status(number) for number in (1, 2)]
        known = all(len(rows) == len(macs) for rows in own)
        if known and all(mac in text for mac in macs for text in shown):
            break
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
    seers = [{row["mac"]: row["daemon"].split()[-1] for row in rows} for rows in own]
    assert seers[0] == seers[1]
    assert set(seers[0]) == set(macs)
    assert set(seers[0].values()) == {"192.168.1.1", "192.168.1.2"}
    for text in shown:
        assert "192.168.1.1" in text
        assert "192.168.1.2" in text
        assert text.count("(this one)") == 1
    for daemon in daemons:
        assert daemon.stop() == 0


def test_all_of_them_probe_an_address_and_offer_it(cluster, network, tmp_path, running):
    """On one wire, where each asks by ARP whether the address is in use."""
    url = cluster.create()
    admin.migrate_database(url)
    lan, client, taken = network.switch(), network.host("client"), network.host("taken")
    client.plug(lan)
    # each may look at another address first, so who is in the way is there before them
    others = ("192.168.1.101", "192.168.1.102")
    taken.plug(lan, *(f"{address}/24" for address in others))
    daemons = []
    for number in (1, 2, 3):
        host = network.host(f"server{number}")
        host.plug(lan, f"192.168.1.{number}/24")
        ini = tmp_path / f"{number}.ini"
        ini.write_text(
            f"[status]\nport = 0\n[bootp]\npool_start = 192.168.1.100\npool_count = 3\n"
            f"allow_simple_dhcp = on\nleases = {url}\nlease_copy = none\n"
        )
        daemons.append(DaemonProcess(host, ini, tmp_path / f"{number}.log", (67,), "-p"))
        running.enter_context(daemons[-1])
    firmware = Firmware(client)
    running.callback(firmware.socket.close)
    first = firmware.boot("52:54:00:00:00:01")
    assert first is not None
    assert str(first.yiaddr) == "192.168.1.100"
    assert firmware.boot("52:54:00:00:00:02", patience=3.0) is None
    for daemon in daemons:
        assert daemon.stop() == 0
    kept = {str(one.address): one.state.value for one in admin.read_database(url)}
    assert kept == {"192.168.1.100": "bound"} | dict.fromkeys(others, "declined")


def test_leases_of_a_file_go_on_in_a_database_and_back(cluster, lan, firmware, tmp_path):
    host, ini = lan[0], tmp_path / "pybootd.ini"

    def leases(*words):
        return host.run(sys.executable, "-m", "pybootd", "leases", "-c", ini, *words).stdout

    def configure(where):
        ini.write_text(
            f"[bootp]\npool_start = 192.168.1.100\npool_count = 90\nallow_simple_dhcp = on\n"
            f"leases = {where}\nlease_copy = none\nconflict_check = off\n"
        )

    def serve(macs, source=None):
        """Ask as machines do that know of no address, and note which they get."""
        with DaemonProcess(host, ini, tmp_path / "log", (67,), "-p"):
            if source is not None:
                assert ": 3 leases taken over, 0 were" in leases("--import", source)
            acks = {mac: firmware.boot(mac) for mac in macs}
        return {mac: ack.yiaddr for mac, ack in acks.items()}

    macs = [f"52:54:00:00:00:{number:02x}" for number in range(3)]
    configure("old.db")
    told = serve(macs)
    url = cluster.create()
    configure(url)
    leases("--migrate")
    newcomer = "52:54:00:00:01:00"
    told |= serve([newcomer])
    # the daemon runs, and hears of them
    assert serve(macs, tmp_path / "old.db") == {mac: told[mac] for mac in macs}
    configure("new.db")
    assert ": 4 leases taken over, 0 were" in leases("--import", url)
    assert serve(reversed(told)) == told
