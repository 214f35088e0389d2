"""The ports: can each be bound, and does the firewall let a boot through."""

from __future__ import annotations

import errno
import functools
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface

from pybootd.commands.doctor import host_checks
from pybootd.commands.doctor.firewall import (
    BlockedWay,
    FirewallCopy,
    FirewallUnknown,
    has_firewall,
)
from pybootd.commands.doctor.host_state import DoctorCode, HostState, fault, fine, warning
from pybootd.config.loader import Config
from pybootd.config.values import ANY
from pybootd.core.finding import Finding
from pybootd.system.interfaces import Interface

_MAX_COPIES = 4  # networks whose firewall is tried


def check_ports(host: HostState) -> Iterator[Finding]:
    """See whether every port can be bound, as the daemon binds it."""
    for protocol, address, port, option, without in _configured_ports(host.config):
        what = f"{protocol.upper()} port {port}"
        by_device = port in (host.config.bootp.port, 4011) and protocol == "udp"
        devices = host.config.bootp.interface if by_device else ()
        error = _try_binding(protocol, address, port, devices)
        if error is None:
            yield fine(DoctorCode.PORT_FREE, f"{what} is free")
        elif error.errno in (errno.EACCES, errno.EPERM):
            yield fault(DoctorCode.PORT_RIGHT, f"{what}: no right to bind it", "Start as root.")
        elif error.errno == errno.ENODEV:
            continue  # the interface is not there, which is told of it
        else:
            who = host_checks.find_port_holder(protocol, port)
            told = f"{what} is taken by {who}" if who else f"{what}: {error.strerror}"
            if without:  # as the daemon has it, which warns, and goes on
                yield warning(DoctorCode.PORT_TAKEN, told, f"Stop that program{option}. {without}")
            else:
                yield fault(DoctorCode.PORT_TAKEN, told, f"Stop that program{option}.")


def _try_binding(
    protocol: str, address: IPv4Address, port: int, devices: tuple[str, ...]
) -> OSError | None:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    for device in devices or ("",):
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                if protocol == "tcp":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if device:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
                sock.bind((str(address), port))
            except OSError as error:
                return error
    return None


def _configured_ports(config: Config) -> Iterator[tuple[str, IPv4Address, int, str, str]]:
    """Yield each port, what else than stopping its holder helps, and how it goes without it."""
    bootp, tftp, httpd, status = config.bootp, config.tftp, config.httpd, config.status
    if bootp.pool_start is not None or bootp.mode == "proxy" or config.subnets:
        yield "udp", ANY, bootp.port, ", or change [bootp] port", ""
        if bootp.port == 67:
            without = "Offers hold all that is asked there." if bootp.mode == "dhcp" else ""
            yield "udp", ANY, 4011, "", without
    if tftp.root:
        yield "udp", tftp.address, tftp.port, ", or change [tftp] port", ""
    if httpd.enable:
        yield "tcp", httpd.address, httpd.port, ", or change [httpd] port", ""
    if status.port:
        option = ", or change [status] port"
        yield "tcp", status.address, status.port, option, "Machines boot without the status page."


def check_firewall(host: HostState) -> Iterator[Finding]:
    """Try each packet of a boot in a copy of this host's firewall."""
    if os.geteuid() != 0:
        yield warning(
            DoctorCode.FIREWALL_UNKNOWN, "the firewall was not looked at", "Start doctor as root."
        )
        return
    try:
        if not has_firewall():
            yield fine(DoctorCode.FIREWALL_OPEN, "this host has no firewall rules")
            return
        for link in host.served_interfaces()[:_MAX_COPIES]:
            own = _own_address(host, link)
            if own is not None:
                yield from _try_boot(host, link, own)
    except FirewallUnknown as error:
        yield warning(
            DoctorCode.FIREWALL_UNKNOWN,
            f"the firewall's rules could not be tried: {error}",
            "See that it lets in UDP ports 67, 69 and 4011 on the boot network.",
        )


def _own_address(host: HostState, link: Interface) -> IPv4Interface | None:
    start = host.config.bootp.pool_start
    inside = [own for own in link.addresses if start is not None and start in own.network]
    return next(iter((*inside, *link.addresses)), None)


def _try_boot(host: HostState, link: Interface, own: IPv4Interface) -> Iterator[Finding]:
    client = _choose_client(host, own)
    with FirewallCopy(host.interfaces, link, own, client) as copy:
        blocked = [way for trial in _list_trials(host.config, copy) if (way := trial()) is not None]
    for one in {(way.way, way.outgoing): way for way in blocked}.values():
        rule = f" ({one.rule})" if one.rule else ""
        yield fault(
            DoctorCode.FIREWALL,
            f"{link.name}: the firewall drops {one.way}{rule}",
            "Let it out there." if one.outgoing else "Let it in on the boot network.",
        )
    if not blocked:
        yield fine(DoctorCode.FIREWALL_OPEN, f"{link.name}: the firewall lets a boot through")


def _list_trials(config: Config, copy: FirewallCopy) -> Iterator[Callable[[], BlockedWay | None]]:
    bootp, tftp, httpd = config.bootp, config.tftp, config.httpd
    if bootp.port == 67:
        yield copy.find_blocked_dhcp
        yield lambda: copy.find_blocked_udp(4011)
    if tftp.root:
        for data_port in sorted(set(tftp.port_range or (0,))):
            yield functools.partial(copy.find_blocked_transfer, tftp.port, data_port)
    if httpd.enable:
        yield lambda: copy.find_blocked_tcp(httpd.port)


def _choose_client(host: HostState, own: IPv4Interface) -> str:
    """Choose an address that a machine there could have: the pool's first, else a neighbour's."""
    start, network = host.config.bootp.pool_start, own.network
    if start is not None and start in network and start != own.ip:
        return str(start)
    return str(own.ip + 1 if own.ip + 2 < network.broadcast_address else own.ip - 1)
