"""The state of one download: ACKs and moments in, how many blocks to send out (RFC 1350, 7440).

Blocks are counted from 1 without wrapping; the OACK is block 0. The wire's 16-bit numbers are
read relative to the window, so that a file may have any number of blocks.
"""

from __future__ import annotations

TRANSFER_DONE = -1
"""Everything has been acknowledged."""
CLIENT_SILENT = -2
"""The client has been silent for too long."""

UNKNOWN_LAST_BLOCK = 1 << 62
"""The last block of a file whose end is not known yet."""

MIN_TIMEOUT_S = 0.05
"""Seconds below which no retransmission timeout adapts."""

MAX_UNANSWERED_RESENDS = 2
"""How often the first packet is sent again: the request may bear a forged address."""

MAX_PAUSE_S = 30.0
"""Seconds of silence that a client may need, to erase its flash say: 7 to 15 s were reported."""

PACE_SPAN_S = 300.0
"""Seconds over which a client's pace is measured."""
MIN_PACE_BLOCKS = 32
"""Blocks that a client takes or sends at least in that span: who is slower is as good as silent."""

CLOCK_SLACK_S = 0.001
"""Seconds by which patience is shorter: a clock's last digits must not cost one more timeout."""


def first_patience_s(timeout: float, retries: int) -> float:
    """Return the seconds that a client is waited for that has never answered."""
    return timeout * (retries + 1) - CLOCK_SLACK_S


def patience_s(timeout: float, retries: int) -> float:
    """Return the seconds that a client is waited for that has answered and fell silent.

    It is what ``retries`` waits take, each twice the one before (RFC 1123 4.2.3.2), but no more
    than MAX_PAUSE_S, unless as many equal ones take longer.
    """
    doubling = timeout * ((2 << min(retries, 16)) - 1)
    return max(timeout * (retries + 1), min(doubling, MAX_PAUSE_S)) - CLOCK_SLACK_S


class Sender:
    """Decides which block leaves when, one block for each acknowledgement (RFC 1350).

    ``timeout``: seconds until the first retransmission; ``fixed`` keeps it (RFC 2349), else it
    adapts to what the client's answers take (RFC 6298 in spirit) and never exceeds it. Each
    further wait is twice the one before, until the client's patience is over (``patience_s``).

    The methods that decide return how many blocks to send, from ``first_to_send`` on; or
    TRANSFER_DONE, or CLIENT_SILENT.
    """

    __slots__ = (
        "_first_patience",
        "_fixed",
        "_has_withheld",
        "_pace_base",
        "_pace_check_at",
        "_patience",
        "_rttvar",
        "_silent_since",
        "_srtt",
        "_start_block",
        "_timed_since",
        "_timeout",
        "_timeouts",
        "_timing",
        "_wait",
        "fast_path",
        "last_block",
        "last_progress",
        "retransmissions",
        "rto",
        "source_empty",
        "unacknowledged",
    )

    windowsize = 1
    partial_ack = False
    """Whether the last ACK was one of a part of the window."""

    def __init__(
        self, last_block: int, timeout: float, retries: int, *, oack: bool, fixed: bool
    ) -> None:
        self.last_block = last_block
        # the first block that is not acknowledged
        self.unacknowledged = self._start_block = 0 if oack else 1
        self.rto = timeout
        self.last_progress = 0.0  # when something new was last sent or acknowledged
        self.source_empty = False  # the source has no more to send for now
        self.retransmissions = 0
        self._timeout = timeout
        self._fixed = fixed
        self._first_patience = first_patience_s(timeout, retries)
        self._patience = patience_s(timeout, retries)
        self._srtt: float | None = None  # RFC 6298 2: the smoothed time of an answer ...
        self._rttvar = 0.0  # ... and how much it varies
        self._timing = False  # the answer to what is under way is timed ...
        self._timed_since = 0.0  # ... since then
        self._timeouts = 0  # retransmission timeouts since the client was last heard of
        self._pace_check_at = 0.0  # when the pace is judged, from ``_pace_base`` on
        self._pace_base = 0
        self._wait = timeout  # seconds that the client has after the last of them
        self._silent_since = 0.0
        self._has_withheld = False
        # nothing is timed or late: an ACK of the block adds 1 to ``unacknowledged``, sets
        # ``last_progress``, and changes nothing else
        self.fast_path = True

    @property
    def first_to_send(self) -> int:
        """The first block to send now."""
        return self.unacknowledged

    @property
    def silent_since(self) -> float:
        """When the client, or the source that it waits for, was last heard of."""
        return self._silent_since if self._timeouts else self.last_progress

    @property
    def check_at(self) -> float:
        """When ``check_ack_timeout`` wants to be asked."""
        if not self._timeouts:
            return self.last_progress + self.rto
        return min(self.last_progress + self._wait, self._give_up_at)

    @property
    def _give_up_at(self) -> float:
        patience = self._first_patience if self.never_answered else self._patience
        return self._silent_since + patience

    @property
    def never_answered(self) -> bool:
        """Whether the client has acknowledged nothing yet."""
        return self.unacknowledged == self._start_block

    @property
    def awaits_first_ack(self) -> bool:
        """Whether nothing more is sent before the client has acknowledged something."""
        return self._timeouts >= MAX_UNANSWERED_RESENDS and self.never_answered

    @property
    def all_sent(self) -> bool:
        """Whether the last block has been sent."""
        return self.unacknowledged >= self.last_block

    @property
    def window_unsent(self) -> bool:
        """Whether more of the window may leave at once."""
        return False

    def send_first_packet(self, now: float) -> int:
        """Send the OACK, or the first block."""
        self.last_progress = self._timed_since = now
        self._pace_check_at = now + PACE_SPAN_S
        self._timing, self.fast_path = True, False
        return 1

    def handle_ack(self, number: int, now: float) -> int:
        """Take an ACK's block number; an old, double or impossible one changes nothing."""
        block = self.unacknowledged
        if number != block & 0xFFFF:  # RFC 1123 4.2.3.1: a duplicate ACK sends nothing
            return 0
        self.unacknowledged = block = block + 1
        if not self.fast_path:
            self.note_answer(now)
        self.last_progress = now
        return 1 if block <= self.last_block else TRANSFER_DONE

    def note_answer(self, now: float) -> None:
        """Learn from an ACK how long answers take; not needed on the fast path."""
        if self._timing:
            self._sample_rtt(now - self._timed_since)
        if self._timeouts:  # learn soon whether it is as quick as before
            self._timeouts = 0
            self._timing, self._timed_since = not self._fixed, now
        self.fast_path = not self._timing

    def withhold_from(self, block: int) -> None:
        """Note that the blocks from this one on could not leave yet."""
        self._has_withheld = True
        self._timing = False

    def send_withheld(self, now: float) -> int:
        """Send what had to be withheld."""
        withheld, self._has_withheld = self._has_withheld, False
        self.last_progress = now
        return int(withheld)

    def check_ack_timeout(self, now: float) -> int:
        """Answer the timer: send again, give up, or (0) nothing is late yet."""
        if now >= self._pace_check_at and self._is_too_slow(now):
            return CLIENT_SILENT
        if now < self.check_at:
            # one answer is timed for each look at the clock: costs nothing while all is well
            if not self._timeouts and not self._timing and not self._fixed:
                self._timing, self._timed_since = True, self.last_progress
                self.fast_path = False
            return 0
        if self.source_empty:  # the source is late, not the client
            self.last_progress = now
            return 0
        if not self._timeouts:
            self._silent_since, self._wait = self.last_progress, self.rto
        if now >= self._give_up_at:
            return CLIENT_SILENT
        self._timeouts += 1
        self.fast_path = False
        self.last_progress = now
        self._timing = False  # Karn: an answer to a block sent twice tells no time
        self._wait *= 2  # RFC 1123 4.2.3.2
        if not self._fixed:
            self.rto = min(self._wait, self._timeout)
        if self._timeouts > MAX_UNANSWERED_RESENDS and self.never_answered:
            return 0
        count = self.resend_window()
        self.retransmissions += count
        return count

    def _is_too_slow(self, now: float) -> bool:
        """Tell whether the client took too little in the last PACE_SPAN_S, and begin the next."""
        taken = self.unacknowledged - self._pace_base
        self._pace_base, self._pace_check_at = self.unacknowledged, now + PACE_SPAN_S
        return taken < MIN_PACE_BLOCKS and not self.source_empty

    def resend_window(self) -> int:
        """Send a lost block, and what followed it, again: how many, from the lost one on."""
        return 1

    def _sample_rtt(self, took: float) -> None:
        """Adapt the timeout to the seconds that one answer took (RFC 6298 2)."""
        self._timing = False
        if self._fixed:
            return
        if self._srtt is None:
            self._srtt, self._rttvar = took, took / 2
        else:
            self._rttvar += (abs(self._srtt - took) - self._rttvar) / 4
            self._srtt += (took - self._srtt) / 8
        rto = self._srtt + 4 * self._rttvar
        self.rto = min(max(rto, MIN_TIMEOUT_S), self._timeout)


class WindowedSender(Sender):
    """The same with ``windowsize`` blocks for each acknowledgement (RFC 7440).

    They leave in bursts of all of them, or of fewer where the client can't take so many.
    """

    __slots__ = (
        "_first_to_send",
        "_heard_duplicate",
        "_resends_whole_window",
        "_window_was_cut",
        "burst",
        "first_unsent",
        "next_block",
        "partial_ack",
        "window_end",
        "windowsize",
    )

    def __init__(
        self,
        last_block: int,
        windowsize: int,
        timeout: float,
        retries: int,
        *,
        oack: bool,
        fixed: bool,
    ) -> None:
        super().__init__(last_block, timeout, retries, oack=oack, fixed=fixed)
        self.windowsize = windowsize
        self.burst = windowsize
        self._first_to_send = self.unacknowledged
        self.next_block = self.unacknowledged  # the next block of the window to send
        self.first_unsent = self.unacknowledged  # the first block that has never been sent
        self.window_end = self.unacknowledged + 1  # the first block behind the window
        self.partial_ack = False
        self._window_was_cut = False  # a part of the last window got lost
        self._heard_duplicate = False  # the client repeated its last ACK: it is there
        self._resends_whole_window = False  # not its first blocks alone

    @property
    def first_to_send(self) -> int:
        """The first block to send now."""
        return self._first_to_send

    @property
    def all_sent(self) -> bool:
        """Whether the last block has been sent."""
        return self.first_unsent > self.last_block

    @property
    def window_unsent(self) -> bool:
        """Whether more of the window may leave at once."""
        return self.next_block < self.window_end and (
            self._timeouts < 2 or self._resends_whole_window
        )

    def send_first_packet(self, now: float) -> int:
        """Send the OACK, or the first block."""
        self.next_block = self.first_unsent = self.window_end
        return super().send_first_packet(now)

    def handle_ack(self, number: int, now: float) -> int:
        """Take an ACK's block number; an old, double or impossible one changes nothing."""
        end = self.window_end
        if number != (end - 1) & 0xFFFF or self.next_block != end:
            return self._handle_partial_ack(number, now)
        if not self.fast_path:
            self.note_answer(now)
        self.unacknowledged = self._first_to_send = end
        self.last_progress = now
        self.partial_ack = self._window_was_cut = False
        if end > self.last_block:
            return TRANSFER_DONE
        if self.burst < self.windowsize:
            self.burst += 1
        ahead = end + self.windowsize
        self.window_end = ahead if ahead <= self.last_block else self.last_block + 1
        return self._advance_window(end)

    def _handle_partial_ack(self, number: int, now: float) -> int:
        """Take an ACK of a window that isn't sent to its end, or didn't arrive to its end."""
        fresh = (number - self.unacknowledged + 1) & 0xFFFF
        # RFC 1123 4.2.3.1: a duplicate ACK sends nothing
        if fresh == 0 or fresh > self.first_unsent - self.unacknowledged:
            self._heard_duplicate = self._heard_duplicate or fresh == 0
            return 0
        was_late = self._timeouts > 0
        if self._timing or was_late:
            self.note_answer(now)
        self.unacknowledged = self._first_to_send = block = self.unacknowledged + fresh
        self.last_progress = now
        if block > self.last_block:
            return TRANSFER_DONE
        # RFC 7440 4: an ACK in mid-window starts the new window right behind it
        self.partial_ack = block < self.window_end
        if self.partial_ack:
            self._shorten_bursts(self.window_end - block, was_late)
        self.window_end = min(block + self.windowsize, self.last_block + 1)
        return self._advance_window(block)

    def _advance_window(self, first: int) -> int:
        ahead, end = first + self.burst, self.window_end
        self.next_block = ahead = ahead if ahead < end else end
        if ahead > self.first_unsent:
            self.first_unsent = ahead
        return ahead - first

    def _shorten_bursts(self, lost_blocks: int, was_late: bool) -> None:
        """Make bursts shorter where a client can't take them, which a single loss doesn't say.

        It was too much if a large tail is missing and nothing came after it, or if two windows
        in a row arrived in part.
        """
        if was_late:
            overrun = lost_blocks * 4 > self.windowsize
        else:
            overrun, self._window_was_cut = self._window_was_cut, True
        if overrun:
            self.burst = max(1, self.burst // 2)

    def withhold_from(self, block: int) -> None:
        """Note that the blocks from this one on could not leave yet."""
        self.next_block = block
        if self.source_empty:
            self.first_unsent = block
        self._timing = False

    def send_withheld(self, now: float) -> int:
        """Send what is left of the window, a burst at a time, as the source has it."""
        self.window_end = min(self.window_end, self.last_block + 1)
        self._first_to_send = self.next_block
        self.last_progress = now
        self._timing = False
        return self._advance_window(self.next_block)

    def resend_window(self) -> int:
        """Send a lost block, and what followed it, again: how many, from the lost one on."""
        self._first_to_send = block = self.unacknowledged
        # a client that only repeats its last ACK may have all but the window's end
        self._resends_whole_window = self._timeouts == 1 or self._heard_duplicate
        self._heard_duplicate = False
        if self._resends_whole_window:
            self.next_block = min(block + self.burst, self.first_unsent)
            return self.next_block - block
        # a client that stays silent costs less each time
        share = self.windowsize >> min(self._timeouts, 16) - 1
        return min(max(1, share), self.first_unsent - block)
