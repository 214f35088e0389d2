"""Archives and compressed files, and whether they go to their own end."""

from __future__ import annotations

import zlib

from pybootd.observe.content.kinds import Content, ContentKind, ReadAt, Wholeness

MAX_INFLATED = 256 << 20
"""Octets of a gzip file's content that are unpacked to find its end."""
MAX_MEMBERS = 100_000
"""Members of an archive, or blocks of a stream, that are walked over."""

_CHUNK = 1 << 16
_TEXTS = {
    ContentKind.GZIP: "a gzip stream",
    ContentKind.XZ: "an xz stream",
    ContentKind.ZSTD: "a zstd stream",
    ContentKind.LZ4: "an lz4 stream",
    ContentKind.CPIO: "a cpio archive",
    ContentKind.SQUASHFS: "a squashfs file system",
    ContentKind.WIM: "a WIM image",
}


def inspect_archive(head: bytes, size: int, read_at: ReadAt) -> Content | None:
    """Say which archive a file is; None: none that is known."""
    if head[:2] == b"\x1f\x8b":
        return _describe(ContentKind.GZIP, size, _walk_gzip(size, read_at))
    if head[:6] == b"\xfd7zXZ\0":
        return _describe(ContentKind.XZ, size, _look_at_xz(size, read_at))
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return _describe(ContentKind.ZSTD, size, _walk_zstd(size, read_at))
    if head[:4] == b"\x02\x21\x4c\x18":  # the old format, which Linux takes for its initrd
        return _describe(ContentKind.LZ4, size, _walk_old_lz4(size, read_at))
    if head[:4] == b"\x04\x22\x4d\x18":
        return _describe(ContentKind.LZ4, size, Wholeness.UNKNOWN)
    if head[:6] in (b"070701", b"070702"):
        return _describe(ContentKind.CPIO, size, _walk_cpio(size, read_at))
    if head[:4] == b"hsqs":
        length = int.from_bytes(head[40:48], "little")
        whole = Wholeness.CUT if size < length else Wholeness.UNKNOWN
        return _describe(ContentKind.SQUASHFS, size, whole)
    if head[:8] == b"MSWIM\0\0\0":
        return _describe(ContentKind.WIM, size, Wholeness.UNKNOWN)
    return None


def _describe(kind: ContentKind, size: int, whole: Wholeness) -> Content:
    return Content(kind, _TEXTS[kind], size, whole)


def _walk_gzip(size: int, read_at: ReadAt) -> Wholeness:
    """Unpack members (RFC 1952 2.2) up to the end; what follows the last may be another archive."""
    at, inflated = 0, 0
    unpacker = zlib.decompressobj(wbits=31)
    while at < size:
        data = read_at(at, _CHUNK)
        if not data:
            return Wholeness.UNKNOWN
        at += len(data)
        while data:
            try:
                inflated += len(unpacker.decompress(data, 1 << 20))
            except zlib.error:
                return Wholeness.UNKNOWN
            if inflated > MAX_INFLATED:
                return Wholeness.UNKNOWN
            if unpacker.eof:
                rest = unpacker.unused_data
                if rest[:2] != b"\x1f\x8b":
                    return Wholeness.WHOLE
                unpacker, data = zlib.decompressobj(wbits=31), rest
            else:
                data = unpacker.unconsumed_tail
    return Wholeness.WHOLE if unpacker.eof else Wholeness.CUT


def _look_at_xz(size: int, read_at: ReadAt) -> Wholeness:
    """Look for the stream's footer (The .xz File Format 2.1.2), before padding of zeros."""
    end = read_at(max(0, size - 1024), 1024).rstrip(b"\0")
    return Wholeness.WHOLE if end.endswith(b"YZ") else Wholeness.CUT


def _walk_zstd(size: int, read_at: ReadAt) -> Wholeness:
    """Step from block to block (RFC 8878 3.1.1) to the last one."""
    descriptor = int.from_bytes(read_at(4, 1), "little")
    single = descriptor >> 5 & 1
    sizes = (1 if single else 0, 2, 4, 8)
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + sizes[descriptor >> 6]
    for _ in range(MAX_MEMBERS):
        head = read_at(at, 3)
        if len(head) < 3:
            return Wholeness.CUT
        block = int.from_bytes(head, "little")
        at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
        if block & 1:
            at += 4 if descriptor & 4 else 0
            return Wholeness.CUT if at > size else Wholeness.WHOLE
        if at >= size:
            return Wholeness.CUT
    return Wholeness.UNKNOWN


def _walk_old_lz4(size: int, read_at: ReadAt) -> Wholeness:
    """Step over the blocks of the old frame format: each begins with its length."""
    at = 4
    for _ in range(MAX_MEMBERS):
        if at == size:
            return Wholeness.WHOLE
        length = int.from_bytes(read_at(at, 4), "little")
        at += 4 + length
        if not length or at > size:
            return Wholeness.CUT if at > size else Wholeness.UNKNOWN
    return Wholeness.UNKNOWN


def _walk_cpio(size: int, read_at: ReadAt) -> Wholeness:
    """Step over the members (Linux, usr/gen_init_cpio.c) to the trailer.

    Behind it, after zeros, another archive may follow, as after a processor's microcode.
    """
    at = 0
    for _ in range(MAX_MEMBERS):
        head = read_at(at, 110)
        if len(head) < 110:
            return Wholeness.CUT
        try:
            length, name = int(head[54:62], 16), int(head[94:102], 16)
        except ValueError:
            return Wholeness.UNKNOWN
        if read_at(at + 110, min(name, 16)).rstrip(b"\0") == b"TRAILER!!!":
            return _look_behind_cpio(at + 110 + name, size, read_at)
        at += (110 + name + 3) // 4 * 4
        at += (length + 3) // 4 * 4
    return Wholeness.UNKNOWN


def _look_behind_cpio(at: int, size: int, read_at: ReadAt) -> Wholeness:
    while at < size:
        data = read_at(at, _CHUNK)
        rest = data.lstrip(b"\0")
        if rest:
            return _look_inside(at + len(data) - len(rest), size, read_at)
        at += len(data) or size
    return Wholeness.WHOLE


def _look_inside(start: int, size: int, read_at: ReadAt) -> Wholeness:
    def read_behind(offset: int, count: int) -> bytes:
        return read_at(start + offset, count)

    inner = inspect_archive(read_behind(0, 1024), size - start, read_behind)
    return inner.whole if inner else Wholeness.UNKNOWN
