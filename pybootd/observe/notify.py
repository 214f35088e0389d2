"""Tells others by UDP who booted, got an address, or gave it back.

One ASCII datagram to every target: ``BOOT,UUID,MAC,IP`` (a network boot client's address is
confirmed), ``LEASE,MAC,IP`` or ``LEASE,UUID,MAC,IP`` (any other client's), ``RELEASE,...`` alike.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable

from pybootd.core.client import Client, IPAddress
from pybootd.core.client_table import ClientTable
from pybootd.core.events import Confirmed, EventBus, Released
from pybootd.core.mac import format_mac

log = logging.getLogger(__name__)


class Notifier:
    """Sends what happened to ``targets``, (address, port) each, and never waits for any of them.

    The UUID is the one that the client shows or once showed; it is left out where none is known.
    A target that can't be reached costs one log line, and another one when it can be again.
    """

    def __init__(
        self, targets: Iterable[tuple[str, int]], bus: EventBus, clients: ClientTable
    ) -> None:
        self.targets = tuple(targets)
        self._bus = bus
        self._clients = clients
        self._socket: socket.socket | None = None
        self._failing: set[tuple[str, int]] = set()

    def set_targets(self, targets: Iterable[tuple[str, int]]) -> None:
        """Send to these targets from now on."""
        self.targets = tuple(targets)

    def open(self) -> None:
        """Open the socket."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)

    def start(self) -> None:
        """Listen to the bus."""
        self._bus.subscribe(Confirmed, self._notify_confirmed)
        self._bus.subscribe(Released, self._notify_released)

    def close(self) -> None:
        """Send nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _notify_confirmed(self, event: Confirmed) -> None:
        if event.proxy and not event.booting:
            return  # the lease is another server's
        self._send_notice("BOOT" if event.booting else "LEASE", event.client, event.address)

    def _notify_released(self, event: Released) -> None:
        self._send_notice("RELEASE", event.client, event.address)

    def _send_notice(self, what: str, client: Client, address: IPAddress) -> None:
        if self._socket is None or not self.targets:
            return
        known = self._clients.find_by_identity(client.identity)
        uuid = client.uuid or (known.uuid if known else None)
        parts = (what, *([str(uuid)] if uuid else []), format_mac(client.mac), str(address))
        datagram = ",".join(parts).encode("ascii")
        for target in self.targets:
            try:
                self._socket.sendto(datagram, target)
            except OSError as error:
                if target not in self._failing:
                    self._failing.add(target)
                    log.warning("notify %s:%d: %s", *target, error.strerror)
            else:
                if target in self._failing:
                    self._failing.remove(target)
                    log.info("notify %s:%d: it can be reached again", *target)
