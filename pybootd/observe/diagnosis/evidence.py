"""One boot as the rules see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pybootd.observe.boots.boot import Boot
from pybootd.observe.boots.roles import FileRole, guess_role
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind, is_step

QUIET = 20.0  # seconds without a word after which a client is taken to have stopped
ASKING = 40.0  # the same of one that looks for a server: firmware pauses up to 32 s between tries
OFTEN = 3  # times that a client asks before our answers are said to get lost: one may be
SYSTEM = 180.0  # seconds that a kernel has to bring up its network


@dataclass(frozen=True, slots=True)
class FileLook:
    """What the files on disk tell: a boot file's first octets, and names like one that is missing.

    ``head`` None: it could not be looked at.
    """

    head: bytes | None = None
    near: tuple[str, ...] = ()


Looker = Callable[[str], FileLook]


def _no_look(name: str) -> FileLook:
    return FileLook()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One boot as it stands at ``now``; ``look`` tells of a file by the name that was asked for."""

    boot: Boot
    now: float
    look: Looker = _no_look

    @property
    def newest(self) -> Step | BootTransfer:
        """What happened last, an address that was given back left out."""
        steps = [one for one in self.boot.steps if not is_step(one, StepKind.RELEASED)]
        return steps[-1]

    @property
    def over(self) -> bool:
        """The client has started over since."""
        return self.boot.followed is not None

    def is_silent(self, seconds: float) -> bool:
        """Nothing has come for so long, or the client has started over."""
        return self.over or (not self.boot.active and self.now - self.boot.touched >= seconds)

    def newest_step(self, *kinds: StepKind) -> Step | None:
        """Return the newest step of these kinds."""
        for one in reversed(self.boot.steps):
            if isinstance(one, Step) and one.kind in kinds:
                return one
        return None

    @property
    def fetched(self) -> list[BootTransfer]:
        """The transfers that brought a whole file."""
        return [one for one in self.boot.transfers() if one.came]


def count_times(step: Step) -> str:
    """Say how often it happened."""
    return "once" if step.count == 1 else f"{step.count} times in {step.ended - step.began:.0f} s"


def role_in_boot(case: Evidence, name: str) -> FileRole:
    """Guess what a file that was asked for is to this boot."""
    return guess_role(name, case.boot.boot_file)
