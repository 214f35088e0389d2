"""One table of settings, read once into frozen dataclasses; every fault at once.

Nobody else sees the file. A fault names file, line, section and option, what is wrong, and a guess
at what was meant.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pybootd.config import checks, client_classes, legacy, values
from pybootd.config.bootfile import BootFileConfig, read_bootfile
from pybootd.config.cache import read_cache, resolve_credentials
from pybootd.config.client_classes import ClientProfiles, SubnetConfig
from pybootd.config.guesses import explain_root, guess_labelled
from pybootd.config.ini import ConfigError, Section, read_ini
from pybootd.config.options import table
from pybootd.config.options.bootp import BootpConfig
from pybootd.config.options.files import CacheConfig, HttpdConfig, TftpConfig
from pybootd.config.options.service import LoggerConfig, SecurityConfig, StatusConfig
from pybootd.config.reader import ConfigReader
from pybootd.config.static import StaticAddresses
from pybootd.core.finding import Finding, Grade
from pybootd.core.mac import MacPrefix
from pybootd.core.text import did_you_mean


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    ``static`` holds the addresses kept for MACs, those of ``[client]`` sections too;
    ``buggy`` holds the MACs that are answered by broadcast, the longest prefixes first;
    ``sections`` holds each section as it was written, for code that reads its own (access lists,
    filters, ``[options]``); ``warnings`` what was ignored.
    """

    path: Path = Path()
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    bootp: BootpConfig = field(default_factory=BootpConfig)
    bootfile: BootFileConfig = field(default_factory=BootFileConfig)
    static: Mapping[bytes, IPv4Address] = field(default_factory=dict)
    buggy: tuple[tuple[MacPrefix, bool], ...] = ()
    subnets: tuple[SubnetConfig, ...] = ()
    profiles: ClientProfiles = field(default_factory=ClientProfiles)
    tftp: TftpConfig = field(default_factory=TftpConfig)
    httpd: HttpdConfig = field(default_factory=HttpdConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    status: StatusConfig = field(default_factory=StatusConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    pins: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)
    warnings: tuple[Finding, ...] = ()


def load(path: Path, services: Collection[str] = ("bootp", "tftp")) -> Config:
    """Read a configuration for these services; raises ConfigError with every fault."""
    config, faults = examine(path, services)
    if faults:
        raise ConfigError([*faults, *config.warnings])
    return config


def examine(path: Path, services: Collection[str]) -> tuple[Config, list[Finding]]:
    """Read a configuration and all its faults; a value at fault is left at its default."""
    written, faults = read_ini(path)
    reader = _Reader(path, written, faults)
    config = reader.config(services)
    return config, sorted(reader.faults, key=lambda fault: fault.place.line)


def _find_plugins(written: Mapping[str, Section]) -> set[str]:
    """Name the access list and the filters that are in use: each may have its own section."""
    options = [
        (table.section_name(section.name), option.lower(), text.lower())
        for section in written.values()
        for option, text in section.options.items()
    ]
    return {
        name
        for section, option, text in options
        if (section, option) in (("bootp", "access"), ("tftp", "filters"))
        for name in values.parse_names(text)
    }


class _Reader(ConfigReader):
    """Turns the sections of one file into a Config, noting every fault on its way."""

    def __init__(self, path: Path, written: Mapping[str, Section], faults: list[Finding]) -> None:
        super().__init__(path, faults)
        self._plugins = _find_plugins(written)
        for section in written.values():
            self._keep_section(section)
        self.sections, old = legacy.modernize(self.sections)
        self.faults += (fault for fault in old if fault.grade is Grade.FAULT)
        self.warnings += (fault for fault in old if fault.grade is Grade.WARNING)

    def config(self, services: Collection[str]) -> Config:
        """Read everything."""
        if not self.faults or self.sections:  # an unreadable file has no sections to complain of
            self._check_required(services)
        bootp = self._read_bootp()
        self.read_section("http")
        for name in ("filters", "mac", "uuid"):
            self._check_values(name)
        profiles, addresses = client_classes.read_profiles(self)
        static = StaticAddresses(self, addresses)
        subnets = client_classes.read_subnets(self, bootp.pool_start)
        config = Config(
            path=self.path,
            logger=self._read_logger(),
            bootp=bootp,
            bootfile=read_bootfile(self),
            static=static.by_mac,
            buggy=self._read_buggy_clients(),
            subnets=subnets,
            profiles=profiles,
            tftp=table.build_config("tftp", self._read_file_service("tftp", bootp)),
            httpd=table.build_config("httpd", self._read_file_service("httpd", bootp)),
            security=self._read_security(),
            status=table.build_config("status", self.read_section("status")),
            **read_cache(self),
            sections=self.sections,
        )
        self._check_together(config, static, services)
        return replace(config, warnings=tuple(self.warnings))

    def _check_together(
        self, config: Config, static: StaticAddresses, services: Collection[str]
    ) -> None:
        """Note what only several sections together show."""
        bootp = config.bootp
        network = checks.bootp_network(bootp)
        found = {name: getattr(bootp, name) for name in table.SECTIONS["bootp"].options}
        checks.check_pool(self, self.section("bootp"), network, found, config.static)
        for subnet in config.subnets:
            section = self.section(subnet.section.lower())
            own = {"pool_count": bootp.pool_count, **subnet.own}
            checks.check_pool(self, section, subnet.network, own, config.static)
        subnets = tuple(subnet.network for subnet in config.subnets)
        static.check_networks(self, checks.served_networks(bootp, subnets))
        if {"bootp", "tftp"} <= set(services):
            self.faults += checks.check_ports(self, "bootp", "tftp", bootp, config.tftp)
        if config.httpd.enable or "httpd" in services:
            same = checks.check_ports(self, "httpd", "status", config.httpd, config.status)
            # without its port the status page is left out
            self.warnings += [replace(one, grade=Grade.WARNING) for one in same]
        checks.check_meaningless(self, config.bootp, config.logger)

    def _check_values(self, name: str) -> None:
        """Note values at fault of a section whose options another part reads."""
        (declared,) = table.SECTIONS[name].options.values()
        section = self.section(name)
        for option, text in section.options.items():
            self.parse_value(section, option, declared.parser, text)

    def _keep_section(self, section: Section) -> None:
        """Keep a section under its own name, whatever alias it was written with."""
        name = table.section_name(section.name)
        if name in self.sections:
            first = self.sections[name]
            self.faults.append(
                section.fault("", f"the same as [{first.name}] in line {first.line}: keep one")
            )
        elif table.section_kind(name) or name in self._plugins:
            self.sections[name] = section
        else:
            aliases = (alias for one in table.SECTIONS.values() for alias in one.aliases)
            guess = did_you_mean(section.name, (*table.SECTIONS, *aliases))
            hint = guess_labelled(section.name, table.SECTION_KINDS)
            hint = hint or (f"[{guess}]" if guess else "")
            self.warnings.append(section.warning("", "unknown section, ignored", hint))

    def _check_required(self, services: Collection[str]) -> None:
        """Note what a service can't do without."""
        mode = self.section("bootp").options.get("mode", "").lower()
        pools = [
            one
            for name, one in self.sections.items()
            if table.section_kind(name) in ("subnet", "bootp")
        ]
        given = {option.lower() for section in pools for option in section.options}
        if "bootp" in services and mode != "proxy" and "pool_start" not in given:
            problem = "required: the first address to give to clients (files alone: pybootd -t)"
            self.note_missing("bootp", "pool_start", problem)

    def _read_logger(self) -> LoggerConfig:
        found = self.read_section("logger")
        if "file" in found:
            found["file"] = self.absolute_path(found["file"])
        elif found.get("type") == "file":
            self.note_missing("logger", "file", "required with type = file: the path to log to")
        made: LoggerConfig = table.build_config("logger", found)
        return made

    def _read_bootp(self) -> BootpConfig:
        found = self.read_section("bootp")
        if "lease_time" in found:
            found.setdefault("max_lease_time", found["lease_time"])
        for option in ("leases", "lease_copy"):
            path = found.get(option, "none")
            if path not in ("memory", "none") and not path.startswith(values.DATABASES):
                found[option] = str(self.absolute_path(Path(path)))
        made: BootpConfig = table.build_config("bootp", found)
        section = self.section("bootp")
        if found.get("dns") == () and section.options.get("dns"):
            problem = "auto: this host has none that others could ask; clients are told of none"
            self.warnings.append(section.warning("dns", problem))
        if made.mode == "proxy" and made.allow_simple_dhcp:
            problem = "has no meaning with mode = proxy: a proxy gives no addresses"
            self.warnings.append(section.warning("allow_simple_dhcp", problem))
        if made.max_lease_time < made.lease_time:
            problem = f"{made.max_lease_time} is less than lease_time, {made.lease_time}"
            self.faults.append(section.fault(self.written(section, "max_lease_time"), problem))
        if made.pool_start and int(made.pool_start) + made.pool_count > 0xFFFFFFFF:
            self.faults.append(section.fault("pool_count", "the pool leads out of IPv4"))
        return made

    def _read_buggy_clients(self) -> tuple[tuple[MacPrefix, bool], ...]:
        section = self.section("buggy_clients")
        found = []
        for option, text in section.options.items():
            prefix = self.parse_value(section, option, values.MAC_PREFIX, option)
            buggy = self.parse_value(section, option, values.BOOLEAN, text)
            if prefix is not None and buggy is not None:
                found.append((prefix, buggy))
        return tuple(sorted(found, key=lambda rule: -rule[0].bits))

    def _read_security(self) -> SecurityConfig:
        found = self.read_section("security")
        if "group" in found and not self.section("security").options.get("user"):
            self.note_missing("security", "user", "required with group: the user to become")
        made: SecurityConfig = table.build_config("security", found)
        return made

    def _read_file_service(self, name: str, bootp: BootpConfig) -> dict[str, Any]:
        """Read the options of a service that has files below a root."""
        found = self.read_section(name)
        root = found.get("root", "")
        strange = explain_root(root)
        if strange and not self.absolute_path(Path(root)).exists():
            section = self.section(name)
            self.faults.append(section.fault(self.written(section, "root"), *strange))
        if root and "://" not in root:
            found["root"] = str(self.absolute_path(Path(root)))
        found |= resolve_credentials(self, found)
        found.setdefault("address", bootp.address)
        return found
