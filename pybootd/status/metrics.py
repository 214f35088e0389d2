"""``/metrics``, for Prometheus; loaded when somebody asks for the first time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pybootd import __version__
from pybootd.status.counters import Counters
from pybootd.status.documents import Documents
from pybootd.status.reference import METRICS

MEDIA = "text/plain; version=0.0.4; charset=utf-8"

Values = Sequence[tuple[Sequence[str], float]]
"""A metric's values, each with its labels."""


class Metrics:
    """Reads the counts and the timeline at each scrape; ``delay`` tells the loop's longest turn."""

    def __init__(self, counts: Counters, report: Documents, delay: Callable[[], float]) -> None:
        self._counts = counts
        self._report = report
        self._delay = delay
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Write all metrics in the text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Announce nothing: the names are known when they are read."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        values = self._read_values()
        for kind in METRICS:
            family = CounterMetricFamily if kind.counter else GaugeMetricFamily
            made = family(kind.name, kind.meaning, labels=kind.labels)
            for labels, value in values[kind.name]:
                made.add_metric(labels, value)
            yield made

    def _read_values(self) -> dict[str, Values]:
        counts, pools = self._counts, list(self._report.pools())
        states, verdicts = self._count_boots()
        running = sum(one.boot.active for one in self._report.timeline.running_clients())
        return {
            "pybootd_build_info": [((__version__,), 1)],
            "pybootd_dhcp": _label_each(counts.dhcp),
            "pybootd_malformed": _label_each(counts.malformed),
            "pybootd_pool_addresses": [((row.network,), row.addresses) for row in pools],
            "pybootd_pool_taken": [((row.network,), row.taken) for row in pools],
            "pybootd_transfers": list(counts.transfers.items()),
            "pybootd_sent_bytes": _label_each(counts.octets),
            "pybootd_files_refused": list(counts.refused.items()),
            "pybootd_retransmissions": [((), counts.retransmissions)],
            "pybootd_transfers_running": [((), running)],
            "pybootd_clients": _label_each(states),
            "pybootd_clients_failed": _label_each(verdicts),
            "pybootd_loop_delay_seconds": [((), self._delay())],
        }

    def _count_boots(self) -> tuple[Counter[str], Counter[str]]:
        """Count the newest boots by state, and the failed ones by verdict."""
        states: Counter[str] = Counter()
        verdicts: Counter[str] = Counter()
        for record in self._report.timeline.records():
            if record.boots:
                standing = self._report.rows.standing_of(record)
                states[standing.state] += 1
                if standing.verdict is not None and standing.state == "failed":
                    verdicts[standing.verdict.code] += 1
        return states, verdicts


def _label_each(counts: Mapping[str, float]) -> Values:
    return [((label,), value) for label, value in counts.items()]
