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

BURST = 2 << 20
"""Octets that one connection sends in one turn of the loop, so that the others get theirs."""

_PIECE = 64 * 1024
# the rest of a segment follows at once: send(2); systems without it send a small segment more
_MORE = getattr(socket, "MSG_MORE", 0)
# sendfile(2): what a file system or a socket that can't do it answers
_NO_SENDFILE = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOVERFLOW))


class Push(Enum):
    """What sending came to."""

    END = auto()
    """All is in the socket."""
    MORE = auto()
    """This turn's share is in the socket."""
    FULL = auto()
    """The socket takes no more now."""
    EMPTY = auto()
    """The source has no more now."""


class Flow(ABC):
    """One answer. ``sent`` counts the octets of the file; ``body`` is what it takes them from."""

    def __init__(self, head: bytes) -> None:
        self._ahead = memoryview(head)
        self.sent = 0

    @abstractmethod
    def push(self, sock: socket.socket) -> Push:
        """Send this turn's share.

        Raises OSError when the client is gone, FileError or Mismatch when the file breaks off.
        """

    def _flush(self, sock: socket.socket, flags: int = 0) -> bool:
        """Send what is ready; False: the socket took a part of it, or nothing."""
        try:
            self._ahead = self._ahead[sock.send(self._ahead, flags) :]
        except (BlockingIOError, InterruptedError):
            return False
        return not self._ahead


class Ready(Flow):
    """An answer that is wholly at hand; ``octets`` of it are the file's."""

    def __init__(self, answer: bytes, octets: int = 0) -> None:
        super().__init__(answer)
        self._octets = octets

    def push(self, sock: socket.socket) -> Push:
        """Send what is left of it."""
        if not self._flush(sock):
            return Push.FULL
        self.sent = self._octets
        return Push.END


class FileFlow(Flow):
    """Octets that the system moves from a file into the socket (sendfile)."""

    def __init__(
        self, head: bytes, connection: Connection, body: StaticBody, first: int, count: int
    ) -> None:
        super().__init__(head)
        self._connection = connection
        self._body = body
        self._first = first
        self._count = count
        self._copying = False

    def push(self, sock: socket.socket) -> Push:
        """Send this turn's share of the file; see ``Flow``."""
        if self._ahead and not self._flush(sock, _MORE):
            return Push.FULL
        share, full = BURST, False
        while share > 0 and self.sent < self._count:
            octets = self._move(sock, min(share, self._count - self.sent))
            if octets is None:
                full = True
                break
            self.sent += octets
            share -= octets
        self._body.pread(0, self._first)  # raises Unavailable if the file is another one by now
        if self.sent < self._count:
            return Push.FULL if full else Push.MORE
        self._connection.passed(self._count)
        self._connection.finish()
        return Push.END

    def _move(self, sock: socket.socket, octets: int) -> int | None:
        """Move so many octets at most; None: the socket takes none now."""
        place, source = self._first + self.sent, self._body.fileno()
        try:
            if self._copying or source is None:
                return sock.send(self._body.pread(min(octets, _PIECE), place))
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


class StreamFlow(Flow):
    """Octets that arrive while they are sent."""

    def __init__(
        self, head: bytes, connection: Connection, body: StreamBody, count: int | None
    ) -> None:
        super().__init__(head)
        self._connection = connection
        self._body = body
        self._count = count
        self._ended = False

    def push(self, sock: socket.socket) -> Push:
        """Send what has arrived, this turn's share at most; see ``Flow``."""
        share = BURST
        while share > 0:
            if self._ahead and not self._flush(sock):
                return Push.FULL
            if self._ended:
                return Push.END
            data = self._body.read(_PIECE)
            if data is None:
                return Push.EMPTY
            if data:
                self._ahead = memoryview(self._connection.frame(data))
                self.sent += len(data)
                share -= len(data)
            else:
                self._ahead = memoryview(self._connection.finish())
                self._ended = True
        return Push.MORE
