"""One table of settings, read once into frozen dataclasses; every fault at once.

Nobody else sees the file. A fault names file, line, section and option, what is wrong, and a guess
at what was meant.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pybootd.config import cache as cache_module
from pybootd.config import client_classes, legacy, values
from pybootd.config.bootfile import BootFileConfig, read_bootfile
from pybootd.config.client_classes import Profiles, SubnetConfig
from pybootd.config.ini import ConfigError, Section, read
from pybootd.config.options.bootp import BootpConfig
from pybootd.config.options.files import CacheConfig, HttpdConfig, TftpConfig
from pybootd.config.options.service import LoggerConfig, SecurityConfig, StatusConfig
from pybootd.config.reader import ConfigReader, Parser
from pybootd.core.finding import Finding, Grade, Place
from pybootd.core.mac import MacPrefix, parse_mac, parse_mac_prefix
from pybootd.core.text import did_you_mean


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    ``static`` holds the addresses kept for MACs, those of ``[client]`` sections too;
    ``buggy`` holds the MACs that are answered by broadcast, the longest prefixes first;
    ``sections`` holds each section as it was written, for those who read their own (access lists,
    filters, ``[options]``); ``warnings`` what was passed over.
    """

    path: Path = Path()
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    bootp: BootpConfig = field(default_factory=BootpConfig)
    bootfile: BootFileConfig = field(default_factory=BootFileConfig)
    static: Mapping[bytes, IPv4Address] = field(default_factory=dict)
    buggy: tuple[tuple[MacPrefix, bool], ...] = ()
    subnets: tuple[SubnetConfig, ...] = ()
    profiles: Profiles = field(default_factory=Profiles)
    tftp: TftpConfig = field(default_factory=TftpConfig)
    httpd: HttpdConfig = field(default_factory=HttpdConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    status: StatusConfig = field(default_factory=StatusConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    pins: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)
    warnings: tuple[Finding, ...] = ()


_PORT = values.integer(1, 65535)
_STATUS_PORT = values.integer(0, 65535)
_LEASE = values.integer(1, 0xFFFFFFFF)

# Every option with the function that reads its value; its default stands in the dataclass.
TABLE: Mapping[str, Mapping[str, Parser]] = MappingProxyType(
    {
        "logger": {
            "type": values.choice("stderr", "file", "syslog", "none"),
            "level": values.choice("critical", "error", "warning", "info", "debug"),
            "file": Path,
            "format": values.choice("text", "json"),
        },
        "bootp": {
            "mode": values.choice("dhcp", "proxy", "auto"),
            "access": values.word,
            "address": values.address,
            "interface": values.names,
            "port": _PORT,
            "allow_simple_dhcp": values.parse_boolean,
            "boot_classes": values.names,
            "boot_file": values.word,
            "next_server": values.address,
            "servername": values.word,
            "domain": values.word,
            "dns": values.name_servers,
            "ntp": values.addresses,
            "gateway": values.gateway,
            "netmask": values.netmask,
            "pool_start": values.address,
            "pool_count": values.integer(0, 1 << 20),
            "lease_time": _LEASE,
            "max_lease_time": _LEASE,
            "identity": values.choice("mac", "client-id"),
            "authoritative": values.parse_boolean,
            "reclaim": values.choice("never", "expired"),
            "leases": values.leases,
            "lease_copy": values.word,
            "share": values.share,
            "conflict_check": values.parse_boolean,
            "notify": values.endpoints,
            "timeout": values.seconds(0.1, 60),
        },
        # read by the access list itself
        "http": dict.fromkeys(("location", "pxe", "dhcp", "always_check"), str),
        "tftp": {
            "root": values.word,
            "filters": values.names,
            "address": values.address,
            "port": _PORT,
            "blocksize": values.integer(8, 65464),
            "windowsize": values.integer(1, 65535),
            "timeout": values.seconds(0.01, 255),
            "retries": values.integer(0, 100),
            "port_range": values.port_range,
            "fragments": values.parse_boolean,
            "offload": values.parse_boolean,
            "cache": values.integer(1 << 16, 1 << 40),
            "requests": values.integer(0, 1_000_000),
            "upload": values.word,
            "upload_size": values.octets,
            "upload_count": values.integer(1, 1_000_000),
            "credentials": Path,
        },
        "httpd": {
            "enable": values.parse_boolean,
            "root": values.word,
            "address": values.address,
            "port": _PORT,
            "check_ip": values.parse_boolean,
            "connections": values.integer(1, 65535),
        },
        "security": {"user": values.user, "group": values.group},
        "cache": cache_module.TABLE,
        "status": {"address": values.address, "port": _STATUS_PORT, "token": values.word},
    }
)
ALIASES: Mapping[str, str] = MappingProxyType({"bootpd": "bootp", "tftpd": "tftp"})
# Sections whose options are made up by the user (MAC addresses, architectures), or read by others.
FREE = ("bootfile", "buggy_clients", "filters", "mac", "options", "pins", "static_dhcp", "uuid")


def load(path: Path, services: Collection[str] = ("bootp", "tftp")) -> Config:
    """Read a configuration for these services; raises ConfigError with every fault."""
    config, faults = examine(path, services)
    if faults:
        raise ConfigError([*faults, *config.warnings])
    return config


def examine(path: Path, services: Collection[str]) -> tuple[Config, list[Finding]]:
    """Read a configuration and all its faults; a value at fault is left at its default."""
    written, faults = read(path)
    reader = _Reader(path, written, faults)
    config = reader.config(services)
    return config, sorted(reader.faults, key=lambda fault: fault.place.line)


def _plugins(written: Mapping[str, Section]) -> set[str]:
    """Name the access list and the filters that are in use: each may have a section of its own."""
    options = [
        (ALIASES.get(section.name.lower(), section.name.lower()), option.lower(), text.lower())
        for section in written.values()
        for option, text in section.options.items()
    ]
    return {
        name
        for section, option, text in options
        if (section, option) in (("bootp", "access"), ("tftp", "filters"))
        for name in values.names(text)
    }


class _Reader(ConfigReader):
    """Turns the sections of one file into a Config, noting every fault on its way."""

    def __init__(self, path: Path, written: Mapping[str, Section], faults: list[Finding]) -> None:
        super().__init__(path, faults)
        self._plugins = _plugins(written)
        for section in written.values():
            self._note(section)
        self.sections, old = legacy.modernize(self.sections)
        self.faults += (fault for fault in old if fault.grade is Grade.FAULT)
        self.warnings += (fault for fault in old if fault.grade is Grade.WARNING)

    def config(self, services: Collection[str]) -> Config:
        """Read everything."""
        if not self.faults or self.sections:  # an unreadable file has no sections to complain of
            self._require(services)
        bootp = self._bootp()
        self.table("http", TABLE)
        own, addresses = client_classes.read_profiles(self)
        return Config(
            path=self.path,
            logger=self._logger(),
            bootp=bootp,
            bootfile=read_bootfile(self),
            static=self._static(addresses),
            buggy=self._buggy(),
            subnets=client_classes.read_subnets(self, bootp.pool_start),
            profiles=own,
            tftp=TftpConfig(**self._files("tftp", bootp)),
            httpd=HttpdConfig(**self._files("httpd", bootp)),
            security=self._security(),
            status=StatusConfig(**self.table("status", TABLE)),
            **cache_module.read(self),
            sections=self.sections,
            warnings=tuple(self.warnings),
        )

    def _note(self, section: Section) -> None:
        """Keep a section under its own name, whatever alias it was written with."""
        name = ALIASES.get(section.name.lower(), section.name.lower())
        if name in self.sections:
            first = self.sections[name]
            self.faults.append(
                section.fault("", f"the same as [{first.name}] in line {first.line}: keep one")
            )
        elif (
            name in TABLE
            or name in FREE
            or name in self._plugins
            or client_classes.kind(name) in client_classes.KINDS
        ):
            self.sections[name] = section
        else:
            known = (*TABLE, *FREE, *ALIASES, *client_classes.KINDS)
            guess = did_you_mean(section.name, known)
            hint = f"[{guess}]" if guess else ""
            self.warnings.append(section.warning("", "unknown section, passed over", hint))

    def _require(self, services: Collection[str]) -> None:
        """Note what a service can't do without."""
        mode = self.section("bootp").options.get("mode", "").lower()
        pools = [
            one
            for name, one in self.sections.items()
            if client_classes.kind(name) in ("subnet", "bootp")
        ]
        given = {option.lower() for section in pools for option in section.options}
        if "bootp" in services and mode != "proxy" and "pool_start" not in given:
            problem = "required: the first address to give to clients (files alone: pybootd -t)"
            self.missing("bootp", "pool_start", problem)

    def _logger(self) -> LoggerConfig:
        found = self.table("logger", TABLE)
        if "file" in found:
            found["file"] = self.below(found["file"])
        elif found.get("type") == "file":
            self.missing("logger", "file", "required with type = file: the path to log to")
        return LoggerConfig(**found)

    def _bootp(self) -> BootpConfig:
        found = self.table("bootp", TABLE)
        if "lease_time" in found:
            found.setdefault("max_lease_time", found["lease_time"])
        for option in ("leases", "lease_copy"):
            path = found.get(option, "none")
            if path not in ("memory", "none") and not path.startswith(values.DATABASES):
                found[option] = str(self.below(Path(path)))
        made = BootpConfig(**found)
        section = self.section("bootp")
        if found.get("dns") == () and section.options.get("dns"):
            problem = "auto: this host has none that others could ask; clients are told of none"
            self.warnings.append(section.warning("dns", problem))
        if made.mode == "proxy" and made.allow_simple_dhcp:
            problem = "has no meaning with mode = proxy: a proxy gives no addresses"
            self.warnings.append(section.warning("allow_simple_dhcp", problem))
        if made.max_lease_time < made.lease_time:
            problem = f"{made.max_lease_time} is less than lease_time, {made.lease_time}"
            self.faults.append(section.fault("max_lease_time", problem))
        if made.pool_start and int(made.pool_start) + made.pool_count > 0xFFFFFFFF:
            self.faults.append(section.fault("pool_count", "the pool leads out of IPv4"))
        return made

    def _static(self, addresses: Mapping[bytes, IPv4Address]) -> Mapping[bytes, IPv4Address]:
        """Read the addresses kept for MACs, beside those that ``[client]`` sections keep."""
        section = self.section("static_dhcp")
        found = dict(addresses)
        for kept in {kept for kept in found.values() if list(found.values()).count(kept) > 1}:
            problem = f"{kept} is kept for two clients"
            self.faults.append(Finding(Grade.FAULT, problem, place=Place(self.path)))
        for option, text in section.options.items():
            mac = self.value(section, option, parse_mac, option)
            kept = self.value(section, option, values.address, text)
            if mac is None or kept is None:
                continue
            if mac in addresses:
                self.faults.append(
                    section.fault(option, "its [client] section has an address, too")
                )
            elif kept in found.values():
                self.faults.append(section.fault(option, f"{kept} is kept for another MAC, too"))
            found[mac] = kept
        return MappingProxyType(found)

    def _buggy(self) -> tuple[tuple[MacPrefix, bool], ...]:
        section = self.section("buggy_clients")
        found = []
        for option, text in section.options.items():
            prefix = self.value(section, option, parse_mac_prefix, option)
            buggy = self.value(section, option, values.parse_boolean, text)
            if prefix is not None and buggy is not None:
                found.append((prefix, buggy))
        return tuple(sorted(found, key=lambda rule: -rule[0].bits))

    def _security(self) -> SecurityConfig:
        found = self.table("security", TABLE)
        if "group" in found and not self.section("security").options.get("user"):
            self.missing("security", "user", "required with group: whom to become")
        return SecurityConfig(**found)

    def _files(self, name: str, bootp: BootpConfig) -> dict[str, Any]:
        """Read the options of a service that has files below a root."""
        found = self.table(name, TABLE)
        root = found.get("root", "")
        if root and "://" not in root:
            found["root"] = str(self.below(Path(root)))
        found |= cache_module.credentials(self, found)
        found.setdefault("address", bootp.address)
        return found
