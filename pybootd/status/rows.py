"""Clients' rows, as the list, the stream and the page show them: JSON text, made quickly.

What stands still is written once for each change of a boot; only what moves (octets sent, moments)
is put to it for each look. A thousand machines boot at once, and people look on.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from pybootd.core.finding import Grade
from pybootd.observe.boots.boot import Boot, ClientRecord, name_kind
from pybootd.observe.boots.steps import BootTransfer
from pybootd.observe.diagnosis.verdicts import Diagnosis
from pybootd.observe.wording import STAGES, describe_end

_HOLDS = 1.0  # seconds that a standing holds which time alone can change
_FOREVER = float("inf")

Json = dict[str, Any]


class Standing:
    """How a client's newest boot stands, and what was written of it; it holds ``until`` then."""

    __slots__ = ("head", "moving", "state", "until", "verdict", "words")

    def __init__(self, state: str, verdict: Diagnosis | None, until: float) -> None:
        self.state = state
        self.verdict = verdict
        self.until = until
        self.words = ""  # what is searched, the client's own names left out
        self.head = ""  # the row up to what moves
        self.moving: list[tuple[BootTransfer, str]] = []


class Rows:
    """Writes rows; ``clock`` is monotonic, ``wall`` since the epoch.

    ``judge`` and ``state`` tell how a boot stands.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        wall: Callable[[], float],
        judge: Callable[[Boot], Diagnosis | None],
        state: Callable[[Boot], str],
    ) -> None:
        self._clock = clock
        self._wall = wall
        self.daemon = ""  # who saw them, where others see some, too
        self._judge = judge
        self._state = state

    def standing_of(self, record: ClientRecord) -> Standing:
        """Say how a client's newest boot stands."""
        found = record.standing
        if isinstance(found, Standing) and self._clock() < found.until:
            return found
        boot = record.boot
        if boot.active:  # most of them, when it matters
            made = Standing("booting", None, _FOREVER)
        else:
            verdict, state = self._judge(boot), self._state(boot)
            settled = boot.cached is not None
            made = Standing(state, verdict, _FOREVER if settled else self._clock() + _HOLDS)
        record.standing = made
        return made

    def row_matches(self, record: ClientRecord, words: list[tuple[str, str]]) -> bool:
        """Tell whether each word stands in the row, as it is or written the other way."""
        known = record.known
        if not known:
            known = f"{record.name} {record.address} {record.hostname}".lower()
            record.known = known
        rest = ""
        for word, other in words:
            if word in known or other in known:
                continue
            rest = rest or self._searched_words(record)
            if word not in rest and other not in rest:
                return False
        return True

    def _searched_words(self, record: ClientRecord) -> str:
        """Write what is searched besides name, address and host name, and changes more often."""
        standing, boot = self.standing_of(record), record.boot
        if not standing.words:
            verdict = standing.verdict
            told = f"{verdict.code} {verdict.problem}" if verdict else ""
            words = f"{record.uuid} {name_kind(boot)} {STAGES[boot.stage]} {standing.state} {told}"
            standing.words = words.lower()
        return standing.words

    def row_text(self, record: ClientRecord) -> str:
        """Write a client's row."""
        standing, boot = self.standing_of(record), record.boot
        if not standing.head:
            standing.head = _write_head(record, standing, self.daemon)
            standing.moving = [(one, _write_transfer(one, boot)) for one in boot.running]
        now = self._clock()
        epoch = self._wall() - now
        transfers = []
        for one, head in standing.moving:
            sent, again = one.progress
            transfers.append(
                f'{head}"until":{now - boot.began:.4f},"sent":{sent},'
                f'"rate":{octet_rate(sent, now - one.began)},"retransmissions":{again}}}'
            )
        return (
            f'{standing.head}"began":{epoch + boot.began:.3f},'
            f'"last":{epoch + boot.last_heard(now):.3f},'
            f'"transfers":[{",".join(transfers)}]}}'
        )


# by hand, for json.dumps takes four times as long for an object as for its strings, which are few
def _write_head(record: ClientRecord, standing: Standing, daemon: str) -> str:
    """Write a row up to what moves."""
    boot, quoted = record.boot, _quoted
    verdict = (
        "null" if standing.verdict is None else compact_json(describe_verdict(standing.verdict))
    )
    seer = f'"daemon":{quoted(daemon)},' if daemon else ""
    return (
        f'{{{seer}"name":{quoted(record.name)},"mac":"{record.mac.hex(":")}",'
        f'"address":"{record.address or ""}","hostname":{quoted(record.hostname)},'
        f'"uuid":{quoted(record.uuid)},"kind":{quoted(name_kind(boot))},"state":"{standing.state}",'
        f'"stage":{quoted(STAGES[boot.stage])},"stage_code":"{stage_code(boot)}","boot":{boot.number},"boots":{len(record.boots)},'
        f'"verdict":{verdict},'
    )


def _write_transfer(one: BootTransfer, boot: Boot) -> str:
    """Write a transfer under way up to what moves."""
    quoted = _quoted
    size = "null" if one.size is None else one.size
    return (
        f'{{"type":"transfer","what":{quoted(STAGES[one.role])},"code":"{one.role.value}",'
        f'"at":{one.began - boot.began:.4f},'
        f'"protocol":{quoted(one.protocol)},"name":{quoted(one.requested)},'
        f'"served":{quoted(one.served)},"size":{size},"blocksize":{one.blocksize},'
        f'"windowsize":{one.windowsize},"outcome":"running","reason":"","cause":"","problem":"",'
    )


def stage_code(boot: Boot) -> str:
    """Name for programs how far a boot has come; "": nothing happened yet."""
    return "" if boot.stage is None else boot.stage.value


def describe_verdict(verdict: Diagnosis | None) -> Json | None:
    """Tell a verdict."""
    if verdict is None:
        return None
    return {
        "name": verdict.code,
        "grade": "fault" if verdict.grade is Grade.FAULT else "note",
        "certainty": verdict.certainty.value,
        "what": verdict.problem,
        "advice": verdict.advice,
        "evidence": list(verdict.evidence),
    }


def describe_transfer(one: BootTransfer, boot: Boot, now: float) -> Json:
    """Tell everything of a transfer."""
    ended = now if one.outcome is None else one.ended
    sent, again = one.progress
    return {
        "type": "transfer",
        "what": STAGES[one.role],
        "code": one.role.value,
        "at": round(one.began - boot.began, 4),
        "until": round(ended - boot.began, 4),
        "protocol": one.protocol,
        "name": one.requested,
        "served": one.served,
        "size": one.size,
        "sent": sent,
        "rate": octet_rate(sent, ended - one.began),
        "blocksize": one.blocksize,
        "windowsize": one.windowsize,
        "retransmissions": again,
        "outcome": "running" if one.outcome is None else one.outcome.value,
        "reason": describe_end(one),
        "cause": one.cause.value,
        "problem": one.problem.value if one.problem else "",
    }


def octet_rate(sent: int, seconds: float) -> int:
    """Return octets in a second."""
    return round(sent / seconds) if seconds > 0 else 0


def compact_json(value: object) -> str:
    """Write JSON, in ASCII and without blanks."""
    return _encode(value)


_encode = json.JSONEncoder(separators=(",", ":")).encode
_quoted = functools.lru_cache(4096)(_encode)  # names of files, stages: the same ones all the time
