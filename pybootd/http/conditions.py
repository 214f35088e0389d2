"""Which part of a file answers a request: conditions and ranges (RFC 9110 13 and 14)."""

from __future__ import annotations

import calendar
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate
from http import HTTPStatus

from pybootd.http.entity import Entity

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
MAX_DIGITS = 18
"""Digits of a number that are looked at: a longer one is beyond any file."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """What is sent: the status, and ``count`` octets from ``first`` (None: all that there are)."""

    status: HTTPStatus
    first: int = 0
    count: int | None = 0


@functools.lru_cache(256)
def http_date(seconds: int) -> bytes:
    """Write a moment as RFC 9110 5.6.7 wants it; ``seconds`` since the epoch."""
    return formatdate(seconds, usegmt=True).encode("ascii")


def parse_date(text: str) -> int | None:
    """Read any of RFC 9110's three forms of a moment; None: it is none."""
    try:
        found = parsedate(text)
        return None if found is None else calendar.timegm(found)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def choose_range(fields: Mapping[str, str], entity: Entity, *, head: bool) -> ByteRange:
    """Choose the part. ``fields`` holds the request's conditional fields by lower-case name."""
    failed = _check_conditions(fields, entity)
    if failed is not None:
        return ByteRange(failed)
    whole = ByteRange(HTTPStatus.OK, 0, entity.size)
    # RFC 9110 14.2: a range is for GET alone
    if head or not entity.still or entity.size is None or "range" not in fields:
        return whole
    if "if-range" in fields and not _is_same_edition(fields["if-range"], entity):
        return whole
    return _parse_range(fields["range"], entity.size) or whole


def _check_conditions(fields: Mapping[str, str], entity: Entity) -> HTTPStatus | None:
    """Check the conditions in the order of RFC 9110 13.2.2; a status when one isn't met."""
    if "if-match" in fields:
        if not _matches_tag(fields["if-match"], entity.etag, strong=True):
            return HTTPStatus.PRECONDITION_FAILED
    elif "if-unmodified-since" in fields and _is_newer(fields["if-unmodified-since"], entity):
        return HTTPStatus.PRECONDITION_FAILED
    if "if-none-match" in fields:
        if _matches_tag(fields["if-none-match"], entity.etag, strong=False):
            return HTTPStatus.NOT_MODIFIED
    elif "if-modified-since" in fields and _is_newer(fields["if-modified-since"], entity) is False:
        return HTTPStatus.NOT_MODIFIED
    return None


def _matches_tag(text: str, etag: str, *, strong: bool) -> bool:
    if text.strip() == "*":
        return True  # any file that is there
    tags = _TAG.findall(text)
    if not strong:
        tags = [tag.removeprefix("W/") for tag in tags]
    return bool(etag) and etag in tags


def _is_newer(text: str, entity: Entity) -> bool | None:
    """Tell whether the file is newer than a moment; None: unknown."""
    moment = parse_date(text)
    if moment is None or entity.modified is None:
        return None
    return entity.modified > moment


def _is_same_edition(validator: str, entity: Entity) -> bool:
    """Tell whether If-Range names this edition (RFC 9110 13.1.5: strong, or the exact date)."""
    text = validator.strip()
    if text.startswith(('"', "W/")):
        return bool(entity.etag) and text == entity.etag
    return entity.modified is not None and parse_date(text) == entity.modified


def _parse_range(text: str, size: int) -> ByteRange | None:
    """Read one range; None: several, or not understood, so that the whole is sent instead."""
    found = _RANGE.fullmatch(text.strip())
    if not found or found[0].rstrip().endswith("=-"):
        return None
    start, end = _parse_number(found[1]), _parse_number(found[2])
    if start is None:
        count = min(end or 0, size)
        first = size - count
    else:
        if end is not None and end < start:
            return None
        first = start
        count = (size if end is None else min(end + 1, size)) - first
    if count <= 0:
        return ByteRange(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    return ByteRange(HTTPStatus.PARTIAL_CONTENT, first, count)


def _parse_number(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0") or "0"
    return 10**MAX_DIGITS if len(significant) > MAX_DIGITS else int(significant)
