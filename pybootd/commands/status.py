"""``pybootd status``: what every machine does, once or as it happens."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from pybootd.commands.api_client import ApiClient, ApiError, add_daemon_options
from pybootd.commands.display import (
    daemon_table,
    format_span,
    machine_table,
    open_terminal,
    pool_lines,
    printable_text,
    report_error,
    write_json,
)

Json = dict[str, Any]

_AWAY = "The lease database has not answered for {}: what other daemons saw since is not shown."


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd status",
        description="Show what the running daemon's machines do: a row for each, the one heard of"
        " last first.",
        epilog="Exit status: 0, or 1 when the daemon can't be asked.",
    )
    add_daemon_options(made)
    made.add_argument("-f", "--follow", action="store_true", help="go on showing what changes")
    made.add_argument("-n", "--rows", type=int, default=20, help="rows at most (20)")
    made.add_argument("search", nargs="*", help="words of a MAC, address, host name or verdict")
    return made


def main(argv: list[str]) -> int:
    """Run the command; the exit status."""
    given = parser().parse_args(argv)
    try:
        daemon = ApiClient.from_options(given)
        search = " ".join(given.search)
        if not given.follow:
            _print_status(daemon, search, given.rows, as_json=given.json)
        elif given.json:
            for name, value in daemon.follow_events():
                write_json({name: value}, indent=None)
        else:
            _follow_rows(daemon, search, given.rows)
    except ApiError as error:
        return report_error("status", error, as_json=given.json)
    return 0


def _print_status(daemon: ApiClient, search: str, rows: int, *, as_json: bool) -> None:
    found = daemon.fetch_clients(search, rows)
    if as_json:
        write_json(found)
        return
    console = open_terminal()
    stats = daemon.fetch_stats()
    shared = len(stats["daemons"]) > 1
    console.print(machine_table(found["clients"], found["now"], seers=shared))
    console.print()
    print_stats(console, stats, found["total"] - len(found["clients"]))


def print_stats(console: Console, stats: Json, more: float) -> None:
    """Show the daemon's counts, its pools and the other daemons; ``more`` rows are not shown."""
    summary = _summary(stats) + (f", {more} more (-n)" if more > 0 else "")
    console.print(printable_text(summary, "dim"))
    for line in pool_lines(stats["pools"]):
        console.print(line)
    if len(stats["daemons"]) > 1:
        console.print()
        console.print(daemon_table(stats["daemons"]))
    if stats["database_away"] is not None:
        console.print(printable_text(_AWAY.format(format_span(stats["database_away"])), "red"))


def _summary(stats: Json) -> str:
    here = " here" if len(stats["daemons"]) > 1 else ""
    return f"{stats['clients']} machines{here}, {stats['running']} transfers under way"


def _follow_rows(daemon: ApiClient, search: str, count: int) -> None:
    """Show the rows, on a terminal in place, else a line for each change."""
    console = open_terminal()
    document = daemon.fetch_clients(search, count)
    rows = {row["name"]: row for row in document["clients"]}
    stats = daemon.fetch_stats()
    if not console.is_terminal:
        _print_changes(daemon, console, search)
        return

    def make_picture() -> Group:
        newest = sorted(rows.values(), key=lambda row: -row["last"])[:count]
        shown = machine_table(newest, time.time(), seers=len(stats["daemons"]) > 1)
        return Group(shown, printable_text(""), printable_text(_summary(stats), "dim"))

    with Live(make_picture(), console=console, auto_refresh=False) as live:
        for name, value in daemon.follow_events():
            if name == "stats":
                stats = value
            else:
                rows.update({row["name"]: row for row in value if _row_fits(row, search)})
            live.update(make_picture(), refresh=True)


def _print_changes(daemon: ApiClient, console: Console, search: str) -> None:
    told: dict[str, tuple[str, str]] = {}
    for name, value in daemon.follow_events():
        for row in value if name == "clients" else ():
            verdict = row["verdict"]["what"] if row["verdict"] else ""
            news = (row["stage"], verdict)
            if _row_fits(row, search) and told.get(row["name"]) != news:
                told[row["name"]] = news
                words = (row["name"], row["address"], row["state"], row["stage"], verdict)
                console.print(
                    printable_text("  ".join(word for word in words if word)), soft_wrap=True
                )


def _row_fits(row: Json, search: str) -> bool:
    shown = json.dumps(row).lower()
    return all(word.lower() in shown for word in search.split())
