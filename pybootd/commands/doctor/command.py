"""Runs every check and prints what was found.

A check is a function that yields findings; a new one is a line in ``CHECKS``.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator

from pybootd.commands.display import finding_document, open_terminal, print_findings, write_json
from pybootd.commands.doctor.boot_files import check_boot_files
from pybootd.commands.doctor.host_state import Check, DoctorCode, HostState, warning
from pybootd.commands.doctor.networks import (
    check_block_sizes,
    check_forwarding,
    check_interfaces,
    check_pool,
    check_static_addresses,
)
from pybootd.commands.doctor.ports import check_firewall, check_ports
from pybootd.commands.doctor.servers import check_next_server, check_other_servers
from pybootd.commands.doctor.surroundings import (
    check_authorization_server,
    check_lease_folder,
    check_user_rights,
    check_written_folders,
)
from pybootd.config.ini import ConfigError, find_file
from pybootd.config.loader import Config
from pybootd.config.loader import examine as examine_config
from pybootd.core.finding import Finding, Grade
from pybootd.files.resolver import Files
from pybootd.system import interfaces

CHECKS: tuple[Check, ...] = (
    check_ports,
    check_firewall,
    check_other_servers,
    check_boot_files,
    check_interfaces,
    check_pool,
    check_static_addresses,
    check_block_sizes,
    check_forwarding,
    check_user_rights,
    check_lease_folder,
    check_written_folders,
    check_authorization_server,
    check_next_server,
)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd doctor",
        description="Look, before the daemon goes live, for what on this host and network would"
        " keep machines from booting, and say what to do about it.",
        epilog="Exit status: 0 when nothing keeps machines from booting, else 1.",
    )
    made.add_argument("-c", "--config", metavar="FILE", help="configuration file to look at")
    made.add_argument("-w", "--wait", type=float, default=4.0, help="seconds for other servers (4)")
    made.add_argument("--json", action="store_true", help="print JSON, for programs")
    return made


def main(argv: list[str]) -> int:
    """Run the command; the exit status."""
    given = parser().parse_args(argv)
    findings = examine_host(given.config, given.wait)
    if given.json:
        write_json({"version": 2, "findings": list(map(finding_document, findings))})
    else:
        print_findings(open_terminal(), findings)
    return 1 if any(one.grade is Grade.FAULT for one in findings) else 0


def examine_host(given: str | None, wait: float) -> list[Finding]:
    """Run every check; a configuration at fault is all that is found then."""
    try:
        config, findings = examine_config(find_file(given), ("bootp", "tftp"))
        findings += config.warnings
        files = tuple(_open_roots(config, findings))
    except ConfigError as error:
        config, files, findings = Config(), (), list(error.faults)
    findings = [_with_code(one) for one in findings]
    if any(one.grade is Grade.FAULT for one in findings):
        return findings  # any check would speak of a daemon that does not start
    host = HostState(config, files, tuple(interfaces.list_interfaces()), wait)
    for check in CHECKS:
        try:
            findings += check(host)
        except OSError as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            problem = f"{name}: could not be looked at: {error.strerror or error}"
            findings.append(warning(DoctorCode.CHECK_FAILED, problem))
    return findings


def _with_code(one: Finding) -> Finding:
    advice = one.advice or ("" if one.grade is Grade.WARNING else "Correct that line.")
    return dataclasses.replace(one, code=one.code or DoctorCode.CONFIGURATION, advice=advice)


def _open_roots(config: Config, findings: list[Finding]) -> Iterator[Files]:
    """Yield what TFTP and HTTP serve, noting what is wrong with their roots."""
    sections = ["tftp"] if config.tftp.root else []
    if config.httpd.enable and config.httpd.root:
        sections.append("httpd")
    for section in sections:
        try:
            yield Files.from_config(config, section)
        except ConfigError as error:
            findings += error.faults
