"""What every UDP socket is told."""

import socket
import sys
from ipaddress import IPv4Address

import pytest

from pybootd.dhcp4.wire.ethernet import encode_datagram
from pybootd.system import sockets

IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0  # ip(7)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own option")
def test_a_udp_socket_does_not_forbid_fragments() -> None:
    with sockets.udp_socket(IPv4Address("127.0.0.1"), 0, what="x", option="x") as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DONT


def test_our_own_frame_does_not_forbid_fragments() -> None:
    source, target = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    packet = encode_datagram(b"offer", source, target, 67, 68)
    assert packet[6:8] == b"\0\0"


@pytest.mark.parametrize(
    ("address", "family"),
    [("", socket.AF_INET), ("10.0.0.1", socket.AF_INET), ("fe80::1", socket.AF_INET6)],
)
def test_an_address_tells_the_family_of_its_socket(
    address: str, family: socket.AddressFamily
) -> None:
    assert sockets.family_of(address) is family


def test_the_system_has_ports_to_choose_from() -> None:
    assert sockets.ephemeral_ports() > 0
