"""The HTTP file server: the listening port, and who is connected."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterable
from itertools import islice

from pybootd.config.options.files import HttpdConfig
from pybootd.core.bounded_map import Holdings
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EndCause, EventBus, TransferOutcome
from pybootd.core.loop import Loop, Timer
from pybootd.files.source import FileOpener
from pybootd.http.response import HttpContext
from pybootd.http.session import HttpSession
from pybootd.system import sockets

log = logging.getLogger(__name__)

BACKLOG = 512
"""Connections that may wait to be taken."""
MAX_ACCEPTS_PER_TURN = 32
"""Connections taken in one turn of the loop."""
CHECK_INTERVAL_S = 1.0
"""Seconds between two looks at which sessions are overdue."""
ACCEPT_PAUSE_S = 0.2
"""Seconds without new connections when the system has no descriptor left."""
MAX_CONNECTIONS = 16384
"""Connections at a time."""
MIN_CONNECTIONS = 16
"""Connections at a time, however few files the process may open."""
MAX_CANDIDATES = 256
"""Connections that are looked at when one has to give way."""
MIN_IDLE_S = 1.0
"""Seconds without a request after which a connection gives way to a new one of its address."""
WARN_INTERVAL_S = 10.0
"""Seconds between two warnings."""
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class HttpServer:
    """Files over HTTP: GET and HEAD, in the loop that serves everything else.

    ``wall`` tells the seconds since the epoch, for dates. ``ends_oldest``: where an address has
    as many connections as it may, its oldest gives way, whatever it does; else only one that asks
    for nothing. ``max_connections`` bounds those of all addresses.
    """

    def __init__(
        self,
        config: HttpdConfig,
        loop: Loop,
        bus: EventBus,
        clients: ClientTable,
        files: FileOpener,
        wall: Callable[[], float] = time.time,
        *,
        ends_oldest: bool = False,
    ) -> None:
        self._config = config
        self._loop = loop
        self._context = HttpContext(loop, bus, clients, files, config.check_ip, wall)
        self._ends_oldest = ends_oldest
        self._sessions: set[HttpSession] = set()
        self._holdings: Holdings[str, HttpSession] = Holdings()
        self.max_connections = 0
        self._sock: socket.socket | None = None
        self._check_timer: Timer | None = None
        self._warned_at = float("-inf")

    def open(self, listening: socket.socket | None = None) -> None:
        """Bind the port, or take a socket that listens already. Raises BindError."""
        config = self._config
        # a connection takes its socket and at most one file; the other services need some as well
        most = (sockets.raise_file_limit() - 64) // 6
        self.max_connections = min(MAX_CONNECTIONS, max(MIN_CONNECTIONS, most))
        self._sock = listening or sockets.tcp_socket(
            config.address, config.port, BACKLOG, what="http", option="[httpd] port"
        )
        # what the listening socket is told holds for the connections it takes
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def sessions(self) -> tuple[HttpSession, ...]:
        """The connections that are open."""
        return tuple(self._sessions)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listening().getsockname()[1])

    def start(self) -> None:
        """Take connections from now on."""
        self._loop.watch(self._listening(), self._accept_connections)

    def reload(self, config: HttpdConfig, files: FileOpener) -> None:
        """Serve by another configuration from the next request on; connections stay."""
        self._config = config
        self._context.files = files
        self._context.check_ip = config.check_ip

    def close(self) -> None:
        """End all connections, those with a file under way by a reset, and give the port back."""
        if self._sock is not None:
            self._loop.unwatch(self._sock)
            self._sock.close()
            self._sock = None
        if self._check_timer is not None:
            self._check_timer.cancel()
            self._check_timer = None
        for session in list(self._sessions):
            session.end_session(TransferOutcome.STOPPED, self._loop.now)

    def _listening(self) -> socket.socket:
        if self._sock is None:
            raise RuntimeError("the HTTP server is not open")
        return self._sock

    def _accept_connections(self, now: float) -> None:
        listening = self._listening()
        for _ in range(MAX_ACCEPTS_PER_TURN):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause_accepting(error, now)
                    return
                continue  # accept(2): what became of that connection meanwhile
            self._begin_session(sock, address[0], now)

    def _begin_session(self, sock: socket.socket, peer: str, now: float) -> None:
        if not self._make_room_for_connection(now):
            sock.close()
            return
        has_share = self._make_room_for_peer(peer, now)
        try:
            sock.setblocking(False)
            server = sock.getsockname()[0]
        except OSError:  # gone already
            sock.close()
            return
        session = HttpSession(self._context, sock, peer, server, self._forget_session)
        self._sessions.add(session)
        self._holdings.add_item(peer, session)
        if self._check_timer is None:
            self._check_timer = self._loop.call_at(now + CHECK_INTERVAL_S, self._check_sessions)
        if has_share:
            session.start_session(now)
        else:
            session.turn_away(self._too_many_of(peer), now)

    def _make_room_for_connection(self, now: float) -> bool:
        """Have a connection give way where there are too many; False: none can."""
        if len(self._sessions) < self.max_connections:
            return True
        self._warn(f"more than {self.max_connections} connections at once", now)
        largest = self._holdings.largest()
        if len(largest) < 2:
            looked_at = islice(self._sessions, MAX_CANDIDATES)
            largest = dict.fromkeys(session for session in looked_at if session.is_idle)
        return self._end_idle_session(largest, now, busy=True, min_idle=0.0)

    def _make_room_for_peer(self, peer: str, now: float) -> bool:
        """Have a connection of this address give way where it has too many; False: none can."""
        own = self._holdings.items_of(peer)
        if len(own) < self._config.connections:
            return True
        self._warn(self._too_many_of(peer), now)
        return self._end_idle_session(own, now, busy=self._ends_oldest, min_idle=MIN_IDLE_S)

    def _too_many_of(self, peer: str) -> str:
        return f"more than {self._config.connections} connections from {peer}"

    def _end_idle_session(
        self, sessions: Iterable[HttpSession], now: float, *, busy: bool, min_idle: float
    ) -> bool:
        """End the session that has asked for nothing for longest, else (``busy``) the oldest."""
        sessions = list(islice(sessions, MAX_CANDIDATES))
        idle = [one for one in sessions if one.is_idle and now - one.idle_since >= min_idle]
        if idle:
            chosen = min(idle, key=lambda session: session.idle_since)
        elif busy and sessions:
            chosen = sessions[0]
        else:
            return False
        chosen.end_session(TransferOutcome.TIMEOUT, now, EndCause.TOO_MANY)
        return True

    def _forget_session(self, session: HttpSession) -> None:
        self._sessions.discard(session)
        self._holdings.discard_item(session.peer, session)

    def _check_sessions(self, now: float) -> None:
        """End the sessions that are overdue: one timer for all of them, none without them."""
        self._check_timer = None
        for session in [session for session in self._sessions if session.check_at <= now]:
            session.check_overdue(now)
        if self._sessions:
            self._check_timer = self._loop.call_at(now + CHECK_INTERVAL_S, self._check_sessions)

    def _pause_accepting(self, error: OSError, now: float) -> None:
        """Take no connection for a moment: the socket would only call again at once."""
        self._warn(f"no connection can be taken: {error.strerror}", now)
        self._loop.unwatch(self._listening())
        self._loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self, now: float) -> None:
        if self._sock is not None:
            self._loop.watch(self._sock, self._accept_connections)

    def _warn(self, why: str, now: float) -> None:
        if now - self._warned_at >= WARN_INTERVAL_S:
            self._warned_at = now
            log.warning("http: %s", why)
