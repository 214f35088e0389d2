"""Reads the command line, probes, and prints what was found."""

from __future__ import annotations

import argparse
import random
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from pybootd.commands.display import (
    finding_document,
    format_size,
    open_terminal,
    print_findings,
    printable_text,
    report_error,
    write_json,
)
from pybootd.commands.probe.judge import probe_network
from pybootd.commands.probe.prober import Prober
from pybootd.commands.probe.result import ProbeCode, ProbeError, ProbeResult, ServerAnswer
from pybootd.core.architecture import ARCHITECTURE_CODES, architecture_name, parse_architecture
from pybootd.core.mac import parse_mac
from pybootd.dhcp4.wire import options
from pybootd.system import interfaces

_SHOWN = (
    (options.TFTP_SERVER, "option 66"),
    (options.BOOT_FILE, "option 67"),
    (options.CLASS, "option 60"),
    (options.VENDOR, "option 43"),
    (options.ROUTER, "router"),
    (options.DNS, "name servers"),
    (options.LEASE_TIME, "lease time"),
)
"""Options that are shown, and what stands before them."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd probe",
        description="Ask the network as the firmware of a machine would: show what every DHCP,"
        " proxyDHCP and boot server answers, fetch the boot file, and say whether the machine would"
        " boot. Works with any server; no address is taken.",
        epilog="Exit status: 0 when it would boot, 1 when not, 2 for wrong usage.",
    )
    made.add_argument("-i", "--interface", help="network interface (the only one, if so)")
    made.add_argument(
        "-a",
        "--arch",
        type=_read_architecture,
        default=7,
        help="architecture: bios, efi-x86_64 (default), efi-arm64, http-efi-x86_64, ..., or its"
        " number",
    )
    made.add_argument("--ipxe", action="store_true", help="ask as iPXE does, once it runs")
    made.add_argument("--mac", type=_read_mac, help="MAC to ask with (the interface's own)")
    made.add_argument("--uuid", type=UUID, help="UUID to ask with (a made-up one)")
    made.add_argument(
        "-w", "--wait", type=float, default=5.0, help="seconds to collect answers (5)"
    )
    made.add_argument("--no-fetch", action="store_true", help="don't fetch the boot file")
    made.add_argument("--json", action="store_true", help="print JSON, for programs")
    return made


def main(argv: list[str]) -> int:
    """Run the command; the exit status."""
    given = parser().parse_args(argv)
    try:
        link = _find_interface(given.interface)
        uuid = given.uuid or UUID(int=random.getrandbits(128), version=4)
        prober = Prober(link, given.mac or link.mac, uuid, given.arch)
        prober.ipxe = given.ipxe
        result = probe_network(prober, given.wait, fetch=not given.no_fetch)
    except ProbeError as error:
        return report_error("probe", error, as_json=given.json)
    if given.json:
        write_json(result_document(result))
    else:
        print_result(open_terminal(), result)
    return 0 if result.would_boot else 1


def _read_architecture(word: str) -> int:
    try:
        return parse_architecture(word)
    except ValueError:
        known = ", ".join(ARCHITECTURE_CODES)
        raise argparse.ArgumentTypeError(
            f"{word!r}: expected one of {known}, or a number"
        ) from None


def _read_mac(word: str) -> bytes:
    try:
        return parse_mac(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _find_interface(name: str | None) -> interfaces.Interface:
    """Find the interface to ask on. Raises ProbeError."""
    wired = [one for one in interfaces.list_interfaces() if one.mac and one.name != "lo"]
    if name is not None:
        wired = [one for one in wired if one.name == name]
        if not wired:
            raise ProbeError(ProbeCode.INTERFACE, f"there is no network interface {name}")
    if len(wired) != 1:
        listed = ", ".join(one.name for one in wired) or "there is none"
        raise ProbeError(ProbeCode.INTERFACE, "name an interface with -i", listed)
    return wired[0]


def result_document(result: ProbeResult) -> dict[str, Any]:
    """Make the JSON value of what was found."""
    return {
        "version": 2,
        "architecture": result.architecture,
        "boots": result.would_boot,
        "findings": [finding_document(one) for one in result.findings],
        "answers": [_answer_document(answer) for answer in result.answers],
        "chosen": None if result.chosen is None else result.answers.index(result.chosen),
        "fetched": result.fetched,
        "seconds": round(result.seconds, 4),
        "program": result.program,
    }


def _answer_document(answer: ServerAnswer) -> dict[str, Any]:
    sent = answer.packet
    return {
        "server": str(answer.server),
        "port": answer.port,
        "after": round(answer.after, 4),
        "address": str(answer.address or ""),
        "file": answer.file,
        "file_server": answer.file_server if answer.file else "",
        "class": answer.vendor_class,
        "siaddr": str(sent.siaddr),
        "options": {str(code): value.hex() for code, value in sorted(sent.options.items())},
    }


def print_result(console: Console, result: ProbeResult) -> None:
    """Show the answers side by side, and what was found."""
    name = architecture_name(result.architecture)
    count = len(result.answers)
    console.print(
        printable_text(f"asked as {name}: {count} answer{'' if count == 1 else 's'}", "bold")
    )
    if result.answers:
        console.print(_answer_table(result))
    console.print()
    if result.fetched is not None:
        what = f", {result.program}" if result.program else ""
        console.print(
            printable_text(
                f"the boot file came: {format_size(result.fetched)} in {result.seconds:.2f} s{what}"
            )
        )
    print_findings(console, result.findings)
    if result.would_boot:
        console.print(printable_text("This machine would boot.", "green"))


def _answer_table(result: ProbeResult) -> Table:
    """Show the answers side by side."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for answer in result.answers:
        table.add_column(printable_text(_kind_of_server(answer)), overflow="fold")
    rows: dict[str, list[str]] = {}
    for answer in result.answers:
        for label, value in _answer_rows(answer).items():
            rows.setdefault(label, []).append(value)
    for label, values in rows.items():
        if any(values):
            table.add_row(label, *map(printable_text, values))
    return table


def _kind_of_server(answer: ServerAnswer) -> str:
    if answer.port == 4011:
        return "boot server"
    return "DHCP server" if answer.address else "proxy"


def _answer_rows(answer: ServerAnswer) -> dict[str, str]:
    sent = answer.packet
    lines = {
        "server": str(answer.server),
        "after": f"{answer.after * 1000:.1f} ms",
        "address": str(answer.address or ""),
        "boot file": answer.file,
        "from": answer.file_server if answer.file else "",
        "siaddr": str(sent.siaddr),
        "file field": "set" if sent.file else "empty",
    }
    for code, label in _SHOWN:
        octets = sent.options.get(code)
        lines[label] = "" if octets is None else options.format_value(code, octets)
    return lines
