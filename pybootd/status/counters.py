"""Counts of what happened since the start, for the metrics."""

from __future__ import annotations

from collections import Counter

from pybootd.core import events
from pybootd.core.events import EventBus


class Counters:
    """Counts by kind; nothing that a client says is a key, so there are only so many."""

    def __init__(self, bus: EventBus) -> None:
        self.dhcp: Counter[str] = Counter()
        self.transfers: Counter[tuple[str, str]] = Counter()
        self.octets: Counter[str] = Counter()
        self.retransmissions = 0
        self.refused: Counter[tuple[str, str]] = Counter()
        self.malformed: Counter[str] = Counter()
        bus.subscribe(events.Offered, lambda event: self._count_exchange("offered"))
        bus.subscribe(events.Confirmed, lambda event: self._count_exchange("confirmed"))
        bus.subscribe(events.Released, lambda event: self._count_exchange("released"))
        bus.subscribe(events.AddressConflict, lambda event: self._count_exchange("conflict"))
        bus.subscribe(events.ChoseAnother, lambda event: self._count_exchange("chose_another"))
        bus.subscribe(events.Refused, lambda event: self._count_exchange("refused"))
        bus.subscribe(events.TransferEnded, self._count_transfer)
        bus.subscribe(events.TransferRefused, self._count_refusal)
        bus.subscribe(events.Malformed, self._count_malformed)

    def _count_exchange(self, what: str) -> None:
        self.dhcp[what] += 1

    def _count_transfer(self, event: events.TransferEnded) -> None:
        self.transfers[event.protocol, event.outcome.value] += 1
        self.octets[event.protocol] += event.sent
        self.retransmissions += event.retransmissions

    def _count_refusal(self, event: events.TransferRefused) -> None:
        why = "missing" if event.missing else "unavailable" if event.unavailable else "forbidden"
        self.refused[event.protocol, why] += 1

    def _count_malformed(self, event: events.Malformed) -> None:
        self.malformed[event.protocol] += 1
