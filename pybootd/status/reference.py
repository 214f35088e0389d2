"""The JSON API's documents and fields, and the metrics, as tables: the reference shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Field(NamedTuple):
    """One field of a JSON object: ``kind`` is its JSON type, ``meaning`` one line."""

    name: str
    kind: str
    meaning: str


class ApiObject(NamedTuple):
    """One kind of JSON object."""

    name: str
    meaning: str
    fields: tuple[Field, ...]


class ApiPath(NamedTuple):
    """One path that is answered: its query, what it answers, and the fields of its document."""

    path: str
    query: str
    meaning: str
    fields: tuple[Field, ...]


VERDICT = ApiObject(
    "verdict",
    "Why a boot stopped.",
    (
        Field("name", "string", "its code, one of the verdicts"),
        Field("grade", "string", "``fault``, or ``note``: worth knowing"),
        Field("certainty", "string", "``certain``, ``likely``, ``unknown``"),
        Field("what", "string", "what is wrong, for people"),
        Field("advice", "string", "what to do, for people"),
        Field("evidence", "array of strings", "what it was seen by, for people"),
    ),
)
TRANSFER = ApiObject(
    "transfer",
    "One file on its way, or that has been.",
    (
        Field("type", "string", "``transfer``"),
        Field("what", "string", "what the file is to the boot, for people"),
        Field("code", "string", "the same for programs: ``boot-file``, ``kernel``, ..."),
        Field("at", "number", "seconds since the boot began"),
        Field("until", "number", "seconds since the boot began; while it runs, now"),
        Field("protocol", "string", "``tftp``, ``http``"),
        Field("name", "string", "the name asked for"),
        Field("served", "string", "what the name led to"),
        Field("size", "integer or null", "octets; null: unknown"),
        Field("sent", "integer", "octets that have arrived"),
        Field("rate", "integer", "octets a second"),
        Field("blocksize", "integer", "octets; 0 over HTTP"),
        Field("windowsize", "integer", "blocks; 0 over HTTP"),
        Field("retransmissions", "integer", "blocks sent again"),
        Field(
            "outcome",
            "string",
            "``running``, ``done``, ``aborted``, ``probed``, ``silent``, ``failed``, ``stopped``",
        ),
        Field("reason", "string", "why it ended so, for people"),
        Field("cause", "string", "the same for programs; empty: the outcome says all"),
        Field("problem", "string", "what was wrong with the file; empty: nothing"),
    ),
)
STEP = ApiObject(
    "step",
    "Something else that happened, once or several times in a row.",
    (
        Field("type", "string", "``step``"),
        Field("what", "string", "what happened, for people"),
        Field("code", "string", "the same for programs: ``offered``, ``file-missing``, ..."),
        Field("cause", "string", "why it was refused, for programs; empty: it was not"),
        Field("at", "number", "seconds since the boot began"),
        Field("until", "number", "the last time, in seconds since the boot began"),
        Field("count", "integer", "how often"),
        Field("text", "string", "address, server, file name, or reason"),
        Field("more", "string", "what else is known, for people"),
    ),
)
BOOT = ApiObject(
    "boot",
    "One boot of a machine.",
    (
        Field("number", "integer", "counted from 1 for each machine"),
        Field("began", "number", "seconds since the epoch"),
        Field("seconds", "number", "how long it took, or has taken"),
        Field("kind", "string", "architecture, and iPXE if it runs that"),
        Field("vendor_class", "string", "option 60"),
        Field("address", "string", "empty: none yet"),
        Field("boot_file", "string", "what it was told to fetch"),
        Field("interface", "string", "where it was heard"),
        Field("relay", "string", "address of the relay; empty: none"),
        Field("proxy", "boolean", "another DHCP server gives its address"),
        Field("state", "string", "``up``, ``booting``, ``failed``, ``quiet``"),
        Field("stage", "string", "how far it has come, for people"),
        Field("stage_code", "string", "the same for programs"),
        Field("verdict", "verdict or null", "why it stopped"),
        Field("left_out", "integer", "steps that were too many to keep"),
        Field("steps", "array", "steps and transfers, in order"),
    ),
)
CLIENT = ApiObject(
    "client",
    "One machine, and how its newest boot stands.",
    (
        Field("daemon", "string", "who saw it; only where several share a lease database"),
        Field("elsewhere", "boolean", "another daemon saw it; only then"),
        Field("name", "string", "its MAC, or its address where no MAC is known"),
        Field("mac", "string", "empty: unknown"),
        Field("address", "string", "empty: none"),
        Field("hostname", "string", ""),
        Field("uuid", "string", ""),
        Field("kind", "string", "architecture, and iPXE if it runs that"),
        Field("state", "string", "``up``, ``booting``, ``failed``, ``quiet``"),
        Field("stage", "string", "how far it has come, for people"),
        Field("stage_code", "string", "the same for programs"),
        Field("boot", "integer", "number of its newest boot"),
        Field("boots", "integer or array", "how many are kept; in ``/api/clients/MAC`` the boots"),
        Field("verdict", "verdict or null", "why it stopped"),
        Field("began", "number", "when the newest boot began, in seconds since the epoch"),
        Field("last", "number", "when it was last heard of, in seconds since the epoch"),
        Field("transfers", "array of transfers", "those under way"),
    ),
)
LEASE = ApiObject(
    "lease",
    "One lease.",
    (
        Field("address", "string", ""),
        Field("mac", "string", ""),
        Field("hostname", "string", ""),
        Field("uuid", "string", ""),
        Field("state", "string", "``offered``, ``bound``, ``expired``, ..."),
        Field("expires", "number or null", "seconds since the epoch; null: never"),
        Field("network", "string", "the subnet of its pool"),
    ),
)
POOL = ApiObject(
    "pool",
    "One pool of addresses.",
    (
        Field("network", "string", "its subnet"),
        Field("addresses", "integer", "how many it has"),
        Field("taken", "integer", "how many are in use"),
    ),
)
DAEMON = ApiObject(
    "daemon",
    "One of the daemons that share a lease database.",
    (
        Field("name", "string", "host name and address"),
        Field("version", "string", ""),
        Field("started", "number", "seconds since the epoch"),
        Field("seen", "number", "seconds since it was last heard of"),
        Field("silent", "boolean", "it has not been heard of for too long"),
        Field("here", "boolean", "the one that answers"),
        Field("leases", "integer", ""),
        Field("up", "integer", "machines in this state"),
        Field("booting", "integer", "machines in this state"),
        Field("failed", "integer", "machines in this state"),
        Field("quiet", "integer", "machines in this state"),
    ),
)
OBJECTS = (CLIENT, BOOT, STEP, TRANSFER, VERDICT, LEASE, POOL, DAEMON)

_HEAD = (
    Field("version", "integer", "1; it counts up when a field changes its meaning or goes"),
    Field("now", "number", "seconds since the epoch"),
)
PATHS = (
    ApiPath(
        "/api",
        "",
        "What there is, and totals.",
        (
            Field("version", "integer", "as in each document"),
            Field("pybootd", "string", "the daemon's version"),
            Field("paths", "array of strings", ""),
            Field("stats", "object", "totals: ``clients``, ``running``, ``sent``, ``pools``, ..."),
        ),
    ),
    ApiPath(
        "/api/clients",
        "search= offset= limit=",
        "Machines, the one heard of last first; ``search`` in names, addresses and verdicts.",
        (
            *_HEAD,
            Field("total", "integer", "how many there are"),
            Field("clients", "array of clients", ""),
        ),
    ),
    ApiPath(
        "/api/clients/MAC",
        "",
        "One machine with all its boots, by MAC or address.",
        (*_HEAD, Field("client", "client", "")),
    ),
    ApiPath(
        "/api/clients/failed",
        "",
        "The machine whose boot failed last.",
        (*_HEAD, Field("client", "client", "")),
    ),
    ApiPath(
        "/api/leases",
        "offset= limit=",
        "Leases by address, and the pools.",
        (
            *_HEAD,
            Field("total", "integer", "how many leases there are"),
            Field("leases", "array of leases", ""),
            Field("pools", "array of pools", ""),
        ),
    ),
    ApiPath(
        "/api/site",
        "",
        "The daemons that share a lease database, and the machines that others saw last.",
        (
            *_HEAD,
            Field("machines", "array of clients", ""),
            Field("daemons", "array of daemons", ""),
            Field("database_away", "number or null", "seconds without an answer of the database"),
        ),
    ),
    ApiPath("/api/events", "", "Server-sent events: ``clients`` (rows) and ``stats``.", ()),
    ApiPath("/metrics", "", "Metrics for Prometheus.", ()),
)
ERROR = (
    Field("type", "string", "``about:blank``"),
    Field("title", "string", "the name of the HTTP status"),
    Field("status", "integer", "the HTTP status"),
    Field("detail", "string", "what is wrong, for people"),
    Field("code", "string", "the same for programs: ``unknown-machine``, ``token-needed``, ..."),
)
"""The body of any other answer than 200."""


class MetricKind(NamedTuple):
    """One metric of ``/metrics``; a counter's name there ends in ``_total``."""

    name: str
    counter: bool
    meaning: str
    labels: tuple[str, ...] = ()


METRICS = (
    MetricKind("pybootd_build_info", False, "The version that runs.", ("version",)),
    MetricKind("pybootd_dhcp", True, "DHCP exchanges by outcome.", ("outcome",)),
    MetricKind(
        "pybootd_malformed", True, "Datagrams that are no packet of the protocol.", ("protocol",)
    ),
    MetricKind("pybootd_pool_addresses", False, "Addresses of a pool.", ("network",)),
    MetricKind("pybootd_pool_taken", False, "Addresses in use.", ("network",)),
    MetricKind("pybootd_transfers", True, "Transfers by how they ended.", ("protocol", "outcome")),
    MetricKind("pybootd_sent_bytes", True, "Octets of files that arrived.", ("protocol",)),
    MetricKind(
        "pybootd_files_refused", True, "Requests for files refused.", ("protocol", "reason")
    ),
    MetricKind("pybootd_retransmissions", True, "TFTP blocks sent again."),
    MetricKind("pybootd_transfers_running", False, "Transfers under way."),
    MetricKind("pybootd_clients", False, "Clients by the state of their newest boot.", ("state",)),
    MetricKind("pybootd_clients_failed", False, "Clients whose newest boot failed.", ("verdict",)),
    MetricKind(
        "pybootd_loop_delay_seconds", False, "The longest turn of the loop since the last scrape."
    ),
)


def render_metrics() -> str:
    """Return the reference of the metrics in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 35 15 20 30", ""]
    rows = [("metric", "type", "labels", "meaning")]
    for one in METRICS:
        name = f"``{one.name}{'_total' if one.counter else ''}``"
        labels = ", ".join(f"``{label}``" for label in one.labels)
        rows.append((name, "counter" if one.counter else "gauge", labels, one.meaning))
    for first, *rest in rows:
        lines.append(f"   * - {first}")
        lines += [f"     - {text}".rstrip() for text in rest]
    return "\n".join([*lines, ""])


def list_paths() -> list[str]:
    """Return the paths as ``/api`` lists them."""
    return [
        f"{one.path}?{one.query.replace(' ', '&')}" if one.query else one.path
        for one in PATHS
        if one.path != "/api"
    ]


def render_api() -> str:
    """Return the reference of the JSON API in reStructuredText."""
    return "\n".join(_render_lines())


def _render_lines() -> Iterator[str]:
    for path in PATHS:
        title = f"GET {path.path}"
        yield from (title, "-" * len(title), "", path.meaning, "")
        if path.query:
            yield from (f"Query: ``{path.query}``", "")
        yield from _render_fields(path.fields)
    yield from ("Errors", "------", "")
    yield from ("The body of any other answer than 200 is a problem document (RFC 9457).", "")
    yield from _render_fields(ERROR)
    for one in OBJECTS:
        title = f"The object {one.name}"
        yield from (title, "-" * len(title), "", one.meaning, "")
        yield from _render_fields(one.fields)


def _render_fields(fields: Iterable[Field]) -> Iterator[str]:
    rows = list(fields)
    if not rows:
        return
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 20 20 60", "")
    for name, kind, meaning in (Field("field", "type", "meaning"), *rows):
        shown = name if name == "field" else f"``{name}``"
        yield from (f"   * - {shown}", f"     - {kind}", f"     - {meaning}".rstrip())
    yield ""
