"""Who is asking: MAC, UUID, architecture, classes, and what we know of a client by its address."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

from pybootd.core.mac import PI_MACS

IPAddress = IPv4Address | IPv6Address


def make_identity(mac: bytes, client_id: bytes | None, by_client_id: bool = False) -> bytes:
    """Return what tells clients apart: the hardware address, else the client-id.

    ``by_client_id``: the client-id first, as RFC 2131 4.2 has it. Empty for a client that shows
    neither.
    """
    if client_id and (by_client_id or not mac):
        return b"id:" + client_id
    return mac


@dataclass(frozen=True, slots=True)
class Client:
    """One client as its own request describes it (RFC 2131, RFC 4578).

    ``mac`` is chaddr cut to hlen; ``network_boot`` says that the request carries PXE or HTTP Boot
    information; ``plain_bootp`` that it had no option 53; ``relay`` is giaddr if set; ``address``
    the address that it has or had, if known; ``circuit_id`` says which port of the relay it is at
    (RFC 3046), as text, or in hexadecimal where it is none. ``architecture`` is the one that runs
    now, ``other_architectures`` are those that it names behind it. ``known``: it has a lease or has
    booted here.
    """

    mac: bytes
    uuid: UUID | None = None
    client_id: bytes | None = None
    architecture: int | None = None
    vendor_class: str = ""
    user_class: str = ""
    hostname: str = ""
    network_boot: bool = False
    ipxe: bool = False
    plain_bootp: bool = False
    relay: IPAddress | None = None
    interface: str = ""
    address: IPAddress | None = None
    circuit_id: str = ""
    other_architectures: tuple[int, ...] = ()
    known: bool = False

    @property
    def identity(self) -> bytes:
        """What tells it from other clients: its hardware address, else its client-id."""
        return make_identity(self.mac, self.client_id)

    @property
    def name(self) -> str:
        """The identity as log lines write it: the MAC in lower case, or ``id:`` and the client-id.

        ``-``: it shows neither.
        """
        if self.client_id and not self.mac:
            return f"id:{self.client_id.hex()}"
        return self.mac.hex(":") or "-"


@dataclass(slots=True)
class KnownClient:
    """What we know of a client at an address, across its requests and protocols.

    ``booted``: it network-booted from us, so the system that follows is served as well.
    ``confirmed``: we gave it its address; ``proxied``: we answered it beside another DHCP server,
    which gives it its address, so that the system's neighbour table tells which that is.
    ``file``: the boot file that an authorization server named. ``variables``: for filters.
    """

    client: Client
    address: IPAddress | None = None
    confirmed: bool = False
    proxied: bool = False
    booted: bool = False
    uuid: UUID | None = None
    hostname: str = ""
    file: str = ""
    boot_file: str = ""
    server: IPAddress | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def is_pi(self) -> bool:
        """Tell whether it is a Raspberry Pi: by its MAC, or its UUID (``RPi4``, ``RPi5``)."""
        if self.uuid is not None and self.uuid.bytes_le.startswith(b"RPi"):
            return True
        return any(prefix.holds(self.client.mac) for prefix in PI_MACS)
