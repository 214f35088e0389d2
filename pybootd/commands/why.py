"""``pybootd why``: one machine's boot, step by step, and why it stopped."""

from __future__ import annotations

import argparse
from typing import Any

from pybootd.commands.api_client import ApiClient, ApiError, add_daemon_options
from pybootd.commands.display import open_terminal, print_boot, report_error, write_json

Json = dict[str, Any]
_NEWEST_FAILURE = "failed"  # stands for a machine's name in the API


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd why",
        description="Show a machine's boot step by step, and say why it stopped: what is most"
        " likely wrong, and what to do.",
        epilog="Exit status: 0, or 1 when the daemon can't be asked or doesn't know the machine.",
    )
    add_daemon_options(made)
    made.add_argument(
        "-f", "--follow", action="store_true", help="show it again whenever it changes"
    )
    made.add_argument("-b", "--boot", type=int, help="the boot of this number (the newest)")
    made.add_argument("machine", nargs="?", help="MAC or address (the one that failed last)")
    return made


def main(argv: list[str]) -> int:
    """Run the command; the exit status."""
    given = parser().parse_args(argv)
    try:
        daemon = ApiClient.from_options(given)
        client = daemon.fetch_client(given.machine or _NEWEST_FAILURE)
        _print_client(client, given)
        if given.follow:
            _follow_boot(daemon, client, given)
    except ApiError as error:
        return report_error("why", error, as_json=given.json)
    return 0


def _print_client(client: Json, given: argparse.Namespace) -> None:
    if given.json:
        write_json(client, indent=None if given.follow else 2)
    else:
        print_boot(open_terminal(), client, given.boot)


def _follow_boot(daemon: ApiClient, client: Json, given: argparse.Namespace) -> None:
    """Show the boot again whenever it has come further."""
    told = (client["boot"], client["stage"], client["verdict"])
    for name, value in daemon.follow_events():
        for row in value if name == "clients" else ():
            news = (row["boot"], row["stage"], row["verdict"])
            if row["name"] == client["name"] and news != told:
                told = news
                _print_client(daemon.fetch_client(row["name"]), given)
