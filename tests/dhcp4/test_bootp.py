"""Plain BOOTP (RFC 951, RFC 1542, RFC 1533): 64 octets for options, and nothing of DHCP's."""

import pytest

from pybootd.config.bootfile import BootFileConfig
from pybootd.dhcp4.own_options import OwnOption
from pybootd.dhcp4.wire.packet import Packet, decode

from .desk import FIRST, MAC, A, Desk, request

DNS = (A("192.168.1.2"), A("192.168.1.3"))
LONG = OwnOption(17, b"/" * 40, always=True)


def answer_of(desk: Desk, packet: Packet) -> tuple[bytes, Packet]:
    data = desk.reply(packet).data
    return data, decode(data)


@pytest.mark.parametrize("asked", [None, b"\x0c\x0f\x11\x06\3\1", b"\x11", b""])
@pytest.mark.parametrize("wide", [0, 1, 3])
@pytest.mark.parametrize("domain", ["", "a.example", "x" * 60])
def test_what_fits_in_64_octets_mask_router_and_name_servers_first(
    asked: bytes | None, wide: int, domain: str
) -> None:
    own = [OwnOption(200 + number, bytes(30), always=True) for number in range(wide)]
    desk = Desk(settings=own, dns=DNS, domain=domain)
    given = {} if asked is None else {55: asked}
    data, reply = answer_of(desk, request(None, options=given))
    assert len(data) == 300
    assert data[240:243] == b"\1\4\xff"  # the mask comes first
    assert list(reply.options)[:3] == [1, 3, 6]
    assert reply.options[6] == b"".join(one.packed for one in DNS)
    assert (reply.sname, reply.file) == (b"pybootd", b"default.0")
    assert data[44:52] == b"pybootd\0"  # no options in the fields
    assert not {51, 53, 54, 58, 59} & reply.options.keys()


def test_no_overload_even_where_there_is_no_file() -> None:
    desk = Desk(settings=[LONG], files=BootFileConfig(), servername="")
    data, reply = answer_of(desk, request(None))
    assert (len(data), 17 in reply.options) == (300, False)
    assert data[44:236] == bytes(192)


@pytest.mark.parametrize("size", [b"\2\x40", b"\5\xdc"])
def test_a_size_that_it_says_changes_nothing(size: bytes) -> None:
    data, _ = answer_of(Desk(settings=[LONG], domain="x" * 60), request(None, options={57: size}))
    assert len(data) == 300


def test_option_82_goes_back_where_it_fits() -> None:
    relay = A("192.168.1.254")
    for length in (4, 40, 57, 58, 200):
        octets = bytes((1, length - 2)) + bytes(length - 2)
        packet = request(None, options={82: octets}, giaddr=relay)
        data, reply = answer_of(Desk(dns=DNS), packet)
        assert len(data) == 300
        assert (82 in reply.options) == (length <= 57)


def test_with_a_cookie_and_without() -> None:
    for cookie in (True, False):
        data, reply = answer_of(Desk(), Packet(xid=7, chaddr=MAC, cookie=cookie))
        assert (reply.yiaddr, reply.cookie, bool(reply.options)) == (FIRST, cookie, cookie)
        assert len(data) == 300
