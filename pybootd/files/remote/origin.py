"""What a web server is asked and what it answers, as a stream of octets; everything here blocks."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from types import MappingProxyType
from urllib.parse import urlsplit

import urllib3
from urllib3 import exceptions as http

from pybootd import __version__
from pybootd.core.events import FileProblem
from pybootd.files.remote.connections import BoundedPoolManager, limit_answer
from pybootd.files.remote.credentials import origin_of
from pybootd.files.remote.watchdog import watchdog
from pybootd.files.source import FileError, Forbidden, Missing, Unavailable

MAX_PIECE = 65536
"""Octets that are read at once, at most."""

PSEUDONYM = f"pybootd-{secrets.token_hex(4)}"
"""How this process names itself in ``Via``, so that it knows its own requests again."""
SLOW_S, MIN_OCTETS = 30.0, 32 << 10
"""A web server is given up that sends fewer octets than this in so many seconds."""
PATIENCE = 1.5
"""Times the silence that is allowed which a whole head, or a part of a body, may take."""

NOTHING: Mapping[str, str] = MappingProxyType({})
_MAX_RESUMES = 3  # connections that one download may lose and take up again
_MISSING = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_FORBIDDEN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_UNDONE = frozenset(("gzip", "x-gzip", "deflate"))  # encodings that are undone while they arrive
_COMPRESSED = re.compile(r"\.(gz|tgz|z|svgz)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Version:
    """Which edition of a file a web server sent: its size, and what it says to know it by."""

    size: int | None
    etag: str
    modified: str

    @property
    def condition(self) -> str:
        """The value of If-Range (RFC 9110 13.1.5): a strong validator, else nothing."""
        strong = self.etag if not self.etag.startswith("W/") else ""
        return strong or self.modified


class OriginResponse:
    """One file on its way from a web server. ``version.size`` is None where it isn't known.

    ``framed``: its end can be told from a connection that broke.
    """

    def __init__(self, origin: HttpOrigin, url: str, response: urllib3.BaseHTTPResponse) -> None:
        self.url = url
        self._origin = origin
        self._response = response
        self._decode = _must_decode(url, response)
        headers = response.headers
        self.version = Version(
            None if self._decode else _content_length(response),
            headers.get("ETag", ""),
            headers.get("Last-Modified", ""),
        )
        chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        self.framed = chunked or _content_length(response) is not None
        self._offset = 0
        self._resumes = 0
        self._stopped = False
        self._waited, self._came = 0.0, 0  # seconds, and octets in them

    def read_piece(self) -> bytes:
        """Return the next octets, none at the end; raises Unavailable when it breaks off."""
        return self._read_some(MAX_PIECE)

    def skip_octets(self, count: int) -> None:
        """Read past the first ``count`` octets; raises Unavailable."""
        while self._offset < count:
            if not self._read_some(min(MAX_PIECE, count - self._offset)):
                raise Unavailable(f"{self.url}: shorter than it was", FileProblem.CHANGED)

    def abort_response(self) -> None:
        """Wake up, from another thread, the one that waits for octets; they end in an error."""
        self._stopped = True
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    def close(self) -> None:
        """Give the connection up; one that is at its end can serve again."""
        with contextlib.suppress(http.HTTPError, OSError):
            self._response.close()

    def _read_some(self, most: int) -> bytes:
        while True:
            try:
                data = self._wait_for_octets(most)
            except http.HTTPError as error:
                if not self._resume_response(error):
                    text = f"{self.url}: {self._explain_break(error)}"
                    raise Unavailable(text, FileProblem.ORIGIN_BROKE_OFF) from error
            else:
                self._offset += len(data)
                return data

    def _wait_for_octets(self, most: int) -> bytes:
        """Read what is there next; raises HTTPError, and Unavailable when it comes too slowly."""
        before = monotonic()
        with watchdog.limit_wait(self._origin.silence * PATIENCE, self._response.shutdown) as limit:
            try:
                data = self._response.read1(most, decode_content=self._decode)
            finally:
                # an octet now and then is as late as none
                if limit.expired:
                    text = f"{self.url}: too slow after {self._offset} octets"
                    raise Unavailable(text, FileProblem.ORIGIN_BROKE_OFF)
        self._waited += monotonic() - before
        self._came += len(data)
        if self._came >= MIN_OCTETS:
            self._waited, self._came = 0.0, 0
        elif self._waited > SLOW_S and data:
            text = f"{self.url}: {self._came} octets in {SLOW_S:g} s, after {self._offset} octets"
            raise Unavailable(text, FileProblem.ORIGIN_BROKE_OFF)
        return data

    def _resume_response(self, error: http.HTTPError) -> bool:
        """Take up a download whose connection was lost, where the web server can."""
        if not isinstance(error, http.ProtocolError) or self._stopped:
            return False
        if self._resumes == _MAX_RESUMES or self._decode or not self.version.condition:
            return False
        self._resumes += 1
        self.close()
        try:
            self._response = self._origin.request_rest(self.url, self._offset, self.version)
        except FileError:
            return False
        return True

    def _explain_break(self, error: http.HTTPError) -> str:
        if isinstance(error, http.TimeoutError):
            return f"silent for {self._origin.silence:g} s after {self._offset} octets"
        if isinstance(error, http.DecodeError):
            return f"its encoding is broken after {self._offset} octets"
        total = "" if self.version.size is None else f" of {self.version.size}"
        return f"cut after {self._offset}{total} octets"


class HttpOrigin:
    """Web servers, and the connections to them that can serve again. Threads may share it.

    ``connect`` and ``silence`` are the seconds that a connection and the next octets may take.
    ``credentials``: origin -> the field ``Authorization``, see ``credentials.read_credentials``.
    """

    def __init__(self, connect: float = 5.0, silence: float = 10.0) -> None:
        self.connect = connect
        self.silence = silence
        self.credentials: Mapping[str, str] = NOTHING
        self._pool = BoundedPoolManager(
            num_pools=16,
            maxsize=64,
            timeout=urllib3.Timeout(connect=connect, read=silence),
            retries=urllib3.Retry(None, connect=False, read=False, other=False, redirect=5),
            # nothing but the file's own octets: a size is known, and a download can be resumed
            headers={"Accept-Encoding": "identity", "User-Agent": f"pybootd/{__version__}"},
        )

    def request_file(
        self, url: str, offset: int = 0, version: Version | None = None, via: str = ""
    ) -> OriginResponse:
        """Ask for a file, from ``offset`` octets on if it still is that version.

        ``via`` is the field of the request for which it is asked.
        Raises Missing, Forbidden, Unavailable (it changed, too).
        """
        if version is not None and offset and version.condition and version.size is not None:
            with contextlib.suppress(Unavailable):
                answer = OriginResponse(self, url, self.request_rest(url, offset, version))
                answer.version, answer._offset = version, offset
                return answer
        answer = OriginResponse(self, url, self._request_url(url, {"Via": via}))
        try:
            if version is not None and answer.version != version:
                raise Unavailable(f"{url}: changed at its origin", FileProblem.CHANGED)
            answer.skip_octets(offset)
        except FileError:
            answer.close()
            raise
        return answer

    def request_rest(self, url: str, offset: int, version: Version) -> urllib3.BaseHTTPResponse:
        """Ask for the rest of a file (RFC 9110 14.2); Unavailable if that is not what comes."""
        condition = {"Range": f"bytes={offset}-", "If-Range": version.condition}
        response = self._request_url(url, condition, (HTTPStatus.PARTIAL_CONTENT,))
        span = response.headers.get("Content-Range", "")
        total = r"\d+" if version.size is None else version.size
        if re.fullmatch(rf"bytes {offset}-\d+/({total}|\*)", span):
            return response
        response.close()
        raise Unavailable(f"{url}: the rest can't be had", FileProblem.ORIGIN_BROKE_OFF)

    def request_if_changed(
        self, url: str, etag: str, modified: str, via: str = ""
    ) -> OriginResponse | None:
        """Ask for a file unless it is still the one with these validators (RFC 9110 13.1).

        None: it is. Raises as ``request_file`` does.
        """
        condition = {"If-None-Match": etag} if etag else {"If-Modified-Since": modified}
        both = (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)
        extra = {"Via": via, **(condition if etag or modified else NOTHING)}
        response = self._request_url(url, extra, both)
        if response.status == HTTPStatus.NOT_MODIFIED:
            response.drain_conn()
            return None
        return OriginResponse(self, url, response)

    def close(self) -> None:
        """Close the connections that wait for more to do."""
        self._pool.clear()

    def _request_url(
        self,
        url: str,
        extra: Mapping[str, str] = NOTHING,
        expected: Collection[int] = (HTTPStatus.OK,),
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and return the answer, its body unread; raises FileError."""
        headers = {**self._pool.headers, **extra}
        headers["Via"] = ", ".join(filter(None, (extra.get("Via"), f"1.1 {PSEUDONYM}")))
        if secret := self.credentials and self.credentials.get(origin_of(url)):
            # urllib3 leaves it out of what a redirection to another host, port or scheme asks
            headers["Authorization"] = secret
        try:
            try:
                response = self._send_request(url, headers)
            except http.ProtocolError:
                # a connection that served before may have been closed meanwhile: once more
                response = self._send_request(url, headers)
        except (http.HTTPError, ValueError, OSError) as error:
            text = f"{url}: {self._explain_failure(error)}"
            raise Unavailable(text, FileProblem.ORIGIN_UNREACHABLE) from error
        if response.status in expected:
            return response
        response.close()
        raise _make_refusal(url, response)

    def _send_request(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        with limit_answer(self.silence * PATIENCE):
            return self._pool.request("GET", url, headers=headers, preload_content=False)

    def _explain_failure(self, error: Exception) -> str:
        """Say in a few words why there is no answer."""
        if isinstance(error, http.MaxRetryError) and error.reason is not None:
            error = error.reason
        if isinstance(error, http.NameResolutionError):
            return "no host of this name"
        if isinstance(error, http.NewConnectionError):
            cause = error.__cause__
            text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
            return f"can't connect: {text}"
        if isinstance(error, http.ConnectTimeoutError):
            return f"can't connect: no answer for {self.connect:g} s"
        if isinstance(error, http.TimeoutError):
            return f"no answer for {self.silence:g} s"
        if isinstance(error, http.SSLError):
            cause = error.args[0] if error.args else error
            why = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or cause
            return f"no secure connection: {_printable(str(why).replace('_', ' ').lower())}"
        if isinstance(error, http.ProtocolError):
            return "the connection broke before an answer came"
        return _printable(" ".join(str(error).split()))


def _printable(text: str) -> str:
    """Make a web server's words fit for one line of a log."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def _make_refusal(url: str, response: urllib3.BaseHTTPResponse) -> FileError:
    reason = f"{url}: {response.status} {_printable(response.reason or '')}".rstrip()
    if response.status in _MISSING:
        return Missing(reason, status=response.status)
    if response.status in _FORBIDDEN:
        return Forbidden(reason, FileProblem.ORIGIN_STATUS, status=response.status)
    return Unavailable(reason, FileProblem.ORIGIN_STATUS, status=response.status)


def _must_decode(url: str, response: urllib3.BaseHTTPResponse) -> bool:
    """Tell whether an encoding has to be undone that we didn't ask for.

    That of ``initrd.gz`` is the file's own: some web servers name it for every compressed file.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding not in _UNDONE:
        response.close()
        text = f"{url}: comes in an encoding that can't be undone: {_printable(encoding)}"
        raise Unavailable(text, FileProblem.ORIGIN_ANSWER)
    return not _COMPRESSED.search(urlsplit(url).path)


def _content_length(response: urllib3.BaseHTTPResponse) -> int | None:
    """Return the octets to come where the answer says it."""
    if "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return None
    text = response.headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None
