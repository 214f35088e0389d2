"""What a file can be, and what is known of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

ReadAt = Callable[[int, int], bytes]
"""Reads ``count`` octets from ``offset``, fewer only at the end: ``read_at(offset, count)``."""


class ContentKind(Enum):
    """What a file is."""

    UNKNOWN = "unknown"
    EMPTY = "empty"
    HTML = "html"
    TEXT = "text"
    IPXE_SCRIPT = "ipxe-script"
    UNMARKED_SCRIPT = "unmarked-ipxe-script"
    """iPXE's commands without ``#!ipxe`` as its first octets."""
    PXELINUX_CONFIG = "pxelinux-configuration"
    GRUB_CONFIG = "grub-configuration"
    UEFI_PROGRAM = "uefi-program"
    ELF_PROGRAM = "elf-program"
    BIOS_PROGRAM = "bios-program"
    X86_KERNEL = "x86-kernel"
    ARM64_KERNEL = "arm64-kernel"
    ARM_KERNEL = "arm-kernel"
    UIMAGE = "uimage"
    FIT = "fit"
    GZIP = "gzip"
    XZ = "xz"
    ZSTD = "zstd"
    LZ4 = "lz4"
    CPIO = "cpio"
    SQUASHFS = "squashfs"
    WIM = "wim"


class Wholeness(Enum):
    """Whether a file goes to its own end, as its format tells it."""

    UNKNOWN = "unknown"
    WHOLE = "whole"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is. ``text`` says it for people, with its article; ``size`` in octets.

    ``architectures``: the client architectures (option 93) that can run it, empty: any, or it is
    no program. ``signers``: the authorities named in its signature (PE), None: it holds none and
    could; ``sbat``: it has revocation data (shim, GRUB). ``efi``: a kernel that UEFI can start.
    ``title``: of an HTML page. ``names``: the files and URLs that a configuration names, in order.
    ``exits``: a configuration that ends or can end in the machine's own disk. ``waits``: one that
    may wait for a person. ``byte_order_mark``: a text begins with one.
    """

    kind: ContentKind
    text: str
    size: int
    whole: Wholeness = Wholeness.UNKNOWN
    architectures: frozenset[int] = frozenset()
    signers: tuple[str, ...] | None = ()
    sbat: bool = False
    efi: bool = False
    title: str = ""
    names: tuple[str, ...] = ()
    exits: bool = False
    waits: bool = False
    byte_order_mark: bool = False

    @property
    def is_program(self) -> bool:
        """Tell whether firmware or a loader could run it."""
        return self.kind in _PROGRAMS

    @property
    def is_text(self) -> bool:
        """Tell whether it is text, of whatever meaning, or nothing at all."""
        return self.kind in _TEXTS


_PROGRAMS = frozenset(
    (
        ContentKind.UEFI_PROGRAM,
        ContentKind.ELF_PROGRAM,
        ContentKind.BIOS_PROGRAM,
        ContentKind.X86_KERNEL,
        ContentKind.ARM64_KERNEL,
        ContentKind.ARM_KERNEL,
        ContentKind.UIMAGE,
        ContentKind.FIT,
    )
)
_TEXTS = frozenset(
    (
        ContentKind.EMPTY,
        ContentKind.HTML,
        ContentKind.TEXT,
        ContentKind.IPXE_SCRIPT,
        ContentKind.UNMARKED_SCRIPT,
        ContentKind.PXELINUX_CONFIG,
        ContentKind.GRUB_CONFIG,
    )
)
