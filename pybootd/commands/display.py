"""What commands print: findings, machines, boots, JSON.

Text that came over the network steers no terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pybootd.config.ini import ConfigError
from pybootd.core.events import TransferOutcome
from pybootd.core.finding import Finding, Grade
from pybootd.core.text import make_printable
from pybootd.observe.boots.steps import StepKind

Json = dict[str, Any]

_BAR_WIDTH = 24  # characters
_PIPE_WIDTH = 200  # characters of a line that goes to no terminal
_STYLES = {"failed": "bold red", "up": "green", "booting": "cyan", "quiet": "dim"}
_BAD_OUTCOMES = frozenset(
    one.value for one in (TransferOutcome.ABORTED, TransferOutcome.TIMEOUT, TransferOutcome.FAILED)
)
_GRADE_STYLES = MappingProxyType(
    {Grade.FAULT: "bold red", Grade.WARNING: "yellow", Grade.FINE: "green"}
)


class CommandError(Exception):
    """A command can't do what was asked; ``finding`` says why and what to do."""

    def __init__(self, code: str, problem: str, advice: str = "") -> None:
        self.finding = Finding(Grade.FAULT, problem, advice, code)
        super().__init__(str(self.finding))


def open_terminal() -> Console:
    """Return the terminal, or the pipe, that a command writes to."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def write_line(line: str, *, error: bool = False) -> None:
    """Write one line to stdout, or to stderr; what its encoding lacks is escaped."""
    stream = sys.stderr if error else sys.stdout
    encoding = stream.encoding or "ascii"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def write_json(document: object, indent: int | None = 2) -> None:
    """Write a document to stdout, in ASCII."""
    write_line(json.dumps(document, indent=indent))


def finding_document(finding: Finding) -> Json:
    """Make the JSON value of a finding."""
    made: Json = {
        "code": finding.code,
        "grade": finding.grade.value,
        "problem": finding.problem,
        "advice": finding.advice,
    }
    if finding.meant:
        made["meant"] = finding.meant
    if finding.place.path is not None:
        made["place"] = str(finding.place)
    return made


def read_finding(document: Json) -> Finding:
    """Make the finding again from its JSON value."""
    return Finding(
        Grade(document["grade"]), document["problem"], document["advice"], document["code"]
    )


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Show each finding: its grade, what it is, and below it what to do."""
    for one in findings:
        line = printable_text(f"{one.grade.value:8}", _GRADE_STYLES[one.grade])
        where = f"{one.place} " if one.place.path is not None else ""
        meant = f" (did you mean {one.meant}?)" if one.meant else ""
        line.append_text(printable_text(f"{where}{one.problem}{meant}"))
        console.print(line, soft_wrap=True)
        if one.advice:
            console.print(printable_text(f"        {one.advice}", "dim"), soft_wrap=True)


def report_error(command: str, error: Exception, *, as_json: bool = False) -> int:
    """Say why a command ends early: a line on stderr, with ``as_json`` a document; return 1."""
    findings: Sequence[Finding] = ()
    if isinstance(error, CommandError):
        findings = (error.finding,)
    elif isinstance(error, ConfigError):
        findings = error.faults
    lines = list(map(str, findings)) or [make_printable(str(error))]
    for line in lines:
        write_line(f"pybootd {command}: {line}", error=True)
    if as_json:
        write_json({"version": 1, "findings": list(map(finding_document, findings))})
    return 1


def drop_output() -> None:
    """Write no more, for the reader has left: else Python complains at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable_text(value: object, style: str = "") -> Text:
    """Make text of what may come from a stranger."""
    return Text(make_printable(str(value)), style=style)


def format_moment(seconds: float) -> str:
    """Write a moment, in seconds since the epoch, in local time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s since 1970"


def format_size(octets: float) -> str:
    """Write a size for people."""
    for unit in ("B", "kB", "MB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} GB"


def format_span(seconds: float) -> str:
    """Write a time span for people."""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"


def machine_table(rows: Iterable[Json], now: float, *, seers: bool = False) -> Table:
    """Show a row for each machine; ``seers``: with the daemon that saw it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    last = ("seen", "by") if seers else ("seen",)
    for heading in ("machine", "address", "kind", "state", "stage", "", *last):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("machine", "address"))
    for row in rows:
        named = printable_text(row["name"])
        if row["hostname"]:
            named.append(make_printable(f"\n{row['hostname']}").replace("\\n", "\n", 1), "dim")
        table.add_row(
            named,
            printable_text(row["address"]),
            printable_text(row["kind"]),
            printable_text(row["state"], _STYLES.get(row["state"], "")),
            printable_text(row["stage"]),
            _activity(row),
            printable_text(f"{format_span(max(0.0, now - row['last']))} ago", "dim"),
            *([printable_text(row.get("daemon") or "", "dim")] if seers else []),
        )
    return table


def _activity(row: Json) -> RenderableType:
    running = [_progress_bar(one) for one in row["transfers"][:3]]
    if running:
        return Group(*running)
    verdict = row["verdict"]
    if verdict is None:
        return Text("")
    return printable_text(verdict["what"], "red" if verdict["grade"] == "fault" else "dim")


def _progress_bar(one: Json) -> RenderableType:
    """Show a transfer that runs: its name, a bar where the size is known, its rate."""
    grid = Table.grid(padding=(0, 1))
    name = printable_text(one["name"].rpartition("/")[2])
    rate = printable_text(f"{format_size(one['rate'])}/s")
    if one["size"]:
        grid.add_row(name, ProgressBar(one["size"], one["sent"], width=_BAR_WIDTH), rate)
    else:
        grid.add_row(name, printable_text(format_size(one["sent"])), rate)
    return grid


def daemon_table(rows: Iterable[Json]) -> Table:
    """Show a row for each daemon that shares the leases."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    counts = ("leases", "booting", "up", "failed")
    for heading in ("daemon", "version", *counts, "seen"):
        table.add_column(heading, justify="right" if heading in counts else "left")
    for row in rows:
        name = row["name"] + (" (this one)" if row["here"] else "")
        seen = f"{format_span(row['seen'])} ago"
        style = "red" if row["silent"] else "dim"
        table.add_row(
            printable_text(name),
            printable_text(row["version"]),
            *(printable_text(row.get(count, "")) for count in counts),
            printable_text(f"away, last sign of life {seen}" if row["silent"] else seen, style),
        )
    return table


def pool_lines(rows: Iterable[Json]) -> Iterable[Text]:
    """Yield a line for each pool."""
    for row in rows:
        yield printable_text(
            f"pool {row['network']}: {row['taken']} of {row['addresses']} addresses taken"
        )


def print_boot(console: Console, client: Json, number: int | None = None) -> None:
    """Show one boot of a machine, the newest unless told, step by step, and its verdict.

    Of what another daemon saw there is the verdict alone.
    """
    boots = client["boots"]
    if client.get("elsewhere"):
        _print_elsewhere(console, client)
        if boots:
            console.print()
            console.print(printable_text("What this daemon saw of it before:"))
    if not boots:
        return
    shown = next((one for one in boots if one["number"] == number), boots[0])
    began = format_moment(shown["began"])
    name = client["name"] + (f" ({client['hostname']})" if client["hostname"] else "")
    told = (name, shown["address"], shown["kind"], f"boot {shown['number']}", began)
    console.print(printable_text(", ".join(part for part in told if part), "bold"))
    whole = max((step["until"] for step in shown["steps"]), default=0.0)
    whole = whole if whole > 1e-6 else 1.0
    bars = Table.grid(padding=(0, 2))
    for width in (10, _BAR_WIDTH, None, None):
        bars.add_column(min_width=width, overflow="fold")
    for step in shown["steps"]:
        bars.add_row(*_step_cells(step, whole, unicode=_has_unicode(console)))
    console.print(bars)
    if shown["left_out"]:
        console.print(
            printable_text(f"{shown['left_out']} steps in the middle are left out", "dim")
        )
    console.print()
    print_verdict(console, shown)


def _print_elsewhere(console: Console, client: Json) -> None:
    told = (client["name"], client["hostname"], client["address"], client["kind"])
    console.print(printable_text(", ".join(part for part in told if part), "bold"))
    console.print(printable_text(f"The daemon {client['daemon']} saw it last: {client['stage']}."))
    console.print(printable_text("Each step of the boot is known there.", "dim"))
    print_verdict(console, client)


def _has_unicode(console: Console) -> bool:
    return (console.encoding or "").lower().replace("-", "") == "utf8"


def _step_cells(step: Json, whole: float, *, unicode: bool) -> tuple[Text, Text, Text, Text]:
    left = min(max(int(step["at"] / whole * _BAR_WIDTH), 0), _BAR_WIDTH - 1)
    right = min(max(round(step["until"] / whole * _BAR_WIDTH), left + 1), _BAR_WIDTH)
    bar = " " * left + ("\u2588" if unicode else "#") * (right - left)
    if step["type"] == "step":
        what = f"{step['what']} {step['text']}"
        times = f"{step['count']} times" if step["count"] > 1 else ""
        details = ", ".join(part for part in (times, step["more"]) if part)
    else:
        what = f"{step['what']}: {step['name']}"
        again = f"{step['retransmissions']} blocks sent again" if step["retransmissions"] else ""
        rate = f"{format_size(step['rate'])}/s" if step["sent"] > 100_000 else ""
        probed = step["outcome"] == TransferOutcome.PROBED.value
        outcome = "asked for its size" if probed else step["outcome"]
        octets = format_size(step["sent"]) if not probed else ""
        parts = (
            octets,
            format_span(step["until"] - step["at"]),
            rate,
            outcome,
            again,
            step["reason"],
        )
        details = ", ".join(part for part in parts if part)
    bad = step.get("outcome") in _BAD_OUTCOMES or step["code"] == StepKind.REFUSED.value
    style = "red" if bad else "cyan" if step["type"] == "transfer" else ""
    return (
        printable_text(f"{step['at']:8.2f} s"),
        Text(f"{bar:{_BAR_WIDTH}}", style=style),
        printable_text(what),
        printable_text(details, "dim"),
    )


_CERTAINTIES = {
    "certain": "certain: it was seen here",
    "likely": "likely: the usual cause of what was seen",
    "unknown": "not known why: what was due next did not come",
}


def print_verdict(console: Console, shown: Json) -> None:
    """Say what is wrong and what to do."""
    found = shown["verdict"]
    if found is None:
        words = {
            "up": "The system is up.",
            "booting": "It is booting.",
            "quiet": "Nothing is known to be wrong.",
        }
        state = shown["state"]
        console.print(printable_text(words.get(state, state), _STYLES.get(state, "")))
        return
    style = "bold red" if found["grade"] == "fault" else "bold"
    console.print(printable_text(found["what"], style), soft_wrap=False)
    console.print(printable_text(_CERTAINTIES.get(found.get("certainty", ""), ""), "dim"))
    console.print(printable_text(found["advice"]))
    for line in found["evidence"]:
        console.print(printable_text(f"  seen: {line}", "dim"))
