"""The options that the administrator sets, for all clients or for some, and who gets which.

``[client]`` goes before ``[class]``, that before ``[subnet]``, that before ``[options]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from types import MappingProxyType

from pybootd.config.client_classes import ClientProfile
from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.config.options.table import section_kind
from pybootd.config.reader import split_dhcp_option
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.finding import Finding
from pybootd.dhcp4.wire.options import option_name, parse_option

MAX_SETS = 4096
"""Combinations of sections whose options are remembered."""


@dataclass(frozen=True, slots=True)
class OwnOption:
    """One option that is set: its value, and whether clients get it unasked (``!``)."""

    code: int
    value: bytes
    always: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class OptionSet:
    """What is set for one client: values by code, those sent unasked, those of client sections.

    ``personal`` are the codes that a ``[client]`` or a ``[class]`` sets.
    """

    values: dict[int, bytes]
    always: dict[int, bytes]
    personal: frozenset[int]


class OwnOptions:
    """Every option that is set: ``common`` ones, those of a subnet, those of a client or class.

    ``by_section`` goes by the names that a profile tells its sections by.
    """

    def __init__(
        self,
        common: Sequence[OwnOption] = (),
        by_network: Mapping[IPv4Network, Sequence[OwnOption]] = MappingProxyType({}),
        by_section: Mapping[str, Sequence[OwnOption]] = MappingProxyType({}),
    ) -> None:
        self._common, self._by_network, self._by_section = common, by_network, by_section
        self._for_all = _merge_options((common,), ())
        self._sets: BoundedMap[object, OptionSet] = BoundedMap(MAX_SETS)

    def find_options(self, profile: ClientProfile, network: IPv4Network) -> OptionSet:
        """Return what is set for a client of this profile in this network."""
        if not self._by_network and not self._by_section:
            return self._for_all
        key = (profile.sections, network)
        found = self._sets.get(key)
        if found is None:
            general = (self._common, self._by_network.get(network, ()))
            # the first section goes before the others
            personal = [self._by_section.get(name, ()) for name in reversed(profile.sections)]
            found = self._sets[key] = _merge_options(general, personal)
        return found


def _merge_options(
    general: Sequence[Sequence[OwnOption]], personal: Sequence[Sequence[OwnOption]]
) -> OptionSet:
    """Merge options; a later one takes the place of an earlier one."""
    merged = {one.code: one for options in (*general, *personal) for one in options}
    return OptionSet(
        {code: one.value for code, one in merged.items()},
        {code: one.value for code, one in merged.items() if one.always},
        frozenset(one.code for options in personal for one in options),
    )


def read_own_options(config: Config) -> OwnOptions:
    """Read ``[options]``, and every line ``option NAME = value``; raises ConfigError."""
    faults: list[Finding] = []
    common: Sequence[OwnOption] = ()
    by_section: dict[str, Sequence[OwnOption]] = {}
    for section in config.sections.values():
        if section_kind(section.name) == "options":
            common = _read_lines(section, section.options.items(), faults)
        elif lines := [*_find_lines(section)]:
            by_section[section.name] = _read_lines(section, lines, faults)
    if faults:
        raise ConfigError(faults)
    by_network = {
        subnet.network: by_section.pop(subnet.section)
        for subnet in config.subnets
        if subnet.section in by_section
    }
    return OwnOptions(common, by_network, by_section)


def _find_lines(section: Section) -> Iterator[tuple[str, str]]:
    if section_kind(section.name) in ("client", "class", "subnet"):
        for key, text in section.options.items():
            if split_dhcp_option(key):
                yield key, text


def _read_lines(
    section: Section, lines: Iterable[tuple[str, str]], faults: list[Finding]
) -> tuple[OwnOption, ...]:
    found: dict[int, OwnOption] = {}
    for key, text in lines:
        always = text.startswith("!")
        try:
            name = split_dhcp_option(key) or key
            code, value = parse_option(name, text[1:] if always else text)
        except ValueError as error:
            faults.append(section.fault(key, str(error)))
            continue
        if code in found:
            faults.append(section.fault(key, f"option {code} ({option_name(code)}) is set twice"))
        found[code] = OwnOption(code, value, always)
    return tuple(found.values())
