"""The networks: does the pool fit them, do they carry our blocks, are clients routed."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from pybootd.commands.doctor import host_checks
from pybootd.commands.doctor.host_state import DoctorCode, HostState, fault, fine, warning
from pybootd.core.finding import Finding
from pybootd.core.text import did_you_mean

_ETHERNET_MTU = 1500


def check_pool(host: HostState) -> Iterator[Finding]:
    """See whether the pool lies in the network of an interface and holds none of our addresses."""
    bootp = host.config.bootp
    if bootp.mode == "proxy" or bootp.pool_start is None:
        return
    first, last = bootp.pool_start, bootp.pool_start + max(0, bootp.pool_count - 1)
    addresses = [own for link in host.interfaces for own in link.addresses]
    networks = [own.network for own in addresses if first in own.network]
    if not networks and host.config.subnets:
        return  # of a relay's network
    if not networks:
        yield fault(
            DoctorCode.POOL_NETWORK,
            f"the pool {first} - {last} is in no network of this host",
            "Give an interface an address of that network, or change [bootp] pool_start.",
        )
        return
    network: IPv4Network = networks[0]
    if last not in network or last >= network.broadcast_address:
        yield warning(
            DoctorCode.POOL_END,
            f"the pool ends at {last}, behind the end of {network}",
            "The addresses beyond are not given: lower [bootp] pool_count.",
        )
    yield from _judge_pool(host, network, first, last)
    yield fine(DoctorCode.POOL, f"the pool {first} - {last} is in {network}")


def _judge_pool(
    host: HostState, network: IPv4Network, first: IPv4Address, last: IPv4Address
) -> Iterator[Finding]:
    """Judge what clients of the pool are told of their network."""
    bootp = host.config.bootp
    addresses = [own for link in host.interfaces for own in link.addresses]
    inside = sorted(own.ip for own in addresses if first <= own.ip <= last)
    if inside:
        listed = ", ".join(map(str, inside))
        yield warning(
            DoctorCode.POOL_OWN_ADDRESS,
            f"the pool holds this host's own address: {listed}",
            "It is never given; one less then.",
        )
    gateway = bootp.gateway
    mask = bootp.netmask
    if mask is not None and mask != network.netmask:
        yield fault(
            DoctorCode.NETMASK,
            f"[bootp] netmask is {mask}, and that of the interface is {network.netmask}",
            "Leave it out, so that clients are told the interface's.",
        )
    if isinstance(gateway, IPv4Address) and gateway not in network:
        yield fault(
            DoctorCode.GATEWAY_NETWORK,
            f"the gateway {gateway} is not in {network}",
            "Change [bootp] gateway.",
        )


def check_static_addresses(host: HostState) -> Iterator[Finding]:
    """See whether each address that is kept for a machine can be used by it."""
    config = host.config
    own = {address.ip for link in host.interfaces for address in link.addresses}
    networks = [address.network for link in host.interfaces for address in link.addresses]
    networks += [one.network for one in config.subnets]
    holders: dict[IPv4Address, str] = {}
    for mac, kept in config.static.items():
        name = mac.hex(":")
        if kept in own:
            problem = f"{name}: {kept} is this host's own address"
        elif kept == config.bootp.gateway:
            problem = f"{name}: {kept} is the clients' router"
        elif kept in holders:
            problem = f"{name}: {kept} is kept for {holders[kept]} as well"
        elif networks and not any(kept in network for network in networks):
            problem = f"{name}: {kept} is in no network of this host, and in no [subnet]"
        else:
            holders[kept] = name
            continue
        code = DoctorCode.STATIC_ADDRESS
        yield fault(code, problem, "Change [static_dhcp] or the address in [client].")


def check_interfaces(host: HostState) -> Iterator[Finding]:
    """See whether the interfaces that are named are there, up, and have an address."""
    there = {link.name: link for link in host.interfaces}
    for name in host.config.bootp.interface:
        link = there.get(name)
        if link is None:
            meant = did_you_mean(name, [one for one in there if one != "lo"])
            yield fault(
                DoctorCode.INTERFACE_MISSING,
                f"[bootp] interface: there is no interface {name}",
                f"Is {meant} meant?" if meant else f"There are {', '.join(there)}.",
            )
        elif not link.addresses:
            yield fault(
                DoctorCode.INTERFACE_ADDRESS,
                f"{name} has no IPv4 address",
                f"Give it one: ip address add ADDRESS/LENGTH dev {name}",
            )
    for link in host.served_interfaces():
        if link.addresses and host_checks.has_carrier(link.name) is False:
            yield warning(
                DoctorCode.INTERFACE_DOWN,
                f"{link.name} is down, or nothing is plugged into it",
                f"ip link set dev {link.name} up, and look at the cable.",
            )


def check_block_sizes(host: HostState) -> Iterator[Finding]:
    """See whether the links carry the blocks that TFTP grants."""
    tftp = host.config.tftp
    for link in host.served_interfaces():
        largest = link.mtu - 32
        if link.mtu > _ETHERNET_MTU and tftp.blocksize > _ETHERNET_MTU - 32:
            yield warning(
                DoctorCode.LARGE_MTU,
                f"{link.name} has an MTU of {link.mtu}: firmware and switches often carry 1500",
                "If boots stop at the first large file: [tftp] blocksize = 1468.",
            )
        elif tftp.fragments and tftp.blocksize > largest:
            yield warning(
                DoctorCode.FRAGMENTS,
                f"{link.name}: blocks over {largest} octets leave in fragments",
                "Much firmware can't put them together: [tftp] fragments = no.",
            )
        else:
            yield fine(
                DoctorCode.BLOCKS,
                f"{link.name}: blocks up to {min(tftp.blocksize, largest)} octets fit",
            )


def check_forwarding(host: HostState) -> Iterator[Finding]:
    """See whether a host that calls itself the router is one."""
    bootp = host.config.bootp
    if bootp.mode == "proxy" or bootp.gateway != "self" or bootp.pool_start is None:
        return
    links = [link.name for link in host.served_interfaces()]
    idle = [name for name in links if host_checks.is_forwarding(name) is False]
    if idle:
        yield warning(
            DoctorCode.NOT_FORWARDING,
            "clients are told that this host is their router, and it forwards nothing from"
            f" {', '.join(idle)}",
            "sudo ./forward.sh on, or [bootp] gateway = none (or another router).",
        )
    else:
        yield fine(DoctorCode.FORWARDING, "this host forwards, as the clients' router should")
