"""One client's socket: what arrives goes to the connection, and its answers leave."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv4Address
from typing import Protocol

from pybootd import loop as looping
from pybootd import net
from pybootd.client import Clients
from pybootd.events import (
    Bus,
    Malformed,
    Outcome,
    TransferEnded,
    TransferRefused,
    TransferStarted,
)
from pybootd.files.sources import (
    Body,
    FileError,
    Forbidden,
    Missing,
    Opened,
    Request,
    StaticBody,
    StreamBody,
    Unavailable,
)
from pybootd.http.connection import Asked, Connection, Mismatch, Refusal, Reply
from pybootd.http.entity import Entity, entity_tag, media_type
from pybootd.http.flows import FileFlow, Flow, Push, Ready, StreamFlow
from pybootd.loop import Later, Loop

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
_SMALL = 32 * 1024  # octets of a file that are read and sent with the head in one go
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


class Opener(Protocol):
    """What gives files: ``Files``, or a stand-in."""

    def open(self, request: Request) -> Opened | Later[Opened]:
        """Open what the request comes down to. Raises FileError, and so may the blocking call."""
        ...


@dataclass(slots=True)
class Shop:
    """What all sessions of one server share. ``wall``: seconds since the epoch, for dates."""

    loop: Loop
    bus: Bus
    clients: Clients
    files: Opener
    check_ip: bool = False
    wall: Callable[[], float] = time.time


@dataclass(slots=True)
class Transfer:
    """The file that is being sent, for the report of how it went."""

    requested: str
    served: str
    body: Body
    began: float
    note: str = ""
    outcome: Outcome = field(default=Outcome.DONE)


class Session:
    """One client's connection. ``gone`` is called once, when it is over."""

    __slots__ = (
        "_address",
        "_connection",
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
        "_transfer",
        "_watched",
        "due",
        "peer",
    )

    def __init__(
        self,
        shop: Shop,
        sock: socket.socket,
        peer: str,
        server: str,
        gone: Callable[[Session], None],
    ) -> None:
        self.peer = peer
        self.due = 0.0  # the moment at which its patience ends
        self._shop = shop
        self._sock = sock
        self._address = IPv4Address(peer)
        self._server = server
        self._gone: Callable[[Session], None] | None = gone
        self._connection = Connection()
        self._fresh = True  # nothing of a request has arrived
        self._lingering = False
        self._opening = False
        self._queued = -1  # octets that it had still to take when it was looked at last
        self._flow: Flow | None = None
        self._transfer: Transfer | None = None
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
            self.end(Outcome.FAILED, self._shop.loop.now, "a fault of the server")

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

    def _open(self, asked: Asked, now: float) -> None:
        shop = self._shop
        known = shop.clients.by_address(self._address)
        try:
            if shop.check_ip and known is None:
                raise Forbidden("this address was not given by this server")
            request = Request(asked.name, self.peer, self._server, known, asked.query, asked.about)
            opened = shop.files.open(request)
        except FileError as error:
            self._fail(asked, error, now)
            return
        if isinstance(opened, Opened):
            self._answer(asked, opened, now, now)
            return
        self._opening = True
        self.due = math.inf  # the source has limits of its own
        self._rest()
        began = now

        def done(outcome: looping.Outcome[Opened], now: float) -> None:
            self._opening = False
            self._guarded(self._opened, asked, outcome, began, now)

        shop.loop.work(opened, done)

    def _opened(
        self, asked: Asked, outcome: looping.Outcome[Opened], began: float, now: float
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

    def _answer(self, asked: Asked, opened: Opened, began: float, now: float) -> None:
        body = opened.body
        transfer = Transfer(_shown(asked), opened.served, body, began)
        self._transfer = transfer
        reply = self._connection.answer(asked, describe(opened, asked.name), self._shop.wall())
        if reply.status >= HTTPStatus.BAD_REQUEST:
            body.close()
            self._transfer = None
            text = f"{reply.status.value} {reply.status.phrase}"
            self._shop.bus.publish(TransferRefused("http", self.peer, _shown(asked), text, False))
        elif asked.head:
            transfer.outcome = Outcome.PROBED
        elif reply.status == HTTPStatus.NOT_MODIFIED:
            transfer.note = "not modified"
        else:
            if reply.status == HTTPStatus.PARTIAL_CONTENT:
                transfer.note = f"{reply.count} octets from {reply.first} on"
            self._shop.bus.publish(
                TransferStarted("http", self.peer, _shown(asked), opened.served, body.size)
            )
        try:
            flow = self._flow_of(reply, body)
        except FileError as error:
            self.end(Outcome.FAILED, now, str(error))
            return
        self._send(flow, now)

    def _flow_of(self, reply: Reply, body: Body) -> Flow:
        connection, count = self._connection, reply.count
        if count == 0:
            return Ready(reply.head)
        if isinstance(body, StaticBody):
            count = body.size if count is None else count
            if count <= _SMALL:
                octets = connection.frame(body.pread(count, reply.first))
                return Ready(reply.head + octets + connection.finish(), count)
            return FileFlow(reply.head, connection, body, reply.first, count)
        if isinstance(body, StreamBody):
            return StreamFlow(reply.head, connection, body, count)
        raise TypeError(f"{type(body).__name__} is neither a StaticBody nor a StreamBody")

    def _fail(self, asked: Asked, error: FileError, now: float) -> None:
        missing = isinstance(error, Missing)
        status = HTTPStatus.SERVICE_UNAVAILABLE
        if missing:
            status = HTTPStatus.NOT_FOUND
        elif isinstance(error, Forbidden):
            status = HTTPStatus.FORBIDDEN
        self._shop.bus.publish(
            TransferRefused(
                "http",
                self.peer,
                _shown(asked),
                str(error),
                missing,
                unavailable=isinstance(error, Unavailable),
            )
        )
        self._refuse(Refusal(status, str(error)), now)

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
            self.end(Outcome.ABORTED, now, error.strerror or "")
            return
        except (FileError, Mismatch) as error:
            self.end(Outcome.FAILED, now, str(error))
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
        body = self._transfer.body if self._transfer else None
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
            self.end(Outcome.ABORTED, now, error.strerror or "")
            return
        if ahead:
            self._rest()  # another request, which has to wait
        else:
            self.end(Outcome.ABORTED, now, "it left")

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

    def _report(self, now: float, outcome: Outcome | None = None, reason: str = "") -> None:
        """Close the file and say how its transfer went."""
        flow, self._flow = self._flow, None
        transfer, self._transfer = self._transfer, None
        if transfer is None:
            return
        transfer.body.close()
        self._shop.bus.publish(
            TransferEnded(
                protocol="http",
                peer=self.peer,
                requested=transfer.requested,
                served=transfer.served,
                sent=flow.sent if flow else 0,
                seconds=now - transfer.began,
                retransmissions=0,
                outcome=outcome or transfer.outcome,
                reason=reason or transfer.note,
            )
        )

    def overdue(self, now: float) -> None:
        """End it, for its patience is over, unless the client has taken a little meanwhile."""
        if self._flow is not None:
            # a socket calls for more only when a third of what it holds is gone
            before, self._queued = self._queued, net.unsent(self._sock)
            if self._queued != before:
                self.due = now + STALL
                return
        self.end(Outcome.TIMEOUT, now)

    def end(self, outcome: Outcome, now: float, reason: str = "") -> None:
        """End it wherever it stands; an answer that isn't whole is seen as cut by the client."""
        if self._flow is not None and self._gone is not None:
            # a reset, so that nobody takes a part for the whole where no length was announced
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._report(now, outcome, reason)
        self.close()

    def close(self) -> None:
        """Give everything back; harmless the second time."""
        gone, self._gone = self._gone, None
        if gone is None:
            return
        self._rest()
        self._sock.close()
        if self._transfer is not None:
            self._transfer.body.close()
        self._flow = self._transfer = None
        gone(self)


def describe(opened: Opened, requested: str) -> Entity:
    """Say of an open file what HTTP wants to know."""
    body = opened.body
    media = opened.media or media_type(opened.served, requested)
    if isinstance(body, StaticBody):
        tag = entity_tag(body.key)
        return Entity(body.size, tag, body.modified, media, fields=opened.fields)
    return Entity(body.size, "", body.modified, media, still=False, fields=opened.fields)


def _shown(asked: Asked) -> str:
    """Return the name as it is reported: without its leading slash, as filters see it."""
    return asked.name.removeprefix("/") or "/"
