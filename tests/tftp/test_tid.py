"""Sockets that serve one client after the other: what is left of one must not reach the next."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybootd.core.events import TransferOutcome
from pybootd.tftp import tid
from pybootd.tftp.wire.packet import Ack, Data, Error, encode

from .lab import Client, Lab, running

OPTIONS = {"blksize": "1024"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "file").write_bytes(random.Random(2).randbytes(5000))
    with running(tmp_path) as made:
        yield made


def served(lab: Lab) -> Client:
    client = lab.client()
    assert client.fetch("file", **OPTIONS) == (lab.root / "file").read_bytes()
    return client


def descriptors(lab: Lab) -> set[int]:
    return set(lab.loop._readers)  # nothing else tells one socket from another


def test_a_small_file_takes_no_new_socket(lab: Lab) -> None:
    first = served(lab)
    before = descriptors(lab)
    second = served(lab)
    assert second.tid == first.tid
    assert descriptors(lab) == before
    lab.wait(4.0, 0.1)
    assert lab.sockets() == 0


def test_late_datagrams_of_the_earlier_client_change_nothing(lab: Lab) -> None:
    first = served(lab)
    for block in range(1, 5):
        first.sock.sendto(encode(Ack(block)), first.tid)
    second = lab.client()
    second.ask("file", **OPTIONS)
    assert second.tid != first.tid  # none of its packets yet
    second.receive()
    assert second.tid == first.tid
    for packet in (Ack(0), Ack(1), Error(0, "no more")):
        first.send(packet)
    assert second.waiting() == []
    content = b""
    for block in range(5):
        (packet,) = second.ack(block)
        assert isinstance(packet, Data)
        content += packet.payload
    second.ack(5)
    assert content == (lab.root / "file").read_bytes()
    assert first.waiting() == []
    assert [event.retransmissions for event in lab.ended()] == [0, 0]


def test_a_port_that_the_earlier_client_closed_ends_nothing(lab: Lab) -> None:
    first = served(lab)
    port = next(iter(lab.server.ports.idle_ports))
    assert port.spare_socket is not None
    first.sock.close()
    # what was still on its way to it, so that the system tells the socket of the closed port
    port.spare_socket[0].send(b"late")
    served(lab)
    assert [event.outcome for event in lab.ended()] == [TransferOutcome.DONE, TransferOutcome.DONE]


def test_a_socket_that_is_full_of_what_is_late_is_not_used_again(lab: Lab) -> None:
    first = served(lab)
    before = descriptors(lab)
    for _ in range(tid.MAX_LATE_DATAGRAMS + 1):
        first.sock.sendto(encode(Ack(5)), first.tid)
    lab.client().ask("file", **OPTIONS)
    assert len(descriptors(lab)) == len(before)
    assert not lab.server.ports.idle_ports
    assert served(lab).tid != first.tid


def test_a_transfer_that_lost_something_leaves_no_socket(lab: Lab) -> None:
    client = lab.client()
    client.ask("file", **OPTIONS)
    lab.wait(2.0)  # the OACK is sent again
    assert client.go_on() == (lab.root / "file").read_bytes()
    assert lab.ended()[0].retransmissions
    assert all(port.spare_socket is None for port in lab.server.ports.idle_ports)


def test_another_own_address_has_its_own_socket(lab: Lab) -> None:
    first = served(lab)
    second = lab.client()
    second.ask("file", to=("127.0.0.2", lab.server.port), **OPTIONS)
    assert second.go_on() == (lab.root / "file").read_bytes()
    assert second.tid == ("127.0.0.2", first.tid[1])
