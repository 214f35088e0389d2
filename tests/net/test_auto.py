"""mode = auto: a DHCP server comes and goes beside us, and clients keep booting."""

import socket
import threading
import time
from collections import defaultdict
from ipaddress import IPv4Address as A
from uuid import UUID

import pytest

from pybootd.dhcp4.proxy.detect import LATER_VERDICT_S, LISTEN_S
from pybootd.dhcp4.wire.packet import MessageType, decode
from pybootd.lab.daemon_process import DaemonProcess

from .conftest import Firmware, Log

INI = """\
[bootp]
mode = auto
leases = memory
pool_start = 192.168.1.100
pool_count = 200
boot_file = pxelinux.0
"""
MACHINE = UUID("00112233-4455-6677-8899-aabbccddeeff")
DNSMASQ = (
    *(
        "dnsmasq",
        "-d",
        "--log-facility=-",
        "--port=0",
        "--user=root",
        "--bind-interfaces",
        "--interface=eth0",
    ),
    *("--leasefile-ro", "--no-ping", "--dhcp-range=192.168.1.50,192.168.1.90"),
)
OURS = "192.168.1.1"


class Boots(threading.Thread):
    """Machines that are switched on one after the other."""

    def __init__(self, firmware):
        super().__init__()
        self.firmware = firmware
        self.booted = []
        self.ended = threading.Event()

    def run(self):
        number = 0
        while not self.ended.wait(0.5):
            number += 1
            mac = f"52:54:00:00:00:{number:02x}"
            offer = self.answer(mac, MessageType.DISCOVER)
            if offer is None:
                continue
            wanted = {"o50": offer.yiaddr.packed, "o54": offer.options[54]}
            ack = self.answer(mac, MessageType.REQUEST, **wanted)
            if ack is not None and ack.options[53] == bytes((MessageType.ACK,)):
                self.booted.append((time.monotonic(), str(A(ack.options[54]))))

    def answer(self, mac, kind, **options):
        """Ask three times, as a ROM does, for an answer with an address, or a NAK."""
        for _ in range(3):
            xid = self.firmware.send(mac, kind, MACHINE, **options)
            self.firmware.xid -= 1
            while (found := self.firmware.receive(xid, 4.0)) is not None:
                if int(found.yiaddr) or found.options[53] == bytes((MessageType.NAK,)):
                    self.firmware.xid += 1
                    return found
        self.firmware.xid += 1
        return None


class Wire:
    """Every offer of an address that the clients' wire has seen: when, for which client, whose."""

    def __init__(self, host):
        with host.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
        self.socket.bind(("eth0", 0x800))
        self.offers = defaultdict(dict)
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        self.socket.settimeout(0.2)
        while self.socket.fileno() >= 0:
            try:
                data = self.socket.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                return
            if data[23] != 17 or data[36:38] != b"\0\x44":
                continue
            packet = decode(data[42:])
            if packet.options[53] == bytes((MessageType.OFFER,)) and int(packet.yiaddr):
                server = str(A(packet.options[54]))
                self.offers[packet.chaddr, packet.xid][server] = time.monotonic()

    def close(self):
        self.socket.close()
        self.thread.join()


@pytest.mark.net("dnsmasq")
@pytest.mark.timeout(180)
def test_another_server_comes_and_goes_three_times(network, tmp_path):
    switch = network.switch()
    server, client, router = (network.host(name) for name in ("server", "client", "router"))
    server.plug(switch, f"{OURS}/24")
    client.plug(switch)
    router.plug(switch, "192.168.1.2/24")
    firmware, wire = Firmware(client), Wire(client)
    boots = Boots(firmware)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(INI)
    with DaemonProcess(server, ini, tmp_path / "log", (67, 4011), "-p", "-d") as daemon:
        log = Log(tmp_path / "log")
        log.line_of("eth0: no other DHCP server: mode dhcp", 20)
        boots.start()
        try:
            came = [come_and_go(router, log, boots) for _ in range(3)]
        finally:
            boots.ended.set()
            boots.join()
        assert daemon.stop() == 0
    wire.close()
    firmware.socket.close()
    ours = [offers[OURS] for offers in wire.offers.values() if OURS in offers]
    both = [offers for offers in wire.offers.values() if len(offers) > 1]
    print(f"{len(boots.booted)} boots, {len(both)} of them with two offers")
    # but for the time of one probe nothing is offered while it is there
    for began, ended in came:
        assert not [when for when in ours if began + LATER_VERDICT_S < when < ended]
    assert "Traceback" not in (tmp_path / "log").read_text()


def come_and_go(router, log, boots):
    """Start dnsmasq, see us step back, stop it, see us take over; when it came and went."""
    said = len(log.path.read_text())
    with log.path.with_name("dnsmasq.log").open("w") as errors:
        other = router.popen(*DNSMASQ, stderr=errors)
    wait_until(lambda: 67 in router.udp_ports(), 20)
    came = time.monotonic()
    wait_for(log, said, "the DHCP server 192.168.1.2 answers: mode proxy", 20)
    stepped_back = time.monotonic()
    wait_until(lambda: boots.booted and boots.booted[-1][1] != OURS, 30)
    said = len(log.path.read_text())
    other.terminate()
    other.wait()
    gone = time.monotonic()
    wait_for(log, said, "no other DHCP server: mode dhcp", LATER_VERDICT_S + LISTEN_S + 15)
    wait_until(lambda: boots.booted[-1][1] == OURS, 30)
    # what was offered before it came is confirmed, and nothing else
    late = [
        when for when, whose in boots.booted if stepped_back + 4 < when < gone and whose == OURS
    ]
    assert not late
    return came, gone


def wait_until(what, patience):
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def wait_for(log, since, text, patience):
    """Wait for a text that is written behind octet ``since``."""
    deadline = time.monotonic() + patience
    while text not in log.path.read_text()[since:]:
        assert time.monotonic() < deadline, f"no {text!r} in\n{log.path.read_text()[since:]}"
        time.sleep(0.05)
