"""``/metrics``, for Prometheus; loaded when somebody asks for the first time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pybootd import __version__
from pybootd.status.counters import Counters
from pybootd.status.documents import Documents

MEDIA = "text/plain; version=0.0.4; charset=utf-8"


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
        build = GaugeMetricFamily(
            "pybootd_build_info", "The version that runs.", labels=["version"]
        )
        build.add_metric([__version__], 1)
        yield build
        yield from self._dhcp()
        yield from self._files()
        yield from self._boots()
        yield GaugeMetricFamily(
            "pybootd_loop_delay_seconds",
            "The longest turn of the loop since the last scrape.",
            value=self._delay(),
        )

    def _dhcp(self) -> Iterator[Metric]:
        counts = self._counts
        dhcp = CounterMetricFamily("pybootd_dhcp", "DHCP exchanges by outcome.", labels=["outcome"])
        for outcome, count in counts.dhcp.items():
            dhcp.add_metric([outcome], count)
        yield dhcp
        bad = CounterMetricFamily(
            "pybootd_malformed",
            "Datagrams that are no packet of the protocol.",
            labels=["protocol"],
        )
        for protocol, count in counts.malformed.items():
            bad.add_metric([protocol], count)
        yield bad
        size = GaugeMetricFamily(
            "pybootd_pool_addresses", "Addresses of a pool.", labels=["network"]
        )
        taken = GaugeMetricFamily("pybootd_pool_taken", "Addresses in use.", labels=["network"])
        for row in self._report.pools():
            size.add_metric([row.network], row.addresses)
            taken.add_metric([row.network], row.taken)
        yield size
        yield taken

    def _files(self) -> Iterator[Metric]:
        counts = self._counts
        ended = CounterMetricFamily(
            "pybootd_transfers", "Transfers by how they ended.", labels=["protocol", "outcome"]
        )
        for (protocol, outcome), count in counts.transfers.items():
            ended.add_metric([protocol, outcome], count)
        yield ended
        octets = CounterMetricFamily(
            "pybootd_sent_bytes", "Octets of files that arrived.", labels=["protocol"]
        )
        for protocol, count in counts.octets.items():
            octets.add_metric([protocol], count)
        yield octets
        refused = CounterMetricFamily(
            "pybootd_files_refused", "Requests for files refused.", labels=["protocol", "reason"]
        )
        for (protocol, reason), count in counts.refused.items():
            refused.add_metric([protocol, reason], count)
        yield refused
        yield CounterMetricFamily(
            "pybootd_retransmissions", "TFTP blocks sent again.", value=counts.retransmissions
        )
        running = sum(one.boot.active for one in self._report.timeline.running())
        yield GaugeMetricFamily("pybootd_transfers_running", "Transfers under way.", value=running)

    def _boots(self) -> Iterator[Metric]:
        states: Counter[str] = Counter()
        faults: Counter[str] = Counter()
        for record in self._report.timeline.records():
            if record.boots:
                standing = self._report.rows.standing(record)
                states[standing.state] += 1
                if standing.verdict is not None and standing.state == "failed":
                    faults[standing.verdict.code] += 1
        clients = GaugeMetricFamily(
            "pybootd_clients", "Clients by the state of their newest boot.", labels=["state"]
        )
        for state, count in states.items():
            clients.add_metric([state], count)
        yield clients
        failed = GaugeMetricFamily(
            "pybootd_clients_failed", "Clients whose newest boot failed.", labels=["verdict"]
        )
        for name, count in faults.items():
            failed.add_metric([name], count)
        yield failed
