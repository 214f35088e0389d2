"""``pybootd doctor``: before going live, what on this host and network would keep boots from going.

Each check is a function that yields findings; a new one is a line in ``CHECKS``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID

from pybootd.commands import host_checks
from pybootd.commands.display import terminal, text
from pybootd.commands.prober import ProbeError, Prober
from pybootd.config.ini import ConfigError, find_file
from pybootd.config.loader import Config
from pybootd.config.loader import examine as examine_config
from pybootd.config.values import ANY
from pybootd.core import finding
from pybootd.core.architecture import architecture_name
from pybootd.files.resolver import Files
from pybootd.observe.boots.roles import bios_only, examine
from pybootd.status.service import look_at
from pybootd.system import interfaces
from pybootd.system.interfaces import Interface

_ETHERNET = 1500
_STYLES = {"fault": "bold red", "warning": "yellow", "fine": "green"}


@dataclass(frozen=True, slots=True)
class Finding:
    """``grade``: ``fault``, ``warning`` or ``fine``; ``advice`` what to do, "" for fine ones."""

    grade: str
    what: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class HostState:
    """What is examined: the configuration, the files that are served, the host's interfaces."""

    config: Config
    files: tuple[Files, ...]
    interfaces: tuple[Interface, ...]
    wait: float

    def served(self) -> list[Interface]:
        """Return the interfaces that the DHCP server would serve."""
        names, start = self.config.bootp.interface, self.config.bootp.pool_start
        wired = [one for one in self.interfaces if one.name != "lo" and one.mac]
        if names:
            return [one for one in wired if one.name in names]
        return [
            one
            for one in wired
            if any(start is None or start in own.network for own in one.addresses)
        ]


Check = Callable[[HostState], Iterator[Finding]]


def fault(what: str, advice: str) -> Finding:
    """Find what keeps boots from going."""
    return Finding("fault", what, advice)


def warning(what: str, advice: str) -> Finding:
    """Find what may keep some boots from going."""
    return Finding("warning", what, advice)


def fine(what: str) -> Finding:
    """Find that all is well."""
    return Finding("fine", what)


def ports(patient: HostState) -> Iterator[Finding]:
    """See whether every port can be bound, and whether the firewall lets its packets in."""
    for protocol, address, port, option, without in _ports(patient.config):
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        what = f"{protocol.upper()} port {port}"
        with socket.socket(socket.AF_INET, kind) as sock:
            if protocol == "tcp":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((str(address), port))
            except PermissionError:
                yield fault(f"{what}: no right to bind it", "Start as root.")
                continue
            except OSError as error:
                who = host_checks.holder(protocol, port)
                told = f"{what} is taken by {who}" if who else f"{what}: {error.strerror}"
                if without:  # as the daemon has it, which warns, and goes on
                    yield warning(told, f"Stop that program{option}. {without}")
                else:
                    yield fault(told, f"Stop that program{option}.")
                continue
        if rule := host_checks.dropped(protocol, port):
            yield fault(f"{what}: the firewall drops it ({rule})", "Let it in on the boot network.")
        else:
            yield fine(f"{what} is free, and no firewall rule drops it")


def _ports(config: Config) -> Iterator[tuple[str, IPv4Address, int, str, str]]:
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


def other_servers(patient: HostState) -> Iterator[Finding]:
    """Ask each served network whether somebody else gives addresses there."""
    mode = patient.config.bootp.mode
    own = {address.ip for link in patient.interfaces for address in link.addresses}
    silent, heard = [], False
    for link in patient.served():
        prober = Prober(link, link.mac, UUID(int=random.getrandbits(128)), 7)
        try:
            answers = prober.discover(patient.wait)
        except ProbeError as error:
            yield warning(f"{link.name}: other DHCP servers were not looked for: {error}", "")
            continue
        others = sorted({one.server for one in answers if one.address and one.server not in own})
        listed = ", ".join(map(str, others))
        heard = heard or bool(others)
        if mode == "proxy" and not others:
            silent.append(link.name)
        elif others and mode == "dhcp":
            yield warning(
                f"{link.name}: another DHCP server answers: {listed}",
                "Which one a machine takes is luck: switch it off, or write mode = proxy.",
            )
        else:
            found = f"DHCP server {listed} answers" if others else "no other DHCP server answers"
            yield fine(f"{link.name}: {found}")
    # one that is heard is enough: this host may stand in networks that nobody boots from
    grade = warning if heard else fault
    for name in silent:
        yield grade(
            f"{name}: no DHCP server answers, and mode = proxy needs one",
            "Start the other server, or let pybootd give the addresses: mode = dhcp.",
        )


def boot_files(patient: HostState) -> Iterator[Finding]:
    """See whether each boot file is there, and fits its architecture."""
    config = patient.config
    named = {
        architecture_name(code): file for code, file in config.bootfile.by_architecture.items()
    }
    named |= {"default": config.bootfile.default, "ipxe": config.bootfile.ipxe}
    named = {name: file for name, file in named.items() if file}
    if not named and not config.profiles:
        yield fault("no boot file is named", "Name one for each architecture in [bootfile].")
    for name, file in named.items():
        yield from _boot_file(patient, name, file)


def _boot_file(patient: HostState, name: str, file: str) -> Iterator[Finding]:
    if "://" in file:
        yield fine(f"{name}: {file} is a URL; pybootd probe fetches it")
        return
    look = look_at(patient.files, file)
    if look.head is None:
        like = f" Names like it: {', '.join(look.near)}." if look.near else ""
        yield fault(f"{name}: {file} is not there", f"Put it below [tftp] root.{like}")
        return
    program = examine(look.head)
    table = patient.config.bootfile.by_architecture
    codes = [code for code in table if architecture_name(code) == name]
    if program and codes and not program.architectures & set(codes):
        yield fault(f"{name}: {file} is {program.text}", "Name a file for this architecture.")
    elif program is None and bios_only(file) and "efi" in name:
        yield fault(f"{name}: {file} looks like a BIOS program", "Name a UEFI program (.efi).")
    else:
        yield fine(f"{name}: {file} is there" + (f", {program.text}" if program else ""))


def pool(patient: HostState) -> Iterator[Finding]:
    """See whether the pool lies in the network of an interface and holds none of our addresses."""
    bootp = patient.config.bootp
    if bootp.mode == "proxy" or bootp.pool_start is None:
        return
    first, last = bootp.pool_start, bootp.pool_start + max(0, bootp.pool_count - 1)
    addresses = [own for link in patient.interfaces for own in link.addresses]
    networks = [own.network for own in addresses if first in own.network]
    if not networks:
        yield fault(
            f"the pool {first} - {last} is in no network of this host",
            "Give an interface an address of that network, or change [bootp] pool_start.",
        )
        return
    network: IPv4Network = networks[0]
    if last not in network or last >= network.broadcast_address:
        yield warning(
            f"the pool ends at {last}, behind the end of {network}",
            "The addresses beyond are not given: lower [bootp] pool_count.",
        )
    inside = sorted(own.ip for own in addresses if first <= own.ip <= last)
    if inside:
        listed = ", ".join(map(str, inside))
        yield warning(
            f"the pool holds this host's own address: {listed}", "It is never given; one less then."
        )
    gateway = bootp.gateway
    if isinstance(gateway, IPv4Address) and gateway not in network:
        yield fault(f"the gateway {gateway} is not in {network}", "Change [bootp] gateway.")
    for mac, kept in patient.config.static.items():
        if kept not in network and not patient.config.subnets:
            yield fault(f"{mac.hex(':')}: {kept} is not in {network}", "Change [static_dhcp].")
    yield fine(f"the pool {first} - {last} is in {network}")


def packets(patient: HostState) -> Iterator[Finding]:
    """See whether the links carry the blocks that TFTP grants."""
    tftp = patient.config.tftp
    for link in patient.served():
        largest = link.mtu - 32
        if link.mtu > _ETHERNET and tftp.blocksize > _ETHERNET - 32:
            yield warning(
                f"{link.name} has an MTU of {link.mtu}: firmware and switches often carry 1500",
                "If boots stop at the first large file: [tftp] blocksize = 1468.",
            )
        elif tftp.fragments and tftp.blocksize > largest:
            yield warning(
                f"{link.name}: blocks over {largest} octets leave in fragments",
                "Much firmware can't put them together: [tftp] fragments = no.",
            )
        else:
            yield fine(f"{link.name}: blocks up to {min(tftp.blocksize, largest)} octets fit")


def forwarding(patient: HostState) -> Iterator[Finding]:
    """See whether a host that calls itself the router is one."""
    bootp = patient.config.bootp
    if bootp.mode == "proxy" or bootp.gateway != "self" or bootp.pool_start is None:
        return
    links = [link.name for link in patient.served()]
    idle = [name for name in links if host_checks.forwards(name) is False]
    if idle:
        yield warning(
            "clients are told that this host is their router, and it forwards nothing from"
            f" {', '.join(idle)}",
            "sudo ./forward.sh on, or [bootp] gateway = none (or another router).",
        )
    else:
        yield fine("this host forwards, as the clients' router should")


CHECKS: tuple[Check, ...] = (ports, other_servers, boot_files, pool, packets, forwarding)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd doctor",
        description="Look, before the daemon goes live, for what on this host and network would"
        " keep machines from booting, and say what to do about it.",
        epilog="Exit status: 0 when nothing keeps machines from booting, else 1.",
    )
    made.add_argument("-c", "--config", metavar="FILE", help="configuration file to look at")
    made.add_argument("-w", "--wait", type=float, default=2.0, help="seconds for other servers (2)")
    made.add_argument("--json", action="store_true", help="print JSON, for programs")
    return made


def main(argv: list[str]) -> int:
    """Run the command; the exit status."""
    given = parser().parse_args(argv)
    findings = examine_host(given.config, given.wait)
    if given.json:
        listed = [{"grade": one.grade, "what": one.what, "advice": one.advice} for one in findings]
        print(json.dumps({"version": 1, "findings": listed}, indent=2))  # noqa: T201
    else:
        console = terminal()
        for one in findings:
            line = text(f"{one.grade:8}", _STYLES[one.grade])
            console.print(line.append_text(text(one.what)), soft_wrap=True)
            if one.advice:
                console.print(text(f"        {one.advice}", "dim"), soft_wrap=True)
    return 1 if any(one.grade == "fault" for one in findings) else 0


def examine_host(given: str | None, wait: float) -> list[Finding]:
    """Run every check; a configuration at fault is all that is found then."""
    try:
        config, faults = examine_config(find_file(given), ("bootp", "tftp"))
        faults += config.warnings
        files = tuple(_files(config, faults))
    except ConfigError as error:
        config, files, faults = Config(), (), list(error.faults)
    findings = [
        warning(str(one), "")
        if one.grade is finding.Grade.WARNING
        else fault(str(one), "Correct that line.")
        for one in faults
    ]
    if any(one.grade == "fault" for one in findings):
        return findings  # whatever else is found would be found of something that can't run
    patient = HostState(config, files, tuple(interfaces.list_interfaces()), wait)
    for check in CHECKS:
        with contextlib.suppress(OSError):
            findings += check(patient)
    return findings


def _files(config: Config, faults: list[finding.Finding]) -> Iterator[Files]:
    """Yield what TFTP and HTTP serve, noting what is wrong with their roots."""
    sections = ["tftp"] if config.tftp.root else []
    if config.httpd.enable and config.httpd.root:
        sections.append("httpd")
    for section in sections:
        try:
            yield Files.from_config(config, section)
        except ConfigError as error:
            faults += error.faults
