"""A TFTP server that takes files, and what three clients bring to it, well or badly."""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pybootd.core.workers import Later, TaskResult
from pybootd.files.uploads import Uploads
from pybootd.tftp.wire.packet import Ack, Data, Error, Oack, Wrq, encode
from tests.tftp.lab import Lab, running

from .feed import Feed, text
from .transfers import MOST_STEPS, OPTIONS, UNANSWERED, Peer, listening

LARGEST, MOST = 2000, 4
NAMES = ("new", "a", "dir/new", "none/new", "../new", "x.j2", "out/new", ".pybootd-upload-1")
TREE = {"in", "in/dir", "in/out", "in/a", "beside"}


@functools.cache
def top() -> Path:
    """Make the folders once for all runs; in memory, for each file is synced to its disk."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="pybootd-fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    (Path(made) / "in" / "dir").mkdir(parents=True)
    (Path(made) / "beside").mkdir()
    (Path(made) / "in" / "out").symlink_to("../beside")
    (Path(made) / "in" / "a").write_bytes(b"ours")
    return Path(made)


def _there() -> set[str]:
    return {str(path.relative_to(top())) for path in top().rglob("*")}


def _at_once(lab: Lab) -> None:
    """Let what is for workers run in the loop: the same input, the same order."""

    def work(later: Later[object], done: Callable[[TaskResult[object], float], None]) -> None:
        try:
            outcome: TaskResult[object] = TaskResult(later.call())
        except Exception as error:
            outcome = TaskResult(None, error)
        lab.loop.call_soon(lambda now: done(outcome, now))

    lab.loop.run_in_worker = work  # type: ignore[method-assign,assignment]


class Bringer(Peer):
    """One client that brings a file; ``block`` is the last that was acknowledged."""

    def look(self) -> None:
        """Take what came: acknowledgements, each for what was asked."""
        for packet in self.client.waiting():
            self.arrived += 1
            assert isinstance(packet, Ack | Oack | Error)
            self.block = packet.block if isinstance(packet, Ack) else 0
        assert self.answered or self.arrived <= UNANSWERED * self.requests


def tftp_upload(data: bytes) -> None:
    """Take files from three clients, in any order; what is kept is whole and where it may be."""
    feed = Feed(data)
    how = feed.octet()
    free = os.open("/", os.O_PATH)
    os.close(free)
    uploads = Uploads(top() / "in", LARGEST, MOST)
    with listening(), running(top(), uploads, timeout=1.0, retries=how & 3, windowsize=8) as lab:
        _at_once(lab)
        _play(lab, feed)
        for _ in range(30):  # everybody has gone silent
            lab.now += 2.0
            lab.loop.turn(0.0)
        assert lab.sockets() == 0
    again = os.open("/", os.O_PATH)
    os.close(again)
    assert again == free
    made = _there() - TREE
    try:
        assert (top() / "in" / "a").read_bytes() == b"ours"
        assert len(made) < MOST
        for name in made:
            assert name.startswith("in/")
            assert not Path(name).name.startswith(".pybootd-upload-")
            assert not name.lower().endswith(".j2")
            assert (top() / name).stat().st_size <= LARGEST
    finally:
        for name in made:
            (top() / name).unlink()


def _play(lab: Lab, feed: Feed) -> None:
    bringers = [Bringer(lab) for _ in range(3)]
    for _ in range(MOST_STEPS):
        if not feed:
            return
        step = feed.octet()
        one = bringers[step % 3]
        match step >> 4 & 7:
            case 0 | 1:
                one.send(encode(_request(feed)), request=True)
            case 2 | 3:  # the next block, full or the last
                size = 512 if step & 8 else feed.octet()
                one.send(encode(Data(one.block + 1 & 0xFFFF, bytes(size))), request=False)
            case 4:
                block, size = feed.octet(), feed.number() % 1500
                one.send(encode(Data(block, b"x" * size)), request=False)
            case 5:
                one.send(feed.take(feed.octet()), request=False)
            case 6:
                lab.now += (0.05, 0.5, 1.5, 4.0)[step >> 2 & 3]
                lab.turn()
            case 7:
                one.send(feed.take(feed.octet()), request=True)
        for other in bringers:
            other.look()


def _request(feed: Feed) -> Wrq:
    how = feed.octet()
    name = NAMES[how & 7]
    if how & 128:
        name = text(feed.take(how & 15).replace(b"\0", b""))
    options = [feed.choose(OPTIONS) for _ in range(how >> 3 & 3)]
    return Wrq(name, "netascii" if how & 32 else "octet", tuple(options))
