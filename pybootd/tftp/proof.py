"""What an address is sent that may be forged: a request is one datagram, and so is an ACK.

An address is proven by a lease or a proxy exchange of ours. Any other is proven by each ACK to a
port that only it can know: one of many, chosen for it alone (RFC 1350 4). Where
``[tftp] port_range`` has too few ports to hide in, what such an address is sent is bounded.
"""

from __future__ import annotations

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.events import FileProblem
from pybootd.files.source import Unavailable

MIN_UNGUESSABLE_PORTS = 1024
"""With as many ports, to guess the one of a transfer costs about what a window is worth: an ACK to
each of them is 60 kB, 64 blocks of Ethernet's size are 94 kB."""
BOUND_SPAN_S = 3600.0
"""Seconds for which the bound of an address holds."""
OCTETS_PER_PORT = 1 << 20
"""Octets that an unproven address is sent in that span, for each port of the range ..."""
MIN_OCTETS = 4 << 20
"""... and at the least."""
PORTS_PER_BLOCK = 8
"""Ports that the range has for each block of a window, so that an ACK is worth few blocks."""
MAX_ADDRESSES = 4096
"""Unproven addresses that are remembered."""


class UnprovenBound:
    """Bounds what unproven addresses are sent, with so many ``ports`` for transfers."""

    def __init__(self, ports: int) -> None:
        self.is_needed = ports < MIN_UNGUESSABLE_PORTS
        self.max_window = max(1, ports // PORTS_PER_BLOCK)
        """Blocks that an unproven address is sent for one ACK."""
        self.max_octets = max(MIN_OCTETS, ports * OCTETS_PER_PORT)
        """Octets that it is sent in BOUND_SPAN_S."""
        self._sent: BoundedMap[str, tuple[float, int]] = BoundedMap(MAX_ADDRESSES)

    def octets_left(self, address: str, now: float) -> int:
        """Return how many octets the address may still be sent."""
        since, sent = self._sent.get(address, (now, 0))
        return self.max_octets - sent if now - since < BOUND_SPAN_S else self.max_octets

    def charge_octets(self, address: str, octets: int, now: float) -> None:
        """Note that the address is about to be sent these octets. Raises Unavailable: too many."""
        left = self.octets_left(address, now)
        if octets > left:
            raise Unavailable(
                f"an address without a lease of ours is sent {self.max_octets >> 20} MiB an hour"
                f" while [tftp] port_range has fewer than {MIN_UNGUESSABLE_PORTS} ports",
                FileProblem.BUSY,
            )
        since = now if left == self.max_octets else self._sent[address][0]
        self._sent[address] = (since, self.max_octets - left + octets)
