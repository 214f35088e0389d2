"""``pybootd leases``: who has which address, also while the daemon runs."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pybootd.commands.display import CommandError, report_error, write_json, write_line
from pybootd.config.ini import ConfigError, find_file
from pybootd.config.loader import Config, examine
from pybootd.core.mac import format_mac, parse_mac
from pybootd.core.text import make_printable
from pybootd.leases.importer import import_leases
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.lease_file import is_in_use, read_lease_file, remove_leases
from pybootd.leases.shared.admin import migrate_database, read_database, remove_database_leases
from pybootd.leases.shared.connection import describe_database, is_database_url
from pybootd.leases.sqlite import MEMORY
from pybootd.leases.store import StoreError


class LeasesCode(StrEnum):
    """Why the leases could not be listed or changed."""

    MEMORY = "leases-in-memory"
    SAME_STORE = "same-store"
    NO_DATABASE = "no-database"
    NO_LEASE = "no-lease"


def main(argv: Sequence[str]) -> int:
    """List the leases, take a client's away, or take another store's over; return the status."""
    options = parser().parse_args(argv)
    try:
        if options.source is not None:
            return _import_leases(options.config, options.source)
        where = _find_store(options.config)
        if options.migrate:
            return _migrate_tables(where)
        if options.release is not None:
            return _release_leases(where, options.release)
        leases = read_database(where) if is_database_url(where) else read_lease_file(Path(where))
    except (CommandError, ConfigError, StoreError) as error:
        return report_error("leases", error, as_json=options.json)
    except KeyboardInterrupt:  # a script must not go on as if it had been done
        return 1
    if options.json:
        write_json([make_lease_document(lease) for lease in leases])
    else:
        for line in format_lease_table(leases):
            write_line(line)
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd leases", description="List the addresses that clients have."
    )
    made.add_argument("-c", "--config", metavar="FILE", help="the daemon's configuration file")
    made.add_argument("--json", action="store_true", help="print one JSON array")
    made.add_argument(
        "--release",
        metavar="MAC",
        type=_read_mac,
        help="take a client's address from it, so that it may be given to others",
    )
    made.add_argument(
        "--migrate",
        action="store_true",
        help="make the tables of leases = postgresql://..., or bring them up to this version",
    )
    made.add_argument(
        "--import",
        dest="source",
        metavar="FROM",
        help="take over the leases of another file or database; what is there already stays",
    )
    return made


def _read_mac(text: str) -> bytes:
    try:
        return parse_mac(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _find_store(config: str | None) -> str:
    # faults elsewhere in the file are the daemon's to tell
    return _store_of(examine(find_file(config), ())[0])


def _store_of(config: Config) -> str:
    if config.bootp.leases == MEMORY:
        raise CommandError(
            LeasesCode.MEMORY, "[bootp] leases = memory", "the daemon alone knows them"
        )
    return config.bootp.leases


def _import_leases(path: str | None, source: str) -> int:
    config, faults = examine(find_file(path), ())
    if faults:  # what is at fault has its default, which is not where to write
        raise ConfigError(faults)
    where = _store_of(config)
    source = source if is_database_url(source) else str(Path(source).resolve())
    if source == (where if is_database_url(where) else str(Path(where).resolve())):
        raise CommandError(
            LeasesCode.SAME_STORE, "--import: [bootp] leases names the same", "name the new place"
        )
    if not is_database_url(source) and is_in_use(Path(source)):
        write_line(
            f"pybootd leases: a daemon uses {source}: leases that it gives from now on stay there; "
            "stop it, and import again",
            error=True,
        )
    networks = [one.network for one in config.subnets]
    by_client_id = config.bootp.identity == "client-id"
    made = import_leases(source, where, networks, by_client_id=by_client_id)
    for line in made.left_out:
        write_line(f"pybootd leases: {make_printable(line)}", error=True)
    name = describe_database(where) if is_database_url(where) else where
    counts = f"{made.already_there} were there, {len(made.left_out)} left out"
    write_line(f"{name}: {len(made.write)} leases taken over, {counts}")
    return 1 if made.left_out else 0


def _migrate_tables(where: str) -> int:
    if not is_database_url(where):
        raise CommandError(
            LeasesCode.NO_DATABASE, f"{where} is a file", "the daemon itself keeps it up to date"
        )
    before, after = migrate_database(where)
    write_line(f"the tables are those of schema {after}" + (f", were {before}" if before else ""))
    return 0


def _release_leases(where: str, mac: bytes) -> int:
    if is_database_url(where):
        name, addresses = describe_database(where), remove_database_leases(where, mac)
    else:
        name, addresses = where, remove_leases(Path(where), mac)
    if not addresses:
        raise CommandError(LeasesCode.NO_LEASE, f"{format_mac(mac)} has no lease in {name}")
    for address in addresses:
        write_line(f"{address} is free again")
    return 0


def _lease_state(lease: Lease) -> str:
    """Name the state of a lease whose times count from now."""
    if lease.state in (LeaseState.BOUND, LeaseState.DECLINED) and lease.expires <= 0:
        return "expired" if lease.state is LeaseState.BOUND else "free"
    return lease.state.value


def _format_remaining(seconds: float) -> str:
    """Write how long a lease still lasts, in its two largest units."""
    if seconds == FOREVER:
        return "for good"
    if seconds <= 0:
        return "-"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [(days, "d"), (hour, "h"), (minute, "min"), (second, "s")]
    first = next((at for at, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])


def format_lease_table(leases: Sequence[Lease]) -> list[str]:
    """Write the lines of a table."""
    rows = [("address", "MAC", "state", "left", "name")]
    rows += [
        (
            str(lease.address),
            format_mac(lease.mac),
            _lease_state(lease),
            _format_remaining(lease.expires),
            make_printable(lease.hostname) or "-",
        )
        for lease in leases
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def make_lease_document(lease: Lease) -> dict[str, object]:
    """Make the JSON value of a lease whose times count from now."""
    until = None
    if lease.expires != FOREVER:
        # None also for a moment that no calendar has
        with contextlib.suppress(OverflowError, ValueError, OSError):
            moment = datetime.fromtimestamp(time.time() + lease.expires, UTC)
            until = moment.isoformat("T", "seconds")
    return {
        "address": str(lease.address),
        "mac": format_mac(lease.mac),
        "client_id": lease.client_id.hex() if lease.client_id is not None else None,
        "state": _lease_state(lease),
        "expires": until,
        "hostname": lease.hostname,
        "uuid": str(lease.uuid) if lease.uuid else None,
        "booted": lease.booted,
    }
