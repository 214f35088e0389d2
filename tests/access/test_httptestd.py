"""The server that demonstrates authorization, run as a person runs it."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.access.http import HttpAccess
from pybootd.core.client import Client

SCRIPT = Path(__file__).parents[1] / "httptestd.py"
NODE = UUID("12345678-abcd-ef00-1111-abcdefabcdef")
NAMELESS = UUID("12345678-abcd-ef00-1111-123412341234")
DISABLED = UUID("12345678-abcd-ef00-1111-000000000000")
MAC = bytes.fromhex("525400123456")


@pytest.fixture
def demo():
    """Start it; give the access list that asks it, and the process."""
    command = [sys.executable, str(SCRIPT), "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        location = re.match(r"http://(127\.0\.0\.1:\d+)/boot and /linux", first)[1]
        yield HttpAccess(location, "boot", "linux"), process
        process.kill()


def test_listed_machines_boot_and_others_do_not(demo):
    access, process = demo
    firmware = Client(MAC, uuid=NODE, network_boot=True)
    verdict = access.check(firmware).call()
    assert (verdict.allow, verdict.hostname, verdict.file) == (True, "node1", "pxelinux.0")
    verdict = access.check(Client(MAC, uuid=NODE)).call()
    assert (verdict.allow, verdict.hostname, verdict.file) == (True, "node1", "")
    for uuid, allow in ((NAMELESS, True), (DISABLED, False), (UUID(int=1), False), (None, False)):
        verdict = access.check(Client(MAC, uuid=uuid, network_boot=True)).call()
        assert (verdict.allow, verdict.hostname) == (allow, "")

    process.send_signal(signal.SIGINT)
    asked, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert asked.splitlines() == [
        f"/boot?mac=52-54-00-12-34-56&uuid={NODE} -> 200 OK (client: node1, file: pxelinux.0)",
        f"/linux?mac=52-54-00-12-34-56&uuid={NODE} -> 200 OK (client: node1)",
        f"/boot?mac=52-54-00-12-34-56&uuid={NAMELESS} -> 200 OK",
        f"/boot?mac=52-54-00-12-34-56&uuid={DISABLED} -> 401 Unauthorized",
        f"/boot?mac=52-54-00-12-34-56&uuid={UUID(int=1)} -> 401 Unauthorized",
        "/boot?mac=52-54-00-12-34-56 -> 401 Unauthorized",
    ]


def test_any_other_path_is_no_question(demo):
    access, _ = demo
    elsewhere = HttpAccess(
        access.make_question_url(Client(b"")).partition("/linux")[0], "else", "where"
    )
    assert elsewhere.check(Client(MAC)).call().reason.endswith("answered 404")
