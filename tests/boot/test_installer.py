"""Real firmware boots the Debian installer's network image from our daemon."""

import pytest

from pybootd.lab import debian_installer
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.machine import Machine

from .verdicts import faults

pytestmark = [pytest.mark.boot, pytest.mark.timeout(420)]

INI = """\
[bootp]
pool_start = 10.7.0.100
leases = memory
[bootfile]
bios = {bios}
efi-x86_64 = {efi}
[tftp]
root = {root}
"""


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_firmware_boots_the_installer(firmware, installer_tree, server, lan, tmp_path):
    ini = tmp_path / "pybootd.ini"
    bios, efi = debian_installer.BOOT_FILES["bios"], debian_installer.BOOT_FILES["efi-x86_64"]
    ini.write_text(INI.format(bios=bios, efi=efi, root=installer_tree))
    with (
        DaemonProcess(server, ini, tmp_path / "daemon.log") as daemon,
        Machine(firmware, lan, tmp_path / firmware) as machine,
    ):
        machine.wait_for_line("Linux version", timeout=200)
        machine.wait_for_line(debian_installer.FIRST_LINE, timeout=200)
        assert faults(server, machine.mac) == []
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.console.path.read_text()
