"""What a client sees of the server, on real sockets, and what others must not do to it."""

import os
import random
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pybootd.core import client as machine
from pybootd.core.client_table import ClientTable
from pybootd.core.events import (
    EndCause,
    Malformed,
    TransferOutcome,
    TransferRefused,
    TransferStarted,
)
from pybootd.core.workers import Later
from pybootd.files.source import FileRequest, Missing, OpenedFile, Unavailable
from pybootd.system.sockets import BindError
from pybootd.tftp import read_server
from pybootd.tftp.blocks import StreamBlocks
from pybootd.tftp.server import TftpServer
from pybootd.tftp.wire.packet import Ack, Data, Error, Oack, Packet, Rrq, Wrq, encode

from .lab import Client, Lab, RefusedError, Trickle, running

SIZES = (0, 1, 511, 512, 513, 1024, 70_000, 1_000_000)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("root")
    rng = random.Random(1)
    for size in SIZES:
        (made / str(size)).write_bytes(rng.randbytes(size))
    (made / "text").write_bytes(b"x" * 511 + b"\nline\r\n")
    (made / "sub").mkdir()
    os.mkfifo(made / "fifo")
    (made / "out").symlink_to("/etc/passwd")
    with (made / "huge").open("wb") as file:
        file.truncate(5_000_000_000)
    return made


@pytest.fixture(params=[True, False], ids=["offload", "packet by packet"])
def lab(root: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with running(root, offload=request.param) as made:
        yield made


@pytest.fixture
def plain(root: Path) -> Iterator[Lab]:
    with running(root) as made:
        yield made


# files arrive


OPTIONS: tuple[dict[str, str], ...] = (
    {},
    {"blksize": "8"},
    {"blksize": "1468", "tsize": "0"},
    {"blksize": "65464"},
    {"windowsize": "2"},
    {"blksize": "1428", "windowsize": "16"},
    {"blksize": "1000", "windowsize": "64"},
    {"blksize": "65464", "windowsize": "4"},
)


@pytest.mark.parametrize(
    ("size", "options"),
    [(s, o) for s in SIZES for o in OPTIONS if s < 1_000_000 or o.get("blksize") != "8"],
    ids=str,
)
def test_a_file_arrives_whole(lab: Lab, root: Path, size: int, options: dict[str, str]) -> None:
    assert lab.client().fetch(str(size), **options) == (root / str(size)).read_bytes()
    ended = lab.ended()[0]
    assert (ended.outcome, ended.sent, ended.retransmissions) == (TransferOutcome.DONE, size, 0)
    assert lab.sockets() <= 2  # its port is kept for the next one
    lab.wait(4.0, 0.1)
    assert lab.sockets() == 0


def test_netascii_and_its_cr_at_a_blocks_edge(plain: Lab) -> None:
    client = plain.client()
    client.ask("text", "netascii", tsize="0", blksize="512")
    packet = client.receive()
    # RFC 2349: the size of the transfer, which is unknown before the translation
    assert packet == Oack((("blksize", "512"),))
    client.send(Ack(0))
    assert client.receive() == Data(1, b"x" * 511 + b"\r")
    client.send(Ack(1))
    assert client.receive() == Data(2, b"\nline\r\0\r\n")


@pytest.mark.parametrize("mode", ["OCTET", "NetAscii"])
def test_a_mode_has_no_letter_case(plain: Lab, mode: str) -> None:
    client = plain.client()
    client.send(b"\0\x011\0" + mode.encode() + b"\0", plain.address)
    assert isinstance(client.receive(), Data)


def test_the_answer_comes_from_its_own_port_and_the_address_that_was_asked(
    plain: Lab,
) -> None:
    """RFC 1350 4."""
    ports = set()
    for address in ("127.0.0.1", "127.0.0.2"):
        client = plain.client()
        client.ask("512", to=(address, plain.server.port))
        client.receive()
        assert client.tid[0] == address
        ports.add(client.tid[1])
    assert len(ports | {plain.server.port}) == 3


# options


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"blksize": "1024", "tsize": "0"}, Oack((("blksize", "1024"), ("tsize", "70000")))),
        ({"timeout": "7"}, Oack((("timeout", "7"),))),
        ({"blksize": "65464"}, Oack((("blksize", "65464"),))),  # loopback's MTU is 65536
        ({"windowsize": "900"}, Oack((("windowsize", "64"),))),
        ({"blksize": "7"}, Data),
        ({"unknown": "7"}, Data),
        ({"tsize": "enable"}, Data),
        ({"windowsize": "0", "timeout": "3"}, Oack((("timeout", "3"),))),
    ],
    ids=str,
)
def test_options(plain: Lab, asked: dict[str, str], answer: object) -> None:
    client = plain.client()
    client.ask("70000", **asked)
    packet = client.receive()
    if isinstance(answer, type):
        assert isinstance(packet, answer)
    else:
        assert packet == answer


def test_tsize_beyond_4_gib(plain: Lab) -> None:
    client = plain.client()
    client.ask("huge", tsize="0")
    assert client.receive() == Oack((("tsize", "5000000000"),))


def test_the_limits_of_the_configuration(root: Path) -> None:
    with running(root, blocksize=1000, windowsize=4) as lab:
        client = lab.client()
        client.ask("70000", blksize="1468", windowsize="16")
        assert client.receive() == Oack((("blksize", "1000"), ("windowsize", "4")))
        assert len(client.ack(0)) == 4


def test_a_size_probe_is_no_fault(plain: Lab) -> None:
    client = plain.client()
    client.ask("70000", tsize="0", blksize="1468", windowsize="4")
    client.receive()
    client.send(Error(8, "User aborted the transfer"))
    assert client.waiting() == []
    assert [event.outcome for event in plain.ended()] == [TransferOutcome.PROBED]
    # OVMF then asks again, from the same port
    assert len(client.fetch("70000", blksize="1468", windowsize="4")) == 70_000


# windows, duplicates and losses


def test_a_window_leaves_at_a_stretch_and_restarts_behind_a_gap(lab: Lab) -> None:
    """RFC 7440 4."""
    client = lab.client()
    client.ask("70000", windowsize="8")
    client.receive()
    assert numbers(client.ack(0)) == list(range(1, 9))
    assert numbers(client.ack(3)) == list(range(4, 12))
    assert numbers(client.ack(3)) == []
    assert numbers(client.ack(11)) == list(range(12, 20))
    assert numbers(client.ack(5)) == []


@pytest.mark.parametrize("options", [{}, {"windowsize": "4"}, {"timeout": "60"}], ids=str)
def test_acks_that_come_at_the_same_time_are_all_read(lab: Lab, options: dict[str, str]) -> None:
    client = lab.client()
    client.ask("70000", blksize="1000", **options)
    client.receive()
    client.ack(0)
    window = int(options.get("windowsize", 1))
    for number in (0, window, 0, window - 1, window, 0):  # old ones, the new one, double ones
        client.sock.sendto(encode(Ack(number)), client.tid)
    lab.turn()
    assert numbers(client.waiting()) == list(range(window + 1, 2 * window + 1))
    # the next one is read although others were left, and so is what stands behind it, in time
    client.sock.sendto(encode(Ack(2 * window)), client.tid)
    client.sock.sendto(encode(Error(0, "enough")), client.tid)
    lab.turn()
    assert numbers(client.waiting()) == list(range(2 * window + 1, 3 * window + 1))
    lab.wait(0.2)
    assert [event.reason for event in lab.ended()] == ["enough"]


def numbers(packets: list[Packet]) -> list[int]:
    return [packet.block for packet in packets if isinstance(packet, Data)]


def test_no_sorcerers_apprentice(plain: Lab) -> None:
    """RFC 1123 4.2.3.1."""
    client = plain.client()
    client.ask("70000")
    client.receive()
    for block in range(1, 20):
        assert numbers(client.ack(block)) == [block + 1]
        assert client.ack(block) == []
        assert client.ack(block - 1) == []


def test_a_lost_block_comes_again_and_then_only_what_follows(plain: Lab) -> None:
    client = plain.client()
    client.ask("1024")
    client.receive()
    assert numbers(client.ack(1)) == [2]
    plain.wait(0.25)
    assert numbers(client.waiting()) == [2, 2]
    assert numbers(client.ack(2)) == [3]
    client.ack(3)
    assert plain.ended()[0].retransmissions == 2


def test_the_clients_timeout_is_kept(plain: Lab) -> None:
    """RFC 2349."""
    client = plain.client()
    client.ask("1024", timeout="3")
    client.receive()
    assert numbers(client.ack(0)) == [1]
    plain.wait(2.9)
    assert client.waiting() == []
    plain.wait(0.3)
    assert numbers(client.waiting()) == [1]


def known_at(lab: Lab, address: str, mac: str) -> None:
    """Have the DHCP server know this machine at the address."""
    known = lab.clients.note_client(machine.Client(bytes.fromhex(mac.replace(":", ""))))
    lab.clients.confirm_address(known, IPv4Address(address))


@pytest.mark.parametrize("options", [{}, {"blksize": "1024"}, {"windowsize": "4"}], ids=str)
def test_a_raspberry_pi_is_sent_nothing_early(plain: Lab, options: dict[str, str]) -> None:
    """Its firmware can end the boot over a block that comes twice."""
    known_at(plain, "127.0.0.1", "b8:27:eb:00:00:01")
    client = plain.client()
    client.ask("70000", **options)
    client.receive()
    window = int(options.get("windowsize", 1))
    for block in range(0 if options else 1, 5 * window, window):
        client.ack(block)
    client.waiting()
    plain.wait(0.9)
    assert client.waiting() == []
    plain.wait(0.2)
    assert numbers(client.waiting())


@pytest.mark.parametrize("pause", [7.0, 15.0])
@pytest.mark.parametrize("options", [{}, {"blksize": "1024", "windowsize": "8"}], ids=str)
def test_a_client_that_writes_its_flash_meanwhile_gets_its_file(
    lab: Lab, root: Path, pause: float, options: dict[str, str]
) -> None:
    client = lab.client()
    client.ask("70000", **options)
    client.receive()
    size, window = int(options.get("blksize", 512)), int(options.get("windowsize", 1))
    client.ack(0 if options else 1)
    client.waiting()
    lab.wait(pause, 0.05)
    client.waiting()  # what came meanwhile is not looked at
    block, content = window if options else 2, (root / "70000").read_bytes()
    (packet,) = client.ack(block)[:1]
    assert packet == Data(block + 1, content[block * size : (block + 1) * size])
    assert not lab.ended()


def test_a_silent_client_costs_little_and_goes_away(lab: Lab) -> None:
    silent, mute, other = lab.client(), lab.client(), lab.client()
    silent.ask("1000000", windowsize="64", blksize="1428")
    silent.receive()
    assert len(silent.ack(0)) == 64
    mute.ask("70000")
    assert len(other.fetch("70000")) == 70_000
    lab.wait(33.0)
    assert len(silent.waiting()) < 140
    assert len(mute.waiting()) == 3  # its address may be forged: no more is sent there
    outcomes = {event.peer: event.outcome for event in lab.ended()[1:]}
    assert outcomes == {"127.0.0.1": TransferOutcome.TIMEOUT}
    assert lab.sockets() == 0


def test_a_client_that_has_all_but_said_so(lab: Lab) -> None:
    """RFC 1350 6: the file may be whole nevertheless."""
    one, other, early = lab.client(), lab.client(), lab.client()
    one.ask("1024")
    one.receive()
    one.ack(1)
    assert numbers(one.ack(2)) == [3]
    other.ask("70000", windowsize="8")
    other.receive()
    for block in range(0, 137, 8):
        other.ack(block)
    early.ask("1024")
    early.receive()
    early.ack(1)
    lab.wait(60.0)
    said = [(event.requested, event.sent, event.cause.value) for event in lab.ended()]
    missing = EndCause.LAST_ACK_MISSING.value
    assert sorted(said) == [("1024", 512, ""), ("1024", 1024, missing), ("70000", 69632, missing)]


def test_a_client_whose_port_is_closed_is_not_waited_for(plain: Lab) -> None:
    client = plain.client()
    client.ask("70000")
    client.sock.close()
    plain.turn()
    plain.wait(1.1, 0.1)
    assert [event.outcome for event in plain.ended()] == [TransferOutcome.ABORTED]


def test_a_last_ack_that_got_lost_is_no_failure(plain: Lab) -> None:
    client = plain.client()
    client.ask("1")
    client.receive()
    client.sock.close()
    plain.wait(1.2, 0.1)
    assert [event.outcome for event in plain.ended()] == [TransferOutcome.DONE]


def test_a_client_that_gives_up_says_why(plain: Lab) -> None:
    client = plain.client()
    client.ask("70000")
    client.receive()
    client.send(Error(3, "disk full"))
    assert client.waiting() == []
    ended = plain.ended()[0]
    assert (ended.outcome, ended.reason) == (TransferOutcome.ABORTED, "disk full")


# who asks twice, again, or for somebody else


def test_a_request_that_comes_twice_is_one_transfer(plain: Lab) -> None:
    client = plain.client()
    for _ in range(3):
        client.ask("70000")
    assert numbers(client.waiting()) == [1]
    assert len([event for event in plain.events if isinstance(event, TransferStarted)]) == 1


@pytest.mark.parametrize("name", ["1024", "70000"])
def test_a_client_that_starts_again_from_the_same_port_gets_its_new_file(
    plain: Lab, root: Path, name: str
) -> None:
    client = plain.client()
    client.ask("70000")
    client.receive()
    client.ack(1)
    assert client.fetch(name) == (root / name).read_bytes()
    assert [event.outcome for event in plain.ended()] == [
        TransferOutcome.ABORTED,
        TransferOutcome.DONE,
    ]


@pytest.mark.parametrize("packet", [Ack(1), Data(1, b"x"), Rrq("1"), b"\xff\xff"], ids=str)
def test_a_stranger_gets_error_5_and_disturbs_nothing(plain: Lab, packet: Packet | bytes) -> None:
    """RFC 1350 4."""
    client, stranger = plain.client(), plain.client()
    client.ask("1024")
    client.receive()
    stranger.send(packet, client.tid)
    error = stranger.receive()
    assert isinstance(error, Error)
    assert error.code == 5
    assert stranger.tid == client.tid
    assert client.waiting() == []
    assert numbers(client.ack(1)) == [2]


def test_nothing_answers_an_error(plain: Lab) -> None:
    """RFC 1350 7: also not a stranger's, a broken one's, or one sent to the listening port."""
    client, stranger = plain.client(), plain.client()
    client.ask("1024")
    client.receive()
    for data in (Error(0, "x"), b"\0\5", b"\0\5\0"):
        stranger.send(data, client.tid)
        stranger.send(data, plain.address)
    assert stranger.waiting() == []
    assert numbers(client.ack(1)) == [2]


def test_late_datagrams_of_a_client_are_not_a_strangers(plain: Lab) -> None:
    client = plain.client()
    client.fetch("1024")
    assert client.ack(3) == []


def test_what_is_no_ack_disturbs_nothing(plain: Lab) -> None:
    client = plain.client()
    client.ask("1024")
    client.receive()
    for data in (b"", b"\0", b"\0\4", b"\0\4\0", b"\xff" * 600, b"\1\4\0\1", b"\0\3\0\1", b"\0\6"):
        client.send(data)
        assert client.waiting() == []
    assert numbers(client.ack(1)) == [2]


@pytest.mark.parametrize("address", ["127.255.255.255", "255.255.255.255"])
def test_a_request_sent_to_a_broadcast_address_is_ignored(plain: Lab, address: str) -> None:
    """RFC 1123 4.2.3.4."""
    client = plain.client()
    if address == "255.255.255.255":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
    client.ask("1024", to=(address, plain.server.port))
    assert client.waiting() == []
    assert not plain.events


# refusals


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nothing", 1),
        ("sub/nothing", 1),
        ("sub", 2),
        ("fifo", 2),
        ("../root/1024", 2),
        ("/etc/passwd", 1),
        ("..\\..\\etc\\passwd", 2),
        ("out", 2),
        ("", None),
        ("n" * 900, None),
    ],
)
def test_a_name_that_is_not_served(plain: Lab, name: str, code: int | None) -> None:
    client = plain.client()
    with pytest.raises(RefusedError) as refused:
        client.fetch(name)
    assert code is None or refused.value.error.code == code
    (event,) = plain.events
    assert isinstance(event, TransferRefused)
    assert event.missing == (refused.value.error.code == 1)
    assert plain.sockets() == 0


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (Wrq("1024"), 2),
        (Rrq("1024", "mail"), 4),
        (Rrq("1024", "x" * 300), 4),
        (b"\0\1name", 4),
        (b"\0\x011024\0octet", 4),
        (b"\0\7name\0octet\0", 4),
        (b"", 4),
        (b"\0\1" + b"x" * 3000 + b"\0octet\0", 4),
        (Ack(1), 4),
    ],
    ids=lambda v: str(v)[:30],
)
def test_a_request_that_is_refused(plain: Lab, packet: Packet | bytes, code: int) -> None:
    client = plain.client()
    client.send(packet, plain.address)
    error = client.receive()
    assert isinstance(error, Error)
    assert error.code == code
    assert client.tid == plain.address
    assert plain.sockets() == 0


def test_a_file_that_changes_under_way_ends_in_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1_000_000)
    with running(tmp_path) as lab:
        client, late = lab.client(), lab.client()
        client.ask("file", blksize="1024", windowsize="16")
        client.receive()
        client.ack(0)
        path.write_bytes(b"b" * 900_000)
        assert late.fetch("file", blksize="1024") == b"b" * 900_000
        block, packets = 16, client.waiting()
        while not packets or isinstance(packets[-1], Data):
            packets = client.ack(block)
            assert all(set(p.payload) == {97} for p in packets if isinstance(p, Data))
            block += 16
        assert isinstance(packets[-1], Error)
        assert "changed" in packets[-1].message
        assert [event.outcome for event in lab.ended()] == [
            TransferOutcome.DONE,
            TransferOutcome.FAILED,
        ]


def test_a_file_that_is_replaced_under_way_is_sent_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1_000_000)
    with running(tmp_path) as lab:
        client = lab.client()
        client.ask("file", blksize="1024")
        (tmp_path / "new").write_bytes(b"b" * 1_000_000)
        (tmp_path / "new").rename(path)
        assert client.go_on() == b"a" * 1_000_000
        assert lab.client().fetch("file", blksize="1024") == b"b" * 1_000_000


# many, and hostile


def test_a_burst_of_requests_is_served_whole_and_leaves_no_socket(plain: Lab) -> None:
    clients = [plain.client() for _ in range(500)]
    for client in clients:  # the server takes none before all have come
        client.sock.sendto(b"\0\x011024\0octet\0", plain.address)
    plain.turn(40)
    assert all(numbers(client.waiting()) == [1] for client in clients)
    assert len(plain.client().fetch("70000")) == 70_000
    plain.wait(9.0, 0.1)
    assert plain.sockets() == 0


def test_a_port_that_asks_again_and_again_is_served(
    plain: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_server, "MAX_UNANSWERED", 3)
    client = plain.client()
    for _ in range(12):
        assert len(client.fetch("1024", blksize="512")) == 1024
    assert {event.outcome for event in plain.ended()} == {TransferOutcome.DONE}


def test_requests_without_an_answer_keep_no_client_out(
    plain: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest give way, and not a client that answers."""
    monkeypatch.setattr(read_server, "MAX_UNANSWERED", 10)
    answers = plain.client()
    answers.ask("70000")
    answers.receive()
    answers.ack(1)
    for _ in range(50):
        plain.client().ask("1024")
    assert plain.sockets() < 30
    assert len(plain.client().fetch("70000")) == 70_000
    assert answers.ack(2) != []
    assert {event.outcome for event in plain.ended()[:40]} == {TransferOutcome.TIMEOUT}


def test_a_client_that_asks_again_is_answered_again(plain: Lab) -> None:
    """What was sent unasked has ended, what is asked for has not."""
    client = plain.client()
    asked = b"\0\x011024\0octet\0"
    client.sock.sendto(asked, plain.address)
    plain.wait(3.5, 0.1)
    assert len(client.waiting()) == 3
    client.sock.sendto(asked, plain.address)
    plain.turn()
    assert numbers(client.waiting()) == [1]


def test_garbage_leaves_no_socket_behind(plain: Lab) -> None:
    rng = random.Random(7)
    client = plain.client()
    good = b"\0\x011024\0octet\0blksize\x001024\0windowsize\x004\0tsize\x000\0"
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        client.sock.sendto(data[: rng.randrange(len(data) + 1)], plain.address)
        plain.turn(1)
        if rng.random() < 0.3 and client.receive() is not None:
            client.sock.sendto(rng.randbytes(rng.randrange(8)), client.tid)
    client.waiting()
    assert any(isinstance(event, Malformed) for event in plain.events)
    assert len(plain.client().fetch("1024")) == 1024
    plain.wait(9.0, 0.1)
    assert plain.sockets() == 0


def test_few_ports_are_shared_by_many_clients(root: Path) -> None:
    """Behind a firewall that opens two ports."""
    free = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(1)]
    free[0].bind(("", 0))
    first = free[0].getsockname()[1]
    free[0].close()
    with running(root, port_range=(first, first)) as lab:
        clients = [lab.client() for _ in range(20)]
        for client in clients:
            client.ask("70000", blksize="1024")
        for client in clients:
            assert client.go_on() == (root / "70000").read_bytes()
            assert client.tid[1] == first
        assert lab.client().fetch("1024")
        lab.wait(3.0, 0.1)
        assert lab.sockets() == 0


def test_stopping_tells_the_clients_and_leaves_nothing(root: Path) -> None:
    with running(root) as lab:
        client = lab.client()
        client.ask("70000", windowsize="4")
        client.receive()
        client.ack(0)
        lab.server.close()
        error = client.receive()
        assert isinstance(error, Error)
        assert [event.outcome for event in lab.ended()] == [TransferOutcome.STOPPED]
        assert lab.sockets() == -1  # the listening one is gone as well


def test_a_port_that_is_taken_is_one_clear_line(plain: Lab) -> None:
    taken = plain.server.port
    config = plain.server.config
    other = TftpServer(
        type(config)(address=IPv4Address("127.0.0.1"), port=taken),
        plain.loop,
        plain.bus,
        ClientTable(),
        plain,
    )
    with pytest.raises(BindError, match=f"tftp: udp port {taken} .* is taken"):
        other.open()


# sources that answer later, and streams


class Waiting:
    """A source that opens when the test lets it."""

    def __init__(self, lab: Lab, found: OpenedFile | Exception) -> None:
        self.lab = lab
        self.found = found
        lab.opener = self.open

    def open(self, request: FileRequest) -> OpenedFile | Later[OpenedFile]:
        return Later(self._open)

    def _open(self) -> OpenedFile:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def until(lab: Lab, client: Client) -> Packet:
    for _ in range(1000):
        lab.loop.turn(0.01)
        if (packet := client.receive()) is not None:
            return packet
    raise TimeoutError


@pytest.mark.parametrize(
    ("error", "code"), [(Missing("no such file"), 1), (Unavailable("origin is down"), 0)]
)
def test_a_refusal_that_comes_later(plain: Lab, error: Exception, code: int) -> None:
    Waiting(plain, error)
    client = plain.client()
    client.ask("remote")
    packet = until(plain, client)
    assert packet == Error(code, str(error))


def test_a_stream_of_unknown_size(lab: Lab) -> None:
    body = Trickle()
    Waiting(lab, OpenedFile(body, "remote"))
    client = lab.client()
    client.ask("remote", tsize="0", blksize="1000", windowsize="4")
    assert until(lab, client) == Oack((("blksize", "1000"), ("windowsize", "4")))
    assert client.ack(0) == []
    body.give(lab, b"a" * 2500)
    assert numbers(client.waiting()) == [1, 2]
    lab.wait(30.0, 0.5)  # the origin stalls
    assert client.waiting() == []
    body.give(lab, b"b" * 2500)
    assert numbers(client.waiting()) == [3, 4]
    assert numbers(client.ack(4)) == [5]
    body.give(lab, b"c" * 10, end=True)
    assert numbers(client.waiting()) == [6]
    assert lab.ended() == []
    client.ack(6)
    assert (lab.ended()[0].outcome, lab.ended()[0].sent) == (TransferOutcome.DONE, 5010)
    assert body.closed


def test_a_stream_that_breaks_ends_in_an_error(plain: Lab) -> None:
    body = Trickle(size=5000)
    Waiting(plain, OpenedFile(body, "remote"))
    client = plain.client()
    client.ask("remote", tsize="0")
    assert until(plain, client) == Oack((("tsize", "5000"),))
    client.ack(0)
    body.broken = Unavailable("origin is silent")
    body.give(plain)
    assert client.receive() == Error(0, "origin is silent")
    assert plain.ended()[0].reason == "origin is silent"


@pytest.mark.parametrize("window", [1, 7])
def test_a_stream_arrives_whole_and_is_not_piled_up(lab: Lab, window: int) -> None:
    body = Trickle()
    content = random.Random(3).randbytes(300_000)
    body.data += content
    body.ended = True
    lab.opener = lambda request: OpenedFile(body, "remote")
    client = lab.client()
    client.ask("remote", windowsize=str(window), blksize="1000")
    (session,) = lab.server.read_server.sessions
    held = session.blocks
    assert isinstance(held, StreamBlocks)
    assert client.go_on() == content
    assert held.held <= window


def test_a_client_that_asks_for_another_file_meanwhile(plain: Lab) -> None:
    body = Trickle()
    source = Waiting(plain, OpenedFile(body, "remote"))
    client = plain.client()
    plain.opener = source.open
    plain.loop.run_in_worker = lambda later, done: jobs.append((later, done))  # type: ignore[assignment]
    jobs: list[object] = []
    client.ask("remote")
    client.ask("remote")
    assert len(jobs) == 1
    plain.opener = None
    assert len(client.fetch("1024")) == 1024
    from pybootd.core.loop import TaskResult as Result

    jobs[0][1](Result(source.found), plain.now)  # type: ignore[index]
    assert body.closed
    assert client.waiting() == []


# found by fuzzing


def test_an_oack_is_one_datagram_where_blocks_are_shorter(lab: Lab) -> None:
    """The system cut it as it cuts a window, for blocks of 8 octets."""
    client = lab.client()
    client.ask("70000", blksize="8", windowsize="4")
    assert client.waiting() == [Oack((("blksize", "8"), ("windowsize", "4")))]
    assert numbers(client.ack(0)) == [1, 2, 3, 4]


def test_an_error_is_one_datagram_where_blocks_are_shorter(lab: Lab) -> None:
    body = Trickle()
    body.data += bytes(4096)
    lab.opener = lambda request: OpenedFile(body, "remote")
    client = lab.client()
    client.ask("remote", blksize="512", windowsize="4")
    client.receive()
    client.ack(0)
    body.broken = Unavailable("\N{EURO SIGN}" * 400)
    assert client.ack(4)[-1] == Error(0, "\N{EURO SIGN}" * 400)
