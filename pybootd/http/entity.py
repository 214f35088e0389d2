"""What is served as HTTP describes it: its size, its validators, its media type."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType

OCTETS = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"

# What a name's ending says. UEFI tells programs from disk images by the first three (UEFI 2.10,
# 24.7.3, HTTP Boot) where the URL's own ending doesn't.
_MEDIA = MappingProxyType(
    {
        ".efi": "application/efi",
        ".iso": "application/vnd.efi-iso",
        ".img": "application/vnd.efi-img",
        ".cfg": TEXT,
        ".conf": TEXT,
        ".gz": "application/gzip",
        ".htm": "text/html; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".ipxe": TEXT,
        ".json": "application/json",
        ".ks": TEXT,
        ".sh": TEXT,
        ".txt": TEXT,
        ".xml": "application/xml",
        ".yaml": TEXT,
        ".yml": TEXT,
    }
)


@dataclass(frozen=True, slots=True)
class Entity:
    """A file that is there. ``size`` in octets, None: unknown; ``etag`` in its quotes or "".

    ``modified`` is in seconds since the epoch, None: unknown. ``still``: its octets stand still, so
    a part of them can be had. ``fields``: more that the answer's head has.
    """

    size: int | None
    etag: str = ""
    modified: int | None = None
    media: str = OCTETS
    still: bool = True
    fields: tuple[tuple[str, str], ...] = ()


@functools.lru_cache(256)
def media_type(served: str, requested: str) -> str:
    """Tell the media type by the ending of what is served, else of what was asked for."""
    for name in (served, requested):
        found = _MEDIA.get(posixpath.splitext(name)[1].lower())
        if found is not None:
            return found
    return OCTETS


def entity_tag(key: Hashable) -> str:
    """Make a strong validator (RFC 9110 8.8.3): equal keys hold equal octets.

    It is the same after a restart and doesn't tell what the key is made of.
    """
    return f'"{blake2b(repr(key).encode("utf-8", "replace"), digest_size=9).hexdigest()}"'
