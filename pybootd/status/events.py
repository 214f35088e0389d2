"""What changes, as it changes, for those who look on: server-sent events (WHATWG HTML 9.2).

Without anyone who looks on there is no timer and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.loop import Callback, Loop, Timer
from pybootd.observe.boots.boot import ClientRecord
from pybootd.status.documents import Documents
from pybootd.status.peers import PeerMachine
from pybootd.status.rows import compact_json, stage_code

VIEWERS = 32  # at a time
_TICK = 0.5  # seconds between two looks while something happens
_ROWS = 100  # clients told of at one look; the others come at the next
_COUNT = 1.0  # seconds between two counts of everything, at least
_SLOW = 5.0  # seconds between two looks at what only time changes: verdicts
_WATCHED = 200  # the clients heard of last, whose verdicts are looked at
_BEHIND = 1 << 20  # octets that a viewer may not have taken; beyond, it misses some


class EventStream:
    """One viewer's stream: what it has not taken yet."""

    def __init__(self, gone: Callable[[EventStream], None]) -> None:
        self._gone = gone
        self._waiting: list[bytes] = []
        self._octets = 0
        self._callback: Callback | None = None

    def add_data(self, data: bytes, now: float) -> None:
        """Add to the stream, unless the viewer is too far behind."""
        if self._octets + len(data) > _BEHIND:
            return
        self._waiting.append(data)
        self._octets += len(data)
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(now)

    def take_data(self) -> bytes | None:
        """Take everything there is; None: nothing."""
        if not self._waiting:
            return None
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._octets = 0
        return data

    def when_ready(self, callback: Callback) -> None:
        """Call back once, when there is something to take."""
        self._callback = callback

    def close(self) -> None:
        """Take the viewer off the list; may be called twice."""
        self._callback = None
        self._gone(self)


class LiveEvents:
    """Tells every viewer of the clients whose boots changed, and of transfers under way."""

    def __init__(self, report: Documents, loop: Loop, stats: Callable[[], dict[str, Any]]) -> None:
        self._report = report
        self._loop = loop
        self._stats = stats
        self._feeds: list[EventStream] = []
        self._dirty: dict[str, ClientRecord] = {}
        self._told: BoundedMap[str, tuple[str, str]] = BoundedMap(4 * _WATCHED)
        self._counted = 0.0
        self._tick: Timer | None = None
        self._slow: Timer | None = None

    def __len__(self) -> int:
        return len(self._feeds)

    def add_viewer(self) -> EventStream | None:
        """Add a viewer; None: there are too many."""
        if len(self._feeds) >= VIEWERS:
            return None
        feed = EventStream(self._drop_viewer)
        self._feeds.append(feed)
        if len(self._feeds) == 1:
            self._report.timeline.changed = self._mark_changed
            if self._report.site is not None:
                self._report.site.changed = self._tell_others
            self._slow = self._loop.call_later(_SLOW, self._tell_verdicts)
            for record in self._report.timeline.running_clients():
                self._mark_changed(record)
        feed.add_data(
            b"retry: 2000\n\n" + _event("stats", compact_json(self._stats())), self._loop.now
        )
        return feed

    def _drop_viewer(self, feed: EventStream) -> None:
        if feed not in self._feeds:
            return
        self._feeds.remove(feed)
        if not self._feeds:
            self._report.timeline.changed = None
            if self._report.site is not None:
                self._report.site.changed = None
            self._dirty.clear()
            self._told.clear()
            for timer in (self._tick, self._slow):
                if timer is not None:
                    timer.cancel()
            self._tick = self._slow = None

    def _mark_changed(self, record: ClientRecord) -> None:
        self._dirty.pop(record.name, None)
        self._dirty[record.name] = record
        if self._tick is None:
            self._tick = self._loop.call_later(_TICK, self._tell_changes)

    def _tell_changes(self, now: float) -> None:
        """Tell what changed, and look again while transfers run."""
        self._tick = None
        names = list(self._dirty)[:_ROWS]
        records = [self._dirty.pop(name) for name in names]
        self._send_rows([record for record in records if record.boots], now)
        for record in records:
            if record.boots and record.boot.active:
                self._dirty[record.name] = record
        if now - self._counted >= _COUNT:
            self._tell_totals(now)
        if self._dirty and self._feeds:
            self._tick = self._loop.call_at(now + _TICK, self._tell_changes)

    def _tell_verdicts(self, now: float) -> None:
        """Tell of verdicts that only time has brought; what is sent keeps connections open."""
        changed = []
        for record, _ in zip(self._report.timeline.records(), range(_WATCHED), strict=False):
            if record.boots and self._told.get(record.name) != self._outcome_of(record):
                changed.append(record)
        self._send_rows(changed, now)
        self._tell_totals(now)
        if self._feeds:
            self._slow = self._loop.call_at(now + _SLOW, self._tell_verdicts)

    def _tell_totals(self, now: float) -> None:
        self._counted = now
        self._send_event(_event("stats", compact_json(self._stats())), now)

    def _outcome_of(self, record: ClientRecord) -> tuple[str, str]:
        verdict = self._report.rows.standing_of(record).verdict
        return f"{record.boot.number} {stage_code(record.boot)}", verdict.code if verdict else ""

    def _tell_others(self, others: list[PeerMachine]) -> None:
        """Tell what other daemons told, of the newest machines alone: a page shows no more."""
        rows = [one.text for one in others[-_WATCHED:] if self._report.is_news(one)]
        if rows:
            self._send_event(_event("clients", f"[{','.join(rows)}]"), self._loop.now)

    def _send_rows(self, records: list[ClientRecord], now: float) -> None:
        records = [record for record in records if self._report.seen_elsewhere(record) is None]
        if not records:
            return
        for record in records:
            self._told[record.name] = self._outcome_of(record)
        rows = ",".join(self._report.rows.row_text(record) for record in records)
        self._send_event(_event("clients", f"[{rows}]"), now)

    def _send_event(self, data: bytes, now: float) -> None:
        for feed in self._feeds[:]:
            feed.add_data(data, now)


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode("ascii")
