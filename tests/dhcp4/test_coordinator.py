"""Several servers with one lease database: what each learns, and what happens while it is away."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address as A
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pybootd.config.client_classes import SubnetConfig
from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, Released
from pybootd.core.loop import Loop
from pybootd.dhcp4.cluster import coordinator
from pybootd.dhcp4.server import PAUSE_S, DhcpServer
from pybootd.dhcp4.wire.packet import MessageType, Packet, decode, encode
from pybootd.leases.lease import LeaseState
from pybootd.leases.shared import admin
from pybootd.leases.sqlite import SqliteStore
from pybootd.leases.store import StoreError
from tests.postgres import Cluster, running

from .desk import MAC, OTHER, request

pytestmark = pytest.mark.net
HERE, CLIENT, THIRD = A("127.0.0.1"), A("127.0.0.7"), b"\2" * 6
FIRST = A("127.1.0.0")


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """Make a cluster that may be stopped."""
    yield from running()


@pytest.fixture
def url(own: Cluster) -> str:
    made = own.create()
    admin.migrate_database(made)
    return made


class Site:
    """Daemons on loopback, told apart by their ports, and all their clients on one socket each."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.servers: list[One] = []

    def add(self, **bootp: Any) -> "One":
        made = One(self, len(self.servers), bootp)
        self.servers.append(made)
        return made

    def turn(self, until: Callable[[], Any], patience: float = 8.0) -> Any:
        """Let all of them work until it is true; return what it is."""
        deadline = time.monotonic() + patience
        while not (found := until()):
            assert time.monotonic() < deadline
            for one in self.servers:
                one.loop.turn(0.01)
        return found

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.turn(lambda: time.monotonic() > end)

    def agree(self) -> None:
        """Wait until all know what the database knows."""
        newest = self.newest()
        self.turn(lambda: all(one.sharing.store.newest >= newest for one in self.servers))

    def newest(self) -> int:
        (row,) = self.sql("SELECT coalesce(max(version), 0) FROM pybootd.lease")
        return int(row[0])

    def sql(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as file:
            done = file.execute(statement.encode())
            return done.fetchall() if done.description else []


class One:
    def __init__(self, site: Site, number: int, bootp: dict[str, Any]) -> None:
        self.site, self.loop, self.bus = site, Loop(), EventBus()
        self.loop.open()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("0.0.0.0", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1] - 1
        given = {"pool_start": FIRST, "pool_count": 200, "netmask": A("255.0.0.0")}
        given |= {"allow_simple_dhcp": True, "conflict_check": False, "leases": site.url}
        given |= {"lease_copy": str(site.folder / f"{number}.db"), "port": self.port}
        static, subnets = bootp.pop("static", {}), bootp.pop("subnets", ())
        config = Config(bootp=BootpConfig(**(given | bootp)), static=static, subnets=subnets)
        self.server = DhcpServer(config, self.loop, self.bus, ClientTable())
        self.seen: list[Any] = []
        self.bus.subscribe(Released, self.seen.append)
        self.got: list[Packet] = []
        self.server.open()
        self.server.start()

    @property
    def sharing(self) -> coordinator.Coordinator:
        assert self.server.coordinator is not None
        return self.server.coordinator

    def send(self, packet: Packet) -> None:
        self.socket.sendto(encode(packet), (str(HERE), self.port))

    def received(self) -> Packet | None:
        with contextlib.suppress(BlockingIOError):
            return decode(self.socket.recv(2000))
        return None

    def ask(self, packet: Packet, patience: float = 30.0) -> Packet:
        self.send(packet)
        found = self.site.turn(self.received, patience)
        assert isinstance(found, Packet)
        return found

    def silent(self, packet: Packet) -> bool:
        """Tell whether there is no answer, not even a late one."""
        self.send(packet)
        self.site.rest(0.7)
        return self.received() is None

    def offer(self, mac: bytes = MAC) -> A:
        answer = self.ask(request(MessageType.DISCOVER, mac=mac, flags=0x8000))
        assert answer.options[53] == b"\2"
        return answer.yiaddr

    def choose(self, address: A, mac: bytes = MAC) -> tuple[int, A]:
        answer = self.ask(
            request(MessageType.REQUEST, mac=mac, wanted=address, server=HERE, flags=0x8000)
        )
        return answer.options[53][0], answer.yiaddr

    def lease(self, mac: bytes = MAC) -> A:
        address = self.offer(mac)
        assert self.choose(address, mac) == (MessageType.ACK, address)
        return address

    def renewal(self, address: A, mac: bytes = MAC) -> Packet:
        return request(MessageType.REQUEST, mac=mac, ciaddr=address)

    def state(self, address: A) -> tuple[LeaseState, bytes] | None:
        network = self.server.subnets.find_subnet(address)
        lease = network.pool.find_lease_at(address) if network else None
        return (lease.state, lease.mac) if lease else None

    def close(self) -> None:
        self.server.close()
        self.loop.close()
        self.socket.close()


@pytest.fixture
def site(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # a pool on loopback has the client at any address, which is the socket that the test has
    made = Site(url, tmp_path)
    yield made
    for one in made.servers:
        one.close()


@contextlib.contextmanager
def down(site: Site, own: Cluster, *servers: One) -> Iterator[None]:
    """Stop the database; the servers have noticed."""
    own.stop()
    try:
        site.turn(lambda: all(one.server.handler.offline for one in servers))
        yield
    finally:
        own.start()


def back(site: Site, *servers: One) -> None:
    site.turn(lambda: not any(one.server.handler.offline for one in servers))


def give_away(site: Site) -> None:
    """Let somebody write by hand that the address is another client's."""
    with psycopg.connect(site.url, autocommit=True) as file:
        file.execute(
            "UPDATE pybootd.lease SET owner = %s, mac = %s, state = 'bound', expires = NULL,"
            " version = nextval('pybootd.lease_version')",
            (OTHER, OTHER),
        )


def test_all_offer_one_address_and_any_confirms_it(site: Site) -> None:
    one, two, three = site.add(), site.add(), site.add()
    addresses = {server.offer() for server in (one, two, three)}
    assert len(addresses) == 1
    (address,) = addresses
    assert two.choose(address) == (MessageType.ACK, address)
    site.agree()
    assert [server.state(address) for server in site.servers] == [(LeaseState.BOUND, MAC)] * 3
    assert three.ask(three.renewal(address)).options[53] == b"\5"


def test_at_once_too(site: Site) -> None:
    servers = [site.add() for _ in range(3)]
    macs = [b"\2\0\0\0\0" + bytes((n,)) for n in range(150)]
    for server in servers:
        for mac in macs:
            server.send(request(MessageType.DISCOVER, mac=mac, flags=0x8000))
    offers: dict[bytes, set[A]] = {mac: set() for mac in macs}
    count = 0

    def all_came() -> bool:
        nonlocal count
        for server in servers:
            while (answer := server.received()) is not None:
                offers[answer.chaddr].add(answer.yiaddr)
                count += 1
        return count == 450

    site.turn(all_came)
    assert {len(one) for one in offers.values()} == {1}
    assert len({address for one in offers.values() for address in one}) == 150


def test_what_comes_soon_after_a_request_goes_in_one_round_trip(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, batches = site.add(), []
    prepare = one.sharing.store.prepare_exchange

    def counted(requests: Any, now: float, since: int) -> Any:
        batches.extend([len(requests)] if requests else [])
        return prepare(requests, now, since)

    one.offer()
    site.turn(lambda: not one.sharing.exchanging)  # with news
    moment = one.loop.now + 1  # from here on no timer runs: the database is known to answer
    monkeypatch.setattr(one.sharing.store, "prepare_exchange", counted)
    monkeypatch.setattr(one.loop, "_clock", lambda: moment)
    one.send(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000))
    site.turn(lambda: batches and not one.sharing.exchanging)
    for number in range(5):
        one.send(request(MessageType.DISCOVER, mac=bytes((2, number)) * 3, ciaddr=CLIENT))
        one.loop.turn(0.02)
    assert batches == [1]
    moment += PAUSE_S
    site.turn(lambda: sum(batches) == 6)
    assert batches == [1, 5]


def test_a_client_that_another_daemon_knows_is_asked_for(site: Site) -> None:
    one, two = site.add(), site.add()
    address = one.lease()
    # at once, before any news came
    assert two.ask(two.renewal(address)).options[53] == b"\5"
    reboot = request(MessageType.REQUEST, mac=OTHER, wanted=address, ciaddr=A(0), giaddr=CLIENT)
    assert one.state(address) == (LeaseState.BOUND, MAC)
    assert two.silent(reboot)  # no record of that client, and the address is another's


def test_an_address_taken_meanwhile_is_refused(site: Site) -> None:
    one, two = site.add(), site.add()
    address = one.offer()
    site.agree()
    give_away(site)
    assert one.choose(address)[0] == MessageType.NAK
    assert one.offer() != address
    site.agree()
    assert two.offer() == one.offer()


def test_a_full_pool_and_one_that_another_daemon_released(site: Site) -> None:
    one, two = site.add(pool_count=1), site.add(pool_count=1)
    address = one.lease()
    site.agree()
    assert two.silent(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000))
    assert admin.remove_database_leases(site.url, MAC) == [address]
    site.agree()
    assert two.lease(OTHER) == address
    # what a person took away, every daemon says
    assert [[event.address for event in server.seen] for server in (one, two)] == [[address]] * 2


def strangers(count: int, group: int) -> list[bytes]:
    return [b"\x66\0\0\0" + bytes((group, number)) for number in range(count)]


def test_offers_that_nobody_requests_are_taken_back_by_any_of_them(site: Site) -> None:
    one, two = site.add(pool_count=3), site.add(pool_count=3)
    kept = one.lease(THIRD)
    for server, mac in zip([one, two] * 6, strangers(12, 0), strict=True):
        assert server.offer(mac) != kept
    assert two.lease() != kept
    site.agree()
    assert [server.state(kept) for server in site.servers] == [(LeaseState.BOUND, THIRD)] * 2


def test_what_was_offered_to_several_is_the_first_ones_that_requests_it(site: Site) -> None:
    one, two = site.add(pool_count=1), site.add(pool_count=1)
    address = one.offer()
    site.agree()
    assert two.offer(OTHER) == two.offer(THIRD) == address  # at the database it is THIRD's now
    assert one.choose(address) == (MessageType.ACK, address)
    assert two.choose(address, THIRD)[0] == MessageType.NAK
    assert one.choose(address, OTHER)[0] == MessageType.NAK
    site.agree()
    assert [server.state(address) for server in site.servers] == [(LeaseState.BOUND, MAC)] * 2
    assert two.silent(request(MessageType.DISCOVER, mac=THIRD, flags=0x8000))


def test_one_takes_back_what_another_confirms_at_the_same_moment(site: Site) -> None:
    one, two = site.add(pool_count=1), site.add(pool_count=1)
    address = one.offer()
    site.agree()
    one.send(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000))
    assert two.choose(address) == (MessageType.ACK, address)
    site.agree()
    assert [server.state(address) for server in site.servers] == [(LeaseState.BOUND, MAC)] * 2
    one.received()  # perhaps its offer left before that
    assert one.choose(address, OTHER)[0] == MessageType.NAK


def test_who_moves_to_a_reserved_address_keeps_the_other_until_it_has_it(site: Site) -> None:
    one, two = site.add(), site.add()
    address, reserved = one.lease(), A("127.9.9.9")
    for server in (one, two):
        server.server.reload(replace(server.server._config, static={MAC: reserved}), None)
    site.agree()
    assert one.offer() == two.offer() == reserved
    assert two.ask(two.renewal(address)).options[53] == b"\5"
    assert one.choose(reserved) == (MessageType.ACK, reserved)
    site.agree()
    assert [server.state(reserved) for server in site.servers] == [(LeaseState.BOUND, MAC)] * 2
    assert [server.state(address) for server in site.servers] == [(LeaseState.FREE, b"")] * 2


def test_who_is_to_move_stays_while_the_database_is_away(site: Site, own: Cluster) -> None:
    one = site.add()
    address = one.lease()
    site.agree()
    one.server.reload(replace(one.server._config, static={MAC: A("127.9.9.9")}), None)
    site.agree()
    with down(site, own, one):
        assert one.offer() == address
        assert one.choose(A("127.9.9.9"))[0] == MessageType.NAK
        assert one.choose(address) == (MessageType.ACK, address)
    back(site, one)
    assert one.lease() == A("127.9.9.9")


def test_a_client_that_goes_to_another_network_and_back(site: Site) -> None:
    """RFC 2131 2.1: it may have a lease in each, whichever daemon it asks."""
    nets = [IPv4Network("10.1.0.0/24"), IPv4Network("10.2.0.0/24")]
    given = [SubnetConfig(net, {"pool_start": net[10], "pool_count": 50}) for net in nets]
    one, two = site.add(subnets=given), site.add(subnets=given)
    had: dict[IPv4Network, A] = {}
    for daemon, net in ((one, nets[0]), (two, nets[1]), (two, nets[0]), (one, nets[1])):
        there = {118: net[0].packed}  # RFC 3011
        offered = daemon.ask(request(MessageType.DISCOVER, flags=0x8000, options=there)).yiaddr
        assert offered in net
        asked = request(
            MessageType.REQUEST, wanted=offered, server=HERE, flags=0x8000, options=there
        )
        assert daemon.ask(asked).options[53] == b"\5"
        assert had.setdefault(net, offered) == offered
        site.agree()
    for daemon in (one, two):
        assert [daemon.state(address) for address in had.values()] == [(LeaseState.BOUND, MAC)] * 2


def test_a_release_and_a_decline_reach_the_others(site: Site) -> None:
    one, two = site.add(), site.add()
    address = one.lease()
    two.send(request(MessageType.RELEASE, ciaddr=address, server=HERE))
    site.turn(lambda: one.state(address) == (LeaseState.RELEASED, MAC))
    declined = one.lease(OTHER)
    two.send(request(MessageType.DECLINE, mac=OTHER, wanted=declined, server=HERE))
    site.turn(lambda: one.state(declined) == (LeaseState.DECLINED, b""))
    assert one.lease(OTHER) != declined


def test_known_clients_are_served_while_the_database_is_away(
    site: Site, own: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = site.add(lease_time=1000), site.add(lease_time=1000)
    address = one.lease()
    site.agree()
    site.sql("UPDATE pybootd.lease SET expires = pybootd.now() + 500,"
             " version = nextval('pybootd.lease_version')")  # fmt: skip
    site.sql("NOTIFY pybootd")
    site.agree()
    with down(site, own, one, two):
        answer = one.ask(one.renewal(address))
        assert answer.options[53] == b"\5"
        # no more than what the others know of
        assert 400 < int.from_bytes(answer.options[51]) <= 500
        assert two.offer() == address
        assert one.silent(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000))
        assert two.silent(request(MessageType.DISCOVER, mac=THIRD, flags=0x8000))
        one.send(request(MessageType.RELEASE, ciaddr=address, server=HERE))
        site.turn(lambda: one.state(address) == (LeaseState.RELEASED, MAC))
    back(site, one, two)
    site.turn(lambda: two.state(address) == (LeaseState.RELEASED, MAC))
    assert two.lease(OTHER) != address
    said = caplog.text
    assert said.count("clients known here keep their addresses, new ones wait") == 2
    assert said.count("is back after") == said.count(", 0 in conflict") == 2


def test_a_conflict_is_named(
    site: Site, own: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "RETRY_S", 3600.0)  # it is tried when the test says so
    one = site.add()
    address = one.lease()
    site.agree()
    with down(site, own, one):
        assert one.ask(one.renewal(address)).options[53] == b"\5"
    give_away(site)
    one.sharing.retry_database(one.loop.now)
    back(site, one)
    mac, other = MAC.hex(":"), OTHER.hex(":")
    assert f"{address} was bound for {mac} while the lease database was away, but" in caplog.text
    assert f"it is {other}'s now" in caplog.text
    assert one.state(address) == (LeaseState.BOUND, OTHER)
    assert one.lease() != address


def test_a_start_without_it_serves_what_the_copy_knows(site: Site, own: Cluster) -> None:
    first = site.add()
    address = first.lease()
    site.turn(lambda: (site.folder / "0.db").exists() and _kept(site.folder / "0.db"))
    site.servers.remove(first)
    first.close()
    site.turn(lambda: _free(site.folder / "0.db"))  # its worker ends by itself
    own.stop()
    try:
        again = site.add(lease_copy=first.server._config.bootp.lease_copy)
        assert again.server.handler.offline
        assert again.ask(again.renewal(address)).options[53] == b"\5"
        assert again.silent(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000))
    finally:
        own.start()
    back(site, again)
    assert again.ask(again.renewal(address)).options[53] == b"\5"
    assert again.lease(OTHER) != address


def _kept(path: Path) -> bool:
    import sqlite3

    with contextlib.closing(sqlite3.connect(path)) as file, contextlib.suppress(sqlite3.Error):
        return bool(file.execute("SELECT 1 FROM lease WHERE state = 'bound'").fetchall())
    return False


def _free(path: Path) -> bool:
    store = SqliteStore(path)
    with contextlib.suppress(StoreError):
        store.open()
        store.close()
        return True
    return False


@contextlib.contextmanager
def stuck(own: Cluster) -> Iterator[None]:
    """Let every process of the database stand still."""
    mine = [own.pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(own.pid):
                mine.append(int(path.parent.name))
    try:
        for pid in mine:
            with contextlib.suppress(ProcessLookupError):  # one that was about to end
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in mine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_a_stuck_database_is_as_good_as_none(site: Site, own: Cluster) -> None:
    one = site.add()
    address = one.lease()
    site.agree()
    with stuck(own):
        assert one.ask(one.renewal(address)).options[53] == b"\5"
        assert one.server.handler.offline
        assert one.ask(one.renewal(address)).options[53] == b"\5"
        assert one.silent(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000))
    back(site, one)
    assert one.lease(OTHER) != address


def test_no_more_requests_wait_for_the_database_than_there_is_room_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "MAX_WAITING", 5)
    one = site.add()
    with psycopg.connect(site.url) as file:
        file.execute("SELECT pybootd.take_turn()")  # nothing is written before it ends
        one.send(request(MessageType.DISCOVER, flags=0x8000))
        site.turn(lambda: one.sharing.exchanging)
        for number, mac in enumerate(strangers(20, 1)):
            unknown = request(
                MessageType.REQUEST, mac=mac, wanted=FIRST + number, server=HERE, flags=0x8000
            )
            one.send(unknown)
        site.turn(lambda: one.sharing.waiting_requests >= 5)
        site.rest(0.3)
        assert one.sharing.waiting_requests == 5
    assert site.turn(one.received).options[53] == bytes((MessageType.OFFER,))


def test_another_configuration_goes_on_with_the_same_leases(site: Site) -> None:
    one, two = site.add(), site.add()
    address = one.lease()
    bootp = replace(one.server._config.bootp, lease_time=500, max_lease_time=500)
    one.server.reload(Config(bootp=bootp), None)
    answer = one.ask(one.renewal(address))
    assert (answer.options[53], int.from_bytes(answer.options[51])) == (b"\5", 500)
    assert two.ask(two.renewal(address)).options[53] == b"\5"
    assert one.lease(OTHER) != address


def test_a_silent_database_delays_only_clients_that_need_it(site: Site) -> None:
    one, two = site.add(), site.add()
    address = one.lease()
    site.agree()
    with psycopg.connect(site.url) as file:  # it takes its turn, and does not end it
        file.execute("SELECT pybootd.take_turn()")
        assert one.offer() == address  # nothing has to be written for that
        # what has to be is answered from memory when the patience ends
        assert one.ask(one.renewal(address)).options[53] == b"\5"
        assert one.server.handler.offline
        assert not two.server.handler.offline
        assert one.silent(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000))
    back(site, one)
    assert one.lease(OTHER) != address
