"""What firmware and loaders ask for, as data: what is due, and which misses are normal."""

from __future__ import annotations

import re
from typing import NamedTuple


class BootStage(NamedTuple):
    """One stage of a boot: once a file that fits ``came`` has arrived, ``due`` is asked for.

    ``what`` names the program that asks, ``next`` what it asks for. ``always``: it asks within
    seconds, whatever its configuration says. ``hint`` says why it may not have asked.
    """

    came: re.Pattern[str]
    what: str
    due: re.Pattern[str]
    next: str
    always: bool
    hint: str


def _stage(came: str, what: str, due: str, next_: str, hint: str, *, always: bool) -> BootStage:
    flags = re.IGNORECASE
    return BootStage(re.compile(came, flags), what, re.compile(due, flags), next_, always, hint)


_VERSION = (
    "Take {came} and all other modules (.c32, .e64) from the same version as the loader itself:"
    " modules of another version do not run."
)
_EMBEDDED = (
    "It may have a configuration built in, or wait for somebody. If not, look at its screen: most"
    " often it looks for {next} elsewhere, or did not start."
)

STAGES = (
    _stage(
        r"(^|/)l?g?pxelinux\.0$",
        "PXELINUX",
        r"ldlinux\.c32$|pxelinux\.cfg/",
        "ldlinux.c32 and its configuration",
        _EMBEDDED,
        always=False,
    ),
    _stage(
        r"(^|/)syslinux[^/]*\.efi$",
        "SYSLINUX",
        r"ldlinux\.e(32|64)$",
        "ldlinux.e64",
        _EMBEDDED,
        always=False,
    ),
    _stage(
        r"(^|/)ldlinux\.(c32|e32|e64)$",
        "PXELINUX",
        r"(pxelinux|syslinux|extlinux)\.cfg|extlinux\.conf",
        "its configuration (pxelinux.cfg/...)",
        _VERSION,
        always=True,
    ),
    _stage(
        r"(^|/)(shim[^/]*|bootnetx64)\.efi(\.signed)?$",
        "shim",
        r"(^|/)(grub|mm|fb|ipxe|systemd-boot|revocations|shim_cert)[^/]*\.efi$",
        "grubx64.efi",
        _EMBEDDED,
        always=False,
    ),
    _stage(
        r"(^|/)(core|grub|grubnet)[^/]*\.(efi|0)(\.signed)?$",
        "GRUB",
        r"grub[^/]*\.cfg|\.lst$|\.mod$",
        "grub.cfg",
        _EMBEDDED,
        always=False,
    ),
    _stage(
        r"(^|/)mboot\.(efi|c32)$", "ESXi's mboot", r"boot\.cfg$", "boot.cfg", _EMBEDDED,
        always=True,
    ),
    _stage(
        r"(^|/)wimboot$", "wimboot", r"bcd$|\.sdi$|\.wim$", "BCD, boot.sdi, boot.wim", _EMBEDDED,
        always=False,
    ),
)  # fmt: skip
"""In the order of a boot; the first that fits a file is its."""

_NORMAL = re.compile(
    r"(^|/)(revocations|shim_certificate)[^/]*\.efi$"  # shim 15.6 and later
    r"|(^|/)autoexec\.ipxe$"  # iPXE since 2022
    r"|(^|/)(bootsig\.bin|autoboot\.txt|tryboot\.txt|bootcfg\.txt|bootconf\.(sig|txt))$"
    r"|(^|/)(recovery\.elf|recover4\.elf|pieeprom\.(upd|sig|bin)|vl805\.(sig|bin))$"
    r"|(^|/)(dt-blob\.bin|armstub[^/]*\.bin|start4?(x|db|cd)\.elf|fixup4?(x|db|cd)\.dat|bcm[^/]*\.dtb"
    r"|[^/]*\.dtbo|overlay_map\.dtb|cmdline\.txt|hat_map\.dtb|initramfs[_0-9a-z]*)$"
    r"|(^|/)(vendor-data|network-config|meta-data)$"  # cloud-init: all but user-data
    r"|(^|/)(command|fs|crypto|terminal|partmap|parttool|video|moddep)\.lst$"  # GRUB
    r"|(^|/)boot\.scr(\.uimg)?$",  # U-Boot goes on with pxelinux.cfg
    re.IGNORECASE,
)
_ANSWERS = re.compile(
    r"(^|/)(preseed[^/]*|ks([._-][^/]*)?|[^/]*\.ks|kickstart[^/]*|user-data|autoinst[^/]*"
    r"|autounattend\.xml|unattend\.xml|answers?[^/]*|ignition[^/]*|[^/]*\.ign)$",
    re.IGNORECASE,
)
_LOADER_CONFIGURATION = re.compile(
    r"(pxelinux|extlinux|syslinux)\.cfg(/|$)|grub[^/]*\.cfg|\.ipxe$|extlinux\.conf$"
    r"|(^|/)boot\.cfg$|menu\.lst$",
    re.IGNORECASE,
)
_MOK_MANAGER = re.compile(r"(^|/)mm(x64|ia32|aa64|riscv64)\.efi$", re.IGNORECASE)


def is_normal_miss(name: str) -> bool:
    """Tell whether firmware and loaders do well without a file of this name."""
    return _NORMAL.search(name.replace("\\", "/")) is not None


def is_answer_file(name: str) -> bool:
    """Tell whether it is what an installer takes its answers from."""
    return _ANSWERS.search(name) is not None


def is_loader_configuration(name: str) -> bool:
    """Tell whether it is a loader's configuration, not an installer's or a system's."""
    return _LOADER_CONFIGURATION.search(name.replace("\\", "/")) is not None


def is_mok_manager(name: str) -> bool:
    """Tell whether it is what shim starts when it refuses a loader."""
    return _MOK_MANAGER.search(name) is not None


def find_stage(name: str) -> BootStage | None:
    """Return the stage that begins when a file of this name has arrived."""
    plain = name.replace("\\", "/")
    return next((one for one in STAGES if one.came.search(plain)), None)
