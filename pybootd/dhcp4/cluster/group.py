"""One request's part of a round trip to the database, and the server that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pybootd.dhcp4.actions import Action
from pybootd.dhcp4.handler import DhcpHandler
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire.packet import Packet
from pybootd.leases.shared.rows import Row

DecideAgain = Callable[[float], list[Action]]


@dataclass(slots=True, eq=False)
class LeaseGroup:
    """What one request did to leases, what is to be said of it, and how to decide it again."""

    rows: Sequence[Row]
    effects: list[Action]
    decide_again: DecideAgain


class SharingServer(Protocol):
    """A server whose leases are shared with others."""

    @property
    def subnets(self) -> Subnets:
        """The subnets in force, with their pools."""

    @property
    def handler(self) -> DhcpHandler:
        """What decides about requests."""

    def decide_packet(self, packet: Packet, origin: Arrival, now: float) -> list[Action]:
        """Decide what to do about a request."""

    def perform_actions(self, effects: Iterable[Action], now: float) -> None:
        """Do it."""


def decide_nothing(now: float) -> list[Action]:
    """Stand for a change of leases that no request has made."""
    return []
