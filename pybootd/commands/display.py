"""Machines and boots on a terminal; text that came over the network steers nothing there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pybootd.core.text import make_printable

Json = dict[str, Any]

_WIDTH = 24  # of bars, characters
_PIPE = 200  # characters of a line that goes to no terminal
_STYLES = {"failed": "bold red", "up": "green", "booting": "cyan", "quiet": "dim"}


def terminal() -> Console:
    """Return the terminal, or the pipe, that a command writes to."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_PIPE)


def text(value: object, style: str = "") -> Text:
    """Make text of what may come from a stranger."""
    return Text(make_printable(str(value)), style=style)


def size(octets: float) -> str:
    """Write a size for people."""
    for unit in ("B", "kB", "MB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} GB"


def span(seconds: float) -> str:
    """Write a time span for people."""
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} days"


def machines(rows: Iterable[Json], now: float, *, seers: bool = False) -> Table:
    """Show a row for each machine; ``seers``: with the daemon that saw it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    last = ("seen", "by") if seers else ("seen",)
    for heading in ("machine", "address", "kind", "state", "stage", "", *last):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("machine", "address"))
    for row in rows:
        named = text(row["name"])
        if row["hostname"]:
            named.append(make_printable(f"\n{row['hostname']}").replace("\\n", "\n", 1), "dim")
        table.add_row(
            named,
            text(row["address"]),
            text(row["kind"]),
            text(row["state"], _STYLES.get(row["state"], "")),
            text(row["stage"]),
            _doing(row),
            text(f"{span(max(0.0, now - row['last']))} ago", "dim"),
            *([text(row["daemon"], "dim")] if seers else []),
        )
    return table


def _doing(row: Json) -> RenderableType:
    running = [_progress(one) for one in row["transfers"][:3]]
    if running:
        return Group(*running)
    verdict = row["verdict"]
    if verdict is None:
        return Text("")
    return text(verdict["what"], "red" if verdict["grade"] == "fault" else "dim")


def _progress(one: Json) -> RenderableType:
    """Show a transfer that runs: its name, a bar where the size is known, its rate."""
    grid = Table.grid(padding=(0, 1))
    name = text(one["name"].rpartition("/")[2])
    rate = text(f"{size(one['rate'])}/s")
    if one["size"]:
        grid.add_row(name, ProgressBar(one["size"], one["sent"], width=_WIDTH), rate)
    else:
        grid.add_row(name, text(size(one["sent"])), rate)
    return grid


def daemons(rows: Iterable[Json]) -> Table:
    """Show a row for each daemon that shares the leases."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    counts = ("leases", "booting", "up", "failed")
    for heading in ("daemon", "version", *counts, "seen"):
        table.add_column(heading, justify="right" if heading in counts else "left")
    for row in rows:
        name = row["name"] + (" (this one)" if row["here"] else "")
        seen = f"{span(row['seen'])} ago"
        style = "red" if row["silent"] else "dim"
        table.add_row(
            text(name),
            text(row["version"]),
            *(text(row[count]) for count in counts),
            text(f"away, last sign of life {seen}" if row["silent"] else seen, style),
        )
    return table


def pools(rows: Iterable[Json]) -> Iterable[Text]:
    """Yield a line for each pool."""
    for row in rows:
        yield text(f"pool {row['network']}: {row['taken']} of {row['addresses']} addresses taken")


def boot(console: Console, client: Json, number: int | None = None) -> None:
    """Show one boot of a machine, the newest unless told, step by step, and its verdict.

    Of what another daemon saw there is the verdict alone.
    """
    boots = client["boots"]
    if client.get("elsewhere"):
        _elsewhere(console, client)
        if not boots:
            return
        console.print()
        console.print(text("What this daemon saw of it before:"))
    shown = next((one for one in boots if one["number"] == number), boots[0])
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(shown["began"]))
    name = client["name"] + (f" ({client['hostname']})" if client["hostname"] else "")
    told = (name, shown["address"], shown["kind"], f"boot {shown['number']}", began)
    console.print(text(", ".join(part for part in told if part), "bold"))
    whole = max((step["until"] for step in shown["steps"]), default=0.0) or 1.0
    bars = Table.grid(padding=(0, 2))
    for width in (10, _WIDTH, None, None):
        bars.add_column(min_width=width, overflow="fold")
    for step in shown["steps"]:
        bars.add_row(*_step(step, whole, unicode=_unicode(console)))
    console.print(bars)
    if shown["left_out"]:
        console.print(text(f"{shown['left_out']} steps in the middle are left out", "dim"))
    console.print()
    verdict(console, shown)


def _elsewhere(console: Console, client: Json) -> None:
    told = (client["name"], client["hostname"], client["address"], client["kind"])
    console.print(text(", ".join(part for part in told if part), "bold"))
    console.print(text(f"The daemon {client['daemon']} saw it last: {client['stage']}."))
    console.print(text("Each step of the boot is known there.", "dim"))
    verdict(console, client)


def _unicode(console: Console) -> bool:
    return (console.encoding or "").lower().replace("-", "") == "utf8"


def _step(step: Json, whole: float, *, unicode: bool) -> tuple[Text, Text, Text, Text]:
    left = min(int(step["at"] / whole * _WIDTH), _WIDTH - 1)
    right = max(round(step["until"] / whole * _WIDTH), left + 1)
    bar = " " * left + ("\u2588" if unicode else "#") * (right - left)
    if step["type"] == "step":
        what = f"{step['what']} {step['text']}"
        times = f"{step['count']} times" if step["count"] > 1 else ""
        details = ", ".join(part for part in (times, step["more"]) if part)
    else:
        what = f"{step['what']}: {step['name']}"
        again = f"{step['retransmissions']} blocks sent again" if step["retransmissions"] else ""
        rate = f"{size(step['rate'])}/s" if step["sent"] > 100_000 else ""
        outcome = "asked for its size" if step["outcome"] == "probed" else step["outcome"]
        octets = size(step["sent"]) if step["outcome"] != "probed" else ""
        parts = (octets, span(step["until"] - step["at"]), rate, outcome, again, step["reason"])
        details = ", ".join(part for part in parts if part)
    bad = step.get("outcome") in ("aborted", "silent", "failed") or step["what"] == "refused"
    style = "red" if bad else "cyan" if step["type"] == "transfer" else ""
    return (
        text(f"{step['at']:8.2f} s"),
        Text(f"{bar:{_WIDTH}}", style=style),
        text(what),
        text(details, "dim"),
    )


def verdict(console: Console, shown: Json) -> None:
    """Say what is wrong and what to do."""
    found = shown["verdict"]
    if found is None:
        words = {
            "up": "The system is up.",
            "booting": "It is booting.",
            "quiet": "Nothing is known to be wrong.",
        }
        state = shown["state"]
        console.print(text(words.get(state, state), _STYLES.get(state, "")))
        return
    style = "bold red" if found["grade"] == "fault" else "bold"
    console.print(text(found["what"], style), soft_wrap=False)
    console.print(text(found["advice"]))
    for line in found["evidence"]:
        console.print(text(f"  seen: {line}", "dim"))
