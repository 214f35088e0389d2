"""The log: where it goes, how a line looks, and which line each event is worth."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from pybootd.config.options.service import LoggerConfig
from pybootd.core import events
from pybootd.core.architecture import architecture_name
from pybootd.core.client import Client, IPAddress
from pybootd.core.events import EndCause, EventBus, TransferOutcome
from pybootd.core.text import make_printable
from pybootd.observe.log.throttle import Throttle
from pybootd.observe.wording import describe_conflict, describe_outcome

log = logging.getLogger("pybootd")

# what the boot loaders of Raspberry Pis try and mostly don't find (their documentation)
_TRIED = frozenset(
    (
        *("bootsig.bin", "autoboot.txt", "tryboot.txt", "bootcfg.txt", "bootconf.sig"),
        *("recovery.elf", "recover4.elf", "pieeprom.upd", "pieeprom.sig", "vl805.sig"),
        *("dt-blob.bin", "armstub8.bin"),
    )
)

# no line names the code, thread or process that wrote it: then a record costs half as much (the
# logging HOWTO, "Optimization")
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

_SYSLOG_SOCKETS = ("/dev/log", "/var/run/syslog")
_DAEMON = 3 << 3
MAX_HELD_LINES = 1000
_REFUSALS = 200  # lines in a minute on what one peer was refused; firmware has ten misses in a boot
_PEERS = 10_000
_ENDS = {
    TransferOutcome.DONE: logging.INFO,
    TransferOutcome.ABORTED: logging.INFO,
    TransferOutcome.PROBED: logging.DEBUG,
    TransferOutcome.TIMEOUT: logging.WARNING,
    TransferOutcome.FAILED: logging.WARNING,
    TransferOutcome.STOPPED: logging.DEBUG,
}
_SEVERITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}


class LogError(Exception):
    """The log can't be opened; the text says why and what to do."""


def open_log(config: LoggerConfig, debug: bool = False) -> logging.Handler:
    """Send the package's log where the configuration says; replaces an earlier one."""
    handler = _handler(config)
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

    A log file is opened by the user to whom it belongs, which root becomes once ports are bound.
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


def _handler(config: LoggerConfig) -> logging.Handler:
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
    """A log file that is begun anew when it was moved away; looks for that once a second.

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
                anew = self._connect()
                self._socket.close()
                self._socket = anew
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
        line.update(_plain(getattr(record, "facts", {})))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class EventLog:
    """Writes one line for each event that a person wants to know of."""

    def __init__(self, bus: EventBus) -> None:
        bus.subscribe(events.Offered, self._offered)
        bus.subscribe(events.ChoseAnother, self._chose_another)
        bus.subscribe(events.Confirmed, self._confirmed)
        bus.subscribe(events.Released, self._released)
        bus.subscribe(events.Refused, self._refused)
        bus.subscribe(events.Advice, self._advice)
        bus.subscribe(events.ModeChosen, self._mode)
        bus.subscribe(events.AddressConflict, self._conflict)
        bus.subscribe(events.TransferStarted, self._started)
        bus.subscribe(events.TransferEnded, self._ended)
        bus.subscribe(events.TransferRefused, self._transfer_refused)
        bus.subscribe(events.Uploaded, self._uploaded)
        bus.subscribe(events.Malformed, self._malformed)
        self._minute = 0
        self._refusals: Counter[str] = Counter()  # by peer, in this minute

    def _offered(self, event: events.Offered) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        client, address = event.client, event.address
        offered = f"a boot file, {event.boot_file}" if event.proxy else address
        _say(logging.DEBUG, f"dhcp {client.name} offered {offered}", client=client, ip=address)

    def _chose_another(self, event: events.ChoseAnother) -> None:
        message = f"dhcp {event.client.name} took the offer of {event.server or 'another server'}"
        _say(logging.DEBUG, message, client=event.client)

    def _confirmed(self, event: events.Confirmed) -> None:
        client, address = event.client, event.address
        if not log.isEnabledFor(logging.INFO) or _full(str(address), logging.INFO):
            return
        if event.booting:
            file = event.boot_file or "no boot file"
            message = f"{client.name} boots {_kind(client)}: {address}, {file}"
        else:
            name = f" ({client.hostname})" if client.hostname else ""
            message = f"{client.name}{name} has {address}"
        _say(logging.INFO, message, client=client, ip=address, file=event.boot_file)

    def _released(self, event: events.Released) -> None:
        client, address = event.client, event.address
        _say(logging.INFO, f"{client.name} released {address}", client=client, ip=address)

    def _refused(self, event: events.Refused) -> None:
        message = f"dhcp {event.client.name} refused: {event.reason}"
        _say(event.level, message, client=event.client, reason=event.reason, cause=event.cause)

    def _advice(self, event: events.Advice) -> None:
        _say(logging.WARNING, f"{event.client.name} {event.text}", client=event.client)

    def _mode(self, event: events.ModeChosen) -> None:
        found = f"the DHCP server {event.other} answers" if event.other else "no other DHCP server"
        _say(logging.INFO, f"{event.interface}: {found}: mode {event.mode}")

    def _conflict(self, event: events.AddressConflict) -> None:
        how = describe_conflict(event.cause, event.user.hex(":"))
        message = f"{event.address} is in use by another machine: {how}"
        _say(logging.WARNING, message, client=event.client, ip=event.address, cause=event.cause)

    def _started(self, event: events.TransferStarted) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        size = "unknown size" if event.size is None else f"{event.size} octets"
        _say(logging.DEBUG, f"{event.protocol} {event.peer} asks for {event.served}: {size}")

    def _ended(self, event: events.TransferEnded) -> None:
        # whose last ACK alone is missing has the file, and goes on
        level = logging.INFO if event.cause is EndCause.LAST_ACK_MISSING else _ENDS[event.outcome]
        if not log.isEnabledFor(level) or _full(event.peer, level):
            return
        # 0: it left within one turn of the loop, so that nothing was measured
        rate = f" ({event.sent / event.seconds / 1e6:.1f} MB/s)" if event.seconds > 0 else ""
        again = f", {event.retransmissions} sent again" if event.retransmissions else ""
        how = describe_outcome(event)
        served = "" if event.served == event.requested else f" ({event.served})"
        message = (
            f"{event.protocol} {event.peer} {event.requested}{served}: {how}, {event.sent} octets"
            f" in {event.seconds:.2f} s{rate}{again}"
        )
        _say(
            level,
            message,
            ip=event.peer,
            file=event.served,
            octets=event.sent,
            seconds=round(event.seconds, 6),
            protocol=event.protocol,
            outcome=event.outcome,
            cause=event.cause,
            problem=event.problem,
        )

    def _uploaded(self, event: events.Uploaded) -> None:
        how = describe_outcome(event)
        again = f", {event.retransmissions} answers sent again" if event.retransmissions else ""
        message = (
            f"{event.protocol} {event.peer} uploads {event.name}: {how}, {event.octets} octets"
            f" in {event.seconds:.2f} s{again}"
        )
        _say(
            _ENDS[event.outcome],
            message,
            ip=event.peer,
            file=event.name,
            octets=event.octets,
            seconds=round(event.seconds, 6),
            protocol=event.protocol,
            outcome=event.outcome,
            cause=event.cause,
            problem=event.problem,
        )

    def _transfer_refused(self, event: events.TransferRefused) -> None:
        # a miss is normal traffic: pxelinux makes ten before its default
        level = logging.INFO if event.missing else logging.WARNING
        if event.missing and event.requested.rpartition("/")[2] in _TRIED:
            level = logging.DEBUG
        level = self._moderate(event.peer, level)
        looked = f" ({event.led_to})" if event.led_to else ""
        message = f"{event.protocol} {event.peer} {event.requested}{looked}: {event.reason}"
        _say(
            level,
            message,
            ip=event.peer,
            file=event.requested,
            reason=event.reason,
            protocol=event.protocol,
            problem=event.problem,
        )

    def _malformed(self, event: events.Malformed) -> None:
        message = f"{event.protocol} {event.peer}: not understood: {event.reason}"
        _say(self._moderate(event.peer, logging.INFO), message, reason=event.reason)

    def _moderate(self, peer: str, level: int) -> int:
        """Keep one peer that sends nonsense from filling the disk."""
        minute = int(time.time() // 60)
        if minute != self._minute or len(self._refusals) > _PEERS:
            self._minute = minute
            self._refusals.clear()
        self._refusals[peer] += 1
        if self._refusals[peer] == _REFUSALS:
            log.warning("%s: refused %d times in a minute, the rest at debug", peer, _REFUSALS)
        return level if self._refusals[peer] <= _REFUSALS else logging.DEBUG


def _kind(client: Client) -> str:
    """Say what boots: its architecture, and iPXE if it is that already."""
    known = client.architecture
    name = "an unknown architecture" if known is None else architecture_name(known)
    return f"{name} (iPXE)" if client.ipxe else name


def _full(peer: str, level: int) -> bool:
    """Tell whether a line about the peer would be left out, before it is made."""
    for handler in log.handlers:
        for each in handler.filters:
            if isinstance(each, Throttle) and each.full(peer, level, time.time()):
                return True
    return False


Fact = Client | IPAddress | Enum | str | float | None


def _say(level: int, message: str, **facts: Fact) -> None:
    if not log.isEnabledFor(level):
        return
    # as log.log does, which takes as long for it as the rest for the line
    record = logging.LogRecord(log.name, level, "", 0, "%s", (message,), None)
    record.__dict__["facts"] = facts
    log.handle(record)


def _plain(facts: Mapping[str, Fact]) -> dict[str, str | float]:
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
