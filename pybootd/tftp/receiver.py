"""The state of one upload: blocks and moments in, what to do with them out (RFC 1350, 7440).

Blocks are counted from 1 without wrapping, as in ``sender``.
"""

from __future__ import annotations

from enum import Flag, auto

from pybootd.tftp.sender import (
    MAX_UNANSWERED_RESENDS,
    MIN_PACE_BLOCKS,
    PACE_SPAN_S,
    first_patience_s,
    patience_s,
)


class ReceiverAction(Flag):
    """What a block, or a moment, calls for."""

    NOTHING = 0
    STORE = auto()
    """It is the next block: its octets belong to the file."""
    ACKNOWLEDGE = auto()
    """Acknowledge ``received``."""
    GIVE_UP = auto()
    """The client has been silent for too long."""


class Receiver:
    """Decides which block is the next, and when to acknowledge: every ``windowsize`` blocks.

    ``timeout``: seconds of silence until the last ACK is sent again; each further wait is twice
    the one before, until the client's patience is over (``patience_s``).
    """

    def __init__(self, blocksize: int, windowsize: int, timeout: float, retries: int) -> None:
        self.received = 0  # the last block of those that came without a gap
        self.complete = False  # the last block of the file is here
        self.retransmissions = 0  # ACKs sent again
        self.first_patience = first_patience_s(timeout, retries)
        """Seconds that a client is waited for that has sent no block, or has sent the last one."""
        self._patience = patience_s(timeout, retries)
        self._blocksize = blocksize
        self._windowsize = windowsize
        self._timeout = timeout
        self._unacknowledged = 0  # blocks that came since the last ACK
        self._told_of_gap = False
        self._last_progress = self._last_ack = 0.0
        self._pace_check_at = 0.0  # when the pace is judged, from ``_pace_base`` on
        self._pace_base = 0
        self._timeouts = 0  # since the client was last heard of
        self._wait = timeout  # seconds that the client has after the last ACK

    @property
    def never_answered(self) -> bool:
        """Whether the client has sent no block yet."""
        return self.received == 0

    @property
    def check_at(self) -> float:
        """When ``check_data_timeout`` wants to be asked."""
        return min(self._last_ack + self._wait, self._give_up_at)

    @property
    def _give_up_at(self) -> float:
        patience = self.first_patience if self.never_answered else self._patience
        return self._last_progress + patience

    def start_waiting(self, now: float) -> None:
        """Begin to wait."""
        self._note_progress(now)
        self._pace_check_at = now + PACE_SPAN_S

    @property
    def last_progress(self) -> float:
        """When the client sent something new, or we were what was waited for."""
        return self._last_progress

    def _note_progress(self, now: float) -> None:
        self._last_progress = self._last_ack = now
        self._timeouts, self._wait = 0, self._timeout

    def handle_data(self, number: int, octets: int, now: float) -> ReceiverAction:
        """Take a block by its number on the wire and its length."""
        ahead = (number - self.received - 1) & 0xFFFF
        if ahead == 0 and not self.complete:
            self.received += 1
            self._note_progress(now)
            self._told_of_gap = False
            self._unacknowledged += 1
            self.complete = octets < self._blocksize
            if self._unacknowledged < self._windowsize or self.complete:
                return ReceiverAction.STORE
            return self._acknowledge_and(ReceiverAction.STORE)
        if ahead == 0xFFFF and self.received:
            # the last one again: our ACK got lost, or was late (RFC 1123 4.2.3.1 forbids only
            # to answer an old ACK by a block)
            self._note_progress(now)
            return self._acknowledge_and(ReceiverAction.NOTHING)
        if 0 < ahead < self._windowsize and not self._told_of_gap and not self.complete:
            self._told_of_gap = True  # RFC 7440 4: what is missing is told once
            return self._acknowledge_and(ReceiverAction.NOTHING)
        return ReceiverAction.NOTHING

    def _acknowledge_and(self, also: ReceiverAction) -> ReceiverAction:
        self._unacknowledged = 0
        return also | ReceiverAction.ACKNOWLEDGE

    def note_busy(self, now: float) -> None:
        """Note that we were what was waited for, not the client."""
        self._note_progress(now)
        self._pace_base, self._pace_check_at = self.received, now + PACE_SPAN_S

    def check_data_timeout(self, now: float) -> ReceiverAction:
        """Answer the timer: acknowledge again, give up, or nothing is late yet."""
        if now >= self._pace_check_at:
            sent = self.received - self._pace_base
            self._pace_base, self._pace_check_at = self.received, now + PACE_SPAN_S
            if sent < MIN_PACE_BLOCKS:
                return ReceiverAction.GIVE_UP
        if now < self.check_at:
            return ReceiverAction.NOTHING
        if now >= self._give_up_at:
            return ReceiverAction.GIVE_UP
        self._last_ack = now
        self._timeouts += 1
        self._wait *= 2  # RFC 1123 4.2.3.2
        if self.never_answered and self._timeouts > MAX_UNANSWERED_RESENDS:
            return ReceiverAction.NOTHING
        self.retransmissions += 1
        return self._acknowledge_and(ReceiverAction.NOTHING)
