"""Transfer identifiers (RFC 1350 4): the ports that transfers use, and who else writes to them.

A transfer's socket is connected, so the system hands it its client's datagrams alone. A second
socket on the same port gets what strangers send there, to answer ERROR 5. Both are kept for a
moment for the next transfers of the same address, so that a small file costs no new socket; not for
those of others, for who answers to a port proves that it is there, so nobody else may know its
number (``proof``).
"""

from __future__ import annotations

import contextlib
import functools
import random
import socket
from collections import deque
from collections.abc import Iterable
from ipaddress import ip_address

from pybootd.core.loop import Loop, Timer
from pybootd.system import sockets
from pybootd.tftp.wire.packet import DATA_HEADER, Error, ErrorCode, Opcode, encode

PeerAddress = tuple[str, int]
"""A client's address and port."""

_STRANGER_ERROR = encode(Error(ErrorCode.UNKNOWN_TRANSFER, "this port serves another client"))
KEEP_IDLE_PORT_S = 2.0
"""Seconds after which ports that no transfer uses are given back."""
MAX_IDLE_PORTS = 256
MAX_SPARE_SOCKETS = 64
"""Idle ports that keep the last transfer's socket."""
MAX_LATE_DATAGRAMS = 16
"""Datagrams of an earlier client that are read away; a socket with more of them is not used."""

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)


def _udp_socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | _NONBLOCK)
    if not _NONBLOCK:
        sock.setblocking(False)
    return sock


def largest_block(sock: socket.SocketType) -> int:
    """Return the octets of a block that the path of a connected socket carries in one piece."""
    return max(8, sockets.path_mtu(sock) - sockets.udp_overhead(sock) - DATA_HEADER)


def _reconnect(sock: socket.SocketType, peer: PeerAddress) -> bool:
    """Let a socket serve another client; nothing of the earlier one is left in it then."""
    try:
        sock.connect(peer)  # from now on the system keeps away what others send
    except OSError:
        return False
    return _discard_waiting(sock) < MAX_LATE_DATAGRAMS


def _discard_late(sock: socket.SocketType, now: float) -> None:
    _discard_waiting(sock)


def _discard_waiting(sock: socket.SocketType) -> int:
    """Read away what came too late; tell how much that was."""
    for count in range(MAX_LATE_DATAGRAMS):
        try:
            sock.recv(1)
        except BlockingIOError:
            return count
        except OSError:  # the earlier client's port is closed, which the system tells once
            continue
    return MAX_LATE_DATAGRAMS


class TransferPort:
    """One local port: its socket for strangers, and which clients it serves and served.

    ``spare_socket``: a transfer's socket that is free, and the own address that it is bound to.
    """

    __slots__ = (
        "family",
        "host",
        "idle_until",
        "number",
        "peers",
        "recent_peers",
        "spare_socket",
        "stranger_socket",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.stranger_socket = sock
        self.family = sock.family
        self.number: int = sock.getsockname()[1]
        self.host = ""  # the address that it served last
        self.peers: set[PeerAddress] = set()
        self.recent_peers: deque[PeerAddress] = deque(maxlen=8)
        self.spare_socket: tuple[socket.SocketType, str] | None = None
        self.idle_until = 0.0


class TransferPorts:
    """Hands out ports: any, or those of ``port_range`` (first, last), which transfers may share."""

    def __init__(self, loop: Loop, port_range: tuple[int, int] | None) -> None:
        self._loop = loop
        self._port_range = port_range
        self._idle: dict[TransferPort, None] = {}  # the longest idle first
        self._idle_of: dict[str, deque[TransferPort]] = {}  # the same by the address served last
        self._in_use: dict[tuple[int, int], TransferPort] = {}  # by family and number
        self._timer: Timer | None = None

    @property
    def idle_ports(self) -> tuple[TransferPort, ...]:
        """The ports that no transfer uses, the longest idle first."""
        return tuple(self._idle)

    def open_socket(
        self, peer: PeerAddress, local: str, *, proven: bool = False
    ) -> tuple[socket.SocketType, TransferPort]:
        """Open a transfer's socket from this own address (empty: any) to its client.

        ``proven``: the client needs no port that no other knows. Raises OSError.
        """
        port = self._pick_port(peer, proven)
        spare, port.spare_socket = port.spare_socket, None
        if spare is not None:
            if spare[1] == local and _reconnect(spare[0], peer):
                return spare[0], port
            self._loop.close_watched(spare[0])
        # the plain type: what socket.socket adds in Python is as dear as the system's part
        sock = socket.SocketType(port.family, socket.SOCK_DGRAM | _NONBLOCK)
        try:
            if not _NONBLOCK:
                sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sockets.allow_fragments(sock)
            sock.bind((local, port.number))
            sock.connect(peer)
        except OSError:
            self.release_port(port, peer, self._loop.now, sock)
            raise
        return sock, port

    def _pick_port(self, peer: PeerAddress, proven: bool) -> TransferPort:
        family = sockets.family_of(peer[0])
        port = self._reuse_port(peer, self._idle_of.get(peer[0], ()), family)
        if port is None and proven:
            port = self._reuse_port(peer, self._idle, family)
        if port is None:
            port = self._bind_port(peer, family)
        port.peers.add(peer)
        port.host = peer[0]
        self._in_use[port.family, port.number] = port
        return port

    def _reuse_port(
        self, peer: PeerAddress, ports: Iterable[TransferPort], family: socket.AddressFamily
    ) -> TransferPort | None:
        for port in ports:
            # not the port of this client's earlier transfer: its late datagrams may still come
            if peer not in port.recent_peers and port.family == family:
                self._take_idle(port)
                return port
        return None

    def _take_idle(self, port: TransferPort) -> None:
        del self._idle[port]
        ports = self._idle_of[port.host]
        ports.remove(port)
        if not ports:
            del self._idle_of[port.host]

    def _bind_port(self, peer: PeerAddress, family: socket.AddressFamily) -> TransferPort:
        sock = _udp_socket(family)
        try:
            sockets.tell_destination(sock)
            sockets.allow_fragments(sock)
            if self._port_range is None:
                sock.bind(("", 0))
            elif not self._bind_in_range(sock, self._port_range):
                sock.close()
                return self._share_port(peer, family)
            # only now: with it, the system might have picked a port that is in use
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            sock.close()
            raise
        port = TransferPort(sock)
        self._loop.watch(sock, lambda now: self._answer_stranger(port))
        return port

    def _bind_in_range(self, sock: socket.socket, port_range: tuple[int, int]) -> bool:
        first, last = port_range
        numbers = range(first, last + 1)
        free = [number for number in numbers if (sock.family, number) not in self._in_use]
        for number in random.sample(free, min(len(free), 64)):
            with contextlib.suppress(OSError):
                sock.bind(("", number))
                return True
        return False

    def _share_port(self, peer: PeerAddress, family: socket.AddressFamily) -> TransferPort:
        """Let one more client use a port: the system tells them apart by their addresses."""
        usable = [
            port
            for port in self._in_use.values()
            if peer not in port.peers and port.family == family
        ]
        if usable:
            return min(usable, key=lambda port: len(port.peers))
        for port in self._idle:
            if port.family == family:
                self._take_idle(port)
                return port
        raise OSError("no port of [tftp] port_range is free")

    def release_port(
        self,
        port: TransferPort,
        peer: PeerAddress,
        now: float,
        sock: socket.SocketType,
        local: str | None = None,
    ) -> None:
        """Note that the client's transfer is over, and close its socket.

        ``local``: the address that the socket is bound to, if it may serve another client.
        """
        port.peers.discard(peer)
        port.recent_peers.append(peer)
        if local is None or port.peers or len(self._idle) >= MAX_SPARE_SOCKETS:
            self._loop.close_watched(sock)
        else:
            self._loop.watch(sock, functools.partial(_discard_late, sock), once=True)
            port.spare_socket = sock, local
        if port.peers:
            return
        del self._in_use[port.family, port.number]
        if len(self._idle) >= MAX_IDLE_PORTS:
            self._close_port(port)
            return
        port.idle_until = now + KEEP_IDLE_PORT_S
        self._idle[port] = None
        self._idle_of.setdefault(port.host, deque()).append(port)
        if self._timer is None:
            self._timer = self._loop.call_at(port.idle_until, self._close_idle_ports)

    def _close_idle_ports(self, now: float) -> None:
        self._timer = None
        for port in [port for port in self._idle if port.idle_until <= now]:
            self._take_idle(port)
            self._close_port(port)
        if self._idle:
            self._timer = self._loop.call_at(
                min(port.idle_until for port in self._idle), self._close_idle_ports
            )

    def _close_port(self, port: TransferPort) -> None:
        self._loop.close_watched(port.stranger_socket)
        if port.spare_socket is not None:
            self._loop.close_watched(port.spare_socket[0])

    def close(self) -> None:
        """Close the ports that no transfer uses any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for port in list(self._idle):
            self._take_idle(port)
            self._close_port(port)

    def _answer_stranger(self, port: TransferPort) -> None:
        arrival = sockets.receive(port.stranger_socket, 64)
        if arrival is None:
            return
        stranger = (arrival.address, arrival.port)
        # nothing answers an ERROR, nor what a client sends after its transfer's end
        if arrival.data[:2] == Opcode.ERROR.to_bytes(2):
            return
        if stranger in port.peers or stranger in port.recent_peers:
            return
        if ip_address(arrival.address).is_multicast:
            return
        with contextlib.suppress(OSError):
            sockets.send(port.stranger_socket, _STRANGER_ERROR, stranger, 0, arrival.local)
