"""A file for a client: the answer that it becomes, and what is reported of how it went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from pybootd.core.client_table import ClientTable
from pybootd.core.events import (
    EndCause,
    EventBus,
    FileProblem,
    TransferEnded,
    TransferOutcome,
    TransferRefused,
    TransferStarted,
)
from pybootd.core.loop import Loop
from pybootd.files.source import (
    Body,
    FileError,
    FileOpener,
    Forbidden,
    Missing,
    OpenedFile,
    StaticBody,
    StreamBody,
    Unavailable,
)
from pybootd.http.body import FileFlow, Flow, Ready, StreamFlow
from pybootd.http.connection import Connection, HttpRequest, HttpResponse, Refusal
from pybootd.http.entity import TEXT, Entity, entity_tag, media_type

_SMALL = 32 * 1024  # octets of a file that are read and sent with the head in one go


@dataclass(slots=True)
class HttpContext:
    """What all sessions of one server share. ``wall``: seconds since the epoch, for dates."""

    loop: Loop
    bus: EventBus
    clients: ClientTable
    files: FileOpener
    check_ip: bool = False
    wall: Callable[[], float] = time.time


class FileResponse:
    """A file that was asked for and is open; to be told of its end, once."""

    __slots__ = (
        "_began",
        "_bus",
        "_cause",
        "_note",
        "_outcome",
        "_peer",
        "_refused",
        "_requested",
        "opened",
    )

    def __init__(
        self, bus: EventBus, peer: str, asked: HttpRequest, opened: OpenedFile, began: float
    ) -> None:
        self.opened = opened
        self._bus = bus
        self._peer = peer
        self._requested = _shown(asked)
        self._began = began
        self._note = ""
        self._cause = EndCause.NONE
        self._outcome = TransferOutcome.PROBED if asked.head else TransferOutcome.DONE
        self._refused = False

    def answer(self, connection: Connection, asked: HttpRequest, wall: float) -> Flow:
        """Make the answer, and say that it begins. Raises FileError when the file can't be read."""
        body, peer = self.opened.body, self._peer
        reply = connection.answer(asked, describe(self.opened, asked.name), wall)
        if reply.status >= HTTPStatus.BAD_REQUEST:
            body.close()
            self._refused = True
            text = f"{reply.status.value} {reply.status.phrase}"
            self._bus.publish(
                TransferRefused(
                    "http",
                    peer,
                    self._requested,
                    text,
                    missing=False,
                    problem=FileProblem.BAD_REQUEST,
                )
            )
        elif asked.head:
            pass
        elif reply.status == HTTPStatus.NOT_MODIFIED:
            self._cause = EndCause.NOT_MODIFIED
        else:
            if reply.status == HTTPStatus.PARTIAL_CONTENT:
                self._cause = EndCause.PARTIAL
                self._note = f"{reply.count} octets from {reply.first} on"
            self._bus.publish(
                TransferStarted("http", peer, self._requested, self.opened.served, body.size)
            )
        return _flow_of(connection, reply, body)

    def end(
        self,
        now: float,
        sent: int,
        outcome: TransferOutcome | None = None,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
        problem: FileProblem | None = None,
    ) -> None:
        """Close the file and say how it went; ``sent`` in octets of the file."""
        self.opened.body.close()
        if self._refused:
            return
        self._bus.publish(
            TransferEnded(
                protocol="http",
                peer=self._peer,
                requested=self._requested,
                served=self.opened.served,
                sent=sent,
                seconds=now - self._began,
                retransmissions=0,
                outcome=outcome or self._outcome,
                reason=reason or self._note,
                cause=self._cause if cause is EndCause.NONE else cause,
                problem=problem,
            )
        )


def _flow_of(connection: Connection, reply: HttpResponse, body: Body) -> Flow:
    count = reply.count
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


def refused(bus: EventBus, peer: str, asked: HttpRequest, error: FileError) -> Refusal:
    """Report that a file can't be had, and say what the client is answered."""
    missing = isinstance(error, Missing)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    if missing:
        status = HTTPStatus.NOT_FOUND
    elif isinstance(error, Forbidden):
        status = HTTPStatus.FORBIDDEN
    unavailable = isinstance(error, Unavailable)
    name = _shown(asked)
    bus.publish(
        TransferRefused(
            "http",
            peer,
            name,
            str(error),
            missing,
            error.served,
            unavailable,
            problem=error.problem,
        )
    )
    return Refusal(status, str(error), error.media or TEXT)


def describe(opened: OpenedFile, requested: str) -> Entity:
    """Say of an open file what HTTP wants to know."""
    body = opened.body
    media = opened.media or media_type(opened.served, requested)
    if isinstance(body, StaticBody):
        tag = entity_tag(body.key)
        return Entity(body.size, tag, body.modified, media, fields=opened.fields)
    return Entity(body.size, "", body.modified, media, still=False, fields=opened.fields)


def _shown(asked: HttpRequest) -> str:
    """Return the name as it is reported: without its leading slash, as filters see it."""
    return asked.name.removeprefix("/") or "/"
