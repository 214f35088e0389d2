"""The real daemon as its own process, on a host of a private network."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import IO, Self

from pybootd.lab.console import Console
from pybootd.lab.network import Host, end_process


class DaemonError(Exception):
    """The daemon did not start or not end well; the text is what it said."""


class DaemonProcess:
    """``pybootd -c INI`` on a host; ready when it is bound to ``ports`` (UDP).

    What it says on stderr goes to the file ``log``.
    """

    def __init__(
        self, host: Host, ini: Path, log: Path, ports: Collection[int] = (67, 69), *options: str
    ) -> None:
        self.host = host
        self.ini = ini
        self.console = Console(log)
        self.ports = frozenset(ports)
        self.options = options
        self._process: subprocess.Popen[str] | None = None
        self._file: IO[str] | None = None

    def start(self, timeout: float = 20.0) -> None:
        """Start it and wait until it serves, ``timeout`` seconds at most. Raises DaemonError."""
        self._file = self.console.path.open("w")
        words = [sys.executable, "-m", "pybootd", "-c", str(self.ini), *self.options]
        self._process = self.host.popen(
            *words, stdout=self._file, stderr=self._file, cwd=self.ini.parent
        )
        deadline = time.monotonic() + timeout
        while not self.ports <= self.host.udp_ports():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise DaemonError(self.describe_failure(f"it did not serve within {timeout:g} s"))
            time.sleep(0.02)

    def describe_failure(self, otherwise: str) -> str:
        """Return its last line, where an error's own words stand, then everything before."""
        said = self.console.path.read_text(errors="replace").strip()
        before, _, last = said.rpartition("\n")
        return f"the daemon did not start: {last or otherwise}\n{before}".rstrip()

    def is_running(self) -> bool:
        """Tell whether its process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The daemon's process."""
        if self._process is None:
            raise DaemonError("the daemon is not running")
        return self._process.pid

    def stop(self, timeout: float = 5.0) -> int | None:
        """End it by SIGTERM; its exit status, negative when it had to be killed, None: not started.

        ``timeout`` in seconds.
        """
        process, self._process = self._process, None
        if self._file is not None:
            self._file.close()
        if process is None:
            return None
        return end_process(process, timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
