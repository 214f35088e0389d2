"""One address that asks for ever and means none of it."""

import logging
from pathlib import Path

import pytest

from pybootd.tftp.limit import ADDRESSES, AT_ONCE, Limit
from pybootd.tftp.packet import Rrq, encode

from .lab import Lab, RefusedError, running


def passed(one: Limit, times: int, now: float, address: str = "192.0.2.9") -> int:
    return sum(one.take(address, now) for _ in range(times))


def test_so_many_at_once_then_so_many_a_second(caplog: pytest.LogCaptureFixture) -> None:
    one = Limit(100)
    assert passed(one, 2000, 10.0) == 100 * AT_ONCE
    assert [passed(one, 2000, 10.0 + second) for second in (1, 2, 2.5)] == [100, 100, 50]
    assert passed(one, 2000, 1000.0) == 100 * AT_ONCE
    assert passed(one, 1, 1000.0, "192.0.2.10") == 1


def test_each_is_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    one = Limit(1)
    for second in range(180):
        passed(one, 100, float(second))
    passed(one, 100, 0.0, "192.0.2.10")
    told = [record.getMessage() for record in caplog.records]
    first = "tftp 192.0.2.9: more than 1 requests a second came to nothing"
    assert [text.partition(":")[0] for text in told] == ["tftp 192.0.2.9"] * 3 + ["tftp 192.0.2.10"]
    assert told[0].startswith(first)
    assert caplog.records[0].levelno == logging.WARNING


def test_what_comes_to_something_does_not_count() -> None:
    one = Limit(1)
    for _ in range(1000):
        assert one.take("192.0.2.9", 10.0)
        one.give_back("192.0.2.9")
    one.give_back("192.0.2.10")  # forgotten meanwhile: nothing to do
    assert passed(one, 100, 10.0) == AT_ONCE


def test_the_table_is_bounded() -> None:
    one = Limit(1)
    for number in range(3 * ADDRESSES):
        passed(one, 2, 10.0, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        passed(one, 1, 10.0)
    assert len(one._known) == ADDRESSES
    assert passed(one, 1, 10.0) == 0  # whoever goes on is not forgotten


def test_no_limit() -> None:
    one = Limit(0)
    assert passed(one, 100_000, 10.0) == 100_000
    assert one._known == {}


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
        assert misses(lab, "127.0.0.9", 100) == 5 * AT_ONCE
        assert lab.client("127.0.0.10").fetch("file") == b"content"
        with pytest.raises(TimeoutError):
            lab.client("127.0.0.9").fetch("file")
        lab.wait(1.0, 0.1)
        assert lab.client("127.0.0.9").fetch("file") == b"content"


def test_a_client_that_fetches_whole_files_never_meets_it(root: Path) -> None:
    with running(root, requests=1) as lab:
        client = lab.client()
        for _ in range(50 * AT_ONCE):
            assert client.fetch("file") == b"content"


def test_a_forged_address_is_sent_no_more_than_that(root: Path) -> None:
    """Requests that nobody acknowledges: as a victim sees it, whose address they bear."""
    with running(root, requests=5) as lab:
        victims = [lab.client() for _ in range(100)]
        for victim in victims:
            victim.ask("file")
        lab.wait(10.0, 0.1)
        packets = sum(len(victim.waiting()) for victim in victims)
        assert packets == 3 * 5 * AT_ONCE


def test_a_reload_sets_another_limit(root: Path) -> None:
    with running(root, requests=1) as lab:
        assert misses(lab, "127.0.0.9", 20) == AT_ONCE
        config = lab.server._config
        lab.server.reload(type(config)(port=0, requests=0), lab)
        assert misses(lab, "127.0.0.9", 20) == 20
        with pytest.raises(RefusedError):
            lab.client("127.0.0.9").fetch("none")
