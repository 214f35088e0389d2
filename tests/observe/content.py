"""Files as they lie below a root: programs, kernels, archives, pages, cut or whole."""

import gzip
import io
import lzma
import random
import struct


def pe(machine: int = 0x8664, size: int = 8000, *, signed: str = "", sbat: bool = False) -> bytes:
    """Make a UEFI program with a header, one section, and a certificate table that names a CA."""
    sections = [(b".text\0\0\0", 4096)] + ([(b".sbat\0\0\0", 512)] if sbat else [])
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<I", optional, 108, 16)
    raw = 1024
    table = b""
    for name, length in sections:
        table += struct.pack("<8sIIIIIIHHI", name, length, raw, length, raw, 0, 0, 0, 0, 0x60000020)
        raw += length
    body = max(raw, size)
    if signed:
        certificate = signed.encode() + bytes(256)
        entry = struct.pack("<IHH", 8 + len(certificate), 0x0200, 2) + certificate
        struct.pack_into("<II", optional, 112 + 4 * 8, body, len(entry))
    head = bytearray(b"MZ" + bytes(58) + struct.pack("<I", 64))
    head += b"PE\0\0" + struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, 240, 0x22)
    made = bytes(head + optional + table).ljust(1024, b"\0")
    made = made.ljust(body, b"\x90")
    return made + (entry if signed else b"")


def elf(machine: int = 3, size: int = 5000) -> bytes:
    return (b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine)).ljust(size, b"\1")


def bzimage(size: int = 200_000, *, efi: int = 0x8664) -> bytes:
    """Make a Linux kernel for x86; ``efi`` 0: without an EFI stub."""
    made = bytearray(pe(efi, size) if efi else b"\xea\5\0\xc0\7".ljust(size, b"\0"))
    made[0x1F1] = 4  # setup sectors
    made[0x1FE:0x200] = b"\x55\xaa"
    made[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", made, 0x206, 0x020F)
    struct.pack_into("<I", made, 0x1F4, (size - 5 * 512) // 16)
    return bytes(made)


def arm64_image(size: int = 200_000) -> bytes:
    made = bytearray(pe(0xAA64, size))
    made[0x38:0x3C] = b"ARM\x64"
    return bytes(made)


def cpio(size: int = 20_000) -> bytes:
    def member(name: bytes, data: bytes) -> bytes:
        head = b"070701" + b"%08X" % 1 * 6 + b"%08X" % len(data) + b"%08X" % 0 * 4
        head += b"%08X" % (len(name) + 1) + b"%08X" % 0
        entry = (head + name + b"\0").ljust((len(head) + len(name) + 4) // 4 * 4, b"\0")
        return entry + data.ljust((len(data) + 3) // 4 * 4, b"\0")

    noise = random.Random(1).randbytes(size)
    return member(b"init", noise) + member(b"TRAILER!!!", b"")


def gz() -> bytes:
    return gzip.compress(cpio())


def xz() -> bytes:
    return lzma.compress(cpio(), check=lzma.CHECK_CRC32)


def zst(*, whole: bool = True) -> bytes:
    """Make a zstd frame of raw blocks (RFC 8878)."""
    data = cpio()
    made = io.BytesIO()
    made.write(b"\x28\xb5\x2f\xfd" + bytes((0x80, 0x58)) + struct.pack("<I", len(data)))
    for at in range(0, len(data), 4000):
        part = data[at : at + 4000]
        last = at + 4000 >= len(data)
        made.write(struct.pack("<I", len(part) << 3 | last)[:3] + part)
    return made.getvalue() if whole else made.getvalue()[:-3000]


HTML = b"""<!DOCTYPE html>
<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>
"""
SCRIPT = b"#!ipxe\nkernel http://10.7.0.1/linux\ninitrd http://10.7.0.1/initrd.gz\nboot\n"
PXELINUX = b"DEFAULT linux\nLABEL linux\n  KERNEL linux\n  INITRD initrd.gz\n  APPEND quiet\n"
GRUB = b"set timeout=5\nmenuentry 'Install' {\n linux /linux quiet\n initrd /initrd.gz\n}\n"
SHIM = pe(signed="Microsoft Corporation UEFI CA 2011", sbat=True)
SIGNED_GRUB = pe(signed="Debian Secure Boot CA", sbat=True)
