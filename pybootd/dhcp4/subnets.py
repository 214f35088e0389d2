"""Which subnet a request belongs to: its pool, our own address there, and who holds its leases."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pybootd.config.bootfile import host_of
from pybootd.config.client_classes import ClientProfiles, SubnetConfig
from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.config.values import ANY
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.client import Client, IPAddress
from pybootd.core.client_table import ClientTable
from pybootd.core.events import Released
from pybootd.dhcp4.request import (
    Arrival,
    DhcpRequest,
    Subnet,
    read_ciaddr,
    read_kind,
    read_selected_subnet,
    read_server_id,
    read_server_id_override,
)
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import NOBODY, Packet
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.pool import EVERYWHERE, Pool
from pybootd.leases.shared.pool import SharedPool
from pybootd.system.interfaces import Interface

_LOOPBACK, _MULTICAST = 127, 224  # the first octets; from 240 on they are reserved
MAX_RELAYS = 1024
"""Relays whose subnet is remembered."""


class Subnets:
    """The networks that we serve. ``changed`` collects the leases to be saved."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.changed: dict[int, Lease] = {}
        self.own: frozenset[IPv4Address] = frozenset()
        self.server_ids: frozenset[bytes] = frozenset()
        """The same as option 54 has them."""
        self._subnets: list[Subnet] = []
        self._main: Subnet | None = None  # that of [bootp]
        self._homeless: list[Lease] = []
        self._by_interface: dict[int, tuple[Subnet, IPv4Address] | None] = {}
        self._shared_addresses: set[int] = set()  # broadcast and network addresses
        self._by_relay: BoundedMap[IPv4Address, Subnet] = BoundedMap(MAX_RELAYS)

    def __iter__(self) -> Iterator[Subnet]:
        return iter(self._subnets)

    def follow_interfaces(self, interfaces: Iterable[Interface]) -> None:
        """Take note of the host's interfaces: at start, and when they have changed."""
        addresses = [own for interface in interfaces for own in interface.addresses]
        self.own = frozenset(own.ip for own in addresses)
        self.server_ids = frozenset(own.packed for own in self.own)
        self._by_interface.clear()
        self._by_relay.clear()
        self._shared_addresses = _list_shared_addresses(own.network for own in addresses)
        bootp = self._config.bootp
        if not self._subnets:
            self._subnets = [self._make_subnet(one) for one in self._config.subnets]
        if bootp.pool_start is not None:
            network = _find_main_network(
                bootp, bootp.pool_start, [own.network for own in addresses]
            )
            if network is not None:
                self._move_main_pool(network, bootp.pool_start)
        # where one network is inside another, the smaller one counts
        self._subnets.sort(key=lambda one: -one.network.prefixlen)
        self._shared_addresses |= _list_shared_addresses(one.network for one in self._subnets)
        for one in self._subnets:
            gateway = one.settings.gateway  # a router has it, whether or not it answers a probe
            routers = (gateway,) if isinstance(gateway, IPv4Address) else ()
            one.pool.exclude_addresses((*self.own, *routers))
        self.restore_leases(self._take_homeless_leases())

    def _move_main_pool(self, network: IPv4Network, start: IPv4Address) -> None:
        """Make this the network of ``[bootp]``, which its interface's mask has made it."""
        before = self._main
        if before is not None and before.network == network:
            return
        bootp = self._config.bootp
        self._main = self._make_pool(network, start, bootp.pool_count, bootp)
        self._subnets.append(self._main)
        if before is not None:
            self._subnets.remove(before)
            self._homeless += before.pool.list_leases()

    def restore_leases(self, leases: Iterable[Lease]) -> None:
        """Take back what a store kept; what no network holds waits for one that does."""
        for lease in leases:
            network = self.find_subnet(lease.address)
            if network is None:
                self._homeless.append(lease)
            else:
                network.pool.restore_lease(lease)

    def other_file_server(self, request: DhcpRequest, boot_file: str) -> str:
        """Name the host that the client is sent to for its boot file; empty: this very one."""
        host = host_of(boot_file)
        if host:
            return "" if any(host == str(own) for own in self.own) else host
        told = request.subnet.settings.next_server
        return "" if told is None or told in self.own else str(told)

    def all_leases(self) -> list[Lease]:
        """Return every lease and offer, those that no network holds too."""
        return [lease for one in self._subnets for lease in one.pool.list_leases()] + self._homeless

    def find_complaints(self, interfaces: Iterable[Interface]) -> list[str]:
        """Say what is odd about the pool of ``[bootp]``, beside the interfaces that are served.

        And which kept addresses no client can get.
        """
        bootp, main = self._config.bootp, self._main
        if bootp.pool_start is None or bootp.mode != "dhcp":
            return []
        addresses = [(one.name, own) for one in interfaces for own in one.addresses]
        served = main is not None and any(
            own.ip in main.network or _reaches_host(own, main) for _, own in addresses
        )
        if main is None or not served:
            have = ", ".join(f"{name} {own.network}" for name, own in addresses)
            where = f"of {main.network}" if main and bootp.netmask else f"of {bootp.pool_start}"
            return [
                f"[bootp] pool_start: no interface is on the network {where}, so no client gets an "
                f"address from that pool; there are: {have or 'none with an address'}"
            ]
        alone = main.network.prefixlen == 32  # its router can be nowhere but outside
        if (
            isinstance(bootp.gateway, IPv4Address)
            and not alone
            and bootp.gateway not in main.network
        ):
            return [f"[bootp] gateway: {bootp.gateway} is not in {main.network}, out of reach"]
        if (held := main.pool.last - main.pool.first + 1) < bootp.pool_count:
            network = main.network
            return [f"[bootp] pool_count: {network} ends after {held} of {bootp.pool_count}"]
        if out := [kept for kept in self._config.static.values() if self.find_subnet(kept) is None]:
            listed = ", ".join(map(str, out[:3])) + (" ..." if out[3:] else "")
            return [f"{listed}: kept, but in no network here: the client gets another address"]
        return []

    def includes_server_of(self, packet: Packet) -> bool:
        """Tell whether the request names us, or no server at all."""
        octets = packet.options.get(options.SERVER_ID)
        if octets is None or octets in self.server_ids:
            return True
        named = read_server_id(packet)
        return named in (None, read_server_id_override(packet)) or named in self.own

    @property
    def serves_an_interface(self) -> bool:
        """Whether a pool is on the network of an interface that somebody asked on."""
        return any(one is not None for one in self._by_interface.values())

    def may_answer(self, packet: Packet, arrival: Arrival, ciaddr: IPv4Address) -> bool:
        """Tell whether each address to which the reply may go is one host's, or none.

        A forger names addresses of many: broadcast, multicast, loopback where it isn't itself.
        """
        for address in (packet.giaddr, ciaddr, arrival.source):
            number = int(address)
            first = number >> 24
            if not number:
                continue
            if not 0 < first < _MULTICAST or number in self._shared_addresses:
                return False
            if first == _LOOPBACK and not arrival.local.is_loopback:
                return False
        return True

    def find_subnet(self, address: IPAddress) -> Subnet | None:
        """Return the network that the address is in."""
        for one in self._subnets:
            if address in one.network:
                return one
        return None

    def surrounding_network(self, address: IPAddress) -> IPv4Network:
        """Return the network within which a client has one lease; all there is if none is ours."""
        found = self.find_subnet(address)
        return EVERYWHERE if found is None else found.network

    def choose_subnet(self, packet: Packet, arrival: Arrival) -> tuple[Subnet, IPv4Address] | None:
        """Return the network that the request is for, and our address for it; None: not ours."""
        selected = read_selected_subnet(packet)
        if selected is not None or packet.giaddr is not NOBODY:
            return self._choose_behind_relay(selected or packet.giaddr, arrival)
        if arrival.unicast and arrival.source is not NOBODY:
            # a client that got its lease through a relay renews it straight with us
            found = self.find_subnet(read_ciaddr(packet, read_kind(packet), arrival))
            if found is not None:
                return found, arrival.local
        index = arrival.interface.index
        if index not in self._by_interface:
            self._by_interface[index] = self._choose_on_interface(arrival.interface)
        return self._by_interface[index] or self._choose_single_host(packet.chaddr, arrival)

    def _choose_behind_relay(
        self, relay: IPv4Address, arrival: Arrival
    ) -> tuple[Subnet, IPv4Address] | None:
        found = self._by_relay.get(relay)
        if found is None and (found := self.find_subnet(relay)) is not None:
            self._by_relay[relay] = found
        return None if found is None else (found, arrival.local)

    def _choose_on_interface(self, interface: Interface) -> tuple[Subnet, IPv4Address] | None:
        only = self._config.bootp.address
        for own in interface.addresses:
            if only in (ANY, own.ip):
                found = self.find_subnet(own.ip)
                if found is not None:
                    return found, own.ip
        return None

    def _choose_single_host(
        self, mac: bytes, arrival: Arrival
    ) -> tuple[Subnet, IPv4Address] | None:
        """Return the /32 of a client on a link where our address is in no subnet.

        Of several it is the one where the client's reserved address is.
        """
        hosts = [one for one in self._subnets if one.network.prefixlen == 32]
        if not hosts or arrival.local is NOBODY:
            return None
        kept = self._config.static.get(mac)
        reserved = [one for one in hosts if kept is not None and kept in one.network]
        addresses = arrival.interface.addresses
        found = reserved or [
            one for one in hosts if any(_reaches_host(own, one) for own in addresses)
        ]
        return (found[0], arrival.local) if len(found) == 1 else None

    def _make_subnet(self, subnet: SubnetConfig) -> Subnet:
        bootp, own = self._config.bootp, dict(subnet.own)
        gateway = bootp.gateway
        if isinstance(gateway, IPv4Address) and gateway not in subnet.network:
            gateway = "self"  # another network's router is none here
        settings = replace(bootp, **{"gateway": gateway, "pool_start": None, **own})
        # without pool_start there are reservations alone
        start = settings.pool_start or subnet.network.network_address
        count = settings.pool_count if settings.pool_start else 0
        return self._make_pool(subnet.network, start, count, settings)

    def _make_pool(
        self, network: IPv4Network, start: IPv4Address, count: int, settings: BootpConfig
    ) -> Subnet:
        kind = SharedPool if self._config.bootp.shared else Pool
        pool = kind(
            network,
            start,
            count,
            static=self._config.static,
            reclaim=settings.reclaim == "expired",
            changed=self.changed,
        )
        return Subnet(network, pool, settings)

    def _take_homeless_leases(self) -> list[Lease]:
        homeless, self._homeless = self._homeless, []
        return homeless


class LeaseHolders:
    """Tells other protocols, through the table of clients, who is at which address."""

    def __init__(self, subnets: Subnets, clients: ClientTable, profiles: ClientProfiles) -> None:
        self._subnets = subnets
        self._clients = clients
        self._profiles = profiles

    def recall_clients(self, now: float) -> None:
        """Note the clients of the leases that a store kept."""
        for subnet in self._subnets:
            for lease in subnet.pool.list_leases():
                if lease.is_active(now):
                    self._note_holder(lease)

    def follow_lease(self, lease: Lease, now: float) -> None:
        """Note whose the address is after another daemon has changed its lease."""
        known = self._clients.find_by_address(lease.address)
        if lease.is_active(now):
            self._note_holder(lease)
        elif known is not None and lease.state is not LeaseState.OFFERED:
            self._clients.withdraw_address(known)

    def _note_holder(self, lease: Lease) -> None:
        known = self._clients.note_client(Client(lease.mac, lease.uuid, lease.client_id))
        known.booted, known.hostname = lease.booted, lease.hostname
        known.variables = dict(self._profiles.find_profile(known.client).variables)
        self._clients.confirm_address(known, lease.address)

    def note_lease(self, request: DhcpRequest, client: Client, lease: Lease) -> None:
        """Note that a client gets the address of its lease."""
        known = self._clients.note_client(client)
        known.booted = known.booted or lease.booted or client.network_boot
        lease.booted = known.booted
        self._clients.confirm_address(known, lease.address)
        known.hostname = lease.hostname or known.hostname
        known.server = request.server
        known.file = request.boot_file.own or known.file
        known.variables = dict(request.profile.variables)
        if client.network_boot:
            known.boot_file = request.boot_file.told

    def note_offer_to_pi(self, request: DhcpRequest, lease: Lease) -> None:
        """Know the client at the address offered: a Pi 3's ROM uses it without a REQUEST."""
        known = self._clients.note_client(request.client)
        known.booted, known.server = True, request.server
        known.variables = dict(request.profile.variables)
        self._clients.confirm_address(known, lease.address)

    def note_release(self, client: Client) -> None:
        """Note that the client has given back its address."""
        known = self._clients.find_by_identity(client.identity)
        if known is not None and known.address == client.address:
            self._clients.withdraw_address(known)

    def forget_addresses(self, addresses: Collection[IPAddress], now: float) -> list[Released]:
        """Take these addresses from their clients: a person took them out of the store."""
        released = []
        for address in addresses:
            subnet = self._subnets.find_subnet(address)
            lease = subnet.pool.forget_lease(address, now) if subnet is not None else None
            if lease is not None and lease.owner:
                client = Client(lease.mac, lease.uuid, lease.client_id, address=address)
                known = self._clients.find_by_identity(client.identity)
                if known is not None and known.address == address:
                    self._clients.withdraw_address(known)
                released.append(Released(client, address, booting=False))
        return released


def _reaches_host(own: IPv4Interface, subnet: Subnet) -> bool:
    """Tell whether the one host of a /32 may be at this address: unnumbered, or on its network."""
    network = subnet.network
    if network.prefixlen < 32:
        return False
    return own.network.prefixlen == 32 or network.network_address in own.network


def _list_shared_addresses(networks: Iterable[IPv4Network]) -> set[int]:
    """Return the addresses of these networks that are no single host's."""
    return {
        int(address)
        for network in networks
        if network.prefixlen < 31  # RFC 3021: a /31 has none
        for address in (network.network_address, network.broadcast_address)
    }


def _find_main_network(
    bootp: BootpConfig, start: IPv4Address, networks: Iterable[IPv4Network]
) -> IPv4Network | None:
    if bootp.netmask is not None:
        return IPv4Network((start, str(bootp.netmask)), strict=False)
    return next((network for network in networks if start in network), None)
