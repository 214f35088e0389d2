"""Write requests: who may bring which file (RFC 1350 4)."""

from __future__ import annotations

import math
from typing import Protocol

from pybootd.config.options.files import TftpConfig
from pybootd.core.bounded_map import Holdings
from pybootd.core.events import EndCause, FileProblem, TransferOutcome
from pybootd.core.workers import Later, TaskResult
from pybootd.files.source import FileError, get_result
from pybootd.files.uploads import Uploads
from pybootd.system import sockets
from pybootd.tftp.context import TftpContext, TransferEnd
from pybootd.tftp.receiver import Receiver
from pybootd.tftp.tid import PeerAddress, largest_block
from pybootd.tftp.wire.netascii import NetasciiDecoder
from pybootd.tftp.wire.options import asked_size, negotiate
from pybootd.tftp.wire.packet import ErrorCode, Wrq
from pybootd.tftp.write_session import (
    MAX_UNWRITTEN_OCTETS,
    WRITE_WORKERS,
    WriteSession,
    error_code_of,
)

MAX_UPLOADS = 256
"""Uploads at a time."""
MAX_UPLOADS_PER_HOST = 64
"""Uploads at a time from one address."""


class RefuseRequest(Protocol):
    """Answers a request by an ERROR, and tells of it."""

    def __call__(
        self,
        arrival: sockets.ReceivedDatagram,
        name: str,
        code: ErrorCode,
        why: str,
        problem: FileProblem,
    ) -> None:
        """Name the client, the file and the cause."""


class WriteServer:
    """Takes write requests: checks them on a worker, then makes a ``WriteSession`` for each."""

    def __init__(self, context: TftpContext, refuse: RefuseRequest) -> None:
        self._context = context
        self._refuse = refuse
        self._uploads: dict[PeerAddress, WriteSession] = {}
        self._holdings: Holdings[str, PeerAddress] = Holdings()
        self._checking: dict[PeerAddress, bytes] = {}  # the request that a worker checks

    def begin_upload(
        self,
        packet: Wrq,
        arrival: sockets.ReceivedDatagram,
        now: float,
        folder: Uploads,
        config: TftpConfig,
    ) -> None:
        """Begin an upload, or refuse it."""
        peer, name = (arrival.address, arrival.port), packet.name
        if packet.mode not in ("octet", "netascii"):
            why = f"mode {packet.mode[:20]!r} is not served"
            self._refuse(arrival, name, ErrorCode.ILLEGAL_OPERATION, why, FileProblem.BAD_REQUEST)
            return
        if self._is_same_upload(peer, arrival.data, now):
            return
        size = asked_size(packet.options)
        if size is not None and size > folder.largest:
            why = f"{size} octets are more than upload_size allows, {folder.largest}"
            self._refuse(arrival, name, ErrorCode.DISK_FULL, why, FileProblem.NO_SPACE)
            return
        self._make_room_for_upload(peer[0], now)
        self._checking[peer] = arrival.data
        self._holdings.add_item(peer[0], peer)

        def checked(outcome: TaskResult[str], now: float) -> None:
            if self._checking.get(peer) is not arrival.data:
                return  # it began again, or the daemon ends
            del self._checking[peer]
            self._holdings.discard_item(peer[0], peer)
            try:
                clean = get_result(outcome)
                upload = self._make_write_session(packet, arrival, size, clean, folder, config)
            except FileError as error:
                self._refuse(arrival, name, error_code_of(error), str(error), error.problem)
            except OSError as error:
                why = f"no socket for it: {error.strerror or error}"
                self._refuse(arrival, name, ErrorCode.UNDEFINED, why, FileProblem.BUSY)
            else:
                self._uploads[peer] = upload
                self._holdings.add_item(peer[0], peer)
                upload.start_upload(now)

        self._context.loop.run_in_worker(
            Later(lambda: folder.check_name(name), "uploads", WRITE_WORKERS, peer[0]), checked
        )

    def _is_same_upload(self, peer: PeerAddress, data: bytes, now: float) -> bool:
        """Tell a request sent twice; one that begins again ends the earlier upload."""
        if self._checking.get(peer) == data:
            return True
        if self._checking.pop(peer, None) is not None:
            self._holdings.discard_item(peer[0], peer)
        upload = self._uploads.get(peer)
        if upload is not None:
            if upload.request == data and upload.never_answered:
                return True
            upload.end_upload(TransferEnd(TransferOutcome.ABORTED, EndCause.ASKED_AGAIN), now)
        return False

    def _make_room_for_upload(self, host: str, now: float) -> None:
        """Have an upload give way where there are too many: one of the host that has most.

        Of those it is the one that has been silent for longest.
        """
        own = self._holdings.items_of(host)
        if len(own) >= MAX_UPLOADS_PER_HOST:
            giving = own
        elif len(self._holdings) >= MAX_UPLOADS:
            giving = self._holdings.largest()
        else:
            return
        self._end_for_room(min(giving, key=self._upload_silent_since), now)

    def _upload_silent_since(self, peer: PeerAddress) -> float:
        upload = self._uploads.get(peer)
        return -math.inf if upload is None else upload.last_progress

    def _end_for_room(self, peer: PeerAddress, now: float) -> None:
        upload = self._uploads.get(peer)
        if upload is not None:
            upload.end_upload(TransferEnd(TransferOutcome.TIMEOUT, EndCause.TOO_MANY), now)
        else:
            self._checking.pop(peer, None)
            self._holdings.discard_item(peer[0], peer)

    def _make_write_session(
        self,
        packet: Wrq,
        arrival: sockets.ReceivedDatagram,
        size: int | None,
        name: str,
        folder: Uploads,
        config: TftpConfig,
    ) -> WriteSession:
        wire = self._context.ports.open_socket((arrival.address, arrival.port), arrival.local)
        largest = config.blocksize
        if not config.fragments:
            largest = min(largest, largest_block(wire[0]))
        window = max(1, min(config.windowsize, MAX_UNWRITTEN_OCTETS // largest))
        terms = negotiate(packet.options, largest, window, size)
        sockets.enlarge_receive_buffer(wire[0], 2 * terms.windowsize * (terms.blocksize + 1024))
        timeout = config.timeout if terms.timeout is None else float(terms.timeout)
        receiver = Receiver(terms.blocksize, terms.windowsize, timeout, config.retries)
        netascii = NetasciiDecoder() if packet.mode == "netascii" else None
        return WriteSession(
            self._context,
            arrival,
            name,
            terms,
            receiver,
            wire,
            folder,
            netascii,
            self._forget_upload,
        )

    @property
    def uploads(self) -> list[WriteSession]:
        """The uploads that are under way."""
        return list(self._uploads.values())

    def _forget_upload(self, upload: WriteSession) -> None:
        if self._uploads.get(upload.peer) is upload:
            del self._uploads[upload.peer]
            self._holdings.discard_item(upload.peer[0], upload.peer)

    def close(self, now: float) -> None:
        """End all uploads, with an ERROR to the client."""
        self._checking.clear()
        for upload in list(self._uploads.values()):
            upload.stop_upload(now)
