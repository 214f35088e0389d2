"""What a client sees of the server, on real sockets, while the test holds the clock."""

import contextlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybootd.config.options.files import HttpdConfig
from pybootd.core.client import Client
from pybootd.core.client_table import ClientTable
from pybootd.core.events import (
    EventBus,
    Malformed,
    TransferEnded,
    TransferOutcome,
    TransferRefused,
    TransferStarted,
)
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files.local import LocalFile, LocalSource
from pybootd.files.resolver import Files
from pybootd.files.source import FileRequest, Missing, OpenedFile, StreamBody, TextBody, Unavailable
from pybootd.http import body as body_module
from pybootd.http import pace, response, server, session
from pybootd.http.server import HttpServer
from pybootd.system.sockets import BindError

BASE = HttpdConfig(address=IPv4Address("127.0.0.1"), port=0)
BIG = 20_000_000
WORDS = (
    *(b"GET /1000 HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n", b"PUT /x HTTP/1.0\r\n", b"Host: x\r\n"),
    *(b"\r\n", b"Range: bytes=1-\r\n", b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"),
)


@dataclass
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes


class Lab:
    """A server, what it published, and its time in ``now``."""

    def __init__(
        self, root: Path, config: HttpdConfig = BASE, *, ends_oldest: bool = False
    ) -> None:
        self.root = root
        self.now = 1000.0
        self.loop = Loop(lambda: self.now)
        self.bus = EventBus()
        self.clients = ClientTable()
        self.events: list[object] = []
        self.opener: Callable[[FileRequest], OpenedFile | Later[OpenedFile]] | None = None
        self._files = Files(LocalSource(root))
        for kind in (TransferStarted, TransferEnded, TransferRefused, Malformed):
            self.bus.subscribe(kind, self.events.append)
        self.server = HttpServer(
            config, self.loop, self.bus, self.clients, self, ends_oldest=ends_oldest
        )
        self._peers: list[Peer] = []

    def open(self, request: FileRequest) -> OpenedFile | Later[OpenedFile]:
        return self.opener(request) if self.opener else self._files.open(request)

    def start(self) -> None:
        self.loop.open()
        self.server.open()
        self.server.start()

    def close(self) -> None:
        self.server.close()
        self.loop.close()
        for peer in self._peers:
            peer.sock.close()

    def peer(self, address: str = "127.0.0.1", buffer: int = 0) -> "Peer":
        made = Peer(self, address, buffer)
        self._peers.append(made)
        return made

    def turn(self, times: int = 3) -> None:
        for _ in range(times):
            self.loop.turn(0.0)

    def wait(self, seconds: float) -> None:
        """Let this time pass, as a loop sees it that is woken now and then."""
        for _ in range(round(seconds / 0.5)):
            self.now += 0.5
            self.loop.turn(0.0)

    def ended(self) -> list[TransferEnded]:
        return [event for event in self.events if isinstance(event, TransferEnded)]

    def refused(self) -> list[TransferRefused]:
        return [event for event in self.events if isinstance(event, TransferRefused)]


class Peer:
    """One connection of a client. ``cut``: it was reset. ``over``: the server has ended it."""

    def __init__(self, lab: Lab, address: str, buffer: int) -> None:
        self.lab = lab
        self.data = bytearray()
        self.cut = self.over = False
        self.sock = socket.socket()
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.bind((address, 0))
        self.sock.connect(("127.0.0.1", lab.server.port))
        self.sock.setblocking(False)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.lab.turn()

    def ask(self, name: str, *fields: str, method: str = "GET") -> None:
        lines = [f"{method} /{name} HTTP/1.1", "Host: x", *fields, "", ""]
        self.send("\r\n".join(lines).encode())

    def take(self, most: int = 1 << 30) -> int:
        """Receive what has come, so many octets at most."""
        before = len(self.data)
        try:
            while len(self.data) - before < most:
                data = self.sock.recv(min(most, 1 << 20))
                self.over = self.over or not data
                if not data:
                    break
                self.data += data
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.cut = self.over = True
        return len(self.data) - before

    def answer(self, *, head: bool = False) -> Answer:
        """Receive an answer wholly, the loop turning meanwhile."""
        while b"\r\n\r\n" not in self.data:
            self._more()
        text, _, rest = bytes(self.data).partition(b"\r\n\r\n")
        lines = text.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        self.data = bytearray(rest)
        status = int(lines[0].split()[1])
        if head or status == 304:
            return Answer(status, fields, b"")
        if "Content-Length" in fields:
            body = self._octets(int(fields["Content-Length"]))
        elif fields.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        else:
            while not self.over:
                self._more()
            body = bytes(self.data)
        return Answer(status, fields, body)

    def get(self, name: str, *fields: str, method: str = "GET") -> Answer:
        self.ask(name, *fields, method=method)
        return self.answer(head=method == "HEAD")

    def _octets(self, count: int) -> bytes:
        while len(self.data) < count:
            self._more()
        body = bytes(self.data[:count])
        del self.data[:count]
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.data:
                self._more()
            line = bytes(self.data).partition(b"\r\n")[0]
            del self.data[: len(line) + 2]
            piece = self._octets(int(line, 16) + 2)[:-2]
            if not piece:
                return body
            body += piece

    def _more(self) -> None:
        if not self.take():
            assert not self.over, "the connection ended too early"
            self.lab.turn(1)


class Trickle(StreamBody):
    """A body whose octets come when the test gives them."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.waiting: Callable[[float], None] | None = None
        self.closed = False
        self._data = b""
        self._ended = False
        self._error: Exception | None = None

    def read(self, count: int) -> bytes | None:
        if self._error is not None:
            raise self._error
        if len(self._data) < count and not self._ended:
            return None
        data, self._data = self._data[:count], self._data[count:]
        return data

    def when_ready(self, callback: Callable[[float], None]) -> None:
        self.waiting = callback

    def give(
        self, lab: Lab, data: bytes = b"", *, end: bool = False, error: Exception | None = None
    ) -> None:
        self._data += data
        self._ended = end
        self._error = error
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting(lab.now)
        lab.turn()

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("root")
    rng = random.Random(1)
    for size in (0, 1, 1000, response.SMALL_FILE_OCTETS, response.SMALL_FILE_OCTETS + 1, BIG):
        (made / str(size)).write_bytes(rng.randbytes(size))
    (made / "boot x").mkdir()
    (made / "boot x" / "\xe4.efi").write_bytes(b"program")
    (made / "out").symlink_to("/etc/passwd")
    os.mkfifo(made / "fifo")
    return made


@contextlib.contextmanager
def running(root: Path, config: HttpdConfig = BASE, *, ends_oldest: bool = False) -> Iterator[Lab]:
    lab = Lab(root, config, ends_oldest=ends_oldest)
    lab.start()
    try:
        yield lab
    finally:
        lab.close()


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.fixture
def lab(root: Path) -> Iterator[Lab]:
    before = descriptors()
    with running(root) as made:
        yield made
    assert descriptors() == before, "a descriptor was left open"


# what is served


@pytest.mark.parametrize(
    "size", [0, 1, 1000, response.SMALL_FILE_OCTETS, response.SMALL_FILE_OCTETS + 1, BIG]
)
def test_files_arrive_one_after_the_other_on_one_connection(lab: Lab, size: int) -> None:
    peer, wanted = lab.peer(), (lab.root / str(size)).read_bytes()
    for _ in range(2):
        answer = peer.get(str(size))
        assert (answer.status, answer.body == wanted) == (200, True)
    assert [(event.outcome, event.sent) for event in lab.ended()] == [
        (TransferOutcome.DONE, size)
    ] * 2


@pytest.mark.parametrize(("first", "last"), [(0, 0), (5, 500_000), (BIG - 7, BIG - 1)])
def test_a_part_of_a_file(lab: Lab, first: int, last: int) -> None:
    answer = lab.peer().get(str(BIG), f"Range: bytes={first}-{last}")
    assert answer.status == 206
    assert answer.fields["Content-Range"] == f"bytes {first}-{last}/{BIG}"
    assert answer.body == (lab.root / str(BIG)).read_bytes()[first : last + 1]


def test_head_tells_what_get_would(lab: Lab) -> None:
    peer = lab.peer()
    head = peer.get("boot%20x/%C3%A4.efi", method="HEAD")
    got = peer.get("boot%20x/%C3%A4.efi")
    assert head.fields == got.fields
    assert (got.body, got.fields["Content-Type"]) == (b"program", "application/efi")
    assert [event.outcome for event in lab.ended()] == [
        TransferOutcome.PROBED,
        TransferOutcome.DONE,
    ]


def test_an_edition_is_known_again(lab: Lab) -> None:
    peer = lab.peer()
    fields = peer.get("1000").fields
    for condition in (
        f"If-None-Match: {fields['ETag']}",
        f"If-Modified-Since: {fields['Last-Modified']}",
    ):
        assert peer.get("1000", condition).status == 304
    assert peer.get("1000", 'If-None-Match: "x"').status == 200


REFUSED = {
    "none": (404, "no such file"),
    "": (404, "the name is empty"),
    "boot%20x": (403, "is a directory"),
    "boot%20x/": (403, "is a directory"),
    "fifo": (403, "is no regular file"),
    "out": (403, "the name leads out of the root"),
    "../x": (403, "the name leads out of the root"),
    "%2e%2e%2fx": (403, "the name leads out of the root"),
    "..%5cx": (403, "the name leads out of the root"),
    "a%00b": (403, "the name holds control characters"),
    "x" * 2000: (404, "the name is longer than 1024 characters"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_be_had_is_refused_and_the_connection_goes_on(lab: Lab, name: str) -> None:
    peer = lab.peer()
    answer = peer.get(name)
    status, why = REFUSED[name]
    assert (answer.status, answer.body) == (status, why.encode() + b"\n")
    assert [(event.reason, event.missing) for event in lab.refused()] == [(why, status == 404)]
    assert peer.get("1000").status == 200


def test_a_remote_file_that_can_not_be_had(lab: Lab) -> None:
    def fail(request: FileRequest) -> OpenedFile:
        error = Unavailable("http://mirror/x: connection refused")
        error.served = "http://mirror/x"
        raise error

    lab.opener = fail
    answer = lab.peer().get("x")
    assert (answer.status, answer.body) == (503, b"http://mirror/x: connection refused\n")
    assert [(event.missing, event.unavailable) for event in lab.refused()] == [(False, True)]
    assert lab.refused()[0].served == "http://mirror/x"


def test_a_malformed_request_is_answered_and_ends_the_connection(lab: Lab) -> None:
    peer = lab.peer()
    peer.send(b"\x16\x03\x01 hello\r\n\r\n" + b"x" * 5000)
    assert peer.answer().status == 400
    assert [event.peer for event in lab.events if isinstance(event, Malformed)] == ["127.0.0.1"]
    peer.send(b"still talking")
    peer.sock.shutdown(socket.SHUT_WR)
    lab.turn()
    peer.take()
    assert peer.over
    assert not peer.cut
    assert not lab.server.sessions


@given(st.lists(st.binary(max_size=40) | st.sampled_from(WORDS), max_size=8))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_comes_others_are_served(
    lab: Lab, caplog: pytest.LogCaptureFixture, arriving: list[bytes]
) -> None:
    peer = lab.peer()
    for data in arriving:
        with contextlib.suppress(ConnectionError):
            peer.send(data)
    peer.sock.close()
    assert lab.peer().get("1000").status == 200
    assert not caplog.records


def test_a_thousand_requests_at_a_stretch_are_answered_in_order(lab: Lab) -> None:
    peer = lab.peer()
    one = b"GET /1000 HTTP/1.1\r\nHost: x\r\n\r\n"
    peer.send(one * 500 + one.replace(b"/1000", b"/none") + one * 500)
    statuses = [peer.answer().status for _ in range(1001)]
    assert statuses == [200] * 500 + [404] + [200] * 500


# who is served


def test_only_those_who_have_an_address_from_us(root: Path) -> None:
    with running(root, replace(BASE, check_ip=True)) as lab:
        peer = lab.peer("127.0.0.7")
        assert peer.get("1000").status == 403
        known = lab.clients.note_client(Client(b"\x52\x54\x00\x12\x34\x56"))
        lab.clients.confirm_address(known, IPv4Address("127.0.0.7"))
        assert peer.get("1000").status == 200
        assert lab.peer("127.0.0.8").get("1000").status == 403


def test_filters_learn_who_asks(lab: Lab) -> None:
    known = lab.clients.note_client(Client(b"\x52\x54\x00\x12\x34\x56"))
    lab.clients.confirm_address(known, IPv4Address("127.0.0.7"))
    seen = []

    def note(request: FileRequest) -> OpenedFile:
        seen.append(request)
        return OpenedFile(TextBody(b"text"), "x.cfg")

    lab.opener = note
    answer = lab.peer("127.0.0.7").get("a%2Fb?mac=1")
    assert (answer.body, answer.fields["Content-Type"]) == (b"text", "text/plain; charset=utf-8")
    (asked,) = seen
    assert asked[:4] == ("/a/b", "127.0.0.7", "127.0.0.1", known)
    assert (asked.query, asked.about) == ("mac=1", {"host": "x"})


def test_the_whole_way_of_a_request_is_told(lab: Lab) -> None:
    ways: list[str] = []

    def note(request: FileRequest) -> OpenedFile:
        ways.append(request.about.get("via", ""))
        return OpenedFile(TextBody(b"made"), "made")

    lab.opener = note
    lab.peer().get("any", "Via: 1.1 first", "Via: 1.0 second, 1.1 third")
    assert ways == ["1.1 first, 1.0 second, 1.1 third"]


def test_one_address_has_so_many_connections_and_others_have_theirs(root: Path) -> None:
    with running(root, replace(BASE, connections=2)) as lab:
        peers = [lab.peer() for _ in range(3)]
        lab.turn()
        assert peers[2].answer().status == 503
        assert lab.peer("127.0.0.9").get("1000").status == 200
        assert [peer.get("1000").status for peer in peers[:2]] == [200, 200]
        peers[0].sock.close()
        lab.turn()
        lab.wait(session.LINGER_S + 1)
        assert lab.peer().get("1000").status == 200


def test_an_idle_connection_gives_way_to_a_new_one_of_its_address(root: Path) -> None:
    with running(root, replace(BASE, connections=3)) as lab:
        peers = [lab.peer() for _ in range(3)]
        assert [peer.get("1000").status for peer in peers] == [200] * 3
        lab.wait(server.MIN_IDLE_S + 1)
        assert peers[0].get("1000").status == 200
        assert lab.peer().get("1000").status == 200
        peers[1].take()
        assert peers[1].over
        assert peers[0].get("1000").status == 200


def test_a_connection_that_dribbles_a_request_is_idle(root: Path) -> None:
    with running(root, replace(BASE, connections=2)) as lab:
        slow = [lab.peer() for _ in range(2)]
        for _ in range(4):
            lab.wait(0.5)
            for peer in slow:
                peer.send(b"G")
        assert lab.peer().get("1000").status == 200


@pytest.mark.parametrize("busy", [False, True])
def test_when_all_connections_are_taken_who_has_most_gives_way(root: Path, busy: bool) -> None:
    with running(root) as lab:
        lab.server.max_connections = 6
        honest = lab.peer("127.0.0.8", buffer=4096)
        honest.ask(str(BIG))
        greedy = [lab.peer("127.0.0.9", buffer=4096) for _ in range(5)]
        for peer in greedy:
            if busy:
                peer.ask(str(BIG))
            lab.turn()
        for number in range(20, 30):
            assert lab.peer(f"127.0.0.{number}").get("1000").status == 200
        assert len(lab.server.sessions) <= 6
        assert honest.answer().body == (root / str(BIG)).read_bytes()


def test_the_oldest_connection_gives_way_where_that_is_wanted(root: Path) -> None:
    """The status address: a stream never ends by itself."""
    with running(root, replace(BASE, connections=3), ends_oldest=True) as lab:
        bodies = []

        def open_stream(request: FileRequest) -> OpenedFile:
            bodies.append(Trickle())
            return OpenedFile(bodies[-1], "stream")

        lab.opener = open_stream
        for _ in range(3):
            lab.peer().ask("x")
        lab.opener = None
        assert lab.peer().get("1000").status == 200
        assert [body.closed for body in bodies] == [True, False, False]


# time and back-pressure


def test_nothing_waits_for_the_acknowledgement_of_what_went_before(lab: Lab) -> None:
    """Nagle's algorithm is off on the connections that are taken."""
    lab.peer()
    lab.turn()
    (taken,) = lab.server.sessions
    assert taken._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_slow_reader_holds_up_nobody_and_gets_everything(lab: Lab) -> None:
    slow, wanted = lab.peer(buffer=4096), (lab.root / str(BIG)).read_bytes()
    slow.ask(str(BIG))
    for _ in range(3):
        assert lab.peer().get(str(BIG)).body == wanted
    turns = 0
    while len(slow.data) < 1_000_000:
        slow.take(100_000)
        lab.turn(1)
        turns += 1
    assert turns < 2000
    assert slow.answer().body == wanted


def test_all_get_their_share_of_every_turn(lab: Lab) -> None:
    peers = [lab.peer(buffer=8 << 20) for _ in range(3)]
    for peer in peers:
        peer.sock.sendall(f"GET /{BIG} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for _ in range(4):
        lab.turn(1)
        assert max(peer.take() for peer in peers) <= body_module.BURST_OCTETS + 1000
    assert all(peer.data for peer in peers)


def test_a_client_that_takes_nothing_is_left(lab: Lab) -> None:
    peer = lab.peer(buffer=65536)
    peer.ask(str(BIG))
    for _ in range(5):  # little: not what the socket would call for
        lab.wait(pace.STALL_TIMEOUT_S - 2)
        assert peer.take(100_000)
    assert not lab.ended()
    lab.wait(pace.STALL_TIMEOUT_S * 2 + 2)
    assert [event.outcome for event in lab.ended()] == [TransferOutcome.TIMEOUT]
    assert not lab.server.sessions


@pytest.mark.parametrize(("octets", "outcome"), [(60_000, "silent"), (70_000, "done")])
def test_a_client_that_takes_too_little_for_long_is_left(
    lab: Lab, octets: int, outcome: str
) -> None:
    """So many octets in each span: less than 64 KiB is as late as nothing."""
    peer = lab.peer(buffer=4096)
    peer.ask(str(BIG))
    steps = 30
    for _ in range(3 * steps):
        lab.wait(pace.PACE_SPAN_S / steps)
        taken = 0
        while taken < octets // steps:
            taken += peer.take(octets // steps - taken)
            lab.turn(1)
            if peer.over:
                break
        if lab.ended():
            break
    if outcome == "done":
        assert not lab.ended()
        assert len(peer.data) > 2 * octets
        while len(peer.data) < BIG:
            peer.take()
            lab.turn(1)
        lab.turn()
    assert [event.outcome.value for event in lab.ended()] == [outcome]


def test_a_request_that_dribbles_in_is_cut_off(lab: Lab) -> None:
    peer = lab.peer()
    for octet in b"GET /1000 HTTP/1.1\r\nHost: x":
        peer.send(bytes([octet]))
        lab.wait(1)
        if not lab.server.sessions:
            break
    peer.take()
    assert peer.over
    assert lab.now <= 1000 + session.REQUEST_TIMEOUT_S + 3


def test_an_idle_connection_is_ended_and_nothing_wakes_the_loop_after_it(lab: Lab) -> None:
    peer = lab.peer()
    peer.get("1000")
    lab.wait(session.IDLE_TIMEOUT_S - 2)
    assert lab.server.sessions
    lab.wait(4)
    peer.take()
    assert peer.over
    lab.wait(2)
    assert lab.loop._patience(None) is None


def test_after_an_error_the_client_has_a_moment_to_read_it(lab: Lab) -> None:
    peer = lab.peer()
    peer.ask("x", "Content-Length: 9", method="PUT")
    lab.wait(session.LINGER_S + 2)
    assert not lab.server.sessions
    assert peer.answer().status == 405


# files that change, clients that leave


@pytest.mark.parametrize("change", ["cut", "grown", "rewritten"])
def test_a_file_that_changes_is_never_sent_to_its_end(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(BIG))
    with running(tmp_path) as lab:
        peer = lab.peer(buffer=4096)
        peer.ask("file")
        assert peer.take(1000)
        if change == "cut":
            os.truncate(path, 1_000_000)
        else:
            with path.open("ab" if change == "grown" else "r+b") as file:
                file.write(b"x")
        while not peer.over:
            peer.take()
            lab.turn(1)
        assert peer.cut
        assert len(peer.data) < BIG
        assert [event.outcome for event in lab.ended()] == [TransferOutcome.FAILED]
        assert lab.ended()[0].reason


def test_a_file_that_is_replaced_goes_on_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(BIG))
    with running(tmp_path) as lab:
        peer = lab.peer(buffer=4096)
        peer.ask("file")
        (tmp_path / "new").write_bytes(b"x" * BIG)
        (tmp_path / "new").rename(tmp_path / "file")
        assert peer.answer().body == bytes(BIG)
        assert peer.get("file").body == b"x" * BIG


def test_a_client_that_leaves_in_the_middle(lab: Lab) -> None:
    peer = lab.peer(buffer=4096)
    peer.ask(str(BIG))
    peer.take(1000)
    peer.sock.close()
    lab.turn(5)
    assert [event.outcome for event in lab.ended()] == [TransferOutcome.ABORTED]
    assert not lab.server.sessions


def test_a_file_system_without_sendfile(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(LocalFile, "immutable", True)  # what others may change is copied anyway
    monkeypatch.setattr("os.sendfile", refuse)
    assert lab.peer().get(str(BIG)).body == (lab.root / str(BIG)).read_bytes()


def test_the_end_of_the_daemon_cuts_what_is_under_way(lab: Lab) -> None:
    busy, idle = lab.peer(buffer=4096), lab.peer()
    busy.ask(str(BIG))
    lab.server.close()
    for peer in (busy, idle):
        peer.take()
        peer.take()
    assert (busy.cut, idle.cut, idle.over) == (True, False, True)
    assert [event.outcome for event in lab.ended()] == [TransferOutcome.STOPPED]


# sources that need time


def stream(lab: Lab, size: int | None = None) -> Trickle:
    body = Trickle(size)
    lab.opener = lambda request: OpenedFile(body, "http://mirror/x")
    return body


@pytest.mark.parametrize("size", [None, 200_000])
def test_a_stream_arrives_as_it_comes(lab: Lab, size: int | None) -> None:
    body, peer, data = stream(lab, size), lab.peer(), random.Random(2).randbytes(200_000)
    peer.ask("x")
    body.give(lab, data[:150_000])
    peer.take()
    assert len(peer.data) > 120_000
    lab.wait(pace.STALL_TIMEOUT_S * 2)  # a source may be slow, its own limits apart
    body.give(lab, data[150_000:], end=True)
    answer = peer.answer()
    assert answer.body == data
    assert ("Content-Length" in answer.fields) == (size is not None)
    assert body.closed
    assert [(event.outcome, event.sent) for event in lab.ended()] == [
        (TransferOutcome.DONE, 200_000)
    ]
    lab.opener = None
    assert peer.get("1000").status == 200


def test_a_stream_for_a_client_of_http_1_0_ends_with_the_connection(lab: Lab) -> None:
    body, peer = stream(lab), lab.peer()
    peer.send(b"GET /x HTTP/1.0\r\n\r\n")
    body.give(lab, b"x" * 1000, end=True)
    assert peer.answer().body == b"x" * 1000
    assert not peer.cut


@pytest.mark.parametrize(
    ("size", "given", "error"),
    [
        (None, 100_000, Unavailable("broken off")),
        (100_001, 100_000, None),
        (99_999, 100_000, None),
    ],
    ids=["broken", "short", "long"],
)
def test_a_stream_that_breaks_off_is_seen_as_broken(
    lab: Lab, size: int | None, given: int, error: Exception | None
) -> None:
    body, peer = stream(lab, size), lab.peer()
    peer.ask("x")
    body.give(lab, b"x" * given, end=error is None)
    if error is not None:
        body.give(lab, error=error)
    lab.turn()
    while peer.take():
        pass
    assert peer.cut
    assert body.closed
    assert [event.outcome for event in lab.ended()] == [TransferOutcome.FAILED]


def test_a_stream_whose_client_left(lab: Lab) -> None:
    body, peer = stream(lab), lab.peer()
    peer.ask("x")
    peer.sock.close()
    for _ in range(3):
        body.give(lab, b"x" * 100_000)
    assert [event.outcome for event in lab.ended()] == [TransferOutcome.ABORTED]
    assert body.closed


def test_a_client_that_leaves_while_the_source_is_silent(lab: Lab) -> None:
    body, peer = stream(lab), lab.peer()
    peer.ask("x")
    body.give(lab, b"x" * 100_000)
    peer.send(b"GET ")  # it may ask on
    assert not lab.ended()
    staying = lab.peer()
    staying.ask("x")
    staying.take()
    staying.sock.close()
    lab.turn()
    assert [event.outcome for event in lab.ended()] == [TransferOutcome.ABORTED]
    assert body.closed


def settle(lab: Lab, what: Callable[[], object]) -> None:
    """Turn until a worker's result is in."""
    for _ in range(500):
        if what():
            return
        lab.loop.turn(0.01)
    raise AssertionError("it did not happen")


def test_a_source_that_has_to_wait_holds_up_nobody(lab: Lab) -> None:
    free = threading.Event()

    def slow() -> OpenedFile:
        assert free.wait(10)
        return OpenedFile(TextBody(b"late"), "x")

    lab.opener = lambda request: Later(slow)
    waiting, gone = lab.peer(), lab.peer()
    waiting.ask("x")
    gone.ask("x")
    gone.sock.close()
    lab.opener = None
    assert lab.peer().get("1000").status == 200
    lab.wait(pace.STALL_TIMEOUT_S * 2)
    free.set()
    settle(lab, lambda: len(lab.ended()) == 3)
    assert waiting.answer().body == b"late"


def test_a_source_that_waits_and_refuses(lab: Lab) -> None:
    def slow() -> OpenedFile:
        raise Missing("no such file")

    lab.opener = lambda request: Later(slow)
    peer = lab.peer()
    peer.ask("x")
    settle(lab, lab.refused)
    assert peer.answer().status == 404
    lab.opener = None
    assert peer.get("1000").status == 200


def test_a_fault_of_ours_ends_one_connection(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    def fault(request: FileRequest) -> OpenedFile:
        raise ZeroDivisionError

    lab.opener = fault
    peer = lab.peer()
    peer.ask("x")
    peer.take()
    assert peer.over
    assert "ZeroDivisionError" in caplog.text
    lab.opener = None
    assert lab.peer().get("1000").status == 200


# the port


def test_a_port_that_is_taken_is_told(lab: Lab) -> None:
    other = HttpServer(
        replace(BASE, port=lab.server.port),
        Loop(),
        EventBus(),
        ClientTable(),
        Files(LocalSource(lab.root)),
    )
    with pytest.raises(BindError, match=r"http: tcp port \d+ on 127.0.0.1 is taken"):
        other.open()


def test_without_descriptors_it_waits_and_goes_on(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    class Exhausted:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock

        def accept(self) -> tuple[socket.socket, tuple[str, int]]:
            raise OSError(24, "Too many open files")

        def fileno(self) -> int:
            return self.sock.fileno()

    peer, real = lab.peer(), lab.server._sock
    assert real is not None
    lab.server._sock = Exhausted(real)  # type: ignore[assignment]
    lab.turn(20)
    assert caplog.text.count("Too many open files") == 1
    lab.server._sock = real
    lab.wait(1)
    assert peer.get("1000").status == 200
