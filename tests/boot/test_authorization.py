"""Real firmware, allowed and refused by the demonstration server, and who is told."""

import socket
import sys
import time
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.machine import Machine

from ..net.frames import Capture, delivered

DEMO = Path(__file__).parents[1] / "httptestd.py"
LISTED = "12345678-abcd-ef00-1111-abcdefabcdef"  # as tests/config.ini has it
UNLISTED = "12345678-abcd-ef00-1111-111111111111"
INI = """
[bootp]
pool_start = 10.7.0.100
access = http
notify = 127.0.0.1:4000; 127.0.0.1:4001
[http]
location = 127.0.0.1:13400
pxe = /boot
dhcp = /linux
[tftp]
root = ./files
"""


def wait_for(path, text, patience=60.0):
    """Wait for the file's line that holds the text, and return it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for line in path.read_text().splitlines():
            if text in line:
                return line
        time.sleep(0.05)
    pytest.fail(f"no {text!r} in\n{path.read_text()}")


@pytest.fixture
def listeners(server):
    server.ip("link", "set", "lo", "up")
    made = []
    for port in (4000, 4001):
        with server.inside():
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made[-1].bind(("127.0.0.1", port))
        made[-1].settimeout(60)
    yield made
    for listener in made:
        listener.close()


@pytest.mark.boot
def test_a_listed_machine_boots_and_another_gets_no_answer(lan, server, listeners, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "pxelinux.0").write_bytes(bytes(30000))
    ini, log, asked = (tmp_path / name for name in ("pybootd.ini", "log", "asked"))
    ini.write_text(INI)
    capture = Capture(server)
    with (
        asked.open("w") as output,
        DaemonProcess(server, ini, log),
        Machine("bios", lan, tmp_path / "one", "52:54:00:00:00:01", LISTED) as one,
        Machine("bios", lan, tmp_path / "two", "52:54:00:00:00:02", UNLISTED),
    ):
        server.popen(sys.executable, DEMO, stdout=output, stderr=output)
        told = [listener.recv(1000).decode() for listener in listeners]
        address = told[0].split(",")[-1]
        assert told == [f"BOOT,{LISTED},52:54:00:00:00:01,{address}"] * 2
        wait_for(log, f"{address} pxelinux.0")
        refused = wait_for(log, "52:54:00:00:00:02")
        assert refused.endswith("refused by http://127.0.0.1:13400/boot (401)")
        wait_for(asked, f"/boot?mac=52-54-00-00-00-01&uuid={LISTED}")
        wait_for(asked, f"/boot?mac=52-54-00-00-00-02&uuid={UNLISTED}")
        assert one.is_running()
        lines = [line for line in log.read_text().splitlines() if "52:54:00:00:00:02" in line]
        assert all("refused by" in line for line in lines)
    assert delivered(capture.read(), one.mac) == {"unicast"}  # it is iPXE's ROM
    capture.socket.close()
