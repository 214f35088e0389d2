"""The sockets of one port: one for all interfaces, or one for each interface that is served."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping

from pybootd.core.loop import Loop
from pybootd.system import sockets

log = logging.getLogger(__name__)

Readable = Callable[[socket.socket, float], None]


class DhcpSockets:
    """One UDP port. ``what`` and ``option`` name it in errors; ``receive_buffer`` in octets."""

    def __init__(
        self, loop: Loop, port: int, what: str, option: str, receive_buffer: int = 0
    ) -> None:
        self._loop = loop
        self._port = port
        self._what = what
        self._option = option
        self._receive_buffer = receive_buffer
        self._sockets: dict[int, socket.socket] = {}  # by interface; 0: all of them
        self._readable: Readable | None = None

    def open(self, devices: Mapping[int, str]) -> None:
        """Bind, for each interface (number and name) or, where there is none, for all of them.

        Raises BindError.
        """
        for index, name in (devices or {0: ""}).items():
            self._sockets[index] = self._bind(name)

    def _bind(self, name: str) -> socket.socket:
        return sockets.udp_socket(
            sockets.ANY,
            self._port,
            what=self._what,
            option=self._option,
            interface=name,
            receive_buffer=self._receive_buffer,
        )

    def start(self, readable: Readable) -> None:
        """Call ``readable(socket, now)`` whenever something has come."""
        self._readable = readable
        for sock in self._sockets.values():
            self._watch(sock)

    def _watch(self, sock: socket.socket) -> None:
        readable = self._readable
        if readable is not None:
            self._loop.watch(sock, lambda now: readable(sock, now))

    def rest(self, sock: socket.socket, seconds: float) -> None:
        """Leave what comes to the socket waiting for so long; then it is read together."""
        self._loop.unwatch(sock)
        self._loop.after(seconds, lambda now: self._wake(sock))

    def _wake(self, sock: socket.socket) -> None:
        if sock in self._sockets.values():  # it may be closed by now
            self._watch(sock)

    def follow(self, devices: Mapping[int, str]) -> None:
        """Serve these interfaces from now on, where single ones are served."""
        if 0 in self._sockets:
            return
        for index in set(self._sockets) - set(devices):
            self._end(self._sockets.pop(index))
        for index in set(devices) - set(self._sockets):
            try:
                sock = self._sockets[index] = self._bind(devices[index])
            except sockets.BindError as error:
                log.warning("%s on %s: %s", self._what, devices[index], error)
            else:
                self._watch(sock)

    def of(self, interface: int) -> socket.socket | None:
        """Return the socket that serves the interface."""
        return self._sockets.get(interface) or self._sockets.get(0)

    def close(self) -> None:
        """Give the sockets back; may be called twice."""
        for sock in self._sockets.values():
            self._end(sock)
        self._sockets.clear()

    def _end(self, sock: socket.socket) -> None:
        self._loop.unwatch(sock)
        sock.close()
