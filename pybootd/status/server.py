"""The status address: its answers over our HTTP server, on its own port."""

from __future__ import annotations

import itertools
import queue
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import IPv4Address

from pybootd.config.options.files import HttpdConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, FileProblem
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files.source import (
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    OpenedFile,
    StreamBody,
    TextBody,
    Unavailable,
)
from pybootd.http.server import HttpServer
from pybootd.status.api import ApiProblem, ApiRefused, StatusApi
from pybootd.status.events import EventStream
from pybootd.status.looks import FileLooks

_CONNECTIONS = 64  # that one address may have at once
MAX_ROUNDS = 4
"""Looks, one leading to the next, that an answer waits for."""
LOOK_S = 2.0
"""Seconds that an answer waits for looks at files; it tells what is known by then."""
ANSWER_S = 10.0
"""Seconds that a worker waits for the loop's answer."""


class StatusServer:
    """Answers on a socket that listens. ``guarded``: the answers ask for a token."""

    def __init__(self, loop: Loop, status: StatusApi, looks: FileLooks, *, guarded: bool) -> None:
        self._loop = loop
        self._looks = looks
        self._status = status
        self._guarded = guarded
        # its own bus: who looks is no client that boots
        config, files = HttpdConfig(connections=_CONNECTIONS), _Answers(self.open_answer)
        self._server = HttpServer(config, loop, EventBus(), ClientTable(), files, ends_oldest=True)

    def serve(self, listening: socket.socket) -> None:
        """Answer connections from now on."""
        self._server.open(listening)
        self._server.start()

    def close(self) -> None:
        """End all connections, and give the port back."""
        self._server.close()

    def open_answer(self, request: FileRequest) -> OpenedFile | Later[OpenedFile]:
        """Turn a request into the answer's body. Raises FileError.

        What is told of one machine waits for looks at its files, which a worker makes.
        """
        if not self._is_meant_for_us(request.about.get("host", "")):
            raise _refuse_file(ApiRefused(ApiProblem.WRONG_HOST))
        names = self._find_pending(request)
        if not names:
            return self._answer_now(request)
        return Later(lambda: self._answer_after(names, request), "status", 2, request.peer)

    def _answer_after(self, names: list[str], request: FileRequest) -> OpenedFile:
        """Look at the files, then have the loop answer: it alone may read the timeline.

        What one file shows may lead to another, so that there are a few rounds.
        """
        deadline = time.monotonic() + LOOK_S
        for left in reversed(range(MAX_ROUNDS)):
            self._looks.look_now(names, deadline)
            answered: queue.Queue[OpenedFile | list[str] | FileError] = queue.Queue(1)
            last = left == 0 or time.monotonic() > deadline

            def answer(
                now: float,
                answered: queue.Queue[OpenedFile | list[str] | FileError] = answered,
                last: bool = last,
            ) -> None:
                try:
                    more = [] if last else self._find_pending(request)
                    answered.put(more or self._answer_now(request))
                except FileError as error:
                    answered.put(error)

            self._loop.call_from_thread(answer)
            try:
                found = answered.get(timeout=ANSWER_S)
            except queue.Empty:
                break
            if isinstance(found, FileError):
                raise found
            if isinstance(found, OpenedFile):
                return found
            names = found
        raise Unavailable("the daemon stops", FileProblem.STOPPED)

    def _find_pending(self, request: FileRequest) -> list[str]:
        try:
            return self._status.find_pending(
                request.name, request.query, request.about.get("authorization", "")
            )
        except ApiRefused as error:
            raise _refuse_file(error) from error

    def _answer_now(self, request: FileRequest) -> OpenedFile:
        try:
            answer = self._status.answer_request(
                request.name, request.query, request.about.get("authorization", "")
            )
        except ApiRefused as error:
            raise _refuse_file(error) from error
        body = Whole(answer.data) if answer.feed is None else Streamed(answer.feed)
        return OpenedFile(body, request.name, answer.media, answer.fields)

    def _is_meant_for_us(self, host: str) -> bool:
        """Tell whether a browser meant this host: a stranger's page may lead its name here.

        Where a token is asked for, that is proof enough.
        """
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._guarded or not name or name == "localhost":
            return True
        try:
            IPv4Address(name)
        except ValueError:
            return name == "[::1]"
        return True


def _refuse_file(refused: ApiRefused) -> FileError:
    """Say it as the HTTP server knows it: its answers are files."""
    missing = refused.status == HTTPStatus.NOT_FOUND
    error = Missing(str(refused)) if missing else Forbidden(str(refused))
    error.media = "application/problem+json"
    return error


class _Answers:
    """Stands where a file server has its files."""

    def __init__(self, answer: Callable[[FileRequest], OpenedFile | Later[OpenedFile]]) -> None:
        self.open = answer


class Whole(TextBody):
    """An answer that is at hand; nobody is to keep it, so what tells it apart is but a number."""

    _numbers = itertools.count()

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.key = ("status", next(self._numbers))


class Streamed(StreamBody):
    """A stream of events, which never ends by itself."""

    modified = None

    def __init__(self, feed: EventStream) -> None:
        self.size = None
        self._feed = feed

    def read(self, count: int) -> bytes | None:
        """Take what has come; None: nothing."""
        return self._feed.take_data()

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once, when something has come."""
        self._feed.when_ready(callback)

    def close(self) -> None:
        """Leave."""
        self._feed.close()
