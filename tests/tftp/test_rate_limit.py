"""One address that asks for ever and means none of it."""

from pathlib import Path

import pytest

from pybootd.tftp.server import BURST_S
from pybootd.tftp.wire.packet import Rrq, encode

from .lab import Lab, RefusedError, running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"content")
    return tmp_path


def misses(lab: Lab, address: str, times: int) -> int:
    """Ask for what isn't there; return how many answers there are."""
    client = lab.client(address)
    for _ in range(times):
        client.sock.sendto(encode(Rrq("none")), lab.address)
        lab.turn(1)
    lab.turn()
    return len(client.waiting())


def test_an_address_beyond_its_limit_gets_no_answer_and_others_do(root: Path) -> None:
    with running(root, requests=5) as lab:
        assert misses(lab, "127.0.0.9", 100) == 5 * BURST_S
        assert lab.client("127.0.0.10").fetch("file") == b"content"
        with pytest.raises(TimeoutError):
            lab.client("127.0.0.9").fetch("file")
        lab.wait(1.0, 0.1)
        assert lab.client("127.0.0.9").fetch("file") == b"content"


def test_a_client_that_fetches_whole_files_never_meets_it(root: Path) -> None:
    with running(root, requests=1) as lab:
        client = lab.client()
        for _ in range(50 * BURST_S):
            assert client.fetch("file") == b"content"


def test_a_forged_address_is_sent_no_more_than_that(root: Path) -> None:
    """Requests without an acknowledgement, as the victim sees it whose address they bear."""
    with running(root, requests=5) as lab:
        victims = [lab.client() for _ in range(100)]
        for victim in victims:
            victim.ask("file")
        lab.wait(10.0, 0.1)
        packets = sum(len(victim.waiting()) for victim in victims)
        assert packets == 3 * 5 * BURST_S


def test_a_reload_sets_another_limit(root: Path) -> None:
    with running(root, requests=1) as lab:
        assert misses(lab, "127.0.0.9", 20) == BURST_S
        config = lab.server.config
        lab.server.reload(type(config)(port=0, requests=0), lab)
        assert misses(lab, "127.0.0.9", 20) == 20
        with pytest.raises(RefusedError):
            lab.client("127.0.0.9").fetch("none")


def test_each_address_is_told_of_once_a_minute(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(root, requests=1) as lab:
        for _ in range(2):
            misses(lab, "127.0.0.9", 2 * BURST_S)
        misses(lab, "127.0.0.10", 2 * BURST_S)
    told = [text for text in caplog.messages if "without an acknowledgement" in text]
    first = "tftp 127.0.0.9: more than 1 requests a second without an acknowledgement"
    assert [text.partition(":")[0] for text in told] == ["tftp 127.0.0.9", "tftp 127.0.0.10"]
    assert told[0].startswith(first)
