"""Who started the daemon hears from it: our own socket in systemd's place."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybootd.core.loop import Loop
from pybootd.system.systemd import SystemdNotifier
from tests.core.test_startup import free_port


@pytest.fixture
def ear() -> Iterator[socket.socket]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with tempfile.TemporaryDirectory() as folder, sock:  # pytest's is too long for its name
        sock.settimeout(20)
        sock.bind(f"{folder}/notify")
        yield sock


def test_a_daemon_says_how_it_is(tmp_path: Path, ear: socket.socket) -> None:
    port = free_port()
    (tmp_path / "a").write_bytes(b"it serves")
    ini = tmp_path / "pybootd.ini"
    ini.write_text(f"[tftp]\nroot = .\naddress = 127.0.0.1\nport = {port}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "pybootd", "-t"],
        cwd=tmp_path,
        env={**os.environ, "NOTIFY_SOCKET": ear.getsockname()},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert ear.recv(999) == b"READY=1\nSTATUS=serves TFTP"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.sendto(b"\0\1a\0octet\0", ("127.0.0.1", port))
            assert client.recv(999)[4:] == b"it serves"
        process.send_signal(signal.SIGHUP)
        assert ear.recv(999).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert ear.recv(999) == b"READY=1"
        ini.write_text("[tftp]\n")
        process.send_signal(signal.SIGHUP)  # a file at fault: it goes on
        assert ear.recv(999).startswith(b"RELOADING=1\n")
        assert ear.recv(999) == b"READY=1"
        process.terminate()
        assert ear.recv(999) == b"STOPPING=1"
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_it_is_alive_twice_in_the_time_that_the_watchdog_waits(ear: socket.socket) -> None:
    time = [100.0]
    loop = Loop(clock=lambda: time[0])
    loop.open()
    given = {"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "30000000"}
    SystemdNotifier(loop, given).ready("serves")
    assert ear.recv(999) == b"READY=1\nSTATUS=serves"
    assert ear.recv(999) == b"WATCHDOG=1"
    ear.setblocking(False)
    for now, said in ((114.9, 0), (115.0, 1), (129.9, 0), (130.0, 1)):
        time[0] = now
        loop.turn()
        assert [ear.recv(999) for _ in range(said)] == [b"WATCHDOG=1"] * said
        with pytest.raises(BlockingIOError):
            ear.recv(999)
    loop.close()


def test_another_ones_watchdog_is_left_alone(ear: socket.socket) -> None:
    loop = Loop()
    loop.open()
    given = {"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}
    SystemdNotifier(loop, given).ready("serves")
    assert ear.recv(999) == b"READY=1\nSTATUS=serves"
    ear.setblocking(False)
    with pytest.raises(BlockingIOError):
        ear.recv(999)
    loop.close()


def test_an_abstract_address_and_nobody_there() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0pybootd-test-{os.getpid()}")
        sock.settimeout(5)
        supervisor = SystemdNotifier(Loop(), {"NOTIFY_SOCKET": f"@pybootd-test-{os.getpid()}"})
        supervisor.stopping()
        assert sock.recv(99) == b"STOPPING=1"
    supervisor.stopping()  # nobody hears it: no error
