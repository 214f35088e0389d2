"""Real firmware boots beside a DHCP server that knows nothing of booting."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.machine import Machine

from .verdicts import faults

pytestmark = [pytest.mark.boot, pytest.mark.timeout(420)]

IPXE = Path("/usr/lib/ipxe/snponly.efi")
# under a proxy Debian's GRUB asks the DHCP server for its files, so UEFI goes on with iPXE
INI = """\
[bootp]
mode = proxy
[bootfile]
bios = pxelinux.0
efi-x86_64 = snponly.efi
http-efi-x86_64 = snponly.efi
[class second]
match user_class = iPXE
match architecture = efi-*
boot_file = boot.ipxe
[tftp]
root = ./root
[httpd]
enable = on
"""
SCRIPT = """\
#!ipxe
kernel tftp://10.7.0.1/linux console=ttyS0
boot
"""
PXELINUX = "default go\nlabel go\n  kernel linux\n  append console=ttyS0\n"
MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03")
DHCPD = """\
authoritative;
subnet 10.7.0.0 netmask 255.255.255.0 { range 10.7.0.50 10.7.0.60; }
"""


def dnsmasq(folder):
    options = ["--dhcp-range=10.7.0.50,10.7.0.60", "--leasefile-ro", "--interface=eth0"]
    return [
        "dnsmasq",
        "-d",
        "--log-facility=-",
        "--port=0",
        "--user=root",
        "--bind-interfaces",
        *options,
    ]


def dhcpd(folder):
    conf, leases = folder / "dhcpd.conf", folder / "dhcpd.leases"
    conf.write_text(DHCPD)
    leases.touch()
    return ["dhcpd", "-4", "-d", "-cf", conf, "-lf", leases, "-pf", folder / "pid", "eth0"]


@pytest.mark.net("dnsmasq", "dhcpd")
@pytest.mark.skipif(not IPXE.exists(), reason=f"not installed: {IPXE} (package ipxe)")
@pytest.mark.parametrize(
    ("other", "kinds"), [(dnsmasq, ("bios", "uefi", "uefi-http")), (dhcpd, ("bios", "uefi"))]
)
def test_firmware_boots_beside(other, kinds, installer_tree, network, server, lan, tmp_path):
    root = tmp_path / "root"
    (root / "pxelinux.cfg").mkdir(parents=True)
    shutil.copy(IPXE, root)
    for name in ("linux", "pxelinux.0", "boot-screens/ldlinux.c32"):
        shutil.copy(installer_tree / "debian-installer/amd64" / name, root)
    (root / "boot.ipxe").write_text(SCRIPT)
    (root / "pxelinux.cfg" / "default").write_text(PXELINUX)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(INI)
    router = network.host("router")
    router.plug(lan, "10.7.0.2/24")
    with (tmp_path / "other.log").open("w") as log, ExitStack() as running:
        router.popen(*other(tmp_path), stdout=log, stderr=log)
        daemon = running.enter_context(
            DaemonProcess(server, ini, tmp_path / "daemon.log", (67, 69, 4011), "-d")
        )
        machines = [
            running.enter_context(Machine(firmware, lan, tmp_path / firmware, mac=mac))
            for firmware, mac in zip(kinds, MACS, strict=False)
        ]
        for machine in machines:
            seconds = machine.wait_for_line("Linux version", timeout=200)
            print(f"{machine.firmware} beside {other.__name__}: {seconds:.1f} s to Linux")
            assert faults(server, machine.mac) == []
        assert daemon.stop() == 0
    said = (tmp_path / "daemon.log").read_text()
    assert "Traceback" not in said
    for words in ("01 boots bios (iPXE)", "02 boots efi-x86_64", "02 boots efi-x86_64 (iPXE)"):
        assert f"52:54:00:00:00:{words}: 10.7.0.5" in said
    assert ("http://10.7.0.1/snponly.efi" in said) == ("uefi-http" in kinds)
    assert "offered 10." not in said
