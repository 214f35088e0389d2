"""What the octets of a boot file are, as far as firmware or a loader would refuse them."""

from __future__ import annotations

import codecs
import re
import struct

_HTML = re.compile(rb"\s*(<!doctype html|<html|<\?xml|<head|<body|<h1)", re.IGNORECASE)
_PACKED = (
    (b"\x1f\x8b", "packed with gzip"),
    (b"\xfd7zXZ\0", "packed with xz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"PK\3\4", "a ZIP archive"),
    (b"hsqs", "a squashfs image"),
)
_MAX_BIOS_OCTETS = 600 << 10  # the memory below 640 kB, less what BIOS and PXE take of it
_ISO_AT, _ISO = 0x8001, b"CD001"


def describe_wrong_content(content: bytes, *, uefi: bool, ipxe: bool) -> str:
    """Say why no firmware of this kind starts it, as "an HTML page"; "" where nothing is wrong.

    ``ipxe``: iPXE asks, which takes scripts and kernels as well.
    """
    if _HTML.match(content[:512]):
        title = re.search(rb"<title>([^<]{1,80})", content[:4096], re.IGNORECASE)
        named = f" ({title[1].decode('utf-8', 'replace').strip()})" if title else ""
        return f"an HTML page{named}"
    for magic, kind in _PACKED:
        if content.startswith(magic):
            return kind
    if content[_ISO_AT : _ISO_AT + len(_ISO)] == _ISO:
        return "a CD image"
    if content[:2] == b"MZ":
        return _describe_cut_program(content)
    if _is_text(content[:1024]):
        if ipxe:
            return "" if content.startswith(b"#!ipxe") else "text that does not begin with #!ipxe"
        return "text, an iPXE script" if content.startswith(b"#!ipxe") else "text"
    if uefi and not ipxe:
        return "no UEFI program (PE)"
    if not uefi and not ipxe and len(content) > _MAX_BIOS_OCTETS:
        return f"of {len(content)} octets, and a BIOS has no memory for that"
    return ""


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter in "\t\n\r\f\x1b" for letter in text)


def _describe_cut_program(content: bytes) -> str:
    """Say that a PE program ends before the last of its sections does."""
    at = int.from_bytes(content[0x3C:0x40], "little")
    if content[at : at + 4] != b"PE\0\0" or len(content) < at + 24:
        return ""
    sections, optional = (struct.unpack_from("<H", content, at + offset)[0] for offset in (6, 20))
    end = 0
    for number in range(sections):
        head = at + 24 + optional + 40 * number
        if len(content) < head + 40:
            return "cut off within its headers"
        size, first = struct.unpack_from("<II", content, head + 16)
        end = max(end, first + size)
    return f"cut off: {len(content)} of at least {end} octets" if len(content) < end else ""
