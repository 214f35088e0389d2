"""One client's boot: its steps and transfers in order, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pybootd.core.architecture import architecture_name
from pybootd.core.client import IPAddress
from pybootd.observe.boots.loaders import is_answer_file, is_normal_miss
from pybootd.observe.boots.roles import FileRole, guess_role
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind

BOOTS = 10  # of each client


class Boot:
    """One boot of one client, from its first question to the system that came up, or did not.

    ``booting``: network boot firmware or a loader took part, not just a system's DHCP client.
    ``followed``: when the next boot of this client began. ``switches``: how many steps there were
    when its firmware went on another way, from PXE to HTTP Boot say.
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
        "switches",
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
        self.switches: list[int] = []  # steps before which firmware went on another way
        self.cached: object = None  # a verdict that will not change any more

    def transfers(self) -> Iterator[BootTransfer]:
        """Yield the transfers in order."""
        return (step for step in self.steps if isinstance(step, BootTransfer))

    def has_step(self, *kinds: StepKind) -> bool:
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
                optional = step.kind is StepKind.MISSED and _is_optional(step.subject)
                if step.kind is not StepKind.RELEASED and not optional:
                    return False
            # what a system fetches; a loader that had asked for an address itself fetches more
            elif step.role not in (FileRole.OTHER, FileRole.ROOT) and not _is_answer(step):
                return False
        return False

    def cut_at(self, count: int) -> Boot:
        """Return this boot as it was after so many steps, and over then."""
        made = Boot(self.number, self.began)
        for name in ("architecture", "boot_file", "file_server", "interface", "relay", "proxy"):
            setattr(made, name, getattr(self, name))
        made.booting, made.ipxe = True, False
        made.steps = self.steps[:count]
        made.touched = made.followed = made.steps[-1].ended if made.steps else self.began
        return made

    def last_heard(self, now: float) -> float:
        """Say when something was last heard of it."""
        return now if self.active else self.touched

    @property
    def stage(self) -> StepKind | FileRole | None:
        """How far it has come; None: nothing happened yet."""
        if self.up:
            return StepKind.SYSTEM
        for step in reversed(self.steps):
            if isinstance(step, BootTransfer):
                return step.role
            if step.kind is not StepKind.RELEASED:
                return step.kind
        return None


def _is_optional(name: str) -> bool:
    """Tell whether a system does well without a file that it asked for."""
    if is_normal_miss(name):
        return True
    return guess_role(name) is FileRole.OTHER and not is_answer_file(name)


def _is_answer(step: BootTransfer) -> bool:
    """Tell whether a system fetched it for itself: what an installer or cloud-init asks for."""
    return is_answer_file(step.requested) or is_normal_miss(step.requested)


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


def name_kind(boot: Boot) -> str:
    """Say what boots: its architecture, and iPXE if it runs that."""
    if boot.architecture is None:
        return "iPXE" if boot.ipxe else ""
    return architecture_name(boot.architecture) + (" (iPXE)" if boot.ipxe else "")
