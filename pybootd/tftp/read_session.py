"""One transfer's socket: what arrives goes to the transfer, what it decides leaves."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pybootd.core.events import (
    EndCause,
    EventBus,
    FileProblem,
    TransferEnded,
    TransferOutcome,
)
from pybootd.core.loop import Loop
from pybootd.files.source import FileError
from pybootd.system import sockets
from pybootd.tftp.blocks import Blocks, Buffer, Shared
from pybootd.tftp.sender import DONE, GONE, Sender
from pybootd.tftp.tid import Address, TransferPort, TransferPorts
from pybootd.tftp.wire.options import Terms
from pybootd.tftp.wire.packet import Error, ErrorCode, Opcode, TftpPacketError, decode, encode

log = logging.getLogger(__name__)

_LONGEST = 160
"""Octets that are read of a datagram: an ACK has four, an ERROR's text is for the log."""
_ACK = Opcode.ACK.to_bytes(2)

_MOST_READS = 16
_PAUSE = 0.002
"""Seconds between the bursts of a window that a client can't take at a stretch."""
_LOOK = 0.1
"""Seconds after which a transfer is looked at, at the latest: what is late may come earlier than
it once seemed, and nothing on the way moves the timer."""
_QUIET = _LOOK / 2
"""Seconds without a new ACK after which it is looked what else may have come."""

# udp(7): one send is cut into datagrams of equal length by the system or the network card
_SOL_UDP, _UDP_SEGMENT = 17, 103
_MOST_SEGMENTS, _MOST_OCTETS = 64, 65507
_LEAST_BLOCK = 512  # octets: shorter ones would cut the OACK as well
_HEADERS = 20 + 8  # octets of IP and UDP
_NO_OFFLOAD = frozenset((errno.EMSGSIZE, errno.EINVAL, errno.EIO))


@dataclass(slots=True)
class TftpContext:
    """What all sessions of one server share."""

    loop: Loop
    bus: EventBus
    ports: TransferPorts
    offload: bool = sys.platform == "linux"
    without_offload: set[int] = field(default_factory=set)
    """Numbers of the interfaces that were seen to refuse it."""
    outbox: list[tuple[ReadSession, Buffer]] = field(default_factory=list)

    def flush(self, now: float) -> None:
        """Send what was posted; what can't leave is a loss like any other."""
        write = os.write
        for session, packet in self.outbox:
            try:
                write(session.descriptor, packet)
            except OSError as error:
                log.debug("tftp: a packet could not leave: %s", error)
        self.outbox.clear()


class TftpRequest(NamedTuple):
    """A read request: from whom, to which own address, on which interface, when; and its bytes."""

    peer: Address
    local: str
    interface: int
    data: bytes
    name: str
    began: float


class ReadSession:
    """One client that is being sent one file. ``gone`` is called once, when it is over.

    ``descriptor`` is its socket's, -1 once that is closed.
    """

    __slots__ = (
        "_acks",
        "_awaited",
        "_blocks",
        "_drained",
        "_first",
        "_flush",
        "_gone",
        "_lockstep",
        "_many",
        "_outbox",
        "_packets",
        "_pausing",
        "_port",
        "_shared",
        "_shelf",
        "_sock",
        "_soon",
        "_step",
        "_stride",
        "_timer",
        "_waiting",
        "asked",
        "descriptor",
        "served",
        "terms",
        "transfer",
    )

    def __init__(
        self,
        shelf: TftpContext,
        asked: TftpRequest,
        served: str,
        blocks: Blocks,
        terms: Terms,
        transfer: Sender,
        wire: tuple[socket.SocketType, TransferPort],
        gone: Callable[[ReadSession], None],
    ) -> None:
        self.asked = asked
        self.served = served
        self.transfer = transfer
        self._shelf = shelf
        self._blocks = blocks
        self.terms = terms
        self._sock, self._port = wire
        self._gone: Callable[[ReadSession], None] | None = gone
        self._step = 1  # packets in one system call
        self._stride = terms.blocksize + 4
        self._pausing = False  # the window's rest leaves in a moment
        self._waiting = False  # the source will call
        self.descriptor = self._sock.fileno()
        # looked up once: these run for every block
        self._outbox, self._soon, self._flush = shelf.outbox, shelf.loop.soon, shelf.flush
        self._drained = 0.0  # when the transfer had last moved when all was read
        # where packets are at hand: of a file, singly or (once that was seen to work) as windows
        self._awaited = b""  # the ACK that sends the next packet, in lockstep
        self._first = 0
        self._packets: Sequence[Buffer] = ()
        self._acks: Sequence[bytes] = ()
        self._many: Callable[[int, int], Buffer | None] | None = None
        self._shared = blocks if isinstance(blocks, Shared) else None
        self._lockstep = self._shared if terms.windowsize == 1 else None

    def start(self, now: float) -> None:
        """Send the first packet and listen."""
        readable = self._readable if self._lockstep is None else self._step_on
        self._shelf.loop.watch(self._sock, readable, once=True)
        if self.terms.windowsize > 1:
            self._use_offload()
        self._timer = self._shelf.loop.at(now + _LOOK, self._check)
        self._dispatch(self.transfer.start(now), now)

    def _use_offload(self) -> None:
        step = min(_MOST_SEGMENTS, _MOST_OCTETS // self._stride)
        shelf = self._shelf
        if not shelf.offload or step < 2 or self.asked.interface in shelf.without_offload:
            return
        if self.terms.blocksize < _LEAST_BLOCK:
            return
        if self._stride + _HEADERS > sockets.path_mtu(
            self._sock
        ):  # what is to be fragmented isn't cut
            return
        with contextlib.suppress(OSError):  # a system that has none sends packet by packet
            self._sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, self._stride)
            self._step = step

    # what arrives

    def _step_on(self, now: float) -> None:
        """Take the ACK that is due and send the next block: what nearly all of them are.

        Whatever else has come, and whatever else is to be done, is for ``_readable``.
        """
        try:
            data = os.read(self.descriptor, _LONGEST)
        except OSError as error:
            self._unreadable(error, now)
            return
        transfer = self.transfer
        if data == self._awaited:
            base = transfer.base = transfer.base + 1
            if not transfer.calm:
                transfer.heard(now)
            transfer.moved = now
            try:
                index = base - self._first
                packet, self._awaited = self._packets[index], self._acks[index]
            except IndexError:
                self._dispatch(1 if base <= transfer.last else DONE, now)
                return
            outbox = self._outbox
            if not outbox:
                self._soon(self._flush)
            outbox.append((self, packet))
        elif self._take(data, now):
            self._readable(now)

    def _readable(self, now: float) -> None:
        """Read up to an ACK of all that was sent; behind it there can hardly be anything yet."""
        for _ in range(_MOST_READS):
            try:
                data = os.read(self.descriptor, _LONGEST)
            except OSError as error:
                self._unreadable(error, now)
                return
            if not self._take(data, now):
                return
        self._shelf.loop.soon(self._readable)  # others want to be served as well

    def _take(self, data: bytes, now: float) -> bool:
        """Take a datagram; tell whether there may be one more that matters."""
        if len(data) < 4 or data[:2] != _ACK:
            self._other(data, now)
            return self._gone is not None
        count = self.transfer.acknowledge(data[2] << 8 | data[3], now)
        if not count:
            return True
        self._answer(count, now)
        return self._gone is not None and self.transfer.partial

    def _answer(self, count: int, now: float) -> None:
        """Send a window: in one piece where it lies so, else with all that may happen."""
        if 0 < count <= self._step and self._many is not None:
            packets = self._many(self.transfer.base, count)
            if packets is not None:
                self._post(packets)
                if count < self.terms.windowsize and self.transfer.unsent:
                    self._pause()
                return
        self._dispatch(count, now)

    def _other(self, data: bytes, now: float) -> None:
        """Take what is no ACK. Nothing but an ERROR means anything (RFC 1350 5)."""
        try:
            packet = decode(data)
        except TftpPacketError as error:
            log.debug("tftp %s: %s", self.asked.peer[0], error)
            return
        if isinstance(packet, Error):
            probed = self.terms.probing and self.transfer.unanswered
            outcome = TransferOutcome.PROBED if probed else TransferOutcome.ABORTED
            said = packet.message or f"error {packet.code}"
            self.end(outcome, now, EndCause.CLIENT_ERROR, said)

    def _unreadable(self, error: OSError, now: float) -> None:
        """Take an ICMP error: a closed port ends the transfer, anything else may pass."""
        if isinstance(error, BlockingIOError | InterruptedError):
            return
        if not isinstance(error, ConnectionRefusedError):
            log.debug("tftp %s: %s", self.asked.peer[0], error)
        elif self.transfer.complete:  # its last ACK got lost, most likely
            self.end(TransferOutcome.DONE, now)
        else:
            self.end(TransferOutcome.ABORTED, now, EndCause.PORT_CLOSED)

    # what leaves

    def _post(self, packet: Buffer) -> None:
        """Send a packet when everything that came in this turn has been read.

        One behind the other, packets find their receivers awake, which costs a quarter less.
        """
        if not self._outbox:
            self._soon(self._flush)
        self._outbox.append((self, packet))

    def _hand_out(self, blocks: Shared, now: float) -> None:
        """Send the block that is due in lockstep, and have those behind it at hand."""
        base = self.transfer.base
        try:
            self._first, self._packets, self._acks = blocks.at_hand(base)
        except FileError as error:
            self.fail(error, now)
            return
        self._awaited = self._acks[base - self._first]
        self._post(self._packets[base - self._first])

    def _dispatch(self, count: int, now: float) -> None:
        """Do what the transfer decided: send so many blocks, or end."""
        transfer = self.transfer
        if count == DONE:
            self.end(TransferOutcome.DONE, now)
            return
        if count == GONE:
            cause = EndCause.LAST_ACK_MISSING if transfer.complete else EndCause.NONE
            self.end(TransferOutcome.TIMEOUT, now, cause)
            return
        self._blocks.acknowledged(transfer.base)
        first = transfer.first
        if first == 0:
            self._awaited = _ACK + bytes(2)
            self._post(self.terms.oack)
            return
        if self._lockstep is not None:
            self._hand_out(self._lockstep, now)
            return
        try:
            sent = self._send_blocks(first, count)
        except FileError as error:
            self.fail(error, now)
            return
        transfer.last = self._blocks.last
        if sent < count:
            self._short(first + sent)
        elif transfer.unsent:
            self._pause()

    def _send_blocks(self, first: int, count: int) -> int:
        """Send blocks; return how many left, fewer where the source or the system has no more."""
        self.transfer.starved = False
        sent = 0
        while sent < count:
            pieces = self._blocks.run(first + sent, min(self._step, count - sent))
            if not pieces:
                self.transfer.starved = first + sent <= self._blocks.last
                break
            try:
                if len(pieces) == 1:
                    os.write(self.descriptor, pieces[0])
                else:
                    self._sock.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if self._step > 1 and error.errno in _NO_OFFLOAD:
                    self._drop_offload(error)
                    continue
                # a loss; if it was a closed port, the next receive tells so again
                log.debug("tftp %s: %s", self.asked.peer[0], error)
            sent += sum(-(-len(piece) // self._stride) for piece in pieces)
        if self._step > 1 and self._shared is not None:
            self._many = self._shared.stretch
        return sent

    def _drop_offload(self, error: OSError) -> None:
        log.debug("tftp %s: sending packet by packet: %s", self.asked.peer[0], error)
        self._sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
        self._shelf.without_offload.add(self.asked.interface)
        self._step = 1
        self._many = None

    def _short(self, block: int) -> None:
        """Send the blocks from this one on when the source has them, or the system has room."""
        transfer = self.transfer
        if block > transfer.last:
            return
        transfer.withhold(block)
        if not transfer.starved:
            self._pause()
        elif not self._waiting:
            self._waiting = True
            self._blocks.when_ready(self._ready)

    def _pause(self) -> None:
        if not self._pausing:
            self._pausing = True
            self._shelf.loop.after(_PAUSE, self._paused)

    def _paused(self, now: float) -> None:
        self._pausing = False
        self._go_on(now)

    def _ready(self, now: float) -> None:
        self._waiting = False
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        if self._gone is None:
            return
        count = self.transfer.more(now)
        if count > 0:
            self._dispatch(count, now)

    def _check(self, now: float) -> None:
        """Look whether something is late: the only timer, which nothing on the way re-arms."""
        moved = self.transfer.moved
        if moved != self._drained and (now - moved > _QUIET or now >= self.transfer.due):
            # what came behind an ACK has not been read yet
            self._drained = moved
            self._readable(now)
        count = self.transfer.late(now) if self._gone is not None else 0
        if count:
            self._dispatch(count, now)
        if self._gone is not None:
            look = min(self.transfer.due, now + _LOOK)
            self._timer = self._shelf.loop.at(look, self._check)

    # how it ends

    def fail(self, error: FileError, now: float) -> None:
        """End the transfer because of its file, and tell the client."""
        why = str(error)
        self._tell(why)
        self.end(TransferOutcome.FAILED, now, EndCause.FILE, why, error.problem)

    def stop(self, now: float) -> None:
        """End the transfer because the daemon ends, and tell the client."""
        self._tell("the server stops")
        self.end(TransferOutcome.STOPPED, now)

    def _tell(self, why: str) -> None:
        with contextlib.suppress(OSError):
            if self._step > 1:  # an ERROR is one datagram, however long
                self._sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
            self._sock.send(encode(Error(ErrorCode.UNDEFINED, why.replace("\0", "?")[:400])))

    def end(
        self,
        outcome: TransferOutcome,
        now: float,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
        problem: FileProblem | None = None,
    ) -> None:
        """Give everything back and say how it went; harmless the second time."""
        gone, self._gone = self._gone, None
        if gone is None:
            return
        self._timer.cancel()
        self.descriptor = -1
        # with nothing of it on its way, in either direction, the socket may serve another client
        clean = (
            outcome is TransferOutcome.DONE
            and self._step == 1
            and not self.transfer.retransmissions
        )
        local = self.asked.local if clean else None
        self._shelf.ports.release(self._port, self.asked.peer, now, self._sock, local)
        self._blocks.close()
        self._shelf.bus.publish(
            TransferEnded(
                protocol="tftp",
                peer=self.asked.peer[0],
                requested=self.asked.name,
                served=self.served,
                sent=self._acknowledged(),
                seconds=now - self.asked.began,
                retransmissions=self.transfer.retransmissions,
                outcome=outcome,
                reason=reason,
                cause=cause,
                problem=problem,
                progress=self.progress,
            )
        )
        gone(self)

    def progress(self) -> tuple[int, int]:
        """Count the file's octets that have arrived, and the blocks sent again."""
        return self._acknowledged(), self.transfer.retransmissions

    def _acknowledged(self) -> int:
        """Count the file's octets that have arrived."""
        octets = max(0, self.transfer.base - 1) * self.terms.blocksize
        size = self._blocks.size
        return octets if size is None else min(octets, size)
