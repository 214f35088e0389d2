"""What the status address answers: the page, JSON, a stream of changes, metrics.

It knows no socket: a path and a query in, an Answer out.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from pybootd import __version__
from pybootd.core.loop import Loop
from pybootd.status.counters import Counters
from pybootd.status.documents import ROWS, Documents
from pybootd.status.events import EventStream, LiveEvents
from pybootd.status.reference import list_paths
from pybootd.status.rows import Json, compact_json

if TYPE_CHECKING:
    from pybootd.status.metrics import Metrics

_JSON = "application/json"
_STREAM = "text/event-stream"
_PAGE = Path(__file__).parent / "page"
_SHIPPED = MappingProxyType(
    {
        "/": ("index.html", "text/html; charset=utf-8"),
        "/page.css": ("page.css", "text/css; charset=utf-8"),
        "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    }
)
# nothing is loaded from or sent to anywhere else, and nobody puts the page into a frame
_SAFE = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What is sent: whole (``data``), or as it comes (``feed``)."""

    media: str
    data: bytes = b""
    feed: EventStream | None = None
    fields: tuple[tuple[str, str], ...] = _SAFE


class ApiProblem(Enum):
    """Why a request is not answered, for programs."""

    UNKNOWN_MACHINE = "unknown-machine"
    NO_FAILURE = "no-failure"
    UNKNOWN_PATH = "unknown-path"
    TOKEN_NEEDED = "token-needed"  # noqa: S105
    TOO_MANY_VIEWERS = "too-many-viewers"
    WRONG_HOST = "wrong-host"


_PROBLEMS = MappingProxyType(
    {
        ApiProblem.UNKNOWN_MACHINE: (404, "no such machine was seen here"),
        ApiProblem.NO_FAILURE: (404, "no boot has failed here"),
        ApiProblem.UNKNOWN_PATH: (404, "there is nothing here; /api lists what there is"),
        ApiProblem.TOKEN_NEEDED: (403, "show the token: ?token=... or Authorization: Bearer ..."),
        ApiProblem.TOO_MANY_VIEWERS: (403, "too many viewers are connected already"),
        ApiProblem.WRONG_HOST: (403, "asked for by a name that is not this host's"),
    }
)


class ApiRefused(Exception):
    """A request that is not answered; its text is a problem document (RFC 9457)."""

    def __init__(self, problem: ApiProblem) -> None:
        self.status, detail = _PROBLEMS[problem]
        title = HTTPStatus(self.status).phrase
        document = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": detail,
            "code": problem.value,
        }
        super().__init__(compact_json(document))
        self.problem = problem


class StatusApi:
    """Answers requests. ``token``: what must be shown, "" for nothing."""

    def __init__(
        self,
        report: Documents,
        counts: Counters,
        loop: Loop,
        delay: Callable[[], float],
        token: str = "",
    ) -> None:
        self._report = report
        self._counts = counts
        self._delay = delay
        self._token = token
        self._live = LiveEvents(report, loop, self.count_totals)
        self._metrics: Metrics | None = None

    def answer_request(self, path: str, query: str = "", authorization: str = "") -> ApiResponse:
        """Answer one GET request. Raises ApiRefused."""
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        if path in _SHIPPED:  # it holds no secret, and asks for the token itself
            name, media = _SHIPPED[path]
            return ApiResponse(media, (_PAGE / name).read_bytes())
        self._check_token(asked.get("token", ""), authorization)
        if path == "/metrics":
            return self._metrics_text()
        if path == "/api/events":
            feed = self._live.add_viewer()
            if feed is None:
                raise ApiRefused(ApiProblem.TOO_MANY_VIEWERS)
            return ApiResponse(_STREAM, feed=feed)
        document = self._find_document(path, asked)
        if document is None:
            if path == "/api/clients/failed":
                raise ApiRefused(ApiProblem.NO_FAILURE)
            if path.startswith("/api/clients/"):
                raise ApiRefused(ApiProblem.UNKNOWN_MACHINE)
            raise ApiRefused(ApiProblem.UNKNOWN_PATH)
        written = document if isinstance(document, str) else compact_json(document)
        return ApiResponse(_JSON, written.encode("ascii"))

    def find_pending(self, path: str, query: str = "", authorization: str = "") -> list[str]:
        """Name the files that have to be looked at before the answer. Raises ApiRefused."""
        if not path.startswith(("/api/clients", "/metrics")):
            return []
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        self._check_token(asked.get("token", ""), authorization)
        name = path.removeprefix("/api/clients/") if path.startswith("/api/clients/") else ""
        return self._report.find_pending("" if name == "failed" else name)

    def _check_token(self, token: str, authorization: str) -> None:
        shown = token or authorization.removeprefix("Bearer ").strip()
        if self._token and not hmac.compare_digest(shown.encode(), self._token.encode()):
            raise ApiRefused(ApiProblem.TOKEN_NEEDED)

    def _find_document(self, path: str, asked: dict[str, str]) -> Json | str | None:
        report = self._report
        offset, limit = _read_number(asked, "offset", 0), _read_number(asked, "limit", ROWS)
        if path == "/api":
            return self.list_all()
        if path == "/api/clients":
            return report.list_clients(asked.get("search", "")[:200], offset, limit)
        if path == "/api/clients/failed":
            return report.describe_newest_failure()
        if path.startswith("/api/clients/"):
            return report.describe_client(path.removeprefix("/api/clients/"))
        if path == "/api/leases":
            return report.list_leases(offset, limit)
        if path == "/api/site":
            return report.describe_site()
        return None

    def list_all(self) -> Json:
        """Say what there is."""
        return {
            "version": 1,
            "pybootd": __version__,
            "paths": list_paths(),
            "stats": self.count_totals(),
        }

    def count_totals(self) -> Json:
        """Tell what the page shows above its table."""
        running = [
            one for record in self._report.timeline.running_clients() for one in record.boot.running
        ]
        return {
            "clients": len(self._report.timeline),
            "running": len(running),
            "sent": sum(self._counts.octets.values()) + sum(one.sent for one in running),
            "pools": self._report.list_pools(),
            **self._report.list_daemons(),
        }

    def _metrics_text(self) -> ApiResponse:
        from pybootd.status import metrics

        if self._metrics is None:
            self._metrics = metrics.Metrics(self._counts, self._report, self._delay)
        return ApiResponse(metrics.MEDIA, self._metrics.text())


def _read_number(asked: dict[str, str], name: str, usual: int) -> int:
    text = asked.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else usual
