"""A stranger asks with ever new MACs: who means it gets an address all the same."""

import itertools
from ipaddress import IPv4Address

import pytest

from pybootd.dhcp4.actions import Action, Probe
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.leases.lease import LeaseState
from pybootd.leases.offers import MIN_OFFERS, OFFER_SHARE, Offers
from pybootd.leases.pool import OFFER_HOLD_S

from .desk import FIRST, OTHER, SERVER, Desk, answer, kind, request

A = IPv4Address
POOL = 200
BIG = {"pool_start": A("192.168.1.10"), "pool_count": POOL}
STRANGERS = (b"\x52\x66" + number.to_bytes(4) for number in itertools.count())


def flood(desk: Desk, count: int, seconds: float = 0.0) -> int:
    """Ask with so many new MACs; return how many were offered something."""
    offered = 0
    for _ in range(count):
        desk.now += seconds / count
        offer = desk.ask(request(MessageType.DISCOVER, mac=next(STRANGERS)))
        offered += offer is not None
    return offered


def choose(desk: Desk, offer: Packet | None, **more: bytes) -> Packet | None:
    assert offer is not None
    return desk.ask(request(MessageType.REQUEST, wanted=offer.yiaddr, server=SERVER, **more))


@pytest.fixture
def desk() -> Desk:
    return Desk(**BIG)


def test_a_newcomer_gets_an_address_however_many_ask_meanwhile(desk: Desk) -> None:
    assert flood(desk, 5 * POOL, 1.0) == 5 * POOL
    offer = desk.ask(request(MessageType.DISCOVER))
    assert flood(desk, 5 * POOL, 1.0) == 5 * POOL  # until it requests what it was offered
    ack = choose(desk, offer)
    assert kind(ack) == MessageType.ACK
    assert ack is not None
    flood(desk, 5 * POOL, 100.0)
    renewed = desk.ask(request(MessageType.REQUEST, ciaddr=ack.yiaddr))
    assert kind(renewed) == MessageType.ACK


def test_an_address_offered_to_two_is_the_first_ones_that_requests_it(desk: Desk) -> None:
    first = desk.ask(request(MessageType.DISCOVER))
    flood(desk, POOL - 1)
    second = desk.ask(request(MessageType.DISCOVER, mac=OTHER))
    assert first is not None
    assert second is not None
    assert first.yiaddr == second.yiaddr
    assert kind(choose(desk, first)) == MessageType.ACK
    assert kind(choose(desk, second, mac=OTHER)) == MessageType.NAK
    again = desk.ask(request(MessageType.DISCOVER, mac=OTHER))
    assert kind(choose(desk, again, mac=OTHER)) == MessageType.ACK


def test_without_need_an_offer_is_its_clients(desk: Desk) -> None:
    offer = desk.ask(request(MessageType.DISCOVER))
    assert kind(choose(desk, offer, mac=OTHER)) == MessageType.NAK
    assert kind(choose(desk, offer)) == MessageType.ACK


def test_what_was_confirmed_is_never_taken_back(desk: Desk) -> None:
    kept = [desk.lease(mac=b"\2\0\0\0\0" + bytes((number,))).yiaddr for number in range(POOL)]
    assert flood(desk, POOL) == 0
    assert len(set(kept)) == POOL
    assert all(desk.leased(address) for address in kept)


def test_a_flood_takes_few_of_the_leases_that_ran_out() -> None:
    desk = Desk(**BIG, reclaim="expired", lease_time=100)
    macs = [b"\2\0\0\0\0" + bytes((number,)) for number in range(POOL)]
    had = {mac: desk.lease(mac=mac).yiaddr for mac in macs}
    desk.now += 1000
    assert flood(desk, 10 * POOL, 1.0) == 10 * POOL
    again = {}
    for mac in macs:
        offer = desk.ask(request(MessageType.DISCOVER, mac=mac))
        assert offer is not None
        again[mac] = offer.yiaddr
    lost = [mac for mac in macs if again[mac] != had[mac]]
    assert len(lost) <= max(MIN_OFFERS, POOL // OFFER_SHARE) + 1


def test_an_offer_that_is_still_looked_into_is_not_taken_back() -> None:
    """So the questions that a flood makes us ask the network are as many as the addresses."""
    desk = Desk(**BIG, conflict_check=True)
    asked: list[Probe] = []
    replies: list[Action] = []
    for _ in range(3 * POOL):
        effects = desk.effects(request(MessageType.DISCOVER, mac=next(STRANGERS)))
        asked += [effect for effect in effects if isinstance(effect, Probe)]
    assert len(asked) == POOL
    desk.now += 0.3
    for probe in asked:
        replies += probe.resume(b"", desk.now)
    # the next client waits for nothing: nobody used the addresses a moment ago
    offer = answer(desk.effects(request(MessageType.DISCOVER)))
    assert kind(offer) == MessageType.OFFER
    assert kind(choose(desk, offer)) == MessageType.ACK


def test_an_address_that_its_client_may_use_without_a_request_is_looked_into_again() -> None:
    """A Raspberry Pi 3's ROM never requests what it was offered."""
    desk = Desk(pool_count=1, conflict_check=True)
    pi = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: bytes(2), 97: bytes(17), 43: b""}
    mac = bytes.fromhex("b827eb123456")
    (probe,) = desk.effects(request(MessageType.DISCOVER, mac=mac, options=pi))
    assert isinstance(probe, Probe)
    desk.now += 0.3
    assert kind(answer(probe.resume(b"", desk.now))) == MessageType.OFFER
    (probe,) = desk.effects(request(MessageType.DISCOVER, mac=OTHER))
    assert isinstance(probe, Probe)
    probe.resume(mac, desk.now)
    lease = next(iter(desk.subnets)).pool.find_lease_at(FIRST)
    assert lease is not None
    assert lease.state is LeaseState.DECLINED


def test_who_requests_an_address_while_it_is_looked_into_for_another_keeps_it() -> None:
    desk = Desk(pool_count=1, conflict_check=True)
    pi = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: bytes(2), 97: bytes(17), 43: b""}
    mac = bytes.fromhex("b827eb123456")
    (probe,) = desk.effects(request(MessageType.DISCOVER, mac=mac, options=pi))
    assert isinstance(probe, Probe)
    probe.resume(b"", desk.now)
    (probe,) = desk.effects(request(MessageType.DISCOVER, mac=OTHER))  # takes the offer back
    assert isinstance(probe, Probe)
    chosen = request(MessageType.REQUEST, mac=mac, wanted=FIRST, server=SERVER, options=pi)
    assert kind(desk.ask(chosen)) == MessageType.ACK
    assert answer(probe.resume(mac, desk.now)) is None
    assert desk.leased(FIRST)


def test_offers_that_expired_are_given_as_ever(desk: Desk) -> None:
    flood(desk, POOL)
    desk.now += OFFER_HOLD_S + 1
    assert flood(desk, POOL) == POOL
    assert len(next(iter(desk.subnets)).pool) == POOL


def test_offers_count_those_in_preparation() -> None:
    offers = Offers()
    for number in range(MIN_OFFERS):
        assert not offers.exceed_share(10)
        offers.prepare_offer(number)
    assert offers.exceed_share(10)
    assert offers.pop_oldest() == (-1, False)
    offers.add_offer(3, True)
    offers.add_offer(1, False)
    offers.add_offer(3, True)
    assert [offers.pop_oldest() for _ in range(3)] == [(1, False), (3, True), (-1, False)]
    offers.end_offer(5)
    assert not offers.exceed_share(10)


def test_half_of_a_shared_pools_offers_are_taken_before_the_store_has_answered() -> None:
    offers = Offers()
    for number in range(100):
        offers.add_offer(number, True)
    taken = []
    for key in range(100):
        number, idle = offers.pop_any_stored(key * 7919)
        if number >= 0:
            assert idle
            taken.append(number)
            offers.prepare_offer(number)
            offers.await_store(number)
            offers.add_offer(number, True)
    assert len(set(taken)) == len(taken) == 50
    assert not offers.is_stored(taken[0])
    for number in taken:
        offers.mark_stored(number)
    assert offers.pop_any_stored(0)[0] >= 0


def test_of_few_offers_each_may_be_taken() -> None:
    offers = Offers()
    offers.add_offer(7, True)
    offers.add_offer(8, False)
    taken = {offers.pop_any_stored(5), offers.pop_any_stored(5)}
    assert taken == {(7, True), (8, False)}
    assert offers.pop_any_stored(5) == (-1, False)
