"""The server on real sockets, on loopback, and what leaves for the wire."""

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address as A
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import Confirmed, EventBus, Malformed, RefusalCause, Refused
from pybootd.core.loop import Loop
from pybootd.dhcp4.overload import BATCH
from pybootd.dhcp4.server import DhcpServer
from pybootd.dhcp4.wire.ethernet import checksum, encode_datagram
from pybootd.dhcp4.wire.packet import MessageType, Packet, decode, encode
from pybootd.leases.lease import Lease
from pybootd.leases.store import MemoryStore, StoreError
from pybootd.system.sockets import BindError

from .desk import MAC, OTHER, request

HERE = A("127.0.0.1")
CLIENT = A("127.0.1.7")


class Fickle(MemoryStore):
    """A store whose disk is full when it is told so."""

    def __init__(self) -> None:
        self.full = False
        self.saved: list[int] = []

    def save_leases(self, batch: object, now: float) -> None:
        if self.full:
            raise StoreError("no space left on device")
        assert hasattr(batch, "__len__")
        self.saved.append(len(batch))


class Rig:
    """A server on loopback, and all its clients: each says its address, so that none needs ARP."""

    def __init__(self, **bootp: object) -> None:
        self.time = 1000.0
        self.loop, self.bus = Loop(lambda: self.time), EventBus()
        self.clients, self.store = ClientTable(), Fickle()
        self.loop.open()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("0.0.0.0", 0))
        self.port = self.socket.getsockname()[1] - 1
        settings = {"pool_start": A("127.0.1.1"), "pool_count": 200, "allow_simple_dhcp": True}
        settings |= {"port": self.port, "conflict_check": False}
        self.config = Config(bootp=BootpConfig(**(settings | bootp)))  # type: ignore[arg-type]
        self.server = DhcpServer(self.config, self.loop, self.bus, self.clients, store=self.store)
        self.seen: list[object] = []
        for event in (Malformed, Confirmed):
            self.bus.subscribe(event, self.seen.append)

    def send(self, packet: Packet | bytes) -> None:
        data = packet if isinstance(packet, bytes) else encode(packet)
        self.socket.sendto(data, (str(HERE), self.port))

    def receive(self) -> Packet | None:
        self.socket.setblocking(False)
        try:
            return decode(self.socket.recv(2000))
        except BlockingIOError:
            return None

    def later(self) -> None:
        """Let the pause after leases were saved go by."""
        self.time += 1.0
        self.loop.turn()

    def ask(self, packet: Packet | bytes) -> Packet | None:
        self.later()
        self.send(packet)
        self.loop.turn(1.0)
        return self.receive()

    def close(self) -> None:
        self.server.close()
        self.loop.close()
        self.socket.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    made.server.open()
    made.server.start()
    yield made
    made.close()


def test_a_lease(rig: Rig) -> None:
    offer = rig.ask(request(MessageType.DISCOVER, flags=0x8000))
    assert offer is not None
    assert (offer.yiaddr, offer.options[54]) == (A("127.0.1.1"), HERE.packed)
    ack = rig.ask(request(MessageType.REQUEST, wanted=offer.yiaddr, server=HERE, flags=0x8000))
    assert ack is not None
    assert ack.options[53] == b"\5"
    assert rig.store.saved == [1]
    assert isinstance(rig.seen[0], Confirmed)


def test_a_batch_is_saved_at_once(rig: Rig) -> None:
    for number in range(BATCH + 10):
        mac = MAC[:5] + bytes((number,))
        address = A("127.0.1.1") + number
        rig.send(request(MessageType.REQUEST, mac=mac, ciaddr=address))
    rig.loop.turn(1.0)
    rig.loop.turn(1.0)
    assert rig.store.saved == [BATCH, 10]
    answers = [rig.receive() for _ in range(BATCH + 11)]
    assert answers[-1] is None
    assert all(one and one.options[53] == b"\5" for one in answers[:-1])


def test_what_comes_right_after_a_save_shares_the_next_one(rig: Rig) -> None:
    assert rig.ask(request(MessageType.REQUEST, ciaddr=CLIENT)) is not None
    for number in range(3):
        address = A("127.0.1.1") + number
        rig.send(request(MessageType.REQUEST, mac=MAC[:5] + bytes((number,)), ciaddr=address))
        rig.loop.turn()
    assert rig.store.saved == [1]
    rig.later()
    rig.loop.turn(1.0)
    assert rig.store.saved == [1, 3]
    assert all(rig.receive() for _ in range(3))


def test_no_ack_without_a_lease_on_disk(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    packet = request(MessageType.REQUEST, ciaddr=CLIENT)
    rig.store.full = True
    for _ in range(3):
        assert rig.ask(packet) is None
    assert (
        rig.ask(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000)) is not None
    )  # offers go on
    assert not rig.seen
    assert caplog.text.count("no lease is confirmed: no space left on device") == 1
    rig.store.full = False
    ack = rig.ask(packet)
    assert ack is not None
    assert ack.yiaddr == CLIENT
    assert rig.store.saved == [1]


def test_octets_that_are_no_packet_are_told_once(rig: Rig) -> None:
    for _ in range(3):
        rig.send(b"nonsense")
    rig.loop.turn(1.0)
    assert rig.seen == [Malformed("dhcp", str(HERE), "8 octets are too few for a BOOTP message")]
    assert rig.ask(request(MessageType.DISCOVER, flags=0x8000)) is not None


def test_each_sender_of_nonsense_is_told_of_by_its_mac(rig: Rig) -> None:
    cut = encode(request(MessageType.DISCOVER))[:200]
    for number in (1, 2, 1, 3, 1, 2):
        rig.send(cut[:28] + MAC[:5] + bytes((number,)) + cut[34:])
    rig.send(b"\1" * 20)
    rig.loop.turn(1.0)
    told = [(event.peer, event.reason) for event in rig.seen if isinstance(event, Malformed)]
    reason = "200 octets are too few for a BOOTP message"
    assert told == [
        ("52:54:00:12:34:01", reason),
        ("52:54:00:12:34:02", reason),
        ("52:54:00:12:34:03", reason),
        (str(HERE), "20 octets are too few for a BOOTP message"),
    ]


def test_a_bug_costs_one_datagram(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(rig.server.handler, "handle_request", lambda *_: 1 // 0)
        assert rig.ask(request(MessageType.DISCOVER, flags=0x8000)) is None
    assert "ZeroDivisionError" in caplog.text
    assert rig.ask(request(MessageType.DISCOVER, flags=0x8000)) is not None


def test_a_port_that_is_taken(rig: Rig) -> None:
    second = DhcpServer(rig.config, rig.loop, rig.bus, rig.clients)
    with pytest.raises(BindError, match="taken by another program"):
        second.open()


@pytest.mark.parametrize(
    ("bootp", "why"),
    [
        ({"interface": ("nosuch0",)}, r"no interface nosuch0: .*there are: .*lo"),
        ({"address": A("203.0.113.1")}, r"no interface has 203.0.113.1"),
    ],
)
def test_what_cannot_be_served(bootp: dict[str, object], why: str) -> None:
    made = Rig(**bootp)
    with pytest.raises(BindError, match=why):
        made.server.open()
    made.close()


def test_options_at_fault() -> None:
    section = Section("options", Path("x.ini"), {"ruter": "1.1.1.1"}, {"ruter": 3})
    config = Config(sections={"options": section})
    with pytest.raises(ConfigError, match=r"x.ini:3: \[options\] ruter: .*did you mean router"):
        DhcpServer(config, Loop(), EventBus(), ClientTable())


def test_leases_are_loaded_under_todays_identity() -> None:
    class Kept(MemoryStore):
        def load_leases(self, now: float) -> list[Lease]:
            return [Lease(A("127.0.1.9"), b"id:old", MAC, b"old", expires=now + 9, booted=True)]

    made = Rig()
    made.server = DhcpServer(made.config, made.loop, made.bus, made.clients, store=Kept())
    made.server.open()
    made.server.start()
    (network,) = made.server.subnets
    lease = network.pool.find_lease(MAC)
    assert lease is not None
    assert lease.address == A("127.0.1.9")
    made.close()


def reference(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.binary(min_size=1, max_size=100).filter(any))
@example(b"\xff\xff")
def test_checksums(data: bytes) -> None:  # RFC 1071
    assert checksum(data) == reference(data)


def test_a_datagram_as_the_wire_has_it() -> None:
    packet = encode_datagram(b"abc", A("192.168.1.1"), A("192.168.1.100"), 67, 68)
    assert len(packet) == 31
    assert (packet[0], packet[9], packet[12:16]) == (0x45, 17, A("192.168.1.1").packed)
    assert reference(packet[:20]) == 0
    pseudo = packet[12:20] + struct.pack("!HH", 17, 11)
    assert reference(pseudo + packet[20:]) == 0
    assert struct.unpack("!HHH", packet[20:26]) == (67, 68, 11)


def test_a_lease_that_can_not_be_written_is_told_of_its_client(rig: Rig) -> None:
    refused: list[Refused] = []
    rig.bus.subscribe(Refused, refused.append)
    rig.store.full = True
    assert rig.ask(request(MessageType.REQUEST, ciaddr=CLIENT)) is None
    assert [(one.client.mac, one.cause) for one in refused] == [(MAC, RefusalCause.NOT_WRITTEN)]


def test_a_reply_that_the_firewall_keeps_back_is_told_of_its_client(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    refused: list[Refused] = []
    rig.bus.subscribe(Refused, refused.append)
    monkeypatch.setattr("pybootd.system.sockets.send", refuse)
    assert rig.ask(request(MessageType.DISCOVER, flags=0x8000)) is None
    assert [(one.client.mac, one.cause) for one in refused] == [(MAC, RefusalCause.SEND_REFUSED)]


def test_a_pool_that_no_interface_has_is_told_of_each_machine() -> None:
    rig = Rig(pool_start=A("10.99.0.1"), netmask=A("255.255.255.0"))
    refused: list[Refused] = []
    rig.bus.subscribe(Refused, refused.append)
    rig.server.open()
    rig.server.start()
    try:
        pxe = {60: b"PXEClient:Arch:00007:UNDI:003000", 93: b"\0\7"}
        packet = request(MessageType.DISCOVER, flags=0x8000)
        packet.options.update(pxe)
        assert rig.ask(packet) is None
        assert rig.ask(request(MessageType.DISCOVER, mac=OTHER, flags=0x8000)) is None
    finally:
        rig.close()
    assert [(one.client.mac, one.cause) for one in refused] == [(MAC, RefusalCause.NO_SUBNET)]
