"""``pybootd leases``: who has which address, also while the daemon runs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pybootd.config.ini import ConfigError, find_file
from pybootd.config.loader import Config, examine
from pybootd.core.mac import format_mac, parse_mac
from pybootd.leases.importer import import_leases
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.lease_file import is_in_use, read_lease_file, remove_leases
from pybootd.leases.shared.admin import migrate_database, read_database, remove_database_leases
from pybootd.leases.shared.connection import describe_database, is_database_url
from pybootd.leases.sqlite import MEMORY
from pybootd.leases.store import StoreError


def main(argv: Sequence[str]) -> int:
    """List the leases, take a client's away, or take another store's over; return the status."""
    options = _parser().parse_args(argv)
    try:
        if options.source is not None:
            return _import(options.config, options.source)
        where = _where(options.config)
        if options.migrate:
            return _migrate(where)
        if options.release is not None:
            return _release(where, options.release)
        leases = read_database(where) if is_database_url(where) else read_lease_file(Path(where))
    except (ConfigError, StoreError) as error:
        print(f"pybootd: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # a script must not go on as if it had been done
        return 1
    if options.json:
        print(json.dumps([_entry(lease) for lease in leases], indent=2))
    else:
        print("\n".join(_table(leases)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pybootd leases", description="List the addresses that clients have."
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="the daemon's configuration file")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.add_argument(
        "--release",
        metavar="MAC",
        type=_mac,
        help="take a client's address from it, so that it may be given to others",
    )
    parser.add_argument(
        "--migrate",
        action="store_true",
        help="make the tables of leases = postgresql://..., or bring them up to this version",
    )
    parser.add_argument(
        "--import",
        dest="source",
        metavar="FROM",
        help="take over the leases of another file or database; what is there already stays",
    )
    return parser


def _mac(text: str) -> bytes:
    try:
        return parse_mac(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _where(config: str | None) -> str:
    # faults elsewhere in the file are the daemon's to tell
    return _kept(examine(find_file(config), ())[0])


def _kept(config: Config) -> str:
    if config.bootp.leases == MEMORY:
        raise StoreError("[bootp] leases = memory: the daemon alone knows them")
    return config.bootp.leases


def _import(path: str | None, source: str) -> int:
    config, faults = examine(find_file(path), ())
    if faults:  # what is at fault has its default, which is not where to write
        raise ConfigError(faults)
    where = _kept(config)
    source = source if is_database_url(source) else str(Path(source).resolve())
    if source == (where if is_database_url(where) else str(Path(where).resolve())):
        raise StoreError("--import: [bootp] leases names the same; it is to name the new place")
    if not is_database_url(source) and is_in_use(Path(source)):
        print(
            f"pybootd: a daemon uses {source}: leases that it gives from now on stay there; "
            "stop it, and import again",
            file=sys.stderr,
        )
    networks = [one.network for one in config.subnets]
    by_client_id = config.bootp.identity == "client-id"
    made = import_leases(source, where, networks, by_client_id=by_client_id)
    for line in made.left_out:
        print(f"pybootd: {line}", file=sys.stderr)
    name = describe_database(where) if is_database_url(where) else where
    counts = f"{made.there} were there, {len(made.left_out)} left out"
    print(f"{name}: {len(made.write)} leases taken over, {counts}")
    return 1 if made.left_out else 0


def _migrate(where: str) -> int:
    if not is_database_url(where):
        raise StoreError(f"{where} is a file, which the daemon itself keeps up to date")
    before, after = migrate_database(where)
    print(f"the tables are those of schema {after}" + (f", were {before}" if before else ""))
    return 0


def _release(where: str, mac: bytes) -> int:
    if is_database_url(where):
        name, addresses = describe_database(where), remove_database_leases(where, mac)
    else:
        name, addresses = where, remove_leases(Path(where), mac)
    if not addresses:
        print(f"pybootd: {format_mac(mac)} has no lease in {name}", file=sys.stderr)
        return 1
    for address in addresses:
        print(f"{address} is free again")
    return 0


def state(lease: Lease) -> str:
    """Name the state of a lease whose times count from now."""
    if lease.state in (LeaseState.BOUND, LeaseState.DECLINED) and lease.expires <= 0:
        return "expired" if lease.state is LeaseState.BOUND else "free"
    return lease.state.value


def _left(seconds: float) -> str:
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


def _table(leases: Sequence[Lease]) -> list[str]:
    rows = [("address", "MAC", "state", "left", "name")]
    rows += [
        (
            str(lease.address),
            format_mac(lease.mac),
            state(lease),
            _left(lease.expires),
            lease.hostname or "-",
        )
        for lease in leases
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _entry(lease: Lease) -> dict[str, object]:
    until = None
    if lease.expires != FOREVER:
        until = datetime.fromtimestamp(time.time() + lease.expires, UTC).isoformat("T", "seconds")
    return {
        "address": str(lease.address),
        "mac": format_mac(lease.mac),
        "client_id": lease.client_id.hex() if lease.client_id is not None else None,
        "state": state(lease),
        "expires": until,
        "hostname": lease.hostname,
        "uuid": str(lease.uuid) if lease.uuid else None,
        "booted": lease.booted,
    }
