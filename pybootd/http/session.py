"""One client's socket: what arrives goes to the connection, and its answers leave."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import IPv4Address

from pybootd.core import loop as looping
from pybootd.core.events import EndCause, FileProblem, Malformed, TransferOutcome
from pybootd.core.workers import TaskResult
from pybootd.files.source import FileError, FileRequest, Forbidden, OpenedFile, StreamBody
from pybootd.http.body import Flow, Push, Ready
from pybootd.http.connection import Connection, HttpRequest, Mismatch, Refusal
from pybootd.http.response import FileResponse, HttpContext, refused
from pybootd.system import sockets

log = logging.getLogger(__name__)

IDLE = 60.0
"""Seconds that a connection may wait for its next request."""
ARRIVAL = 20.0
"""Seconds that a request may take from its first octet to its last."""
STALL = 30.0
"""Seconds between two looks at whether a client takes anything of what it asked for."""
LINGER = 2.0
"""Seconds that a client has for reading an error, while what it still sends is thrown away."""

_RECEIVED = 16384
_REQUESTS = 8  # answered in one turn of the loop, when they came at a stretch
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


class HttpSession:
    """One client's connection. ``gone`` is called once, when it is over."""

    __slots__ = (
        "_address",
        "_connection",
        "_delivery",
        "_flow",
        "_fresh",
        "_gone",
        "_lingering",
        "_on_left",
        "_on_readable",
        "_on_writable",
        "_opening",
        "_queued",
        "_server",
        "_shop",
        "_sock",
        "_watched",
        "due",
        "peer",
    )

    def __init__(
        self,
        shop: HttpContext,
        sock: socket.socket,
        peer: str,
        server: str,
        gone: Callable[[HttpSession], None],
    ) -> None:
        self.peer = peer
        self.due = 0.0  # the moment at which its patience ends
        self._shop = shop
        self._sock = sock
        self._address = _address(peer)
        self._server = server
        self._gone: Callable[[HttpSession], None] | None = gone
        self._connection = Connection()
        self._fresh = True  # nothing of a request has arrived
        self._lingering = False
        self._opening = False
        self._queued = -1  # octets that it had still to take when it was looked at last
        self._flow: Flow | None = None
        self._delivery: FileResponse | None = None
        self._watched: looping.Callback | None = None
        # the loop knows a watch by its callback's identity
        self._on_readable: looping.Callback = self._readable
        self._on_writable: looping.Callback = self._writable
        self._on_left: looping.Callback = self._left

    def start(self, now: float) -> None:
        """Take requests; one that came with the connection is taken at once."""
        self.due = now + IDLE
        self._readable(now)

    def turn_away(self, reason: str, now: float) -> None:
        """Answer with 503 whatever is asked, and end."""
        self._refuse(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason), now, last=True)

    # what arrives

    def _listen(self) -> None:
        if self._watched is not self._on_readable:
            self._shop.loop.watch(self._sock, readable=self._on_readable)
            self._watched = self._on_readable

    def _rest(self) -> None:
        """Watch for nothing: someone else has to come back first."""
        if self._watched is not None:
            self._shop.loop.unwatch(self._sock)
            self._watched = None

    def _readable(self, now: float) -> None:
        try:
            data = self._sock.recv(_RECEIVED)
        except (BlockingIOError, InterruptedError):
            self._listen()
            return
        except OSError:
            self.close()
            return
        if self._lingering:
            if not data:
                self.close()
            return
        if self._fresh and data:
            self._fresh = False
            self.due = now + ARRIVAL
        self._guarded(self._receive, data, now)

    def _receive(self, data: bytes, now: float) -> None:
        self._connection.receive(data)
        self._serve(now)

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; a fault of ours ends this connection and no other."""
        try:
            step(*arguments)
        except Exception:
            log.exception("error while serving http %s; the daemon goes on", self.peer)
            self.end(TransferOutcome.FAILED, self._shop.loop.now, EndCause.INTERNAL)

    def _serve(self, now: float) -> None:
        """Answer what has been asked, in order, as long as nothing has to be waited for."""
        for _ in range(_REQUESTS):
            asked = self._connection.next()
            if asked is None:
                if self._connection.closed:
                    self.close()
                else:
                    self._listen()
                return
            if isinstance(asked, Refusal):
                self._shop.bus.publish(Malformed("http", self.peer, asked.reason))
                self._refuse(asked, now)
            else:
                self._open(asked, now)
            if self._busy():
                return
        self._rest()
        self._shop.loop.post(self._go_on)

    def _busy(self) -> bool:
        """Tell whether the next request has to wait, or there will be none."""
        return self._gone is None or self._lingering or self._flow is not None or self._opening

    def _go_on(self, now: float) -> None:
        if not self._busy():
            self._guarded(self._serve, now)

    # what is asked for

    def _open(self, asked: HttpRequest, now: float) -> None:
        shop = self._shop
        known = shop.clients.by_address(self._address)
        try:
            if shop.check_ip and known is None:
                raise Forbidden("this address was not given by this server")
            request = FileRequest(
                asked.name, self.peer, self._server, known, asked.query, asked.about
            )
            opened = shop.files.open(request)
        except FileError as error:
            self._fail(asked, error, now)
            return
        if isinstance(opened, OpenedFile):
            self._answer(asked, opened, now, now)
            return
        self._opening = True
        self.due = math.inf  # the source has limits of its own
        self._rest()
        began = now

        def done(outcome: TaskResult[OpenedFile], now: float) -> None:
            self._opening = False
            self._guarded(self._opened, asked, outcome, began, now)

        shop.loop.work(opened, done)

    def _opened(
        self, asked: HttpRequest, outcome: TaskResult[OpenedFile], began: float, now: float
    ) -> None:
        try:
            opened = outcome.get()
        except FileError as error:
            if self._gone is not None:
                self._fail(asked, error, now)
                self._go_on(now)
            return
        if self._gone is None:
            opened.body.close()
            return
        self._answer(asked, opened, began, now)
        self._go_on(now)

    def _answer(self, asked: HttpRequest, opened: OpenedFile, began: float, now: float) -> None:
        delivery = self._delivery = FileResponse(self._shop.bus, self.peer, asked, opened, began)
        try:
            flow = delivery.answer(self._connection, asked, self._shop.wall())
        except FileError as error:
            self._end_for_file(error, now)
            return
        self._send(flow, now)

    def _fail(self, asked: HttpRequest, error: FileError, now: float) -> None:
        self._refuse(refused(self._shop.bus, self.peer, asked, error), now)

    def _refuse(self, refusal: Refusal, now: float, *, last: bool = False) -> None:
        if last:
            self._connection.hang_up()
        self._send(Ready(self._connection.refuse(refusal, self._shop.wall())), now)

    # what leaves

    def _send(self, flow: Flow, now: float) -> None:
        self._flow = flow
        self.due = now + STALL
        self._push(now)

    def _writable(self, now: float) -> None:
        self._guarded(self._push_on, now)

    def _push_on(self, now: float) -> None:
        self._push(now)
        self._go_on(now)

    def _push(self, now: float) -> None:
        flow = self._flow
        if flow is None:
            return
        before = flow.sent
        try:
            result = flow.push(self._sock)
        except OSError as error:
            self.end(TransferOutcome.ABORTED, now, EndCause.CONNECTION_LOST, error.strerror or "")
            return
        except (FileError, Mismatch) as error:
            self._end_for_file(error, now)
            return
        if flow.sent != before:
            self.due = now + STALL
        if result is Push.END:
            self._sent(now)
        elif result is Push.EMPTY:
            self._wait_for_source()
        elif self._watched is not self._on_writable:
            self._shop.loop.watch(self._sock, writable=self._on_writable)
            self._watched = self._on_writable

    def _wait_for_source(self) -> None:
        body = self._delivery.opened.body if self._delivery else None
        if isinstance(body, StreamBody):
            self.due = math.inf  # as above
            self._shop.loop.watch(self._sock, readable=self._on_left)
            self._watched = self._on_left
            body.when_ready(self._on_ready)

    def _left(self, now: float) -> None:
        """See whether the client is gone: it asks for nothing while the source has nothing."""
        try:
            ahead = self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.end(TransferOutcome.ABORTED, now, EndCause.CONNECTION_LOST, error.strerror or "")
            return
        if ahead:
            self._rest()  # another request, which has to wait
        else:
            self.end(TransferOutcome.ABORTED, now, EndCause.CONNECTION_LOST)

    def _on_ready(self, now: float) -> None:
        if self._gone is not None:
            self.due = now + STALL
            self._writable(now)

    def _sent(self, now: float) -> None:
        """Finish an answer: another request, a moment for the client to read, or the end."""
        self._report(now)
        if self._connection.reusable():
            self._fresh = True
            self.due = now + IDLE
        elif self._connection.closing:
            self._linger(now)
        else:
            self.close()

    def _linger(self, now: float) -> None:
        # RFC 9112 9.6: closed at once, unread octets would make the system take the answer back
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._lingering = True
        self.due = now + LINGER
        self._listen()

    # how it ends

    def _end_for_file(self, error: FileError | Mismatch, now: float) -> None:
        problem = error.problem if isinstance(error, FileError) else FileProblem.CHANGED
        self.end(TransferOutcome.FAILED, now, EndCause.FILE, str(error), problem)

    def _report(
        self,
        now: float,
        outcome: TransferOutcome | None = None,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
        problem: FileProblem | None = None,
    ) -> None:
        """Close the file and say how its transfer went."""
        flow, self._flow = self._flow, None
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.end(now, flow.sent if flow else 0, outcome, cause, reason, problem)

    def overdue(self, now: float) -> None:
        """End it, for its patience is over, unless the client has taken a little meanwhile."""
        if self._flow is not None:
            # a socket calls for more only when a third of what it holds is gone
            before, self._queued = self._queued, sockets.unsent(self._sock)
            if self._queued != before:
                self.due = now + STALL
                return
        self.end(TransferOutcome.TIMEOUT, now)

    def end(
        self,
        outcome: TransferOutcome,
        now: float,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
        problem: FileProblem | None = None,
    ) -> None:
        """End it wherever it stands; an answer that isn't whole is seen as cut by the client."""
        if self._flow is not None and self._gone is not None:
            # a reset, so that nobody takes a part for the whole where no length was announced
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._report(now, outcome, cause, reason, problem)
        self.close()

    def close(self) -> None:
        """Give everything back; harmless the second time."""
        gone, self._gone = self._gone, None
        if gone is None:
            return
        self._rest()
        self._sock.close()
        if self._delivery is not None:
            self._delivery.opened.body.close()
        self._flow = self._delivery = None
        gone(self)


@functools.lru_cache(256)
def _address(peer: str) -> IPv4Address:
    return IPv4Address(peer)
