"""A boot tree with the Debian installer, from Debian's package of its network-boot image.

The configurations are ours (a serial console, no menu), and the initrd leaves out firmware and
drivers that a virtual machine doesn't have, so that an emulated machine boots it in half the time.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "debian-installer-12-netboot-amd64"
IMAGE = Path("/usr/lib/debian-installer/images/12/amd64/text")
FIRST_LINE = "Starting system log daemon"  # the first that the installer itself prints
BOOT_FILES = {"bios": "pxelinux.0", "efi-x86_64": "debian-installer/amd64/bootnetx64.efi"}

_AMD64 = "debian-installer/amd64"
_KERNEL_LINE = "console=ttyS0 priority=critical"
_PXELINUX = f"""\
default install
label install
  kernel {_AMD64}/linux
  append initrd={_AMD64}/initrd.gz {_KERNEL_LINE}
"""
_GRUB = f"""\
set timeout=0
menuentry 'Install' {{
  linux /{_AMD64}/linux {_KERNEL_LINE}
  initrd /{_AMD64}/initrd.gz
}}
"""
_DRIVERS = ("/e1000/", "/virtio", "/failover", "/net_failover", "/af_packet")


def missing() -> str:
    """Say why there is no image to boot; "" when there is."""
    return "" if (IMAGE / _AMD64 / "linux").is_file() else f"not installed: {PACKAGE}"


def build(root: Path) -> None:
    """Lay the boot tree out in a folder that doesn't exist yet; takes a few seconds."""
    shutil.copytree(IMAGE, root, ignore=shutil.ignore_patterns("initrd.gz", "pxelinux.cfg"))
    (root / "pxelinux.cfg").mkdir()
    (root / "pxelinux.cfg" / "default").write_text(_PXELINUX, encoding="ascii")
    (root / _AMD64 / "grub" / "grub.cfg").write_text(_GRUB, encoding="ascii")
    archive = gzip.decompress((IMAGE / _AMD64 / "initrd.gz").read_bytes())
    with gzip.open(root / _AMD64 / "initrd.gz", "wb", compresslevel=1) as initrd:
        for member in _members(archive):
            initrd.write(member)


def _members(archive: bytes) -> Iterator[memoryview]:
    """Cut a cpio archive ("newc", see initramfs-buffer-format of Linux) into what we keep of it."""
    view, at = memoryview(archive), 0
    while archive.startswith(b"0707", at):
        size, length = int(archive[at + 54 : at + 62], 16), int(archive[at + 94 : at + 102], 16)
        name = archive[at + 110 : at + 110 + length - 1].decode()
        end = _aligned(_aligned(at + 110 + length) + size)
        if _wanted(name):
            yield view[at:end]
        at = end


def _aligned(offset: int) -> int:
    return (offset + 3) & ~3


def _wanted(name: str) -> bool:
    if "lib/firmware/" in name:
        return False
    return not name.endswith((".ko", ".ko.xz")) or any(kind in name for kind in _DRIVERS)
