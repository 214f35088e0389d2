"""Who has to give way when all downloads are taken: the client that holds most of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol, TypeVar


class Requester(NamedTuple):
    """The client for which a file is fetched, and the field ``Via`` of its request.

    ``via`` names the programs that it came through (RFC 9110 7.6.3), so that a loop is seen.
    """

    peer: str = ""
    via: str = ""


class HasRequester(Protocol):
    """What was started for a client."""

    requester: Requester


T = TypeVar("T", bound=HasRequester)


def find_victim(held: Iterable[T], peer: str) -> T | None:
    """Return what gives way to one more for this peer: the newest of the peer that holds most.

    ``held`` is in the order in which they began. None: the peer itself holds as many, or would.
    """
    items = list(held)
    counts = Counter(one.requester.peer for one in items)
    most = max(counts, key=lambda one: counts[one], default=peer)
    if counts[most] <= counts[peer] + 1:
        return None
    return next(one for one in reversed(items) if one.requester.peer == most)


def count_held(held: Iterable[T], peer: str) -> int:
    """Count what is held for this peer."""
    return sum(one.requester.peer == peer for one in held)
