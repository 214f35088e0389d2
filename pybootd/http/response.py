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
from pybootd.http.body import BodyWriter, BufferedBody, FileBody, StreamedBody
from pybootd.http.connection import Connection, HttpRequest, HttpResponse, Refusal
from pybootd.http.entity import TEXT, Entity, entity_tag, media_type

SMALL_FILE_OCTETS = 32 * 1024
"""A file of at most so many octets is read, and sent with the head in one go."""


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
    """A file that was asked for and is open; its end is reported once."""

    __slots__ = (
        "_began",
        "_bus",
        "_cause",
        "_outcome",
        "_peer",
        "_refused",
        "_remark",
        "_requested",
        "opened",
    )

    def __init__(
        self, bus: EventBus, peer: str, request: HttpRequest, opened: OpenedFile, began: float
    ) -> None:
        self.opened = opened
        self._bus = bus
        self._peer = peer
        self._requested = _shown_name(request)
        self._began = began
        self._remark = ""
        self._cause = EndCause.NONE
        self._outcome = TransferOutcome.PROBED if request.head else TransferOutcome.DONE
        self._refused = False

    def make_answer(self, connection: Connection, request: HttpRequest, wall: float) -> BodyWriter:
        """Make the answer, and say that it begins. Raises FileError when the file can't be read."""
        body, peer = self.opened.body, self._peer
        answer = connection.write_head(request, describe_file(self.opened, request.name), wall)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            body.close()
            self._refused = True
            text = f"{answer.status.value} {answer.status.phrase}"
            problem = FileProblem.BAD_REQUEST
            self._bus.publish(
                TransferRefused("http", peer, self._requested, text, missing=False, problem=problem)
            )
        elif request.head:
            pass
        elif answer.status == HTTPStatus.NOT_MODIFIED:
            self._cause = EndCause.NOT_MODIFIED
        else:
            if answer.status == HTTPStatus.PARTIAL_CONTENT:
                self._cause = EndCause.PARTIAL
                self._remark = f"{answer.count} octets from {answer.first} on"
            self._bus.publish(
                TransferStarted("http", peer, self._requested, self.opened.served, body.size)
            )
        return _make_writer(connection, answer, body)

    def end_response(
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
                reason=reason or self._remark,
                cause=self._cause if cause is EndCause.NONE else cause,
                problem=problem,
            )
        )


def _make_writer(connection: Connection, answer: HttpResponse, body: Body) -> BodyWriter:
    count = answer.count
    if count == 0:
        return BufferedBody(answer.head)
    if isinstance(body, StaticBody):
        count = body.size if count is None else count
        if count <= SMALL_FILE_OCTETS:
            octets = connection.frame_piece(body.pread(count, answer.first))
            return BufferedBody(answer.head + octets + connection.finish_body(), count)
        return FileBody(answer.head, connection, body, answer.first, count)
    if isinstance(body, StreamBody):
        return StreamedBody(answer.head, connection, body, count)
    raise TypeError(f"{type(body).__name__} is neither a StaticBody nor a StreamBody")


def report_refusal(bus: EventBus, peer: str, request: HttpRequest, error: FileError) -> Refusal:
    """Report that a file can't be had, and say what the client is answered."""
    missing = isinstance(error, Missing)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    if missing:
        status = HTTPStatus.NOT_FOUND
    elif isinstance(error, Forbidden):
        status = HTTPStatus.FORBIDDEN
    unavailable = isinstance(error, Unavailable)
    name = _shown_name(request)
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


def describe_file(opened: OpenedFile, requested: str) -> Entity:
    """Say of an open file what HTTP wants to know."""
    body = opened.body
    media = opened.media or media_type(opened.served, requested)
    if isinstance(body, StaticBody):
        tag = entity_tag(body.key)
        return Entity(body.size, tag, body.modified, media, fields=opened.fields)
    return Entity(body.size, "", body.modified, media, still=False, fields=opened.fields)


def _shown_name(request: HttpRequest) -> str:
    """Return the name as it is reported: without its leading slash, as filters see it."""
    return request.name.removeprefix("/") or "/"
