"""What the sessions of one TFTP server share, and what a session is about."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pybootd.core.client import KnownClient
from pybootd.core.events import EndCause, EventBus, FileProblem, TransferOutcome
from pybootd.core.loop import Loop
from pybootd.tftp.blocks import Buffer
from pybootd.tftp.proof import UnprovenBound
from pybootd.tftp.tid import PeerAddress, TransferPorts

log = logging.getLogger(__name__)


class HasDescriptor(Protocol):
    """What owns a connected socket: its descriptor, -1 once it is closed."""

    descriptor: int


class TftpRequest(NamedTuple):
    """A read request: who asked which own address, on which interface, when; and its bytes.

    ``known``: what is known of the client by its address.
    """

    peer: PeerAddress
    local: str
    interface: int
    data: bytes
    name: str
    began: float
    known: KnownClient | None = None


class TransferEnd(NamedTuple):
    """How and why a transfer ends; the fields are those of TransferEnded."""

    outcome: TransferOutcome
    cause: EndCause = EndCause.NONE
    reason: str = ""
    problem: FileProblem | None = None


@dataclass(slots=True)
class TftpContext:
    """What all sessions of one server share. ``offload``: whether sends may be cut by the system.

    ``without_offload``: numbers of the interfaces that were seen to refuse it.
    """

    loop: Loop
    bus: EventBus
    ports: TransferPorts
    bound: UnprovenBound
    offload: bool = sys.platform == "linux"
    without_offload: set[int] = field(default_factory=set)
    send_queue: list[tuple[HasDescriptor, Buffer]] = field(default_factory=list)

    def may_offload(self, interface: int) -> bool:
        """Tell whether sends on this interface may be cut by the system."""
        return self.offload and interface not in self.without_offload

    def send_queued(self, now: float) -> None:
        """Send what was queued; what can't leave is a loss like any other."""
        write = os.write
        for session, packet in self.send_queue:
            try:
                write(session.descriptor, packet)
            except OSError as error:
                log.debug("tftp: a packet could not leave: %s", error)
        self.send_queue.clear()
