"""Pools: which address, for how long, and whose it stays."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.core.client import make_identity
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.pool import DECLINE_HOLD_S, MIN_QUEUE, OFFER_HOLD_S, Pool
from pybootd.leases.shared.pool import SharedPool

NETWORK = IPv4Network("10.0.0.0/24")
ONE, TWO, THREE, FOUR = (bytes((2, 0, 0, 0, 0, last)) for last in (1, 2, 3, 4))


def at(last: int) -> IPv4Address:
    return NETWORK.network_address + last


def pool(start: int = 10, count: int = 2, **more: object) -> Pool:
    return Pool(NETWORK, at(start), count, **more)  # type: ignore[arg-type]


def offered(made: Pool, mac: bytes, now: float = 0.0, wanted: int | None = None) -> int | None:
    lease = made.offer_address(mac, mac, now, None if wanted is None else at(wanted))
    return None if lease is None else int(lease.address) & 0xFF


def bound(made: Pool, mac: bytes, now: float = 0.0, seconds: float = 100.0) -> Lease:
    lease = made.offer_address(mac, mac, now)
    assert lease is not None
    made.bind_lease(lease, seconds, now)
    return lease


def test_a_client_gets_the_same_address_again() -> None:
    made = pool()
    assert (offered(made, ONE), offered(made, TWO), offered(made, ONE)) == (10, 11, 10)


def test_the_address_asked_for_is_given_if_free() -> None:
    made = pool(count=5)
    assert offered(made, ONE, wanted=12) == 12
    assert offered(made, TWO, wanted=12) == 10
    assert offered(made, THREE, wanted=99) == 11  # outside the pool


def test_a_full_pool_has_none() -> None:
    made = pool()
    offered(made, ONE)
    offered(made, TWO)
    assert offered(made, THREE) is None


def test_an_offer_that_nobody_takes_goes_to_others() -> None:
    made = pool(count=1)
    offered(made, ONE)
    assert offered(made, TWO, OFFER_HOLD_S - 1) is None
    assert offered(made, ONE, OFFER_HOLD_S - 1) == 10  # holds it again
    assert offered(made, TWO, OFFER_HOLD_S + 1) is None
    assert offered(made, TWO, 2 * OFFER_HOLD_S) == 10
    assert made.find_lease(ONE) is None


def test_an_address_stays_with_its_client_for_good() -> None:
    made = pool(count=1)
    bound(made, ONE, seconds=10)
    assert offered(made, TWO, now=1e9) is None
    assert offered(made, ONE, now=2e9) == 10


def test_a_released_address_stays_too() -> None:
    made = pool(count=1)
    lease = bound(made, ONE)
    made.release_lease(lease, 5.0)
    assert (lease.state, lease.is_active(5.0)) == (LeaseState.RELEASED, False)
    assert offered(made, TWO, 1e6) is None
    assert offered(made, ONE, 1e6) == 10


def test_a_full_pool_takes_back_the_longest_expired() -> None:
    made = pool(reclaim=True)
    first = bound(made, ONE, seconds=100)
    bound(made, TWO, seconds=50)
    made.bind_lease(first, 100, 20.0)  # renewed: it ends at 120
    assert offered(made, THREE, 49.0) is None
    assert bound(made, THREE, 60.0).address == at(11)
    assert made.find_lease(TWO) is None
    assert offered(made, TWO, 119.0) is None
    assert offered(made, TWO, 121.0) == 10


def test_what_is_released_early_is_taken_back_first() -> None:
    made = pool(reclaim=True)
    bound(made, ONE, seconds=100)
    made.release_lease(bound(made, TWO, seconds=1000), 10.0)
    assert offered(made, THREE, 11.0) == 11


def test_what_was_released_is_taken_back_before_what_merely_ran_out() -> None:
    """RFC 2131 4.3.4."""
    made = pool(reclaim=True)
    bound(made, ONE, seconds=50)
    lease = bound(made, TWO, seconds=50)
    made.bind_lease(lease, 100, 60.0)  # it ran out, and was extended
    made.release_lease(lease, 70.0)
    assert offered(made, THREE, 80.0) == 11
    assert offered(made, FOUR, 80.0) == 10


def test_an_address_never_given_goes_before_a_released_one() -> None:
    made = pool(reclaim=True)
    made.release_lease(bound(made, ONE), 5.0)
    assert offered(made, TWO, 6.0) == 11
    assert offered(made, THREE, 6.0) == 10


def test_a_released_address_is_free_for_a_client_that_asks_for_it_by_name() -> None:
    made = pool(reclaim=True)
    made.release_lease(bound(made, ONE), 5.0)
    bound(made, TWO, seconds=1.0)
    assert offered(made, THREE, 6.0, wanted=10) == 10
    assert made.find_lease(ONE) is None
    assert offered(made, FOUR, 6.0, wanted=11) == 11  # it ran out: in need it is taken
    assert made.find_lease(TWO) is None


def test_an_address_that_merely_ran_out_is_not_given_by_name() -> None:
    made = pool(count=3, reclaim=True)
    bound(made, ONE, seconds=1.0)
    assert offered(made, TWO, 6.0, wanted=10) == 11


@pytest.mark.parametrize("wanted", [10, None])
def test_a_released_address_is_its_clients_while_that_is_offered_it(wanted: int | None) -> None:
    made = pool(count=1, reclaim=True)
    made.release_lease(bound(made, ONE), 5.0)
    assert offered(made, ONE, 6.0) == 10
    assert offered(made, TWO, 7.0, wanted) is None
    assert offered(made, TWO, 7.0 + OFFER_HOLD_S, wanted) == 10


def test_without_reclaim_a_released_address_is_given_to_nobody_else() -> None:
    made = pool()
    made.release_lease(bound(made, ONE), 5.0)
    bound(made, TWO, 6.0)
    assert offered(made, THREE, 1e9, wanted=10) is None


def test_a_lease_from_a_store_is_released_or_ran_out_as_it_was() -> None:
    made = pool(reclaim=True)
    made.restore_lease(Lease(at(10), ONE, ONE, None, LeaseState.BOUND, 10.0, 10.0))
    made.restore_lease(Lease(at(11), TWO, TWO, None, LeaseState.RELEASED, 20.0, 10.0))
    assert offered(made, THREE, 30.0) == 11
    assert offered(made, FOUR, 30.0) == 10


def test_what_is_offered_to_its_former_client_is_not_taken_back() -> None:
    made = pool(count=1, reclaim=True)
    bound(made, ONE, seconds=10)
    assert offered(made, ONE, 20.0) == 10
    assert offered(made, TWO, 21.0) is None
    assert offered(made, TWO, 21.0 + OFFER_HOLD_S) == 10


def test_a_lease_for_good_never_runs_out() -> None:
    made = pool(count=1, reclaim=True)
    bound(made, ONE, seconds=FOREVER)
    assert offered(made, TWO, 1e12) is None


def test_renewals_do_not_grow_the_queue() -> None:
    made = pool(reclaim=True)
    lease = bound(made, ONE)
    for now in range(1000):
        made.bind_lease(lease, 100, now)
        made.release_lease(lease, now)
        made.bind_lease(lease, 100, now)
    assert made.queued_addresses <= 2 * (MIN_QUEUE + 4)


def test_a_declined_address_is_left_alone_even_when_asked_for() -> None:
    made = pool()
    lease = bound(made, ONE)
    made.block_address(lease.address, 0.0)
    assert made.find_lease(ONE) is None
    assert bound(made, ONE, 1.0).address == at(11)
    assert offered(made, TWO, 1.0, wanted=10) is None
    assert made.claim_address(at(10), TWO, TWO, 1.0) is None
    assert offered(made, TWO, DECLINE_HOLD_S) == 10


def test_an_offer_withdrawn_is_free_at_once() -> None:
    made = pool(count=1)
    lease = made.offer_address(ONE, ONE, 0.0)
    assert lease is not None
    made.withdraw_offer(lease, 1.0)
    assert offered(made, TWO, 1.0) == 10


def test_never_the_edges_nor_our_own_nor_a_reserved_address() -> None:
    static = {THREE: at(2)}
    made = Pool(IPv4Network("10.0.0.0/29"), at(0), 8, static=static, own=[at(1)])
    given = [offered(made, bytes((2, 0, 0, 0, 1, n))) for n in range(8)]
    assert given == [3, 4, 5, 6, None, None, None, None]
    assert made.claim_address(at(1), ONE, ONE, 0.0) is None
    assert offered(made, THREE) == 2


def test_a_reservation_outside_the_pool() -> None:
    made = pool(static={ONE: at(200)})
    assert offered(made, ONE, wanted=10) == 200
    assert offered(made, TWO, wanted=200) == 10
    assert made.claim_address(at(200), TWO, TWO, 0.0) is None


def test_a_reservation_waits_for_the_one_who_still_uses_it() -> None:
    made = pool(static={TWO: at(10)})
    made.restore_lease(Lease(at(10), ONE, ONE, None, LeaseState.BOUND, 100.0, 100.0))
    assert offered(made, TWO, 1.0) == 11
    assert offered(made, TWO, 101.0) == 10
    assert made.find_lease(ONE) is None
    assert offered(made, ONE, 101.0) == 11  # what TWO had is free again


def test_who_moves_to_its_reserved_address_keeps_the_other_until_it_has_it() -> None:
    made = pool(static={ONE: at(200)})
    made.restore_lease(Lease(at(10), ONE, ONE, None, LeaseState.BOUND, 100.0, 100.0))
    moved = made.offer_address(ONE, ONE, 1.0)
    assert moved is not None
    made.note_offer_sent(moved, idle=True)
    assert moved.address == at(200)
    assert made.offer_address(ONE, ONE, 2.0) is moved  # what is found out about it is kept
    assert made.find_lease(ONE) is made.find_lease_at(at(10))
    assert not made.changed
    # a newcomer gets neither
    assert [offered(made, TWO, 3.0), offered(made, THREE, 3.0)] == [11, None]
    made.bind_lease(moved, 100, 4.0)
    assert made.find_lease(ONE) is moved
    assert {int(one.address) & 0xFF: one.state for one in made.changed.values()} == {
        10: LeaseState.FREE,
        200: LeaseState.BOUND,
    }
    assert offered(made, THREE, 4.0) == 10


def test_a_reserved_address_in_use_leaves_the_client_where_it_is() -> None:
    made = pool(static={ONE: at(200)})
    made.restore_lease(Lease(at(10), ONE, ONE, None, LeaseState.BOUND, 100.0, 100.0))
    assert offered(made, ONE, 1.0) == 200
    made.block_address(at(200), 2.0)
    assert offered(made, ONE, 3.0) == 10
    assert offered(made, ONE, 2.0 + DECLINE_HOLD_S) == 200


def test_one_reserved_mac_with_two_client_ids() -> None:
    made = pool(static={ONE: at(200)})
    first = made.offer_address(b"id:1", ONE, 0.0)
    assert first is not None
    made.bind_lease(first, 100, 0.0)
    second = made.offer_address(b"id:2", ONE, 1.0)
    assert second is not None
    assert second.address == at(200)
    assert made.find_lease(b"id:1") is None


def test_an_address_is_adopted_only_if_free() -> None:
    made = pool()
    bound(made, ONE)
    assert made.claim_address(at(10), TWO, TWO, 1.0) is None
    assert made.claim_address(at(99), TWO, TWO, 1.0) is None
    lease = made.claim_address(at(11), TWO, TWO, 1.0)
    assert lease is not None
    assert offered(made, THREE) is None


def test_what_a_store_kept_comes_back() -> None:
    made = pool(count=3, reclaim=True)
    made.restore_lease(Lease(at(10), ONE, ONE, None, LeaseState.BOUND, 100.0, 100.0))
    made.restore_lease(Lease(at(11), b"", b"", None, LeaseState.DECLINED, 50.0, 100.0))
    assert (offered(made, ONE), offered(made, TWO), offered(made, THREE)) == (10, 12, None)
    assert offered(made, THREE, 51.0) == 11
    assert not made.changed


def test_two_leases_of_one_client_become_the_later_one() -> None:
    made = pool()
    made.restore_lease(Lease(at(10), ONE, ONE, b"a", LeaseState.BOUND, 100.0, 100.0))
    made.restore_lease(Lease(at(11), ONE, ONE, b"b", LeaseState.BOUND, 200.0, 100.0))
    assert offered(made, ONE) == 11
    assert offered(made, TWO, 99.0) is None
    assert offered(made, TWO, 101.0) == 10


def shared(*leases: Lease) -> SharedPool:
    """Make a pool of two addresses that knows these leases of a store."""
    made = SharedPool(NETWORK, at(10), 2)
    for lease in leases:
        made.learn_lease(lease)
    return made


def offer_of(last: int, mac: bytes, made: float, version: int, **more: bool) -> Lease:
    expires = made + OFFER_HOLD_S
    return Lease(at(last), mac, mac, None, LeaseState.OFFERED, expires, version=version, **more)


def test_a_shared_offer_is_taken_back_once_the_store_has_it() -> None:
    made = shared(Lease(at(10), ONE, ONE, None, LeaseState.BOUND, 100.0, 100.0, version=1))
    first = made.offer_address(TWO, TWO, 0.0)
    assert first is not None
    made.note_offer_sent(first, idle=True)
    assert offered(made, THREE) is None  # nobody knows yet whether another daemon was faster
    first.version = 2
    made.note_offer_stored(first)
    second = made.offer_address(THREE, THREE, 1.0)
    assert second is not None
    # the store writes it if the offer is still the same, else it says what happened
    assert (second.address, second.version) == (at(11), 2)
    assert made.find_lease(TWO) is None
    made.learn_lease(Lease(at(11), TWO, TWO, None, LeaseState.BOUND, 100.0, 100.0, version=3))
    assert offered(made, THREE, 2.0) is None
    assert made.find_lease_at(at(10)) is made.find_lease(ONE)


def test_an_offer_that_another_daemon_took_back_is_the_first_ones_that_requests_it() -> None:
    made = shared(offer_of(10, ONE, 0.0, 1), offer_of(11, TWO, 0.0, 2))
    assert made.claim_address(at(10), TWO, TWO, 1.0, chosen=True) is None
    made.learn_lease(offer_of(10, THREE, 2.0, 3))
    lease = made.claim_address(at(10), ONE, ONE, 3.0, chosen=True)
    assert lease is not None
    assert (lease.owner, lease.version) == (ONE, 3)


@pytest.mark.parametrize("pi", [False, True])
def test_what_is_known_of_an_address_outlives_offers_unless_it_may_be_used(pi: bool) -> None:
    made = shared(offer_of(10, ONE, 0.0, 1, booted=pi))
    lease = made.find_lease_at(at(10))
    assert lease is not None
    lease.checked = True
    made.learn_lease(offer_of(10, TWO, 1.0, 2))
    lease = made.find_lease_at(at(10))
    assert lease is not None
    assert lease.checked is not pi


def test_changes_are_what_a_store_must_keep() -> None:
    made = pool()
    lease = made.offer_address(ONE, ONE, 0.0)
    assert lease is not None
    assert not made.changed
    made.bind_lease(lease, 100, 0.0)
    assert list(made.changed.values()) == [lease]
    made.changed.clear()
    made.release_lease(lease, 1.0)
    assert list(made.changed.values()) == [lease]


@pytest.mark.parametrize(
    ("mac", "client_id", "by_client_id", "owner"),
    [
        (ONE, None, True, ONE),
        (ONE, b"x", False, ONE),
        (ONE, b"x", True, b"id:x"),
        (b"", b"x", False, b"id:x"),
        (b"", None, True, b""),
    ],
)
def test_identity(mac: bytes, client_id: bytes | None, by_client_id: bool, owner: bytes) -> None:
    assert make_identity(mac, client_id, by_client_id) == owner


def test_ten_thousand_addresses_are_found_in_no_time() -> None:
    made = Pool(IPv4Network("10.0.0.0/16"), IPv4Address("10.0.1.0"), 10_000, reclaim=True)
    macs = [bytes((2, 0, 0, 0)) + n.to_bytes(2) for n in range(10_000)]
    given = {bound(made, mac, seconds=10).address for mac in macs}
    assert len(given) == 10_000
    assert made.offer_address(b"\5" + ONE[1:], b"\5" + ONE[1:], 5.0) is None
    again = {bound(made, b"\4" + mac[1:], now=20.0).address for mac in macs}
    assert again == given


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("offer", "bind", "release", "block", "adopt", "withdraw", "sleep")),
            st.integers(0, 5),
            st.integers(9, 14),
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_no_address_is_ever_two_clients(steps: list[tuple[str, int, int]], reclaim: bool) -> None:
    made = pool(count=3, reclaim=reclaim, static={b"\2\0\0\0\0\5": at(13)}, own=[at(12)])
    now = 0.0
    users: dict[IPv4Address, tuple[bytes, float]] = {}  # who was told, and until when
    for what, client, last in steps:
        mac = bytes((2, 0, 0, 0, 0, client))
        lease = made.find_lease(mac)
        if what == "sleep":
            now += 30.0 * client
        elif what == "offer":
            made.offer_address(mac, mac, now, at(last))
        elif what == "adopt":
            claimed = made.claim_address(at(last), mac, mac, now)
            if lease is not None and claimed is not None and claimed.address != lease.address:
                users.pop(lease.address, None)  # it gives up the one that it had
        elif what == "block":
            made.block_address(at(last), now)
            users.pop(at(last), None)
        elif lease is not None and what == "release":
            made.release_lease(lease, now)
            users.pop(lease.address, None)
        elif lease is not None and what == "withdraw":
            made.withdraw_offer(lease, now)
        elif lease is not None:
            user = users.get(lease.address)
            assert user is None or user[0] == mac or user[1] <= now
            assert lease.address not in (at(12), at(9), at(14))
            assert lease.address != at(13) or client == 5
            made.bind_lease(lease, 100, now)
            users[lease.address] = mac, now + 100
    owners = [lease.owner for lease in made.list_leases() if lease.owner]
    assert len(owners) == len(set(owners))


def test_a_kept_address_of_all_hosts_is_given_to_none() -> None:
    """The network's own address and the broadcast address are every host's."""
    made = pool(static={ONE: at(0), TWO: at(255), THREE: at(77)})
    assert (offered(made, THREE), offered(made, ONE), offered(made, TWO)) == (77, 10, 11)
