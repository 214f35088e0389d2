"""UEFI HTTP Boot from our HTTP server: iPXE, its script from a template, the installer."""

import re
import shutil
from pathlib import Path

import pytest

from pybootd.lab import debian_installer
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.machine import Machine

from ..net.frames import Capture, delivered
from .verdicts import faults

pytestmark = [pytest.mark.boot, pytest.mark.timeout(420)]

IPXE = Path("/usr/lib/ipxe/snponly.efi")
INI = """\
[bootp]
pool_start = 10.7.0.100
leases = memory
[bootfile]
http-efi-x86_64 = http://10.7.0.1/snponly.efi
ipxe = http://10.7.0.1/boot.ipxe
[tftp]
root = ./root
[httpd]
enable = on
check_ip = on
"""
SCRIPT = """\
#!ipxe
kernel linux initrd=initrd.gz console=ttyS0 priority=critical mac={{ mac|replace("-", ":") }}
initrd initrd.gz
boot
"""


@pytest.mark.skipif(not IPXE.exists(), reason=f"not installed: {IPXE} (package ipxe)")
def test_http_boot_to_the_installer(installer_tree, server, lan, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(IPXE, root)
    (root / "boot.ipxe.j2").write_text(SCRIPT)
    for name in ("linux", "initrd.gz"):
        shutil.copy(installer_tree / "debian-installer/amd64" / name, root)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(INI)
    capture = Capture(server)
    with (
        DaemonProcess(server, ini, tmp_path / "daemon.log") as daemon,
        Machine("uefi-http", lan, tmp_path / "machine") as machine,
    ):
        machine.wait_for_line("mac=52:54:00:12:34:56", timeout=200)
        seconds = machine.wait_for_line(debian_installer.FIRST_LINE, timeout=200)
        print(f"HTTP Boot to the installer's first line: {seconds:.1f} s")
        assert faults(server, machine.mac) == []
        assert daemon.stop() == 0
    # each as it was asked for: OVMF sets the broadcast flag; snponly.efi of Debian 13 does, too,
    # that of Debian 12 doesn't
    assert "broadcast" in delivered(capture.read(), machine.mac)
    capture.socket.close()
    said = daemon.console.path.read_text()
    assert "Traceback" not in said
    for name in ("snponly.efi", r"boot.ipxe \(boot.ipxe.j2\)", "linux", "initrd.gz"):
        assert re.search(rf"http 10\.7\.0\.100 {name}: done", said), said
