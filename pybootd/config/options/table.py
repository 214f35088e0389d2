"""Every section, in the order of the sample; what may stand in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pybootd.config.options import clients, files, service
from pybootd.config.options.declaration import Option, SectionDeclaration

SECTIONS: Mapping[str, SectionDeclaration] = MappingProxyType(
    {
        one.name: one
        for one in (
            service.LOGGER,
            clients.BOOTP,
            clients.BOOTFILE,
            clients.STATIC_DHCP,
            clients.SUBNET,
            clients.CLIENT,
            clients.CLASS,
            clients.MAC,
            clients.UUID,
            clients.HTTP,
            clients.BUGGY_CLIENTS,
            clients.OPTIONS,
            files.TFTP,
            files.HTTPD,
            service.SECURITY,
            files.CACHE,
            files.PINS,
            service.STATUS,
            files.FILTERS,
        )
    }
)

SECTION_NAMES = frozenset(SECTIONS) | {name for one in SECTIONS.values() for name in one.aliases}
"""Every name that a section may be written with."""
SECTION_KINDS = frozenset(one.name for one in SECTIONS.values() if one.label)
"""The sections whose names have a label behind them."""


def section_name(written: str) -> str:
    """Return a section's own name, whatever alias or letter case it is written with."""
    name = written.lower()
    return next((one.name for one in SECTIONS.values() if name in one.aliases), name)


def section_kind(name: str) -> str:
    """Return which declared section a name belongs to, "" when there is none.

    ``subnet 10.0.0.0/24`` is a ``subnet``.
    """
    first, _, label = name.partition(" ")
    declared = SECTIONS.get(first.lower())
    if declared is None or (label and not declared.label):
        return ""
    return declared.name


def options_of(kind: str) -> Mapping[str, Option]:
    """Return what may stand in a section: its own options, and those of others that it may have."""
    own = SECTIONS[kind].options
    lent = {
        name: option
        for section in SECTIONS.values()
        for name, option in section.options.items()
        if kind in option.also and name not in own
    }
    free = {name: option for name, option in own.items() if option.free}
    fixed = {name: option for name, option in own.items() if not option.free}
    return MappingProxyType({**fixed, **lent, **free})


def all_options() -> Iterator[Option]:
    """Yield every option where it is declared."""
    for section in SECTIONS.values():
        yield from section.options.values()


def restart_options(section: str) -> tuple[str, ...]:
    """Name the options of a section that a reload doesn't change."""
    return tuple(name for name, one in SECTIONS[section].options.items() if one.restart)


def build_config(section: str, found: Mapping[str, Any]) -> Any:
    """Make a section's dataclass of the values that were found; the others are its defaults."""
    config = SECTIONS[section].config
    if config is None:
        raise TypeError(f"[{section}] has no dataclass")
    return config(**found)
