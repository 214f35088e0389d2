"""The HTTP transfers of a capture, as the events that a server would have published.

Only as much of HTTP as tells a boot: which file was asked for, the status, how much of it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from pybootd.commands.replay.dissect import Segment
from pybootd.core import events
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.events import EndCause, EventBus, FileProblem, TransferOutcome

_FIN, _SYN, _RST = 1, 2, 4
_REQUEST = re.compile(rb"(GET|HEAD) (\S{1,4096}) HTTP/1\.[01]\r?\n")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r\n", re.IGNORECASE)
_MAX_HEAD = 16_384  # octets of a head that are kept
_MAX_CONNECTIONS = 4096
_PROBLEMS = {
    404: FileProblem.NOT_FOUND,
    401: FileProblem.NO_PERMISSION,
    403: FileProblem.NO_PERMISSION,
}

_Key = tuple[object, ...]


@dataclass(slots=True)
class _HttpTransfer:
    """One answer under way."""

    name: str
    is_head: bool
    began: float
    status: int = 0
    size: int | None = None
    octets: int = 0

    def read_progress(self) -> tuple[int, int]:
        """Count the octets that came; TCP tells of no blocks that came again."""
        return self.octets, 0


@dataclass(slots=True)
class _HttpConnection:
    """One TCP connection: what was asked for and not answered yet, and the answer under way."""

    peer: str
    asked: list[_HttpTransfer] = field(default_factory=list)
    head: bytes = b""  # of the next answer, while it comes
    sequence: int | None = None  # the server's next octet


class HttpPlayer:
    """Publishes what the TCP segments of a capture tell."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._connections: BoundedMap[_Key, _HttpConnection] = BoundedMap(_MAX_CONNECTIONS)

    def play_segment(self, one: Segment) -> None:
        """Take one segment, of whatever TCP connection."""
        client = (one.source, one.source_port, one.target, one.target_port)
        server = (one.target, one.target_port, one.source, one.source_port)
        if server in self._connections:
            self._play_server(server, one)
        elif client in self._connections or _REQUEST.match(one.data):
            self._play_client(client, one)

    def _play_client(self, key: _Key, one: Segment) -> None:
        connection = self._connections.get(key)
        if connection is None:
            connection = self._connections[key] = _HttpConnection(str(one.source))
        for method, target in _REQUEST.findall(one.data):
            name = _name_target(target)
            if name is not None:
                connection.asked.append(_HttpTransfer(name, method == b"HEAD", one.when))
        if one.flags & (_RST | _FIN):
            self._end_connection(key, connection, one, TransferOutcome.ABORTED)

    def _play_server(self, key: _Key, one: Segment) -> None:
        connection = self._connections[key]
        if one.flags & _SYN:
            return
        if one.length and (connection.sequence is None or _is_new(connection.sequence, one)):
            connection.sequence = (one.sequence + one.length) & 0xFFFFFFFF
            self._take_octets(connection, one)
        if one.flags & (_RST | _FIN):
            self._end_connection(key, connection, one, TransferOutcome.FAILED)

    def _take_octets(self, connection: _HttpConnection, one: Segment) -> None:
        """Count what comes; a head may begin in the segment that ends the body before it."""
        data, left = one.data, one.length
        while left > 0 and connection.asked:
            transfer = connection.asked[0]
            if not transfer.status:
                connection.head += data[: _MAX_HEAD - len(connection.head)]
                end = connection.head.find(b"\r\n\r\n")
                if end < 0:
                    return
                body = len(connection.head) - end - 4
                left -= len(data) - body
                data = data[len(data) - body :] if body else b""
                self._begin_transfer(connection, transfer, connection.head[: end + 4])
                connection.head = b""
                continue
            room = left if transfer.size is None else transfer.size - transfer.octets
            taken = min(left, max(room, 0))
            transfer.octets += taken
            left -= taken
            data = data[taken:]
            if transfer.size is not None and transfer.octets >= transfer.size:
                self._end_transfer(connection, one.when, TransferOutcome.DONE)

    def _begin_transfer(
        self, connection: _HttpConnection, transfer: _HttpTransfer, head: bytes
    ) -> None:
        status = _STATUS.match(head)
        length = _LENGTH.search(head)
        if status is None:  # not HTTP after all
            connection.asked.clear()
            return
        transfer.status = int(status[1])
        transfer.size = int(length[1]) if length else None
        if transfer.status >= 400:
            missing = transfer.status == 404
            problem = _PROBLEMS.get(transfer.status, FileProblem.ORIGIN_STATUS)
            self._bus.publish(
                events.TransferRefused(
                    "http",
                    connection.peer,
                    transfer.name,
                    f"HTTP status {transfer.status}",
                    missing,
                    unavailable=transfer.status >= 500,
                    problem=problem,
                )
            )
        elif transfer.status in (200, 206):
            self._bus.publish(
                events.TransferStarted(
                    "http",
                    connection.peer,
                    transfer.name,
                    transfer.name,
                    transfer.size,
                    progress=transfer.read_progress,
                )
            )
        if transfer.is_head or transfer.status in (204, 304) or transfer.status < 200:
            transfer.size = 0  # RFC 9112 6.3: no body follows

    def _end_transfer(
        self, connection: _HttpConnection, now: float, outcome: TransferOutcome
    ) -> None:
        transfer = connection.asked.pop(0)
        if transfer.status not in (200, 206):
            return
        if transfer.is_head and outcome is TransferOutcome.DONE:
            outcome = TransferOutcome.PROBED
        self._bus.publish(
            events.TransferEnded(
                "http",
                connection.peer,
                transfer.name,
                transfer.name,
                transfer.octets,
                now - transfer.began,
                0,
                outcome,
                cause=EndCause.PARTIAL if transfer.status == 206 else EndCause.NONE,
                progress=transfer.read_progress,
            )
        )

    def _end_connection(
        self, key: _Key, connection: _HttpConnection, one: Segment, outcome: TransferOutcome
    ) -> None:
        """End what is under way; without an announced length, the server's end is the file's."""
        if connection.asked and connection.asked[0].status:
            transfer = connection.asked[0]
            if transfer.size is None and outcome is TransferOutcome.FAILED and one.flags & _FIN:
                outcome = TransferOutcome.DONE
            self._end_transfer(connection, one.when, outcome)
        if one.flags & _RST or outcome is not TransferOutcome.ABORTED:
            self._connections.pop(key, None)


def _is_new(expected: int, one: Segment) -> bool:
    """Tell whether a segment's last octet is beyond what has come."""
    return 0 < ((one.sequence + one.length - expected) & 0xFFFFFFFF) < 1 << 31


def _name_target(target: bytes) -> str | None:
    """Return the name that a request target stands for, as filters see it."""
    text = target.decode("ascii", "replace")
    if "://" in text:
        text = "/" + text.partition("://")[2].partition("/")[2]
    if not text.startswith("/"):
        return None
    return unquote(text.partition("?")[0], errors="surrogateescape").removeprefix("/") or "/"
