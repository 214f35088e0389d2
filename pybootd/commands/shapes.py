"""Whether a JSON document has the shape that a command reads: checked once, where it comes in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

_MAX_NUMBER = 1e12  # beyond, no count of octets and no moment is meant


class Maybe(NamedTuple):
    """A shape, or null."""

    shape: Any


class MayLack(NamedTuple):
    """A shape of an object's field that may not be there."""

    shape: Any


class ListOf(NamedTuple):
    """A list whose items all have a shape."""

    shape: Any


class OneOf(NamedTuple):
    """An object whose field ``type`` says which of the shapes it has."""

    shapes: Mapping[str, Any]


TEXT, NUMBER, FLAG = "text", "number", "flag"

VERDICT = MappingProxyType({"grade": TEXT, "what": TEXT, "advice": TEXT, "evidence": ListOf(TEXT)})
RUNNING = MappingProxyType({"name": TEXT, "sent": NUMBER, "size": Maybe(NUMBER), "rate": NUMBER})
_PART = MappingProxyType({"code": TEXT, "what": TEXT, "at": NUMBER, "until": NUMBER})
STEP = OneOf(
    MappingProxyType(
        {
            "step": MappingProxyType({**_PART, "text": TEXT, "more": TEXT, "count": NUMBER}),
            "transfer": MappingProxyType(
                {
                    **_PART,
                    "name": TEXT,
                    "sent": NUMBER,
                    "rate": NUMBER,
                    "retransmissions": NUMBER,
                    "outcome": TEXT,
                    "reason": TEXT,
                }
            ),
        }
    )
)
BOOT = MappingProxyType(
    {
        "number": NUMBER,
        "began": NUMBER,
        "address": TEXT,
        "kind": TEXT,
        "state": TEXT,
        "stage": TEXT,
        "verdict": Maybe(VERDICT),
        "left_out": NUMBER,
        "steps": ListOf(STEP),
    }
)
ROW = MappingProxyType(
    {
        "name": TEXT,
        "hostname": TEXT,
        "address": TEXT,
        "kind": TEXT,
        "state": TEXT,
        "stage": TEXT,
        "boot": NUMBER,
        "last": NUMBER,
        "verdict": Maybe(VERDICT),
        "transfers": ListOf(RUNNING),
        "daemon": MayLack(TEXT),
    }
)
CLIENT = MappingProxyType({**ROW, "boots": ListOf(BOOT), "elsewhere": MayLack(FLAG)})
STATS = MappingProxyType(
    {
        "clients": NUMBER,
        "running": NUMBER,
        "pools": ListOf(
            MappingProxyType({"network": TEXT, "taken": NUMBER, "addresses": NUMBER}),
        ),
        "daemons": ListOf(
            MappingProxyType(
                {
                    "name": TEXT,
                    "version": TEXT,
                    "here": FLAG,
                    "silent": FLAG,
                    "seen": NUMBER,
                    **dict.fromkeys(("leases", "booting", "up", "failed"), MayLack(NUMBER)),
                }
            )
        ),
        "database_away": Maybe(NUMBER),
    }
)
CLIENT_LIST = MappingProxyType({"now": NUMBER, "total": NUMBER, "clients": ListOf(ROW)})


def find_mismatch(value: object, shape: Any, where: str = "document") -> str:
    """Say which part of a value has another shape, as ``clients[3].name``; "" where none has."""
    if isinstance(shape, Maybe):
        return "" if value is None else find_mismatch(value, shape.shape, where)
    if isinstance(shape, ListOf):
        if not isinstance(value, list):
            return where
        parts = ((one, shape.shape, f"{where}[{at}]") for at, one in enumerate(value))
    elif isinstance(shape, OneOf):
        kind = value.get("type") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in shape.shapes:
            return f"{where}.type"
        return find_mismatch(value, shape.shapes[kind], where)
    elif isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return where
        lacking = {name for name, part in shape.items() if name not in value}
        if needed := [name for name in lacking if not isinstance(shape[name], MayLack)]:
            return f"{where}.{min(needed)}"
        parts = (
            (value[name], part.shape if isinstance(part, MayLack) else part, f"{where}.{name}")
            for name, part in shape.items()
            if name not in lacking
        )
    else:
        return "" if _fits(value, shape) else where
    return next((found for part in parts if (found := find_mismatch(*part))), "")


def _fits(value: object, shape: str) -> bool:
    if shape == NUMBER:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        return plain and math.isfinite(value) and abs(value) < _MAX_NUMBER  # type: ignore[arg-type]
    return isinstance(value, str if shape == TEXT else bool)
