"""The state of one upload: blocks and moments in, what to do with them out (RFC 1350, 7440).

Blocks are counted from 1 without wrapping, as in ``transfer``.
"""

from __future__ import annotations

from enum import Flag, auto

_UNANSWERED = 2
"""How often the first packet is sent again: the request may bear a forged address."""


class ReceiverAction(Flag):
    """What a block, or a moment, calls for."""

    NOTHING = 0
    STORE = auto()
    """It is the next block: its octets belong to the file."""
    ANSWER = auto()
    """Acknowledge ``received``."""
    END = auto()
    """The client has been silent for too long."""


class Receiver:
    """Decides which block is the next, and when to acknowledge: every ``window`` blocks.

    ``timeout``: seconds of silence until the last answer is sent again; the client is given up
    after ``retries`` + 1 of them.
    """

    def __init__(self, blocksize: int, window: int, timeout: float, retries: int) -> None:
        self.received = 0  # the last block of those that came without a gap
        self.complete = False  # the last block of the file is here
        self.retransmissions = 0  # answers sent again
        self._blocksize = blocksize
        self._window = window
        self._timeout = timeout
        self._patience = timeout * (retries + 1) - 0.001
        self._unacknowledged = 0
        self._gap = False
        self._heard = self._answered = 0.0
        self._tries = 0

    @property
    def unanswered(self) -> bool:
        """Whether the client has sent no block yet."""
        return self.received == 0

    @property
    def due(self) -> float:
        """When ``late`` wants to be asked."""
        return self._answered + self._timeout

    @property
    def patience(self) -> float:
        """Seconds that a silent client is waited for."""
        return self._patience

    def start(self, now: float) -> None:
        """Begin to wait."""
        self._heard = self._answered = now

    def data(self, number: int, octets: int, now: float) -> ReceiverAction:
        """Take a block by its number on the wire and its length."""
        ahead = (number - self.received - 1) & 0xFFFF
        if ahead == 0 and not self.complete:
            self.received += 1
            self._heard = self._answered = now
            self._tries, self._gap = 0, False
            self._unacknowledged += 1
            self.complete = octets < self._blocksize
            if self._unacknowledged < self._window or self.complete:
                return ReceiverAction.STORE
            return self._answer(ReceiverAction.STORE)
        if ahead == 0xFFFF and self.received:
            # the last one again: our answer got lost, or was late (RFC 1123 4.2.3.1 forbids only
            # to answer an old ACK by a block)
            self._heard = self._answered = now
            return self._answer(ReceiverAction.NOTHING)
        if 0 < ahead < self._window and not self._gap and not self.complete:
            self._gap = True  # RFC 7440 4: what is missing is told once
            return self._answer(ReceiverAction.NOTHING)
        return ReceiverAction.NOTHING

    def _answer(self, also: ReceiverAction) -> ReceiverAction:
        self._unacknowledged = 0
        return also | ReceiverAction.ANSWER

    def busy(self, now: float) -> None:
        """Note that we were what was waited for, not the client."""
        self._heard = self._answered = now

    def late(self, now: float) -> ReceiverAction:
        """Answer the timer."""
        if now < self.due:
            return ReceiverAction.NOTHING
        if now - self._heard >= self._patience:
            return ReceiverAction.END
        self._answered = now
        self._tries += 1
        if self.unanswered and self._tries > _UNANSWERED:
            return ReceiverAction.NOTHING
        self.retransmissions += 1
        return self._answer(ReceiverAction.NOTHING)
