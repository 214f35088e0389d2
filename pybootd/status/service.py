"""What watches the services: timeline, counts, and the status address that tells of them."""

from __future__ import annotations

import gc
import logging
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from pybootd.config.options.service import StatusConfig
from pybootd.core.client import Client, IPAddress, KnownClient
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus
from pybootd.core.loop import Loop
from pybootd.core.workers import Later, TaskResult
from pybootd.files.resolver import Files
from pybootd.observe.boots.timeline import Timeline
from pybootd.status.counters import Counters
from pybootd.system import sockets

if TYPE_CHECKING:
    from pybootd.dhcp4.server import DhcpServer
    from pybootd.observe.diagnosis.evidence import FileLook
    from pybootd.status.cluster import ClusterPresence
    from pybootd.status.documents import Documents, LeaseRow, PoolRow
    from pybootd.status.looks import FileLooks
    from pybootd.status.server import StatusServer

log = logging.getLogger(__name__)

_BACKLOG = 64
_ITS = ("offered", "bound")  # states of a lease in which its client may ask for files
_RECENT = 1000  # machines at most that other daemons are told of in one go


class StatusService:
    """A service like the others: it serves people. ``dhcp`` None: none runs here.

    What answers is loaded when somebody connects for the first time; most daemons are never asked.
    """

    def __init__(
        self,
        config: StatusConfig,
        loop: Loop,
        bus: EventBus,
        clients: ClientTable,
        files: Mapping[str, Files],
        dhcp: DhcpServer | None,
    ) -> None:
        self._config = config
        self._loop = loop
        self._files = files
        self._dhcp = dhcp
        self._clients = clients
        self.timeline = Timeline(bus, lambda: loop.now, self._client_at)
        self._counts = Counters(bus)
        self._token = config.token
        self._sock: socket.socket | None = None
        self._server: StatusServer | None = None
        self._made: Documents | None = None
        self._looks: FileLooks | None = None
        self.presence: ClusterPresence | None = None  # where daemons share a lease database

    def open(self) -> None:
        """Bind the status address; one that is taken is a warning, and boots go on without it."""
        config = self._config
        try:
            self._sock = sockets.tcp_socket(
                config.address, config.port, _BACKLOG, what="status page", option="[status] port"
            )
        except sockets.BindError as error:
            log.warning("%s; running without it", error)
            return
        if not config.address.is_loopback and not self._token:
            import secrets

            self._token = secrets.token_urlsafe(12)
            where = f"http://{config.address}:{config.port}/#{self._token}"
            log.info("status page: %s (set [status] token to keep it)", where)

    def use_files(self, files: Mapping[str, Files]) -> None:
        """Look at these files from now on."""
        self._files = files

    def start(self) -> None:
        """Answer from now on."""
        if self._sock is not None:
            self._loop.watch(self._sock, self._load_server)

    def _load_server(self, now: float) -> None:
        """Have a worker load what answers, which takes over then: it is too much for the loop."""
        if self._sock is not None:
            self._loop.unwatch(self._sock)
            self._loop.run_in_worker(Later(_import_server, "status", 1), self._start_server)

    def _start_server(self, loaded: TaskResult[None], now: float) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        loop = self._loop
        try:
            loaded.get()
            from pybootd.status.api import StatusApi
            from pybootd.status.server import StatusServer

            report = self._report()
        except ImportError as error:  # a user that may not read where it is installed
            log.error("no status page: %s", error)
            sock.close()
            return
        status = StatusApi(report, self._counts, loop, loop.take_longest, self._token)
        looks = self._looks
        if looks is not None:
            self._server = StatusServer(loop, status, looks, guarded=bool(self._token))
            self._server.serve(sock)
        gc.freeze()  # as at the start: what was loaded now stays

    def _report(self) -> Documents:
        if self._made is None:
            from pybootd.status.documents import Documents
            from pybootd.status.looks import FileLooks

            loop = self._loop
            self._looks = FileLooks(loop, lambda: self._files.values())
            views = (self._looks.find_look, self.list_lease_rows, self.list_pool_rows)
            self._made = Documents(self.timeline, lambda: loop.now, time.time, *views)
            if self.presence is not None:
                self._made.site = self.presence
        return self._made

    def _client_at(self, address: IPAddress) -> KnownClient | None:
        """Say who is at an address, by what it asked here, or by its lease from anywhere."""
        known = self._clients.find_by_address(address)
        if known is not None or self._dhcp is None or not isinstance(address, IPv4Address):
            return known
        network = self._dhcp.subnets.find_subnet(address)
        lease = network.pool.find_lease_at(address) if network is not None else None
        # an offer counts: its client may be here before we hear that another daemon confirmed it
        if lease is None or lease.state.value not in _ITS or lease.expires <= self._loop.now:
            return None
        return KnownClient(Client(lease.mac, uuid=lease.uuid, hostname=lease.hostname), address)

    def changed_rows(
        self, told: Mapping[str, int]
    ) -> tuple[Counter[str], dict[str, tuple[int, str]]]:
        """Count how machines stand; return mark and row, by name, of those with another mark."""
        rows, now = self._report().rows, self._loop.now
        states: Counter[str] = Counter()
        found: dict[str, tuple[int, str]] = {}
        for record in self.timeline.records():
            if record.boots:
                standing, boot = rows.standing_of(record), record.boot
                states[standing.state] += 1
                verdict = standing.verdict and standing.verdict.code
                how = (standing.state, verdict, record.address, len(boot.steps))
                mark = hash((boot.number, boot.last_heard(now), *how))
                if told.get(record.name) != mark and len(found) < _RECENT:
                    found[record.name] = mark, rows.row_text(record)
        return states, found

    def close(self) -> None:
        """Give the status address back."""
        if self._server is not None:
            self._server.close()
        if self._sock is not None:
            self._loop.unwatch(self._sock)
            self._sock.close()
            self._sock = None

    def look_at_file(self, name: str) -> FileLook:
        """Look at a file that is served; it is read, which blocks."""
        from pybootd.status.looks import look_at_file

        return look_at_file(self._files.values(), name)

    @property
    def is_looking(self) -> bool:
        """Whether files wait to be looked at, so that verdicts may be missing."""
        return self._looks is not None and not self._looks.is_idle

    def list_lease_rows(self) -> Iterator[LeaseRow]:
        """Yield the leases of all pools."""
        from pybootd.status.documents import LeaseRow

        now = self._loop.now
        for network in self._dhcp.subnets if self._dhcp else ():
            for lease in network.pool.list_leases():
                forever = lease.expires == float("inf")
                yield LeaseRow(
                    str(lease.address),
                    lease.mac.hex(":"),
                    lease.hostname,
                    str(lease.uuid or ""),
                    lease.state.value
                    if lease.is_active(now) or lease.state.value != "bound"
                    else "expired",
                    None if forever else lease.expires - now,
                    str(network.network),
                )

    def list_pool_rows(self) -> Iterator[PoolRow]:
        """Yield the pools."""
        from pybootd.status.documents import PoolRow

        now = self._loop.now
        for network in self._dhcp.subnets if self._dhcp else ():
            pool = network.pool
            taken = sum(lease.expires > now for lease in pool.list_leases())
            yield PoolRow(str(network.network), max(0, pool.last - pool.first + 1), taken)


def _import_server() -> None:
    """Load the modules that answer; later imports of them take no time."""
    import pybootd.status.api
    import pybootd.status.documents
    import pybootd.status.metrics
    import pybootd.status.server  # noqa: F401
