"""Whether a client takes its answer, and fast enough: by the whole, and not by the octet."""

from __future__ import annotations

STALL_TIMEOUT_S = 30.0
"""Seconds between two looks at whether a client takes anything of what it asked for."""
PACE_SPAN_S = 300.0
"""Seconds over which it is measured how fast a client takes its answer."""
MIN_PACE_OCTETS = 64 << 10
"""Octets that it takes at least in that span, 218 a second: a serial line carries more."""


class AnswerPace:
    """Judges how one client takes its answers. ``check_at``: when ``is_moving`` is to be asked."""

    __slots__ = ("_base", "_last_unsent", "_span_end", "_stall_at", "check_at")

    def __init__(self) -> None:
        self.check_at = 0.0
        self._stall_at = 0.0  # when it has taken nothing for too long
        self._span_end = 0.0
        self._base = 0  # octets that it had taken when the span began
        self._last_unsent = -1  # octets that it had still to take at the last check

    def begin_span(self, taken: int, now: float) -> None:
        """Judge from now on; it has taken so many octets of the answer."""
        self._base, self._span_end = taken, now + PACE_SPAN_S
        self.check_at = self._stall_at = now + STALL_TIMEOUT_S

    def note_progress(self, now: float) -> None:
        """Note that it has taken something."""
        self._stall_at = now + STALL_TIMEOUT_S
        self.check_at = min(self._stall_at, self._span_end)

    def is_moving(self, sent: int, unsent: int, now: float) -> bool:
        """Tell whether it takes enough of the answer.

        ``sent`` octets are in its socket or beyond, ``unsent`` of them the client has still to
        take: a socket calls for more only when a third of what it holds is gone.
        """
        if now >= self._span_end:
            if sent - unsent - self._base < MIN_PACE_OCTETS:
                return False
            self.begin_span(sent - unsent, now)
        before, self._last_unsent = self._last_unsent, unsent
        if unsent == before and now >= self._stall_at:
            return False
        self.note_progress(now)
        return True
