"""What systemd does for a service: sockets bound before the start, and word of how it is.

sd_listen_fds(3): sockets are taken by what they are, transport, address and port, so that it does
not matter which part asks. sd_notify(3): readiness, reloads and the watchdog.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from ipaddress import IPv4Address

from pybootd.core.loop import Loop

log = logging.getLogger(__name__)

_FIRST = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
_ANY = IPv4Address("0.0.0.0")
_SO_BINDTODEVICE: int | None = getattr(socket, "SO_BINDTODEVICE", None)

_handed: dict[socket.socket, str] = {}  # those that nobody has taken, and their names


def inherit_sockets(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Take the sockets that LISTEN_FDS counts, if they are meant for this process.

    The variables go, so that no program that we start takes them for its own. Returns a line
    for each descriptor that is of no use.
    """
    meant = environment.pop("LISTEN_PID", "")
    count, names = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_FDNAMES", "")
    if meant != str(os.getpid()) or not count.isdecimal():
        return []
    named, complaints = names.split(":"), []
    for number in range(_FIRST, _FIRST + int(count)):
        name = named[number - _FIRST] if number - _FIRST < len(named) else ""
        called = f"descriptor {number} ({name})" if name else f"descriptor {number}"
        try:
            os.set_inheritable(number, False)
            sock = socket.socket(fileno=number)
        except OSError as error:
            complaints.append(f"{called} was handed to us, but is no socket: {error.strerror}")
        else:
            _handed[sock] = called
    return complaints


def take_socket(
    kind: int, address: IPv4Address, port: int, interface: str = ""
) -> socket.socket | None:
    """Return a socket of this kind (SOCK_STREAM, SOCK_DGRAM) that was bound for us there, if any.

    For any address (0.0.0.0), and without an ``interface``, whatever it is bound to will do.
    """
    for sock in _handed:
        if sock.family != socket.AF_INET or sock.type != kind:
            continue
        bound, number = sock.getsockname()
        here = address in (_ANY, IPv4Address(bound))
        if number == port and here and (not interface or _device(sock) == interface):
            del _handed[sock]
            return sock
    return None


def leave() -> list[str]:
    """Close the sockets that nobody took; returns a line for each of them."""
    complaints = []
    for sock, called in _handed.items():
        kind = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
        if sock.family == socket.AF_INET:
            address, port = sock.getsockname()
            why = f"{kind} port {port} on {address} was handed to us, but nothing listens there"
        else:
            why = "was handed to us, but is no IPv4 socket: write ListenDatagram=0.0.0.0:69, say"
        complaints.append(f"{called}: {why}")
        sock.close()
    _handed.clear()
    return complaints


def _device(sock: socket.socket) -> str:
    if _SO_BINDTODEVICE is None:
        return ""
    return sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, 16).partition(b"\0")[0].decode()


class SystemdNotifier:
    """Sends datagrams to NOTIFY_SOCKET; without it, as where a person started us, does nothing."""

    def __init__(self, loop: Loop, environment: Mapping[str, str] = os.environ) -> None:
        self._loop = loop
        self._target = environment.get("NOTIFY_SOCKET", "")
        if self._target.startswith("@"):  # an abstract address: unix(7)
            self._target = "\0" + self._target[1:]
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        patience = environment.get("WATCHDOG_USEC", "") if self._target and ours else ""
        self._patience = int(patience) / 1e6 if patience.isdecimal() else 0.0

    def ready(self, status: str) -> None:
        """Say that the daemon serves, and from now on, where it is asked, that it is alive."""
        self._tell("READY=1", f"STATUS={status}")
        if self._patience:
            self._alive(self._loop.now)

    def reload(self, work: Callable[[], None]) -> None:
        """Do the work, and say when it begins and ends."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            work()
        finally:
            self._tell("READY=1")

    def stopping(self) -> None:
        """Say that the daemon stops."""
        self._tell("STOPPING=1")

    def _alive(self, now: float) -> None:
        self._tell("WATCHDOG=1")
        self._loop.call_at(
            now + self._patience / 2, self._alive
        )  # half, as sd_watchdog_enabled(3) says

    def _tell(self, *lines: str) -> None:
        if not self._target:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto("\n".join(lines).encode(), self._target)
            except OSError as error:
                log.debug("nobody hears %s: %s", lines[0], error)
