"""One detector for each link: sends its DISCOVERs, hears offers, says what was chosen."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import secrets
import socket
import struct
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address

from pybootd.core.events import EventBus, ModeChosen
from pybootd.core.loop import Loop, Timer
from pybootd.dhcp4.proxy.detect import LinkDetector, LinkRole
from pybootd.dhcp4.sockets import Ethernet
from pybootd.dhcp4.wire.ethernet import encode_datagram
from pybootd.dhcp4.wire.packet import NOBODY, DhcpPacketError, decode, encode
from pybootd.system import sockets
from pybootd.system.interfaces import Interface
from pybootd.system.sockets import BROADCAST, BindError

log = logging.getLogger(__name__)

_SO_ATTACH_FILTER = 26  # socket(7)
_ETH_IP = 0x0800
_OUTGOING = 4  # packet(7), PACKET_OUTGOING
_SERVER_PORT, _CLIENT_PORT = 67, 68
_BROADCAST_MAC = b"\xff" * 6
_BUFFER = 65536
# bpf(4), on what stands behind the Ethernet header: UDP, no fragment, destination port 68
_FILTER = (
    (0x30, 0, 0, 9),  # the protocol
    (0x15, 0, 6, socket.IPPROTO_UDP),
    (0x28, 0, 0, 6),  # the fragment's offset
    (0x45, 4, 0, 0x1FFF),
    (0xB1, 0, 0, 0),  # the IP header's length
    (0x48, 0, 0, 2),  # the destination port
    (0x15, 0, 1, _CLIENT_PORT),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


class Detector:
    """The detectors of all links; it listens to what other servers tell clients there."""

    def __init__(self, loop: Loop, bus: EventBus, ethernet: Ethernet) -> None:
        self._loop = loop
        self._bus = bus
        self._ethernet = ethernet
        self._socket: socket.socket | None = None
        self._detectors: dict[int, LinkDetector] = {}
        self._interfaces: dict[int, Interface] = {}
        self._timers: dict[int, Timer] = {}
        self._published: dict[int, tuple[LinkRole, IPv4Address | None]] = {}

    def open(self) -> None:
        """Take the socket, if not done; raises BindError where that can't be done."""
        if self._socket is not None:
            return
        if sys.platform != "linux":
            raise BindError("[bootp] mode = auto needs Linux: write dhcp or proxy")
        try:
            self._socket = _offers_socket()
        except PermissionError:
            problem = "no right to listen for other DHCP servers: start as root"
            raise BindError(f"[bootp] mode = auto: {problem}, or with CAP_NET_RAW") from None

    def start(self) -> None:
        """Begin to listen."""
        if self._socket is not None:
            self._loop.watch(self._socket, self._read_offers)

    def follow_links(self, interfaces: Iterable[Interface], now: float) -> None:
        """Watch these links from now on."""
        self._interfaces = {one.index: one for one in interfaces if _is_link(one)}
        for index in set(self._detectors) - set(self._interfaces):
            del self._detectors[index]
            self._published.pop(index, None)
            if index in self._timers:
                self._timers.pop(index).cancel()
        for index in set(self._interfaces) - set(self._detectors):
            mac = self._interfaces[index].mac
            self._detectors[index] = LinkDetector(mac, secrets.randbits(32), now)
            self._schedule(index)

    def find_role(self, interface: int) -> LinkRole:
        """Say what we are on this link."""
        link = self._detectors.get(interface)
        return LinkRole.UNKNOWN if link is None else link.role

    def note_discover(self, interface: int, now: float) -> None:
        """Note that a client on this link looks for a server."""
        link = self._detectors.get(interface)
        if link is not None:
            link.note_request(now)
            self._schedule(interface)

    def note_other_choice(self, interface: int, server: IPv4Address, now: float) -> None:
        """Note that a client on this link says that it takes another server's offer."""
        link = self._detectors.get(interface)
        if link is not None:
            link.weigh_choice(server, now)
            self._schedule(interface)

    def close(self) -> None:
        """Stop; may be called twice."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._detectors.clear()
        self._published.clear()
        if self._socket is not None:
            self._loop.unwatch(self._socket)
            self._socket.close()
            self._socket = None

    def _schedule(self, index: int) -> None:
        """Tell what has changed, and wake up when its detector is due."""
        link = self._detectors[index]
        chosen = (link.role, link.other)
        if link.role is not LinkRole.UNKNOWN and self._published.get(index) != chosen:
            self._published[index] = chosen
            name = self._interfaces[index].name
            self._bus.publish(ModeChosen(name, link.role.value, link.other))
        timer = self._timers.get(index)
        if timer is not None:
            if timer.when == link.due and timer.callback is not None:
                return
            timer.cancel()
        self._timers[index] = self._loop.call_at(link.due, lambda now: self._send_probe(index, now))

    def _send_probe(self, index: int, now: float) -> None:
        link, interface = self._detectors.get(index), self._interfaces.get(index)
        if link is None or interface is None:
            return
        packet = link.take_probe(now)
        if packet is not None:
            # a frame, so that it doesn't come back to our own port
            ports = (_CLIENT_PORT, _SERVER_PORT)
            frame = encode_datagram(encode(packet), NOBODY, BROADCAST, *ports)
            self._ethernet.send_frame(frame, interface, _BROADCAST_MAC)
        self._schedule(index)

    def _read_offers(self, now: float) -> None:
        by_name = {one.name: index for index, one in self._interfaces.items()}
        for _ in range(64):
            if self._socket is None:
                return
            try:
                data, source = self._socket.recvfrom(4096)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an interface that went down
                log.debug("no offers heard: %s", error)
                return
            index = by_name.get(source[0])
            if index is None or source[2] == _OUTGOING:  # those are ours
                continue
            with contextlib.suppress(DhcpPacketError, IndexError):
                packet = decode(data[(data[0] & 15) * 4 + 8 :])
                self._detectors[index].read_reply(packet, now)
                self._schedule(index)


def _is_link(interface: Interface) -> bool:
    return len(interface.mac) == 6 and any(interface.mac) and bool(interface.addresses)


def _offers_socket() -> socket.socket:
    """Open a packet socket that sees what goes to DHCP clients, and nothing else."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_IP))
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        program = b"".join(struct.pack("=HBBI", *line) for line in _FILTER)
        place = ctypes.create_string_buffer(program)
        head = struct.pack("@HP", len(_FILTER), ctypes.addressof(place))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        sockets.drain(sock)  # what came before the filter
    except BaseException:
        sock.close()
        raise
    return sock
