"""One connection: octets in, requests out; answers in, octets out. No socket, no clock.

h11 reads the requests (RFC 9112), one reader for each; what they mean and what they are answered
is here. Answers are few and their fields our own, so they are written here, too: h11 would check
each field once more, which takes three times as long as reading the request.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import h11

from pybootd.http.conditions import choose_range, http_date
from pybootd.http.entity import TEXT, Entity

MAX_HEAD_OCTETS = 16384
"""Octets that a request's line and fields may have."""

MAX_REMEMBERED_OCTETS = 1024
"""Octets of a request that is remembered: machines that boot alike ask alike."""

_CONDITIONS = frozenset(
    (
        *(b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"),
        *(b"if-range", b"range"),
    )
)
_ABOUT = frozenset((b"authorization", b"host", b"via"))
_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_UNQUOTED = re.compile(rb"[ \x80-\xff]")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)

# the fields of an answer, lines that end with CRLF
Fields = bytes


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request for a file. ``name`` is percent-decoded; octets that are no UTF-8 are escaped.

    ``head``: only what GET would say of it. ``fields``: the conditional ones, by lower-case name.
    No file depends on the rest: ``query``, what stands behind ``?`` as it came, and ``about``, the
    fields that name the host and the user.
    """

    name: str
    head: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    query: str = field(default="", compare=False)
    about: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered with an error; ``reason`` is the body, of the type ``media``."""

    status: HTTPStatus
    reason: str
    media: str = TEXT


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request, and what it says of its connection: see the fields of ``Connection``."""

    request: HttpRequest | Refusal
    http_1_1: bool
    keep_alive: bool
    head: bool
    closing: bool


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The start of an answer, then ``count`` octets of the file from ``first`` (None: to its end).

    ``head`` holds the whole answer where the file has no part in it (``count`` 0).
    """

    status: HTTPStatus
    head: bytes
    first: int
    count: int | None


class LengthMismatch(Exception):
    """A file turned out longer or shorter than was announced: the connection can't go on."""


class Connection:
    """One connection of a client.

    ``receive_octets``, ask for the ``next_request``, ``write_head`` or ``write_refusal``, tell of
    the body by ``frame_piece`` or ``count_sent``, ``finish_body``; then ``start_next_request``.
    """

    def __init__(self) -> None:
        self._reader: h11.Connection | None = None  # made when it is needed
        self._line = b""  # the start of a request's line
        self._remembered: ParsedRequest | None = None  # a request that needs no reader
        self._answering = False  # a request is being answered
        self._is_http_1_1 = False  # the client speaks HTTP/1.1
        self._keep_alive = False  # it wants to ask again
        self._is_head = False  # HEAD: an answer's body is left out
        self._chunked = False
        # octets of the body that are still to come; None: unknown
        self._body_left: int | None = 0
        self.closing = False
        """The client may still be sending what will not be read."""
        self.closed = False
        """The client has ended its side, and nothing of it is left to be answered."""

    def receive_octets(self, data: bytes) -> None:
        """Take octets from the client; none: it has ended its side."""
        if self._reader is not None:
            self._reader.receive_data(data)
            return
        ended = not data
        # RFC 9112 2.2: empty lines before a request are passed over
        data, self._line = (self._line + data).lstrip(b"\r\n"), b""
        if not ended:
            if not data or self._is_remembered(data):
                return
            if _may_become_line(data):
                self._line = data
                return
        self._reader = h11.Connection(h11.SERVER, MAX_HEAD_OCTETS)
        if data:
            self._reader.receive_data(quote_target(data))
        if ended:
            self._reader.receive_data(b"")

    def _is_remembered(self, data: bytes) -> bool:
        """Tell whether the octets are one request that came before, or may come again."""
        if (
            self._remembered is None
            and len(data) <= MAX_REMEMBERED_OCTETS
            and data.endswith(b"\r\n\r\n")
        ):
            self._remembered = _parse_whole_request(data)
            return self._remembered is not None
        return False

    def next_request(self) -> HttpRequest | Refusal | None:
        """Return the next request; None: it isn't whole yet, or there is none."""
        if self._answering:
            return None
        if self._remembered is not None:
            return self._begin_answer(self._remembered)
        if self._reader is None:
            return None
        try:
            event = self._reader.next_event()
        except h11.RemoteProtocolError as error:
            if self._reader.trailing_data[1]:
                self.closed = True  # it left in the middle of a request and waits for no answer
                return None
            self._answering = self.closing = True
            return _explain_refusal(HTTPStatus(error.error_status_hint))
        if type(event) is h11.Request:
            return self._begin_answer(_read_request(event))
        if type(event) is h11.ConnectionClosed:
            self.closed = True
        return None

    def _begin_answer(self, read: ParsedRequest) -> HttpRequest | Refusal:
        self._answering = True
        self._is_http_1_1, self._keep_alive, self._is_head = (
            read.http_1_1,
            read.keep_alive,
            read.head,
        )
        self.closing = self.closing or read.closing
        return read.request

    def write_refusal(self, refusal: Refusal, wall: float) -> bytes:
        """Answer with an error and its reason; ``wall`` in seconds since the epoch."""
        # RFC 9110 15.5.6
        allow = b"Allow: GET, HEAD\r\n"
        extra = allow if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED else b""
        return self._write_text_answer(refusal.status, refusal.reason, extra, wall, refusal.media)

    def write_head(self, asked: HttpRequest, entity: Entity, wall: float) -> HttpResponse:
        """Answer with a file, a part of it, or why it isn't sent; ``wall`` as in ``refuse``."""
        part = choose_range(asked.fields, entity, head=asked.head)
        status, fields = part.status, _describe_entity(entity, wall)
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            fields += b"Content-Range: bytes */%d\r\n" % (entity.size or 0)
            text = f"there are only {entity.size} octets"
            return HttpResponse(status, self._write_text_answer(status, text, fields, wall), 0, 0)
        if status == HTTPStatus.PRECONDITION_FAILED:
            text = "the file is not the one that was meant"
            return HttpResponse(status, self._write_text_answer(status, text, fields, wall), 0, 0)
        if status == HTTPStatus.NOT_MODIFIED:
            return HttpResponse(status, self._write_fields(status, fields, wall, 0), 0, 0)
        fields += b"Content-Type: %b\r\n" % entity.media.encode("ascii")
        if status == HTTPStatus.PARTIAL_CONTENT and part.count is not None:
            span = (part.first, part.first + part.count - 1, entity.size or 0)
            fields += b"Content-Range: bytes %d-%d/%d\r\n" % span
        fields += self._framing(part.count)
        head = self._write_fields(status, fields, wall, 0 if asked.head else part.count)
        return HttpResponse(status, head, part.first, self._body_left)

    def _framing(self, count: int | None) -> Fields:
        """Say where the body ends (RFC 9112 6.3): without a length HTTP/1.0 ends the connection."""
        # GRUB 2.06 (net/http.c) knows both fields in this spelling alone
        if count is not None:
            return b"Content-Length: %d\r\n" % count
        self._chunked = self._is_http_1_1
        self._keep_alive = self._keep_alive and self._chunked
        return b"Transfer-Encoding: chunked\r\n" if self._chunked else b""

    def frame_piece(self, data: bytes) -> bytes:
        """Wrap the next octets of the file as they are to be sent. Raises LengthMismatch."""
        self.count_sent(len(data))
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data

    def count_sent(self, count: int) -> None:
        """Note that octets of the file are sent as they are. Raises LengthMismatch."""
        if self._body_left is not None:
            self._body_left -= count
            if self._body_left < 0:
                raise LengthMismatch("more came than was announced")

    def finish_body(self) -> bytes:
        """End the answer; what is to be sent for that. Raises LengthMismatch."""
        if self._body_left:
            raise LengthMismatch("less came than was announced")
        return b"0\r\n\r\n" if self._chunked and self._body_left is None else b""

    def close_after_answer(self) -> None:
        """Let the next answer be the last one."""
        self.closing = True

    def start_next_request(self) -> bool:
        """Get ready for the next request; False: the connection ends with this answer."""
        if self.closing or not self._keep_alive:
            return False
        self._answering = self._chunked = False
        if self._remembered is not None:  # what the reader has, if anything, came after it
            self._remembered = None
        elif self._reader is not None:
            rest, ended = self._reader.trailing_data
            self._reader = None
            if rest:
                self.receive_octets(rest)
            if ended:
                self.receive_octets(b"")
        return True

    def _write_text_answer(
        self, status: HTTPStatus, text: str, fields: Fields, wall: float, media: str = TEXT
    ) -> bytes:
        """Make an answer whose body is one line."""
        body = text.encode("utf-8", "backslashreplace") + b"\n"
        fields += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (media.encode(), len(body))
        return self._write_fields(status, fields, wall, 0) + (b"" if self._is_head else body)

    def _write_fields(
        self, status: HTTPStatus, fields: Fields, wall: float, left: int | None
    ) -> bytes:
        """Start an answer, ``left`` octets of the file to follow it."""
        self._body_left = left
        # RFC 9110 6.6.1: a server with a clock sends the date
        return b"HTTP/1.1 %d %b\r\nServer: pybootd\r\nDate: %b\r\n%b%b\r\n" % (
            status,
            status.phrase.encode("ascii"),
            http_date(int(wall)),
            fields,
            self._connection_field(),
        )

    def _connection_field(self) -> Fields:
        """Say whether the connection goes on (RFC 9112 9.3): each version says the unusual."""
        if self.closing or not self._keep_alive:
            return b"Connection: close\r\n"
        return b"" if self._is_http_1_1 else b"Connection: keep-alive\r\n"


@functools.lru_cache(256)
def _parse_whole_request(data: bytes) -> ParsedRequest | None:
    """Read octets that are one request and no more; None: they are not.

    Remembered, for machines that boot alike ask alike, octet for octet.
    """
    reader = h11.Connection(h11.SERVER, MAX_HEAD_OCTETS)
    reader.receive_data(quote_target(data))
    try:
        event = reader.next_event()
    except h11.RemoteProtocolError:
        return None
    if type(event) is not h11.Request or reader.trailing_data[0]:
        return None
    return _read_request(event)


def _may_become_line(data: bytes) -> bool:
    """Tell whether the rest of a request's line is to come: nothing is wrong with it yet."""
    return b"\n" not in data and len(data) <= MAX_HEAD_OCTETS and data[0] > 0x20


def quote_target(data: bytes) -> bytes:
    """Percent-encode what a request's target may not hold, but GRUB and old clients send in it.

    These are blanks and octets beyond ASCII; the version ends the line (RFC 9112 3.2).
    """
    line, newline, rest = data.partition(b"\n")
    if line.count(b" ") == 2 and line.isascii():
        return data
    method, _, tail = line.rstrip(b" \r").partition(b" ")
    target, _, version = tail.rpartition(b" ")
    if not version.startswith(b"HTTP/"):
        return data
    target = _UNQUOTED.sub(lambda found: b"%%%02X" % ord(found[0]), target.strip(b" "))
    return b"%b %b %b\r%b%b" % (method, target, version, newline, rest)


def _explain_refusal(status: HTTPStatus) -> Refusal:
    """Say why octets are not a request that can be answered."""
    match status:
        case HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            why = f"the request line and its fields are longer than {MAX_HEAD_OCTETS} octets"
        case HTTPStatus.NOT_IMPLEMENTED:
            why = "the request's transfer coding is not supported"
        case _:
            why = "the request is malformed: its line, a field, or Host is wrong (RFC 9112)"
    return Refusal(status, why)


def _read_request(request: h11.Request) -> ParsedRequest:
    fields: dict[str, str] = {}
    about: dict[str, str] = {}
    http_1_1 = keep_alive = request.http_version >= b"1.1"
    closing = False
    for name, value in request.headers:
        if name in _ABOUT:
            known, text = name.decode("ascii"), value.decode("latin-1")
            listed = known == "via" and known in about  # as below
            about[known] = f"{about[known]}, {text}" if listed else text
        elif name in _CONDITIONS:
            text, known = value.decode("latin-1"), name.decode("ascii")
            # RFC 9110 5.3: a field that comes twice is one list
            fields[known] = f"{fields[known]}, {text}" if known in fields else text
        elif name == b"connection":
            items = _list_items(value)
            # RFC 9112 9.3: HTTP/1.0 has to ask for it
            keep_alive = (keep_alive or b"keep-alive" in items) and b"close" not in items
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            closing = True  # what follows is a body, which is not read
    asked = _read_target(request, fields, about)
    closing = closing or isinstance(asked, Refusal)
    return ParsedRequest(asked, http_1_1, keep_alive, request.method == b"HEAD", closing)


def _read_target(
    request: h11.Request, fields: Mapping[str, str], about: Mapping[str, str]
) -> HttpRequest | Refusal:
    if not request.http_version.startswith(b"1."):
        return Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1 is spoken")
    if request.method not in (b"GET", b"HEAD"):
        method = request.method.decode("ascii", "replace")[:20]
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not served")
    target = request.target.decode("ascii")
    path, query = _path_of(target), target.partition("?")[2]
    if path is None:
        return Refusal(HTTPStatus.BAD_REQUEST, "the request names no path")
    return HttpRequest(path, request.method == b"HEAD", fields, query, about)


def _list_items(value: bytes) -> list[bytes]:
    return [word.strip() for word in value.lower().split(b",")]


def _path_of(target: str) -> str | None:
    """Return the path that the request's target names (RFC 9112 3.2), None: none."""
    absolute = _ABSOLUTE.match(target)
    path = target[absolute.end() :] if absolute else target
    path = path.partition("?")[0] or ("/" if absolute else "")
    if not path.startswith("/") or "#" in path or _NO_ESCAPE.search(path):
        return None
    return unquote_to_bytes(path).decode("utf-8", "surrogateescape")


def _describe_entity(entity: Entity, wall: float) -> Fields:
    """Return the fields that every answer about the file has (RFC 9110 15.4.5)."""
    fields = b"Accept-Ranges: bytes\r\n" if entity.still else b"Accept-Ranges: none\r\n"
    if entity.etag:
        fields += b"ETag: %b\r\n" % entity.etag.encode("ascii")
    for name, value in entity.fields:
        fields += b"%b: %b\r\n" % (name.encode("ascii"), value.encode("ascii"))
    if entity.modified is not None:
        # RFC 9110 8.8.2.1: never later than the date of the answer
        fields += b"Last-Modified: %b\r\n" % http_date(min(entity.modified, int(wall)))
    return fields
