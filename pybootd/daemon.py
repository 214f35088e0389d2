"""The composition root: what is started in which order, and how it ends.

Read, refuse, bind, give up root's rights, loop. Only this module knows everybody; a service that
doesn't run is not even imported, so that ``pybootd -t`` stays small.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from pybootd import __version__
from pybootd.config.cache import describe_unwritable
from pybootd.config.ini import ConfigError
from pybootd.config.loader import Config, examine
from pybootd.config.options.bootp import DEFAULT_LEASES
from pybootd.config.options.table import restart_options
from pybootd.config.values import ANY
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, TransferEnded
from pybootd.core.finding import Finding
from pybootd.core.loop import Loop
from pybootd.files.resolver import Files
from pybootd.observe.log.event_log import EventLog
from pybootd.observe.log.handlers import LogError, open_log
from pybootd.system import privileges, systemd
from pybootd.system.neighbours import NeighbourTable
from pybootd.system.systemd import SystemdNotifier

if TYPE_CHECKING:
    from pybootd.access.base import Access
    from pybootd.dhcp4.server import DhcpServer
    from pybootd.files.uploads import Uploads
    from pybootd.http.server import HttpServer
    from pybootd.status.service import StatusService
    from pybootd.tftp.server import TftpServer

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0005
"""Longest time for which a worker that computes, a template say, keeps the loop from going on."""

# what can run, as the configuration and as people call it
SERVICES = MappingProxyType({"bootp": "DHCP", "tftp": "TFTP", "httpd": "HTTP"})
USUAL = ("bootp", "tftp")


class Service(Protocol):
    """One protocol's server."""

    def open(self) -> None:
        """Bind what it listens on; raises BindError."""

    def start(self) -> None:
        """Begin to serve; raises BindError."""

    def close(self) -> None:
        """End what runs, in order, and give everything back."""


class Daemon:
    """The services of one process, built from a configuration; nothing is bound before ``open``.

    Raises ConfigError with the faults that only the parts themselves can see.
    """

    def __init__(
        self,
        config: Config,
        services: Collection[str] = USUAL,
        loop: Loop | None = None,
    ) -> None:
        self.config = config
        self.loop = loop or Loop()
        self.bus = EventBus()
        self._neighbours = NeighbourTable(lambda: self.loop.now)
        # where we give all addresses ourselves, a lease alone says whose one is
        seen = None if config.bootp.mode == "dhcp" else self._neighbours.find_hardware_address
        self.clients = ClientTable(find_neighbour=seen)
        self._faults: list[Finding] = []
        self._services: list[Service] = []
        self._reloads: list[Callable[[Daemon], None]] = []
        self._files: dict[str, Files] = {}
        self._access: Access | None = None
        self._uploads: Uploads | None = None
        self.watching: StatusService | None = None
        self._dhcp_server: DhcpServer | None = None
        self._log = EventLog(self.bus)
        self._debug = False
        self._asked = tuple(services)
        self._runs = services = _running(services, config)
        if "httpd" in services:  # -H does so, too
            self.config = config = replace(config, httpd=replace(config.httpd, enable=True))
        self._serves = [SERVICES[service] for service in services]
        if "bootp" in services:
            self._dhcp()
        if "tftp" in services:
            self._tftp()
        if "httpd" in services:
            self._httpd()
        self.bus.subscribe(TransferEnded, self._note_transfer)
        if config.status.port:
            self._watch()
        if self._faults:
            raise ConfigError(self._faults)

    @classmethod
    def from_file(cls, path: Path, services: Collection[str] = USUAL) -> Daemon:
        """Read a configuration and build its daemon; raises ConfigError with every fault."""
        config, faults = examine(path, services)
        if not config.sections and any(not fault.place.section for fault in faults):
            raise ConfigError(faults)  # nothing of it could be read: nothing else is known
        try:
            daemon = cls(config, services)
        except ConfigError as error:
            # what is wrong with a line already is told once
            told = {fault.place for fault in faults}
            faults += (fault for fault in error.faults if fault.place not in told)
        if faults:
            faults += config.warnings
            raise ConfigError(sorted(faults, key=lambda fault: fault.place.line))
        return daemon

    def _dhcp(self) -> None:
        from pybootd.access import base
        from pybootd.dhcp4.server import DhcpServer
        from pybootd.observe.notify import Notifier

        config = self.config
        with self._noting_faults():
            self._access = base.build_access(config)
        if config.bootp.shared and config.bootp.mode != "proxy":
            from pybootd.leases.shared.admin import require_library

            with self._noting_faults():
                require_library(config)
        with self._noting_faults():
            server = DhcpServer(config, self.loop, self.bus, self.clients, self._access)
            self._services.append(server)
            self._dhcp_server = server
            self._reloads.append(lambda new: server.reload(new.config, new._access))
        notifier = Notifier(config.bootp.notify, self.bus, self.clients)
        self._services.append(notifier)
        self._reloads.append(lambda new: notifier.set_targets(new.config.bootp.notify))

    def _tftp(self) -> None:
        from pybootd.tftp.server import TftpServer

        config = self.config.tftp
        with self._noting_faults():
            self._uploads = self._uploads_of()
        with self._noting_faults():
            parts = (self.loop, self.bus, self.clients, self._files_of("tftp"), self._uploads)
            server = TftpServer(config, *parts)
            self._services.append(server)
            self._reloads.append(lambda new: new._reload_tftp(server))

    def _uploads_of(self) -> Uploads | None:
        if not self.config.tftp.upload:
            return None
        from pybootd.files.uploads import Uploads

        return Uploads.from_config(self.config)

    def _reload_tftp(self, server: TftpServer) -> None:
        server.reload(self.config.tftp, self._files_of("tftp"), self._uploads)

    def _httpd(self) -> None:
        from pybootd.http.server import HttpServer

        config = self.config.httpd
        with self._noting_faults():
            server = HttpServer(config, self.loop, self.bus, self.clients, self._http_files())
            self._services.append(server)
            self._reloads.append(lambda new: new._reload_http(server))

    def _reload_http(self, server: HttpServer) -> None:
        if "httpd" in self._runs:  # else it is to end, and goes on as it is until it does
            server.reload(self.config.httpd, self._http_files())

    def _note_transfer(self, ended: TransferEnded) -> None:
        """Tell the files that a client has one of them, for what it may ask for next."""
        files = self._files.get("tftp")
        if ended.protocol == "http":
            files = self._files.get("httpd", files)
        if files is not None:
            files.note_transfer(ended)

    def _http_files(self) -> Files:
        return self._files_of("httpd" if self.config.httpd.root else "tftp")

    def _files_of(self, section: str) -> Files:
        """Return the files below the section's root: services with one root have them together."""
        if section not in self._files:
            self._files[section] = Files.from_config(self.config, section)
        return self._files[section]

    def _watch(self) -> None:
        from pybootd.status.service import StatusService

        parts = (self.loop, self.bus, self.clients, self._files, self._dhcp_server)
        self.watching = StatusService(self.config.status, *parts)
        watching = self.watching
        self._services.append(watching)
        server, bootp = self._dhcp_server, self.config.bootp
        if server is not None and bootp.shared and bootp.mode != "proxy":
            from pybootd.status.cluster import ClusterPresence

            watching.presence = ClusterPresence(
                bootp.leases, self.loop, server, watching.changed_rows
            )
            self._services.append(watching.presence)
        self._reloads.append(lambda new: watching.use_files(new._files))

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        """Keep the faults of one part, so that those of the next are told at the same time."""
        try:
            yield
        except ConfigError as error:
            # services that read the same lines find the same faults
            self._faults += (fault for fault in error.faults if fault not in self._faults)

    def run(self, debug: bool = False) -> None:
        """Bind, serve until SIGINT or SIGTERM, and stop cleanly.

        ``debug``: how the log was opened, for when SIGHUP opens it again. Raises BindError,
        PrivilegeError and LogError.
        """
        self._debug, supervisor = debug, SystemdNotifier(self.loop)
        self.loop.open()
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self.loop.on_signal(number, lambda now: self.loop.stop())
            self.loop.on_signal(signal.SIGHUP, lambda now: supervisor.reload(self.reload))
            unusable = systemd.inherit_sockets()
            self.open(log_too=True)
            for complaint in (*unusable, *systemd.leave()):
                log.warning("%s", complaint)
            serves = "serves " + ", ".join(self._serves)
            log.info("pybootd %s %s", __version__, serves)
            supervisor.ready(serves)
            _collect_seldom()
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            self.loop.run()
            log.info("pybootd stops")
            supervisor.stopping()
        finally:
            self.close()

    def open(self, *, log_too: bool = False) -> None:
        """Bind everything, give up root's rights, open files, and begin to serve.

        The loop is open; ``log_too``: open the log as well, once we are who it belongs to. Raises
        as ``run`` does.
        """
        for service in self._services:
            service.open()
        rights = _rights(self.config, self._runs)
        dropped = privileges.drop(rights)
        privileges.check_writes(_writes(rights), dropped=dropped)
        if log_too:
            open_log(self.config.logger, self._debug)
        if dropped:
            self._warn_of_cache()
        for files in self._files.values():
            files.start(self.loop)
        for service in self._services:
            service.start()

    def _warn_of_cache(self) -> None:
        """Warn when the user that we are now has no right to write to the cache."""
        folder, user = self.config.cache.dir, self.config.security.user
        if folder is not None and not privileges.may_write(folder):
            log.warning("[cache] dir: %s", describe_unwritable(user, folder))

    def close(self) -> None:
        """End everything, in reverse order."""
        for service in reversed(self._services):
            service.close()
        for files in self._files.values():
            files.close()
        self._neighbours.close()
        self.loop.close()

    def reload(self) -> None:
        """Serve by the file as it is now, what is under way left alone; open the log again.

        A file at fault changes nothing: its faults are logged.
        """
        try:
            new = Daemon.from_file(self.config.path, self._asked)
        except ConfigError as error:
            self._open_log(self.config)
            for fault in error.faults:
                log.error("%s", fault)
            log.error("%s is refused: the earlier configuration stays", self.config.path)
            return
        self._open_log(new.config)
        for warning in new.config.warnings:
            log.warning("%s", warning)
        self.config = new.config = self._fixed(new)
        # earlier files are left to the transfers under way, and end with the last of them
        self._files = new._files
        for files in self._files.values():
            files.start(self.loop)
        for reload in self._reloads:
            reload(new)
        log.info("%s is in force", self.config.path)

    def _fixed(self, other: Daemon) -> Config:
        """Return the other's configuration, but for what only a start can change; tell of that."""
        new, changed = other.config, []
        for section in (*SERVICES, "security", "status"):
            # what runs is compared as a whole, below
            options = [one for one in restart_options(section) if one != "enable"]
            before, after = getattr(self.config, section), getattr(new, section)
            kept = {option: getattr(before, option) for option in options}
            differ = [option for option in options if getattr(after, option) != kept[option]]
            if section in (*self._runs, "security", "status"):
                changed += [f"[{section}] {option}" for option in differ]
            new = replace(new, **{section: replace(after, **kept)})
        if self._runs != other._runs:
            changed.append("[httpd] enable")
            new = replace(new, httpd=replace(new.httpd, enable="httpd" in self._runs))
        if changed:
            log.warning("%s: changed, but that requires a restart", ", ".join(changed))
        return new

    def _open_log(self, config: Config) -> None:
        try:
            open_log(config.logger, self._debug)
        except LogError as error:
            log.error("%s; the earlier log stays", error)


def _running(services: Collection[str], config: Config) -> tuple[str, ...]:
    """Add the HTTP server where the file asks for it, unless one service alone is wanted."""
    asked = config.httpd.enable and set(services) == set(USUAL)
    return (*services, "httpd") if asked else tuple(services)


def _rights(config: Config, services: Collection[str]) -> privileges.Rights:
    """Work out what the daemon needs when it is no longer root."""
    tftp = config.tftp
    lease_file = config.bootp.lease_copy if config.bootp.shared else config.bootp.leases
    keeps_leases = "bootp" in services and config.bootp.mode != "proxy"
    in_file = keeps_leases and lease_file not in ("memory", "none")
    roots = {"tftp": tftp.root, "httpd": config.httpd.root or tftp.root}
    upload = config.path.absolute().parent / tftp.upload if tftp.upload else None
    return privileges.Rights(
        config.security.user,
        config.security.group,
        _capabilities(config, services),
        Path(lease_file) if in_file else None,
        config.logger.file if config.logger.type == "file" else None,
        config.cache.dir,
        Path(DEFAULT_LEASES).parent,
        tuple(
            (f"[{service}] root", Path(roots[service]))
            for service in services
            if roots.get(service) and "://" not in roots[service]
        ),
        (("[tftp] upload", upload),) if upload and "tftp" in services else (),
    )


def _writes(rights: privileges.Rights) -> Iterator[tuple[str, Path]]:
    """Name what is written to, each with its setting."""
    files = (
        ("[bootp] leases", rights.lease_file),
        ("[logger] file", rights.log_file),
        ("[cache] dir", rights.cache),
    )
    yield from ((setting, path) for setting, path in files if path is not None)
    yield from rights.writes


def _capabilities(config: Config, services: Collection[str]) -> Collection[int]:
    """Return the capabilities that are needed when every port of the start is bound.

    Packet sockets are opened at the start and serve interfaces that come later, too, and
    SO_BINDTODEVICE on a fresh socket needs no right (Linux 5.7). Left is CAP_NET_BIND_SERVICE: for
    port 67 on a named interface that comes later, and for transfers from ports below 1024.
    """
    bootp, span = config.bootp, config.tftp.port_range
    single = bool(bootp.interface) or bootp.address != ANY
    if "bootp" in services and single and bootp.port < privileges.PRIVILEGED_PORTS:
        return (privileges.CAP_NET_BIND_SERVICE,)
    if "tftp" in services and span is not None and span[0] < privileges.PRIVILEGED_PORTS:
        return (privileges.CAP_NET_BIND_SERVICE,)
    return ()


def _collect_seldom() -> None:
    """Look for garbage less often, and never among what is there by now, which stays.

    Almost everything is freed by reference counts; while a thousand machines boot, looking for the
    rest took 2 % of the time, in pauses of up to 20 ms.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
