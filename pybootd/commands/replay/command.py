"""``pybootd replay``: a captured boot, its verdict, and our answers beside the others."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pybootd.commands import display
from pybootd.commands.api_client import fail
from pybootd.commands.display import text
from pybootd.commands.replay.pcap import CaptureError, Datagram, read
from pybootd.commands.replay.replayer import (
    Exchange,
    Player,
    ReplayServer,
    Unanswered,
    exchanges,
    unanswered,
)
from pybootd.config.ini import ConfigError
from pybootd.config.loader import Config, load
from pybootd.core.events import EventBus
from pybootd.dhcp4.wire import options, packet
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.files.resolver import Files
from pybootd.observe.boots.timeline import Timeline
from pybootd.observe.diagnosis.evidence import FileLook
from pybootd.status.documents import Documents
from pybootd.status.service import look_at

_AFTERWARDS = 300.0  # seconds of silence that are taken to follow the capture
_SILENCE = (
    "No server heard that, or none wants to serve it (its log tells): look for another VLAN, a"
    " relay that is missing, a firewall; or the capture was taken where answers don't pass."
)
_TEXTS = frozenset((12, 15, 56, 60, 66, 67))  # options shown as text; others as octets


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
        datagrams = list(read(given.file))
        config = load(Path(given.config), ()) if given.config else None
        double = ReplayServer(config, exchanges(datagrams)) if config else None
        clients = _timelines(datagrams, config)
    except CaptureError as error:
        return fail("replay", error)
    except ConfigError as error:
        return fail("replay", error)
    asked = exchanges(datagrams)
    for exchange in asked if double else ():
        exchange.ours = double.answer(exchange) if double else None
    if not clients and not asked:
        return fail("replay", CaptureError(f"{given.file} holds no boot"))
    if given.json:
        made = {
            "version": 1,
            "clients": clients,
            "unanswered": [asdict(one) for one in unanswered(asked)],
            "exchanges": [_document(one) for one in asked] if double else [],
        }
        print(json.dumps(made, indent=2))  # noqa: T201
    else:
        _show(clients, unanswered(asked), asked if double else ())
    return 0


def _timelines(datagrams: Sequence[Datagram], config: Config | None) -> list[dict[str, Any]]:
    """Make each client's document out of what was captured."""
    bus = EventBus()
    player = Player(bus)
    timeline = Timeline(bus, lambda: player.now, lambda address: None)
    player.play(datagrams)
    files = [Files.from_config(config)] if config and config.tftp.root else []
    end = player.now + _AFTERWARDS

    def look(name: str) -> FileLook:
        return look_at(files, name) if files else FileLook()

    report = Documents(timeline, lambda: end, lambda: end, look)
    documents = [report.client(record.name) for record in timeline.records()]
    return [one["client"] for one in documents if one is not None]


def _show(
    clients: Sequence[dict[str, Any]], silent: Sequence[Unanswered], asked: Sequence[Exchange]
) -> None:
    console = display.terminal()
    began = asked[0].when if asked else 0.0
    for exchange in asked:
        _side_by_side(console, exchange, exchange.when - began)
    for client in clients:
        for boot in reversed(client["boots"]):
            display.boot(console, client, boot["number"])
            console.print()
    for one in silent:
        times = "once" if one.requests == 1 else f"{one.requests} times in {one.seconds:.0f} s"
        console.print(text(f"{one.mac} asked {times}, and got no answer.", "bold"))
    if silent:
        console.print(text(_SILENCE), soft_wrap=True)


def _side_by_side(console: Console, exchange: Exchange, seconds: float) -> None:
    """Show the answers of the capture and ours, field by field; what differs stands out."""
    client = exchange.request.chaddr.hex(":")
    console.print(text(f"{seconds:8.2f} s  {_name(exchange.request)} from {client}", "bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", *("captured" for _ in exchange.theirs), "ours"):
        table.add_column(heading, overflow="fold")
    answers = [*exchange.theirs, exchange.ours]
    sides = [_fields(answer) if answer else {"answer": "none"} for answer in answers]
    if not exchange.theirs:
        table.columns[-1].header = "ours (captured: none)"
    for name in dict.fromkeys(name for side in sides for name in side):
        values = [side.get(name, "") for side in sides]
        style = "" if len(set(values)) == 1 else "yellow"
        table.add_row(text(name, "dim"), *(text(value, style) for value in values))
    console.print(table)
    console.print()


def _name(message: Packet) -> str:
    kind = message.options.get(options.TYPE, b"")
    try:
        return f"DHCP{MessageType(kind[0]).name}" if kind else "BOOTP"
    except ValueError:
        return f"message type {kind[0]}"


def _fields(answer: Packet) -> dict[str, str]:
    """Write an answer's fields and options for people."""
    found = {"answer": _name(answer)}
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
            found[f"option {code}"] = _value(code, value)
    return found


def _value(code: int, value: bytes) -> str:
    if code in _TEXTS:
        return value.rstrip(b"\0").decode("utf-8", "replace")
    if code in (1, 3, 6, 28, 42, 54):
        return ", ".join(".".join(map(str, value[at : at + 4])) for at in range(0, len(value), 4))
    if code in (51, 58, 59):
        return f"{int.from_bytes(value)} s"
    return value.hex(" ")


def _document(exchange: Exchange) -> dict[str, Any]:
    return {
        "when": exchange.when,
        "request": _name(exchange.request),
        "mac": exchange.request.chaddr.hex(":"),
        "captured": [_fields(answer) for answer in exchange.theirs],
        "ours": None if exchange.ours is None else _fields(exchange.ours),
    }
