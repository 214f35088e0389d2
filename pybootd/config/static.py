"""``[static_dhcp]``: addresses that are kept for MACs, beside those of ``[client]`` sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType

from pybootd.config import values
from pybootd.config.checks import explain_unusable
from pybootd.config.ini import Section
from pybootd.config.reader import ConfigReader
from pybootd.core.mac import format_mac, parse_mac

Kept = Mapping[bytes, tuple[IPv4Address, Section]]
"""By MAC, an address and the ``[client]`` section that says it."""


class StaticAddresses:
    """Every address that is kept for a MAC, and where each is written."""

    def __init__(self, reading: ConfigReader, kept: Kept) -> None:
        self._written: list[tuple[Section, str, IPv4Address]] = [
            (section, "address", address) for address, section in kept.values()
        ]
        found = {mac: address for mac, (address, _) in kept.items()}
        section = reading.section("static_dhcp")
        earlier: dict[bytes, str] = {}
        for option, text in section.options.items():
            if swapped := _explain_swapped(option, text):
                reading.faults.append(section.fault(option, *swapped))
                continue
            mac = reading.parse_value(section, option, values.MAC, option)
            address = reading.parse_value(section, option, values.ADDRESS, text)
            if mac is None or address is None:
                continue
            if mac in earlier:
                problem = f"the same MAC as in line {section.lines[earlier[mac]]}: keep one"
                reading.faults.append(section.fault(option, problem))
            elif mac in kept:
                problem = "its [client] section has an address, too"
                reading.faults.append(section.fault(option, problem))
            elif address in found.values():
                problem = f"{address} is kept for another MAC, too"
                reading.faults.append(section.fault(option, problem))
            earlier[mac], found[mac] = option, address
            self._written.append((section, option, address))
        self.by_mac = MappingProxyType(found)

    def check_networks(self, reading: ConfigReader, networks: tuple[IPv4Network, ...]) -> None:
        """Note addresses that no client can have.

        ``networks``: every network that is served; empty: not known yet.
        """
        for section, option, address in self._written:
            written = reading.written(section, option)
            if problem := explain_unusable(address):
                reading.faults.append(section.fault(written, problem))
                continue
            for problem in _explain_misplaced(address, networks):
                reading.warnings.append(section.warning(written, problem))


def _explain_misplaced(address: IPv4Address, networks: tuple[IPv4Network, ...]) -> Iterator[str]:
    home = next((one for one in networks if address in one), None)
    if home is None:
        if networks:
            yield f"{address} is in no network that is served: {', '.join(map(str, networks))}"
    elif home.prefixlen < 31 and address in (home.network_address, home.broadcast_address):
        yield f"{address} is the own address of {home}: no client can have it"


def _explain_swapped(option: str, text: str) -> tuple[str, str] | None:
    """Say that address and MAC stand in each other's place; None: they don't."""
    try:
        mac, address = parse_mac(text), IPv4Address(option)
    except ValueError:
        return None
    return "the MAC stands before the =", f"{format_mac(mac, '-')} = {address}"
