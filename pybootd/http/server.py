"""The HTTP file server: the listening port, and who is connected."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable

from pybootd.config.options.files import HttpdConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, TransferOutcome
from pybootd.core.loop import Loop, Timer
from pybootd.files.source import FileOpener
from pybootd.http.response import HttpContext
from pybootd.http.session import HttpSession
from pybootd.system import sockets

log = logging.getLogger(__name__)

_BACKLOG = 512
_ACCEPTED = 32  # connections taken in one turn of the loop
_LOOK = 1.0  # seconds between two looks at whose patience is over
_PAUSE = 0.2  # seconds without new connections when the system has no descriptor left
_QUIET = 10.0  # seconds between two complaints
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class HttpServer:
    """Files over HTTP: GET and HEAD, in the loop that serves everything else.

    ``wall`` tells the seconds since the epoch, for dates.
    """

    def __init__(
        self,
        config: HttpdConfig,
        loop: Loop,
        bus: EventBus,
        clients: ClientTable,
        files: FileOpener,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._loop = loop
        self._shop = HttpContext(loop, bus, clients, files, config.check_ip, wall)
        self._sessions: set[HttpSession] = set()
        self._per_peer: Counter[str] = Counter()
        self._most = 0
        self._sock: socket.socket | None = None
        self._look: Timer | None = None
        self._complained = float("-inf")

    def open(self, listening: socket.socket | None = None) -> None:
        """Bind the port, or take a socket that listens already. Raises BindError."""
        config = self._config
        # a connection takes its socket and at most one file; the other services need some too
        self._most = max(16, (sockets.raise_file_limit() - 64) // 6)
        self._sock = listening or sockets.tcp_socket(
            config.address, config.port, _BACKLOG, what="http", option="[httpd] port"
        )
        # what the listening socket is told holds for the connections it takes
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listening().getsockname()[1])

    def start(self) -> None:
        """Take connections from now on."""
        self._loop.watch(self._listening(), self._readable)

    def reload(self, config: HttpdConfig, files: FileOpener) -> None:
        """Serve by another configuration from the next request on; connections stay."""
        self._config = config
        self._shop.files = files
        self._shop.check_ip = config.check_ip

    def close(self) -> None:
        """End all connections, those with a file under way by a reset, and give the port back."""
        if self._sock is not None:
            self._loop.unwatch(self._sock)
            self._sock.close()
            self._sock = None
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for session in list(self._sessions):
            session.end(TransferOutcome.STOPPED, self._loop.now)

    def _listening(self) -> socket.socket:
        if self._sock is None:
            raise RuntimeError("the HTTP server is not open")
        return self._sock

    def _readable(self, now: float) -> None:
        listening = self._listening()
        for _ in range(_ACCEPTED):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error, now)
                    return
                continue  # accept(2): what became of that connection meanwhile
            self._accept(sock, address[0], now)

    def _accept(self, sock: socket.socket, peer: str, now: float) -> None:
        if len(self._sessions) >= self._most:
            sock.close()
            self._complain(f"more than {self._most} connections at once", now)
            return
        try:
            sock.setblocking(False)
            server = sock.getsockname()[0]
        except OSError:  # gone already
            sock.close()
            return
        session = HttpSession(self._shop, sock, peer, server, self._gone)
        self._sessions.add(session)
        self._per_peer[peer] += 1
        if self._look is None:
            self._look = self._loop.at(now + _LOOK, self._look_around)
        if self._per_peer[peer] > self._config.connections:
            why = f"more than {self._config.connections} connections from {peer}"
            self._complain(why, now)
            session.turn_away(why, now)
        else:
            session.start(now)

    def _gone(self, session: HttpSession) -> None:
        self._sessions.discard(session)
        self._per_peer[session.peer] -= 1
        if not self._per_peer[session.peer]:
            del self._per_peer[session.peer]

    def _look_around(self, now: float) -> None:
        """End the sessions that are overdue: one timer for all of them, none without them."""
        self._look = None
        for session in [session for session in self._sessions if session.due <= now]:
            session.overdue(now)
        if self._sessions:
            self._look = self._loop.at(now + _LOOK, self._look_around)

    def _pause(self, error: OSError, now: float) -> None:
        """Take no connection for a moment: the socket would only call again at once."""
        self._complain(f"no connection can be taken: {error.strerror}", now)
        self._loop.unwatch(self._listening())
        self._loop.after(_PAUSE, self._go_on)

    def _go_on(self, now: float) -> None:
        if self._sock is not None:
            self._loop.watch(self._sock, self._readable)

    def _complain(self, why: str, now: float) -> None:
        if now - self._complained >= _QUIET:
            self._complained = now
            log.warning("http: %s", why)
