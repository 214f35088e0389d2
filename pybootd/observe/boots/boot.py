"""One client's boot: its steps and transfers in order, and how far it has come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from pybootd.core import events
from pybootd.core.architecture import architecture_name
from pybootd.core.client import IPAddress
from pybootd.core.events import LAST_ACK, RefusalCause, TransferOutcome
from pybootd.observe.boots.roles import FileRole

BOOTS = 10  # of each client
_TEXT = 200  # characters of a name or reason that are kept


class StepKind(Enum):
    """What a step that is no transfer was."""

    OFFERED = "offered"
    CHOSE_ANOTHER = "took another server's offer"
    CONFIRMED = "address confirmed"
    SYSTEM = "system up"
    REFUSED = "refused"
    CONFLICT = "address in use"
    RELEASED = "released"
    MISSED = "file not found"
    FORBIDDEN = "file refused"
    UNAVAILABLE = "file unavailable"


class Step:
    """Something that happened, ``count`` times from ``began`` to ``ended``.

    ``text`` is the address, the other server, the file asked for, or why it was refused; ``more``
    what else is known of it: the boot file, the name that was looked for, the reason.
    """

    __slots__ = ("began", "cause", "count", "ended", "kind", "more", "text")

    running = False

    def __init__(
        self, kind: StepKind, when: float, text: str, more: str, cause: RefusalCause | None
    ) -> None:
        self.kind = kind
        self.began = self.ended = when
        self.text = text
        self.more = more
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
        "ended",
        "outcome",
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
        self.requested = kept(event.requested)
        self.served = self.requested if event.served == event.requested else kept(event.served)
        self.size = event.size
        self.blocksize = event.blocksize
        self.windowsize = event.windowsize
        self.role = role
        self.began = self.ended = when
        self.running = True
        self.outcome: TransferOutcome | None = None
        self.reason = ""
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
            return self.done or self.reason == LAST_ACK
        return self.size is not None and self.size - self.sent <= self.blocksize * self.windowsize

    def is_meant(self, event: events.TransferEnded) -> bool:
        """Tell whether it is this one's end, which is on its way."""
        return (
            self.protocol == event.protocol
            and event.progress in (None, self._progress)
            and self.requested == kept(event.requested)
        )

    def end(self, event: events.TransferEnded, when: float) -> None:
        """Note how it went."""
        self._progress = None
        self._sent, self._retransmissions = event.sent, event.retransmissions
        self.running = False
        self.outcome = event.outcome
        self.reason = kept(event.reason)
        self.ended = when


def is_step(step: Step | BootTransfer, *kinds: StepKind) -> bool:
    """Tell whether it is a step of one of these kinds."""
    return isinstance(step, Step) and step.kind in kinds


class Boot:
    """One boot of one client, from its first question to the system that came up, or did not.

    ``booting``: network boot firmware or a loader took part, not just a system's DHCP client.
    ``followed``: when the next boot of this client began.
    """

    __slots__ = (
        "active",
        "address",
        "architecture",
        "began",
        "boot_file",
        "booting",
        "cached",
        "file_server",
        "followed",
        "interface",
        "ipxe",
        "left_out",
        "middle",
        "number",
        "proxy",
        "relay",
        "steps",
        "touched",
        "vendor_class",
    )

    def __init__(self, number: int, when: float) -> None:
        self.number = number
        self.began = self.touched = when
        self.steps: list[Step | BootTransfer] = []
        self.booting = False
        self.ipxe = False
        self.proxy = False
        self.architecture: int | None = None
        self.vendor_class = ""
        self.boot_file = ""
        self.file_server = ""
        self.address: IPAddress | None = None
        self.relay: IPAddress | None = None
        self.interface = ""
        self.left_out = 0
        self.middle = 0  # before it, whatever may be left out still runs
        self.active = 0  # transfers on their way
        self.followed: float | None = None
        self.cached: object = None  # a verdict that will not change any more

    def transfers(self) -> Iterator[BootTransfer]:
        """Yield the transfers in order."""
        return (step for step in self.steps if isinstance(step, BootTransfer))

    def has(self, *kinds: StepKind) -> bool:
        """Tell whether a step of one of these kinds happened."""
        return any(isinstance(step, Step) and step.kind in kinds for step in self.steps)

    @property
    def running(self) -> list[BootTransfer]:
        """The transfers that are on their way."""
        found: list[BootTransfer] = []
        for step in reversed(self.steps):
            if len(found) >= self.active:
                break
            if isinstance(step, BootTransfer) and step.running:
                found.append(step)
        return found[::-1]

    @property
    def up(self) -> bool:
        """The system that was booted asked for its address, and fetched nothing since."""
        for step in reversed(self.steps):
            if isinstance(step, Step):
                if step.kind is StepKind.SYSTEM:
                    return True
                if step.kind is not StepKind.RELEASED:
                    return False
            elif (
                step.role is not FileRole.OTHER
            ):  # a loader that had asked for an address of its own
                return False
        return False

    def last(self, now: float) -> float:
        """Say when something was last heard of it."""
        return now if self.active else self.touched

    @property
    def stage(self) -> str:
        """How far it has come, for people."""
        if self.up:
            return StepKind.SYSTEM.value
        for step in reversed(self.steps):
            if isinstance(step, BootTransfer):
                return str(step.role.value)
            if step.kind is not StepKind.RELEASED:
                return str(step.kind.value)
        return ""


@dataclass(slots=True)
class ClientRecord:
    """One client, known by its MAC, or by its address where no DHCP request told more.

    ``standing`` and ``known``: what was last made of it, and of its names, for those who look on;
    None and "" since a change.
    """

    name: str
    mac: bytes = b""
    address: IPAddress | None = None
    hostname: str = ""
    uuid: str = ""
    boots: list[Boot] = field(default_factory=list)
    count: int = 0
    standing: object = None
    known: str = ""

    @property
    def boot(self) -> Boot:
        """The newest boot."""
        return self.boots[-1]


def kind_of(boot: Boot) -> str:
    """Say what boots: its architecture, and iPXE if it runs that."""
    if boot.architecture is None:
        return "iPXE" if boot.ipxe else ""
    return architecture_name(boot.architecture) + (" (iPXE)" if boot.ipxe else "")


def kept(text: str) -> str:
    """Cut a text to what is kept of it; equal ones are kept once."""
    return sys.intern(text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}...") if text else ""
