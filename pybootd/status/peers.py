"""What other daemons with the same lease database saw: each machine once, with its newest outcome.

Moments are seconds since the epoch, by this host's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from pybootd.observe.boots.steps import StepKind
from pybootd.observe.boots.timeline import CLIENTS
from pybootd.status.rows import Json, compact_json

_KEPT = 7 * 86400.0  # seconds
_UNDECIDED = (StepKind.OFFERED.value, StepKind.CHOSE_ANOTHER.value)
_YIELDS = 10.0  # seconds; more than what two daemons' moments may be apart


def outcome_weight(stage_code: str, last: float) -> float:
    """Say how new an outcome is, to compare it with another daemon's of the same machine.

    All daemons offer and one is chosen: the others know of the same moment, but of no outcome.
    """
    return last - _YIELDS if stage_code in _UNDECIDED else last


class PeerMachine:
    """A machine as another daemon told of it, ``written`` then by the database's clock."""

    __slots__ = ("address", "daemon", "last", "name", "text", "weight", "words", "written")

    def __init__(self, daemon: str, row: Json, written: float, last: float) -> None:
        self.name = str(row["name"])
        self.address = row["address"]
        self.daemon = daemon
        self.written = written
        self.last = last
        self.weight = outcome_weight(row.get("stage_code", ""), last)
        began = last - (row["last"] - row["began"])  # the other host's clock may be wrong
        moments = {"began": round(began, 3), "last": round(last, 3)}
        self.text = compact_json({**row, **moments, "daemon": daemon, "elsewhere": True})
        verdict = row["verdict"] or {}
        told = (verdict.get(one, "") for one in ("name", "what"))
        own = (
            row[one] for one in ("name", "address", "hostname", "uuid", "kind", "state", "stage")
        )
        self.words = " ".join((*own, *told, daemon)).lower()

    def matches_words(self, words: Iterable[tuple[str, str]]) -> bool:
        """Tell whether each word stands in the row, as it is or written the other way."""
        return all(word in self.words or other in self.words for word, other in words)


class Peers:
    """The machines that other daemons saw, at most ``most``; those not told of for longest go."""

    def __init__(self, most: int = CLIENTS) -> None:
        self._most = most
        self._by_name: dict[str, PeerMachine] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[PeerMachine]:
        return iter(self._by_name.values())

    def by_name(self, name: str) -> PeerMachine | None:
        """Return the machine of this name."""
        return self._by_name.get(name)

    def find_machine(self, name: str) -> PeerMachine | None:
        """Return the machine with this MAC (any case, ``:`` or ``-``) or address."""
        name = name.strip().lower()
        found = self._by_name.get(name.replace("-", ":"))
        return found or next((one for one in self.list_newest() if one.address == name), None)

    def list_newest(self) -> list[PeerMachine]:
        """List them, the one heard of last first."""
        return sorted(self._by_name.values(), key=lambda one: -one.last)

    def note_machines(self, told: Iterable[PeerMachine], now: float) -> list[PeerMachine]:
        """Note what daemons told, oldest first; return what is news."""
        news = []
        for one in told:
            before = self._by_name.get(one.name)
            if before is None or before.daemon == one.daemon or before.weight <= one.weight:
                self._by_name.pop(one.name, None)
                self._by_name[one.name] = one
                news.append(one)
        while self._by_name:
            first = next(iter(self._by_name.values()))
            if len(self._by_name) <= self._most and now - first.last < _KEPT:
                break
            del self._by_name[first.name]
        return news


class Site(Protocol):
    """What daemons that share a lease database tell of each other.

    ``name``: this daemon's. ``away``: seconds for which the database has not answered, None: it
    does. ``changed`` is called with what others told since, while somebody looks on.
    """

    name: str
    others: Peers
    changed: Callable[[list[PeerMachine]], None] | None

    @property
    def daemons(self) -> list[Json]:
        """A row for each daemon."""

    @property
    def away(self) -> float | None:
        """For how long the database has been away."""
