"""One boot as the rules see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pybootd.observe.boots.boot import Boot
from pybootd.observe.boots.roles import FileRole, guess_role, plain_name
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind, is_step
from pybootd.observe.content.kinds import Content, ContentKind

QUIET = 20.0  # seconds without a word after which a client is taken to have stopped
ASKING = 40.0  # the same of one that looks for a server: firmware pauses up to 32 s between tries
OFTEN = 3  # times that a client asks before our answers are said to get lost: one may be
RESTART = 60.0  # seconds within which firmware that refused a program goes on
FAILING = 900.0  # seconds within which a machine restarts whose system did not come up
SYSTEM = 180.0  # seconds that a kernel has to bring up its network


@dataclass(frozen=True, slots=True)
class FileLook:
    """What the files on disk tell of a name.

    ``content``: what the file is, None: there is none, or it can't be looked at. ``near``: names
    like it, where it is missing; ``link``: where a link of this name leads that ends nowhere.
    ``pending``: nobody has looked yet.
    """

    content: Content | None = None
    near: tuple[str, ...] = ()
    link: str = ""
    pending: bool = False


_CONFIGURATIONS = (
    ContentKind.IPXE_SCRIPT,
    ContentKind.PXELINUX_CONFIG,
    ContentKind.GRUB_CONFIG,
    ContentKind.TEXT,
)

Looker = Callable[[str], FileLook]


def _no_look(name: str) -> FileLook:
    return FileLook()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One boot as it stands at ``now``; ``look`` tells of a file by the name that was asked for.

    ``awaited``: files whose content was asked for, and that nobody has looked at yet.
    """

    boot: Boot
    now: float
    look: Looker = _no_look
    awaited: list[str] = field(default_factory=list)

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

    def content_of(self, transfer: BootTransfer) -> Content | None:
        """Say what a file that was fetched is; None: unknown, or it has changed since."""
        look = self.look(transfer.requested)
        if look.pending:
            self.awaited.append(transfer.requested)
        content = look.content
        if content is None or (transfer.size is not None and transfer.size != content.size):
            return None
        return content

    def newest_configuration(self) -> tuple[BootTransfer, Content] | None:
        """Return the newest loader's configuration that came, and its content."""
        for one in reversed(self.fetched):
            content = self.content_of(one)
            if (
                content is not None
                and content.kind in _CONFIGURATIONS
                and (content.names or content.kind is not ContentKind.TEXT)
            ):
                return one, content
        return None

    def due_names(self) -> list[str]:
        """Return what that configuration names, in order, and was not asked for."""
        found = self.newest_configuration()
        if found is None:
            return []
        asked = {_bare(one.requested) for one in self.boot.transfers()}
        asked |= {_bare(one.subject) for one in self.boot.steps if isinstance(one, Step)}
        return [one for one in found[1].names if _bare(one) not in asked and "$" not in one]

    def is_served_here(self, url: str) -> bool:
        """Tell whether a URL's file is one of those that are served here."""
        return self.look(plain_name(url)).content is not None

    @property
    def fetched(self) -> list[BootTransfer]:
        """The transfers that brought a whole file."""
        return [one for one in self.boot.transfers() if one.came]


def _bare(name: str) -> str:
    """Return a file's last part: loaders put folders and hosts in front of it."""
    return plain_name(name).rpartition("/")[2].lower()


def count_times(step: Step) -> str:
    """Say how often it happened."""
    return "once" if step.count == 1 else f"{step.count} times in {step.ended - step.began:.0f} s"


def role_in_boot(case: Evidence, name: str) -> FileRole:
    """Guess what a file that was asked for is to this boot."""
    return guess_role(name, case.boot.boot_file)
