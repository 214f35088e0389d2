"""Sockets that whoever started us has bound already: systemd, by sd_listen_fds(3).

They are taken by what they are, transport, address and port, so that it doesn't matter who asks.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from ipaddress import IPv4Address

_FIRST = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START
_ANY = IPv4Address("0.0.0.0")
_SO_BINDTODEVICE: int | None = getattr(socket, "SO_BINDTODEVICE", None)

_handed: dict[socket.socket, str] = {}  # those that nobody has taken, and their names


def inherit(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Take the sockets that LISTEN_FDS counts, if they are meant for this process.

    The variables go, so that nobody whom we start believes they are meant for him. Returns a line
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


def take(kind: int, address: IPv4Address, port: int, interface: str = "") -> socket.socket | None:
    """Return a socket of this kind (SOCK_STREAM, SOCK_DGRAM) that was bound for us there, if any.

    For any address (0.0.0.0) that of whoever bound it will do, and without an ``interface`` the one
    that he bound it to.
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
