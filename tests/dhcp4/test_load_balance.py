"""Who of several servers answers a client at once."""

from dataclasses import replace
from typing import Any

import pytest

from pybootd.config.values import parse_share
from pybootd.dhcp4.cluster.load_balance import LoadBalance, hash_client
from pybootd.dhcp4.wire.packet import MessageType

from .desk import HERE, SERVER, request

MACS = [b"\x52\x54\0" + number.to_bytes(3) for number in range(3000)]
THREE = [LoadBalance(number, 3) for number in (1, 2, 3)]


def discover(mac: bytes, kind: MessageType = MessageType.DISCOVER, **more: Any) -> Any:
    return request(kind, mac=mac, **more)


def test_the_hash_of_rfc_3074() -> None:
    # the length, then each octet from the last, through the RFC's table: 251 175 119 215 81 ...
    assert [hash_client(key) for key in (b"", b"\0", b"\1", b"\3")] == [0, 175, 251, 119]
    assert hash_client(b"\x77\0") == 251  # 2 ^ 0 leads to 119, 119 ^ 119 to the first
    assert {hash_client(bytes((n,))) for n in range(256)} == set(range(256))


def test_every_client_is_of_one_server_and_each_has_its_part() -> None:
    taken = [[part.takes_request(discover(mac), HERE, 0.0) for part in THREE] for mac in MACS]
    assert {sum(row) for row in taken} == {1}
    for column in zip(*taken, strict=True):
        assert 850 < sum(column) < 1150


def other(mac: bytes) -> LoadBalance:
    """Return a server in whose part the client is not; it has heard of nobody yet."""
    return next(
        LoadBalance(number, 3)
        for number in (1, 2)
        if not LoadBalance(number, 3).takes_request(discover(mac), HERE, 0)
    )


def test_a_client_id_goes_before_the_mac() -> None:
    by_id = [
        part.takes_request(discover(MACS[0], options={61: MACS[1]}), HERE, 0.0) for part in THREE
    ]
    assert by_id == [part.takes_request(discover(MACS[1]), HERE, 0.0) for part in THREE]


@pytest.mark.parametrize("secs", [3, 4, 60])
def test_secs_tells_that_nobody_answered(secs: int) -> None:
    assert other(MACS[0]).takes_request(discover(MACS[0], secs=secs), HERE, 0.0) is (secs >= 4)


def test_so_does_a_client_that_goes_on_asking() -> None:
    part = other(MACS[0])
    assert [part.takes_request(discover(MACS[0]), HERE, now) for now in (1.0, 4.5, 5.0)] == [
        0,
        0,
        1,
    ]
    # one that chose a server begins again with its next boot
    assert part.takes_request(discover(MACS[0], MessageType.REQUEST, server=SERVER), HERE, 6.0)
    assert [part.takes_request(discover(MACS[0]), HERE, now) for now in (30.0, 33.0)] == [
        False,
        False,
    ]


def test_what_is_for_one_server_is_left_to_it() -> None:
    part = other(MACS[0])
    assert part.takes_request(discover(MACS[0], MessageType.RELEASE), HERE, 0.0)
    renewing = discover(MACS[0], MessageType.REQUEST)
    assert not part.takes_request(renewing, HERE, 0.0)
    assert part.takes_request(renewing, replace(HERE, unicast=True), 0.0)
    # a relay sends what was broadcast to each server's own address
    behind = replace(renewing, giaddr=SERVER)
    assert not part.takes_request(behind, replace(HERE, unicast=True), 0.0)


def test_how_it_is_written() -> None:
    assert parse_share("2/3") == (2, 3)
    for text in ("", "3", "0/3", "4/3", "1/257", "a/b"):
        with pytest.raises(ValueError, match="1/3, 2/3 and 3/3"):
            parse_share(text)
