"""U-Boot gets an address and a file."""

import subprocess
import time
import zlib
from pathlib import Path

import pytest

from pybootd.lab.console import Console
from pybootd.lab.daemon_process import DaemonProcess

from .verdicts import faults

UBOOT = Path("/usr/lib/u-boot/qemu_arm/u-boot.bin")
INI = """\
[bootp]
pool_start = 10.7.0.100
leases = memory
[bootfile]
default = pxelinux.0
uboot-arm32 = boards/u.img
[tftp]
root = ./root
"""
# one line: what is typed while it waits for the network is lost
COMMANDS = "setenv autoload no; dhcp; tftpboot 0x40400000 ${bootfile}; crc32 0x40400000 ${filesize}"


def wait_for(console, text, patience=60.0):
    deadline = time.monotonic() + patience
    while not any(text in line for line in console.seen):
        shown = "\n".join(console.seen)
        assert time.monotonic() < deadline, f"no {text!r} in\n{shown}"
        time.sleep(0.05)
        list(console.read_lines())


@pytest.mark.boot
@pytest.mark.net("qemu-system-arm")
@pytest.mark.skipif(not UBOOT.exists(), reason=f"not installed: {UBOOT} (package u-boot-qemu)")
def test_u_boot_gets_an_address_and_a_file(server, lan, tmp_path):
    image = bytes(range(256)) * 4096
    (tmp_path / "root" / "boards").mkdir(parents=True)
    (tmp_path / "root" / "boards" / "u.img").write_bytes(image)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(INI)
    card = "virtio-net-device,netdev=n0,mac=52:54:00:00:00:09"
    board = ["qemu-system-arm", "-machine", "virt", "-m", "256", "-nographic", "-bios", UBOOT]
    cable = ["-netdev", f"tap,id=n0,ifname={lan.tap()},script=no,downscript=no", "-device", card]
    console = Console(tmp_path / "console.log")
    with (
        DaemonProcess(server, ini, tmp_path / "log", (67, 69)) as daemon,
        console.path.open("w") as said,
        lan.popen(*board, *cable, stdin=subprocess.PIPE, stdout=said, stderr=said) as uboot,
    ):
        began = time.monotonic()
        try:
            wait_for(console, "Net:")
            uboot.stdin.write(f"\n\n{COMMANDS}\n")  # the first stops the autoboot
            uboot.stdin.flush()
            wait_for(console, "DHCP client bound to address 10.7.0.100")
            wait_for(console, "Filename 'boards/u.img'")
            wait_for(console, f"==> {zlib.crc32(image):08x}")
            print(f"U-Boot has its file after {time.monotonic() - began:.1f} s")
            assert faults(server, "52:54:00:00:00:09") == []
        finally:
            uboot.kill()
        assert daemon.stop() == 0
    assert (
        "52:54:00:00:00:09 boots uboot-arm32: 10.7.0.100, boards/u.img"
        in (tmp_path / "log").read_text()
    )
