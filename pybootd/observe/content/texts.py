"""Texts: pages, scripts of iPXE, configurations of loaders, and what they name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pybootd.core.text import make_printable
from pybootd.observe.content.kinds import Content, ContentKind

MAX_TEXT = 256 << 10
"""Octets of a text that are read."""
MAX_FILES = 20
"""Files that a configuration names, and that are kept."""

_BOM = b"\xef\xbb\xbf"
_TITLE = re.compile(r"<title[^>]*>\s*([^<]{0,200})", re.IGNORECASE)
_IPXE = re.compile(
    r"^\s*(kernel|initrd|chain|imgfetch|boot|dhcp|sanboot|set \S+)(\s|$)", re.MULTILINE
)
_IPXE_FILE = re.compile(
    r"^\s*(?:kernel|initrd|chain|imgfetch|module)\s+(?:--?\S+\s+)*([^\s|]+)", re.MULTILINE
)
_PXELINUX = re.compile(r"^\s*(default|label|kernel|linux|append|prompt|timeout|ui)\s", re.M | re.I)
_PXELINUX_FILE = re.compile(
    r"^\s*(?:kernel|linux|initrd|ui|com32)\s+(\S+)|^\s*append\s.*?\binitrd=(\S+)", re.M | re.I
)
_GRUB = re.compile(
    r"^\s*(menuentry\b|set \w+=|linux(efi|16)?\s|insmod\s|configfile\s|search\s|exit\b)", re.M
)
_GRUB_FILE = re.compile(
    r"^\s*(?:linux|initrd|chainloader|configfile|source)(?:efi|16)?\s+(\S+)", re.M
)
_SETTING = re.compile(r"^(?:kernel|modules|initrd)=(.+)$", re.MULTILINE)  # ESXi, the Pi
_EXITS = re.compile(r"^\s*(exit|localboot|sanboot|poweroff|reboot|type\s+\d+)\b", re.M | re.I)
_IPXE_WAITS = re.compile(r"^\s*(menu|choose|prompt|shell|sleep|pause)\b", re.M)
_GRUB_WAITS = re.compile(r"^\s*menuentry\b|set timeout=-1", re.M)


def inspect_text(data: bytes, size: int) -> Content | None:
    """Say what a text is, by its first octets (MAX_TEXT); None: it is no text."""
    if not data.strip(b" \t\r\n\0"):
        return None if size else Content(ContentKind.EMPTY, "empty", 0)
    marked = data.startswith(_BOM)
    try:
        text = data[:MAX_TEXT].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(data) - 4 or size <= len(data):
            return None
        text = data[: error.start].decode("utf-8-sig")
    if "\0" in text:
        return None
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<head")):
        found = _TITLE.search(text)
        title = make_printable(" ".join(found[1].split())) if found else ""
        shown = f"an HTML page ({title})" if title else "an HTML page"
        return Content(ContentKind.HTML, shown, size, title=title)
    return _inspect_configuration(text, size, marked=marked)


def _inspect_configuration(text: str, size: int, *, marked: bool) -> Content:
    if text.startswith("#!ipxe"):
        kind = ContentKind.UNMARKED_SCRIPT if marked else ContentKind.IPXE_SCRIPT
        shown = "an iPXE script" + (" behind a byte order mark" if marked else "")
        return _with_names(kind, shown, size, _IPXE_FILE, text, _IPXE_WAITS, byte_order_mark=marked)
    grub = len(_GRUB.findall(text))
    pxelinux = len(_PXELINUX.findall(text))
    ipxe = len(_IPXE.findall(text))
    if grub and grub >= pxelinux:
        return _with_names(
            ContentKind.GRUB_CONFIG, "a configuration of GRUB", size, _GRUB_FILE, text, _GRUB_WAITS
        )
    if ipxe and ipxe >= pxelinux:
        return _with_names(
            ContentKind.UNMARKED_SCRIPT,
            "an iPXE script without #!ipxe",
            size,
            _IPXE_FILE,
            text,
            _IPXE_WAITS,
        )
    if pxelinux:
        return _with_names(
            ContentKind.PXELINUX_CONFIG,
            "a configuration of PXELINUX",
            size,
            _PXELINUX_FILE,
            text,
            re.compile(r"^\s*(prompt\s+1|menu\s|ui\s)", re.M | re.I),
        )
    names = [part for line in _SETTING.findall(text) for part in line.replace("---", " ").split()]
    return Content(
        ContentKind.TEXT,
        "a text",
        size,
        names=tuple(_clean_names(names))[:MAX_FILES],
        byte_order_mark=marked,
    )


def _with_names(
    kind: ContentKind,
    shown: str,
    size: int,
    pattern: re.Pattern[str],
    text: str,
    waits: re.Pattern[str],
    *,
    byte_order_mark: bool = False,
) -> Content:
    return Content(
        kind,
        shown,
        size,
        names=tuple(_clean_names(pattern.findall(text)))[:MAX_FILES],
        exits=_EXITS.search(text) is not None,
        waits=waits.search(text) is not None,
        byte_order_mark=byte_order_mark,
    )


def _clean_names(found: Iterable[str | tuple[str, ...]]) -> Iterable[str]:
    """Yield each name once; several files of one line are apart by commas."""
    seen = set()
    for one in found:
        for part in (one,) if isinstance(one, str) else one:
            for name in part.split(","):
                if name and name not in seen:
                    seen.add(name)
                    yield make_printable(name[:200])
