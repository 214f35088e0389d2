"""``[logger]``, ``[security]``, ``[status]``: the daemon as a service of its host."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from pybootd.config import values
from pybootd.config.options.declaration import SectionDeclaration, option

LOOPBACK = IPv4Address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class LoggerConfig:
    """``[logger]``."""

    type: str = option(
        values.choice("stderr", "file", "syslog", "none"), "stderr", "Where log lines go."
    )
    level: str = option(
        values.choice("critical", "error", "warning", "info", "debug"),
        "info",
        "The least important lines that are logged.",
    )
    file: Path | None = option(
        values.PATH,
        None,
        "File to log to with ``type = file``, opened again on SIGHUP and when it was moved away.",
        default_text="none",
        example="/var/log/pybootd.log",
    )
    format: str = option(
        values.choice("text", "json"), "text", "``text``, or ``json``: one object a line."
    )


@dataclass(frozen=True, slots=True)
class SecurityConfig:
    """``[security]``: names of a user and a group of this system; "": not set."""

    user: str = option(
        values.USER,
        "",
        "User to become once the ports are bound.",
        default_text="none: root stays root, with a warning",
        example="pybootd",
        restart=True,
    )
    group: str = option(
        values.GROUP,
        "",
        "Group to become, together with ``user``.",
        default_text="the user's own",
        example="pybootd",
        restart=True,
    )


@dataclass(frozen=True, slots=True)
class StatusConfig:
    """``[status]``: the status page, JSON and metrics; ``port`` 0: off.

    ``token`` is asked of anyone who looks, where the address isn't a loopback one.
    """

    address: IPv4Address = option(values.ADDRESS, LOOPBACK, "Address to listen on.", restart=True)
    port: int = option(
        values.PORT_OR_OFF,
        8067,
        "Port to listen on; ``0``: off. A port that is taken is a warning.",
        restart=True,
    )
    token: str = option(
        values.WORD,
        "",
        "What a client must show. On a loopback address nothing must be shown unless it is set.",
        default_text="made up at start, and logged, where the address is no loopback one",
        example="wkt4bn",
        restart=True,
    )


LOGGER = SectionDeclaration("logger", "The log.", LoggerConfig)
SECURITY = SectionDeclaration(
    "security", "The rights that are left once the ports are bound.", SecurityConfig
)
STATUS = SectionDeclaration(
    "status",
    "What every machine does: the status page for people, JSON for programs (``pybootd status`` is"
    " one), metrics for Prometheus.",
    StatusConfig,
)
