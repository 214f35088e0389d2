"""One connection: octets in, requests out; answers in, octets out. No socket, no clock.

h11 reads and writes the messages (RFC 9112); what a request means and what it is answered is here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote_to_bytes

import h11

from pybootd.http.conditions import choose, http_date
from pybootd.http.entity import TEXT, Entity

LONGEST = 16384
"""Octets that a request's line and fields may have."""

_CONDITIONS = frozenset(
    (
        *(b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"),
        *(b"if-range", b"range"),
    )
)
_ABOUT = frozenset((b"authorization", b"host"))
_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a file. ``name`` is percent-decoded; octets that are no UTF-8 are escaped.

    ``head``: only what GET would say of it. ``fields``: the conditional ones, by lower-case name.
    No file depends on the rest: ``query``, what stands behind ``?`` as it came, and ``about``, the
    fields that say who asks whom.
    """

    name: str
    head: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    query: str = field(default="", compare=False)
    about: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered with an error; ``reason`` is for people."""

    status: HTTPStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The start of an answer, then ``count`` octets of the file from ``first`` (None: to its end).

    ``head`` holds the whole answer where the file has no part in it (``count`` 0).
    """

    status: HTTPStatus
    head: bytes
    first: int
    count: int | None


class Mismatch(Exception):
    """A file turned out longer or shorter than was announced: the connection can't go on."""


class _Octets:
    """Stands for octets that go past h11, from the file into the socket."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


class Connection:
    """One connection of a client.

    ``receive`` octets, ask for the ``next`` request, ``answer`` or ``refuse`` it, tell of its body
    by ``frame`` or ``passed``, and ``finish``; then, if it is ``reusable``, the next.
    """

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.SERVER, LONGEST)
        self._closing = False
        self._bodiless = False  # HEAD: an answer's body is left out
        self.closed = False
        """The client has ended its side, and nothing of it is left to be answered."""

    def receive(self, data: bytes) -> None:
        """Take octets from the client; none: it has ended its side."""
        self._h11.receive_data(data)

    def next(self) -> Asked | Refusal | None:
        """Return the next request; None: it isn't whole yet, or there is none."""
        try:
            event = self._h11.next_event()
            if isinstance(event, h11.Request):
                return self._read(event)
        except h11.RemoteProtocolError as error:
            if self._h11.trailing_data[1]:
                self.closed = True  # left in the middle of a request: nobody waits for an answer
                return None
            self._closing = True
            return Refusal(HTTPStatus(error.error_status_hint), str(error))
        if isinstance(event, h11.ConnectionClosed):
            self.closed = True
        return None

    def _read(self, request: h11.Request) -> Asked | Refusal:
        fields: dict[str, str] = {}
        about: dict[str, str] = {}
        self._bodiless = request.method == b"HEAD"
        for name, value in request.headers:
            if name in _ABOUT:
                about[name.decode("ascii")] = value.decode("latin-1")
            elif name in _CONDITIONS:
                text, known = value.decode("latin-1"), name.decode("ascii")
                # RFC 9110 5.3: a field that comes twice is one list
                fields[known] = f"{fields[known]}, {text}" if known in fields else text
            elif name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
                self._closing = True  # what follows is a body that nobody wants
        if not self._closing:
            self._h11.next_event()
        if not request.http_version.startswith(b"1."):
            return self._refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1 is spoken")
        if request.method not in (b"GET", b"HEAD"):
            method = request.method.decode("ascii", "replace")[:20]
            return self._refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not served")
        target = request.target.decode("ascii")
        path, query = _path(target), target.partition("?")[2]
        if path is None:
            return self._refusal(HTTPStatus.BAD_REQUEST, "the request names no path")
        return Asked(path, self._bodiless, fields, query, about)

    def _refusal(self, status: HTTPStatus, reason: str) -> Refusal:
        self._closing = True
        return Refusal(status, reason)

    def hang_up(self) -> None:
        """Let the next answer be the last one."""
        self._closing = True

    def refuse(self, refusal: Refusal, wall: float) -> bytes:
        """Answer with an error and its reason; ``wall`` in seconds since the epoch."""
        extra = (
            [(b"Allow", b"GET, HEAD")] if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED else []
        )
        return self._whole(refusal.status, refusal.reason, extra, wall)

    def answer(self, asked: Asked, entity: Entity, wall: float) -> Reply:
        """Answer with a file, a part of it, or why it isn't sent; ``wall`` as in ``refuse``."""
        part = choose(asked.fields, entity, head=asked.head)
        status, fields = part.status, _describe(entity, wall)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            fields.append((b"Content-Range", b"bytes */%d" % (entity.size or 0)))
            text = f"there are only {entity.size} octets"
            return Reply(status, self._whole(status, text, fields, wall), 0, 0)
        if status == HTTPStatus.PRECONDITION_FAILED:
            text = "the file is not the one that was meant"
            return Reply(status, self._whole(status, text, fields, wall), 0, 0)
        if status == HTTPStatus.NOT_MODIFIED:
            return Reply(status, self._head(status, fields, wall) + self.finish(), 0, 0)
        fields.append((b"Content-Type", entity.media.encode("ascii")))
        if part.count is not None:
            fields.append((b"Content-Length", b"%d" % part.count))
        if status == HTTPStatus.PARTIAL_CONTENT and part.count is not None:
            span = (part.first, part.first + part.count - 1, entity.size or 0)
            fields.append((b"Content-Range", b"bytes %d-%d/%d" % span))
        head = self._head(status, fields, wall)
        if asked.head or part.count == 0:
            return Reply(status, head + self.finish(), 0, 0)
        return Reply(status, head, part.first, part.count)

    def frame(self, data: bytes) -> bytes:
        """Wrap the next octets of the file as they are to be sent. Raises Mismatch."""
        try:
            return self._h11.send(h11.Data(data=data)) or b""
        except h11.LocalProtocolError as error:
            raise Mismatch("more came than was announced") from error

    def passed(self, count: int) -> None:
        """Note that octets of the file have been sent as they are."""
        self._h11.send_with_data_passthrough(h11.Data(data=cast(bytes, _Octets(count))))

    def finish(self) -> bytes:
        """End the answer; what is to be sent for that. Raises Mismatch."""
        try:
            return self._h11.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError as error:
            raise Mismatch("less came than was announced") from error

    @property
    def closing(self) -> bool:
        """The client may still be sending what nobody will read."""
        return self._closing

    def reusable(self) -> bool:
        """Get ready for the next request; False: the connection ends with this answer."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    def _whole(self, status: HTTPStatus, text: str, fields: Fields, wall: float) -> bytes:
        """Make an answer whose body is one line."""
        body = text.encode("utf-8", "backslashreplace") + b"\n"
        own = [(b"Content-Type", TEXT.encode()), (b"Content-Length", b"%d" % len(body))]
        head = self._head(status, [*fields, *own], wall)
        return head + (b"" if self._bodiless else self.frame(body)) + self.finish()

    def _head(self, status: HTTPStatus, fields: Fields, wall: float) -> bytes:
        # RFC 9110 6.6.1: a server with a clock sends the date
        first = [(b"Server", b"pybootd"), (b"Date", http_date(int(wall)).encode())]
        last = [(b"Connection", b"close")] if self._closing else []
        # GRUB 2.06 (net/http.c) knows Content-Length in this spelling alone; h11 keeps it
        response = h11.Response(
            status_code=status, reason=status.phrase.encode(), headers=[*first, *fields, *last]
        )
        return self._h11.send(response) or b""


def _path(target: str) -> str | None:
    """Return the path that the request's target names (RFC 9112 3.2), None: none."""
    absolute = _ABSOLUTE.match(target)
    path = target[absolute.end() :] if absolute else target
    path = path.partition("?")[0] or ("/" if absolute else "")
    if not path.startswith("/") or "#" in path or _NO_ESCAPE.search(path):
        return None
    return unquote_to_bytes(path).decode("utf-8", "surrogateescape")


def _describe(entity: Entity, wall: float) -> Fields:
    """Return the fields that every answer about the file has (RFC 9110 15.4.5)."""
    fields = [(b"Accept-Ranges", b"bytes" if entity.still else b"none")]
    if entity.etag:
        fields.append((b"ETag", entity.etag.encode("ascii")))
    fields += ((name.encode("ascii"), value.encode("ascii")) for name, value in entity.fields)
    if entity.modified is not None:
        # RFC 9110 8.8.2.1: never later than the date of the answer
        moment = min(entity.modified, int(wall))
        fields.append((b"Last-Modified", http_date(moment).encode()))
    return fields
