"""Sockets that another program has bound, handed over as sd_listen_fds(3) says."""

import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pybootd.system import systemd

# becomes the daemon with these descriptors as 3, 4, ... and says that they are for it
PARENT = """
import os, sys
given = [os.dup(int(number)) for number in sys.argv[1].split(",")]
high = [os.dup2(number, 100 + at) for at, number in enumerate(given)]
for at, number in enumerate(high):
    os.dup2(number, 3 + at, inheritable=True)
os.environ["LISTEN_FDS"], os.environ["LISTEN_FDNAMES"] = str(len(high)), sys.argv[2]
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "pybootd", *sys.argv[3:]])
"""


def udp(address: str = "127.0.0.1", family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    return sock


@contextmanager
def running(folder: Path, ini: str, files: list[int], names: str) -> Iterator[Path]:
    (folder / "pybootd.ini").write_text(ini)
    (folder / "a").write_bytes(b"it serves")
    with (folder / "log").open("w") as log:
        numbers = ",".join(map(str, files))
        words = [sys.executable, "-c", PARENT, numbers, names, "-t"]
        process = subprocess.Popen(words, cwd=folder, pass_fds=files, stderr=log)
        try:
            yield folder / "log"
            process.terminate()
            assert process.wait(20) == 0, (folder / "log").read_text()
        finally:
            process.kill()
            process.wait()


def test_a_daemon_serves_by_the_sockets_that_it_is_given(tmp_path: Path) -> None:
    """It could bind none of them: we hold the ports. What came before its start is answered."""
    with ExitStack() as held:
        tftp, client = held.enter_context(udp()), held.enter_context(udp())
        later = held.enter_context(udp())
        status = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        unwanted, six = held.enter_context(udp()), held.enter_context(udp("::1", socket.AF_INET6))
        plain = held.enter_context(tempfile.TemporaryFile())
        client.settimeout(30)
        client.sendto(b"\0\1a\0octet\0", tftp.getsockname())
        port = status.getsockname()[1]
        ini = (
            f"[tftp]\nroot = .\naddress = 127.0.0.1\nport = {tftp.getsockname()[1]}\n"
            f"[status]\nport = {port}\n"
        )
        files = [each.fileno() for each in (unwanted, six, plain, status, tftp)]
        with running(tmp_path, ini, files, "spare:six:plain:web:tftp") as log:
            assert client.recv(999)[4:] == b"it serves"
            later.settimeout(30)
            later.sendto(b"\0\1a\0octet\0", tftp.getsockname())
            assert later.recv(999)[4:] == b"it serves"
            answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)
            assert answer.status == 200
            said = log.read_text()
        where = f"udp port {unwanted.getsockname()[1]} on 127.0.0.1"
    assert f"descriptor 3 (spare): {where} was handed to us, but nothing listens there" in said
    assert "descriptor 4 (six): was handed to us, but is no IPv4 socket" in said
    assert "descriptor 5 (plain) was handed to us, but is no socket" in said
    assert said.count("handed to us") == 3


def test_what_is_meant_for_another_process_is_left_alone() -> None:
    with udp() as sock:
        environment = {"LISTEN_PID": "1", "LISTEN_FDS": "999", "OTHER": "stays"}
        assert systemd.inherit_sockets(environment) == []
        assert environment == {"OTHER": "stays"}
        assert (
            systemd.take_socket(socket.SOCK_DGRAM, IPv4Address("0.0.0.0"), sock.getsockname()[1])
            is None
        )


@pytest.fixture
def given() -> Iterator[dict[str, socket.socket]]:
    made = {"any": udp("0.0.0.0"), "own": udp("127.0.0.2")}
    systemd._handed.update({sock: name for name, sock in made.items()})
    yield made
    systemd.leave()
    for sock in made.values():
        sock.close()


@pytest.mark.parametrize(
    ("name", "address", "taken"),
    [
        ("any", "0.0.0.0", True),
        ("own", "0.0.0.0", True),
        ("own", "127.0.0.2", True),
        ("own", "127.0.0.1", False),
        ("any", "127.0.0.1", False),  # it would serve addresses that nobody asked for
    ],
)
def test_a_socket_is_taken_where_its_address_will_do(
    given: dict[str, socket.socket], name: str, address: str, taken: bool
) -> None:
    port = given[name].getsockname()[1]
    assert systemd.take_socket(socket.SOCK_STREAM, IPv4Address(address), port) is None
    assert systemd.take_socket(socket.SOCK_DGRAM, IPv4Address(address), port, "eth7") is None
    found = systemd.take_socket(socket.SOCK_DGRAM, IPv4Address(address), port)
    assert (found is given[name]) is taken
    assert systemd.take_socket(socket.SOCK_DGRAM, IPv4Address(address), port) is None or not taken


@pytest.mark.skipif(os.geteuid() != 0, reason="only root binds to a device on every system")
def test_a_socket_of_one_interface_is_that_interfaces(given: dict[str, socket.socket]) -> None:
    sock, any_address = given["any"], IPv4Address("0.0.0.0")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    port = sock.getsockname()[1]
    assert systemd.take_socket(socket.SOCK_DGRAM, any_address, port, "eth7") is None
    assert systemd.take_socket(socket.SOCK_DGRAM, any_address, port, "lo") is sock
