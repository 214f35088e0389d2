"""The connection that hears when another daemon has written to the lease database."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pybootd.core.loop import Loop
from pybootd.core.workers import Later, TaskResult
from pybootd.leases.shared.postgres import PostgresStore
from pybootd.leases.store import StoreError

if TYPE_CHECKING:
    import psycopg


class Listener:
    """Calls ``on_news`` when others have written, and when that can't be heard any more."""

    def __init__(self, loop: Loop, store: PostgresStore, on_news: Callable[[], None]) -> None:
        self._loop = loop
        self._store = store
        self._on_news = on_news
        self._connection: psycopg.Connection[Any] | None = None
        self._watched_socket: socket.socket | None = None
        self._opening = self._wanted = False

    def open(self) -> None:
        """Begin to listen, unless it does; ``on_news`` is called then, for what came before."""
        self._wanted = True
        if self._connection is None and not self._opening:
            self._opening = True
            self._loop.run_in_worker(
                Later(self._store.open_listener, "lease database, news", 1), self._finish_open
            )

    def close(self) -> None:
        """Stop listening; may be called twice."""
        self._wanted = False
        connection, self._connection = self._connection, None
        watched, self._watched_socket = self._watched_socket, None
        if watched is not None:
            self._loop.unwatch(watched)
            watched.close()
        if connection is not None:
            connection.close()

    def _finish_open(self, outcome: TaskResult[psycopg.Connection[Any]], now: float) -> None:
        self._opening = False
        try:
            connection = outcome.get()
        except StoreError:
            if self._wanted:
                self._on_news()  # the next exchange says what is wrong
            return
        if not self._wanted or self._connection is not None:
            connection.close()
            return
        self._connection = connection
        # libpq closes its descriptor by itself when the connection ends; this one is ours
        self._watched_socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._loop.watch(self._watched_socket, self._read_news)
        self._on_news()

    def _read_news(self, now: float) -> None:
        import psycopg

        if self._connection is None:
            return
        others = False
        try:
            self._connection.pgconn.consume_input()
            while (notice := self._connection.pgconn.notifies()) is not None:
                others |= notice.extra.decode() != self._store.daemon_name
        except psycopg.Error:
            self.close()
            others = self._wanted = True
        if others:
            self._on_news()
