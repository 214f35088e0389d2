"""One system call for many datagrams: the system or the network card cuts them (UDP_SEGMENT)."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Sequence

from pybootd.system import sockets
from pybootd.tftp.wire.packet import DATA_HEADER

log = logging.getLogger(__name__)

# udp(7)
_SOL_UDP, _UDP_SEGMENT = 17, 103
MAX_SEGMENTS = 64
"""Datagrams that one call may hold."""
MAX_SEND_OCTETS = 65507
"""Octets that one call may hold."""
MIN_BLOCKSIZE = 512
"""Octets of a block: with shorter ones the OACK would be cut as well."""
_REFUSALS = frozenset((errno.EMSGSIZE, errno.EINVAL, errno.EIO))
"""What a send fails with on an interface that can't do it."""


class OffloadRefusedError(Exception):
    """The interface can't cut what is sent; from now on it leaves packet by packet."""


class PacketWriter:
    """Writes packets of one length into a connected socket, several a call where it may.

    ``packets_per_send``: how many packets one call may hold.
    """

    __slots__ = ("_descriptor", "_packet_length", "_sock", "packets_per_send")

    def __init__(self, sock: socket.SocketType, packet_length: int) -> None:
        self.packets_per_send = 1
        self._sock = sock
        self._descriptor = sock.fileno()
        self._packet_length = packet_length

    def enable_offload(self) -> None:
        """Have what is sent cut into packets by the system, if it can."""
        length = self._packet_length
        count = min(MAX_SEGMENTS, MAX_SEND_OCTETS // length)
        if count < 2 or length - DATA_HEADER < MIN_BLOCKSIZE:
            return
        if length + sockets.udp_overhead(self._sock) > sockets.path_mtu(self._sock):
            return  # what has to be fragmented isn't cut
        with contextlib.suppress(OSError):  # a system that can't
            self._sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, length)
            self.packets_per_send = count

    def write_packets(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Send packets; return how many left or got lost, 0: the system has no room now.

        Each piece but the last holds whole packets. Raises OffloadRefusedError.
        """
        try:
            if len(pieces) == 1:
                os.write(self._descriptor, pieces[0])
            else:
                self._sock.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if self.packets_per_send > 1 and error.errno in _REFUSALS:
                self._disable_offload()
                raise OffloadRefusedError(str(error)) from error
            # a loss; if it was a closed port, the next receive tells so again
            log.debug("tftp: packets could not leave: %s", error)
        return sum(-(-len(piece) // self._packet_length) for piece in pieces)

    def write_last_packet(self, packet: bytes) -> None:
        """Send one datagram, however long, and no more packets behind it."""
        with contextlib.suppress(OSError):
            self._disable_offload()
            self._sock.send(packet)

    def _disable_offload(self) -> None:
        if self.packets_per_send > 1:
            self._sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
            self.packets_per_send = 1
