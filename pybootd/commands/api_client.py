"""How a command asks the running daemon: its status address, found as the daemon finds it.

What the daemon answers is checked here, all of it: a command reads no field that was not.
"""

from __future__ import annotations

import argparse
import http.client
import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from pybootd.commands import shapes
from pybootd.commands.display import CommandError
from pybootd.config.ini import SEARCHED, ConfigError
from pybootd.config.loader import examine
from pybootd.config.options.service import StatusConfig
from pybootd.status.api import ApiProblem

Json = dict[str, Any]
_TIMEOUT_S = 10.0
_MAX_DOCUMENT = 64 << 20  # octets
_MAX_ERROR = 4096
_MAX_LINE = 8 << 20  # octets of one event of the stream
_EVENTS = {"clients": shapes.ListOf(shapes.ROW), "stats": shapes.STATS}


class ApiCode(StrEnum):
    """Why the daemon could not be asked."""

    CONFIGURATION = "configuration"
    USAGE = "usage"
    SWITCHED_OFF = "status-switched-off"
    UNREACHABLE = "daemon-unreachable"
    TOKEN = "token"  # noqa: S105  a code, not a token
    UNKNOWN_MACHINE = "unknown-machine"
    NO_FAILURE = "no-failure"
    REFUSED = "refused"
    BAD_ANSWER = "bad-answer"
    STOPPED = "daemon-stopped"


class ApiError(CommandError):
    """The daemon can't be asked, or doesn't know."""


def add_daemon_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which daemon is asked."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="configuration file of the daemon (default: ./pybootd.ini, else /etc/pybootd.ini, else"
        " its usual address)",
    )
    parser.add_argument(
        "--at", metavar="ADDRESS:PORT", help="status address to ask, instead of the file's"
    )
    parser.add_argument("--token", help="token of a daemon on another host")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


class ApiClient:
    """A running daemon, as its status address tells of it."""

    def __init__(
        self,
        host: str,
        port: int,
        token: str = "",
        connect: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection,
    ) -> None:
        self.host = host
        self.port = port
        self._token = token
        self._connect = connect

    @classmethod
    def from_options(cls, given: argparse.Namespace) -> ApiClient:
        """Find it by the options, else by the configuration. Raises ApiError."""
        config = _read_status_section(given.config)
        host, port = str(config.address), config.port
        if host == "0.0.0.0":
            host = "127.0.0.1"
        if given.at:
            host, colon, text = given.at.rpartition(":")
            if not colon or not (text.isascii() and text.isdigit()) or int(text) > 65535:
                raise ApiError(ApiCode.USAGE, f"--at {given.at}", "write ADDRESS:PORT")
            port = int(text)
        if not port:
            raise ApiError(
                ApiCode.SWITCHED_OFF, "the status address is switched off", "[status] port = 0"
            )
        return cls(host, port, given.token or config.token)

    def fetch_clients(self, search: str, limit: int) -> Json:
        """Return the document with the rows that fit ``search``. Raises ApiError."""
        return self._fetch_document(
            "/api/clients", shapes.CLIENT_LIST, search=search, limit=max(1, limit)
        )

    def fetch_stats(self) -> Json:
        """Return the daemon's counts. Raises ApiError."""
        stats: Json = self._fetch_document("/api", {"stats": shapes.STATS})["stats"]
        return stats

    def fetch_client(self, name: str) -> Json:
        """Return all that is known of a machine, by MAC or address. Raises ApiError."""
        path = f"/api/clients/{quote(name, safe=':', errors='replace')}"
        client: Json = self._fetch_document(path, {"client": shapes.CLIENT})["client"]
        return client

    def follow_events(self) -> Iterator[tuple[str, Any]]:
        """Yield what changes, as it changes: name and value. Raises ApiError when it ends."""
        with self._request("/api/events", {}, timeout=None) as answer:
            name = ""
            try:
                while line := answer.readline(_MAX_LINE):
                    field, _, value = line.decode("ascii", "replace").rstrip("\n").partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data" and name in _EVENTS:
                        yield name, self._parse(value, _EVENTS[name])
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise self._bad_answer(error) from error
        raise ApiError(ApiCode.STOPPED, f"{self._name()} has stopped")

    def _fetch_document(self, path: str, shape: Any, **query: str | int) -> Json:
        with self._request(path, query) as answer:
            try:
                octets = answer.read(_MAX_DOCUMENT)
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise self._bad_answer(error) from error
        document: Json = self._parse(octets, {})
        if document.get("version") != 1:
            raise ApiError(
                ApiCode.BAD_ANSWER, f"{self._name()} speaks another version", "upgrade this command"
            )
        if found := shapes.find_mismatch(document, shape):
            raise self._bad_answer(f"{found} is not as expected")
        return document

    def _parse(self, text: str | bytes, shape: Any) -> Any:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._bad_answer(error) from error
        if found := shapes.find_mismatch(value, shape):
            raise self._bad_answer(f"{found} is not as expected")
        return value

    def _bad_answer(self, why: object) -> ApiError:
        said = f"{self._name()} sent no document of pybootd's ({why})"
        return ApiError(ApiCode.BAD_ANSWER, said, "does another program listen there?")

    def _request(
        self, path: str, query: dict[str, str | int], timeout: float | None = _TIMEOUT_S
    ) -> http.client.HTTPResponse:
        """Ask, and return the answer if it is 200. ``timeout`` is that of its body, seconds."""
        connection = self._connect(self.host, self.port, timeout=_TIMEOUT_S)
        target = f"{path}?{urlencode(query, errors='replace')}" if query else path
        try:
            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
        except (OSError, ValueError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        if answer.status != 200:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: http.client.HTTPResponse) -> ApiError:
        """Say what an error answer means, by its problem document (RFC 9457)."""
        with answer:
            try:
                problem = json.loads(answer.read(_MAX_ERROR))
                cause = ApiProblem(problem["code"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                return self._bad_answer(f"status {answer.status}")
            except http.client.HTTPException as error:
                return self._bad_answer(error)
        if cause is ApiProblem.TOKEN_NEEDED:
            return ApiError(
                ApiCode.TOKEN,
                f"{self._name()} {'has another' if self._token else 'wants a'} token",
                "write --token TOKEN, which is [status] token of its file, or what its log showed"
                " at the start",
            )
        if cause is ApiProblem.UNKNOWN_MACHINE:
            return ApiError(ApiCode.UNKNOWN_MACHINE, "no such machine was seen here")
        if cause is ApiProblem.NO_FAILURE:
            return ApiError(
                ApiCode.NO_FAILURE,
                "no boot has failed here; name a machine to see its boot",
            )
        return ApiError(ApiCode.REFUSED, f"{self._name()} refuses ({cause.value})")

    def _unreachable(self, error: Exception) -> ApiError:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ApiError(
            ApiCode.UNREACHABLE,
            f"{self._name()} does not answer ({why})",
            "is the daemon running, with [status] on?",
        )

    def _name(self) -> str:
        return f"{self.host}:{self.port}"


def _read_status_section(path: str | None) -> StatusConfig:
    """Read ``[status]``; other faults of the file are the daemon's business."""
    if path is None:
        found = next((one for one in SEARCHED if one.exists()), None)
        if found is None:
            return StatusConfig()
    else:
        found = Path(path)
        if not found.is_file():
            raise ApiError(ApiCode.CONFIGURATION, f"{path}: no such file")
    try:
        return examine(found, ())[0].status
    except (ConfigError, ValueError, OSError) as error:
        raise ApiError(ApiCode.CONFIGURATION, str(error).partition("\n")[0]) from error
