"""One transfer's state: acknowledgements and moments in, how many blocks to send out.

Blocks are counted from 1 without wrapping; the OACK is block 0. The wire's 16-bit numbers are
read relative to the window, so that a file may have any number of blocks.
"""

from __future__ import annotations

DONE = -1
"""Everything has been acknowledged."""
GONE = -2
"""The client has been silent for too long."""

UNKNOWN = 1 << 62
"""The last block of a file whose end is not known yet."""

_SHORTEST = 0.05
"""Seconds below which no retransmission time adapts."""


_UNANSWERED = 2
"""How often the first packet is sent again: the request may bear a forged address."""


class Sender:
    """Decides which block leaves when, one block for each acknowledgement (RFC 1350).

    ``timeout``: seconds until the first retransmission; ``fixed`` keeps it (RFC 2349), else it
    adapts to what the client's answers take (RFC 6298 in spirit) and never exceeds it. The client
    is given up after ``retries`` + 1 timeouts of silence.

    Each method returns how many blocks to send, from ``first`` on; or DONE, or GONE.
    """

    __slots__ = (
        "_deviation",
        "_fixed",
        "_patience",
        "_silent_since",
        "_smooth",
        "_start",
        "_timed",
        "_timed_at",
        "_timeout",
        "_tries",
        "_withheld",
        "base",
        "calm",
        "last",
        "moved",
        "retransmissions",
        "rto",
        "starved",
    )

    window = 1
    partial = False
    """Whether the last ACK was one of a part of the window."""

    def __init__(self, last: int, timeout: float, retries: int, *, oack: bool, fixed: bool) -> None:
        self.last = last
        self.base = self._start = 0 if oack else 1  # the first block that is not acknowledged
        self.rto = timeout
        self.moved = 0.0  # when something new was last sent or acknowledged
        self.starved = False  # the source has no more to send for now
        self.retransmissions = 0
        self._timeout = timeout
        self._fixed = fixed
        # a clock's last digits must not cost one more timeout
        self._patience = timeout * (retries + 1) - 0.001
        self._smooth: float | None = None
        self._deviation = 0.0
        self._timed = False  # the answer to what is under way is timed
        self._timed_at = 0.0
        self._tries = 0  # retransmissions since the client was last heard of
        self._silent_since = 0.0
        self._withheld = False
        # nothing is timed or late: the ACK of block ``base`` adds 1 to it, is ``moved``, is all
        self.calm = True

    @property
    def first(self) -> int:
        """The first block to send now."""
        return self.base

    @property
    def due(self) -> float:
        """When ``late`` wants to be asked."""
        return self.moved + self.rto

    @property
    def unanswered(self) -> bool:
        """Whether the client has acknowledged nothing yet."""
        return self.base == self._start

    @property
    def silent(self) -> bool:
        """Whether nothing more is sent before the client has acknowledged something."""
        return self._tries >= _UNANSWERED and self.unanswered

    @property
    def complete(self) -> bool:
        """Whether the last block has been sent."""
        return self.base >= self.last

    @property
    def unsent(self) -> bool:
        """Whether more of the window may leave at once."""
        return False

    def start(self, now: float) -> int:
        """Send the OACK, or the first block."""
        self.moved = self._timed_at = now
        self._timed, self.calm = True, False
        return 1

    def acknowledge(self, number: int, now: float) -> int:
        """Take an ACK's block number; what is old, double or never sent changes nothing."""
        base = self.base
        if number != base & 0xFFFF:  # RFC 1123 4.2.3.1: a duplicate ACK sends nothing
            return 0
        self.base = base = base + 1
        if not self.calm:
            self.heard(now)
        self.moved = now
        return 1 if base <= self.last else DONE

    def heard(self, now: float) -> None:
        """Learn from an answer how long answers take, unless all is ``calm``."""
        if self._timed:
            self._sample(now - self._timed_at)
        if self._tries:  # learn soon whether it is as quick as before
            self._tries = 0
            self._timed, self._timed_at = not self._fixed, now
        self.calm = not self._timed

    def more(self, now: float) -> int:
        """Send what had to be withheld."""
        withheld, self._withheld = self._withheld, False
        self.moved = now
        return int(withheld)

    def withhold(self, block: int) -> None:
        """Note that the blocks from this one on could not leave yet."""
        self._withheld = True
        self._timed = False

    def late(self, now: float) -> int:
        """Answer the timer: resend, give up, or (0) nothing is late yet."""
        if now < self.moved + self.rto:
            # one answer is timed for each look at the clock: costs nothing while all is well
            if not self._tries and not self._timed and not self._fixed:
                self._timed, self._timed_at = True, self.moved
                self.calm = False
            return 0
        if self.starved:  # the source is late, not the client
            self.moved = now
            return 0
        if not self._tries:
            self._silent_since = self.moved
        if now - self._silent_since >= self._patience:
            return GONE
        self._tries += 1
        self.calm = False
        self.moved = now
        self._timed = False  # Karn: an answer to a block sent twice tells no time
        if not self._fixed:
            self.rto = min(self.rto * 2, self._timeout)
        if self._tries > _UNANSWERED and self.unanswered:
            return 0
        count = self._resend()
        self.retransmissions += count
        return count

    def _resend(self) -> int:
        return 1

    def _sample(self, took: float) -> None:
        """Adapt to what one answer took (RFC 6298 2)."""
        self._timed = False
        if self._fixed:
            return
        if self._smooth is None:
            self._smooth, self._deviation = took, took / 2
        else:
            self._deviation += (abs(self._smooth - took) - self._deviation) / 4
            self._smooth += (took - self._smooth) / 8
        rto = self._smooth + 4 * self._deviation
        self.rto = min(max(rto, _SHORTEST), self._timeout)


class WindowedSender(Sender):
    """The same with ``window`` blocks for each acknowledgement (RFC 7440).

    They leave in bursts of all of them, or of fewer where the client can't take so many.
    """

    __slots__ = (
        "_first",
        "_repeated",
        "_trouble",
        "_whole",
        "burst",
        "end",
        "next",
        "partial",
        "top",
        "window",
    )

    def __init__(
        self, last: int, window: int, timeout: float, retries: int, *, oack: bool, fixed: bool
    ) -> None:
        super().__init__(last, timeout, retries, oack=oack, fixed=fixed)
        self.window = window
        self.burst = window
        self._first = self.base
        self.next = self.base  # the next block of the window to send
        self.top = self.base  # the first block that has never been sent
        self.end = self.base + 1  # the first block behind the window
        self.partial = False
        self._trouble = False  # the last window got lost in part
        self._repeated = False  # the client said again what it had said: it is there
        self._whole = False  # all of the window is sent again, not its first blocks alone

    @property
    def first(self) -> int:
        """The first block to send now."""
        return self._first

    @property
    def complete(self) -> bool:
        """Whether the last block has been sent."""
        return self.top > self.last

    @property
    def unsent(self) -> bool:
        """Whether more of the window may leave at once."""
        return self.next < self.end and (self._tries < 2 or self._whole)

    def start(self, now: float) -> int:
        """Send the OACK, or the first block."""
        self.next = self.top = self.end
        return super().start(now)

    def acknowledge(self, number: int, now: float) -> int:
        """Take an ACK's block number; what is old, double or never sent changes nothing."""
        end = self.end
        if number != (end - 1) & 0xFFFF or self.next != end:
            return self._acknowledge_part(number, now)
        if not self.calm:
            self.heard(now)
        self.base = self._first = end
        self.moved = now
        self.partial = self._trouble = False
        if end > self.last:
            return DONE
        if self.burst < self.window:
            self.burst += 1
        ahead = end + self.window
        self.end = ahead if ahead <= self.last else self.last + 1
        return self._advance(end)

    def _acknowledge_part(self, number: int, now: float) -> int:
        fresh = (number - self.base + 1) & 0xFFFF
        # RFC 1123 4.2.3.1: a duplicate ACK sends nothing
        if fresh == 0 or fresh > self.top - self.base:
            self._repeated = self._repeated or fresh == 0
            return 0
        was_late = self._tries > 0
        if self._timed or was_late:
            self.heard(now)
        self.base = self._first = base = self.base + fresh
        self.moved = now
        if base > self.last:
            return DONE
        # RFC 7440 4: an ACK in mid-window starts the new window right behind it
        self.partial = base < self.end
        if self.partial:
            self._lost(self.end - base, was_late)
        self.end = min(base + self.window, self.last + 1)
        return self._advance(base)

    def _advance(self, first: int) -> int:
        ahead, end = first + self.burst, self.end
        self.next = ahead = ahead if ahead < end else end
        if ahead > self.top:
            self.top = ahead
        return ahead - first

    def _lost(self, blocks: int, was_late: bool) -> None:
        """Make bursts shorter where a client can't take them, which a single loss doesn't say.

        It was too much if a large tail is missing and nothing came after it, or if two windows
        in a row arrived in part.
        """
        if was_late:
            overrun = blocks * 4 > self.window
        else:
            overrun, self._trouble = self._trouble, True
        if overrun:
            self.burst = max(1, self.burst // 2)

    def more(self, now: float) -> int:
        """Send what is left of the window, a burst at a time, as the source has it."""
        self.end = min(self.end, self.last + 1)
        self._first = self.next
        self.moved = now
        self._timed = False
        return self._advance(self.next)

    def withhold(self, block: int) -> None:
        """Note that the blocks from this one on could not leave yet."""
        self.next = block
        if self.starved:
            self.top = block
        self._timed = False

    def _resend(self) -> int:
        self._first = base = self.base
        # one that only repeats its last ACK may have all but the window's end
        self._whole, self._repeated = self._tries == 1 or self._repeated, False
        if self._whole:
            self.next = min(base + self.burst, self.top)
            return self.next - base
        # a client that stays silent costs less each time
        return min(max(1, self.window >> min(self._tries, 16) - 1), self.top - base)
