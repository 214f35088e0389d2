"""One transfer's socket: what arrives goes to the sender, what it decides leaves."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence

from pybootd.core.events import EndCause, TransferEnded, TransferOutcome
from pybootd.files.source import FileError
from pybootd.tftp.blocks import BlockSource, Buffer, CachedBlocks
from pybootd.tftp.context import TftpContext, TftpRequest, TransferEnd
from pybootd.tftp.offload import OffloadRefusedError, PacketWriter
from pybootd.tftp.sender import CLIENT_SILENT, TRANSFER_DONE, Sender
from pybootd.tftp.tid import TransferPort
from pybootd.tftp.wire.options import Terms
from pybootd.tftp.wire.packet import (
    DATA_HEADER,
    Error,
    ErrorCode,
    Opcode,
    TftpPacketError,
    decode,
    error_packet,
)

log = logging.getLogger(__name__)

READ_OCTETS = 160
"""Octets that are read of a datagram: an ACK has four, an ERROR's text is for the log."""
MAX_READS = 16
"""Datagrams that one client is read in one turn of the loop."""
BURST_PAUSE_S = 0.002
"""Seconds between the bursts of a window that a client can't take at a stretch."""
CHECK_INTERVAL_S = 0.1
"""Seconds between two checks of a transfer, at the most: nothing on the way moves the timer."""
DRAIN_AFTER_S = CHECK_INTERVAL_S / 2
"""Seconds without a new ACK after which the socket is read to its end."""
_ACK = Opcode.ACK.to_bytes(2)


class ReadSession:
    """One client that is being sent one file. ``on_end`` is called once, when it is over.

    ``descriptor`` is its socket's, -1 once that is closed.
    """

    # fmt: off
    __slots__ = (
        "_bound", "_cached_blocks",
        "_context",
        "_expected_ack",
        "_first_ready",
        "_lockstep_blocks",
        "_on_end",
        "_packet_length",
        "_pause_set",
        "_port",
        "_progress_when_drained",
        "_ready_acks",
        "_ready_packets",
        "_send_queue",
        "_send_queued",
        "_slice_packets",
        "_sock",
        "_soon",
        "_timer",
        "_waits_for_source",
        "_writer",
        "blocks",
        "descriptor",
        "request",
        "sender",
        "served",
        "terms",
    )
    # fmt: on

    def __init__(
        self,
        context: TftpContext,
        request: TftpRequest,
        served: str,
        blocks: BlockSource,
        terms: Terms,
        sender: Sender,
        wire: tuple[socket.SocketType, TransferPort],
        on_end: Callable[[ReadSession], None],
    ) -> None:
        self.request = request
        self.served = served
        self.sender = sender
        self._context = context
        self.blocks = blocks
        self.terms = terms
        self._sock, self._port = wire
        self._on_end: Callable[[ReadSession], None] | None = on_end
        self._writer = PacketWriter(self._sock, terms.blocksize + DATA_HEADER)
        # a timer will send the window's rest; the source will call
        self._pause_set = self._waits_for_source = False
        self.descriptor = self._sock.fileno()
        # looked up once: these run for every block
        self._send_queue, self._send_queued = context.send_queue, context.send_queued
        self._soon = context.loop.call_soon
        self._progress_when_drained = 0.0  # ``last_progress`` when all was read
        # where packets are at hand: of a file, singly or (once that was seen to work) as windows
        self._expected_ack = b""  # the ACK that sends the next packet, in lockstep
        self._first_ready = 0
        self._ready_packets: Sequence[Buffer] = ()
        self._ready_acks: Sequence[bytes] = ()
        self._slice_packets: Callable[[int, int], Buffer | None] | None = None
        # what leaves to an address that may be forged is counted, on the slow path
        self._bound = context.bound if context.bound.is_needed and not request.known else None
        counted = self._bound is not None
        self._cached_blocks = blocks if isinstance(blocks, CachedBlocks) and not counted else None
        self._lockstep_blocks = self._cached_blocks if terms.windowsize == 1 else None

    def start_transfer(self, now: float) -> None:
        """Send the first packet and listen."""
        readable = (
            self._read_datagrams if self._lockstep_blocks is None else self._read_lockstep_ack
        )
        context = self._context
        context.loop.watch(self._sock, readable, once=True)
        if self.terms.windowsize > 1 and context.may_offload(self.request.interface):
            self._writer.enable_offload()
        self._timer = context.loop.call_at(now + CHECK_INTERVAL_S, self._check_progress)
        self._carry_out(self.sender.send_first_packet(now), now)

    # what arrives

    def _read_lockstep_ack(self, now: float) -> None:
        """Take the ACK that is due and send the next block; the rest is for ``_read_datagrams``."""
        try:
            data = os.read(self.descriptor, READ_OCTETS)
        except OSError as error:
            self._handle_socket_error(error, now)
            return
        sender = self.sender
        if data == self._expected_ack:
            block = sender.unacknowledged = sender.unacknowledged + 1
            if not sender.fast_path:
                sender.note_answer(now)
            sender.last_progress = now
            try:
                index = block - self._first_ready
                packet, self._expected_ack = self._ready_packets[index], self._ready_acks[index]
            except IndexError:
                self._carry_out(1 if block <= sender.last_block else TRANSFER_DONE, now)
                return
            queue = self._send_queue
            if not queue:
                self._soon(self._send_queued)
            queue.append((self, packet))
        elif self._handle_datagram(data, now):
            self._read_datagrams(now)

    def _read_datagrams(self, now: float) -> None:
        """Read up to an ACK of all that was sent; behind it there can hardly be anything yet."""
        for _ in range(MAX_READS):
            try:
                data = os.read(self.descriptor, READ_OCTETS)
            except OSError as error:
                self._handle_socket_error(error, now)
                return
            if not self._handle_datagram(data, now):
                return
        self._context.loop.call_soon(self._read_datagrams)  # others want to be served as well

    def _handle_datagram(self, data: bytes, now: float) -> bool:
        """Take a datagram; tell whether there may be one more that matters."""
        if len(data) < 4 or data[:2] != _ACK:
            self._handle_other_packet(data, now)
            return self._on_end is not None
        count = self.sender.handle_ack(data[2] << 8 | data[3], now)
        if not count:
            return True
        self._send_window(count, now)
        return self._on_end is not None and self.sender.partial_ack

    def _send_window(self, count: int, now: float) -> None:
        """Send a window: in one piece where it lies so, else with all that may happen."""
        if 0 < count <= self._writer.packets_per_send and self._slice_packets is not None:
            packets = self._slice_packets(self.sender.unacknowledged, count)
            if packets is not None:
                self._queue_packet(packets)
                if count < self.terms.windowsize and self.sender.window_unsent:
                    self._pause_before_rest()
                return
        self._carry_out(count, now)

    def _handle_other_packet(self, data: bytes, now: float) -> None:
        """Take what is no ACK. Nothing but an ERROR means anything (RFC 1350 5)."""
        try:
            packet = decode(data)
        except TftpPacketError as error:
            log.debug("tftp %s: %s", self.request.peer[0], error)
            return
        if isinstance(packet, Error):
            probed = self.terms.probing and self.sender.never_answered
            outcome = TransferOutcome.PROBED if probed else TransferOutcome.ABORTED
            said = packet.message or f"error {packet.code}"
            self.end_transfer(TransferEnd(outcome, EndCause.CLIENT_ERROR, said), now)

    def _handle_socket_error(self, error: OSError, now: float) -> None:
        """Take an ICMP error: a closed port ends the transfer, anything else may pass."""
        if isinstance(error, BlockingIOError | InterruptedError):
            return
        if not isinstance(error, ConnectionRefusedError):
            log.debug("tftp %s: %s", self.request.peer[0], error)
        elif self.sender.all_sent:  # its last ACK got lost, most likely
            self.end_transfer(TransferEnd(TransferOutcome.DONE), now)
        else:
            self.end_transfer(TransferEnd(TransferOutcome.ABORTED, EndCause.PORT_CLOSED), now)

    # what leaves

    def _queue_packet(self, packet: Buffer) -> None:
        """Send a packet at the end of the turn: one behind the other costs a quarter less."""
        if not self._send_queue:
            self._soon(self._send_queued)
        self._send_queue.append((self, packet))

    def _send_lockstep_block(self, blocks: CachedBlocks, now: float) -> None:
        """Send the block that is due in lockstep, and have those behind it at hand."""
        block = self.sender.unacknowledged
        try:
            self._first_ready, self._ready_packets, self._ready_acks = blocks.list_packets(block)
        except FileError as error:
            self.fail_transfer(error, now)
            return
        self._expected_ack = self._ready_acks[block - self._first_ready]
        self._queue_packet(self._ready_packets[block - self._first_ready])

    def _carry_out(self, count: int, now: float) -> None:
        """Do what the sender decided: send so many blocks, or end."""
        sender = self.sender
        if count == TRANSFER_DONE:
            self.end_transfer(TransferEnd(TransferOutcome.DONE), now)
            return
        if count == CLIENT_SILENT:
            cause = EndCause.LAST_ACK_MISSING if sender.all_sent else EndCause.NONE
            self.end_transfer(TransferEnd(TransferOutcome.TIMEOUT, cause), now)
            return
        self.blocks.release_below(sender.unacknowledged)
        first = sender.first_to_send
        if first == 0:
            self._expected_ack = _ACK + bytes(2)
            self._queue_packet(self.terms.oack)
            return
        if self._lockstep_blocks is not None:
            self._send_lockstep_block(self._lockstep_blocks, now)
            return
        try:
            sent = self._send_blocks(first, count)
        except FileError as error:
            self.fail_transfer(error, now)
            return
        sender.last_block = self.blocks.last_block
        if sent < count:
            self._send_rest_later(first + sent)
        elif sender.window_unsent:
            self._pause_before_rest()

    def _send_blocks(self, first: int, count: int) -> int:
        """Send blocks; return how many left, fewer where the source or the system has no more."""
        self.sender.source_empty = False
        if self._bound is not None:
            octets = count * (self.terms.blocksize + DATA_HEADER)
            self._bound.charge_octets(self.request.peer[0], octets, self._context.loop.now)
        sent = 0
        while sent < count:
            most = min(self._writer.packets_per_send, count - sent)
            pieces = self.blocks.read_packets(first + sent, most)
            if not pieces:
                self.sender.source_empty = first + sent <= self.blocks.last_block
                break
            try:
                written = self._writer.write_packets(pieces)
            except OffloadRefusedError as error:
                log.debug("tftp %s: sending packet by packet: %s", self.request.peer[0], error)
                self._context.without_offload.add(self.request.interface)
                self._slice_packets = None
                continue
            if not written:
                break
            sent += written
        if self._writer.packets_per_send > 1 and self._cached_blocks is not None:
            self._slice_packets = self._cached_blocks.slice_packets
        return sent

    def _send_rest_later(self, block: int) -> None:
        """Send the blocks from this one on when the source has them, or the system has room."""
        sender = self.sender
        if block > sender.last_block:
            return
        sender.withhold_from(block)
        if not sender.source_empty:
            self._pause_before_rest()
        elif not self._waits_for_source:
            self._waits_for_source = True
            self.blocks.when_ready(self._resume_from_source)

    def _pause_before_rest(self) -> None:
        if not self._pause_set:
            self._pause_set = True
            self._context.loop.call_later(BURST_PAUSE_S, self._end_pause)

    def _end_pause(self, now: float) -> None:
        self._pause_set = False
        self._send_withheld(now)

    def _resume_from_source(self, now: float) -> None:
        self._waits_for_source = False
        self._send_withheld(now)

    def _send_withheld(self, now: float) -> None:
        if self._on_end is None:
            return
        count = self.sender.send_withheld(now)
        if count > 0:
            self._carry_out(count, now)

    def _check_progress(self, now: float) -> None:
        """Look whether something is late: the only timer, which nothing on the way re-arms."""
        progress = self.sender.last_progress
        if progress != self._progress_when_drained and (
            now - progress > DRAIN_AFTER_S or now >= self.sender.check_at
        ):
            # what came behind an ACK has not been read yet
            self._progress_when_drained = progress
            self._read_datagrams(now)
        count = self.sender.check_ack_timeout(now) if self._on_end is not None else 0
        if count:
            self._carry_out(count, now)
        if self._on_end is not None:
            check_at = min(self.sender.check_at, now + CHECK_INTERVAL_S)
            self._timer = self._context.loop.call_at(check_at, self._check_progress)

    # how it ends

    def fail_transfer(self, error: FileError, now: float) -> None:
        """End the transfer because of its file, and tell the client."""
        why = str(error)
        self._writer.write_last_packet(error_packet(ErrorCode.UNDEFINED, why))
        self.end_transfer(
            TransferEnd(TransferOutcome.FAILED, EndCause.FILE, why, error.problem), now
        )

    def stop_transfer(self, now: float) -> None:
        """End the transfer because the daemon ends, and tell the client."""
        why = "the server stops"
        self._writer.write_last_packet(error_packet(ErrorCode.UNDEFINED, why))
        self.end_transfer(TransferEnd(TransferOutcome.STOPPED), now)

    def end_transfer(self, end: TransferEnd, now: float) -> None:
        """Give everything back and say how it went; harmless the second time."""
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        self._timer.cancel()
        self.descriptor = -1
        # with nothing of it on its way, in either direction, the socket may serve another client
        clean = (
            end.outcome is TransferOutcome.DONE
            and self._writer.packets_per_send == 1
            and not self.sender.retransmissions
        )
        local = self.request.local if clean else None
        self._context.ports.release_port(self._port, self.request.peer, now, self._sock, local)
        self.blocks.close()
        self._context.bus.publish(
            TransferEnded(
                protocol="tftp",
                peer=self.request.peer[0],
                requested=self.request.name,
                served=self.served,
                sent=self._count_acknowledged_octets(),
                seconds=now - self.request.began,
                retransmissions=self.sender.retransmissions,
                outcome=end.outcome,
                reason=end.reason,
                cause=end.cause,
                problem=end.problem,
                progress=self.count_progress,
            )
        )
        on_end(self)

    def count_progress(self) -> tuple[int, int]:
        """Count the file's octets that have arrived, and the blocks sent again."""
        return self._count_acknowledged_octets(), self.sender.retransmissions

    def _count_acknowledged_octets(self) -> int:
        """Count the file's octets that have arrived."""
        octets = max(0, self.sender.unacknowledged - 1) * self.terms.blocksize
        size = self.blocks.size
        return octets if size is None else min(octets, size)
