"""A server and a client on one switch, the real daemon, and a client's firmware to be played."""

import contextlib
import socket
import time

import pytest

from pybootd.core.mac import parse_mac
from pybootd.dhcp4.wire.packet import BROADCAST_FLAG, MessageType, Packet, decode, encode
from pybootd.lab.daemon_process import DaemonProcess
from tests import postgres

from .lab import CLIENT, MIRROR, SERVER, Lab


class Firmware:
    """A client of the network, played on one host: many MACs, one socket."""

    def __init__(self, host):
        with host.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
        self.socket.bind(("0.0.0.0", 68))
        self.xid = 0x5000

    def send(self, mac, kind, uuid=None, flags=BROADCAST_FLAG, **options):
        self.xid += 1
        packet = Packet(xid=self.xid, flags=flags, chaddr=parse_mac(mac))
        packet.options[53] = bytes((kind,))
        packet.options[55] = bytes((1, 3, 6, 12, 15, 51, 54, 66, 67))
        if uuid:
            packet.options[60] = b"PXEClient:Arch:00000:UNDI:002001"
            packet.options[93] = bytes(2)
            packet.options[97] = b"\0" + uuid.bytes_le
        packet.options |= {int(code[1:]): value for code, value in options.items()}
        self.socket.sendto(encode(packet), ("255.255.255.255", 67))
        return self.xid

    def receive(self, xid, patience):
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                answer = decode(self.socket.recv(2000))
                if answer.xid == xid:
                    return answer
        return None

    def boot(self, mac, uuid=None, patience=15.0, wanted=None):
        """Do the exchange of four messages; return the ACK, or None when there is no answer.

        ``wanted``: the address that is asked for.
        """
        before = {"o50": wanted.packed} if wanted else {}
        offer = self.receive(self.send(mac, MessageType.DISCOVER, uuid, **before), patience)
        if offer is None:
            return None
        wanted = {"o50": offer.yiaddr.packed, "o54": offer.options[54]}
        return self.receive(self.send(mac, MessageType.REQUEST, uuid, **wanted), patience)


class Log:
    """A file that grows."""

    def __init__(self, path):
        self.path = path

    def line_of(self, text, patience=20.0):
        """Wait for the last line that holds the text."""
        deadline = time.monotonic() + patience
        while True:
            written = self.path.read_text() if self.path.exists() else ""
            lines = [line for line in written.splitlines() if text in line]
            if lines or time.monotonic() > deadline:
                assert lines, f"no {text!r} in\n{written}"
                return lines[-1]
            time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster():
    """Make a lease database's server that may be stopped."""
    yield from postgres.running()


@pytest.fixture
def follow():
    """Follow a file that another program writes."""
    return Log


@pytest.fixture
def switch(network):
    return network.switch()


@pytest.fixture
def lan(network, switch):
    """Make a server and a client on one switch."""
    server, client = network.host("server"), network.host("client")
    server.plug(switch, "192.168.1.1/24")
    server.ip("link", "set", "lo", "up")
    client.plug(switch, mac="52:54:00:12:34:56")
    return server, client


@pytest.fixture
def firmware(lan):
    played = Firmware(lan[1])
    yield played
    played.socket.close()


@pytest.fixture
def daemon(lan, tmp_path):
    """Start the daemon with a configuration; it ends with the test."""
    with contextlib.ExitStack() as running:

        def start(text, ports=(67, 69)):
            files = tmp_path / "files"
            files.mkdir(exist_ok=True)
            (files / "pxelinux.0").write_bytes(b"boot me" * 300)
            ini = tmp_path / "pybootd.ini"
            ini.write_text(text)
            log = tmp_path / "log"
            running.enter_context(DaemonProcess(lan[0], ini, log, ports))
            return Log(log)

        yield start


@pytest.fixture
def lab(network, tmp_path):
    """Make a server between a client and a web server."""
    lan, wan = network.switch(), network.switch("wan")
    server, client, mirror = (network.host(name) for name in ("server", "client", "mirror"))
    server.plug(lan, f"{SERVER}/24", mtu=9000)
    server.plug(wan, "10.8.0.1/24")
    client.plug(lan, f"{CLIENT}/24", mtu=9000)
    mirror.plug(wan, f"{MIRROR}/24")
    (tmp_path / "root").mkdir()
    return Lab(tmp_path, server, client, mirror)
