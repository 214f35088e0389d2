"""A boot tree with the Debian installer, from Debian's package of its network-boot image.

The configurations are ours (a serial console, no menu), and the initrd leaves out firmware and
drivers that a virtual machine doesn't have, so that an emulated machine boots it in half the time.
"""

from __future__ import annotations

import gzip
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

IMAGES = Path("/usr/lib/debian-installer/images")  # a folder for each version of Debian
_NEWEST = "13"  # where the system is not Debian, or has no number yet
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


def find_image() -> Path:
    """Return the folder of the newest network-boot image; where there is none, of our version's."""
    found = [path for path in IMAGES.glob("*/amd64/text") if (path / _AMD64 / "linux").is_file()]
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    return newest or IMAGES / debian_version() / "amd64" / "text"


def debian_version() -> str:
    """Return the number of this system's Debian release; of another system's, the newest one."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    return system.get("VERSION_ID", _NEWEST) if system.get("ID") == "debian" else _NEWEST


def name_package() -> str:
    """Return the Debian package that has the image for this release."""
    return f"debian-installer-{debian_version()}-netboot-amd64"


def missing() -> str:
    """Say why there is no image to boot; "" when there is."""
    installed = (find_image() / _AMD64 / "linux").is_file()
    return "" if installed else f"not installed: {name_package()}"


def build(root: Path) -> None:
    """Lay the boot tree out in a folder that doesn't exist yet; takes a few seconds."""
    image = find_image()
    shutil.copytree(image, root, ignore=shutil.ignore_patterns("initrd.gz", "pxelinux.cfg"))
    (root / "pxelinux.cfg").mkdir()
    (root / "pxelinux.cfg" / "default").write_text(_PXELINUX, encoding="ascii")
    (root / _AMD64 / "grub" / "grub.cfg").write_text(_GRUB, encoding="ascii")
    archive = gzip.decompress((image / _AMD64 / "initrd.gz").read_bytes())
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
