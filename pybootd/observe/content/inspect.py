"""What a file is: a function from octets to what is known of them."""

from __future__ import annotations

from pybootd.observe.content.archives import inspect_archive
from pybootd.observe.content.kinds import Content, ContentKind, ReadAt
from pybootd.observe.content.programs import inspect_program
from pybootd.observe.content.texts import MAX_TEXT, inspect_text

HEAD = 4096
"""Octets at a file's start that tell its kind."""


def inspect_file(size: int, read_at: ReadAt) -> Content:
    """Say what a file of ``size`` octets is. What ``read_at`` raises goes on to the caller."""
    if size == 0:
        return Content(ContentKind.EMPTY, "empty", 0)
    head = read_at(0, HEAD)
    found = inspect_program(head, size, read_at) or inspect_archive(head, size, read_at)
    if found is not None:
        return found
    if not head.strip(b" \t\r\n") and size <= HEAD:
        return Content(ContentKind.EMPTY, "empty", size)
    if b"\0" not in head:
        text = inspect_text(read_at(0, MAX_TEXT), size)
        if text is not None:
            return text
    if head[:1] in (b"\xea", b"\xe9", b"\xeb", b"\xfa"):  # a jump, or CLI: a boot program's start
        return Content(ContentKind.BIOS_PROGRAM, "a program for a PC with BIOS", size)
    return Content(ContentKind.UNKNOWN, "of a kind that is not known", size)


def inspect_octets(data: bytes) -> Content:
    """Say what a file is whose octets are at hand."""
    return inspect_file(len(data), lambda offset, count: data[offset : offset + count])
