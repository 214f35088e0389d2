"""One request: what came, how it came, whose it is, and which subnet it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from pybootd.config.client_classes import NO_PROFILE, ClientProfile
from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client import Client
from pybootd.dhcp4.bootfile import NO_BOOT_FILE, BootFileChoice
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import DISCOVER, INFORM, NOBODY, REQUEST, Packet
from pybootd.dhcp4.wire.pxe import parse_relay_agent
from pybootd.leases.pool import Pool
from pybootd.system.interfaces import Interface

BOOTP = 0
"""The kind of a request without option 53."""
NO_REQUEST = -1
"""The kind of a message whose option 53 is no message type, or may have been cut off."""
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
    BOOTP; ``ciaddr``: where the client can be reached, as ``read_ciaddr`` says. Once the client is
    admitted, ``hostname`` and ``boot_file`` say what it is given.
    """

    packet: Packet
    arrival: Arrival
    subnet: Subnet
    server: IPv4Address
    client: Client
    owner: bytes
    kind: int
    ciaddr: IPv4Address = NOBODY
    profile: ClientProfile = NO_PROFILE
    hostname: str = ""
    boot_file: BootFileChoice = NO_BOOT_FILE

    @property
    def server_id(self) -> IPv4Address:
        """Name the server id of replies: ours, unless a relay stands in for us (RFC 5107)."""
        return read_server_id_override(self.packet) or self.server


def read_kind(packet: Packet) -> int:
    """Return what kind of request it is: a MessageType, BOOTP, or NO_REQUEST."""
    octets = packet.options.get(options.TYPE)
    if octets is None:
        return NO_REQUEST if packet.cut_off else BOOTP
    return (octets[0] if octets else 0) or NO_REQUEST


def read_ciaddr(packet: Packet, kind: int, arrival: Arrival) -> IPv4Address:
    """Return the address at which the client can be reached, for none NOBODY itself.

    Only a client that has an address says it in ciaddr: in RENEWING, REBINDING and INFORM (RFC 2131
    4.3.2, 4.3.5), and in BOOTP (RFC 951 3). In other messages firmware repeats an old one. A client
    that renews names neither server nor address. One that does so nevertheless sends from ciaddr,
    and one that names its address in option 50 instead sends from that.
    """
    ciaddr, source = packet.ciaddr, arrival.source
    if kind == DISCOVER or (ciaddr is NOBODY and source is NOBODY):
        return NOBODY
    if kind in (INFORM, BOOTP):
        return ciaddr
    if kind != REQUEST:
        return NOBODY
    chose = options.SERVER_ID in packet.options
    if ciaddr is NOBODY:
        return source if not chose and read_requested_ip(packet) == source else NOBODY
    named = chose or options.REQUESTED in packet.options
    return NOBODY if named and source != ciaddr else ciaddr


def names_server(packet: Packet) -> bool:
    """Tell whether the client chose a server (option 54), whichever it is."""
    octets = packet.options.get(options.SERVER_ID, b"")
    return len(octets) > 0 and len(octets) % 4 == 0


def read_server_id(packet: Packet) -> IPv4Address | None:
    """Return the server that the client chose (option 54); None: it names none."""
    return read_address(packet.options.get(options.SERVER_ID))


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
    """Return the address that the client asks for (option 50); some say 0.0.0.0 for none."""
    address = read_address(packet.options.get(options.REQUESTED))
    return None if address == NOBODY else address


def read_address(value: bytes | None) -> IPv4Address | None:
    """Read an option that holds one address, the first of several; None: it holds none."""
    if not value or len(value) % 4:
        return None
    return IPv4Address(value[:4])
