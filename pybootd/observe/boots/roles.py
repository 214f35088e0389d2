"""What a boot file is, by its first octets, and what a requested file is for, by its name."""

from __future__ import annotations

import functools
import re
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from pybootd.core.architecture import ARCHITECTURES


class FileRole(Enum):
    """What a file is to a boot."""

    BOOT_FILE = "boot-file"
    LOADER = "loader"
    CONFIGURATION = "configuration"
    KERNEL = "kernel"
    INITRD = "initrd"
    OTHER = "file"


# how boot loaders and distributions call their files; the first that fits decides
_NAMES = (
    (FileRole.OTHER, r"(^|/)(revocations|shim_certificate)[^/]*\.efi$"),  # shim does well without
    (
        FileRole.CONFIGURATION,
        r"(^|/)(pxelinux|extlinux)\.cfg/|grub[^/]*\.cfg|\.(cfg|conf|ipxe|ini|menu|yaml|xml)(-[^/]*)?$"
        r"|/bcd$|config\.txt$",
    ),
    (FileRole.INITRD, r"initr(d|amfs)|\.cpio|rootfs|squashfs|\.(wim|iso|img)$|filesystem"),
    (
        FileRole.KERNEL,
        r"(^|/)(vmlinu[xz]|bzimage|linux|kernel|image|zimage|uimage|wimboot|xen|mboot|tboot)"
        r"[^/]*(?<!\.c32)(?<!\.mod)$",
    ),
    (FileRole.LOADER, r"\.(efi|c32|0|kpxe|kkpxe|pxe|mod|lst|sdi|bin|com|n12)$|bootmgr"),
)
_KNOWN = tuple((role, re.compile(pattern, re.IGNORECASE)) for role, pattern in _NAMES)


@functools.lru_cache(256)
def guess_role(name: str, boot_file: str = "") -> FileRole:
    """Guess what a file is for; ``boot_file`` is the one that the client was told to fetch."""
    plain = plain_name(name)
    if boot_file and plain == plain_name(boot_file):
        return FileRole.BOOT_FILE
    for role, pattern in _KNOWN:
        if pattern.search(plain):
            return role
    return FileRole.OTHER


def plain_name(name: str) -> str:
    """Write a requested name, or the path of a URL, as a path below a root."""
    scheme, found, rest = name.partition("://")
    if found and scheme.lower() in ("http", "https", "tftp"):
        name = rest.partition("/")[2]
    return name.replace("\\", "/").lstrip("/")


class Program(NamedTuple):
    """What a boot file holds: for people, and the architectures (option 93) that can run it."""

    text: str
    architectures: frozenset[int]


def _codes(*ends: str) -> frozenset[int]:
    return frozenset(code for code, name in ARCHITECTURES.items() if name.endswith(ends))


_BIOS = frozenset((0, 20))
# PE/COFF "Machine Types"
_PE = MappingProxyType(
    {
        0x014C: Program("a UEFI program for 32-bit x86", _codes("efi-ia32")),
        0x8664: Program("a UEFI program for x86-64", _codes("efi-x86_64", "efi-ebc")),
        0x01C0: Program("a UEFI program for 32-bit ARM", _codes("arm32")),
        0x01C2: Program("a UEFI program for 32-bit ARM", _codes("arm32")),
        0x01C4: Program("a UEFI program for 32-bit ARM", _codes("arm32")),
        0xAA64: Program("a UEFI program for 64-bit ARM", _codes("arm64")),
        0x5032: Program("a UEFI program for 32-bit RISC-V", _codes("riscv32")),
        0x5064: Program("a UEFI program for 64-bit RISC-V", _codes("riscv64")),
        0x6232: Program("a UEFI program for 32-bit LoongArch", _codes("loongarch32")),
        0x6264: Program("a UEFI program for 64-bit LoongArch", _codes("loongarch64")),
        0x0200: Program("a UEFI program for Itanium", _codes("itanium")),
    }
)
# ELF e_machine
_ELF = MappingProxyType(
    {
        3: Program("an ELF program for 32-bit x86", _BIOS),
        62: Program("an ELF program for x86-64", _BIOS | _codes("x86_64")),
        20: Program("an ELF program for PowerPC", frozenset((12, 13, 14))),
        21: Program("an ELF program for 64-bit PowerPC", frozenset((12, 13, 14))),
        40: Program("an ELF program for 32-bit ARM", _codes("arm32")),
        183: Program("an ELF program for 64-bit ARM", _codes("arm64")),
        243: Program("an ELF program for RISC-V", _codes("riscv32", "riscv64")),
    }
)


def examine(head: bytes) -> Program | None:
    """Read a PE or ELF header out of a file's first octets (1,024 are enough); None: neither.

    A Linux kernel with an EFI stub is both a PE file and a BIOS kernel: None, too.
    """
    if head[:4] == b"\x7fELF" and len(head) >= 20:
        order = "big" if head[5] == 2 else "little"
        return _ELF.get(int.from_bytes(head[18:20], order))  # type: ignore[arg-type]
    if head[:2] != b"MZ" or head[0x202:0x206] == b"HdrS":
        return None
    at = int.from_bytes(head[0x3C:0x40], "little")
    if head[at : at + 4] != b"PE\0\0" or len(head) < at + 6:
        return None
    return _PE.get(int.from_bytes(head[at + 4 : at + 6], "little"))


def is_bios_name(name: str) -> bool:
    """Tell by its name that a file is a BIOS program, whose octets show nothing."""
    return plain_name(name).lower().endswith((".0", ".kpxe", ".kkpxe", ".pxe", ".n12", ".com"))
