"""What an address gets that may be forged: a forger sends requests and ACKs, and sees no answer."""

import contextlib
import socket
from pathlib import Path

import pytest

from pybootd.files.source import Unavailable
from pybootd.system import sockets
from pybootd.tftp.proof import (
    BOUND_SPAN_S,
    MIN_OCTETS,
    MIN_UNGUESSABLE_PORTS,
    OCTETS_PER_PORT,
    UnprovenBound,
)
from pybootd.tftp.wire.packet import Ack, Error, Oack, Rrq, encode

from .lab import Client, Lab, running
from .test_server import known_at

VICTIM, ATTACKER = "127.0.0.7", "127.0.0.66"
SIZE = 3_000_000
ASKED = (("blksize", "1468"), ("windowsize", "64"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(SIZE)
    return tmp_path


def free_ports(count: int) -> tuple[int, int]:
    """Find so many ports in a row that nothing uses."""
    for first in range(21_000, 60_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sock.bind(("", port))
            return first, first + count - 1
    raise AssertionError("no ports are free")


def octets_at(victim: Client) -> int:
    """Count what came, with IP and UDP headers."""
    received = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            received += len(victim.sock.recv(70_000)) + 28
    return received


def forge(lab: Lab, victim: Client, ports: tuple[int, int], acks: int) -> tuple[int, int]:
    """Ask and acknowledge in the victim's name, blindly; return octets sent and received."""
    sent = received = 0
    for _ in range(acks // 200 + 1):
        request = encode(Rrq("file", "octet", ASKED))
        victim.sock.sendto(request, lab.address)
        sent += len(request) + 28
        lab.turn()
        for number in range(min(200, acks)):
            for port in range(ports[0], ports[1] + 1):
                victim.sock.sendto(encode(Ack(number)), ("127.0.0.1", port))
                sent += 32
            lab.turn(1)
            received += octets_at(victim)
        lab.wait(1.0, 0.1)
        received += octets_at(victim)
    return sent, received


@pytest.mark.parametrize("count", [1, 3])
def test_what_a_forger_makes_us_send_is_bounded(root: Path, count: int) -> None:
    ports = free_ports(count)
    with running(root, port_range=ports) as lab:
        victim = lab.client(VICTIM)
        sent, received = forge(lab, victim, ports, 6000 // count)
        assert received > 100_000
        assert received / sent < 60
        assert received < max(MIN_OCTETS, count * OCTETS_PER_PORT) * 1.1


def test_who_has_a_lease_gets_its_files_through_one_port(root: Path) -> None:
    with running(root, port_range=free_ports(1)) as lab:
        known_at(lab, VICTIM, "52:54:00:00:00:01")
        for _ in range(3):
            client = lab.client(VICTIM)
            assert len(client.fetch("file", blksize="1468", windowsize="16")) == SIZE


def test_beyond_the_bound_a_client_is_told_why_and_others_are_served(root: Path) -> None:
    with running(root, port_range=free_ports(2)) as lab:
        client = lab.client(VICTIM)
        assert len(client.fetch("file", blksize="1468")) == SIZE
        client.ask("file", blksize="1468")
        packet: object = client.receive()
        block = 0
        while not isinstance(packet, Error):
            packet = client.ack(block)[0]
            block += 1
        assert "lease" in packet.message
        assert "port_range" in packet.message
        assert len(lab.client("127.0.0.8").fetch("file", blksize="1468")) == SIZE
        lab.wait(BOUND_SPAN_S, 100.0)
        assert len(lab.client(VICTIM).fetch("file", blksize="1468")) == SIZE


def test_with_many_ports_nothing_is_bounded(root: Path) -> None:
    assert not UnprovenBound(MIN_UNGUESSABLE_PORTS).is_needed
    assert UnprovenBound(MIN_UNGUESSABLE_PORTS - 1).is_needed
    with running(root) as lab:
        client = lab.client(VICTIM)
        for _ in range(3):
            assert len(client.fetch("file", blksize="1468", windowsize="64")) == SIZE


def test_a_system_that_has_few_ports_to_choose_from_is_a_small_range(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "ephemeral_ports", lambda: 8)
    with running(root) as lab:
        client = lab.client(VICTIM)
        client.ask("file", **dict(ASKED))
        assert client.receive() == Oack((("blksize", "1468"), ("windowsize", "1")))


def test_a_window_is_no_longer_than_the_range_hides(root: Path) -> None:
    with running(root, port_range=free_ports(32)) as lab:
        client = lab.client(VICTIM)
        client.ask("file", **dict(ASKED))
        assert client.receive() == Oack((("blksize", "1468"), ("windowsize", "4")))
        known_at(lab, ATTACKER, "52:54:00:00:00:02")
        client = lab.client(ATTACKER)
        client.ask("file", **dict(ASKED))
        assert client.receive() == Oack(ASKED)


def test_nobody_learns_the_port_of_another_client_by_its_own_transfer(root: Path) -> None:
    """Ports of any number: the one that an attacker had a moment ago is not the victim's next."""
    (root / "small").write_bytes(b"small")
    with running(root) as lab:
        known = set()
        for _ in range(8):
            attacker = lab.client(ATTACKER)
            assert attacker.fetch("small") == b"small"
            known.add(attacker.tid[1])
        assert len(known) < 8  # its own are used again
        for _ in range(8):
            victim = lab.client(VICTIM)
            victim.ask("small")
            victim.receive()
            assert victim.tid[1] not in known


def test_the_bound_of_an_address_holds_for_an_hour() -> None:
    bound = UnprovenBound(1)
    bound.charge_octets("a", MIN_OCTETS - 1, 0.0)
    with pytest.raises(Unavailable):
        bound.charge_octets("a", 2, BOUND_SPAN_S - 1)
    bound.charge_octets("a", 1, BOUND_SPAN_S - 1)
    assert bound.octets_left("a", BOUND_SPAN_S - 1) == 0
    assert bound.octets_left("b", BOUND_SPAN_S - 1) == MIN_OCTETS
    assert bound.octets_left("a", BOUND_SPAN_S) == MIN_OCTETS
