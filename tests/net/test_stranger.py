"""A stranger takes what it can of each bounded thing; a machine boots in less than twice its time.

The stranger is a host on the same wire with one address. Each case is one thing that all share. The
machine's time is the best of several boots, before the stranger begins and while it goes on.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.firmware import Firmware

from .stranger import SERVER, STRANGERS

pytestmark = pytest.mark.net()

SCRIPT = Path(__file__).with_name("stranger.py")
BOOTS = 4
SLACK_S = 0.25  # what else two processors do while a boot of half a second goes on
INI = """
[bootp]
pool_start = 192.168.1.100
pool_count = 100
boot_file = loader.efi
[tftp]
root = {root}
upload = {upload}
[httpd]
enable = on
"""


@contextlib.contextmanager
def acting(host, thing: str) -> Iterator[None]:
    """Let the stranger act on its host until the block ends."""
    process = host.popen(sys.executable, SCRIPT, thing, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "begun\n"
        yield
    finally:
        process.kill()
        process.communicate()


def boot(firmware: Firmware) -> float:
    """Boot once: address, loader, its configuration, kernel, initrd; return the seconds."""
    firmware.host.ip("address", "flush", "dev", firmware.interface)
    began = time.monotonic()
    lease = firmware.obtain_lease()
    for name in ("loader.efi", "loader.cfg", "linux", "initrd"):
        firmware.fetch_file(lease.tftp_server, name, blksize=1428, windowsize=8)
    return time.monotonic() - began


def best(firmware: Firmware) -> float:
    return min(boot(firmware) for _ in range(BOOTS))


@pytest.mark.parametrize("thing", STRANGERS)
def test_a_machine_boots_while_a_stranger_takes_what_it_can(network, switch, tmp_path, thing):
    server, client, other = (network.host(name) for name in ("server", "client", "stranger"))
    server.plug(switch, f"{SERVER}/24")
    server.ip("link", "set", "lo", "up")
    other.plug(switch, "192.168.1.250/24")
    mac, uuid = "52:54:00:12:34:56", UUID("12345678-abcd-ef00-1111-abcdefabcdef")
    machine = Firmware(client, client.plug(switch, mac=mac), mac, uuid, patience=10.0)
    root, upload = tmp_path / "root", tmp_path / "upload"
    for folder in (root, upload):
        folder.mkdir()
    for name, size in (("loader.efi", 900_000), ("loader.cfg", 50), ("linux", 8_000_000)):
        (root / name).write_bytes(os.urandom(size))
    (root / "initrd").write_bytes(os.urandom(20_000_000))
    (root / "heavy.cfg.j2").write_text("{% for a in range(200) %}{{ a }} {{ mac }}\n{% endfor %}")
    ini, log = tmp_path / "pybootd.ini", tmp_path / "log"
    ini.write_text(INI.format(root=root, upload=upload))
    with DaemonProcess(server, ini, log, (67, 69)):
        alone = best(machine)
        with acting(other, thing):
            beside = best(machine)
    print(f"{thing}: {alone:.3f} s alone, {beside:.3f} s beside the stranger")
    assert beside < 2 * alone + SLACK_S
    assert "Traceback" not in log.read_text()
