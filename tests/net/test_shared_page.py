"""The pages of two daemons with one lease database, in a real browser: each shows what both saw."""

import contextlib
import http.client
import json
import shlex
import socket
import time
from uuid import UUID

import pytest

from pybootd.core.mac import parse_mac
from pybootd.dhcp4.cluster.load_balance import hash_client
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.leases.shared import admin
from tests.postgres import Cluster, missing
from tests.status.browser import browser, keep, page

from .conftest import Firmware

pytestmark = pytest.mark.net
INI = """\
[bootp]
pool_start = 192.168.1.100
leases = {url}
lease_copy = none
share = {number}/2
[bootfile]
default = boot.0
[tftp]
root = .
"""


@pytest.fixture
def running():
    with contextlib.ExitStack() as stack:
        yield stack


def test_both_pages_show_the_machines_of_both(network, tmp_path, running):
    if reason := missing():
        pytest.skip(reason)
    url = running.enter_context(Cluster()).create()
    admin.migrate_database(url)
    lan, client, hosts = network.switch(), network.host("client"), []
    client.plug(lan)
    for number in (1, 2):
        host = network.host(f"server{number}")
        host.plug(lan, f"192.168.1.{number}/24")
        ini = tmp_path / f"{number}.ini"
        ini.write_text(INI.format(url=url, number=number))
        running.enter_context(DaemonProcess(host, ini, tmp_path / f"{number}.log", (67, 69)))
        hosts.append(host)
    firmware = Firmware(client)
    running.callback(firmware.socket.close)
    seers = {}  # by MAC the address of the daemon in whose share it is
    for number in range(99):
        mac = f"52:54:00:00:00:{number:02x}"
        address = f"192.168.1.{1 if hash_client(parse_mac(mac)) < 128 else 2}"
        if list(seers.values()).count(address) < 2:
            ack = firmware.boot(mac, UUID(int=number))
            assert ack is not None
            assert str(ack.siaddr) == address
            seers[mac] = address
            if address == "192.168.1.1":
                last, leased = mac, ack.yiaddr
    # the other daemon, too, knows whose lease it is that asks there for a file
    wait_for_leases(hosts[1], 4)
    client.ip("address", "add", f"{leased}/24", "dev", "eth0")
    ask_for_nothing(client, "192.168.1.2")
    seers[last] = "192.168.1.2"
    with chromium_on(hosts[0], tmp_path) as shown:
        look(shown, seers, this="192.168.1.1")
        row = shown.locator("tr.machine", has_text=last)
        row.get_by_text("file not found").wait_for()
        keep(shown, "two-daemons")
    with chromium_on(hosts[1], tmp_path) as shown:
        look(shown, seers, this="192.168.1.2")


def look(shown, seers, this):
    """See each machine once, with who saw it, and the daemons."""
    daemons = shown.locator("#site tbody tr")
    daemons.nth(1).wait_for()
    for mac, address in seers.items():
        row = shown.locator("tr.machine", has_text=mac)
        row.locator(".seer", has_text=address).wait_for()
    assert (shown.locator("tr.machine").count(), daemons.count()) == (4, 2)
    for address in ("192.168.1.1", "192.168.1.2"):
        said = daemons.filter(has_text=address).inner_text()
        assert (f"{address} (this one)" in said) == (address == this)


def wait_for_leases(host, count):
    """Wait until the daemon on the host knows so many leases, whichever daemon gave them."""
    deadline = time.monotonic() + 30
    while True:
        with host.inside():
            asked = http.client.HTTPConnection("127.0.0.1", 8067, timeout=10)
            asked.request("GET", "/api/leases")
            leases = json.loads(asked.getresponse().read())["leases"]
            asked.close()
        if len(leases) == count:
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ask_for_nothing(client, server):
    """Ask for a file that isn't there, until that is said."""
    with client.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.0)
        for _ in range(20):
            sock.sendto(b"\0\1boot.0\0octet\0", (server, 69))
            with contextlib.suppress(TimeoutError):
                assert sock.recv(600)[:4] == b"\0\5\0\1"
                return
    raise AssertionError("no answer")


@contextlib.contextmanager
def chromium_on(host, folder):
    program = folder / f"chromium-{host.name}"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(host.command("chromium"))} "$@"\n')
    program.chmod(0o755)
    with browser(str(program)) as made, page(made, "http://127.0.0.1:8067/") as shown:
        shown.set_default_timeout(60_000)
        yield shown
