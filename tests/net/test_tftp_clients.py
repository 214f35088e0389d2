"""Real TFTP clients fetch files of awkward sizes from the real daemon, byte for byte."""

import random
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Host, Network, missing
from pybootd.tftp.wire.packet import Ack, Rrq, encode

from . import crowd

SERVER, OTHER = "10.7.0.1", "10.7.0.3"
SMALL = (0, 1, 511, 512, 513)
MB = 1_000_000

pytestmark = pytest.mark.net("tftp", "atftp", "curl", "busybox")


@dataclass
class Lab:
    """Two servers and a client on one switch, and the folder that is served."""

    folder: Path
    server: Host
    other: Host
    client: Host

    @contextmanager
    def serving(self, host: Host, *options: str) -> Iterator[DaemonProcess]:
        ini, log = (self.folder / f"{host.name}.{kind}" for kind in ("ini", "log"))
        ini.write_text("\n".join(("[tftp]", "root = ./root", *options, "")))
        with DaemonProcess(host, ini, log, (69,), "-t") as daemon:
            yield daemon
            assert daemon.stop() == 0
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if reason := missing("tftp", "atftp", "curl", "busybox"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("tftp")
    (folder / "root").mkdir()
    rng = random.Random(1)
    for size in (*SMALL, 10 * MB, 40 * MB):
        (folder / "root" / str(size)).write_bytes(rng.randbytes(size))
    with Network() as network:
        switch = network.switch()
        server, other, client = (network.host(name) for name in ("server", "other", "client"))
        server.plug(switch, f"{SERVER}/24")
        other.plug(switch, f"{OTHER}/24")
        client.plug(switch, "10.7.0.2/24")
        yield Lab(folder, server, other, client)


@pytest.fixture(scope="module")
def serving(lab: Lab) -> Iterator[DaemonProcess]:
    with lab.serving(lab.server) as daemon:
        yield daemon


def command(client: str, name: str, into: Path) -> list[str]:
    """Write the command line of a client with its options (``client`` holds them, by commas)."""
    program, *options = client.split(",")
    match program:
        case "tftp-hpa":
            return ["tftp", "-m", "octet", SERVER, "-c", "get", name, str(into)]
        case "atftp":
            asked = [word for option in options for word in ("--option", option)]
            return ["atftp", *asked, "--get", "-r", name, "-l", str(into), SERVER]
        case "busybox":
            return ["busybox", "tftp", *options, "-g", "-r", name, "-l", str(into), SERVER]
        case _:
            return ["curl", "-sS", *options, "-o", str(into), f"tftp://{SERVER}/{name}"]


CLIENTS = (
    "tftp-hpa",
    "atftp",
    "atftp,blksize 1428",
    "atftp,tsize 0,blksize 1000,windowsize 8",
    "curl",
    "curl,--tftp-blksize,1468",
    "busybox",
    "busybox,-b,1400",
)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("serving")
def test_small_files_and_10_mb(lab: Lab, client: str, tmp_path: Path) -> None:
    into = tmp_path / "got"
    for size in (*SMALL, 10 * MB):
        into.unlink(missing_ok=True)
        lab.client.run(*command(client, str(size), into), timeout=60)
        got = into.read_bytes() if into.exists() else b""
        assert got == (lab.folder / "root" / str(size)).read_bytes(), size


@pytest.mark.parametrize("client", ["tftp-hpa", "curl", "atftp,windowsize 16"])
@pytest.mark.usefixtures("serving")
def test_40_mb_in_blocks_of_512(lab: Lab, client: str, tmp_path: Path) -> None:
    """78,126 blocks: their numbers wrap."""
    into = tmp_path / "got"
    lab.client.run(*command(client, str(40 * MB), into), timeout=100)
    assert into.read_bytes() == (lab.folder / "root" / str(40 * MB)).read_bytes()


@pytest.mark.usefixtures("serving")
def test_a_client_gets_what_fits_ethernet(lab: Lab) -> None:
    with lab.client.inside():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(5)
        for asked, granted in ((65464, b"1468"), (1400, b"1400")):
            client.sendto(encode(Rrq("512", "octet", (("blksize", str(asked)),))), (SERVER, 69))
            assert client.recv(600) == b"\0\6blksize\0" + granted + b"\0"


def test_blocks_in_fragments_where_they_are_wanted(lab: Lab, tmp_path: Path) -> None:
    into = tmp_path / "got"
    wanted = command("atftp,blksize 8192,windowsize 8", str(10 * MB), into)
    with lab.serving(lab.other, "fragments = on"):
        for _ in range(2):
            lab.client.run(*wanted[:-1], OTHER, timeout=60)
            assert into.read_bytes() == (lab.folder / "root" / str(10 * MB)).read_bytes()
            into.unlink()
    assert "10000000 octets" in (lab.folder / "other.log").read_text()


@pytest.mark.parametrize("offload", ["on", "off"])
@pytest.mark.timeout(180)
def test_a_hundred_clients_at_once_and_a_dead_one_delays_none(lab: Lab, offload: str) -> None:
    content = (lab.folder / "root" / str(10 * MB)).read_bytes()
    with lab.serving(lab.other, f"offload = {offload}") as daemon:
        with lab.client.inside():
            dead = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with dead:
            options = (("blksize", "1428"), ("windowsize", "64"))
            dead.settimeout(5)
            dead.sendto(encode(Rrq(str(10 * MB), "octet", options)), (OTHER, 69))
            dead.sendto(encode(Ack(0)), dead.recvfrom(600)[1])
            names = [str(10 * MB)] * 100
            clients = crowd.fetch(lab.client, OTHER, names, blksize=1428, windowsize=8, limit=120)
        peak = memory(daemon.pid)
    assert not [client.error for client in clients if client.error]
    assert {(client.octets, client.sum) for client in clients} == {
        (len(content), zlib.crc32(content))
    }
    assert peak < 80


def memory(pid: int) -> float:
    """Return the most memory that a process ever had resident, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(pid)
