"""Templates on real firmware: an iPXE script over HTTP; GRUB's configuration, Secure Boot on."""

import shutil

import pytest

from pybootd.lab import debian_installer
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.machine import Machine

from .verdicts import faults

pytestmark = [pytest.mark.boot, pytest.mark.timeout(540)]

BIOS, UEFI = "52:54:00:12:34:01", "52:54:00:12:34:02"
INI = """\
[bootp]
pool_start = 10.7.0.100
leases = memory
[bootfile]
ipxe = http://10.7.0.1/boot.ipxe
efi-x86_64 = vendor/debian/bootnetx64.efi
[tftp]
root = ./root
[httpd]
enable = on
[client 52-54-00-12-34-02]
note = secured
"""
SCRIPT = """\
#!ipxe
kernel linux initrd=initrd.gz console=ttyS0 {% include "words" %}
initrd initrd.gz
boot
"""
GRUB = """\
linux /linux console=ttyS0 priority=critical {% include "words" %} note={{ note }}
initrd /initrd.gz
boot
"""
WORDS = 'mac={{ mac|replace("-", ":") }} arch={{ arch }}'


def test_templates_boot_bios_over_http_and_secure_boot_over_tftp(
    installer_tree, server, lan, tmp_path
):
    tree, root = installer_tree / "debian-installer/amd64", tmp_path / "root"
    # GRUB's own prefix is /debian-installer/amd64/grub, where nothing is
    folder = root / "vendor/debian"
    (folder / "grub").mkdir(parents=True)
    for name in ("bootnetx64.efi", "grubx64.efi"):
        shutil.copy(tree / name, folder)
    for name in ("linux", "initrd.gz"):
        shutil.copy(tree / name, root)
    (root / "boot.ipxe.j2").write_text(SCRIPT)
    (folder / "grub/grub.cfg.j2").write_text(GRUB)
    (root / "words").write_text(WORDS)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(INI)
    with (
        DaemonProcess(server, ini, tmp_path / "daemon.log") as daemon,
        Machine("bios", lan, tmp_path / "bios", BIOS) as bios,
        Machine("uefi-secure", lan, tmp_path / "uefi", UEFI) as uefi,
    ):
        seconds = bios.wait_for_line(f"mac={BIOS} arch=bios", timeout=240)
        print(f"BIOS, iPXE, HTTP: to the kernel's command line: {seconds:.1f} s")
        assert faults(server, BIOS) == []
        bios.close()
        uefi.wait_for_line(f"mac={UEFI} arch=efi-x86_64 note=secured", timeout=240)
        uefi.wait_for_line("secureboot: Secure boot enabled", timeout=60)
        seconds = uefi.wait_for_line(debian_installer.FIRST_LINE, timeout=200)
        print(f"Secure Boot to the installer's first line: {seconds:.1f} s")
        assert faults(server, UEFI) == []
        assert daemon.stop() == 0
    said = daemon.console.path.read_text()
    assert "Traceback" not in said
    assert "boot.ipxe (boot.ipxe.j2): done" in said
    assert "(vendor/debian/grub/grub.cfg.j2): done" in said
