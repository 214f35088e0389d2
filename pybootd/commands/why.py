"""``pybootd why``: one machine's boot, step by step, and why it stopped."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pybootd.commands import display
from pybootd.commands.api_client import ApiClient, ApiError, fail, options

Json = dict[str, Any]


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd why",
        description="Show a machine's boot step by step, and say why it stopped: what is most"
        " likely wrong, and what to do.",
        epilog="Exit status: 0, or 1 when the daemon can't be asked or doesn't know the machine.",
    )
    options(made)
    made.add_argument("-f", "--follow", action="store_true", help="show it again as it goes on")
    made.add_argument("-b", "--boot", type=int, help="the boot of this number (the newest)")
    made.add_argument("machine", nargs="?", help="MAC or address (the one that failed last)")
    return made


def main(argv: list[str]) -> int:
    """Run the command; the exit status."""
    given = parser().parse_args(argv)
    try:
        daemon = ApiClient.from_options(given)
        client = _find(daemon, given.machine)
        _show(client, given)
        if given.follow:
            _follow(daemon, client, given)
    except ApiError as error:
        return fail("why", error)
    except BrokenPipeError:
        return 0
    return 0


def _find(daemon: ApiClient, machine: str | None) -> Json:
    if machine is not None:
        return daemon.client(machine)
    try:
        found: Json = daemon.get("/api/clients/failed")["client"]
    except ApiError as error:
        if error.code != "no-failure":
            raise
        raise ApiError("no boot has failed here; name a machine to see its boot") from error
    return found


def _show(client: Json, given: argparse.Namespace) -> None:
    if given.json:
        print(json.dumps(client, indent=None if given.follow else 2), flush=True)  # noqa: T201
    else:
        display.boot(display.terminal(), client, given.boot)


def _follow(daemon: ApiClient, client: Json, given: argparse.Namespace) -> None:
    """Show the boot again whenever it has come further."""
    told = (client["boot"], client["stage"], client["verdict"])
    for name, value in daemon.events():
        for row in value if name == "clients" else ():
            news = (row["boot"], row["stage"], row["verdict"])
            if row["name"] == client["name"] and news != told:
                told = news
                _show(daemon.client(row["name"]), given)
