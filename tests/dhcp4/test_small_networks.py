"""Networks of 31 and 32 bits (RFC 3021): no broadcast address, nothing withheld."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from pybootd.config.client_classes import SubnetConfig
from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client_table import ClientTable
from pybootd.dhcp4.handler import DhcpHandler
from pybootd.dhcp4.own_options import OwnOptions
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire.packet import MessageType, Packet, decode, encode
from pybootd.system.interfaces import Interface

from .desk import MAC, OTHER, A, answer, request

DISCOVER, REQUEST = MessageType.DISCOVER, MessageType.REQUEST


class Site:
    """A handler behind these interfaces."""

    def __init__(self, config: Config, *own: str) -> None:
        self.interfaces = [
            Interface(f"eth{number}", number + 2, (IPv4Interface(address),), b"\2\0\0\0\0\1")
            for number, address in enumerate(own)
        ]
        self.subnets = Subnets(config)
        self.subnets.follow_interfaces(self.interfaces)
        self.handler = DhcpHandler(config, self.subnets, ClientTable(), None, OwnOptions())

    def ask(self, packet: Packet, interface: int = 0, **more: object) -> Packet | None:
        link = self.interfaces[interface]
        arrival = Arrival(link, link.addresses[0].ip, **more)  # type: ignore[arg-type]
        return answer(self.handler.handle_request(decode(encode(packet)), arrival, 1000.0))


def configured(
    *subnets: SubnetConfig, static: dict[bytes, IPv4Address] | None = None, **bootp: object
) -> Config:
    settings = {"allow_simple_dhcp": True, "conflict_check": False} | bootp
    made = BootpConfig(**settings)  # type: ignore[arg-type]
    return Config(bootp=made, subnets=subnets, static=static or {})


@pytest.mark.parametrize("bits", [24, 29, 30, 31])
@pytest.mark.parametrize("asked", [None, b"\1\3\x1c", b"\x1c"])
def test_the_broadcast_address_is_told_where_there_is_one(bits: int, asked: bytes | None) -> None:
    site = Site(
        configured(pool_start=A("10.7.0.1"), pool_count=1),
        f"10.7.0.0/{bits}" if bits == 31 else f"10.7.0.2/{bits}",
    )
    offer = site.ask(request(DISCOVER, options={} if asked is None else {55: asked}))
    assert offer is not None
    network = IPv4Network(f"10.7.0.0/{bits}")
    assert offer.options[1] == network.netmask.packed
    assert offer.options.get(28) == (network.broadcast_address.packed if bits < 31 else None)


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("10.7.0.0", "10.7.0.1"),
        ("10.7.0.1", "10.7.0.0"),
        ("10.7.0.254", "10.7.0.255"),
        ("10.7.0.255", "10.7.0.254"),
    ],
)
def test_both_addresses_of_a_31_are_addresses(server: str, client: str) -> None:
    site = Site(configured(pool_start=A(client), pool_count=1), f"{server}/31")
    assert site.subnets.find_complaints(site.interfaces) == []
    offer = site.ask(request(DISCOVER))
    assert offer is not None
    assert (offer.yiaddr, offer.options[3]) == (A(client), A(server).packed)
    ack = site.ask(request(REQUEST, wanted=A(client), server=A(server)))
    assert ack is not None
    assert ack.options[53] == b"\5"
    assert site.ask(request(DISCOVER, mac=OTHER)) is None


def test_a_31_behind_a_relay() -> None:
    subnet = SubnetConfig(
        IPv4Network("10.8.0.0/31"), {"pool_start": A("10.8.0.0"), "pool_count": 2}
    )
    site = Site(configured(subnet), "10.7.0.1/24")
    offer = site.ask(request(DISCOVER, giaddr=A("10.8.0.1")))
    assert offer is not None
    assert (offer.yiaddr, offer.options[3]) == (A("10.8.0.0"), A("10.8.0.1").packed)


@pytest.mark.parametrize("own", ["10.7.0.1/32", "192.0.2.1/32", "10.7.0.1/24"])
def test_a_32_of_one_client(own: str) -> None:
    host = A("10.7.0.9")
    config = configured(pool_start=host, pool_count=1, netmask=A("255.255.255.255"))
    site = Site(config, own)
    assert site.subnets.find_complaints(site.interfaces) == []
    server = IPv4Interface(own).ip
    for _ in range(2):
        offer = site.ask(request(DISCOVER))
        assert offer is not None
        assert (offer.yiaddr, offer.options[1]) == (host, b"\xff\xff\xff\xff")
        assert offer.options[3] == server.packed  # outside, as it has to be
        assert 28 not in offer.options
        ack = site.ask(request(REQUEST, wanted=host, server=server))
        assert ack is not None
        assert (ack.options[53], ack.yiaddr) == (b"\5", host)
    renewed = site.ask(request(REQUEST, ciaddr=host), source=host, unicast=True)
    assert renewed is not None
    assert renewed.options[53] == b"\5"


def test_a_32_for_each_of_two_clients() -> None:
    """One link each, both with the server's one address: the reservation tells them apart."""
    hosts = {MAC: A("10.7.0.8"), OTHER: A("10.7.0.9")}
    subnets = [SubnetConfig(IPv4Network(host), {}) for host in hosts.values()]
    site = Site(configured(*subnets, static=hosts), "10.7.0.1/32", "10.7.0.1/32")
    for interface, (mac, host) in enumerate(hosts.items()):
        offer = site.ask(request(DISCOVER, mac=mac), interface)
        assert offer is not None
        assert (offer.yiaddr, offer.options[1]) == (host, b"\xff\xff\xff\xff")
    assert site.ask(request(DISCOVER, mac=b"\2\0\0\0\0\7")) is None


def test_a_32_is_no_business_of_other_links() -> None:
    host = A("10.7.0.9")
    config = configured(pool_start=host, pool_count=1, netmask=A("255.255.255.255"))
    site = Site(config, "192.168.1.1/24")
    assert site.ask(request(DISCOVER)) is None
    (complaint,) = site.subnets.find_complaints(site.interfaces)
    assert "no interface is on the network of 10.7.0.9/32" in complaint
