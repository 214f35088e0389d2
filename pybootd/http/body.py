"""The octets of one answer on their way into a socket, at most so many in one turn of the loop."""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from enum import Enum, auto

from pybootd.core.events import FileProblem
from pybootd.files.source import StaticBody, StreamBody, Unavailable
from pybootd.http.connection import Connection

BURST_OCTETS = 2 << 20
"""Octets that one connection sends in one turn of the loop, so that the others get theirs."""

PIECE_OCTETS = 64 * 1024
"""Octets that are read at once."""
# the rest of a segment follows at once: send(2); systems without it send a small segment more
_MORE = getattr(socket, "MSG_MORE", 0)
# sendfile(2): what a file system or a socket that can't do it answers
_NO_SENDFILE = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOVERFLOW))


class WriteResult(Enum):
    """What writing a share of an answer led to."""

    END = auto()
    """All is in the socket."""
    MORE = auto()
    """This turn's share is in the socket."""
    FULL = auto()
    """The socket takes no more now."""
    EMPTY = auto()
    """The source has no more now."""


class BodyWriter(ABC):
    """Writes one answer into a socket. ``sent`` counts the octets of the file."""

    def __init__(self, head: bytes) -> None:
        self._unsent = memoryview(head)
        self.sent = 0

    @abstractmethod
    def write_share(self, sock: socket.socket) -> WriteResult:
        """Send this turn's share.

        Raises OSError when the client is gone, FileError or Mismatch when the file breaks off.
        """

    def _write_unsent(self, sock: socket.socket, flags: int = 0) -> bool:
        """Send what is ready; False: the socket took a part of it, or nothing."""
        try:
            self._unsent = self._unsent[sock.send(self._unsent, flags) :]
        except (BlockingIOError, InterruptedError):
            return False
        return not self._unsent


class BufferedBody(BodyWriter):
    """Writes an answer that is wholly at hand; ``octets`` of it are the file's."""

    def __init__(self, answer: bytes, octets: int = 0) -> None:
        super().__init__(answer)
        self._octets = octets

    def write_share(self, sock: socket.socket) -> WriteResult:
        """Send what is left of it."""
        if not self._write_unsent(sock):
            return WriteResult.FULL
        self.sent = self._octets
        return WriteResult.END


class FileBody(BodyWriter):
    """Writes octets of a file, copied, so that a change shows before any of the new ones leaves.

    What the system moves from a file into the socket (sendfile) isn't copied before it is on the
    wire. So it moves only what nobody else can change.
    """

    def __init__(
        self, head: bytes, connection: Connection, body: StaticBody, first: int, count: int
    ) -> None:
        super().__init__(head)
        self._connection = connection
        self._body = body
        self._first = first
        self._count = count
        self._copying = not body.immutable

    def write_share(self, sock: socket.socket) -> WriteResult:
        """Send this turn's share of the file; see ``BodyWriter``."""
        if self._unsent and not self._write_unsent(sock, _MORE):
            return WriteResult.FULL
        share, full = BURST_OCTETS, False
        while share > 0 and self.sent < self._count:
            octets = self._move_octets(sock, min(share, self._count - self.sent))
            if octets is None:
                full = True
                break
            self.sent += octets
            share -= octets
        if self.sent < self._count:
            return WriteResult.FULL if full else WriteResult.MORE
        self._connection.count_sent(self._count)
        self._connection.finish_body()
        return WriteResult.END

    def _move_octets(self, sock: socket.socket, octets: int) -> int | None:
        """Move so many octets at most; None: the socket takes none now."""
        place, source = self._first + self.sent, self._body.fileno()
        try:
            if self._copying or source is None:
                return sock.send(self._body.pread(min(octets, PIECE_OCTETS), place))
            moved = os.sendfile(sock.fileno(), source, place, octets)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            if error.errno not in _NO_SENDFILE or self._copying:
                raise
            self._copying = True
            return 0
        if not moved:
            raise Unavailable("the file was cut while it was sent", FileProblem.CHANGED)
        return moved


class StreamedBody(BodyWriter):
    """Writes octets that arrive while they are sent."""

    def __init__(
        self, head: bytes, connection: Connection, body: StreamBody, count: int | None
    ) -> None:
        super().__init__(head)
        self._connection = connection
        self._body = body
        self._count = count
        self._ended = False

    def write_share(self, sock: socket.socket) -> WriteResult:
        """Send what has arrived, this turn's share at most; see ``BodyWriter``."""
        share = BURST_OCTETS
        while share > 0:
            if self._unsent and not self._write_unsent(sock):
                return WriteResult.FULL
            if self._ended:
                return WriteResult.END
            data = self._body.read(PIECE_OCTETS)
            if data is None:
                return WriteResult.EMPTY
            if data:
                self._unsent = memoryview(self._connection.frame_piece(data))
                self.sent += len(data)
                share -= len(data)
            else:
                self._unsent = memoryview(self._connection.finish_body())
                self._ended = True
        return WriteResult.MORE
