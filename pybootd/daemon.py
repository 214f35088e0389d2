"""The composition root: what is started in which order, and how it ends.

Read, refuse, bind, loop. Only this module knows everybody; a service that doesn't run is not even
imported, so that ``pybootd -t`` stays small.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pybootd import __version__
from pybootd.client import Clients
from pybootd.config import Config, ConfigError, Fault, examine
from pybootd.events import Bus
from pybootd.files.resolver import Files
from pybootd.loop import Loop
from pybootd.observe.log import EventLog

log = logging.getLogger(__name__)

# what can run, as the configuration and as people call it
SERVICES = MappingProxyType({"bootp": "DHCP", "tftp": "TFTP", "httpd": "HTTP"})
USUAL = ("bootp", "tftp")


class Service(Protocol):
    """One protocol's server."""

    def open(self) -> None:
        """Bind what it listens on; raises BindError."""

    def start(self) -> None:
        """Begin to serve."""

    def close(self) -> None:
        """End what runs, in order, and give everything back."""


class Daemon:
    """The services of one process, built from a configuration; nothing is bound before ``open``.

    Raises ConfigError with the faults that only the parts themselves can see.
    """

    def __init__(self, config: Config, services: Collection[str] = USUAL) -> None:
        self.config = config
        self.loop = Loop()
        self.bus = Bus()
        self.clients = Clients()
        self._faults: list[Fault] = []
        self._services: list[Service] = []
        self._files: dict[str, Files] = {}
        self._log = EventLog(self.bus)
        services = _running(services, config)
        if "httpd" in services:  # -H does so, too
            self.config = config = replace(config, httpd=replace(config.httpd, enable=True))
        self._serves = [SERVICES[service] for service in services]
        if "bootp" in services:
            self._dhcp()
        if "tftp" in services:
            self._tftp()
        if "httpd" in services:
            self._httpd()
        if self._faults:
            raise ConfigError(self._faults)

    @classmethod
    def from_file(cls, path: Path, services: Collection[str] = USUAL) -> Daemon:
        """Read a configuration and build its daemon; raises ConfigError with every fault."""
        config, faults = examine(path, services)
        if faults and not config.sections:  # it could not be read at all
            raise ConfigError(faults)
        try:
            daemon = cls(config, services)
        except ConfigError as error:
            faults += error.faults
        if faults:
            faults += config.warnings
            raise ConfigError(sorted(faults, key=lambda fault: fault.line))
        return daemon

    def _dhcp(self) -> None:
        from pybootd.access import base
        from pybootd.dhcp.server import DhcpServer

        config, access = self.config, None
        with self._noting_faults():
            access = base.configured(config)
        with self._noting_faults():
            self._services.append(DhcpServer(config, self.loop, self.bus, self.clients, access))
        if config.bootp.notify:
            from pybootd.observe.notify import Notifier

            notify = config.bootp.notify
            self._services.append(Notifier(notify, self.bus, self.clients))

    def _tftp(self) -> None:
        from pybootd.tftp.server import TftpServer

        with self._noting_faults():
            files = self._files_of("tftp")
            server = TftpServer(self.config.tftp, self.loop, self.bus, self.clients, files)
            self._services.append(server)

    def _httpd(self) -> None:
        from pybootd.http.server import HttpServer

        config = self.config.httpd
        with self._noting_faults():
            files = self._files_of("httpd" if config.root else "tftp")
            self._services.append(HttpServer(config, self.loop, self.bus, self.clients, files))

    def _files_of(self, section: str) -> Files:
        """Return the files below the section's root: services with one root have them together."""
        if section not in self._files:
            self._files[section] = Files.from_config(self.config, section)
        return self._files[section]

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        """Keep the faults of one part, so that those of the next are told at the same time."""
        try:
            yield
        except ConfigError as error:
            # services that read the same lines find the same faults
            self._faults += (fault for fault in error.faults if fault not in self._faults)

    def run(self) -> None:
        """Bind, serve until SIGINT or SIGTERM, and stop cleanly; raises BindError."""
        self.loop.open()
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self.loop.on_signal(number, lambda now: self.loop.stop())
            for service in self._services:
                service.open()
            for files in self._files.values():
                files.start(self.loop)
            for service in self._services:
                service.start()
            log.info("pybootd %s serves %s", __version__, ", ".join(self._serves))
            self.loop.run()
            log.info("pybootd stops")
        finally:
            for service in reversed(self._services):
                service.close()
            for files in self._files.values():
                files.close()
            self.loop.close()


def _running(services: Collection[str], config: Config) -> tuple[str, ...]:
    """Add the HTTP server where the file asks for it, unless one service alone is wanted."""
    asked = config.httpd.enable and set(services) == set(USUAL)
    return (*services, "httpd") if asked else tuple(services)
