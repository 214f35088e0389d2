"""More datagrams than there is room for: who is read first."""

import logging
import socket
from ipaddress import IPv4Address as A

import pytest

from pybootd.dhcp4.overload import BATCH, OverloadFilter
from pybootd.dhcp4.wire.packet import MessageType, Packet, encode
from pybootd.leases.lease import Lease, LeaseState

KNOWN, OFFERED = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
LEASES = [
    Lease(A("10.0.0.1"), KNOWN, KNOWN, state=LeaseState.BOUND, expires=99.0),
    Lease(A("10.0.0.2"), OFFERED, OFFERED, state=LeaseState.OFFERED, expires=99.0),
]


def request(mac: bytes, kind: MessageType = MessageType.DISCOVER) -> bytes:
    return encode(Packet(xid=1, chaddr=mac, options={53: bytes((kind,))}))


@pytest.mark.parametrize("lost", [False, True])
def test_known_clients_and_exchanges_go_first(lost: bool, caplog: pytest.LogCaptureFixture) -> None:
    strangers = [bytes((6, 0)) + number.to_bytes(4) for number in range(20_000)]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire,
        caplog.at_level(logging.WARNING),
    ):
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        wire.connect(sock.getsockname())
        for mac in strangers[: BATCH + 10]:
            wire.send(request(mac))
        wire.send(request(KNOWN))
        wire.send(request(OFFERED))
        wire.send(request(strangers[0], MessageType.REQUEST))
        for mac in strangers if lost else ():
            wire.send(request(mac))
        rush = OverloadFilter(lambda: LEASES)
        read = [arrival.data for arrival in rush.read_datagrams(sock, 0.0)]
        assert read[:BATCH] == [request(mac) for mac in strangers[:BATCH]]
        if lost:
            assert read[BATCH:] == [request(KNOWN), request(strangers[0], MessageType.REQUEST)]
            assert len(caplog.records) == 1
        else:  # there is room: everything is read in its turn
            assert read[BATCH:] == []
            assert not rush.emptied
            assert len(list(rush.read_datagrams(sock, 0.0))) == 13
            assert rush.emptied
            assert not caplog.records
