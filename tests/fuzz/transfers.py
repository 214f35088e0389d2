"""A TFTP server on loopback, and what a few clients send it: to its port and to its transfers."""

import atexit
import contextlib
import functools
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pybootd.tftp.wire.packet import Ack, Data, Error, Oack, Rrq, encode
from tests.tftp.lab import Client, Lab, running

from .feed import Feed, text

NAMES = ("512", "0", "100000", "dir", "none", "text", "../x", "dir/one")
OPTIONS = (
    *(("blksize", "8"), ("blksize", "1468"), ("blksize", "512"), ("tsize", "0"), ("timeout", "1")),
    *(("windowsize", "4"), ("windowsize", "64"), ("BLKSIZE", "0"), ("tsize", "enable")),
)
UNANSWERED = 3
"""Datagrams that a request costs which nobody answers, at the most."""
MOST_STEPS = 40


@functools.cache
def root() -> Path:
    """Make the files once for all runs."""
    made = Path(tempfile.mkdtemp(prefix="pybootd-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    (made / "dir").mkdir()
    for name, content in {
        "0": b"",
        "512": bytes(512),
        "100000": bytes(range(250)) * 400,
        "text": b"a\r\nb\nc\rd" * 100,
        "dir/one": b"1",
    }.items():
        (made / name).write_bytes(content)
    return made


class Alarm(logging.Handler):
    """Notes what the loop would only log: an exception is a fault of ours."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record)


class Peer:
    """One client, and how much came to it before it ever answered."""

    def __init__(self, lab: Lab) -> None:
        self.client: Client = lab.client()
        self.requests = self.arrived = 0
        self.answered = False
        self.block = 0

    def send(self, data: bytes, *, request: bool) -> None:
        self.requests += request
        self.answered = self.answered or not request
        self.client.send(data, self.client.lab.address if request else None)
        self.look()

    def look(self) -> None:
        """Take what came; nothing is answered that asks for no answer."""
        for packet in self.client.waiting():
            self.arrived += 1
            assert isinstance(packet, Data | Oack | Error)
            self.block = packet.block if isinstance(packet, Data) else 0
            if isinstance(packet, Data):
                assert len(packet.payload) <= 1468
        assert self.answered or self.arrived <= UNANSWERED * self.requests


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Raise what the loop would only log as an error."""
    alarm, log = Alarm(), logging.getLogger("pybootd")
    log.addHandler(alarm)
    try:
        yield
    finally:
        log.removeHandler(alarm)
    for record in alarm.seen:
        raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]


def tftp_server(data: bytes) -> None:
    """Serve three clients: requests, acknowledgements, anything else, and time, in any order."""
    feed = Feed(data)
    how = feed.octet()
    span = {"port_range": (20000, 20001)} if how & 1 else {}
    with (
        listening(),
        running(root(), timeout=1.0, retries=how >> 1 & 3, windowsize=8, **span) as lab,
    ):
        _play(lab, feed)
        for _ in range(30):  # everybody has gone silent
            lab.now += 2.0
            lab.loop.turn(0.0)
        assert lab.sockets() == 0
        assert lab.server.read_server.transfers == 0


def _play(lab: Lab, feed: Feed) -> None:
    peers = [Peer(lab) for _ in range(3)]
    for _ in range(MOST_STEPS):
        if not feed:
            return
        step = feed.octet()
        peer = peers[step % 3]
        match step >> 4 & 7:
            case 0 | 1:
                peer.send(encode(_request(feed)), request=True)
            case 2:
                peer.send(encode(Ack(peer.block)), request=False)
            case 3:
                peer.send(encode(Ack(feed.number())), request=False)
            case 4:
                peer.send(feed.take(feed.octet()), request=True)
            case 5:
                peer.send(feed.take(feed.octet()), request=False)
            case 6:
                lab.now += (0.05, 0.5, 1.5, 4.0)[step >> 2 & 3]
                lab.turn()
            case 7:  # a stranger writes to a transfer's port, or one client to another's
                other = peers[(step + 1) % 3]
                peer.client.tid = other.client.tid
                peer.send(feed.take(feed.octet() % 16), request=False)
        for one in peers:
            one.look()


def _request(feed: Feed) -> Rrq:
    how = feed.octet()
    name = NAMES[how & 7]
    if how & 128:
        name = text(feed.take(how & 15).replace(b"\0", b""))
    options = [feed.choose(OPTIONS) for _ in range(how >> 3 & 3)]
    return Rrq(name, "netascii" if how & 32 else "octet", tuple(options))
