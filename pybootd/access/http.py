"""``access = http``: an HTTP server of yours is asked who may boot.

    GET {location}{pxe or dhcp path}?mac=AA-BB-CC-DD-EE-FF&uuid=xxxxxxxx-aaaa-bbbb-cccc-yyyyyyyyyyyy

200 grants, 401 and 403 refuse; anything else, or silence, leaves the client unanswered.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
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
    from pybootd.access.question import Questioner

log = logging.getLogger(__name__)

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
        self._asks: Questioner | None = None

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
        """Repeat the grant of this boot stage, or have the server asked on a worker.

        Clients that have a lease or have booted here don't wait for new ones.
        """
        stage = client.network_boot, client.uuid
        if not self._always:
            with self._lock:
                granted = self._granted.get(client.identity)
            if granted is not None and granted[0] == stage:
                return granted[1]
        pool = "access of known clients" if client.known else "access"
        deadline = monotonic() + self.timeout
        call = partial(self._ask_server, client, stage, deadline)
        return Later(call, pool, MAX_QUESTIONS, client.identity)

    def make_question_url(self, client: Client) -> str:
        """Say what is asked about this client."""
        query = {"mac": format_mac(client.mac, "-")}
        if client.client_id and not client.mac:
            query["client_id"] = client.client_id.hex()
        if client.uuid is not None:
            query["uuid"] = str(client.uuid)
        if client.address is not None:
            query["ip"] = str(client.address)
        base = self._pxe if client.network_boot else self._dhcp
        return f"{base}{'&' if '?' in base else '?'}{urlencode(query)}"

    def _ask_server(self, client: Client, stage: BootStage, deadline: float) -> AccessDecision:
        """Ask the server (blocks, up to the deadline), and remember a grant."""
        base = self._pxe if client.network_boot else self._dhcp
        try:
            status, body = self._questioner().ask_url(self.make_question_url(client), deadline)
        except TimeoutError:
            problem = f"no answer within {self.timeout:g} s"
            return AccessDecision(None, f"authorization server {base}: {problem}", error=True)
        except OSError as error:
            problem = _explain_failure(error)
            return AccessDecision(None, f"authorization server {base}: {problem}", error=True)
        decision = _read_decision(base, status, body)
        with self._lock:
            if not decision.allow:
                self._granted.pop(client.identity, None)
            else:
                self._granted[client.identity] = stage, decision
        return decision

    def _questioner(self) -> Questioner:
        with self._lock:
            if self._asks is None:
                from pybootd.access.question import Questioner  # what it needs is slow to load

                self._asks = Questioner(f"pybootd/{__version__}")
            return self._asks


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


def _explain_failure(error: OSError) -> str:
    """Say in a few words what went wrong."""
    return (error.strerror or str(error) or type(error).__name__).splitlines()[0]


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
