"""``pybootd replay``: a captured boot, its verdict, and our answers beside the others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pybootd.commands.display import (
    CommandError,
    finding_document,
    open_terminal,
    print_boot,
    print_findings,
    printable_text,
    report_error,
    write_json,
)
from pybootd.commands.replay.pcap import Datagram, read_capture
from pybootd.commands.replay.replayer import (
    Exchange,
    Player,
    ReplayServer,
    Unanswered,
    find_unanswered,
    pair_exchanges,
)
from pybootd.config.ini import ConfigError
from pybootd.config.loader import Config, load
from pybootd.core.events import EventBus
from pybootd.core.finding import Finding, Grade
from pybootd.dhcp4.wire import options, packet
from pybootd.dhcp4.wire.packet import Packet
from pybootd.files.resolver import Files
from pybootd.observe.boots.timeline import Timeline
from pybootd.observe.diagnosis.evidence import FileLook
from pybootd.status.documents import Documents
from pybootd.status.service import look_at_file

_AFTERWARDS = 300.0  # seconds of silence that are taken to follow the capture
_SILENCE = (
    "No server heard that, or none wants to serve it (its log tells): look for another VLAN, a"
    " relay that is missing, a firewall; or the capture was taken where answers don't pass."
)


class ReplayCode(StrEnum):
    """The kind of what a replay found."""

    NO_BOOT = "no-boot"
    UNANSWERED = "unanswered"


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd replay",
        description="Show the boots that a capture holds (tcpdump -w FILE 'udp'), step by step with"
        " the verdict; with -c, also what pybootd would have answered, beside what was answered.",
        epilog="Exit status: 0, or 1 when the file can't be read or holds no boot.",
    )
    made.add_argument("-c", "--config", metavar="FILE", help="configuration to answer by")
    made.add_argument("--json", action="store_true", help="print JSON, for programs")
    made.add_argument("file", metavar="FILE.pcap", type=Path, help="pcap or pcapng file")
    return made


def main(argv: list[str]) -> int:
    """Run the command; the exit status."""
    given = parser().parse_args(argv)
    try:
        datagrams = list(read_capture(given.file))
        asked = pair_exchanges(datagrams)
        config = load(Path(given.config), ()) if given.config else None
        if config is not None:
            double = ReplayServer(config, asked)
            for exchange in asked:
                exchange.ours = double.answer_request(exchange)
        clients = _make_client_documents(datagrams, config)
        if not clients and not asked:
            raise CommandError(ReplayCode.NO_BOOT, f"{given.file} holds no boot")
    except (CommandError, ConfigError) as error:
        return report_error("replay", error, as_json=given.json)
    silent = find_unanswered(asked)
    findings = [_silence_finding(one) for one in silent]
    shown = asked if config is not None else ()
    if given.json:
        document = {
            "version": 1,
            "clients": clients,
            "unanswered": [asdict(one) for one in silent],
            "findings": list(map(finding_document, findings)),
            "exchanges": list(map(_exchange_document, shown)),
        }
        write_json(document)
    else:
        _print_replay(clients, findings, shown)
    return 0


def _silence_finding(silent: Unanswered) -> Finding:
    many = f"{silent.requests} times in {silent.seconds:.0f} s"
    times = "once" if silent.requests == 1 else many
    problem = f"{silent.mac} asked {times}, and got no answer."
    return Finding(Grade.FAULT, problem, _SILENCE, ReplayCode.UNANSWERED)


def _make_client_documents(
    datagrams: Sequence[Datagram], config: Config | None
) -> list[dict[str, Any]]:
    """Make each client's document out of what was captured."""
    bus = EventBus()
    player = Player(bus)
    timeline = Timeline(bus, lambda: player.now, lambda address: None)
    player.play_capture(datagrams)
    files = [Files.from_config(config)] if config and config.tftp.root else []
    end = player.now + _AFTERWARDS

    def look(name: str) -> FileLook:
        return look_at_file(files, name) if files else FileLook()

    report = Documents(timeline, lambda: end, lambda: end, look)
    documents = [report.describe_client(record.name) for record in timeline.records()]
    return [one["client"] for one in documents if one is not None]


def _print_replay(
    clients: Sequence[dict[str, Any]], findings: Sequence[Finding], asked: Sequence[Exchange]
) -> None:
    console = open_terminal()
    began = asked[0].when if asked else 0.0
    for exchange in asked:
        _print_side_by_side(console, exchange, exchange.when - began)
    for client in clients:
        for boot in reversed(client["boots"]):
            print_boot(console, client, boot["number"])
            console.print()
    print_findings(console, findings)


def _print_side_by_side(console: Console, exchange: Exchange, seconds: float) -> None:
    """Show the answers of the capture and ours, field by field; what differs stands out."""
    client = exchange.request.chaddr.hex(":")
    console.print(
        printable_text(f"{seconds:8.2f} s  {_message_name(exchange.request)} from {client}", "bold")
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", *("captured" for _ in exchange.theirs), "ours"):
        table.add_column(heading, overflow="fold")
    answers = [*exchange.theirs, exchange.ours]
    sides = [_answer_fields(answer) if answer else {"answer": "none"} for answer in answers]
    if not exchange.theirs:
        table.columns[-1].header = "ours (captured: none)"
    for name in dict.fromkeys(name for side in sides for name in side):
        values = [side.get(name, "") for side in sides]
        style = "" if len(set(values)) == 1 else "yellow"
        table.add_row(
            printable_text(name, "dim"), *(printable_text(value, style) for value in values)
        )
    console.print(table)
    console.print()


def _message_name(message: Packet) -> str:
    octets = message.options.get(options.TYPE)
    if octets is None:
        return "BOOTP"
    kind = options.format_value(options.TYPE, octets)
    return f"DHCP{kind}" if kind.isalpha() else f"message type {kind}"


def _answer_fields(answer: Packet) -> dict[str, str]:
    """Write an answer's fields and options for people."""
    found = {"answer": _message_name(answer)}
    for name in ("yiaddr", "siaddr", "giaddr"):
        value = getattr(answer, name)
        if value != packet.NOBODY:
            found[name] = str(value)
    found["flags"] = f"{answer.flags:04x}"
    for name in ("sname", "file"):
        if value := getattr(answer, name):
            found[name] = value.decode("utf-8", "replace")
    for code, value in sorted(answer.options.items()):
        if code != options.TYPE:
            found[f"option {code}"] = options.format_value(code, value)
    return found


def _exchange_document(exchange: Exchange) -> dict[str, Any]:
    return {
        "when": exchange.when,
        "request": _message_name(exchange.request),
        "mac": exchange.request.chaddr.hex(":"),
        "captured": [_answer_fields(answer) for answer in exchange.theirs],
        "ours": None if exchange.ours is None else _answer_fields(exchange.ours),
    }
