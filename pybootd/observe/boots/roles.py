"""What a requested file is for, by its name."""

from __future__ import annotations

import functools
import re
from enum import Enum


class FileRole(Enum):
    """What a file is to a boot."""

    BOOT_FILE = "boot-file"
    LOADER = "loader"
    CONFIGURATION = "configuration"
    KERNEL = "kernel"
    INITRD = "initrd"
    ROOT = "root-file-system"
    OTHER = "file"


# how boot loaders and distributions call their files; the first that fits decides
_NAMES = (
    (FileRole.OTHER, r"(^|/)(revocations|shim_certificate)[^/]*\.efi$|(^|/)autoexec\.ipxe$"),
    (
        FileRole.CONFIGURATION,
        r"(^|/)(pxelinux|extlinux)\.cfg/|grub[^/]*\.cfg|\.(cfg|conf|ipxe|ini|menu|yaml|xml)(-[^/]*)?$"
        r"|config\.txt$|boot\.scr[^/]*$|(^|/)(user-data|meta-data|vendor-data|network-config)$",
    ),
    (FileRole.KERNEL, r"(^|/)kernel[^/]*\.img$"),  # the Raspberry Pi's
    (FileRole.ROOT, r"rootfs|squashfs|filesystem"),
    (FileRole.INITRD, r"initr(d|amfs)|\.cpio|\.(wim|iso|img)$"),
    (
        FileRole.KERNEL,
        r"(^|/)(vmlinu[xz]|bzimage|linux|kernel|image|zimage|uimage|wimboot|xen|mboot|tboot)"
        r"[^/]*(?<!\.c32)(?<!\.mod)$",
    ),
    (
        FileRole.LOADER,
        r"(^|/)bcd$|\.(efi|c32|e32|e64|elf|0|kpxe|kkpxe|pxe|mod|lst|sdi|bin|com|n12)$|bootmgr",
    ),
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


def is_bios_name(name: str) -> bool:
    """Tell by its name that a file is a BIOS program, whose octets show nothing."""
    return plain_name(name).lower().endswith((".0", ".kpxe", ".kkpxe", ".pxe", ".n12", ".com"))
