"""One host that takes what it can: the others are served all the same."""

import os
from pathlib import Path

import pytest

from pybootd.core.events import EndCause, TransferOutcome, Uploaded
from pybootd.files.uploads import Uploads
from pybootd.tftp import write_server
from pybootd.tftp.sender import MIN_PACE_BLOCKS, PACE_SPAN_S
from pybootd.tftp.wire.packet import Ack, Data, Error, Wrq

from .lab import Client, Lab, running

GREEDY, HONEST = "127.0.0.9", "127.0.0.10"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(os.urandom(40_000))
    return tmp_path


def hold(lab: Lab, address: str, **options: str) -> Client:
    """Ask for a file, acknowledge once, and fall silent."""
    client = lab.client(address)
    client.ask("file", **options)
    client.receive()
    client.send(Ack(0 if options else 1))
    client.waiting()
    return client


@pytest.mark.parametrize("most", [8, 16, 64])
def test_a_host_that_acknowledges_once_and_falls_silent_keeps_nobody_out(
    root: Path, most: int
) -> None:
    """With timeout=255 it would be waited for 25 minutes each time."""
    with running(root) as lab:
        lab.server.read_server.max_transfers = most
        working = hold(lab, HONEST)
        for _ in range(2 * most):
            hold(lab, GREEDY, timeout="255")
        for number in range(20, 20 + most):
            client = lab.client(f"127.0.0.{number}")
            assert client.fetch("file") == (root / "file").read_bytes()
        assert isinstance(working.ack(2)[0], Data)
        assert lab.server.read_server.transfers <= most
        gave_way = [event for event in lab.ended() if event.cause is EndCause.TOO_MANY]
        assert {event.peer for event in gave_way} == {GREEDY}


def test_a_host_beyond_its_share_has_its_own_silent_transfers_end(root: Path) -> None:
    with running(root) as lab:
        lab.server.read_server.max_transfers = 16
        for _ in range(30):
            hold(lab, GREEDY, timeout="255")
        assert lab.server.read_server.transfers <= 8
        assert lab.client(GREEDY).fetch("file") == (root / "file").read_bytes()


def test_where_each_host_has_one_transfer_a_busy_one_is_not_ended(root: Path) -> None:
    with running(root) as lab:
        lab.server.read_server.max_transfers = 4
        busy = [hold(lab, f"127.0.0.{number}") for number in range(20, 24)]
        late = lab.client(HONEST)
        late.ask("file")
        packet = late.receive()
        assert isinstance(packet, Error)
        assert all(isinstance(client.ack(2)[0], Data) for client in busy)
        lab.wait(6.0)
        assert late.fetch("file") == (root / "file").read_bytes()


@pytest.mark.parametrize("options", [{"blksize": "8"}, {"blksize": "8", "windowsize": "2"}])
def test_a_client_that_takes_a_block_now_and_then_is_as_late_as_a_silent_one(
    root: Path, options: dict[str, str]
) -> None:
    with running(root) as lab:
        client = lab.client()
        client.ask("file", **options)
        client.receive()
        block, window = 0, int(options.get("windowsize", 1))
        for _ in range(int(PACE_SPAN_S / 20) + 2):
            client.ack(block)
            block += window
            lab.wait(20.0, 0.5)
        assert [event.outcome for event in lab.ended()] == [TransferOutcome.TIMEOUT]


def test_a_slow_client_that_goes_on_is_served(root: Path) -> None:
    """8 s for each block: a device that writes each to its flash."""
    assert PACE_SPAN_S / 8 > MIN_PACE_BLOCKS
    with running(root) as lab:
        client = lab.client()
        client.ask("file", blksize="1000")
        client.receive()
        for block in range(42):
            client.ack(block)
            lab.wait(8.0 if block < 41 else 0.0, 0.5)
        assert [event.outcome for event in lab.ended()] == [TransferOutcome.DONE]


def bring(lab: Lab, address: str, name: str) -> Client:
    """Begin an upload, send one block, and fall silent."""
    client = lab.client(address)
    client.send(Wrq(name, "octet", (("timeout", "255"),)), lab.address)
    for _ in range(200):
        lab.loop.turn(0.01)
        if client.waiting():
            break
    client.send(Data(1, bytes(512)))
    client.waiting()
    return client


def test_uploads_of_one_host_keep_no_other_from_bringing_a_file(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("in")
    monkeypatch.setattr(write_server, "MAX_UPLOADS", 6)
    monkeypatch.setattr(write_server, "MAX_UPLOADS_PER_HOST", 6)
    with running(root, Uploads(folder, 200_000, 100)) as lab:
        for number in range(10):
            bring(lab, GREEDY, f"greedy{number}")
        assert lab.server.write_server is not None
        assert len(lab.server.write_server.uploads) <= 6
        client = bring(lab, HONEST, "meant")
        client.send(Data(2, b"end"))
        for _ in range(300):
            lab.loop.turn(0.01)
            if (folder / "meant").exists():
                break
        assert (folder / "meant").read_bytes() == bytes(512) + b"end"
        ended = [event for event in lab.events if isinstance(event, Uploaded)]
        assert {event.peer for event in ended if event.cause is EndCause.TOO_MANY} == {GREEDY}
