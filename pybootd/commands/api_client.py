"""How a command asks the running daemon: its status address, found as the daemon finds it."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from pybootd.config.ini import SEARCHED
from pybootd.config.loader import examine
from pybootd.config.options.service import StatusConfig

Json = dict[str, Any]
_PATIENCE = 10.0  # seconds


class ApiError(Exception):
    """The daemon can't be asked, or doesn't know; the text says why and what to do.

    ``code``: the daemon's own word for it (``/api``, ``code`` of an error); "": it said none.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


def options(parser: argparse.ArgumentParser) -> None:
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

    def __init__(self, host: str, port: int, token: str = "") -> None:
        self.host = host
        self.port = port
        self._token = token

    @classmethod
    def from_options(cls, given: argparse.Namespace) -> ApiClient:
        """Find it by the options, else by the configuration. Raises AskError."""
        config = _configured(given.config)
        host, port = str(config.address), config.port
        if host == "0.0.0.0":
            host = "127.0.0.1"
        if given.at:
            host, colon, text = given.at.rpartition(":")
            if not colon or not text.isdigit():
                raise ApiError(f"--at {given.at}: write ADDRESS:PORT")
            port = int(text)
        if not port:
            raise ApiError("the status address is switched off: [status] port = 0")
        return cls(host, port, given.token or config.token)

    def get(self, path: str, **query: str | int) -> Json:
        """Return a document. Raises AskError."""
        with self._open(path, query) as answer:
            try:
                document = json.loads(answer.read())
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise ApiError(f"{self._name()} sent no document: {error}") from error
        if not isinstance(document, dict) or document.get("version") != 1:
            raise ApiError(f"{self._name()} speaks another version: upgrade this command")
        return document

    def client(self, name: str) -> Json:
        """Return all that is known of a machine, by MAC or address. Raises AskError."""
        found: Json = self.get(f"/api/clients/{quote(name, safe=':')}")["client"]
        return found

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield what changes, as it changes: name and value. Raises AskError when it ends."""
        with self._open("/api/events", {}, patience=None) as answer:
            name = ""
            while line := answer.readline():
                field, _, value = line.decode("ascii", "replace").rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)
        raise ApiError(f"{self._name()} has stopped")

    def _open(
        self, path: str, query: dict[str, str | int], patience: float | None = _PATIENCE
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_PATIENCE)
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            if connection.sock is not None:
                connection.sock.settimeout(patience)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._unreachable(error)
        if answer.status != 200:
            problem = _read_problem(answer)
            answer.close()
            reason, code = str(problem.get("detail", "")), problem.get("code", "")
            if code == "token-needed":
                wants = "has another" if self._token else "wants a"
                reason = (
                    f"{self._name()} {wants} token: write --token TOKEN, which is [status] token of"
                    " its file, or what its log showed at the start"
                )
            raise ApiError(reason or f"{self._name()} answered {answer.status}", code)
        return answer

    def _unreachable(self, error: Exception) -> NoReturn:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ApiError(
            f"{self._name()} does not answer ({why}): is the daemon running, with [status] on?"
        ) from error

    def _name(self) -> str:
        return f"{self.host}:{self.port}"


def _read_problem(answer: http.client.HTTPResponse) -> Json:
    """Read the problem document (RFC 9457) of an error; empty: it has none."""
    try:
        document = json.loads(answer.read(10_000))
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return document if isinstance(document, dict) else {}


def _configured(path: str | None) -> StatusConfig:
    """Read ``[status]``; other faults of the file are the daemon's business."""
    if path is None:
        found = next((one for one in SEARCHED if one.exists()), None)
        if found is None:
            return StatusConfig()
    else:
        found = Path(path)
        if not found.is_file():
            raise ApiError(f"{path}: no such file")
    return examine(found, ())[0].status


def fail(command: str, error: Exception) -> int:
    """Say on stderr in one line why a command came to nothing; the exit status."""
    print(f"pybootd {command}: {error}", file=sys.stderr)  # noqa: T201
    return 1
