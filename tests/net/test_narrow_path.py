"""A path that is narrower than its MTU is known to be, and that tells nobody so."""

import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Host, Network, missing

SERVER, ROUTER, BEYOND, CLIENT = "10.7.0.1", "10.7.0.9", "10.8.0.9", "10.8.0.2"
SIZE = 300_000
DONT_FRAGMENT = 0x4000

pytestmark = pytest.mark.net("tftp", "atftp", "curl", "nft")


@dataclass
class Path1400:
    """Server and client, and a router between them whose way to the client takes 1,400 octets."""

    folder: Path
    server: Host
    client: Host


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path1400]:
    if reason := missing("tftp", "atftp", "curl", "nft"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("narrow")
    (folder / "root").mkdir()
    (folder / "root" / "file").write_bytes(random.Random(3).randbytes(SIZE))
    with Network() as network:
        near, far = network.switch("near"), network.switch("far")
        server, router, client = (network.host(name) for name in ("server", "router", "client"))
        server.plug(near, f"{SERVER}/24")
        router.plug(near, f"{ROUTER}/24")
        router.plug(far, f"{BEYOND}/24", mtu=1400)
        client.plug(far, f"{CLIENT}/24")
        server.ip("route", "add", "10.8.0.0/24", "via", ROUTER)
        client.ip("route", "add", "10.7.0.0/24", "via", BEYOND)
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for host in (server, router):
            host.run("nft", "add", "table", "ip", "quiet")
            hook = "{ type filter hook output priority 0; }"
            host.run("nft", "add", "chain", "ip", "quiet", "out", hook)
            host.run("nft", "add", "rule", "ip", "quiet", "out", "ip", "protocol", "icmp", "drop")
        yield Path1400(folder, server, client)


def flags_seen(frames: socket.socket) -> list[int]:
    """Return the flags and fragment offset of all IPv4 packets from the server's UDP."""
    found = []
    while True:
        try:
            packet = frames.recv(2048)
        except BlockingIOError:
            return found
        if packet[9] == socket.IPPROTO_UDP and packet[12:16] == socket.inet_aton(SERVER):
            found.append(struct.unpack_from("!H", packet, 6)[0])


@pytest.mark.parametrize(
    "command",
    [
        ["curl", "-sS", "--tftp-blksize", "1468", "-o", "{into}", f"tftp://{SERVER}/file"],
        [
            *("atftp", "--option", "blksize 1468", "--option", "windowsize 16"),
            *("--get", "-r", "file", "-l", "{into}", SERVER),
        ],
        ["tftp", "-m", "octet", SERVER, "-c", "get", "nothing", "{into}"],
    ],
    ids=["curl", "a window, by one system call", "an error"],
)
def test_no_datagram_forbids_fragments(lab: Path1400, command: list[str], tmp_path: Path) -> None:
    ini, log, into = lab.folder / "pybootd.ini", tmp_path / "log", tmp_path / "got"
    ini.write_text("[tftp]\nroot = ./root\n")
    with lab.server.inside():
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
    with frames, DaemonProcess(lab.server, ini, log, (69,), "-t"):
        frames.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        frames.setblocking(False)
        words = [word.format(into=into) for word in command]
        lab.client.run(*words, timeout=60, check="nothing" not in words)
        if "nothing" not in words:
            assert into.read_bytes() == (lab.folder / "root" / "file").read_bytes()
        seen = flags_seen(frames)
    assert seen
    assert not [flags for flags in seen if flags & DONT_FRAGMENT]
