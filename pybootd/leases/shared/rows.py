"""A lease as a row of the lease database, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.pool import EVERYWHERE, OFFER_HOLD_S, IPNetwork

# a Lease as it was at one moment, and its request's number in front
Row = tuple[Any, ...]


def make_row(lease: Lease, network: IPNetwork = EVERYWHERE) -> Row:
    """Keep a lease, its client's only one in the network, as it is now; it may change later."""
    return (
        int(lease.address),
        lease.owner or None,
        lease.mac,
        lease.client_id,
        lease.state.value,
        lease.expires,
        lease.seconds,
        # text that a client chose: a text that no database takes would stop everybody
        lease.hostname.replace("\0", "").encode(errors="replace").decode(),
        lease.uuid,
        lease.booted,
        lease.version,
        str(network),
    )


def read_row(version: int, row: Sequence[Any], offset: float, now: float) -> Lease:
    """Read the columns that ``pybootd.save`` returns, from the address on.

    ``offset``: monotonic clock less lease clock.
    """
    number, owner, mac, client_id, state, expires, seconds, hostname, uuid, booted, _ = row
    granted = math.inf if seconds is None else seconds
    made = LeaseState(state)
    # never more than was granted, whatever happened to the clock while nobody watched it
    most = now + (OFFER_HOLD_S if made is LeaseState.OFFERED else granted)
    ends = FOREVER if expires is None else min(expires + offset, most)
    return Lease(
        address=IPv4Address(number),
        owner=owner or b"",
        mac=mac,
        client_id=client_id,
        state=made,
        expires=ends,
        seconds=granted,
        hostname=hostname,
        uuid=uuid if uuid is None or isinstance(uuid, UUID) else UUID(str(uuid)),
        booted=booted,
        version=version,
        stored_until=ends if made is LeaseState.BOUND else 0.0,
    )
