"""The TFTP server: the listening port, and who is being sent what (RFC 1350, 1123 4.2.3)."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections import deque
from functools import lru_cache
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from pybootd.config.options.files import TftpConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import (
    EndCause,
    EventBus,
    FileProblem,
    Malformed,
    TransferOutcome,
    TransferRefused,
    TransferStarted,
)
from pybootd.core.loop import Loop
from pybootd.core.rate_limit import REMIND_S, RateLimit, once_per
from pybootd.core.workers import Later, TaskResult
from pybootd.files.source import (
    FileError,
    FileOpener,
    FileRequest,
    Forbidden,
    Missing,
    OpenedFile,
    StaticBody,
    Unavailable,
)
from pybootd.files.source import StreamBody as Stream
from pybootd.system import sockets
from pybootd.tftp.blocks import Blocks, Cache, Held, NetasciiEncoder, Shared
from pybootd.tftp.read_session import ReadSession, TftpContext, TftpRequest
from pybootd.tftp.sender import Sender, WindowedSender
from pybootd.tftp.tid import Address, TransferPort, TransferPorts
from pybootd.tftp.wire.options import Terms, negotiate
from pybootd.tftp.wire.packet import (
    Error,
    ErrorCode,
    Opcode,
    Rrq,
    TftpPacketError,
    Wrq,
    decode,
    encode,
)

if TYPE_CHECKING:
    from pybootd.files.uploads import Uploads
    from pybootd.tftp.write_session import WriteServer

log = logging.getLogger(__name__)

BURST_S = 10
"""Seconds' worth of requests that may come at once: a rack that powers on behind one address."""

_LONGEST = 2048
"""Octets that a request may have; RFC 2347 says 512."""
_DRAINED = 16
"""Requests taken in one turn of the loop, so that running transfers go on between them."""
_MOST = 8192
"""Transfers at a time: requests that nobody means cost bounded memory."""
_UNANSWERED = 4096
"""Transfers whose clients have acknowledged nothing yet."""
_HEADERS = 20 + 8 + 4
"""Octets of the IP, UDP and TFTP headers before a block."""
_RECEIVE_BUFFER = 4 << 20
_WRQ = Opcode.WRQ.to_bytes(2)
_ERROR = Opcode.ERROR.to_bytes(2)


_address = lru_cache(1024)(IPv4Address)


class TftpServer:
    """Serves files on one address and port."""

    def __init__(
        self,
        config: TftpConfig,
        loop: Loop,
        bus: EventBus,
        clients: ClientTable,
        files: FileOpener,
        uploads: Uploads | None = None,
    ) -> None:
        self._config = config
        self._loop = loop
        self._bus = bus
        self._clients = clients
        self._files = files
        self._uploads = uploads
        self._intake: WriteServer | None = None
        self._limit = self._request_limit()
        self._reminder = once_per(REMIND_S)
        self._cache = Cache(config.cache)
        self._ports = TransferPorts(loop, config.port_range)
        self._shelf = TftpContext(loop, bus, self._ports)
        self._shelf.offload = self._shelf.offload and config.offload
        self._sessions: dict[Address, ReadSession] = {}
        self._newest: deque[TftpRequest] = deque()
        self._opening: dict[Address, TftpRequest] = {}
        self._most = 0
        self._sock: socket.socket | None = None

    def open(self) -> None:
        """Bind the port. Raises BindError."""
        config = self._config
        # a transfer takes its socket, its port's other socket, and at most one file
        self._most = min(_MOST, max(16, (sockets.raise_file_limit() - 64) // 3))
        self._sock = sockets.udp_socket(
            config.address,
            config.port,
            what="tftp",
            option="[tftp] port" if config.port else "[tftp] address",
            receive_buffer=_RECEIVE_BUFFER,
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listening().getsockname()[1])

    def start(self) -> None:
        """Take requests from now on."""
        if self._uploads is not None:
            self._uploads.remove_unfinished()
        self._loop.watch(self._listening(), self._readable)

    def reload(self, config: TftpConfig, files: FileOpener, uploads: Uploads | None = None) -> None:
        """Serve by another configuration from now on; transfers under way go on as they began."""
        if config.cache != self._config.cache:
            self._cache = Cache(config.cache)
        before, self._config = self._config, config
        if config.requests != before.requests:
            self._limit = self._request_limit()
        self._files = files
        self._uploads = uploads
        self._shelf.offload = sys.platform == "linux" and config.offload

    def close(self) -> None:
        """End all transfers with an ERROR to the client, and give the port back."""
        if self._sock is not None:
            self._loop.unwatch(self._sock)
            self._sock.close()
            self._sock = None
        self._opening.clear()
        if self._intake is not None:
            self._intake.close(self._loop.now)
        for session in list(self._sessions.values()):
            session.stop(self._loop.now)
        self._ports.close()

    def _listening(self) -> socket.socket:
        if self._sock is None:
            raise RuntimeError("the TFTP server is not open")
        return self._sock

    # requests

    def _readable(self, now: float) -> None:
        for _ in range(_DRAINED):
            arrival = sockets.receive(self._listening(), _LONGEST + 1)
            if arrival is None:
                return
            self._arrived(arrival, now)

    def _arrived(self, arrival: sockets.ReceivedDatagram, now: float) -> None:
        # RFC 1123 4.2.3.4: a request sent to a broadcast address is ignored silently
        if arrival.destination != arrival.local:
            log.debug("tftp %s: sent to %s", arrival.address, arrival.destination)
            return
        if self._limit is not None and not self._limit.take_token(arrival.address, now):
            self._say_too_many(arrival.address, now)
            return
        try:
            if len(arrival.data) > _LONGEST:
                raise TftpPacketError("longer than any request")
            packet = decode(arrival.data)
        except TftpPacketError as error:
            self._bus.publish(Malformed("tftp", arrival.address, str(error)))
            self._answer(arrival, ErrorCode.ILLEGAL_OPERATION, str(error))
            return
        if isinstance(packet, Rrq):
            self._read(packet, arrival, now)
        elif isinstance(packet, Wrq):
            self._write(packet, arrival, now)
        else:
            what = f"{type(packet).__name__.upper()} is no request"
            self._answer(arrival, ErrorCode.ILLEGAL_OPERATION, what)

    def _write(self, packet: Wrq, arrival: sockets.ReceivedDatagram, now: float) -> None:
        if self._uploads is None:
            why = "writes are refused"
            problem = FileProblem.UPLOADS_REFUSED
            self._refuse(arrival, packet.name, ErrorCode.ACCESS_VIOLATION, why, problem)
            return
        if self._intake is None:
            from pybootd.tftp.write_session import (
                WriteServer,  # its buffers are for those who need them
            )

            self._intake = WriteServer(self._loop, self._bus, self._ports, self._refuse)
        self._intake.take(packet, arrival, now, self._uploads, self._config)

    def _read(self, packet: Rrq, arrival: sockets.ReceivedDatagram, now: float) -> None:
        if packet.mode not in ("octet", "netascii"):
            why = f"mode {packet.mode[:20]!r} is not served"
            problem = FileProblem.BAD_REQUEST
            self._refuse(arrival, packet.name, ErrorCode.ILLEGAL_OPERATION, why, problem)
            return
        peer = (arrival.address, arrival.port)
        if self._is_double(peer, arrival.data, now):
            return
        if len(self._sessions) + len(self._opening) >= self._most:
            why = "too many transfers"
            self._refuse(arrival, packet.name, ErrorCode.UNDEFINED, why, FileProblem.BUSY)
            return
        known = self._clients.by_address(_address(arrival.address)) if self._clients else None
        request = FileRequest(packet.name, arrival.address, arrival.local, known)
        try:
            opened = self._files.open(request)
        except FileError as error:
            self._fail(arrival, packet.name, error)
            return
        asked = TftpRequest(peer, arrival.local, arrival.interface, arrival.data, packet.name, now)
        if isinstance(opened, OpenedFile):
            self._begin(asked, packet, opened, arrival, now)
        else:
            self._open_later(asked, packet, opened, arrival)

    def _is_double(self, peer: Address, data: bytes, now: float) -> bool:
        """Tell a request sent twice; one that begins anew ends the earlier transfer."""
        opening = self._opening.get(peer)
        if opening is not None:
            if opening.data == data:
                return True
            del self._opening[peer]
        session = self._sessions.get(peer)
        if session is not None:
            # RFC 1123 4.2.3.1 in spirit: a request that is still unanswered came once more
            transfer = session.transfer
            if session.asked.data == data and transfer.unanswered and not transfer.silent:
                return True
            session.end(TransferOutcome.ABORTED, now, EndCause.ASKED_AGAIN)
        return False

    def _open_later(
        self,
        asked: TftpRequest,
        packet: Rrq,
        later: Later[OpenedFile],
        arrival: sockets.ReceivedDatagram,
    ) -> None:
        self._opening[asked.peer] = asked

        def done(outcome: TaskResult[OpenedFile], now: float) -> None:
            wanted = self._opening.get(asked.peer) is asked
            if wanted:
                del self._opening[asked.peer]
            try:
                opened = outcome.get()
            except FileError as error:
                if wanted:
                    self._fail(arrival, packet.name, error)
                return
            if wanted:
                self._begin(asked, packet, opened, arrival, now)
            else:
                opened.body.close()

        self._loop.work(later, done)

    def _begin(
        self,
        asked: TftpRequest,
        packet: Rrq,
        opened: OpenedFile,
        arrival: sockets.ReceivedDatagram,
        now: float,
    ) -> None:
        body = opened.body
        try:
            wire = self._ports.connect(asked.peer, asked.local)
        except OSError as error:
            body.close()
            why = f"no socket for it: {error.strerror or error}"
            self._refuse(arrival, asked.name, ErrorCode.UNDEFINED, why, FileProblem.BUSY)
            return
        session = self._make(asked, packet, opened, wire)
        self._sessions[asked.peer] = session
        self._bound(asked, now)
        self._bus.publish(
            TransferStarted(
                "tftp",
                asked.peer[0],
                asked.name,
                opened.served,
                body.size,
                session.terms.blocksize,
                session.terms.windowsize,
                session.progress,
            )
        )
        session.start(now)

    def _bound(self, asked: TftpRequest, now: float) -> None:
        """End the oldest transfer of those that were never answered, if they are too many.

        A flood of requests, from forged addresses perhaps, so keeps no client out.
        """
        self._newest.append(asked)
        if len(self._newest) > _UNANSWERED:
            first = self._newest.popleft()
            oldest = self._sessions.get(first.peer)
            # the same port may have asked again since then
            if oldest is not None and oldest.asked is first and oldest.transfer.unanswered:
                oldest.end(TransferOutcome.TIMEOUT, now, EndCause.TOO_MANY)

    def _make(
        self,
        asked: TftpRequest,
        packet: Rrq,
        opened: OpenedFile,
        wire: tuple[socket.SocketType, TransferPort],
    ) -> ReadSession:
        config, body = self._config, opened.body
        largest = config.blocksize
        if not config.fragments and packet.options:
            largest = max(8, min(largest, sockets.path_mtu(wire[0]) - _HEADERS))
        if packet.mode == "netascii":
            body = NetasciiEncoder(body)
        terms = negotiate(packet.options, largest, config.windowsize, body.size)
        blocks: Blocks
        if isinstance(body, StaticBody):
            blocks = Shared(self._cache.take(body, terms.blocksize))
        elif isinstance(body, Stream):
            blocks = Held(body, terms.blocksize)
        else:
            raise TypeError(f"{type(body).__name__} is neither a StaticBody nor a StreamBody")
        transfer = self._transfer(terms, blocks.last)
        return ReadSession(
            self._shelf, asked, opened.served, blocks, terms, transfer, wire, self._gone
        )

    def _transfer(self, terms: Terms, last: int) -> Sender:
        timeout = self._config.timeout if terms.timeout is None else float(terms.timeout)
        retries, fixed = self._config.retries, terms.timeout is not None
        oack = bool(terms.granted)
        if terms.windowsize == 1:
            return Sender(last, timeout, retries, oack=oack, fixed=fixed)
        return WindowedSender(last, terms.windowsize, timeout, retries, oack=oack, fixed=fixed)

    def _gone(self, session: ReadSession) -> None:
        if self._limit is not None and not session.transfer.unanswered:
            self._limit.give_back(session.asked.peer[0])
        if self._sessions.get(session.asked.peer) is session:
            del self._sessions[session.asked.peer]

    def _request_limit(self) -> RateLimit | None:
        """Limit requests that nobody acknowledges; None: each address has as many as it likes.

        A request may bear a forged address, and what answers it goes to somebody who never asked.
        So requests are counted until the client has acknowledged something: it is who it says.
        """
        rate = self._config.requests
        return RateLimit(rate * BURST_S, rate) if rate else None

    def _say_too_many(self, address: str, now: float) -> None:
        if self._reminder.take_token(address, now):
            why = (
                f"more than {self._config.requests} requests a second came to nothing: "
                "further ones are dropped"
            )
            log.warning("tftp %s: %s ([tftp] requests)", address, why)

    # refusals

    def _fail(self, arrival: sockets.ReceivedDatagram, name: str, error: FileError) -> None:
        if isinstance(error, Missing):
            code = ErrorCode.NOT_FOUND
        elif isinstance(error, Forbidden):
            code = ErrorCode.ACCESS_VIOLATION
        else:
            code = ErrorCode.UNDEFINED
        self._refuse(arrival, name, code, str(error), error.problem, error)

    def _refuse(
        self,
        arrival: sockets.ReceivedDatagram,
        name: str,
        code: ErrorCode,
        why: str,
        problem: FileProblem,
        error: FileError | None = None,
    ) -> None:
        missing, unavailable = code == ErrorCode.NOT_FOUND, isinstance(error, Unavailable)
        served, upload = error.served if error else "", arrival.data[:2] == _WRQ
        peer = arrival.address
        self._bus.publish(
            TransferRefused("tftp", peer, name, why, missing, served, unavailable, upload, problem)
        )
        self._answer(arrival, code, why)

    def _answer(self, arrival: sockets.ReceivedDatagram, code: ErrorCode, why: str) -> None:
        """Send an ERROR, unless it is one that it answers (RFC 1350 7)."""
        if arrival.data[:2] == _ERROR or self._sock is None:
            return
        error = encode(Error(code, why.replace("\0", "?")[:400]))
        with contextlib.suppress(OSError, OverflowError):
            sockets.send(self._sock, error, (arrival.address, arrival.port), 0, arrival.local)
