"""Where the log goes and how a line looks: file, syslog, stderr; text or JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import socket
import sys
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from pybootd.config.options.service import LoggerConfig
from pybootd.core.client import Client, IPAddress
from pybootd.core.text import make_printable
from pybootd.observe.log.throttle import Throttle

log = logging.getLogger("pybootd")

# no line names the code, thread or process that wrote it: then a record costs half as much (the
# logging HOWTO, "Optimization")
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

_SYSLOG_SOCKETS = ("/dev/log", "/var/run/syslog")
_DAEMON = 3 << 3
MAX_HELD_LINES = 1000
_SEVERITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}

Fact = Client | IPAddress | Enum | str | float | None
"""What a line says besides its message, for JSON."""


class LogError(Exception):
    """The log can't be opened; the text says why and what to do."""


def open_log(config: LoggerConfig, debug: bool = False) -> logging.Handler:
    """Send the package's log where the configuration says; replaces an earlier one."""
    handler = _open_handler(config)
    handler.setFormatter(JsonLines() if config.format == "json" else TextLines(config.type, debug))
    if not debug and config.level != "debug":
        handler.addFilter(Throttle())
    held: list[logging.LogRecord] = []
    for earlier in log.handlers[:]:
        log.removeHandler(earlier)
        if isinstance(earlier, HeldLines):
            held, earlier.records = earlier.records, []
        earlier.close()
    log.addHandler(handler)
    for record in held:
        handler.handle(record)
    log.propagate = False
    log.setLevel(logging.DEBUG if debug else config.level.upper())
    logging.raiseExceptions = False  # a log disk that is full must not fill stderr with tracebacks
    return handler


def hold_log(config: LoggerConfig, debug: bool = False) -> None:
    """Keep the lines of the log until ``open_log``; lines that nobody takes go to stderr.

    A log file is opened by the user that owns it, which root becomes once ports are bound.
    """
    handler = HeldLines()
    handler.setFormatter(TextLines("stderr", debug))
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG if debug else config.level.upper())


def close_log() -> None:
    """Close the log; what it holds still is written to stderr."""
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()


def _open_handler(config: LoggerConfig) -> logging.Handler:
    if config.type == "none":
        return logging.NullHandler()
    if config.type == "file" and config.file is not None:
        try:
            return LogFile(config.file, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            problem = f"the log file {config.file} can't be opened: {error.strerror}"
            raise LogError(f"{problem}: change [logger] file") from error
    if config.type == "syslog":
        for path in _SYSLOG_SOCKETS:
            with contextlib.suppress(OSError):
                return Syslog(path)
        raise LogError(f"no syslog listens at {_SYSLOG_SOCKETS[0]}: change [logger] type")
    return logging.StreamHandler(sys.stderr)


class HeldLines(logging.Handler):
    """Lines that wait for the log to be opened, at most MAX_HELD_LINES of them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        if len(self.records) < MAX_HELD_LINES:
            self.records.append(record)

    def close(self) -> None:
        """Write to stderr what no log took."""
        for record in self.records:
            sys.stderr.write(f"{self.format(record)}\n")
        self.records = []
        super().close()


class LogFile(logging.handlers.WatchedFileHandler):
    """A log file that is opened again when it was moved away; looks for that once a second.

    Where no new one can be made, for want of rights or of its folder, the old one goes on.
    """

    _looked = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        second = int(record.created)
        if second != self._looked:
            self._looked = second
            self.reopenIfNeeded()
        stream = self.stream
        try:
            if stream is not None:  # None once closed
                stream.write(f"{self.format(record)}\n")
                stream.flush()
        except Exception:  # as every handler
            self.handleError(record)

    def reopenIfNeeded(self) -> None:  # noqa: N802
        """Look whether the file at the path is still the one that is written to."""
        try:
            status = Path(self.baseFilename).stat()
            if (status.st_dev, status.st_ino) == (self.dev, self.ino):
                return
        except OSError:
            pass
        with contextlib.suppress(OSError):
            earlier, self.stream = self.stream, self._open()
            self._statstream()
            if earlier is not None:
                earlier.close()  # last, for on a full disk it fails


class Syslog(logging.Handler):
    """Lines to the system's log (RFC 3164 4.1, facility daemon).

    Where it doesn't listen or doesn't read, lines are lost and nobody waits. Raises OSError when
    it can't be reached at first.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._socket = self._connect()

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line, to a new socket where the old one's other end is gone."""
        severity = _SEVERITIES.get(record.levelno, 7)
        text = f"<{_DAEMON | severity}>pybootd[{os.getpid()}]: {self.format(record)}"
        line = text.encode(errors="backslashreplace")
        try:
            self._socket.send(line)
        except BlockingIOError:
            pass
        except OSError:
            with contextlib.suppress(OSError):
                fresh = self._connect()
                self._socket.close()
                self._socket = fresh
                self._socket.send(line)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
        super().close()


class TextLines(logging.Formatter):
    """One line a record: time, level, message; syslog adds the time by itself."""

    def __init__(self, target: str, debug: bool) -> None:
        stamp = "" if target == "syslog" else "%(asctime)s "
        super().__init__(f"{stamp}%(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._debug = debug
        self._stamped = bool(stamp)
        self._second, self._stamp = 0, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Write the time, worked out once for all records of a second."""
        second = int(record.created)
        if second != self._second:
            self._second, self._stamp = second, super().formatTime(record, datefmt)
        return self._stamp

    def format(self, record: logging.LogRecord) -> str:
        """Make the line from the record, in fewer steps where it has no traceback."""
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        stamp = f"{self.formatTime(record, self.datefmt)} " if self._stamped else ""
        return f"{stamp}{record.levelname:<7} {make_printable(record.getMessage())}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Make the line from the record, control characters escaped."""
        record.message = make_printable(record.message)
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time`` (ISO 8601), ``level``, ``message``, and the event's own."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line from the record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created)
            .astimezone()
            .isoformat("T", "milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line.update(format_facts(getattr(record, "facts", {})))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def format_facts(facts: Mapping[str, Fact]) -> dict[str, str | float]:
    """Write an event's facts as JSON has them."""
    known: dict[str, str | float] = {}
    for name, value in facts.items():
        if isinstance(value, Client):
            known["mac"] = value.name
            if value.uuid is not None:
                known["uuid"] = str(value.uuid)
        elif isinstance(value, Enum):
            if value.value:
                known[name] = str(value.value)
        elif value is not None and value != "":
            known[name] = value if isinstance(value, int | float) else str(value)
    return known
