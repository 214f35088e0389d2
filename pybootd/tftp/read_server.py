"""Read requests: who is sent which file, each over its own socket (RFC 1350 4)."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address
from itertools import islice
from typing import Protocol

from pybootd.config.options.files import TftpConfig
from pybootd.core.bounded_map import Holdings
from pybootd.core.client import KnownClient
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EndCause, FileProblem, TransferOutcome, TransferStarted
from pybootd.core.workers import Later, TaskResult
from pybootd.files.source import (
    FileError,
    FileOpener,
    FileRequest,
    Forbidden,
    Missing,
    OpenedFile,
    StaticBody,
    StreamBody,
    get_result,
)
from pybootd.system import sockets
from pybootd.tftp.blocks import (
    BlockCache,
    BlockSource,
    CachedBlocks,
    NetasciiStream,
    StreamBlocks,
)
from pybootd.tftp.context import TftpContext, TftpRequest, TransferEnd
from pybootd.tftp.read_session import ReadSession
from pybootd.tftp.sender import Sender, WindowedSender
from pybootd.tftp.tid import PeerAddress, TransferPort, largest_block
from pybootd.tftp.wire.options import Terms, negotiate
from pybootd.tftp.wire.packet import ErrorCode, Rrq

MAX_SHARE = 2
"""One address may have the transfers of all, divided by this."""
LARGE_SHARE = 8
"""An address has many transfers that has more than those of all, divided by this."""
MAX_CANDIDATES = 256
"""Transfers that are looked at when one has to give way: a flood makes that often."""
MIN_SILENCE_S = 5.0
"""Seconds of silence after which a transfer gives way where no address has many."""
MAX_UNANSWERED = 4096
"""Transfers whose clients have acknowledged nothing yet."""

_parse_address = lru_cache(1024)(ip_address)


class RefuseRead(Protocol):
    """Answers a request by an ERROR, and tells of it."""

    def __call__(
        self,
        arrival: sockets.ReceivedDatagram,
        name: str,
        code: ErrorCode,
        why: str,
        problem: FileProblem,
        error: FileError | None = None,
    ) -> None:
        """Name the client, the file and the cause."""


def _error_code_of(error: FileError) -> ErrorCode:
    """Return the number that TFTP has for why a file can't be read."""
    if isinstance(error, Missing):
        return ErrorCode.NOT_FOUND
    if isinstance(error, Forbidden):
        return ErrorCode.ACCESS_VIOLATION
    return ErrorCode.UNDEFINED


class ReadServer:
    """Takes read requests: opens the file, then makes a ``ReadSession`` for each.

    ``on_acknowledged`` is called with the address of each client that acknowledged something, at
    the end of its transfer. ``max_transfers`` bounds how many there are at a time.
    """

    def __init__(
        self,
        context: TftpContext,
        config: TftpConfig,
        clients: ClientTable,
        files: FileOpener,
        refuse: RefuseRead,
        on_acknowledged: Callable[[str], None],
    ) -> None:
        self.max_transfers = 0
        self._context = context
        self._config = config
        self._clients = clients
        self._files = files
        self._refuse = refuse
        self._on_acknowledged = on_acknowledged
        self._cache = BlockCache(config.cache)
        self._sessions: dict[PeerAddress, ReadSession] = {}
        self._holdings: Holdings[str, PeerAddress] = Holdings()
        self._unanswered: deque[TftpRequest] = deque()  # the newest last; some are answered by now
        self._opening: dict[PeerAddress, TftpRequest] = {}

    @property
    def transfers(self) -> int:
        """How many files are being sent or opened."""
        return len(self._holdings)

    @property
    def sessions(self) -> list[ReadSession]:
        """The transfers that are under way."""
        return list(self._sessions.values())

    def reload(self, config: TftpConfig, files: FileOpener) -> None:
        """Serve by another configuration from now on; transfers under way go on as they began."""
        if config.cache != self._config.cache:
            self._cache = BlockCache(config.cache)
        self._config = config
        self._files = files

    def close(self, now: float) -> None:
        """End all transfers with an ERROR to the client."""
        for peer in list(self._opening):
            self._forget_opening(peer)
        for session in list(self._sessions.values()):
            session.stop_transfer(now)

    def begin_download(self, packet: Rrq, arrival: sockets.ReceivedDatagram, now: float) -> None:
        """Begin a transfer, or refuse it."""
        if packet.mode not in ("octet", "netascii"):
            why = f"mode {packet.mode[:20]!r} is not served"
            problem = FileProblem.BAD_REQUEST
            self._refuse(arrival, packet.name, ErrorCode.ILLEGAL_OPERATION, why, problem)
            return
        peer = (arrival.address, arrival.port)
        if self._is_same_download(peer, arrival.data, now):
            return
        if not self._make_room_for_download(peer[0], now):
            why = "too many transfers"
            self._refuse(arrival, packet.name, ErrorCode.UNDEFINED, why, FileProblem.BUSY)
            return
        known = (
            self._clients.find_by_address(_parse_address(arrival.address))
            if self._clients
            else None
        )
        wanted = FileRequest(packet.name, arrival.address, arrival.local, known)
        try:
            opened = self._files.open(wanted)
        except FileError as error:
            self._refuse_file(arrival, packet.name, error)
            return
        request = TftpRequest(
            peer, arrival.local, arrival.interface, arrival.data, packet.name, now, known
        )
        if isinstance(opened, OpenedFile):
            self._begin_transfer(request, packet, opened, arrival, now)
        else:
            self._open_on_worker(request, packet, opened, arrival)

    def _is_same_download(self, peer: PeerAddress, data: bytes, now: float) -> bool:
        """Tell a request sent twice; one that begins again ends the earlier transfer."""
        opening = self._opening.get(peer)
        if opening is not None:
            if opening.data == data:
                return True
            self._forget_opening(peer)
        session = self._sessions.get(peer)
        if session is not None:
            # RFC 1123 4.2.3.1 in spirit: a request that is still unanswered came once more
            sender = session.sender
            if (
                session.request.data == data
                and sender.never_answered
                and not sender.awaits_first_ack
            ):
                return True
            session.end_transfer(TransferEnd(TransferOutcome.ABORTED, EndCause.ASKED_AGAIN), now)
        return False

    def _refuse_file(self, arrival: sockets.ReceivedDatagram, name: str, error: FileError) -> None:
        self._refuse(arrival, name, _error_code_of(error), str(error), error.problem, error)

    def _open_on_worker(
        self,
        request: TftpRequest,
        packet: Rrq,
        later: Later[OpenedFile],
        arrival: sockets.ReceivedDatagram,
    ) -> None:
        self._opening[request.peer] = request
        self._holdings.add_item(request.peer[0], request.peer)

        def done(outcome: TaskResult[OpenedFile], now: float) -> None:
            wanted = self._opening.get(request.peer) is request
            if wanted:
                self._forget_opening(request.peer)
            try:
                opened = get_result(outcome)
            except FileError as error:
                if wanted:
                    self._refuse_file(arrival, packet.name, error)
                return
            if wanted:
                self._begin_transfer(request, packet, opened, arrival, now)
            else:
                opened.body.close()

        self._context.loop.run_in_worker(later, done)

    def _begin_transfer(
        self,
        request: TftpRequest,
        packet: Rrq,
        opened: OpenedFile,
        arrival: sockets.ReceivedDatagram,
        now: float,
    ) -> None:
        body = opened.body
        try:
            proven = request.known is not None
            wire = self._context.ports.open_socket(request.peer, request.local, proven=proven)
        except OSError as error:
            body.close()
            why = f"no socket for it: {error.strerror or error}"
            self._refuse(arrival, request.name, ErrorCode.UNDEFINED, why, FileProblem.BUSY)
            return
        session = self._make_read_session(request, packet, opened, wire)
        self._sessions[request.peer] = session
        self._holdings.add_item(request.peer[0], request.peer)
        self._bound_unanswered(request, now)
        self._context.bus.publish(
            TransferStarted(
                "tftp",
                request.peer[0],
                request.name,
                opened.served,
                body.size,
                session.terms.blocksize,
                session.terms.windowsize,
                session.count_progress,
            )
        )
        session.start_transfer(now)

    def _bound_unanswered(self, request: TftpRequest, now: float) -> None:
        """End the oldest transfer of those that were never answered, if they are too many.

        A flood of requests, from forged addresses perhaps, so keeps no client out.
        """
        self._unanswered.append(request)
        if len(self._unanswered) > MAX_UNANSWERED:
            first = self._unanswered.popleft()
            oldest = self._sessions.get(first.peer)
            # the same port may have asked again since then
            if oldest is not None and oldest.request is first and oldest.sender.never_answered:
                oldest.end_transfer(TransferEnd(TransferOutcome.TIMEOUT, EndCause.TOO_MANY), now)

    def _make_read_session(
        self,
        request: TftpRequest,
        packet: Rrq,
        opened: OpenedFile,
        wire: tuple[socket.SocketType, TransferPort],
    ) -> ReadSession:
        config, body = self._config, opened.body
        largest = config.blocksize
        if not config.fragments and packet.options:
            largest = min(largest, largest_block(wire[0]))
        if packet.mode == "netascii":
            body = NetasciiStream(body)
        window, bound = config.windowsize, self._context.bound
        if bound.is_needed and request.known is None:
            window = min(window, bound.max_window)
        terms = negotiate(packet.options, largest, window, body.size)
        blocks: BlockSource
        if isinstance(body, StaticBody):
            blocks = CachedBlocks(self._cache.acquire_file(body, terms.blocksize))
        elif isinstance(body, StreamBody):
            blocks = StreamBlocks(body, terms.blocksize)
        else:
            raise TypeError(f"{type(body).__name__} is neither a StaticBody nor a StreamBody")
        sender = self._make_sender(terms, blocks.last_block, request.known)
        return ReadSession(
            self._context, request, opened.served, blocks, terms, sender, wire, self._forget_session
        )

    def _make_sender(self, terms: Terms, last_block: int, known: KnownClient | None) -> Sender:
        timeout = self._config.timeout if terms.timeout is None else float(terms.timeout)
        # a block that comes twice can end the boot of a Raspberry Pi's firmware, so it is sent
        # nothing again before the whole timeout is over
        fixed = terms.timeout is not None or (known is not None and known.is_pi)
        retries = self._config.retries
        oack = bool(terms.granted)
        if terms.windowsize == 1:
            return Sender(last_block, timeout, retries, oack=oack, fixed=fixed)
        return WindowedSender(
            last_block, terms.windowsize, timeout, retries, oack=oack, fixed=fixed
        )

    def _forget_session(self, session: ReadSession) -> None:
        if not session.sender.never_answered:
            self._on_acknowledged(session.request.peer[0])
        if self._sessions.get(session.request.peer) is session:
            del self._sessions[session.request.peer]
            self._holdings.discard_item(session.request.peer[0], session.request.peer)

    def _forget_opening(self, peer: PeerAddress) -> None:
        del self._opening[peer]
        self._holdings.discard_item(peer[0], peer)

    # who gives way

    def _make_room_for_download(self, host: str, now: float) -> bool:
        """Have a transfer give way where there are too many; False: one more can't be served."""
        own = self._holdings.items_of(host)
        if len(own) >= max(1, self.max_transfers // MAX_SHARE):
            self._let_give_way(self._most_silent_of(own), now)
        elif len(self._holdings) >= self.max_transfers:
            peer = self._choose_who_gives_way(now)
            if peer is None:
                return False
            self._let_give_way(peer, now)
        return True

    def _choose_who_gives_way(self, now: float) -> PeerAddress | None:
        """Choose one of the host that has most; where none has many, one that never answered.

        Of several it is the one that has been silent for longest, and one that is not silent gives
        way only where its host has many.
        """
        largest = self._holdings.largest()
        if len(largest) > max(1, self.max_transfers // LARGE_SHARE):
            return self._most_silent_of(largest)
        while self._unanswered:
            request = self._unanswered[0]
            session = self._sessions.get(request.peer)
            if session and session.request is request and session.sender.never_answered:
                return request.peer
            self._unanswered.popleft()  # it was answered
        peer = self._most_silent_of(self._sessions or self._opening)
        return peer if now - self._download_silent_since(peer) >= MIN_SILENCE_S else None

    def _most_silent_of(self, peers: Iterable[PeerAddress]) -> PeerAddress:
        """Name the one that has been silent for longest, of the oldest MAX_CANDIDATES."""
        return min(islice(peers, MAX_CANDIDATES), key=self._download_silent_since)

    def _download_silent_since(self, peer: PeerAddress) -> float:
        session = self._sessions.get(peer)
        return self._opening[peer].began if session is None else session.sender.silent_since

    def _let_give_way(self, peer: PeerAddress, now: float) -> None:
        session = self._sessions.get(peer)
        if session is not None:
            session.end_transfer(TransferEnd(TransferOutcome.TIMEOUT, EndCause.TOO_MANY), now)
        else:
            self._forget_opening(peer)
