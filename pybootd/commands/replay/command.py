"""``pybootd replay``: a captured boot, its verdict, and our answers beside the others."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
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
    read_finding,
    report_error,
    write_json,
)
from pybootd.commands.replay.dissect import CaptureNotes, Datagram, Dissector
from pybootd.commands.replay.pcap import read_frames
from pybootd.commands.replay.replayer import (
    Exchange,
    ReplayServer,
    Unanswered,
    find_unanswered,
    pair_exchanges,
)
from pybootd.commands.replay.story import make_client_documents
from pybootd.config.ini import ConfigError
from pybootd.config.loader import load
from pybootd.core.finding import Finding, Grade
from pybootd.dhcp4.wire import options, packet
from pybootd.dhcp4.wire.packet import Packet

Json = dict[str, Any]
_SILENCE = (
    "No server heard that, or none wants to serve it (its log tells): look for another VLAN, a"
    " relay that is missing, a firewall; or the capture was taken where answers don't pass."
)


class ReplayCode(StrEnum):
    """The kind of what a replay found."""

    NO_BOOT = "no-boot"
    UNANSWERED = "unanswered"
    CAPTURE_ENDS = "capture-ends"
    CUT_PACKETS = "cut-packets"
    FRAGMENTS = "fragments"
    UNKNOWN_LINK = "unknown-link"


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd replay",
        description="Show the boots that a capture holds"
        " (tcpdump -s 0 -w FILE 'udp or tcp port 80'), step by step with the verdict; with -c, also"
        " what pybootd would have answered, beside what was answered.",
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
        document, asked = replay_capture(given.file, given.config)
    except (CommandError, ConfigError) as error:
        return report_error("replay", error, as_json=given.json)
    if given.json:
        write_json(document)
    else:
        print_replay(open_terminal(), document, asked if given.config else ())
    return 0


def replay_capture(file: Path, config_file: str | None) -> tuple[Json, list[Exchange]]:
    """Make the document of a capture, and its DHCP exchanges. Raises CommandError, ConfigError."""
    config = load(Path(config_file), ()) if config_file else None
    dissector = Dissector()
    captured = sorted(dissector.dissect_frames(read_frames(file)), key=lambda one: one.when)
    datagrams = [one for one in captured if isinstance(one, Datagram)]
    asked = pair_exchanges(datagrams)
    if config is not None:
        double = ReplayServer(config, asked)
        for exchange in asked:
            exchange.ours = double.answer_request(exchange)
    notes = dissector.notes
    clients = make_client_documents(captured, notes.ended, config)
    findings = [*_judge_capture(notes), *map(_silence_finding, find_unanswered(asked))]
    if not clients and not asked:
        if notes.frames and len(findings):
            raise CommandError(ReplayCode.NO_BOOT, f"{file} holds no boot", findings[0].problem)
        raise CommandError(ReplayCode.NO_BOOT, f"{file} holds no boot")
    findings += _find_open_ends(clients, notes.ended)
    document = {
        "version": 1,
        "clients": clients,
        "unanswered": [asdict(one) for one in find_unanswered(asked)],
        "findings": list(map(finding_document, findings)),
        "exchanges": list(map(_exchange_document, asked)) if config is not None else [],
    }
    return document, asked


def _silence_finding(silent: Unanswered) -> Finding:
    many = f"{silent.requests} times in {silent.seconds:.0f} s"
    times = "once" if silent.requests == 1 else many
    problem = f"{silent.mac} asked {times}, and got no answer."
    return Finding(Grade.FAULT, problem, _SILENCE, ReplayCode.UNANSWERED)


def _judge_capture(notes: CaptureNotes) -> Iterator[Finding]:
    """Say what of the capture is not as it was on the wire."""
    if notes.cut:
        yield Finding(
            Grade.WARNING,
            f"{notes.cut} of {notes.frames} packets are cut: what was cut off is not known.",
            "Take it again with tcpdump -s 0.",
            ReplayCode.CUT_PACKETS,
        )
    if notes.fragmented:
        yield Finding(
            Grade.WARNING,
            f"{notes.fragmented} datagrams came in fragments, which much firmware can't join.",
            "Let the TFTP server grant blocks that fit the network: 1468 octets on Ethernet.",
            ReplayCode.FRAGMENTS,
        )
    if notes.unknown_links:
        listed = ", ".join(map(str, sorted(notes.unknown_links)))
        yield Finding(
            Grade.WARNING,
            f"Frames of link type {listed} are not understood.",
            "Take the capture on an Ethernet interface.",
            ReplayCode.UNKNOWN_LINK,
        )


def _find_open_ends(clients: Sequence[Json], ended: float) -> Iterator[Finding]:
    """Say of which machines the capture ends before it is known how their boot went on."""
    for client in clients:
        boot = client["boots"][0]
        if boot["state"] == "booting" and boot["verdict"] is None:
            last = max(0.0, ended - boot["began"] - boot["seconds"])
            yield Finding(
                Grade.FINE,
                f"The capture ends {last:.0f} s after the last packet of {client['name']}: how its"
                " boot went on is not in it.",
                "",
                ReplayCode.CAPTURE_ENDS,
            )


def print_replay(console: Console, document: Json, asked: Sequence[Exchange]) -> None:
    """Show the exchanges, each boot, and what was found."""
    began = asked[0].when if asked else 0.0
    for exchange in asked:
        _print_side_by_side(console, exchange, exchange.when - began)
    for client in document["clients"]:
        for boot in reversed(client["boots"]):
            print_boot(console, client, boot["number"])
            console.print()
    print_findings(console, map(read_finding, document["findings"]))


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
