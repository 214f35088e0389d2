"""One request: what came, how it came, whose it is, and which subnet it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from pybootd.config.client_classes import NO_PROFILE, ClientProfile
from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client import Client
from pybootd.dhcp4.bootfile import NO_BOOT_FILE, BootFileChoice
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import NOBODY, Packet
from pybootd.dhcp4.wire.pxe import parse_relay_agent
from pybootd.leases.pool import Pool
from pybootd.system.interfaces import Interface

# sub-options of option 82
_LINK_SELECTION, _SERVER_ID_OVERRIDE = 5, 11  # RFC 3527, RFC 5107


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a request came in: the interface, our address on it, the sender.

    ``unicast``: it was sent to that address of ours, not broadcast. ``port`` is the sender's;
    ``boot_server``: it came to port 4011.
    """

    interface: Interface
    local: IPv4Address
    source: IPv4Address = NOBODY
    unicast: bool = False
    port: int = 68
    boot_server: bool = False


@dataclass(slots=True, eq=False)
class Subnet:
    """One network that we serve, and its settings."""

    network: IPv4Network
    pool: Pool
    settings: BootpConfig


@dataclass(slots=True)
class DhcpRequest:
    """One request with all that is known of who sent it and where it belongs.

    ``server``: our own address for its subnet; ``owner``: its identity; ``kind``: its type, 0 for
    BOOTP. Once the client is admitted, ``hostname`` and ``boot_file`` say what it is given.
    """

    packet: Packet
    arrival: Arrival
    subnet: Subnet
    server: IPv4Address
    client: Client
    owner: bytes
    kind: int
    profile: ClientProfile = NO_PROFILE
    hostname: str = ""
    boot_file: BootFileChoice = NO_BOOT_FILE

    @property
    def server_id(self) -> IPv4Address:
        """Name the server id of replies: ours, unless a relay stands in for us (RFC 5107)."""
        return read_server_id_override(self.packet) or self.server


def read_server_id_override(packet: Packet) -> IPv4Address | None:
    """Return the server id that the relay wants clients to see (RFC 5107)."""
    if options.RELAY_AGENT not in packet.options:
        return None
    return read_address(parse_relay_agent(packet).get(_SERVER_ID_OVERRIDE))


def read_selected_subnet(packet: Packet) -> IPv4Address | None:
    """Return the address whose subnet the relay or the client asks for, not its own."""
    sent = packet.options
    if options.RELAY_AGENT in sent:
        link = read_address(parse_relay_agent(packet).get(_LINK_SELECTION))
        if link is not None:
            return link  # RFC 3527 3: before subnet selection, too
    return read_address(sent.get(options.SUBNET)) if options.SUBNET in sent else None


def read_requested_ip(packet: Packet) -> IPv4Address | None:
    """Return the address that the client asks for (option 50)."""
    return read_address(packet.options.get(options.REQUESTED))


def read_address(value: bytes | None) -> IPv4Address | None:
    """Read an option that holds one address; None: it is missing, or isn't one."""
    return IPv4Address(value) if value is not None and len(value) == 4 else None
