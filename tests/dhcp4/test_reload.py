"""Another configuration while leases, offers and questions are out."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address as A
from ipaddress import IPv4Interface

import pytest

from pybootd.access.base import Access, AccessDecision
from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client import Client
from pybootd.core.workers import Later
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.leases.lease import LeaseState

from .desk import LAN, MAC, OTHER, WAN, request
from .test_server import CLIENT, HERE, Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    made.server.open()
    made.server.start()
    yield made
    made.close()


def reload(rig: Rig, access: Access | None = None, **bootp: object) -> None:
    changed = replace(rig.config.bootp, **bootp)  # type: ignore[arg-type]
    rig.server.reload(replace(rig.config, bootp=changed), access)


def discover(rig: Rig, mac: bytes = MAC) -> Packet:
    offer = rig.ask(request(MessageType.DISCOVER, mac=mac, flags=0x8000))
    assert offer is not None
    return offer


def kind_and_address(packet: Packet | None) -> tuple[int, A] | None:
    return None if packet is None else (packet.options[53][0], packet.yiaddr)


def test_leases_and_offers_outlive_it(rig: Rig) -> None:
    leased, offered = A("127.0.1.1"), A("127.0.1.2")
    discover(rig)
    rig.ask(request(MessageType.REQUEST, wanted=leased, server=HERE, flags=0x8000))
    assert discover(rig, OTHER).yiaddr == offered
    reload(rig, lease_time=600, max_lease_time=600)
    assert discover(rig, b"\2" * 6).yiaddr == A("127.0.1.3")
    renewed = rig.ask(request(MessageType.REQUEST, ciaddr=leased))
    assert kind_and_address(renewed) == (MessageType.ACK, leased)
    assert renewed is not None
    assert int.from_bytes(renewed.options[51]) == 600
    chosen = request(MessageType.REQUEST, mac=OTHER, wanted=offered, server=HERE, flags=0x8000)
    assert kind_and_address(rig.ask(chosen)) == (MessageType.ACK, offered)


def test_an_offer_that_is_not_taken_still_comes_back_in_need(rig: Rig) -> None:
    reload(rig, pool_count=1)
    discover(rig)
    reload(rig, pool_count=1, lease_time=600, max_lease_time=600)
    (network,) = rig.server.subnets
    lease = network.pool.find_lease(MAC)
    assert lease is not None
    assert lease.state is LeaseState.OFFERED
    other = network.pool.offer_address(OTHER, OTHER, lease.expires - 1)
    assert other is not None
    assert other.address == lease.address


def test_an_address_that_left_the_pool_is_refused_and_another_is_given(rig: Rig) -> None:
    leased = discover(rig).yiaddr
    rig.ask(request(MessageType.REQUEST, wanted=leased, server=HERE, flags=0x8000))
    reload(rig, pool_start=A("127.0.2.1"))
    refused = rig.ask(request(MessageType.REQUEST, ciaddr=leased))
    assert refused is not None
    assert refused.options[53][0] == MessageType.NAK
    assert discover(rig).yiaddr == A("127.0.2.1")


def test_leases_that_could_not_be_saved_are_saved_later(rig: Rig) -> None:
    rig.store.full = True
    assert rig.ask(request(MessageType.REQUEST, ciaddr=CLIENT)) is None
    reload(rig)
    rig.store.full = False
    rig.ask(request(MessageType.REQUEST, mac=OTHER, ciaddr=A("127.0.1.8")))
    assert rig.store.saved == [2]


class Asks(Access):
    """Says on a worker what it was built to say."""

    def __init__(self, allow: bool) -> None:
        self.allow = allow
        self.asked = 0
        self.may_answer = threading.Event()

    @classmethod
    def from_config(cls, section: Section) -> Access:
        raise NotImplementedError

    def check(self, client: Client) -> Later[AccessDecision]:
        self.asked += 1

        def answer() -> AccessDecision:
            assert self.may_answer.wait(10)
            return AccessDecision(self.allow, "so")

        return Later(answer)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_who_waits_for_an_answer_is_asked_about_again(rig: Rig, first: bool, second: bool) -> None:
    before, after = Asks(first), Asks(second)
    reload(rig, before)
    rig.send(request(MessageType.DISCOVER, flags=0x8000))
    rig.loop.turn(1.0)
    reload(rig, after)
    before.may_answer.set()
    rig.loop.turn(10.0)
    after.may_answer.set()
    while rig.server._handler.waiting_requests():
        rig.loop.turn(10.0)
    assert (before.asked, after.asked) == (1, 1)
    assert (rig.receive() is not None) is second
    assert not rig.server._handler.waiting_requests()


def test_faulty_options_change_nothing(rig: Rig) -> None:
    faulty = replace(rig.config, sections={"options": Section("options", options={"ruter": "1"})})
    with pytest.raises(ConfigError):
        rig.server.reload(faulty, None)
    assert discover(rig).yiaddr == A("127.0.1.1")


@pytest.mark.parametrize(
    ("bootp", "said"),
    [
        ({"pool_start": A("192.168.1.100")}, ""),
        ({"pool_start": A("192.168.1.250")}, "192.168.1.0/24 ends after 6 of 10"),
        ({"pool_start": A("192.168.2.100")}, "of 192.168.2.100, so no client gets"),
        (
            {"pool_start": A("192.168.1.100"), "netmask": A("255.255.255.192")},
            "of 192.168.1.64/26, so no client gets",
        ),
    ],
)
def test_a_pool_that_no_interface_fits(bootp: dict[str, A], said: str) -> None:
    networks = Subnets(Config(bootp=BootpConfig(**bootp)))  # type: ignore[arg-type]
    networks.follow_interfaces([LAN, WAN])
    found = networks.find_complaints([LAN, WAN])
    assert len(found) == bool(said)
    if said:
        assert said in found[0]
    if "so no client" in said:
        assert found[0].endswith("there are: lan0 192.168.1.0/24, wan0 10.9.0.0/16")
        assert networks.find_complaints([])[0].endswith("there are: none with an address")


def test_a_kept_address_that_is_in_no_network_is_told() -> None:
    """Else its client got another one, and not a word was said."""
    bootp = BootpConfig(pool_start=A("192.168.1.100"))
    kept = {bytes(6): A("192.168.1.5"), bytes(5) + b"\1": A("192.168.2.5")}
    for static, said in ((kept, ["192.168.2.5: kept, but in no network here"]), ({}, [])):
        networks = Subnets(Config(bootp=bootp, static=static))
        networks.follow_interfaces([LAN, WAN])
        told = networks.find_complaints([LAN, WAN])
        assert [one.rpartition(": ")[0] for one in told] == said


def test_a_pool_that_no_interface_fits_is_told_at_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Rig(pool_start=A("192.0.2.1"))
    with caplog.at_level(logging.WARNING):
        made.server.open()
    made.close()
    assert "no interface is on the network of 192.0.2.1" in caplog.text
    assert str(IPv4Interface("127.0.0.1/8").network) in caplog.text
