"""A lease: one address, whose it is and for how long.

Times are monotonic seconds here; a store turns them into wall-clock time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address
from uuid import UUID

from pybootd.core.client import IPAddress

FOREVER = math.inf  # the lease of a BOOTP client (RFC 1534 3)
NEVER = math.inf


class LeaseState(Enum):
    """What an address is to its client; DECLINED: somebody else uses it; FREE: it has none.

    A lease that ran out is BOUND or RELEASED, its ``expires`` past.
    """

    OFFERED = "offered"
    BOUND = "bound"
    RELEASED = "released"
    DECLINED = "declined"
    FREE = "free"


@dataclass(slots=True)
class Lease:
    """One address and whose it is.

    ``owner`` is the client's identity (``core.client.make_identity``), empty for nobody;
    ``expires`` when the offer, the lease or the block ends (monotonic seconds); ``seconds`` the
    time granted; ``given_back``: its client released it, it did not merely run out;
    ``booted``: the client network-booted from us, so its system is served as well;
    ``checked``: nobody else answered at the address, or its client has used it. ``due``: the
    pool's own note of when to look at it again. Where several daemons share a store, ``version``
    is the state of the store that this is based on (0: the store has none), and until
    ``stored_until`` it is known to hold the lease as bound (monotonic seconds).
    """

    address: IPAddress
    owner: bytes
    mac: bytes
    client_id: bytes | None = None
    state: LeaseState = LeaseState.OFFERED
    expires: float = 0.0
    seconds: float = 0.0
    hostname: str = ""
    uuid: UUID | None = None
    booted: bool = False
    checked: bool = False
    given_back: bool = False
    due: float = NEVER
    version: int = 0
    stored_until: float = 0.0

    def is_active(self, now: float) -> bool:
        """Tell whether its client may use the address now."""
        return self.state is LeaseState.BOUND and self.expires > now

    @property
    def ipv4(self) -> IPv4Address:
        """The address of a lease of DHCPv4; raises TypeError for one of DHCPv6."""
        if not isinstance(self.address, IPv4Address):
            raise TypeError(f"{self.address} is no IPv4 address")
        return self.address
