"""Rows are kept between looks: what is kept is what would be written again."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from pybootd.core import events
from pybootd.observe.diagnosis.evidence import FileLook
from pybootd.status.documents import Documents, Json
from tests.observe.story import IPXE, SYSTEM, UEFI, Story

WALL = 1e9
OTHER = replace(UEFI, mac=bytes.fromhex("525400000002"), uuid=None)
ADDRESSES = (IPv4Address("10.7.0.100"), IPv4Address("10.7.0.101"))
NAMES = ("linux", "boot/initrd.gz")


class Watched(Story):
    """A story, and who looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.report = Documents(
            self.timeline, lambda: self.now, lambda: self.now + WALL, lambda name: FileLook()
        )

    def rows(self, search: str = "") -> list[Json]:
        return list(json.loads(self.report.list_clients(search))["clients"])

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def found(self) -> dict[str, list[str]]:
        words = ("rack", "10.7.0.100", "52-54-00-00-00-02", "kernel", "failed", "up", "booting")
        return {word: [row["name"] for row in self.rows(word)] for word in words}

    def forget(self) -> None:
        for record in self.timeline.records():
            record.standing, record.known = None, ""
            for boot in record.boots:
                boot.cached = None


def _steps() -> st.SearchStrategy[Callable[[Watched], object]]:
    clients = st.sampled_from((UEFI, IPXE, SYSTEM, OTHER, replace(OTHER, hostname="rack"), SYSTEM))
    address, name = st.sampled_from(ADDRESSES), st.sampled_from(NAMES)
    peer = address.map(str)
    ended = st.sampled_from(
        (
            events.TransferOutcome.DONE,
            events.TransferOutcome.TIMEOUT,
            events.TransferOutcome.ABORTED,
        )
    )

    def step(method: Callable[..., object], *given: object) -> Callable[[Watched], object]:
        return lambda watched: method(watched, *given)

    return st.one_of(
        st.builds(partial(step, Watched.lease), clients, address),
        st.builds(partial(step, Watched.refuse), clients),
        st.builds(partial(step, Watched.start), name, st.just(1000), peer),
        st.builds(partial(step, Watched.end), name, st.just(1000), ended, peer),
        st.builds(partial(step, Watched.miss), name, peer),
        st.builds(partial(step, Watched.wait), st.sampled_from((0.5, 30.0, 200.0))),
    )


@given(st.lists(_steps(), max_size=15))
def test_a_row_that_was_kept_is_the_row_made_again(
    steps: list[Callable[[Watched], object]],
) -> None:
    watched = Watched()
    for step in steps:
        step(watched)
        watched.now += 1.0  # what only time changes holds for a second
        kept, found = watched.rows(), watched.found()
        assert watched.rows() == kept
        watched.forget()
        assert watched.rows() == kept
        assert watched.found() == found


def test_a_verdict_that_is_kept_does_not_grow_with_time() -> None:
    watched = Watched()
    watched.fetch("linux")
    watched.wait(200.0)
    kept = watched.rows()
    assert kept[0]["verdict"]["evidence"] == [
        "last file: linux, whole; then nothing for more than 180 s"
    ]
    watched.wait(100.0)
    watched.forget()
    assert watched.rows()[0]["verdict"] == kept[0]["verdict"]


def test_what_moves_is_read_at_each_look() -> None:
    watched = Watched()
    watched.lease()
    sent = [1000]
    started = events.TransferStarted("tftp", "10.7.0.100", "linux", "linux", 9000, 512, 1)
    watched.tell(started._replace(progress=lambda: (sent[0], 2)))
    (before,) = watched.rows()
    sent[0], watched.now = 5000, watched.now + 1.0
    (after,) = watched.rows()
    (one,) = after["transfers"]
    assert (one["sent"], one["retransmissions"]) == (5000, 2)
    assert one["rate"] == round(5000 / (one["until"] - one["at"]))
    assert round(one["until"] - before["transfers"][0]["until"], 4) == 1.0
    assert after["last"] == watched.now + WALL
    assert after["began"] == before["began"] == 1000.0 + WALL


def test_a_transfer_in_a_row_tells_the_same_as_in_its_boot() -> None:
    watched = Watched()
    watched.lease()
    watched.start('a"b\\{}%s\n', 8000)
    (row,) = watched.rows()
    document = watched.report.describe_client(row["name"])
    assert document is not None
    (boot,) = document["client"]["boots"]
    assert row["transfers"][0]["size"] == 8000
    assert row["transfers"] == [step for step in boot["steps"] if step["type"] == "transfer"]
