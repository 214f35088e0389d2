"""A PC boots the Debian installer as the README's sample has it: every file comes from a mirror."""

import re
import sys
import zlib
from pathlib import Path

import pytest

from pybootd.lab import debian_installer
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.machine import Machine

from ..net import crowd

TOP = Path(__file__).parents[2]
INITRD = "debian-installer/amd64/initrd.gz"

pytestmark = [pytest.mark.boot, pytest.mark.timeout(420)]


def sample(pool_start: str, mirror: str) -> str:
    """Return the README's sample with its first address and its mirror's changed, nothing else."""
    texts = re.split(r"\n(?=\S)", (TOP / "README.rst").read_text())
    found = [
        text.partition("\n\n")[2] for text in texts if "\n    root = http://deb.debian" in text
    ]
    assert len(found) == 1
    changed = found[0].replace("192.168.1.100", pool_start).replace("deb.debian.org", mirror)
    assert pool_start in changed
    assert mirror in changed
    return "\n".join(line.removeprefix("    ") for line in changed.splitlines())


def test_the_readme_sample_boots_debian_from_a_mirror(network, lan, server, tmp_path, capsys):
    mirror, crowded = network.host("mirror"), network.host("crowd")
    wan = network.switch("wan")
    server.plug(wan, "10.8.0.1/24")
    mirror.plug(wan, "10.8.0.2/24")
    crowded.plug(lan, "10.7.0.2/24")
    ini = tmp_path / "daemon" / "pybootd.ini"
    ini.parent.mkdir()
    ini.write_text(sample("10.7.0.100", "10.8.0.2"))
    site = tmp_path / "site"
    path = re.search(r"root = http://10.8.0.2/(\S+)", ini.read_text())[1]
    (site / path).parent.mkdir(parents=True)
    (site / path).symlink_to(debian_installer.find_image())
    script = TOP / "tests" / "files" / "origin.py"
    mirror.popen(sys.executable, script, site, "--port", "80")
    with (
        DaemonProcess(server, ini, tmp_path / "daemon.log") as daemon,
        Machine("bios", lan, tmp_path / "bios") as machine,
    ):
        machine.wait_for_line("Linux version", timeout=200)
        initrd = (debian_installer.find_image() / INITRD).read_bytes()
        clients = crowd.fetch(
            crowded, "10.7.0.1", [INITRD] * 50, blksize=1468, windowsize=16, limit=150
        )
        machine.wait_for_line(debian_installer.FIRST_LINE, timeout=200)
        peak = crowd.peak_memory(daemon.pid)
        assert daemon.stop() == 0
    assert not [client.error for client in clients if client.error]
    assert {(client.octets, client.sum) for client in clients} == {
        (len(initrd), zlib.crc32(initrd))
    }
    said = daemon.console.path.read_text()
    assert "Traceback" not in said
    assert [path.name for path in ini.parent.rglob("*")] == ["pybootd.ini"]
    with capsys.disabled():
        print(
            f"\nDebian from a mirror: {peak:.1f} MB at the most, 50 clients of "
            f"{len(initrd) / 1e6:.0f} MB at once beside the boot"
        )
    assert peak < 100
