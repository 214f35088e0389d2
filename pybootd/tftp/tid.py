"""The local ports that transfers use, and who else writes to them.

A transfer's socket is connected, so the system hands it its client's datagrams alone. A second
socket on the same port gets what strangers send there, to answer ERROR 5 (RFC 1350 4). Both are
kept for the next transfers for a moment, so that a small file costs no new socket.
"""

from __future__ import annotations

import contextlib
import functools
import random
import socket
from collections import deque
from ipaddress import IPv4Address

from pybootd.core.loop import Loop, Timer
from pybootd.system import sockets
from pybootd.tftp.wire.packet import Error, ErrorCode, Opcode, encode

Address = tuple[str, int]

_STRANGER = encode(Error(ErrorCode.UNKNOWN_TRANSFER, "this port serves another client"))
_IDLE = 2.0
"""Seconds after which ports that nobody uses are given back."""
_KEPT = 256
_SPARE = 64  # of them with the last transfer's socket
_LATE = 16
"""Datagrams of an earlier client that are read away; a socket with more of them is not used."""

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)


def _udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | _NONBLOCK)
    if not _NONBLOCK:
        sock.setblocking(False)
    return sock


def _turn(sock: socket.SocketType, peer: Address) -> bool:
    """Let a socket serve another client; nothing of the earlier one is left in it then."""
    try:
        sock.connect(peer)  # from now on the system keeps away what others send
    except OSError:
        return False
    return _drain(sock) < _LATE


def _late(sock: socket.SocketType, now: float) -> None:
    _drain(sock)


def _drain(sock: socket.SocketType) -> int:
    """Read away what came too late; tell how much that was."""
    for count in range(_LATE):
        try:
            sock.recv(1)
        except BlockingIOError:
            return count
        except OSError:  # the earlier client's port is closed, which the system tells once
            continue
    return _LATE


class TransferPort:
    """One local port: its socket for strangers, and which clients it serves and served.

    ``spare``: a transfer's socket that is used no more, and the own address that it is bound to.
    """

    __slots__ = ("number", "peers", "recent", "sock", "spare", "until")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.number: int = sock.getsockname()[1]
        self.peers: set[Address] = set()
        self.recent: deque[Address] = deque(maxlen=8)
        self.spare: tuple[socket.SocketType, str] | None = None
        self.until = 0.0


class TransferPorts:
    """Hands out ports, any or those of ``span`` (first, last), where several may share one."""

    def __init__(self, loop: Loop, span: tuple[int, int] | None) -> None:
        self._loop = loop
        self._span = span
        self._free: deque[TransferPort] = deque()
        self._busy: dict[int, TransferPort] = {}
        self._timer: Timer | None = None

    def connect(self, peer: Address, local: str) -> tuple[socket.SocketType, TransferPort]:
        """Open a transfer's socket from this own address (empty: any) to its client.

        Raises OSError.
        """
        port = self._take(peer)
        spare, port.spare = port.spare, None
        if spare is not None:
            if spare[1] == local and _turn(spare[0], peer):
                return spare[0], port
            self._loop.close_watched(spare[0])
        # the plain type: what socket.socket adds in Python is as dear as the system's part
        sock = socket.SocketType(socket.AF_INET, socket.SOCK_DGRAM | _NONBLOCK)
        try:
            if not _NONBLOCK:
                sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((local, port.number))
            sock.connect(peer)
        except OSError:
            self.release(port, peer, self._loop.now, sock)
            raise
        return sock, port

    def _take(self, peer: Address) -> TransferPort:
        # not the port of this client's earlier transfer: its late datagrams may still come
        for _ in range(len(self._free)):
            port = self._free.popleft()
            if peer not in port.recent:
                break
            self._free.append(port)
        else:
            port = self._open(peer)
        port.peers.add(peer)
        self._busy[port.number] = port
        return port

    def _open(self, peer: Address) -> TransferPort:
        sock = _udp_socket()
        try:
            sockets.tell_destination(sock)
            if self._span is None:
                sock.bind(("", 0))
            elif not self._bind_in_span(sock, self._span):
                sock.close()
                return self._share(peer)
            # only now: with it, the system might have picked a port that is in use
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            sock.close()
            raise
        port = TransferPort(sock)
        self._loop.watch(sock, lambda now: self._stranger(port))
        return port

    def _bind_in_span(self, sock: socket.socket, span: tuple[int, int]) -> bool:
        first, last = span
        free = [number for number in range(first, last + 1) if number not in self._busy]
        for number in random.sample(free, min(len(free), 64)):
            with contextlib.suppress(OSError):
                sock.bind(("", number))
                return True
        return False

    def _share(self, peer: Address) -> TransferPort:
        """Let one more client use a port: the system tells them apart by their addresses."""
        usable = [port for port in self._busy.values() if peer not in port.peers]
        if usable:
            return min(usable, key=lambda port: len(port.peers))
        if self._free:
            return self._free.popleft()
        raise OSError("no port of [tftp] port_range is free")

    def release(
        self,
        port: TransferPort,
        peer: Address,
        now: float,
        sock: socket.SocketType,
        local: str | None = None,
    ) -> None:
        """Note that the client's transfer is over, and close its socket.

        ``local``: the address that the socket is bound to, if it may serve another client.
        """
        port.peers.discard(peer)
        port.recent.append(peer)
        if local is None or port.peers or len(self._free) >= _SPARE:
            self._loop.close_watched(sock)
        else:
            self._loop.watch(sock, functools.partial(_late, sock), once=True)
            port.spare = sock, local
        if port.peers:
            return
        del self._busy[port.number]
        if len(self._free) >= _KEPT:
            self._drop(port)
            return
        port.until = now + _IDLE
        self._free.append(port)
        if self._timer is None:
            self._timer = self._loop.at(port.until, self._tidy)

    def _tidy(self, now: float) -> None:
        self._timer = None
        for _ in range(len(self._free)):
            port = self._free.popleft()
            if port.until <= now:
                self._drop(port)
            else:
                self._free.append(port)
        if self._free:
            self._timer = self._loop.at(min(port.until for port in self._free), self._tidy)

    def _drop(self, port: TransferPort) -> None:
        self._loop.close_watched(port.sock)
        if port.spare is not None:
            self._loop.close_watched(port.spare[0])

    def close(self) -> None:
        """Close the ports that no transfer uses any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._free:
            self._drop(self._free.popleft())

    def _stranger(self, port: TransferPort) -> None:
        arrival = sockets.receive(port.sock, 64)
        if arrival is None:
            return
        stranger = (arrival.address, arrival.port)
        # nothing answers an ERROR, nor what a client sends after its transfer's end
        if arrival.data[:2] == Opcode.ERROR.to_bytes(2):
            return
        if stranger in port.peers or stranger in port.recent:
            return
        if IPv4Address(arrival.address).is_multicast:
            return
        with contextlib.suppress(OSError):
            sockets.send(port.sock, _STRANGER, stranger, 0, arrival.local)
