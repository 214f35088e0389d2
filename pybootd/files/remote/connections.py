"""Connections to web servers whose answer's head has a time limit as a whole.

urllib3 bounds each read of a head, so one octet every few seconds would go on for ever.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pybootd.files.remote.watchdog import watchdog

MAX_ANSWER_S = 30.0
"""Seconds that the heads of one request's answers may take, redirections and all."""


class _Limits(threading.local):
    head = MAX_ANSWER_S
    until = float("inf")


_limits = _Limits()


@contextmanager
def limit_answer(head: float) -> Iterator[None]:
    """Bound what this thread asks inside: ``head`` seconds each answer, MAX_ANSWER_S all."""
    _limits.head, _limits.until = head, monotonic() + MAX_ANSWER_S
    try:
        yield
    finally:
        _limits.head, _limits.until = MAX_ANSWER_S, float("inf")


@contextmanager
def _limit_head(sock: socket.socket | None) -> Iterator[None]:
    if sock is None:
        yield
        return
    seconds = max(0.0, min(_limits.head, _limits.until - monotonic()))
    # the method of the plain socket: that of TLS would take the session from the reading thread
    interrupt = partial(socket.socket.shutdown, sock, socket.SHUT_RDWR)
    with watchdog.limit_wait(seconds, interrupt) as limit:
        try:
            yield
        finally:
            if limit.expired:  # http.client takes the end of a connection for that of the head
                raise TimeoutError("the head of the answer takes too long")


class _PlainConnection(HTTPConnection):
    def getresponse(self) -> Any:
        """Return the answer, its head read."""
        with _limit_head(self.sock):
            return super().getresponse()


class _SecureConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        """Return the answer, its head read."""
        with _limit_head(self.sock):
            return super().getresponse()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class BoundedPoolManager(urllib3.PoolManager):
    """Keeps connections to web servers, as urllib3's own does."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
