"""One table of settings, read once into frozen dataclasses; every fault at once.

Nobody else sees configparser. A fault names file, line, section and option, what is wrong, and a
guess at what was meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

ANY = IPv4Address("0.0.0.0")

TRUE = frozenset(("on", "true", "enable", "enabled", "yes", "high", "ok", "1"))
FALSE = frozenset(("off", "false", "disable", "disabled", "no", "low", "ko", "0"))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a configuration file, where it stands, and a guess at what was meant.

    ``line`` 0: the fault has no line (a section or an option that is missing).
    """

    path: Path
    line: int
    section: str
    option: str
    problem: str
    meant: str = ""

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}:" if self.line else f"{self.path}:"
        place = f" [{self.section}]" if self.section else ""
        place += f" {self.option}:" if self.option else ":" if place else ""
        hint = f" (did you mean {self.meant}?)" if self.meant else ""
        return f"{where}{place} {self.problem}{hint}"


class ConfigError(Exception):
    """A configuration that can't be used; ``faults`` holds everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Section:
    """One section as it was written, for a plug-in that reads its own options.

    ``options`` keep their order and their letter case; ``lines`` tell where each stands.
    """

    name: str
    path: Path = Path()
    options: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    def fault(self, option: str, problem: str, meant: str = "") -> Fault:
        """Say what is wrong with one of the section's options."""
        return Fault(self.path, self.lines.get(option, 0), self.name, option, problem, meant)


def parse_boolean(text: str) -> bool:
    """Read a boolean in any of its spellings; raises ValueError with a message for people."""
    word = text.lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError(f"{text!r} is neither on nor off (on, true, enabled, yes, 1; off, false, ...)")


Gateway = IPv4Address | Literal["none", "self"]


@dataclass(frozen=True, slots=True)
class LoggerConfig:
    """``[logger]``."""

    type: str = "stderr"
    level: str = "info"
    file: Path | None = None
    format: str = "text"


@dataclass(frozen=True, slots=True)
class BootpConfig:
    """``[bootp]``. Times are seconds; an empty string or tuple is "not set"."""

    access: str = ""
    address: IPv4Address = ANY
    interface: tuple[str, ...] = ()
    port: int = 67
    allow_simple_dhcp: bool = False
    next_server: IPv4Address | None = None
    servername: str = "pybootd"
    domain: str = ""
    dns: tuple[IPv4Address, ...] = ()
    ntp: tuple[IPv4Address, ...] = ()
    gateway: Gateway = "self"
    netmask: IPv4Address | None = None
    pool_start: IPv4Address | None = None
    pool_count: int = 10
    lease_time: int = 86400
    max_lease_time: int = 86400


@dataclass(frozen=True, slots=True)
class BootFileConfig:
    """``[bootfile]``: which file for which architecture (option 93)."""

    default: str = ""
    by_architecture: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TftpConfig:
    """``[tftp]``. ``timeout`` in seconds; ``port_range`` is inclusive, None lets the system choose.

    ``root`` is an absolute path or a URL prefix.
    """

    root: str = ""
    address: IPv4Address = ANY
    port: int = 69
    blocksize: int = 65464
    windowsize: int = 64
    timeout: float = 1.0
    retries: int = 5
    port_range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration."""

    path: Path
    logger: LoggerConfig = LoggerConfig()
    bootp: BootpConfig = BootpConfig()
    bootfile: BootFileConfig = BootFileConfig()
    static: Mapping[bytes, IPv4Address] = field(default_factory=dict)
    tftp: TftpConfig = TftpConfig()
    sections: Mapping[str, Section] = field(default_factory=dict)
