"""One HTTP question that ends by a deadline: name, connection, TLS and every octet of the answer.

A server that sends an octet now and then is as late as one that is silent.
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import threading
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

MAX_BODY = 16384
"""Octets that are read of an answer's body: it holds two short lines."""
RESOLVED_S = 30.0
"""Seconds for which a host's addresses are remembered."""

_SAFE = "/?%:@!$&'()*+,;=~"  # RFC 3986 3.3, 3.4; what is escaped already stays so

Place = tuple[int, int, int, str, Any]  # as getaddrinfo returns it


class DeadlineSocket(socket.socket):
    """A socket whose reads end at ``deadline`` (monotonic seconds), all of them together."""

    deadline = math.inf

    def recv_into(self, *given: Any) -> int:
        """Read into a buffer; raises TimeoutError at the deadline."""
        self.settimeout(time_left(self.deadline))
        return super().recv_into(*given)


class DeadlineTlsSocket(ssl.SSLSocket):
    """The same with TLS."""

    deadline = math.inf

    def recv_into(self, *given: Any) -> int:
        """Read into a buffer; raises TimeoutError at the deadline."""
        self.settimeout(time_left(self.deadline))
        return super().recv_into(*given)


class Resolver:
    """Finds hosts' addresses and remembers them; one call at a time asks the system for them.

    The system's own limit is longer than ours, so what else would wait there waits here.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], tuple[float, list[Place]]] = {}
        self._turn = threading.Lock()

    def find_places(self, host: str, port: int, deadline: float) -> list[Place]:
        """Return where the host is; raises OSError, TimeoutError at the deadline."""
        until, places = self._found.get((host, port), (0.0, []))
        if monotonic() < until:
            return places
        if not self._turn.acquire(timeout=time_left(deadline)):
            raise TimeoutError
        try:
            until, places = self._found.get((host, port), (0.0, []))
            if monotonic() >= until:
                places = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
                self._found[host, port] = monotonic() + RESOLVED_S, places
            return places
        finally:
            self._turn.release()


class Questioner:
    """Asks URLs, each on its own connection: many a small server serves one at a time."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._resolver = Resolver()
        self._tls: ssl.SSLContext | None = None

    def ask_url(self, url: str, deadline: float) -> tuple[int, str]:
        """Return status and, with 200, the body.

        Raises OSError, TimeoutError once the deadline (monotonic seconds) has passed.
        """
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        connection = http.client.HTTPConnection(host, port)
        connection.default_port = 443 if secure else 80
        connection.sock = self._connect_host(host, port, secure=secure, deadline=deadline)
        try:
            target = quote(urlunsplit(("", "", parts.path or "/", parts.query, "")), safe=_SAFE)
            headers = {"Connection": "close", "User-Agent": self._agent}
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            body = b""
            while answer.status == 200 and (chunk := answer.read1(MAX_BODY - len(body))):
                body += chunk
            return answer.status, body.decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise OSError(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def _connect_host(
        self, host: str, port: int, *, secure: bool, deadline: float
    ) -> DeadlineSocket | DeadlineTlsSocket:
        """Connect to the first of the host's addresses that answers."""
        failed: OSError = OSError("it has no address")
        for family, kind, protocol, _, place in self._resolver.find_places(host, port, deadline):
            sock = DeadlineSocket(family, kind, protocol)
            try:
                sock.settimeout(time_left(deadline))
                sock.connect(place)
                sock.deadline = deadline
                return self._begin_tls(sock, host, deadline) if secure else sock
            except OSError as error:
                sock.close()
                failed = error
        raise failed

    def _begin_tls(self, sock: DeadlineSocket, host: str, deadline: float) -> DeadlineTlsSocket:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.sslsocket_class = DeadlineTlsSocket
        sock.settimeout(time_left(deadline))  # of the handshake as a whole
        secured = self._tls.wrap_socket(sock, server_hostname=host)
        if not isinstance(secured, DeadlineTlsSocket):
            raise TypeError("TLS without a deadline")
        secured.deadline = deadline
        return secured


def time_left(deadline: float) -> float:
    """Return the seconds up to the deadline; raises TimeoutError once it has passed."""
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left
