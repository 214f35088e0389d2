"""The ports: can each be bound, and does the firewall let its packets in."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

from pybootd.commands.doctor import host_checks
from pybootd.commands.doctor.host_state import DoctorCode, HostState, fault, fine, warning
from pybootd.config.loader import Config
from pybootd.config.values import ANY
from pybootd.core.finding import Finding


def check_ports(host: HostState) -> Iterator[Finding]:
    """See whether every port can be bound, and whether the firewall lets its packets in."""
    for protocol, address, port, option, without in _configured_ports(host.config):
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        what = f"{protocol.upper()} port {port}"
        with socket.socket(socket.AF_INET, kind) as sock:
            if protocol == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((str(address), port))
            except PermissionError:
                yield fault(DoctorCode.PORT_RIGHT, f"{what}: no right to bind it", "Start as root.")
                continue
            except OSError as error:
                who = host_checks.find_port_holder(protocol, port)
                told = f"{what} is taken by {who}" if who else f"{what}: {error.strerror}"
                if without:  # as the daemon has it, which warns, and goes on
                    yield warning(
                        DoctorCode.PORT_TAKEN, told, f"Stop that program{option}. {without}"
                    )
                else:
                    yield fault(DoctorCode.PORT_TAKEN, told, f"Stop that program{option}.")
                continue
        if rule := host_checks.find_drop(protocol, port):
            yield fault(
                DoctorCode.FIREWALL,
                f"{what}: the firewall drops it ({rule})",
                "Let it in on the boot network.",
            )
        else:
            yield fine(DoctorCode.PORT_FREE, f"{what} is free, and no firewall rule drops it")


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
