"""Is there another DHCP server on this link? A decision without I/O, for ``mode = auto``.

A probe is a few DISCOVERs that we send. An offer of an address makes us a proxy at once, whenever
it comes; a probe that nobody answers makes us the server.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address

from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import BOOTREPLY, BROADCAST_FLAG, NOBODY, MessageType, Packet

PROBE_INTERVAL_S = 60.0  # between probes while nobody asks
MIN_REST_S = 5.0  # between the verdict of a probe and a probe that a client's request begins
FIRST_VERDICT_S = 5.0  # until the verdict: dnsmasq pings for 3 s before it offers, once a client
LATER_VERDICT_S = 6.0  # the same where a server was there before: it may be busy with clients
MAX_UNPROVED_S = 600.0  # for which clients' word that the other server is there is taken
LISTEN_S = 4.0  # in which the other server's answer to a client is heard
_ASKS = (0.0, 2.0, 4.0)  # seconds from a probe's beginning

_CLASS = b"PXEClient:Arch:00000:UNDI:002001"  # some servers serve nobody else; we do so, too
_PROBE = b"pybootd probe"  # the user class, so that two of us don't wake each other for ever


class LinkRole(Enum):
    """What we are on a link; until the first verdict we give no addresses."""

    UNKNOWN = "unknown"
    SERVER = "dhcp"
    PROXY = "proxy"


def is_probe(packet: Packet) -> bool:
    """Tell a probe, ours or another's."""
    return packet.options.get(options.USER_CLASS) == _PROBE


class LinkDetector:
    """Watches one link. ``due``: when ``take_probe`` is called next."""

    def __init__(self, mac: bytes, xid: int, now: float) -> None:
        self.role = LinkRole.UNKNOWN
        self.other: IPv4Address | None = None
        self.due = now
        self._mac = mac
        self._xid = xid
        self._began = now
        self._asked = 0
        self._answered = False
        self._proved = now  # when another server was heard itself
        self._resting = False
        self._rested = now

    def take_probe(self, now: float) -> Packet | None:
        """Return the DISCOVER to send now, if any; ``role`` may have changed."""
        if self._resting:
            self._begin_probe(now)
        if self._asked < len(_ASKS):
            self._asked += 1
            times = (*_ASKS[self._asked :], self._verdict_delay())
            self.due = max(now, self._began + times[0])
            return self._make_probe()
        self._end_probe(now)
        if not self._answered:
            self.role, self.other = LinkRole.SERVER, None
        return None

    def note_request(self, now: float) -> None:
        """Note that a client looks for a server: the time to know who else is there.

        Beside another server it is enough to hear that one answer, and a probe costs its clients
        time; where nothing is heard, ask.
        """
        if self._resting:
            beside = self.role is LinkRole.PROXY
            when = now + LISTEN_S if beside else max(now, self._rested + MIN_REST_S)
            self.due = min(self.due, when)

    def weigh_choice(self, server: IPv4Address, now: float) -> None:
        """Note that a client says that it takes another server's offer.

        That proves nothing: it is a reason to ask. Of the server that we know it saves a probe, but
        not for ever.
        """
        if not self._resting and self.role is not LinkRole.PROXY:
            return  # it is being asked
        known = self.role is LinkRole.PROXY and server == self.other
        if known and now - self._proved < MAX_UNPROVED_S:
            self._answered = True
            self._end_probe(now)
        else:
            self.due = min(self.due, max(now, self._rested + MIN_REST_S))

    def note_other_server(self, server: IPv4Address, now: float) -> None:
        """Note that another server is there: it offers an address."""
        self._proved = now
        self._answered = True
        self.role, self.other = LinkRole.PROXY, server
        self._end_probe(now)

    def read_reply(self, packet: Packet, now: float) -> None:
        """Take another server's reply: to a DISCOVER of ours, late ones too, or to a client's.

        dnsmasq, which pings for three seconds before each offer, may come to ours last.
        """
        kind = int.from_bytes(packet.options.get(options.TYPE, b""))
        server = packet.options.get(options.SERVER_ID, b"")
        gives = kind in (MessageType.OFFER, MessageType.ACK) and packet.yiaddr != NOBODY
        if packet.op == BOOTREPLY and gives:
            self.note_other_server(IPv4Address(server) if len(server) == 4 else packet.siaddr, now)

    def _begin_probe(self, now: float) -> None:
        self._began, self._asked = now, 0
        self._answered = self._resting = False

    def _end_probe(self, now: float) -> None:
        self._resting, self._rested = True, now
        self.due = now + PROBE_INTERVAL_S

    def _verdict_delay(self) -> float:
        return LATER_VERDICT_S if self.role is LinkRole.PROXY else FIRST_VERDICT_S

    def _make_probe(self) -> Packet:
        return Packet(
            xid=self._xid,
            flags=BROADCAST_FLAG,
            chaddr=self._mac,
            options={
                options.TYPE: bytes((MessageType.DISCOVER,)),
                options.WANTED: bytes((options.MASK, options.ROUTER, options.SERVER_ID)),
                options.CLASS: _CLASS,
                options.USER_CLASS: _PROBE,
                options.ARCHITECTURE: b"\0\0",
            },
        )
