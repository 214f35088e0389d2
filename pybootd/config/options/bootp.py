"""``[bootp]``: the DHCP server."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from pybootd.config import values
from pybootd.config.values import ANY, Gateway

DEFAULT_LEASES = "/var/lib/pybootd/leases.db"
DEFAULT_COPY = "/var/lib/pybootd/copy.db"  # leases.db has what was given before they were shared


@dataclass(frozen=True, slots=True)
class BootpConfig:
    """``[bootp]``. Times are seconds; an empty string or tuple is "not set"."""

    mode: str = "dhcp"
    access: str = ""
    address: IPv4Address = ANY
    interface: tuple[str, ...] = ()
    port: int = 67
    allow_simple_dhcp: bool = False
    boot_classes: tuple[str, ...] = ()
    boot_file: str = ""
    next_server: IPv4Address | None = None
    servername: str = "pybootd"
    domain: str = ""
    dns: tuple[IPv4Address, ...] = ()
    ntp: tuple[IPv4Address, ...] = ()
    gateway: Gateway = "self"
    netmask: IPv4Address | None = None
    pool_start: IPv4Address | None = None
    pool_count: int = 10
    lease_time: int = 86400
    max_lease_time: int = 86400
    identity: str = "mac"
    authoritative: bool = True
    reclaim: str = "never"
    leases: str = DEFAULT_LEASES
    lease_copy: str = DEFAULT_COPY
    share: tuple[int, int] = (1, 1)
    conflict_check: bool = True
    notify: tuple[tuple[str, int], ...] = ()
    timeout: float = 5.0

    @property
    def shared(self) -> bool:
        """Whether leases are in a database that several daemons share."""
        return self.leases.startswith(values.DATABASES)
