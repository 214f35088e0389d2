"""Timelines, verdicts and leases as JSON values, for programs, commands and the page.

Its version counts up when a field changes its meaning or goes; new fields may come at any time.
Moments are seconds since the epoch; ``at`` and ``until`` are seconds since the boot began.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.finding import Grade
from pybootd.observe.boots.boot import Boot, ClientRecord, name_kind
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind
from pybootd.observe.boots.timeline import Timeline
from pybootd.observe.diagnosis.evidence import Evidence, FileLook, Looker
from pybootd.observe.diagnosis.rules import judge, settled
from pybootd.observe.diagnosis.verdicts import Diagnosis
from pybootd.observe.wording import STAGES, describe_step
from pybootd.status.peers import PeerMachine, Site, outcome_weight
from pybootd.status.rows import (
    Json,
    Rows,
    compact_json,
    describe_transfer,
    describe_verdict,
    stage_code,
)

VERSION = 1
ROWS = 200  # of a list, unless more are asked for
MOST_ROWS = 1000
MAX_PENDING = 16  # files that one answer waits for
MAX_JUDGED = 20  # clients that are judged to find the newest failure


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One lease; ``expires`` in seconds from now, None: never."""

    address: str
    mac: str
    hostname: str
    uuid: str
    state: str
    expires: float | None
    network: str


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One pool: how many addresses it has, and how many are taken."""

    network: str
    addresses: int
    taken: int


class Documents:
    """Reads the timeline for those who look; ``clock`` is monotonic, ``wall`` since the epoch."""

    def __init__(
        self,
        timeline: Timeline,
        clock: Callable[[], float],
        wall: Callable[[], float],
        look: Looker,
        leases: Callable[[], Iterable[LeaseRow]] = tuple,
        pools: Callable[[], Iterable[PoolRow]] = tuple,
    ) -> None:
        self.timeline = timeline
        self.clock = clock
        self._wall = wall
        self._look = look
        self.leases = leases
        self.pools = pools
        self.rows = Rows(clock, wall, self.judge_boot, self.state_of)
        self._site: Site | None = None
        # names whose files were asked about, and that nobody has looked at yet
        self.pending: BoundedMap[str, None] = BoundedMap(MAX_PENDING)

    @property
    def site(self) -> Site | None:
        """The daemons that share the leases; None: this one is alone."""
        return self._site

    @site.setter
    def site(self, site: Site) -> None:
        self._site = site
        self.rows.daemon = site.name

    def judge_boot(self, boot: Boot) -> Diagnosis | None:
        """Judge a boot; what can't change any more is judged once."""
        if isinstance(boot.cached, tuple):
            found: Diagnosis | None = boot.cached[0]
            return found
        pending: list[str] = []

        def look(name: str) -> FileLook:
            found = self._look(name)
            if found.pending:
                pending.append(name)
            return found

        case = Evidence(boot, self.clock(), look)
        verdict = judge(case)
        for name in pending:
            self.pending[name] = None
        if case.awaited:  # nothing is guessed before the file has been looked at
            return None
        if not pending and settled(case):
            boot.cached = (verdict,)
        return verdict

    def find_pending(self, name: str) -> list[str]:
        """Name the files that a look is waited for, to judge a client; "": the newest clients."""
        self.pending.clear()
        found = self.timeline.find_client(name) if name else None
        records = [found] if found is not None else islice(self.timeline.records(), MAX_JUDGED)
        for record in records:
            for boot in record.boots if name else record.boots[-1:]:
                self.judge_boot(boot)
        return list(self.pending)

    def state_of(self, boot: Boot) -> str:
        """Say how a boot stands: ``up``, ``booting``, ``failed``, or ``quiet`` (nothing known)."""
        if boot.active:
            return "booting"
        if (boot.up and self.judge_boot(boot) is None) or (
            not boot.booting and boot.stage is StepKind.SYSTEM
        ):
            return "up"
        verdict = self.judge_boot(boot)
        if verdict is not None:
            return "failed" if verdict.grade is Grade.FAULT else "quiet"
        return "quiet" if boot.followed is not None else "booting"

    # the documents

    def list_clients(self, search: str = "", offset: int = 0, limit: int = ROWS) -> str:
        """List clients, the one heard of last first; ``search`` in names, addresses, verdicts.

        Those that other daemons saw are among them, each client once. It is JSON text.
        """
        found = self.search_clients(search)
        chosen = islice(found, offset, offset + min(limit, MOST_ROWS))
        listed = [
            one.text if isinstance(one, PeerMachine) else self.rows.row_text(one) for one in chosen
        ]
        if search:
            total = offset + len(listed) + sum(1 for _ in found)
        else:
            theirs = self.site.others if self.site is not None else ()
            known = self.timeline.find_client
            total = len(self.timeline) + sum(known(one.name) is None for one in theirs)
        head = compact_json(self._make_document(total=total))
        return f'{head[:-1]},"clients":[{",".join(listed)}]}}'

    def search_clients(self, text: str) -> Iterator[ClientRecord | PeerMachine]:
        """Find the clients in whose row the text stands, the one heard of last first."""
        words = [(word, word.replace("-", ":")) for word in text.lower().split()]
        site = self.site
        if site is None or not len(site.others):
            return self._search_own(words)
        theirs = (
            one
            for one in site.others.list_newest()
            if one.matches_words(words) and self.is_news(one)
        )
        return heapq.merge(self._search_own(words), theirs, key=lambda one: -self._last_heard(one))

    def _search_own(self, words: list[tuple[str, str]]) -> Iterator[ClientRecord]:
        here = self.rows.daemon.lower()
        words = [both for both in words if both[0] not in here]
        for record in self.timeline.records():
            fits = record.boots and (not words or self.rows.row_matches(record, words))
            if fits and self.seen_elsewhere(record) is None:
                yield record

    def _last_heard(self, one: ClientRecord | PeerMachine) -> float:
        if isinstance(one, PeerMachine):
            return one.last
        now = self.clock()
        return self._wall() - now + one.boot.last_heard(now)

    def seen_elsewhere(self, record: ClientRecord) -> PeerMachine | None:
        """Return what another daemon saw of this client, if that is newer."""
        other = self.site.others.by_name(record.name) if self.site is not None else None
        if (
            other is None
            or outcome_weight(stage_code(record.boot), self._last_heard(record)) >= other.weight
        ):
            return None
        return other

    def is_news(self, other: PeerMachine) -> bool:
        """Tell whether nothing newer was seen here of the client."""
        record = self.timeline.find_client(other.name)
        return record is None or not record.boots or self.seen_elsewhere(record) is other

    def describe_client(self, name: str) -> Json | None:
        """Tell everything of one client; None: it isn't known.

        What another daemon saw last of it has no boots; those that were seen here are told.
        """
        record = self.timeline.find_client(name)
        if record is None or not record.boots:
            other = self.site.others.find_machine(name) if self.site is not None else None
            boots = []
        else:
            other = self.seen_elsewhere(record)
            boots = [self.describe_boot(boot) for boot in reversed(record.boots)]
        if other is not None:
            text = other.text
        elif record is not None and record.boots:
            text = self.rows.row_text(record)
        else:
            return None
        row: Json = json.loads(text)
        return self._make_document(client=row | {"boots": boots})

    def describe_newest_failure(self) -> Json | None:
        """Tell everything of the client whose boot failed last; None: none did."""
        for record in self.timeline.records():
            if record.boots and self.rows.standing_of(record).state == "failed":
                return self.describe_client(record.name)
        return None

    def list_leases(self, offset: int = 0, limit: int = ROWS) -> Json:
        """List leases and pools."""
        now = self._wall()
        rows = sorted(self.leases(), key=lambda row: tuple(map(int, row.address.split("."))))
        listed = [
            {
                "address": row.address,
                "mac": row.mac,
                "hostname": row.hostname,
                "uuid": row.uuid,
                "state": row.state,
                "expires": None if row.expires is None else round(now + row.expires, 3),
                "network": row.network,
            }
            for row in rows[offset : offset + min(limit, MOST_ROWS)]
        ]
        return self._make_document(total=len(rows), leases=listed, pools=self.list_pools())

    def describe_site(self) -> Json:
        """List the daemons that share the leases, and the machines that others saw last."""
        newest = self.site.others.list_newest()[:ROWS] if self.site is not None else []
        machines = [json.loads(one.text) for one in newest]
        return self._make_document(machines=machines, **self.list_daemons())

    def list_daemons(self) -> Json:
        """Tell of the daemons, and for how long their database has been away."""
        site = self.site
        if site is None:
            return {"daemons": [], "database_away": None}
        return {"daemons": site.daemons, "database_away": site.away}

    def list_pools(self) -> list[Json]:
        """List the pools."""
        return [
            {"network": row.network, "addresses": row.addresses, "taken": row.taken}
            for row in self.pools()
        ]

    def _make_document(self, **values: object) -> Json:
        return {"version": VERSION, "now": round(self._wall(), 3), **values}

    # their parts

    def describe_boot(self, boot: Boot) -> Json:
        """Tell everything of one boot."""
        now = self.clock()
        return {
            "number": boot.number,
            "began": self._to_epoch(boot.began),
            "seconds": round(boot.last_heard(now) - boot.began, 4),
            "kind": name_kind(boot),
            "vendor_class": boot.vendor_class,
            "address": str(boot.address or ""),
            "boot_file": boot.boot_file,
            "interface": boot.interface,
            "relay": str(boot.relay or ""),
            "proxy": boot.proxy,
            "state": self.state_of(boot),
            "stage": STAGES[boot.stage],
            "stage_code": stage_code(boot),
            "verdict": describe_verdict(self.judge_boot(boot)),
            "left_out": boot.left_out,
            "steps": [
                describe_transfer(one, boot, now)
                if isinstance(one, BootTransfer)
                else self._describe_step(one, boot)
                for one in boot.steps
            ],
        }

    def _to_epoch(self, when: float) -> float:
        return round(self._wall() - self.clock() + when, 3)

    @staticmethod
    def _describe_step(step: Step, boot: Boot) -> Json:
        return {
            "type": "step",
            "what": STAGES[step.kind],
            "code": step.kind.value,
            "cause": step.cause.value if step.cause else "",
            "at": round(step.began - boot.began, 4),
            "until": round(step.ended - boot.began, 4),
            "count": step.count,
            "text": step.subject or (step.detail if step.kind is StepKind.REFUSED else ""),
            "more": describe_step(step),
        }
