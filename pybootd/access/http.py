"""``access = http``: an HTTP server of yours is asked who may boot.

    GET {location}{pxe or dhcp path}?mac=AA-BB-CC-DD-EE-FF&uuid=xxxxxxxx-aaaa-bbbb-cccc-yyyyyyyyyyyy

200 grants, 401 and 403 refuse; anything else, or silence, leaves the client unanswered.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from pybootd import __version__
from pybootd.access.base import Access, AccessDecision
from pybootd.config.ini import ConfigError, Section
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.client import Client
from pybootd.core.mac import format_mac
from pybootd.core.text import parse_flag
from pybootd.core.workers import Later

if TYPE_CHECKING:
    import urllib3

log = logging.getLogger(__name__)

MAX_BODY = 16384
"""Octets that are read of an answer's body: it holds two short lines."""
MAX_QUESTIONS = 64
"""Questions that may be open at a time: a rack that is switched on asks all at once."""
MAX_NAME = 255
"""Octets of options 67 and 12: one octet counts them (RFC 2132 2)."""

BootStage = tuple[bool, UUID | None]


class HttpAccess(Access):
    """``[http]``: ``location``, ``pxe``, ``dhcp``, ``always_check``.

    A grant holds until the client's boot stage changes (it comes with PXE information, or without,
    or with another UUID); a refusal is asked for again. At most ``max_grants`` are kept.
    """

    def __init__(
        self,
        location: str,
        pxe: str,
        dhcp: str,
        always_check: bool = False,
        max_grants: int = 20_000,
    ) -> None:
        self._pxe = _join_url(location, pxe)
        self._dhcp = _join_url(location, dhcp)
        self._always = always_check
        self._granted: BoundedMap[bytes, tuple[BootStage, AccessDecision]] = BoundedMap(max_grants)
        self._lock = threading.Lock()
        self._http: urllib3.PoolManager | None = None

    @classmethod
    def from_config(cls, section: Section) -> HttpAccess:
        """Read the section; raises ConfigError with every fault."""
        faults = []
        location = section.options.get("location", "")
        if not location:
            faults.append(section.fault("location", "the URL of the server to ask is missing"))
        elif problem := _explain_unusable(_add_scheme(location)):
            faults.append(section.fault("location", f"{location!r} is not an HTTP URL: {problem}"))
        always = False
        try:
            always = parse_flag(section.options.get("always_check", "off"))
        except ValueError as error:
            faults.append(section.fault("always_check", str(error)))
        if faults:
            raise ConfigError(faults)
        options = section.options
        return cls(location, options.get("pxe", ""), options.get("dhcp", ""), always)

    def check(self, client: Client) -> AccessDecision | Later[AccessDecision]:
        """Repeat the grant of this boot stage, or have the server asked on a worker."""
        stage = client.network_boot, client.uuid
        if not self._always:
            with self._lock:
                granted = self._granted.get(client.mac)
            if granted is not None and granted[0] == stage:
                return granted[1]
        return Later(lambda: self._ask_server(client, stage), "access", MAX_QUESTIONS)

    def make_question_url(self, client: Client) -> str:
        """Say what is asked about this client."""
        query = {"mac": format_mac(client.mac, "-")}
        if client.uuid is not None:
            query["uuid"] = str(client.uuid)
        if client.address is not None:
            query["ip"] = str(client.address)
        base = self._pxe if client.network_boot else self._dhcp
        return f"{base}{'&' if '?' in base else '?'}{urlencode(query)}"

    def _ask_server(self, client: Client, stage: BootStage) -> AccessDecision:
        """Ask the server (blocks, ``timeout`` seconds at most), and remember a grant."""
        base = self._pxe if client.network_boot else self._dhcp
        try:
            status, body = self._fetch_answer(self.make_question_url(client))
        except OSError as error:
            return AccessDecision(None, f"authorization server {base}: {error}", error=True)
        decision = _read_decision(base, status, body)
        with self._lock:
            if not decision.allow:
                self._granted.pop(client.mac, None)
            else:
                self._granted[client.mac] = stage, decision
        return decision

    def _fetch_answer(self, url: str) -> tuple[int, str]:
        """Return status and, with 200, the body; raises OSError with a text for people."""
        import urllib3

        if self._http is None:
            # one connection an answer: small servers that serve one at a time are common here
            self._http = urllib3.PoolManager(
                headers={"Connection": "close", "User-Agent": f"pybootd/{__version__}"}
            )
        # a worker has no `now`; this is for a server that trickles its answer
        deadline = monotonic() + self.timeout
        silence = f"no answer within {self.timeout:g} s"
        try:
            response = self._http.request(
                "GET",
                url,
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(total=self.timeout),
            )
            with contextlib.closing(response):
                body = b""
                while response.status == 200 and (chunk := response.read1(MAX_BODY - len(body))):
                    body += chunk
                    if monotonic() > deadline:
                        raise TimeoutError(silence)
                return response.status, body.decode("utf-8", "replace")
        except urllib3.exceptions.NewConnectionError as error:
            raise OSError(_explain_failure(error)) from error
        except urllib3.exceptions.TimeoutError as error:
            raise TimeoutError(silence) from error
        except urllib3.exceptions.HTTPError as error:
            raise OSError(_explain_failure(error)) from error


def _join_url(location: str, path: str) -> str:
    """Put location and path together with one slash between them."""
    location = _add_scheme(location)
    return f"{location.rstrip('/')}/{path.lstrip('/')}" if path else location


def _add_scheme(location: str) -> str:
    return location if "://" in location else f"http://{location}"


def _explain_unusable(url: str) -> str:
    """Say why nothing can be asked of this URL; empty: it can."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises ValueError beyond 65535
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme} is neither http nor https"
    return "" if parts.hostname else "it names no host"


def _explain_failure(error: BaseException) -> str:
    """Name what lies at the bottom of urllib3's error, in a few words."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def _read_decision(base: str, status: int, body: str) -> AccessDecision:
    if status in (401, 403):
        return AccessDecision(False, f"refused by {base} ({status})")
    if status != 200:
        return AccessDecision(None, f"authorization server {base} answered {status}", error=True)
    found = {"client": "", "file": ""}
    for line in body.splitlines():
        key, colon, value = line.partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon or key not in found:
            continue
        if value.isprintable() and len(value.encode()) <= MAX_NAME:
            found[key] = value
        else:
            log.warning("authorization server %s: no usable name in %.80a; passed over", base, line)
    return AccessDecision(True, f"granted by {base}", hostname=found["client"], file=found["file"])
