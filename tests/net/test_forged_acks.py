"""A forger that knows the port of a transfer and acknowledges in the name of a silent host."""

import json
import socket
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pybootd.dhcp4.wire.ethernet import encode_datagram
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Host, Network, missing
from pybootd.tftp.proof import MIN_OCTETS
from pybootd.tftp.wire.packet import Ack, Rrq, encode

SERVER, VICTIM, FORGER = (IPv4Address(f"10.7.0.{last}") for last in (1, 2, 3))
PORT = 20_000
ASKED = (("blksize", "1468"), ("windowsize", "64"))

pytestmark = pytest.mark.net("nft", "curl")


def received(host: Host) -> int:
    """Return the octets that came to its interface."""
    (link,) = json.loads(host.ip("-s", "-j", "link", "show", "dev", "eth0"))
    return int(link["stats64"]["rx"]["bytes"])


def forge(raw: socket.socket, data: bytes, port: int) -> int:
    packet = encode_datagram(data, VICTIM, SERVER, 2070, port)
    raw.sendto(packet, (str(SERVER), 0))
    return len(packet)


@pytest.mark.parametrize("acks", [1_000, 20_000])
def test_what_a_silent_host_is_sent_through_one_port_is_bounded(tmp_path: Path, acks: int) -> None:
    if reason := missing("nft", "curl"):
        pytest.skip(reason)
    (tmp_path / "root").mkdir()
    content = bytes(64 << 20)
    (tmp_path / "root" / "file").write_bytes(content)
    (tmp_path / "root" / "small").write_bytes(content[:100_000])
    ini, log = tmp_path / "pybootd.ini", tmp_path / "log"
    ini.write_text(f"[tftp]\nroot = ./root\nport_range = {PORT}-{PORT}\n")
    with Network() as network:
        switch = network.switch()
        server, victim, forger = (network.host(name) for name in ("server", "victim", "forger"))
        for host, address in ((server, SERVER), (victim, VICTIM), (forger, FORGER)):
            host.plug(switch, f"{address}/24")
        victim.run("nft", "add", "table", "ip", "deaf")
        hook = "{ type filter hook input priority 0; policy drop; }"
        victim.run("nft", "add", "chain", "ip", "deaf", "in", hook)
        with DaemonProcess(server, ini, log, (69,), "-t"):
            before = received(victim)
            with forger.inside():
                raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            with raw:
                sent = forge(raw, encode(Rrq("file", "octet", ASKED)), 69)
                time.sleep(0.3)
                for number in range(acks):
                    sent += forge(raw, encode(Ack(number & 0xFFFF)), PORT)
                    if number % 20 == 19:
                        time.sleep(0.002)
            time.sleep(1.0)
            got = received(victim) - before
            assert 10_000 < got < MIN_OCTETS * 1.1
            assert got < 60 * sent
            # a client that is there is served meanwhile, through the same port
            words = ("curl", "-sS", "--max-time", "20", f"tftp://{SERVER}/small")
            assert len(forger.run(*words).stdout) == 100_000
