"""One client that brings a file over its own socket: blocks in, ACKs out, octets to disk."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable

from pybootd.core.events import EndCause, FileProblem, TransferOutcome, Uploaded
from pybootd.core.workers import Later, TaskResult
from pybootd.files.source import FileError, Forbidden, Missing, get_result
from pybootd.files.uploads import Exists, NoSpace, UploadedFile, Uploads
from pybootd.system import sockets
from pybootd.tftp.context import TftpContext, TransferEnd
from pybootd.tftp.receiver import Receiver, ReceiverAction
from pybootd.tftp.tid import TransferPort
from pybootd.tftp.wire.netascii import NetasciiDecoder
from pybootd.tftp.wire.options import Terms
from pybootd.tftp.wire.packet import LARGEST, Ack, ErrorCode, Opcode, encode, error_packet

log = logging.getLogger(__name__)

WRITE_OCTETS = 256 << 10
"""Octets that are written at once."""
MAX_UNWRITTEN_OCTETS = 1 << 20
"""Octets that may wait for the disk before the client is kept waiting."""
WRITE_WORKERS = 4
"""Threads that check, write and remove what clients bring."""
MAX_READS = 32
"""Datagrams that one client is read in one turn of the loop."""
_BUFFER = bytearray(LARGEST + 1)  # every upload's: a datagram is read out before the next one comes
_VIEW = memoryview(_BUFFER)


def error_code_of(error: FileError) -> ErrorCode:
    """Return the number that TFTP has for what is wrong."""
    match error:
        case Exists():
            return ErrorCode.FILE_EXISTS
        case NoSpace():
            return ErrorCode.DISK_FULL
        case Forbidden() | Missing():
            return ErrorCode.ACCESS_VIOLATION
    return ErrorCode.UNDEFINED


class WriteSession:
    """One client that brings one file. ``on_end`` is called once, when it is over."""

    def __init__(
        self,
        context: TftpContext,
        arrival: sockets.ReceivedDatagram,
        name: str,
        terms: Terms,
        receiver: Receiver,
        wire: tuple[socket.SocketType, TransferPort],
        folder: Uploads,
        netascii: NetasciiDecoder | None,
        on_end: Callable[[WriteSession], None],
    ) -> None:
        self.peer = (arrival.address, arrival.port)
        self.request = arrival.data
        self._context = context
        self._loop = context.loop
        self._on_end = on_end
        self._name = name
        self._receiver = receiver
        self._first_answer = terms.oack or encode(Ack(0))
        self._max_packet = terms.blocksize + 4
        self._sock, self._port = wire
        self._folder = folder
        self._netascii = netascii
        self._file: UploadedFile | None = None
        self._unwritten = bytearray()  # for the disk
        self._writing = False
        self._ack_due = False  # an answer is due when the disk has caught up
        self._octets = 0
        self._began = 0.0
        self._kept = False  # the file is whole and has its name
        self._ended = False

    @property
    def writing(self) -> bool:
        """Whether a worker writes to disk now."""
        return self._writing

    @property
    def last_progress(self) -> float:
        """When the client sent something new, or we were what was waited for."""
        return self._receiver.last_progress

    @property
    def never_answered(self) -> bool:
        """Whether the client has sent no block yet."""
        return self._receiver.never_answered

    def start_upload(self, now: float) -> None:
        """Say that the client may send."""
        self._began = now
        self._receiver.start_waiting(now)
        self._loop.watch(self._sock, self._read_blocks)
        self._send_packet(self._first_answer)
        self._timer = self._loop.call_at(self._receiver.check_at, self._check_upload)

    # what arrives

    def _read_blocks(self, now: float) -> None:
        for _ in range(MAX_READS):
            try:
                octets = self._sock.recv_into(_BUFFER)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionRefusedError:
                self.end_upload(TransferEnd(TransferOutcome.ABORTED, EndCause.PORT_CLOSED), now)
                return
            except OSError as error:
                log.debug("tftp %s: %s", self.peer[0], error)
                return
            self._handle_block(octets, now)
            if self._ended:
                return

    def _handle_block(self, octets: int, now: float) -> None:
        opcode = _BUFFER[0] << 8 | _BUFFER[1]
        if octets < 4:
            return
        if opcode == Opcode.ERROR:
            said = bytes(_VIEW[4:octets]).partition(b"\0")[0].decode("utf-8", "replace")
            self.end_upload(TransferEnd(TransferOutcome.ABORTED, EndCause.CLIENT_ERROR, said), now)
        elif opcode == Opcode.DATA and octets > self._max_packet:
            self._fail_upload(
                ErrorCode.ILLEGAL_OPERATION, "a block is longer than agreed", now, None
            )
        elif opcode == Opcode.DATA:
            action = self._receiver.handle_data(_BUFFER[2] << 8 | _BUFFER[3], octets - 4, now)
            if ReceiverAction.STORE in action:
                self._store_block(bytes(_VIEW[4:octets]), now)
            if ReceiverAction.ACKNOWLEDGE in action and not self._ended:
                self._acknowledge()

    def _store_block(self, data: bytes, now: float) -> None:
        last = self._receiver.complete
        if self._netascii is not None:
            data = self._netascii.decode_piece(data, last=last)
        self._octets += len(data)
        if self._octets > self._folder.largest:
            why = f"larger than upload_size allows, {self._folder.largest} octets"
            self._fail_upload(ErrorCode.DISK_FULL, why, now, FileProblem.NO_SPACE)
            return
        self._unwritten += data
        if last or len(self._unwritten) >= WRITE_OCTETS:
            self._write_out()

    # what is written

    def _write_out(self) -> None:
        """Have a worker write what waits, one call after the other."""
        if self._writing:
            return
        self._writing = True
        data, last = bytes(self._unwritten), self._receiver.complete
        self._unwritten.clear()

        def write() -> bool:
            if self._file is None:
                self._file = self._folder.begin_file(self._name)
            self._file.append_data(data)
            if last:
                self._file.keep_file()
            return last

        self._loop.run_in_worker(
            Later(write, "uploads", WRITE_WORKERS, self.peer[0]), self._note_written
        )

    def _note_written(self, outcome: TaskResult[bool], now: float) -> None:
        self._writing = False
        if self._ended:
            self._drop_file(kept=outcome.error is None and outcome.value is True)
            return
        try:
            self._kept = get_result(outcome)
        except FileError as error:
            self._fail_upload(error_code_of(error), str(error), now, error.problem)
            return
        self._receiver.note_busy(now)
        if self._kept:
            self._file = None
            self._publish_end(TransferEnd(TransferOutcome.DONE), now)
            self._send_packet(encode(Ack(self._receiver.received & 0xFFFF)))
            # RFC 1350 6: the last ACK may get lost, so the last block may come once more
            self._timer.cancel()
            self._timer = self._loop.call_at(
                now + self._receiver.first_patience, self._end_dallying
            )
            return
        if self._ack_due:
            self._acknowledge()
        if self._receiver.complete or len(self._unwritten) >= WRITE_OCTETS:
            self._write_out()

    def _drop_file(self, kept: bool = False) -> None:
        file, self._file = self._file, None
        if file is not None and not kept:
            self._loop.run_in_worker(
                Later(file.discard_file, "uploads", WRITE_WORKERS), lambda outcome, now: None
            )

    # what leaves

    def _acknowledge(self) -> None:
        """Acknowledge what came, unless the disk lags behind: the last block when it is kept."""
        receiver = self._receiver
        if receiver.complete and not self._kept:
            return
        self._ack_due = self._writing and len(self._unwritten) > MAX_UNWRITTEN_OCTETS
        if not self._ack_due:
            number = receiver.received
            self._send_packet(encode(Ack(number & 0xFFFF)) if number else self._first_answer)

    def _send_packet(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # a loss like any other
            self._sock.send(packet)

    def _check_upload(self, now: float) -> None:
        if self._writing:
            self._receiver.note_busy(now)
        action = self._receiver.check_data_timeout(now)
        if ReceiverAction.GIVE_UP in action:
            self.end_upload(TransferEnd(TransferOutcome.TIMEOUT), now)
            return
        if ReceiverAction.ACKNOWLEDGE in action:
            self._acknowledge()
        self._timer = self._loop.call_at(self._receiver.check_at, self._check_upload)

    # how it ends

    def _end_dallying(self, now: float) -> None:
        self.end_upload(TransferEnd(TransferOutcome.DONE), now)

    def _fail_upload(
        self, code: ErrorCode, why: str, now: float, problem: FileProblem | None
    ) -> None:
        """End the upload; ``problem`` None: the client broke the protocol."""
        self._send_packet(error_packet(code, why))
        cause = EndCause.FILE if problem else EndCause.PROTOCOL
        self.end_upload(TransferEnd(TransferOutcome.FAILED, cause, why, problem), now)

    def stop_upload(self, now: float) -> None:
        """End the upload because the daemon ends, and tell the client."""
        if not self._kept:
            self._send_packet(error_packet(ErrorCode.UNDEFINED, "the server stops"))
            if self._file is not None:  # no worker is waited for
                self._file.remove_unfinished_name()
        self.end_upload(TransferEnd(TransferOutcome.STOPPED), now)

    def end_upload(self, end: TransferEnd, now: float) -> None:
        """Give everything back, what is not whole is gone; harmless the second time."""
        if self._ended:
            return
        self._ended = True
        self._timer.cancel()
        self._context.ports.release_port(self._port, self.peer, now, self._sock)
        if not self._kept:
            if not self._writing:  # else when that is done
                self._drop_file()
            self._publish_end(end, now)
        self._on_end(self)

    def _publish_end(self, end: TransferEnd, now: float) -> None:
        self._context.bus.publish(
            Uploaded(
                protocol="tftp",
                peer=self.peer[0],
                name=self._name,
                octets=self._octets,
                seconds=now - self._began,
                retransmissions=self._receiver.retransmissions,
                outcome=end.outcome,
                reason=end.reason,
                cause=end.cause,
                problem=end.problem,
            )
        )
