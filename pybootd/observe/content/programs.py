"""Programs and kernels, by their headers: PE/COFF, ELF, the Linux boot protocols, U-Boot's."""

from __future__ import annotations

import struct
from types import MappingProxyType
from typing import NamedTuple

from pybootd.core.architecture import ARCHITECTURES
from pybootd.observe.content.kinds import Content, ContentKind, ReadAt, Wholeness

MAX_CERTIFICATES = 1 << 20
"""Octets of a signature that are searched for its authorities."""

_AUTHORITIES = (
    "Microsoft Corporation UEFI CA 2011",
    "Microsoft UEFI CA 2023",
    "Microsoft Windows Production PCA 2011",
    "Debian Secure Boot CA",
    "Canonical Ltd. Master Certificate Authority",
    "Red Hat Secure Boot CA",
    "Fedora Secure Boot CA",
    "SUSE Linux Enterprise Secure Boot CA",
    "openSUSE Secure Boot CA",
    "Oracle",
    "VMware",
    "Microsoft",
)


class Program(NamedTuple):
    """What a program's header says: for people, and the architectures that can run it."""

    text: str
    architectures: frozenset[int]


def _codes(*ends: str) -> frozenset[int]:
    return frozenset(code for code, name in ARCHITECTURES.items() if name.endswith(ends))


_BIOS = frozenset((0, 20))
_ARM32 = _codes("arm32", "uboot-arm32", "arm-uboot")
_ARM64 = _codes("arm64")
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


def read_program(head: bytes) -> Program | None:
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


def inspect_program(head: bytes, size: int, read_at: ReadAt) -> Content | None:
    """Say which program or kernel a file is; None: none that is known."""
    if head[0x202:0x206] == b"HdrS" and head[0x1FE:0x200] == b"\x55\xaa":
        return _inspect_x86_kernel(head, size, read_at)
    if head[0x38:0x3C] == b"ARM\x64":
        return Content(
            ContentKind.ARM64_KERNEL,
            "a Linux kernel for 64-bit ARM",
            size,
            _is_pe_whole(head, size),
            _ARM64,
            efi=head[:2] == b"MZ",
        )
    if head[0x24:0x28] == b"\x18\x28\x6f\x01":  # Linux, Documentation/arch/arm/booting
        end = int.from_bytes(head[0x2C:0x30], "little")
        start = int.from_bytes(head[0x28:0x2C], "little")
        whole = Wholeness.CUT if size < end - start else Wholeness.UNKNOWN
        return Content(ContentKind.ARM_KERNEL, "a Linux kernel for 32-bit ARM", size, whole, _ARM32)
    if head[:4] == b"\x27\x05\x19\x56":  # U-Boot, include/image.h
        length = int.from_bytes(head[12:16], "big") + 64
        whole = Wholeness.CUT if size < length else Wholeness.WHOLE
        return Content(ContentKind.UIMAGE, "a U-Boot image (uImage)", size, whole)
    if head[:4] == b"\xd0\x0d\xfe\xed":  # a device tree, which FIT images are, too
        length = int.from_bytes(head[4:8], "big")
        whole = Wholeness.CUT if size < length else Wholeness.UNKNOWN
        return Content(ContentKind.FIT, "a FIT image or device tree", size, whole)
    program = read_program(head)
    if program is None:
        return None
    if head[:4] == b"\x7fELF":
        return Content(
            ContentKind.ELF_PROGRAM, program.text, size, architectures=program.architectures
        )
    signers, sbat = _read_signature(head, size, read_at)
    return Content(
        ContentKind.UEFI_PROGRAM,
        program.text,
        size,
        _is_pe_whole(head, size),
        program.architectures,
        signers,
        sbat,
    )


def _inspect_x86_kernel(head: bytes, size: int, read_at: ReadAt) -> Content:
    """Linux, Documentation/arch/x86/boot: setup_sects, syssize, and the EFI stub's PE header."""
    sectors = head[0x1F1] or 4
    length = int.from_bytes(head[0x1F4:0x1F8], "little") * 16 + (sectors + 1) * 512
    efi = head[:2] == b"MZ"
    machine = 0
    if efi:
        at = int.from_bytes(head[0x3C:0x40], "little")
        machine = int.from_bytes(head[at + 4 : at + 6], "little")
    stub = _PE[machine].architectures if machine in _PE else frozenset()
    signers, sbat = _read_signature(head, size, read_at) if efi else ((), False)
    return Content(
        ContentKind.X86_KERNEL,
        "a Linux kernel for x86" + ("" if efi else " without an EFI stub"),
        size,
        Wholeness.CUT if size < length - 16 else Wholeness.UNKNOWN,
        _BIOS | stub,
        signers,
        sbat,
        efi,
    )


def _find_pe(head: bytes) -> tuple[int, int, int] | None:
    """Return where the PE header, its directories and its sections begin."""
    at = int.from_bytes(head[0x3C:0x40], "little")
    if head[:2] != b"MZ" or head[at : at + 4] != b"PE\0\0" or len(head) < at + 26:
        return None
    optional = int.from_bytes(head[at + 20 : at + 22], "little")
    wide = head[at + 24 : at + 26] == b"\x0b\x02"
    directories = at + 24 + (112 if wide else 96)
    return (at, directories, at + 24 + optional) if directories + 40 <= len(head) else None


def _is_pe_whole(head: bytes, size: int) -> Wholeness:
    """Tell whether the file holds its sections and its signature to their ends."""
    found = _find_pe(head)
    if found is None:
        return Wholeness.UNKNOWN
    at, directories, sections = found
    count = int.from_bytes(head[at + 6 : at + 8], "little")
    if count == 0 or sections + 40 * count > len(head):
        return Wholeness.UNKNOWN
    end = 0
    for number in range(count):
        length, offset = struct.unpack_from("<II", head, sections + 40 * number + 16)
        end = max(end, offset + length)
    if directories + 40 <= sections:
        offset, length = struct.unpack_from("<II", head, directories + 32)
        end = max(end, offset + length)
    return Wholeness.CUT if size < end else Wholeness.WHOLE


def _read_signature(head: bytes, size: int, read_at: ReadAt) -> tuple[tuple[str, ...] | None, bool]:
    """Name the authorities of a PE file's signature, and tell whether it has SBAT data."""
    found = _find_pe(head)
    if found is None:
        return (), False
    at, directories, sections = found
    count = int.from_bytes(head[at + 6 : at + 8], "little")
    names = [head[sections + 40 * one : sections + 40 * one + 8] for one in range(min(count, 40))]
    sbat = b".sbat\0\0\0" in names
    if directories + 40 > sections:
        return (), sbat
    offset, length = struct.unpack_from("<II", head, directories + 32)
    if not offset or not length:
        return None, sbat
    if offset >= size:
        return (), sbat
    table = read_at(offset, min(length, MAX_CERTIFICATES))
    named = [one for one in _AUTHORITIES if one.encode() in table]
    if len(named) > 1 and "Microsoft" in named:
        named.remove("Microsoft")
    return tuple(named) or ("an unknown authority",), sbat
