"""Notifications, received by real listeners."""

import logging
import socket
from ipaddress import IPv4Address
from uuid import UUID

import pytest

from pybootd.core.client import Client
from pybootd.core.client_table import ClientTable
from pybootd.core.events import Confirmed, EventBus, Released
from pybootd.observe.notify import Notifier

MAC = bytes.fromhex("525400abcdef")
SHOWN = UUID("00112233-4455-6677-8899-aabbccddeeff")
ADDRESS = IPv4Address("10.0.0.7")
# the system refuses to send to port 0, on any machine
UNREACHABLE = ("0.0.0.0", 0)


class Listener:
    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5)
        self.target = self.socket.getsockname()

    def heard(self):
        return self.socket.recv(2000)


@pytest.fixture
def listeners():
    both = Listener(), Listener()
    yield both
    for listener in both:
        listener.socket.close()


@pytest.fixture
def notifying():
    """Make a notifier; give it, its bus, and the clients that are known."""
    made = []

    def make(*targets):
        bus, clients = EventBus(), ClientTable()
        notifier = Notifier(targets, bus, clients)
        made.append(notifier)
        notifier.open()
        notifier.start()
        return notifier, bus, clients

    yield make
    for notifier in made:
        notifier.close()


@pytest.mark.parametrize(
    ("event", "datagram"),
    [
        (
            Confirmed(Client(MAC, uuid=SHOWN), ADDRESS, "pxelinux.0", booting=True),
            b"BOOT,00112233-4455-6677-8899-aabbccddeeff,52:54:00:AB:CD:EF,10.0.0.7",
        ),
        (
            Confirmed(Client(MAC), ADDRESS, "pxelinux.0", booting=True),
            b"BOOT,52:54:00:AB:CD:EF,10.0.0.7",
        ),
        (
            Confirmed(Client(MAC), ADDRESS, "", booting=False),
            b"LEASE,52:54:00:AB:CD:EF,10.0.0.7",
        ),
        (
            Released(Client(MAC), ADDRESS, booting=False),
            b"RELEASE,52:54:00:AB:CD:EF,10.0.0.7",
        ),
        (
            Released(Client(MAC, uuid=SHOWN), ADDRESS, booting=True),
            b"RELEASE,00112233-4455-6677-8899-aabbccddeeff,52:54:00:AB:CD:EF,10.0.0.7",
        ),
    ],
)
def test_every_target_gets_the_documented_line(listeners, notifying, event, datagram):
    bus = notifying(*(listener.target for listener in listeners))[1]
    bus.publish(event)
    assert [listener.heard() for listener in listeners] == [datagram, datagram]


def test_the_system_that_was_booted_is_named_by_the_uuid_that_its_firmware_showed(
    listeners, notifying
):
    _, bus, clients = notifying(listeners[0].target)
    clients.note_client(Client(MAC, uuid=SHOWN, network_boot=True))
    bus.publish(Confirmed(Client(MAC), ADDRESS, "", booting=False))
    expected = b"LEASE,00112233-4455-6677-8899-aabbccddeeff,52:54:00:AB:CD:EF,10.0.0.7"
    assert listeners[0].heard() == expected


def test_an_unreachable_target_costs_a_line_and_the_others_nothing(listeners, notifying, caplog):
    caplog.set_level(logging.INFO)
    event = Released(Client(MAC), ADDRESS, booting=False)
    _, bus, _ = notifying(UNREACHABLE, listeners[0].target)
    for _ in range(3):
        bus.publish(event)
        assert listeners[0].heard().startswith(b"RELEASE,")
    assert [record.getMessage() for record in caplog.records] == [
        "notify 0.0.0.0:0: Invalid argument"
    ]


@pytest.mark.net
def test_a_target_that_can_be_reached_again_is_told_of(network, notifying, caplog):
    caplog.set_level(logging.INFO)
    event = Released(Client(MAC), ADDRESS, booting=False)
    host = network.host("server")
    with host.inside():
        bus = notifying(("10.7.0.9", 4000))[1]
    bus.publish(event)
    host.plug(network.switch(), "10.7.0.1/24")
    bus.publish(event)
    bus.publish(event)
    assert [record.getMessage() for record in caplog.records] == [
        "notify 10.7.0.9:4000: Network is unreachable",
        "notify 10.7.0.9:4000: it can be reached again",
    ]


def test_after_close_nothing_is_sent(listeners, notifying):
    notifier, bus, _ = notifying(listeners[0].target)
    notifier.close()
    bus.publish(Released(Client(MAC), ADDRESS, booting=False))
    listeners[0].socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        listeners[0].heard()
