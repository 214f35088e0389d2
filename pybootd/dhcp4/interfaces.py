"""The interfaces that are served, as they come and go, and which one a datagram came in on."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address

from pybootd.config.options.bootp import BootpConfig
from pybootd.config.values import ANY
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.loop import Loop, Timer
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire.packet import NOBODY
from pybootd.system import interfaces, sockets
from pybootd.system.interfaces import Interface

MAX_ARRIVALS = 1024
"""Places that requests come from, remembered."""
SETTLE_S = 0.2
"""Seconds until interfaces that have changed are looked at: changes come in droves."""
LOOK_AGAIN_S = 1.0
"""Seconds between two looks at the interfaces for the sake of one that is unknown."""


class ServedInterfaces:
    """The interfaces of this host; ``changed(now)`` is called once a change of them has settled."""

    def __init__(self, loop: Loop, changed: Callable[[float], None]) -> None:
        self._loop = loop
        self._changed = changed
        self._bootp = BootpConfig()
        self._subnets: Subnets | None = None
        self._changes: socket.socket | None = None
        self._look_due: Timer | None = None
        self._found: dict[int, Interface] = {}
        self._arrivals: BoundedMap[tuple[int, str, str, str], Arrival] = BoundedMap(MAX_ARRIVALS)
        self._looked = float("-inf")

    def apply_config(self, bootp: BootpConfig, subnets: Subnets) -> None:
        """Serve by another configuration; the interfaces are those found last."""
        self._bootp, self._subnets = bootp, subnets
        self._arrivals.clear()
        subnets.follow_interfaces(self._found.values())

    def open_watch(self, now: float) -> None:
        """Look at the interfaces, and take the socket that tells of changes."""
        self.refresh_interfaces(now)
        self._changes = interfaces.open_change_socket()

    def start_watch(self) -> None:
        """Follow the changes from the next turn of the loop on."""
        if self._changes is not None:
            self._loop.watch(self._changes, self._note_change)

    def close_watch(self) -> None:
        """Stop following; may be called twice."""
        if self._look_due is not None:
            self._look_due.cancel()
            self._look_due = None
        if self._changes is not None:
            self._loop.unwatch(self._changes)
            self._changes.close()
            self._changes = None

    def refresh_interfaces(self, now: float) -> None:
        """See which interfaces and addresses there are."""
        self._looked = now
        self._found = interfaces.by_index(interfaces.list_interfaces())
        self._arrivals.clear()
        if self._subnets is not None:
            self._subnets.follow_interfaces(self._found.values())

    def _note_change(self, now: float) -> None:
        """Look again soon: the system says that an interface or an address came or went."""
        sockets.drain(self._changes)
        if self._look_due is None:
            self._look_due = self._loop.call_later(SETTLE_S, self._follow_change)

    def _follow_change(self, now: float) -> None:
        self._look_due = None
        self.refresh_interfaces(now)
        self._changed(now)

    def find_interface(self, index: int) -> Interface | None:
        """Return the interface of this number."""
        return self._found.get(index)

    def list_served(self) -> list[Interface]:
        """Return the interfaces that the configuration names, or whose address it names."""
        return [one for one in self._found.values() if self._is_served(one)]

    def _is_served(self, interface: Interface) -> bool:
        bootp = self._bootp
        if bootp.interface and interface.name not in bootp.interface:
            return False
        return bootp.address == ANY or _has_address(interface, bootp.address)

    def choose_devices(self) -> dict[int, str]:
        """Return the interfaces to bind to, number and name, none for all; raises BindError."""
        bootp = self._bootp
        found = [one for one in self._found.values() if one.name in bootp.interface]
        missing = set(bootp.interface) - {one.name for one in found}
        if missing:
            have = ", ".join(sorted(one.name for one in self._found.values()))
            raise sockets.BindError(
                f"DHCP server: no interface {', '.join(sorted(missing))}: "
                f"change [bootp] interface (there are: {have})"
            )
        if bootp.address != ANY:
            # a socket bound to one address gets no broadcasts: the interface stands in for it
            holds = [one for one in self._found.values() if _has_address(one, bootp.address)]
            if not holds:
                raise sockets.BindError(
                    f"DHCP server: no interface has {bootp.address}: change [bootp] address"
                )
            found = [one for one in holds if not found or one in found]
        return {one.index: one.name for one in found}

    def trace_arrival(self, datagram: sockets.ReceivedDatagram, now: float) -> Arrival | None:
        """Say where a datagram came in; None: on no interface that is known."""
        key = (datagram.interface, datagram.local, datagram.destination, datagram.address)
        arrival = self._arrivals.get(key)
        if arrival is not None:
            return arrival
        interface = self._found.get(datagram.interface)
        if interface is None and now - self._looked >= LOOK_AGAIN_S:
            self.refresh_interfaces(now)  # one that came since
            interface = self._found.get(datagram.interface)
        if interface is None:
            interface = self._guess_interface()
        if interface is None:
            return None
        local = IPv4Address(datagram.local) if datagram.local else NOBODY
        unicast = bool(datagram.local) and datagram.destination == datagram.local
        source = NOBODY if datagram.address == "0.0.0.0" else IPv4Address(datagram.address)
        arrival = Arrival(interface, local, source, unicast)
        self._arrivals[key] = arrival
        return arrival

    def _guess_interface(self) -> Interface | None:
        """Guess the interface where the system doesn't tell: the only one on a pool's network."""
        fit = [
            interface
            for interface in self._found.values()
            for own in interface.addresses
            if self._subnets is not None and self._subnets.find_subnet(own.ip)
        ]
        return fit[0] if len(fit) == 1 else None


def _has_address(interface: Interface, address: IPv4Address) -> bool:
    return any(own.ip == address for own in interface.addresses)
