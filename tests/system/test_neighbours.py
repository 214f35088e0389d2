"""The system's neighbour table, as the kernel keeps it."""

import subprocess
import sys
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

import pytest

from pybootd.system.interfaces import Interface
from pybootd.system.neighbours import LOOK_AGAIN_S, NeighbourTable

A = IPv4Address
SETUP = """
set -e
ip link add lan type veth peer name far
ip link set lan up
ip link set far up
ip address add 10.5.0.1/24 dev lan
ip neighbour add 10.5.0.7 lladdr 52:54:00:12:34:56 dev lan nud reachable
ip neighbour add 10.5.0.8 dev lan nud failed
exec "$@"
"""
CODE = """
import sys
from ipaddress import IPv4Address
from pybootd.system.neighbours import NeighbourTable
table = NeighbourTable(lambda: 10.0)
for address in sys.argv[1:]:
    found = table.find_hardware_address(IPv4Address(address))
    print(found.hex(":") if found else "-")
table.close()
"""


@pytest.mark.net
def test_what_the_kernel_has_seen_and_what_not() -> None:
    addresses = ["10.5.0.7", "10.5.0.8", "10.5.0.9", "10.6.0.7"]
    command = ["unshare", "-n", "sh", "-c", SETUP, "sh", sys.executable, "-c", CODE, *addresses]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.split() == ["52:54:00:12:34:56", "-", "-", "-"]


def test_an_address_beyond_our_links_costs_a_look_at_the_interfaces_once_in_a_while() -> None:
    now, looks = [10.0], []

    def look() -> list[Interface]:
        looks.append(now[0])
        return [Interface("lo", 1, (IPv4Interface("127.0.0.1/8"),), b"")]

    table = NeighbourTable(lambda: now[0], look)
    for _ in range(3):
        assert table.find_hardware_address(A("203.0.113.9")) is None
    assert looks == [10.0]
    now[0] += LOOK_AGAIN_S
    assert table.find_hardware_address(A("203.0.113.9")) is None
    assert looks == [10.0, 10.0 + LOOK_AGAIN_S]
    table.close()


def test_no_hardware_address_is_behind_the_loopback_or_known_of_the_other_family() -> None:
    table = NeighbourTable(lambda: 10.0)
    assert table.find_hardware_address(A("127.0.0.1")) is None
    assert table.find_hardware_address(IPv6Address("fe80::1")) is None
    table.close()
