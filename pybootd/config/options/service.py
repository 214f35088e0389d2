"""``[logger]``, ``[security]``, ``[status]``: the daemon as a service of its host."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

LOOPBACK = IPv4Address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class LoggerConfig:
    """``[logger]``."""

    type: str = "stderr"
    level: str = "info"
    file: Path | None = None
    format: str = "text"


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """``[security]``: names of a user and a group of this system; "": not set."""

    user: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class StatusConfig:
    """``[status]``: the status page, JSON and metrics; ``port`` 0: off.

    ``token`` is asked of whoever looks, where the address isn't a loopback one.
    """

    address: IPv4Address = LOOPBACK
    port: int = 8067
    token: str = ""
