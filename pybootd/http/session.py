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
from ipaddress import IPv4Address, IPv6Address, ip_address

from pybootd.core import loop as looping
from pybootd.core.events import EndCause, FileProblem, Malformed, TransferOutcome
from pybootd.core.workers import TaskResult
from pybootd.files.source import (
    FileError,
    FileRequest,
    Forbidden,
    OpenedFile,
    StreamBody,
    get_result,
)
from pybootd.http.body import BodyWriter, BufferedBody, WriteResult
from pybootd.http.connection import Connection, HttpRequest, LengthMismatch, Refusal
from pybootd.http.pace import AnswerPace
from pybootd.http.response import FileResponse, HttpContext, report_refusal
from pybootd.system import sockets

log = logging.getLogger(__name__)

IDLE_TIMEOUT_S = 60.0
"""Seconds that a connection may wait for its next request."""
REQUEST_TIMEOUT_S = 20.0
"""Seconds that a request may take from its first octet to its last."""
LINGER_S = 2.0
"""Seconds that a client has for reading an error, while what it still sends is thrown away."""

RECEIVE_OCTETS = 16384
"""Octets that are read at once."""
MAX_REQUESTS_PER_TURN = 8
"""Requests answered in one turn of the loop, when several came at once."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


class HttpSession:
    """One client's connection. ``on_end`` is called once, when it is over."""

    # fmt: off
    __slots__ = (
        "_address", "_between_requests", "_connection", "_context", "_lingering", "_on_end",
        "_on_left", "_on_readable", "_on_writable", "_opening", "_pace", "_response",
        "_server", "_sock", "_watched_by", "_writer", "check_at", "idle_since", "peer",
    )
    # fmt: on

    def __init__(
        self,
        context: HttpContext,
        sock: socket.socket,
        peer: str,
        server: str,
        on_end: Callable[[HttpSession], None],
    ) -> None:
        self.peer = peer
        self.check_at = 0.0  # when ``check_overdue`` wants to be asked
        self._context = context
        self._sock = sock
        self._address = _parse_address(peer)
        self._server = server
        self._on_end: Callable[[HttpSession], None] | None = on_end
        self._connection = Connection()
        self._between_requests = True  # nothing of a request has arrived
        self._lingering = self._opening = False
        self.idle_since = 0.0  # when the last answer was sent, or the connection was made
        self._pace = AnswerPace()
        self._writer: BodyWriter | None = None
        self._response: FileResponse | None = None
        self._watched_by: looping.Callback | None = None
        # the loop knows a watch by its callback's identity
        self._on_readable: looping.Callback = self._read_octets
        self._on_writable: looping.Callback = self._socket_writable
        self._on_left: looping.Callback = self._check_client_left

    def start_session(self, now: float) -> None:
        """Take requests; one that came with the connection is taken at once."""
        self.check_at = now + IDLE_TIMEOUT_S
        self.idle_since = now
        self._read_octets(now)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self._writer is None and not self._opening

    def turn_away(self, reason: str, now: float) -> None:
        """Answer with 503 whatever is asked for, and end."""
        self._send_refusal(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason), now, last=True)

    # what arrives

    def _watch_readable(self) -> None:
        if self._watched_by is not self._on_readable:
            self._context.loop.watch(self._sock, readable=self._on_readable)
            self._watched_by = self._on_readable

    def _stop_watching(self) -> None:
        """Watch for nothing: a worker or the source calls back first."""
        if self._watched_by is not None:
            self._context.loop.unwatch(self._sock)
            self._watched_by = None

    def _read_octets(self, now: float) -> None:
        try:
            data = self._sock.recv(RECEIVE_OCTETS)
        except (BlockingIOError, InterruptedError):
            self._watch_readable()
            return
        except OSError:
            self.close_session()
            return
        if self._lingering:
            if not data:
                self.close_session()
            return
        if self._between_requests and data:
            self._between_requests = False
            self.check_at = now + REQUEST_TIMEOUT_S
        self._run_guarded(self._take_octets, data, now)

    def _take_octets(self, data: bytes, now: float) -> None:
        self._connection.receive_octets(data)
        self._answer_requests(now)

    def _run_guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step; a fault of ours ends this connection and no other."""
        try:
            step(*arguments)
        except Exception:
            log.exception("error while serving http %s; the daemon goes on", self.peer)
            self.end_session(TransferOutcome.FAILED, self._context.loop.now, EndCause.INTERNAL)

    def _answer_requests(self, now: float) -> None:
        """Answer what has been asked for, in order, as long as nothing has to be waited for."""
        for _ in range(MAX_REQUESTS_PER_TURN):
            request = self._connection.next_request()
            if request is None:
                if self._connection.closed:
                    self.close_session()
                else:
                    self._watch_readable()
                return
            if isinstance(request, Refusal):
                self._context.bus.publish(Malformed("http", self.peer, request.reason))
                self._send_refusal(request, now)
            else:
                self._open_file(request, now)
            if self._is_answering():
                return
        self._stop_watching()
        self._context.loop.call_from_thread(self._answer_next)

    def _is_answering(self) -> bool:
        """Tell whether the next request has to wait, or there will be none."""
        return self._on_end is None or self._lingering or self._writer is not None or self._opening

    def _answer_next(self, now: float) -> None:
        if not self._is_answering():
            self._run_guarded(self._answer_requests, now)

    # what is asked for

    def _open_file(self, request: HttpRequest, now: float) -> None:
        context = self._context
        known = context.clients.find_by_address(self._address)
        try:
            if context.check_ip and known is None:
                why = "this address was not given by this server"
                raise Forbidden(why, FileProblem.UNKNOWN_CLIENT)
            wanted = FileRequest(
                request.name, self.peer, self._server, known, request.query, request.about
            )
            opened = context.files.open(wanted)
        except FileError as error:
            self._refuse_file(request, error, now)
            return
        if isinstance(opened, OpenedFile):
            self._send_file(request, opened, now, now)
            return
        self._opening = True
        self.check_at = math.inf  # the source has its own limits
        self._stop_watching()
        began = now

        def done(outcome: TaskResult[OpenedFile], now: float) -> None:
            self._opening = False
            self._run_guarded(self._file_opened, request, outcome, began, now)

        context.loop.run_in_worker(opened, done)

    def _file_opened(
        self, request: HttpRequest, outcome: TaskResult[OpenedFile], began: float, now: float
    ) -> None:
        try:
            opened = get_result(outcome)
        except FileError as error:
            if self._on_end is not None:
                self._refuse_file(request, error, now)
                self._answer_next(now)
            return
        if self._on_end is None:
            opened.body.close()
            return
        self._send_file(request, opened, began, now)
        self._answer_next(now)

    def _send_file(
        self, request: HttpRequest, opened: OpenedFile, began: float, now: float
    ) -> None:
        context = self._context
        response = self._response = FileResponse(context.bus, self.peer, request, opened, began)
        try:
            writer = response.make_answer(self._connection, request, context.wall())
        except FileError as error:
            self._end_for_file(error, now)
            return
        self._send_answer(writer, now)

    def _refuse_file(self, request: HttpRequest, error: FileError, now: float) -> None:
        self._send_refusal(report_refusal(self._context.bus, self.peer, request, error), now)

    def _send_refusal(self, refusal: Refusal, now: float, *, last: bool = False) -> None:
        if last:
            self._connection.close_after_answer()
        answer = self._connection.write_refusal(refusal, self._context.wall())
        self._send_answer(BufferedBody(answer), now)

    # what leaves

    def _send_answer(self, writer: BodyWriter, now: float) -> None:
        self._writer = writer
        self._begin_pace(0, now)
        self._write_answer_share(now)

    def _begin_pace(self, taken: int, now: float) -> None:
        self._pace.begin_span(taken, now)
        self.check_at = self._pace.check_at

    def _socket_writable(self, now: float) -> None:
        self._run_guarded(self._write_on, now)

    def _write_on(self, now: float) -> None:
        self._write_answer_share(now)
        self._answer_next(now)

    def _write_answer_share(self, now: float) -> None:
        writer = self._writer
        if writer is None:
            return
        before = writer.sent
        try:
            result = writer.write_share(self._sock)
        except OSError as error:
            self._end_for_connection(error, now)
            return
        except (FileError, LengthMismatch) as error:
            self._end_for_file(error, now)
            return
        if result is WriteResult.END:
            self._finish_answer(now)
            return
        if writer.sent != before:
            self._pace.note_progress(now)
            self.check_at = self._pace.check_at
        if result is WriteResult.EMPTY:
            self._wait_for_source()
        elif self._watched_by is not self._on_writable:
            self._context.loop.watch(self._sock, writable=self._on_writable)
            self._watched_by = self._on_writable

    def _wait_for_source(self) -> None:
        body = self._response.opened.body if self._response else None
        if isinstance(body, StreamBody):
            self.check_at = math.inf  # as above
            self._context.loop.watch(self._sock, readable=self._on_left)
            self._watched_by = self._on_left
            body.when_ready(self._source_ready)

    def _check_client_left(self, now: float) -> None:
        """See whether the client is gone: it asks for nothing while the source has nothing."""
        try:
            ahead = self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end_for_connection(error, now)
            return
        if ahead:
            self._stop_watching()  # another request, which has to wait
        else:
            self.end_session(TransferOutcome.ABORTED, now, EndCause.CONNECTION_LOST)

    def _source_ready(self, now: float) -> None:
        if self._on_end is not None:
            self._begin_pace(self._writer.sent if self._writer else 0, now)
            self._socket_writable(now)

    def _finish_answer(self, now: float) -> None:
        """Finish an answer: another request, a moment for the client to read, or the end."""
        self._end_response(now)
        if self._connection.start_next_request():
            self._between_requests = True
            self.idle_since = now
            self.check_at = now + IDLE_TIMEOUT_S
        elif self._connection.closing:
            self._linger_for_reading(now)
        else:
            self.close_session()

    def _linger_for_reading(self, now: float) -> None:
        # RFC 9112 9.6: closed at once, unread octets would make the system take the answer back
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._lingering = True
        self.check_at = now + LINGER_S
        self._watch_readable()

    # how it ends

    def _end_for_file(self, error: FileError | LengthMismatch, now: float) -> None:
        problem = error.problem if isinstance(error, FileError) else FileProblem.CHANGED
        self.end_session(TransferOutcome.FAILED, now, EndCause.FILE, str(error), problem)

    def _end_for_connection(self, error: OSError, now: float) -> None:
        reason = error.strerror or ""
        self.end_session(TransferOutcome.ABORTED, now, EndCause.CONNECTION_LOST, reason)

    def _end_response(
        self,
        now: float,
        outcome: TransferOutcome | None = None,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
        problem: FileProblem | None = None,
    ) -> None:
        """Close the file and say how its transfer went."""
        writer, self._writer = self._writer, None
        response, self._response = self._response, None
        if response is not None:
            response.end_response(
                now, writer.sent if writer else 0, outcome, cause, reason, problem
            )

    def check_overdue(self, now: float) -> None:
        """End it, unless the client has taken a little of its answer meanwhile."""
        writer, pace = self._writer, self._pace
        if writer is None or not pace.is_moving(writer.sent, sockets.unsent(self._sock), now):
            self.end_session(TransferOutcome.TIMEOUT, now)
        else:
            self.check_at = pace.check_at

    def end_session(
        self,
        outcome: TransferOutcome,
        now: float,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
        problem: FileProblem | None = None,
    ) -> None:
        """End it wherever it stands; an answer that isn't whole is seen as cut by the client."""
        if self._writer is not None and self._on_end is not None:
            # a reset, so that a part is not taken for the whole where no length was announced
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._end_response(now, outcome, cause, reason, problem)
        self.close_session()

    def close_session(self) -> None:
        """Give everything back; harmless the second time."""
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        self._stop_watching()
        self._sock.close()
        if self._response is not None:
            self._response.opened.body.close()
        self._writer = self._response = None
        on_end(self)


@functools.lru_cache(256)
def _parse_address(peer: str) -> IPv4Address | IPv6Address:
    return ip_address(peer)
