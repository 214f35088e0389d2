"""The status address: its answers over our HTTP server, on its own port."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import IPv4Address

from pybootd.config.options.files import HttpdConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus
from pybootd.core.loop import Loop
from pybootd.files.source import (
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    OpenedFile,
    StreamBody,
    TextBody,
)
from pybootd.http.server import HttpServer
from pybootd.status.api import ApiProblem, ApiRefused, StatusApi
from pybootd.status.events import EventStream

_CONNECTIONS = 64  # that one address may have at once


class StatusServer:
    """Answers on a socket that listens. ``guarded``: the answers ask for a token."""

    def __init__(self, loop: Loop, status: StatusApi, *, guarded: bool) -> None:
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

    def open_answer(self, request: FileRequest) -> OpenedFile:
        """Turn a request into the answer's body. Raises FileError."""
        if not self._is_meant_for_us(request.about.get("host", "")):
            raise _refuse_file(ApiRefused(ApiProblem.WRONG_HOST))
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

    def __init__(self, answer: Callable[[FileRequest], OpenedFile]) -> None:
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
