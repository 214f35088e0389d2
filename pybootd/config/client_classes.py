"""Settings for some clients only: ``[subnet NET/LEN]``, ``[client MAC]``, ``[class NAME]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Any, TypeVar

from pybootd.config import values
from pybootd.config.guesses import guess_network, normalize_name
from pybootd.config.ini import Section
from pybootd.config.options.table import options_of
from pybootd.config.reader import ConfigReader, split_dhcp_option
from pybootd.config.values import ValueParser
from pybootd.core.architecture import ARCHITECTURE_CODES, architecture_name
from pybootd.core.client import Client
from pybootd.core.text import compile_wildcard, did_you_mean

T = TypeVar("T")

# variables that every client has: no section can set them
_GIVEN = ("file", "filename", "mac", "ip", "uuid", "arch", "server")
# what is written in place of an option of [client], without -, _ and dots
_NEAR = {
    "address": ("addr", "fixedaddress", "ipaddr", "ipaddress", "staticip"),
    "boot_file": ("bootfilename", "bootfiles", "bootimage", "kernelfile"),
    "hostname": ("hostnames", "clienthostname"),
}
_X64, _EBC = ARCHITECTURE_CODES["efi-x86_64"], ARCHITECTURE_CODES["efi-ebc"]


@dataclass(frozen=True, slots=True)
class SubnetConfig:
    """One more network that is served; ``own`` holds what differs from ``[bootp]``.

    ``section``: the name of its section, as it is written.
    """

    network: IPv4Network
    own: Mapping[str, Any]
    section: str = ""


@dataclass(frozen=True, slots=True)
class ClientProfile:
    """What is different for some clients; empty: nothing. ``variables`` are for filters.

    ``sections``: the names of the sections that say so, as they are written, the one that goes
    before the others first.
    """

    hostname: str = ""
    boot_file: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    sections: tuple[str, ...] = ()


NO_PROFILE = ClientProfile()


@dataclass(frozen=True, slots=True)
class ClientClass:
    """The clients that fit every rule: a field and the pattern that its text must match."""

    name: str
    rules: tuple[tuple[str, re.Pattern[str]], ...]
    profile: ClientProfile

    def matches_client(self, client: Client) -> bool:
        """Tell whether the client is one of them."""
        return all(any(map(rule.match, FIELDS[name](client))) for name, rule in self.rules)


@dataclass(frozen=True, slots=True)
class ClientProfiles:
    """Every ``[client]`` by its MAC, and every ``[class]`` in file order."""

    clients: Mapping[bytes, ClientProfile] = field(default_factory=dict)
    classes: tuple[ClientClass, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.clients or self.classes)

    def find_profile(self, client: Client) -> ClientProfile:
        """Return what is set for this client: its own section first, then its classes' in order."""
        fit = [one.profile for one in self.classes if one.matches_client(client)]
        own = self.clients.get(client.mac)
        if own is not None:
            fit.insert(0, own)
        if len(fit) < 2:
            return fit[0] if fit else NO_PROFILE
        variables: dict[str, str] = {}
        for one in reversed(fit):
            variables |= one.variables
        return ClientProfile(
            next((one.hostname for one in fit if one.hostname), ""),
            next((one.boot_file for one in fit if one.boot_file), ""),
            variables,
            tuple(name for one in fit for name in one.sections),
        )

    @property
    def variables(self) -> set[str]:
        """Name the variables that any of them defines."""
        every = (*self.clients.values(), *(one.profile for one in self.classes))
        return {name for one in every for name in one.variables}


def _architectures(client: Client) -> tuple[str, ...]:
    if client.architecture is None:
        return ("",)
    codes = [client.architecture, *client.other_architectures]
    if _EBC in codes:  # RFC 4578 erratum 4624: some x64 firmware says 9
        codes.append(_X64)
    names = (text for code in codes for text in (architecture_name(code), f"{code:05d}"))
    return tuple(names)


FIELDS: Mapping[str, Callable[[Client], tuple[str, ...]]] = MappingProxyType(
    {
        "vendor_class": lambda client: (client.vendor_class,),
        "user_class": lambda client: (client.user_class,),
        "architecture": _architectures,
        "mac": lambda client: (client.mac.hex(":"),),
        "uuid": lambda client: (str(client.uuid or ""),),
        "hostname": lambda client: (client.hostname,),
        "relay": lambda client: (str(client.relay or ""),),
        "circuit_id": lambda client: (client.circuit_id,),
        "interface": lambda client: (client.interface,),
    }
)
"""What a class may look at."""


def _find_sections(reading: ConfigReader, kind: str) -> Iterator[tuple[Section, str]]:
    """Yield each section of this kind, and what its name says behind the kind."""
    for section in reading.sections.values():
        first, _, rest = section.name.partition(" ")
        if first.lower() == kind:
            yield section, rest.strip()


def read_subnets(reading: ConfigReader, start: IPv4Address | None) -> tuple[SubnetConfig, ...]:
    """Read every ``[subnet]``; ``start`` is where the pool of ``[bootp]`` begins."""
    found: list[SubnetConfig] = []
    for section, name in _find_sections(reading, "subnet"):
        own = reading.read_options(section, options_of("subnet"))
        try:
            network = IPv4Network(name if "/" in name else "")
        except ValueError:
            reading.faults.append(section.fault("", *guess_network(name)))
            continue
        for problem in _explain_misfits(network, own, found, start):
            reading.faults.append(section.fault("pool_start", problem))
        if "lease_time" in own:
            own.setdefault("max_lease_time", own["lease_time"])
        found.append(SubnetConfig(network, MappingProxyType(own), section.name))
    return tuple(found)


def _explain_misfits(
    network: IPv4Network,
    own: Mapping[str, Any],
    others: list[SubnetConfig],
    start: IPv4Address | None,
) -> Iterator[str]:
    first = own.get("pool_start")
    if first is not None and first not in network:
        yield f"{first} is not in {network}"
    if start is not None and start in network:
        yield f"the pool of [bootp] begins in this network, too, at {start}: keep one"
    for other in others:
        if other.network.overlaps(network):
            yield f"{network} and [subnet {other.network}] overlap"


def read_profiles(
    reading: ConfigReader,
) -> tuple[ClientProfiles, dict[bytes, tuple[IPv4Address, Section]]]:
    """Read every ``[client]`` and ``[class]``; the addresses that clients are to have, too."""
    clients: dict[bytes, ClientProfile] = {}
    addresses: dict[bytes, tuple[IPv4Address, Section]] = {}
    for section, name in _find_sections(reading, "client"):
        if not name:
            problem = "names no machine: write [client AA-BB-CC-DD-EE-FF]"
            reading.faults.append(section.fault("", problem))
            continue
        mac = reading.parse_value(section, "", values.MAC, name)
        kept = _read_option(reading, section, "address", values.ADDRESS)
        profile = _read_profile(reading, section, ("address",))
        if mac is None:
            continue
        if mac in clients:
            reading.faults.append(section.fault("", "this client has a section already: keep one"))
        clients[mac] = profile
        if kept is None:
            continue
        for other, there in addresses.values():
            if other == kept:
                problem = f"{kept} is kept for [{there.name}] in line {there.line}, too"
                reading.faults.append(section.fault(reading.written(section, "address"), problem))
        addresses[mac] = kept, section
    classes = tuple(_read_class(reading, *one) for one in _find_sections(reading, "class"))
    return ClientProfiles(MappingProxyType(clients), classes), addresses


def _read_option(
    reading: ConfigReader, section: Section, option: str, parser: ValueParser[T]
) -> T | None:
    """Read one option of a section; None where it isn't written, or is at fault."""
    written = reading.written(section, option)
    if written not in section.options:
        return None
    return reading.parse_value(section, written, parser, section.options[written])


def _read_class(reading: ConfigReader, section: Section, name: str) -> ClientClass:
    rules = []
    matches = []
    for option, pattern in section.options.items():
        word, _, what = option.partition(" ")
        what = what.strip().lower()
        if word.lower() != "match":
            continue
        matches.append(option.lower())
        if not what:
            reading.faults.append(
                section.fault(option, "names no field: write match FIELD = pattern")
            )
            continue
        if what not in FIELDS:
            problem = f"{what!r} can't be matched; there are {', '.join(FIELDS)}"
            reading.faults.append(section.fault(option, problem, did_you_mean(what, FIELDS)))
            continue
        if what in ("mac", "uuid"):
            pattern = pattern.lower()
        if re.search(r"^\^|\.\*|\$$", pattern):
            problem = (
                f"{pattern!r} is no regular expression: * stands for any text, ? for one letter"
            )
            reading.warnings.append(section.warning(option, problem))
        rules.append(
            (what, compile_wildcard(pattern.replace("-", ":") if what == "mac" else pattern))
        )
    if not name:
        reading.faults.append(section.fault("", "has no name: write [class NAME]"))
    if not matches:
        problem = "fits no client: write a line such as match vendor_class = PXEClient*"
        reading.faults.append(section.fault("", problem))
    return ClientClass(name, tuple(rules), _read_profile(reading, section, tuple(matches)))


def _read_profile(
    reading: ConfigReader, section: Section, passed: tuple[str, ...]
) -> ClientProfile:
    """Read what is different for these clients; options ``passed`` have been read already."""
    variables: dict[str, str] = {}
    for option, text in section.options.items():
        name = option.lower()
        if name in (*passed, "hostname", "boot_file") or split_dhcp_option(name):
            continue
        if name == "address":
            reading.faults.append(section.fault(option, "one address is for one client alone"))
        elif name in _GIVEN:
            problem = f"{{{name}}} is a variable that every client has: take another name"
            reading.faults.append(section.fault(option, problem))
        else:
            if strange := _explain_variable(option):
                reading.warnings.append(section.warning(option, *strange))
            variables[option] = text
    declared = options_of("client")
    return ClientProfile(
        _read_option(reading, section, "hostname", declared["hostname"].parser) or "",
        _read_option(reading, section, "boot_file", declared["boot_file"].parser) or "",
        MappingProxyType(variables),
        (section.name,),
    )


def _explain_variable(option: str) -> tuple[str, str] | None:
    """Say that an option is a variable, and most likely not meant as one; None: it may be."""
    name = normalize_name(option)
    if option.lower() in options_of("subnet"):
        return f"is only a variable here, {{{option}}}: clients are not told of it", ""
    if re.fullmatch(r"(dhcp)?option[:=]?\d+|\d+", name):
        return "is only a variable here", f"option {re.sub('[^0-9]', '', name)} = value"
    for known in ("address", "boot_file", "hostname"):
        if name in (normalize_name(known), *_NEAR[known]):
            return f"is only a variable here, {{{option}}}", known
    return None
