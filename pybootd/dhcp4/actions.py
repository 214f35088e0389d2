"""What a decision may ask for, beside a reply: to tell, to ask an access list, to probe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from pybootd.access.base import AccessDecision
from pybootd.core.workers import Later, TaskResult
from pybootd.dhcp4.reply import Reply


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell what happened; ``durable``: only once the leases are saved."""

    event: object
    durable: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Run the call on a worker, then do what ``resume(outcome, now)`` says."""

    later: Later[AccessDecision]
    resume: Callable[[TaskResult[AccessDecision], float], list[Action]]


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the link for a user of the address, until ``deadline``; then ``resume(user, now)``.

    ``user`` is the MAC that answered, empty if none did.
    """

    address: IPv4Address
    interface: int
    source: IPv4Address
    deadline: float
    resume: Callable[[bytes, float], list[Action]]


Action = Reply | Publish | Wait | Probe
