"""What is examined, and how a check says what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pybootd.config.loader import Config
from pybootd.core.finding import Finding, Grade
from pybootd.files.resolver import Files
from pybootd.system.interfaces import Interface


class DoctorCode(StrEnum):
    """The kind of a finding."""

    CONFIGURATION = "configuration"
    PORT_RIGHT = "port-no-right"
    PORT_TAKEN = "port-taken"
    FIREWALL = "firewall"
    PORT_FREE = "port-free"
    SERVERS_UNASKED = "other-servers-unasked"
    OTHER_SERVER = "other-server"
    NO_OTHER_SERVER = "no-other-server"
    SERVER_MISSING = "server-missing"
    NO_BOOT_FILE = "no-boot-file"
    BOOT_FILE_MISSING = "boot-file-missing"
    BOOT_FILE_ARCHITECTURE = "boot-file-architecture"
    BOOT_FILE = "boot-file"
    POOL_NETWORK = "pool-network"
    POOL_END = "pool-end"
    POOL_OWN_ADDRESS = "pool-own-address"
    GATEWAY_NETWORK = "gateway-network"
    POOL = "pool"
    LARGE_MTU = "large-mtu"
    FRAGMENTS = "fragments"
    BLOCKS = "blocks"
    NOT_FORWARDING = "not-forwarding"
    FORWARDING = "forwarding"
    CHECK_FAILED = "check-failed"
    FIREWALL_UNKNOWN = "firewall-unknown"
    FIREWALL_OPEN = "firewall-open"
    BOOT_FILE_CONTENT = "boot-file-content"
    BOOT_FILE_REFUSED = "boot-file-refused"
    IPXE_LOOP = "ipxe-loop"
    WEB_SERVER_OFF = "web-server-off"
    WEB_SERVER_PORT = "web-server-port"
    INTERFACE_MISSING = "interface-missing"
    INTERFACE_DOWN = "interface-down"
    INTERFACE_ADDRESS = "interface-address"
    NETMASK = "netmask"
    STATIC_ADDRESS = "static-address"
    SUBNET_POOL = "subnet-pool"
    USER_RIGHT = "user-no-right"
    LEASE_FOLDER = "lease-folder"
    FOLDER = "folder-not-writable"
    LEASE_SPACE = "lease-space"
    AUTHORIZATION_SERVER = "authorization-server"
    NEXT_SERVER = "next-server"


@dataclass(frozen=True, slots=True)
class HostState:
    """The configuration, the files that are served, the host's interfaces.

    ``wait``: seconds to wait for other servers' answers.
    """

    config: Config
    files: tuple[Files, ...]
    interfaces: tuple[Interface, ...]
    wait: float

    def served_interfaces(self) -> list[Interface]:
        """Return the interfaces that the DHCP server would serve."""
        names, start = self.config.bootp.interface, self.config.bootp.pool_start
        wired = [one for one in self.interfaces if one.name != "lo" and one.mac]
        if names:
            return [one for one in wired if one.name in names]
        subnets = [one.network for one in self.config.subnets]
        if start is None and not subnets:  # as proxy, everywhere
            return [one for one in wired if one.addresses]
        return [
            one
            for one in wired
            if any(
                (start is not None and start in own.network)
                or any(own.network.overlaps(subnet) for subnet in subnets)
                for own in one.addresses
            )
        ]


Check = Callable[[HostState], Iterator[Finding]]


def fault(code: DoctorCode, problem: str, advice: str) -> Finding:
    """Make the finding of what keeps machines from booting."""
    return Finding(Grade.FAULT, problem, advice, code)


def warning(code: DoctorCode, problem: str, advice: str = "") -> Finding:
    """Make the finding of what may keep some machines from booting."""
    return Finding(Grade.WARNING, problem, advice, code)


def fine(code: DoctorCode, problem: str) -> Finding:
    """Make the finding that something is as it should be."""
    return Finding(Grade.FINE, problem, "", code)
