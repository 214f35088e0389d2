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
    """Calls ``news`` when others have written, and when that can't be heard any more."""

    def __init__(self, loop: Loop, store: PostgresStore, news: Callable[[], None]) -> None:
        self._loop = loop
        self._store = store
        self._news = news
        self._file: psycopg.Connection[Any] | None = None
        self._watched: socket.socket | None = None
        self._opening = self._wanted = False

    def open(self) -> None:
        """Begin to listen, unless it does; ``news`` tells when, for what came before."""
        self._wanted = True
        if self._file is None and not self._opening:
            self._opening = True
            self._loop.work(
                Later(self._store.open_listener, "lease database, news", 1), self._opened
            )

    def close(self) -> None:
        """Stop listening; may be called twice."""
        self._wanted = False
        file, self._file = self._file, None
        watched, self._watched = self._watched, None
        if watched is not None:
            self._loop.unwatch(watched)
            watched.close()
        if file is not None:
            file.close()

    def _opened(self, outcome: TaskResult[psycopg.Connection[Any]], now: float) -> None:
        self._opening = False
        try:
            file = outcome.get()
        except StoreError:
            if self._wanted:
                self._news()  # whoever asks next hears what is wrong
            return
        if not self._wanted or self._file is not None:
            file.close()
            return
        self._file = file
        # libpq closes its descriptor by itself when the connection ends; this one is ours
        self._watched = socket.socket(fileno=os.dup(file.fileno()))
        self._loop.watch(self._watched, self._hear)
        self._news()

    def _hear(self, now: float) -> None:
        import psycopg

        if self._file is None:
            return
        others = False
        try:
            self._file.pgconn.consume_input()
            while (heard := self._file.pgconn.notifies()) is not None:
                others |= heard.extra.decode() != self._store.daemon_name
        except psycopg.Error:
            self.close()
            others = self._wanted = True
        if others:
            self._news()
