"""When more comes than can be answered: known clients go before unknown ones.

The system drops what comes last. A flood of ever new MACs fills the socket's buffer, and no real
client's request would get through. So once datagrams get lost, all that has come is looked at. Of
what there is no time for, only what comes from a known client or continues an exchange is kept.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
from collections.abc import Callable, Collection, Iterator

from pybootd.core.rate_limit import REMIND_S, once_per
from pybootd.leases.lease import Lease, LeaseState
from pybootd.system import sockets

log = logging.getLogger(__name__)

BATCH = 64  # datagrams taken in one turn; their leases are saved in one transaction
_MAX_LOOKED_AT = 2048  # datagrams looked at in one turn beyond those, when datagrams get lost
# datagrams of unknown clients in a turn while datagrams get lost: transfers wait for its end
_MAX_STRANGERS = 16
_OVERLOAD_LASTS_S = 1.0  # seconds that an overload is taken to go on after the last loss
_LARGEST = 4096  # octets of a request
_KNOWN_FOR_S = 1.0  # seconds between two looks at who is known
_CHADDR = slice(28, 34)  # RFC 2131 2: six octets of an Ethernet address
_DISCOVER = b"\x63\x82\x53\x63\x35\x01\x01"  # the magic cookie, and the type where it comes first
_OPTIONS = slice(236, 243)
_SO_MEMINFO, _DROPS = 55, 8  # linux/sock_diag.h: SK_MEMINFO_DROPS
_MEMINFO = struct.Struct("@9I")


class OverloadFilter:
    """Reads one port's datagrams; ``leases`` tells which there are."""

    def __init__(self, leases: Callable[[], Collection[Lease]]) -> None:
        self._leases = leases
        self._known: frozenset[bytes] = frozenset()
        self._remembered = self._lost = float("-inf")
        self._dropped: dict[int, int] = {}
        self._reminder = once_per(REMIND_S)
        self.emptied = True
        """Whether the last reading left nothing."""

    def read_datagrams(self, sock: socket.socket, now: float) -> Iterator[sockets.ReceivedDatagram]:
        """Read what there is time for; in an overload, what matters most of what has come."""
        self.emptied = False
        for _ in range(_MAX_STRANGERS if now - self._lost < _OVERLOAD_LASTS_S else BATCH):
            datagram = sockets.receive(sock, _LARGEST)
            if datagram is None:
                self.emptied = True
                return
            yield datagram
        if self._loses_datagrams(sock):
            self._lost = now
        if now - self._lost >= _OVERLOAD_LASTS_S:
            return
        self._look_who_is_known(now)
        for _ in range(_MAX_LOOKED_AT):
            datagram = sockets.receive(sock, _LARGEST)
            if datagram is None:
                return
            data = datagram.data
            if data[_CHADDR] in self._known or data[_OPTIONS] != _DISCOVER:
                yield datagram

    def _loses_datagrams(self, sock: socket.socket) -> bool:
        """Tell whether the system has dropped datagrams since the last time."""
        drops = _count_drops(sock)
        before, self._dropped[sock.fileno()] = self._dropped.get(sock.fileno(), 0), drops
        return drops > before

    def _look_who_is_known(self, now: float) -> None:
        if now - self._remembered >= _KNOWN_FOR_S:
            self._remembered = now
            held = (LeaseState.BOUND, LeaseState.RELEASED)
            self._known = frozenset(one.mac for one in self._leases() if one.state in held)
        if self._reminder.take_token("overload", now):
            log.warning("dhcp: more requests than can be answered: known clients go first")


def _count_drops(sock: socket.socket) -> int:
    if sys.platform != "linux":
        return 0
    try:
        told = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:
        return 0
    return int(_MEMINFO.unpack(told)[_DROPS]) if len(told) == _MEMINFO.size else 0
