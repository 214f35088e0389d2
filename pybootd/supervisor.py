"""Whoever started the daemon and waits for it to say how it is: systemd, by sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from pybootd.loop import Loop

log = logging.getLogger(__name__)


class Supervisor:
    """Sends datagrams to NOTIFY_SOCKET; without it, as where a person started us, does nothing."""

    def __init__(self, loop: Loop, environment: Mapping[str, str] = os.environ) -> None:
        self._loop = loop
        self._target = environment.get("NOTIFY_SOCKET", "")
        if self._target.startswith("@"):  # an abstract address: unix(7)
            self._target = "\0" + self._target[1:]
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        patience = environment.get("WATCHDOG_USEC", "") if self._target and ours else ""
        self._patience = int(patience) / 1e6 if patience.isdecimal() else 0.0

    def ready(self, status: str) -> None:
        """Say that the daemon serves, and from now on, where it is asked, that it is alive."""
        self._tell("READY=1", f"STATUS={status}")
        if self._patience:
            self._alive(self._loop.now)

    def reload(self, work: Callable[[], None]) -> None:
        """Do the work, and say when it begins and ends."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            work()
        finally:
            self._tell("READY=1")

    def stopping(self) -> None:
        """Say that the daemon stops."""
        self._tell("STOPPING=1")

    def _alive(self, now: float) -> None:
        self._tell("WATCHDOG=1")
        self._loop.at(now + self._patience / 2, self._alive)  # half, as sd_watchdog_enabled(3) says

    def _tell(self, *lines: str) -> None:
        if not self._target:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto("\n".join(lines).encode(), self._target)
            except OSError as error:
                log.debug("nobody hears %s: %s", lines[0], error)
