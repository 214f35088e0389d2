"""The steps of a boot: what DHCP and file requests came to, and the transfers."""

from __future__ import annotations

import sys
from enum import Enum

from pybootd.core import events
from pybootd.core.events import (
    ConflictCause,
    EndCause,
    FileProblem,
    RefusalCause,
    TransferOutcome,
)
from pybootd.observe.boots.roles import FileRole

MAX_TEXT = 200
"""Characters of a name or reason that are kept."""


class StepKind(Enum):
    """What a step that is no transfer was."""

    OFFERED = "offered"
    CHOSE_ANOTHER = "chose-another"
    CONFIRMED = "confirmed"
    SYSTEM = "system-up"
    REFUSED = "refused"
    CONFLICT = "conflict"
    RELEASED = "released"
    MISSED = "file-missing"
    FORBIDDEN = "file-refused"
    UNAVAILABLE = "file-unavailable"


StepCause = RefusalCause | ConflictCause | FileProblem


class Step:
    """Something that happened, ``count`` times from ``began`` to ``ended``.

    ``subject`` is what it was about: an address, the other server, the file asked for. ``detail``
    is for people: the boot file, the name that was looked for, what else is known. ``cause``: why
    it was refused, or in conflict.
    """

    __slots__ = ("began", "cause", "count", "detail", "ended", "kind", "subject")

    running = False

    def __init__(
        self, kind: StepKind, when: float, subject: str, detail: str, cause: StepCause | None
    ) -> None:
        self.kind = kind
        self.began = self.ended = when
        self.subject = subject
        self.detail = detail
        self.cause = cause
        self.count = 1


class BootTransfer:
    """One file on its way; ``outcome`` is None while it is ``running``."""

    __slots__ = (
        "_progress",
        "_retransmissions",
        "_sent",
        "began",
        "blocksize",
        "cause",
        "ended",
        "outcome",
        "problem",
        "protocol",
        "reason",
        "requested",
        "role",
        "running",
        "served",
        "size",
        "windowsize",
    )

    def __init__(self, event: events.TransferStarted, role: FileRole, when: float) -> None:
        self.protocol = event.protocol
        self.requested = keep_text(event.requested)
        self.served = self.requested if event.served == event.requested else keep_text(event.served)
        self.size = event.size
        self.blocksize = event.blocksize
        self.windowsize = event.windowsize
        self.role = role
        self.began = self.ended = when
        self.running = True
        self.outcome: TransferOutcome | None = None
        self.reason = ""
        self.cause = EndCause.NONE
        self.problem: FileProblem | None = None
        self._sent = self._retransmissions = 0
        self._progress = event.progress

    @property
    def progress(self) -> tuple[int, int]:
        """Octets of the file that have arrived, and blocks sent again."""
        return self._progress() if self._progress else (self._sent, self._retransmissions)

    @property
    def sent(self) -> int:
        """Octets of the file that have arrived."""
        return self.progress[0]

    @property
    def retransmissions(self) -> int:
        """Blocks sent again."""
        return self.progress[1]

    @property
    def done(self) -> bool:
        """The whole file has arrived."""
        return self.outcome is TransferOutcome.DONE

    @property
    def came(self) -> bool:
        """The whole file has arrived, or all but the last ACK (RFC 1350 6: that may be whole).

        Firmware that starts what it fetched may stop its network card before that ACK has left.
        """
        if not self.running:
            return self.done or self.cause is EndCause.LAST_ACK_MISSING
        return self.size is not None and self.size - self.sent <= self.blocksize * self.windowsize

    def is_ended_by(self, event: events.TransferEnded) -> bool:
        """Tell whether it is this one's end, which is on its way."""
        return (
            self.protocol == event.protocol
            and event.progress in (None, self._progress)
            and self.requested == keep_text(event.requested)
        )

    def end_transfer(self, event: events.TransferEnded, when: float) -> None:
        """Note how it went."""
        self._progress = None
        self._sent, self._retransmissions = event.sent, event.retransmissions
        self.running = False
        self.outcome = event.outcome
        self.reason = keep_text(event.reason)
        self.cause, self.problem = event.cause, event.problem
        self.ended = when


def is_step(step: Step | BootTransfer, *kinds: StepKind) -> bool:
    """Tell whether it is a step of one of these kinds."""
    return isinstance(step, Step) and step.kind in kinds


def keep_text(text: str) -> str:
    """Cut a text to what is kept of it; equal ones are kept once."""
    return (
        sys.intern(text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}...") if text else ""
    )
