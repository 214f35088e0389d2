"""What single values can't show: pools and their networks, addresses kept twice, ports twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Protocol

from pybootd.config.ini import Section
from pybootd.config.options.bootp import BootpConfig
from pybootd.config.options.service import LoggerConfig
from pybootd.config.reader import ConfigReader
from pybootd.config.values import ANY
from pybootd.core.finding import Finding

_PEERS = ("gateway", "next_server", "dns", "ntp")  # addresses of others that clients are told of


def check_pool(
    reading: ConfigReader,
    section: Section,
    network: IPv4Network | None,
    found: Mapping[str, Any],
    kept: Mapping[bytes, IPv4Address],
) -> None:
    """Note what is wrong with a section's pool; ``network`` None: which it is, is not known yet.

    ``found`` are the section's values, ``kept`` the addresses that are no one else's.
    """
    start, count = found.get("pool_start"), found.get("pool_count", 10)
    if network is not None:
        _check_gateway(reading, section, network, found.get("gateway"))
    if start is None:
        return
    if problem := explain_unusable(start):
        reading.faults.append(section.fault(reading.written(section, "pool_start"), problem))
        return
    last = int(start) + count - 1
    if network is not None:
        edges = (network.network_address, network.broadcast_address)
        if network.prefixlen < 31 and start in edges:
            problem = f"{start} is the network's own, and is never given: begin behind it"
            reading.warnings.append(section.warning("pool_start", problem))
        elif start in network and last > int(network.broadcast_address):
            problem = (
                f"the pool leads out of {network}: {count} addresses from {start} are too many"
            )
            most = int(network.broadcast_address) - int(start)
            option = reading.written(section, "pool_count")
            reading.warnings.append(section.warning(option, problem, str(most)))
    inside = range(int(start), last + 1)
    for option, address in _list_peers(found):
        if int(address) in inside and address not in kept.values():
            problem = f"{address} is in the pool, {start} to {IPv4Address(last)}, and may be given"
            advice = "to a client: leave it out of the pool"
            written = reading.written(section, option)
            reading.warnings.append(section.warning(written, f"{problem} {advice}"))


def _check_gateway(
    reading: ConfigReader, section: Section, network: IPv4Network, gateway: object
) -> None:
    if isinstance(gateway, IPv4Address) and gateway not in network:
        problem = f"{gateway} is not in {network}, so that clients can't reach it"
        written = reading.written(section, "gateway")
        reading.warnings.append(section.warning(written, problem))


def _list_peers(found: Mapping[str, Any]) -> Iterator[tuple[str, IPv4Address]]:
    for option in _PEERS:
        value = found.get(option)
        for address in value if isinstance(value, tuple) else (value,):
            if isinstance(address, IPv4Address):
                yield option, address
    address = found.get("address")
    if isinstance(address, IPv4Address) and address != ANY:
        yield "address", address


def explain_unusable(address: IPv4Address) -> str:
    """Say why no client may have this address; "" where one may."""
    for is_so, what in (
        (address.is_multicast, "a multicast address"),
        (address in IPv4Network("0.0.0.0/8"), "in 0.0.0.0/8"),
        (address in IPv4Network("240.0.0.0/4"), "reserved"),
    ):
        if is_so:
            return f"{address} is {what}: no client can have it"
    return ""


def served_networks(
    bootp: BootpConfig, subnets: tuple[IPv4Network, ...]
) -> tuple[IPv4Network, ...]:
    """Return the networks of all pools; empty where that of ``[bootp]`` follows an interface."""
    network = bootp_network(bootp)
    if bootp.pool_start is not None and network is None:
        return ()
    return (*subnets, *((network,) if network is not None else ()))


def bootp_network(bootp: BootpConfig) -> IPv4Network | None:
    """Return the network of the pool of ``[bootp]``; None where an interface says it."""
    if bootp.pool_start is None or bootp.netmask is None:
        return None
    return IPv4Network((bootp.pool_start, str(bootp.netmask)), strict=False)


class Endpoint(Protocol):
    """A section that says where to listen."""

    @property
    def address(self) -> IPv4Address:
        """The address."""

    @property
    def port(self) -> int:
        """The port."""


def check_ports(
    reading: ConfigReader, first: str, other: str, one: Endpoint, two: Endpoint
) -> list[Finding]:
    """Find that two sections listen on one port."""
    same = ANY in (one.address, two.address) or one.address == two.address
    if not one.port or one.port != two.port or not same:
        return []
    sections = (reading.section(other), reading.section(first))
    if reading.written(sections[0], "port") not in sections[0].options:
        sections = sections[::-1]
    told, there = sections
    problem = f"{two.port} is the port of [{there.name}], too: take another one"
    return [told.fault(reading.written(told, "port"), problem)]


def check_meaningless(reading: ConfigReader, bootp: BootpConfig, logger: LoggerConfig) -> None:
    """Warn of options that do nothing without another one."""
    for name, option, needed, there in (
        ("bootp", "share", "leases = postgresql://...", bootp.shared),
        ("bootp", "lease_copy", "leases = postgresql://...", bootp.shared),
        ("logger", "file", "type = file", logger.type == "file"),
    ):
        section = reading.section(name)
        written = reading.written(section, option)
        place = section.fault(written, "").place
        faulty = any(fault.place == place for fault in reading.faults)
        if not there and not faulty and written in section.options:
            problem = f"has no meaning without {needed}"
            reading.warnings.append(section.warning(written, problem))
