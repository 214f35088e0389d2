"""Write requests: who brings which file, each over a socket of its own (RFC 1350 4)."""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import Protocol

from pybootd.config.options.files import TftpConfig
from pybootd.core.events import EndCause, EventBus, FileProblem, TransferOutcome, Uploaded
from pybootd.core.loop import Loop
from pybootd.core.workers import Later, TaskResult
from pybootd.files.source import FileError, Forbidden, Missing
from pybootd.files.uploads import Exists, NoSpace, UploadedFile, Uploads
from pybootd.system import sockets
from pybootd.tftp.receiver import Receiver, ReceiverAction
from pybootd.tftp.tid import Address, TransferPort, TransferPorts
from pybootd.tftp.wire.options import Terms, asked_size, negotiate
from pybootd.tftp.wire.packet import LARGEST, Ack, Error, ErrorCode, Opcode, Wrq, encode

log = logging.getLogger(__name__)

_MOST = 256
"""Uploads at a time."""
_CHUNK = 256 << 10
"""Octets that are written at once."""
_AHEAD = 1 << 20
"""Octets that may wait for the disk before the client is kept waiting."""
_READS = 32
_WORKERS = 4
_HEADERS = 20 + 8 + 4
_BUFFER = bytearray(LARGEST + 1)  # every upload's: a datagram is read out before the next one comes
_VIEW = memoryview(_BUFFER)


class Refuse(Protocol):
    """Answers a request by an ERROR, and tells of it."""

    def __call__(
        self,
        arrival: sockets.ReceivedDatagram,
        name: str,
        code: ErrorCode,
        why: str,
        problem: FileProblem,
    ) -> None:
        """Say to whom, of which file, why."""


def code_of(error: FileError) -> ErrorCode:
    """Return the number that TFTP has for what is wrong."""
    match error:
        case Exists():
            return ErrorCode.FILE_EXISTS
        case NoSpace():
            return ErrorCode.DISK_FULL
        case Forbidden() | Missing():
            return ErrorCode.ACCESS_VIOLATION
    return ErrorCode.UNDEFINED


class WriteServer:
    """Takes write requests: checks them on a worker, then has an ``Upload`` for each."""

    def __init__(self, loop: Loop, bus: EventBus, ports: TransferPorts, refuse: Refuse) -> None:
        self.loop = loop
        self.bus = bus
        self.ports = ports
        self._refuse = refuse
        self._uploads: dict[Address, WriteSession] = {}
        self._checked: dict[Address, bytes] = {}  # by whom, the request whose file is looked for

    def take(
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
        if self._is_double(peer, arrival.data, now):
            return
        size = asked_size(packet.options)
        if size is not None and size > folder.largest:
            why = f"{size} octets are more than upload_size allows, {folder.largest}"
            self._refuse(arrival, name, ErrorCode.DISK_FULL, why, FileProblem.NO_SPACE)
            return
        if not self._has_room(now):
            why = "too many uploads at once"
            self._refuse(arrival, name, ErrorCode.UNDEFINED, why, FileProblem.BUSY)
            return
        self._checked[peer] = arrival.data

        def checked(outcome: TaskResult[str], now: float) -> None:
            if self._checked.get(peer) is not arrival.data:
                return  # it began anew, or the daemon ends
            del self._checked[peer]
            try:
                clean = outcome.get()
                upload = self._make(packet, arrival, size, clean, folder, config)
            except FileError as error:
                self._refuse(arrival, name, code_of(error), str(error), error.problem)
            except OSError as error:
                why = f"no socket for it: {error.strerror or error}"
                self._refuse(arrival, name, ErrorCode.UNDEFINED, why, FileProblem.BUSY)
            else:
                self._uploads[peer] = upload
                upload.start(now)

        self.loop.work(Later(lambda: folder.check_name(name), "uploads", _WORKERS), checked)

    def _is_double(self, peer: Address, data: bytes, now: float) -> bool:
        """Tell a request sent twice; one that begins anew ends the earlier upload."""
        if self._checked.get(peer) == data:
            return True
        self._checked.pop(peer, None)
        upload = self._uploads.get(peer)
        if upload is not None:
            if upload.request == data and upload.unanswered:
                return True
            upload.end(TransferOutcome.ABORTED, now, EndCause.ASKED_AGAIN)
        return False

    def _has_room(self, now: float) -> bool:
        """Tell whether one more may be served; the oldest that never sent a block gives way."""
        if len(self._uploads) + len(self._checked) < _MOST:
            return True
        for upload in self._uploads.values():
            if upload.unanswered:
                upload.end(TransferOutcome.TIMEOUT, now, EndCause.TOO_MANY)
                return True
        return False

    def _make(
        self,
        packet: Wrq,
        arrival: sockets.ReceivedDatagram,
        size: int | None,
        name: str,
        folder: Uploads,
        config: TftpConfig,
    ) -> WriteSession:
        wire = self.ports.connect((arrival.address, arrival.port), arrival.local)
        largest = config.blocksize
        if not config.fragments:
            largest = max(8, min(largest, sockets.path_mtu(wire[0]) - _HEADERS))
        window = max(1, min(config.windowsize, _AHEAD // largest))
        terms = negotiate(packet.options, largest, window, size)
        sockets.enlarge_receive_buffer(wire[0], 2 * terms.windowsize * (terms.blocksize + 1024))
        timeout = config.timeout if terms.timeout is None else float(terms.timeout)
        reception = Receiver(terms.blocksize, terms.windowsize, timeout, config.retries)
        netascii = NetasciiDecoder() if packet.mode == "netascii" else None
        return WriteSession(self, arrival, name, terms, reception, wire, folder, netascii)

    def gone(self, upload: WriteSession) -> None:
        """Forget an upload that is over."""
        if self._uploads.get(upload.peer) is upload:
            del self._uploads[upload.peer]

    def close(self, now: float) -> None:
        """End all uploads, with an ERROR to the client."""
        self._checked.clear()
        for upload in list(self._uploads.values()):
            upload.stop(now)


class NetasciiDecoder:
    """Turns text as it travels into text of this system (RFC 764, RFC 1350 1)."""

    def __init__(self) -> None:
        self._cr = b""

    def decode(self, data: bytes, last: bool) -> bytes:
        """Translate the next octets; a CR at their end waits for what follows."""
        data = self._cr + data
        self._cr = b"\r" if data.endswith(b"\r") and not last else b""
        if self._cr:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r")


class WriteSession:
    """One client that brings one file."""

    def __init__(
        self,
        intake: WriteServer,
        arrival: sockets.ReceivedDatagram,
        name: str,
        terms: Terms,
        reception: Receiver,
        wire: tuple[socket.SocketType, TransferPort],
        folder: Uploads,
        netascii: NetasciiDecoder | None,
    ) -> None:
        self.peer = (arrival.address, arrival.port)
        self.request = arrival.data
        self._intake = intake
        self._loop = intake.loop
        self._name = name
        self._reception = reception
        self._first = terms.oack or encode(Ack(0))
        self._longest = terms.blocksize + 4
        self._sock, self._port = wire
        self._folder = folder
        self._netascii = netascii
        self._file: UploadedFile | None = None
        self._waiting = bytearray()  # for the disk
        self._writing = False
        self._withheld = False  # an answer is due when the disk has caught up
        self._octets = 0
        self._began = 0.0
        self._kept = False  # the file is whole and has its name
        self._over = False

    @property
    def unanswered(self) -> bool:
        """Whether the client has sent no block yet."""
        return self._reception.unanswered

    def start(self, now: float) -> None:
        """Say that the client may send."""
        self._began = now
        self._reception.start(now)
        self._loop.watch(self._sock, self._readable)
        self._send(self._first)
        self._timer = self._loop.at(self._reception.due, self._check)

    # what arrives

    def _readable(self, now: float) -> None:
        for _ in range(_READS):
            try:
                octets = self._sock.recv_into(_BUFFER)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionRefusedError:
                self.end(TransferOutcome.ABORTED, now, EndCause.PORT_CLOSED)
                return
            except OSError as error:
                log.debug("tftp %s: %s", self.peer[0], error)
                return
            self._arrived(octets, now)
            if self._over:
                return

    def _arrived(self, octets: int, now: float) -> None:
        opcode = _BUFFER[0] << 8 | _BUFFER[1]
        if octets < 4:
            return
        if opcode == Opcode.ERROR:
            said = bytes(_VIEW[4:octets]).partition(b"\0")[0].decode("utf-8", "replace")
            self.end(TransferOutcome.ABORTED, now, EndCause.CLIENT_ERROR, said)
        elif opcode == Opcode.DATA and octets > self._longest:
            self._fail(ErrorCode.ILLEGAL_OPERATION, "a block is longer than agreed", now, None)
        elif opcode == Opcode.DATA:
            do = self._reception.data(_BUFFER[2] << 8 | _BUFFER[3], octets - 4, now)
            if ReceiverAction.STORE in do:
                self._store(bytes(_VIEW[4:octets]), now)
            if ReceiverAction.ANSWER in do and not self._over:
                self._answer()

    def _store(self, data: bytes, now: float) -> None:
        last = self._reception.complete
        if self._netascii is not None:
            data = self._netascii.decode(data, last)
        self._octets += len(data)
        if self._octets > self._folder.largest:
            why = f"larger than upload_size allows, {self._folder.largest} octets"
            self._fail(ErrorCode.DISK_FULL, why, now, FileProblem.NO_SPACE)
            return
        self._waiting += data
        if last or len(self._waiting) >= _CHUNK:
            self._write()

    # what is written

    def _write(self) -> None:
        """Have a worker write what waits, one call after the other."""
        if self._writing:
            return
        self._writing = True
        data, last = bytes(self._waiting), self._reception.complete
        self._waiting.clear()

        def write() -> bool:
            if self._file is None:
                self._file = self._folder.begin_file(self._name)
            self._file.append_data(data)
            if last:
                self._file.keep_file()
            return last

        self._loop.work(Later(write, "uploads", _WORKERS), self._written)

    def _written(self, outcome: TaskResult[bool], now: float) -> None:
        self._writing = False
        if self._over:
            self._drop(kept=outcome.error is None and outcome.value is True)
            return
        try:
            self._kept = outcome.get()
        except FileError as error:
            self._fail(code_of(error), str(error), now, error.problem)
            return
        self._reception.busy(now)
        if self._kept:
            self._file = None
            self._publish(TransferOutcome.DONE, now)
            self._send(encode(Ack(self._reception.received & 0xFFFF)))
            # RFC 1350 6: the last ACK may get lost, so the last block may come once more
            self._timer.cancel()
            self._timer = self._loop.at(now + self._reception.patience, self._dallied)
            return
        if self._withheld:
            self._answer()
        if self._reception.complete or len(self._waiting) >= _CHUNK:
            self._write()

    def _drop(self, kept: bool = False) -> None:
        file, self._file = self._file, None
        if file is not None and not kept:
            self._loop.work(
                Later(file.discard_file, "uploads", _WORKERS), lambda outcome, now: None
            )

    # what leaves

    def _answer(self) -> None:
        """Acknowledge what came, unless the disk lags behind: the last block when it is kept."""
        reception = self._reception
        if reception.complete and not self._kept:
            return
        self._withheld = self._writing and len(self._waiting) > _AHEAD
        if not self._withheld:
            number = reception.received
            self._send(encode(Ack(number & 0xFFFF)) if number else self._first)

    def _send(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # a loss like any other
            self._sock.send(packet)

    def _check(self, now: float) -> None:
        if self._writing:
            self._reception.busy(now)
        do = self._reception.late(now)
        if ReceiverAction.END in do:
            self.end(TransferOutcome.TIMEOUT, now)
            return
        if ReceiverAction.ANSWER in do:
            self._answer()
        self._timer = self._loop.at(self._reception.due, self._check)

    # how it ends

    def _dallied(self, now: float) -> None:
        self.end(TransferOutcome.DONE, now)

    def _fail(self, code: ErrorCode, why: str, now: float, problem: FileProblem | None) -> None:
        """End the upload; ``problem`` None: the client broke the protocol."""
        self._send(encode(Error(code, why.replace("\0", "?")[:400])))
        cause = EndCause.FILE if problem else EndCause.PROTOCOL
        self.end(TransferOutcome.FAILED, now, cause, why, problem)

    def stop(self, now: float) -> None:
        """End the upload because the daemon ends, and tell the client."""
        if not self._kept:
            self._send(encode(Error(ErrorCode.UNDEFINED, "the server stops")))
            if self._file is not None:  # no worker is waited for
                self._file.remove_unfinished_name()
        self.end(TransferOutcome.STOPPED, now)

    def end(
        self,
        outcome: TransferOutcome,
        now: float,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
        problem: FileProblem | None = None,
    ) -> None:
        """Give everything back, what is not whole is gone; harmless the second time."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        self._intake.ports.release(self._port, self.peer, now, self._sock)
        if not self._kept:
            if not self._writing:  # else when that is done
                self._drop()
            self._publish(outcome, now, cause, reason, problem)
        self._intake.gone(self)

    def _publish(
        self,
        outcome: TransferOutcome,
        now: float,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
        problem: FileProblem | None = None,
    ) -> None:
        self._intake.bus.publish(
            Uploaded(
                protocol="tftp",
                peer=self.peer[0],
                name=self._name,
                octets=self._octets,
                seconds=now - self._began,
                retransmissions=self._reception.retransmissions,
                outcome=outcome,
                reason=reason,
                cause=cause,
                problem=problem,
            )
        )
