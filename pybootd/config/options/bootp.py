"""``[bootp]``: the DHCP server."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from pybootd.config import values
from pybootd.config.options.declaration import option
from pybootd.config.values import ANY, Gateway

DEFAULT_LEASES = "/var/lib/pybootd/leases.db"
DEFAULT_COPY = "/var/lib/pybootd/copy.db"  # leases.db has what was given before they were shared


@dataclass(frozen=True, slots=True)
class BootpConfig:
    """``[bootp]``. Times are seconds; an empty string or tuple is "not set"."""

    mode: str = option(
        values.choice("dhcp", "proxy", "auto"),
        "dhcp",
        "``dhcp``: the DHCP server of the network. ``proxy``: tell clients what to boot, beside a"
        " DHCP server that stays as it is. ``auto``: whichever fits what is there.",
        restart=True,
    )
    access: str = option(
        values.ACCESS,
        "",
        "Who may boot: the list ``mac``, ``uuid`` or ``http``, or the name of an installed"
        " plug-in.",
        default_text="everybody",
        example="mac",
    )
    timeout: float = option(
        values.seconds(0.1, 60),
        5.0,
        "How long the authorization server of ``access = http`` may take to answer.",
        unit="seconds",
    )
    notify: tuple[tuple[str, int], ...] = option(
        values.ENDPOINTS,
        (),
        "Programs that are told by UDP of each address that is given or returned.",
        default_text="none",
        example="192.168.1.5:13500",
    )
    pool_start: IPv4Address | None = option(
        values.ADDRESS,
        None,
        "First address that is given to clients, in the network of one of the server's interfaces."
        " Required with ``mode = dhcp`` and ``mode = auto``, unless a ``[subnet]`` has one.",
        default_text="none",
        example="192.168.1.100",
        preset="192.168.1.100",
        also=("subnet",),
    )
    pool_count: int = option(
        values.POOL_COUNT,
        10,
        "Number of addresses in the pool.",
        unit="addresses",
        also=("subnet",),
    )
    address: IPv4Address = option(
        values.ADDRESS,
        ANY,
        "Address to listen on; ``0.0.0.0`` is every address of this host.",
        restart=True,
    )
    port: int = option(
        values.PORT,
        67,
        "Port to listen on. Replies go to the next one.",
        restart=True,
    )
    interface: tuple[str, ...] = option(
        values.INTERFACES,
        (),
        "Interfaces that are served, and no others.",
        default_text="all",
        example="eth1, eth2",
        restart=True,
    )
    allow_simple_dhcp: bool = option(
        values.BOOLEAN,
        False,
        "Serve clients that don't boot from the network, too. When off, a plain BOOTP or DHCP"
        " request is answered only if its client booted from the network here before, so that the"
        " system that it booted gets its address.",
    )
    boot_classes: tuple[str, ...] = option(
        values.NAMES,
        (),
        "How the vendor classes (option 60) of further network boot clients begin, besides"
        " ``PXEClient`` and ``HTTPClient``.",
        default_text="none",
        example="AAPLBSDPC",
    )
    boot_file: str = option(
        values.WORD,
        "",
        "Boot file of any client: short for ``[bootfile] default``. In ``[client]`` and ``[class]``"
        " the boot file of these clients.",
        default_text="none",
        example="pxelinux.0",
        also=("client", "class"),
    )
    next_server: IPv4Address | None = option(
        values.ADDRESS,
        None,
        "TFTP server that clients are told.",
        default_text="the address that the request came in on",
        example="192.168.1.2",
        also=("subnet",),
    )
    servername: str = option(
        values.SERVER_NAME, "pybootd", "Name of the server that clients are told."
    )
    domain: str = option(
        values.DOMAIN,
        "",
        "DNS domain that clients are told.",
        default_text="none",
        example="example.com",
        also=("subnet",),
    )
    dns: tuple[IPv4Address, ...] = option(
        values.NAME_SERVERS,
        (),
        "Name servers that clients are told; ``auto``: those that this host asks itself.",
        default_text="none",
        example="192.168.1.1",
        also=("subnet",),
    )
    ntp: tuple[IPv4Address, ...] = option(
        values.ADDRESSES,
        (),
        "Time servers that clients are told.",
        default_text="none",
        example="192.168.1.1",
        also=("subnet",),
    )
    gateway: Gateway = option(
        values.GATEWAY,
        "self",
        "Router that clients are told: an address, ``none``, or ``self``, which is the server's own"
        " address in that network (behind a relay, the relay).",
        also=("subnet",),
    )
    netmask: IPv4Address | None = option(
        values.NETMASK,
        None,
        "Netmask of the pool's network.",
        default_text="that of the interface in the pool's network",
        example="255.255.255.0",
    )
    lease_time: int = option(
        values.LEASE_SECONDS,
        86400,
        "How long an address is given for, where the client doesn't ask for another time.",
        unit="seconds",
        also=("subnet",),
    )
    max_lease_time: int = option(
        values.LEASE_SECONDS,
        86400,
        "The longest time that a client may ask for.",
        unit="seconds",
        default_text="that of ``lease_time``",
        also=("subnet",),
    )
    identity: str = option(
        values.choice("mac", "client-id"),
        "mac",
        "What tells clients apart. ``mac``: one MAC, one address. ``client-id``: option 61, where a"
        " client sends it (RFC 2131 4.2).",
    )
    authoritative: bool = option(
        values.BOOLEAN,
        True,
        "This is the only DHCP server here: a client that asks for an address of an unknown network"
        " is refused. Set it to ``no`` where other DHCP servers share the network.",
    )
    reclaim: str = option(
        values.choice("never", "expired"),
        "never",
        "``never``: an address stays with its client. ``expired``: a released address is free for"
        " a client that asks for it by name, and a full pool takes back released addresses first,"
        " then the one that expired longest ago.",
    )
    leases: str = option(
        values.LEASES,
        DEFAULT_LEASES,
        "Where leases are kept: the path of a file, ``memory``, or"
        " ``postgresql://USER@HOST/DATABASE`` for several daemons that share them.",
        restart=True,
    )
    lease_copy: str = option(
        values.PATH_TEXT,
        DEFAULT_COPY,
        "With ``leases = postgresql://...``: file of what this daemon knows of the database, for a"
        " start without it. ``none``: no such file.",
        restart=True,
    )
    share: tuple[int, int] = option(
        values.SHARE,
        (1, 1),
        "Of several daemons, ``1/3`` is the first of three: it answers its third of the clients at"
        " once (RFC 3074), and the others when nobody else does.",
    )
    conflict_check: bool = option(
        values.BOOLEAN,
        True,
        "Ask the network whether an address is in use before it is offered for the first time.",
    )

    @property
    def shared(self) -> bool:
        """Whether leases are in a database that several daemons share."""
        return self.leases.startswith(values.DATABASES)
