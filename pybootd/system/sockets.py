"""Interfaces and addresses, sockets, packet info, and where a reply leaves."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import socket
import struct
import sys
import termios
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple

from pybootd.system import systemd

# struct in_pktinfo { int ipi_ifindex; struct in_addr ipi_spec_dst, ipi_addr; }: ip(7)
_PKTINFO = struct.Struct("=I4s4s")
_IP_PKTINFO: int | None = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)
_IP_MTU, _IPV6_MTU = 14, 24  # ip(7), ipv6(7)
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0  # ip(7)
_SO_RCVBUFFORCE = 33 if sys.platform == "linux" else None
_ANCILLARY = socket.CMSG_SPACE(_PKTINFO.size)


BROADCAST = IPv4Address("255.255.255.255")
ANY = IPv4Address("0.0.0.0")


class BindError(Exception):
    """A socket could not be bound; the text says which, why and what to do."""


class ReceivedDatagram(NamedTuple):
    """A datagram and where it came in.

    ``interface`` is the index (0: unknown), ``local`` the own address on the interface that the
    system would answer from, ``destination`` the address that the datagram was sent to.
    """

    data: bytes
    address: str
    port: int
    interface: int
    local: str
    destination: str


def drain(sock: socket.socket | None) -> None:
    """Read and forget all that is waiting."""
    with contextlib.suppress(OSError):  # nothing is left, or more came than there was room for
        while sock is not None:
            sock.recv(65536)


def udp_socket(
    address: IPv4Address,
    port: int,
    *,
    what: str,
    option: str,
    interface: str = "",
    receive_buffer: int = 0,
) -> socket.socket:
    """Bind a non-blocking UDP socket that tells where each datagram came in, or take a handed one.

    ``what`` and ``option`` name the service and its setting in the error; ``interface`` binds it
    to that device; ``receive_buffer`` in octets. Raises BindError.
    """
    ready = systemd.take_socket(socket.SOCK_DGRAM, address, port, interface)
    sock = ready or socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        tell_destination(sock)
        allow_fragments(sock)
        if receive_buffer:
            enlarge_receive_buffer(sock, receive_buffer)
        if ready is None:
            if interface:
                device = interface.encode() + b"\0"
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            sock.bind((str(address), port))
    except OSError as error:
        sock.close()
        raise BindError(explain_bind(error, "udp", address, port, what, option)) from error
    return sock


def tcp_socket(
    address: IPv4Address, port: int, backlog: int, *, what: str, option: str
) -> socket.socket:
    """Listen on a non-blocking TCP socket, a handed one if there is; ``backlog`` may wait there.

    ``what`` and ``option`` as in ``udp_socket``. Raises BindError.
    """
    ready = systemd.take_socket(socket.SOCK_STREAM, address, port)
    sock = ready or socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if ready is None:
            # a restart must not wait for the last connections' TIME-WAIT; socket(7): another
            # program that listens is noticed all the same
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((str(address), port))
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise BindError(explain_bind(error, "tcp", address, port, what, option)) from error
    return sock


def tell_destination(sock: socket.socket) -> None:
    """Have ``receive`` say where each datagram came in, where the system can. Raises OSError."""
    if _IP_PKTINFO is not None:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def allow_fragments(sock: socket.SocketType) -> None:
    """Have routers cut what is too long for a path, where the system would forbid it.

    Some boot ROMs drop datagrams that say "don't fragment", and a path that is narrower than its
    MTU is known to be, and whose ICMP is filtered, would carry none. Raises OSError.
    """
    if sys.platform == "linux" and sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)


def ephemeral_ports(default: int = 28_232) -> int:
    """Return how many ports the system chooses from where none is asked for (ip(7))."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:  # noqa: PTH123
            first, last = map(int, file.read().split())
    except (OSError, ValueError):
        return default
    return last - first + 1


def raise_file_limit() -> int:
    """Allow this process as many open files as it may have; return how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else max(soft, 1 << 16)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft


def path_mtu(sock: socket.SocketType, default: int = 1500) -> int:
    """Return the octets that the path of a connected socket carries in one piece."""
    if sys.platform != "linux":
        return default
    try:
        if sock.family == socket.AF_INET6:
            return sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
        return sock.getsockopt(socket.IPPROTO_IP, _IP_MTU)
    except OSError:
        return default


def udp_overhead(sock: socket.SocketType) -> int:
    """Return the octets of the IP and UDP headers in front of a datagram's content."""
    return (40 if sock.family == socket.AF_INET6 else 20) + 8


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of a socket for an address, "" meaning any of IPv4."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def unsent(sock: socket.socket) -> int:
    """Return the octets of a TCP socket that its peer has not acknowledged; 0: who knows."""
    octets = bytearray(4)
    try:
        fcntl.ioctl(sock, termios.TIOCOUTQ, octets)  # tcp(7): SIOCOUTQ is the same number
    except OSError:
        return 0
    return int.from_bytes(octets, sys.byteorder)


def explain_bind(
    error: OSError, transport: str, address: IPv4Address, port: int, what: str, option: str
) -> str:
    """Say in one line why an address and port could not be bound, and what to do."""
    where = f"{what}: {transport} port {port} on {address}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another program: stop it, or change {option}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where}: no right to bind it: start as root, or with CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: no interface has this address: change {option}"
    if error.errno == errno.ENODEV:
        return f"{where}: no such interface: change {option}"
    return f"{where}: {os.strerror(error.errno or 0)}"


def enlarge_receive_buffer(sock: socket.SocketType, octets: int) -> None:
    """Ask for a receive buffer of this size, beyond the system's limit where we may."""
    if _SO_RCVBUFFORCE is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, octets)
        except PermissionError:
            pass
        else:
            return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets)


def receive(sock: socket.socket, size: int) -> ReceivedDatagram | None:
    """Receive one datagram of at most ``size`` octets; None when nothing is waiting."""
    try:
        data, ancillary, _, source = sock.recvmsg(size, _ANCILLARY)
    except (BlockingIOError, InterruptedError):
        return None
    except ConnectionError:
        return None  # an ICMP error of an earlier send; the next datagram is read in the next turn
    interface, local, destination = 0, "", ""
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= _PKTINFO.size:
            interface, local, destination = _where(value)
    return ReceivedDatagram(data, source[0], source[1], interface, local, destination)


@lru_cache(256)
def _where(info: bytes) -> tuple[int, str, str]:
    """Read a struct in_pktinfo: the interface's index, the own address, where it was sent to."""
    interface, spec, addressed = _PKTINFO.unpack_from(info)
    # one that came before the system was asked to tell has nothing but zeros
    if not interface:
        return 0, "", ""
    return interface, socket.inet_ntoa(spec), socket.inet_ntoa(addressed)


def send(
    sock: socket.socket, data: bytes, target: tuple[str, int], interface: int = 0, source: str = ""
) -> None:
    """Send one datagram, out of the given interface and from the given own address if known.

    Raises OSError.
    """
    if _IP_PKTINFO is None or (not interface and not source):
        sock.sendto(data, target)
        return
    info = _PKTINFO.pack(interface, socket.inet_aton(source) if source else bytes(4), bytes(4))
    sock.sendmsg([data], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, target)
