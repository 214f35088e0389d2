"""``pybootd status``: what every machine does, once or as it happens."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from pybootd.commands.api_client import ApiClient, ApiError, fail, options
from pybootd.commands.display import daemons, machines, pools, span, terminal, text

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
    options(made)
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
            _show(daemon, search, given.rows, as_json=given.json)
        elif given.json:
            for name, value in daemon.events():
                print(json.dumps({name: value}), flush=True)  # noqa: T201
        else:
            _follow(daemon, search, given.rows)
    except ApiError as error:
        return fail("status", error)
    except BrokenPipeError:
        return 0
    return 0


def _show(daemon: ApiClient, search: str, rows: int, *, as_json: bool) -> None:
    found = daemon.get("/api/clients", search=search, limit=max(1, rows))
    if as_json:
        print(json.dumps(found, indent=2))  # noqa: T201
        return
    console = terminal()
    stats = daemon.get("/api")["stats"]
    shared = len(stats["daemons"]) > 1
    console.print(machines(found["clients"], found["now"], seers=shared))
    more = found["total"] - len(found["clients"])
    console.print()
    console.print(text(_summary(stats) + (f", {more} more (-n)" if more > 0 else ""), "dim"))
    for line in pools(stats["pools"]):
        console.print(line)
    if shared:
        console.print()
        console.print(daemons(stats["daemons"]))
    if stats["database_away"] is not None:
        console.print(text(_AWAY.format(span(stats["database_away"])), "red"))


def _summary(stats: Json) -> str:
    here = " here" if len(stats["daemons"]) > 1 else ""
    return f"{stats['clients']} machines{here}, {stats['running']} transfers under way"


def _follow(daemon: ApiClient, search: str, count: int) -> None:
    """Show the rows, on a terminal in place, else a line for each change."""
    console = terminal()
    document = daemon.get("/api/clients", search=search, limit=max(1, count))
    rows = {row["name"]: row for row in document["clients"]}
    stats: Json = daemon.get("/api")["stats"]
    if not console.is_terminal:
        _print_changes(daemon, console, search)
        return

    def picture() -> Group:
        newest = sorted(rows.values(), key=lambda row: -row["last"])[:count]
        shown = machines(newest, time.time(), seers=len(stats["daemons"]) > 1)
        return Group(shown, text(""), text(_summary(stats), "dim"))

    with Live(picture(), console=console, auto_refresh=False) as live:
        for name, value in daemon.events():
            if name == "stats":
                stats = value
            else:
                rows.update({row["name"]: row for row in value if _fits(row, search)})
            live.update(picture(), refresh=True)


def _print_changes(daemon: ApiClient, console: Console, search: str) -> None:
    told: dict[str, tuple[str, str]] = {}
    for name, value in daemon.events():
        for row in value if name == "clients" else ():
            verdict = row["verdict"]["what"] if row["verdict"] else ""
            news = (row["stage"], verdict)
            if _fits(row, search) and told.get(row["name"]) != news:
                told[row["name"]] = news
                words = (row["name"], row["address"], row["state"], row["stage"], verdict)
                console.print(text("  ".join(word for word in words if word)), soft_wrap=True)


def _fits(row: Json, search: str) -> bool:
    shown = json.dumps(row).lower()
    return all(word.lower() in shown for word in search.split())
