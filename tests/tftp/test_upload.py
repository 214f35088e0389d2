"""Uploads as clients see them, on real sockets, and what never comes of one."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybootd.core.events import TransferOutcome, TransferRefused, Uploaded
from pybootd.files import uploads
from pybootd.files.uploads import Uploads
from pybootd.tftp import write_server, write_session
from pybootd.tftp.wire.packet import Ack, Data, Error, ErrorCode, Oack, Packet, Wrq

from .lab import Client, Lab, running

LARGEST = 200_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    (made / "sub").mkdir(parents=True)
    (made / "here").write_bytes(b"here before")
    return made


@pytest.fixture
def lab(tmp_path: Path, folder: Path) -> Iterator[Lab]:
    (tmp_path / "root").mkdir()
    with running(tmp_path / "root", Uploads(folder, LARGEST, 8)) as made:
        yield made


def until(lab: Lab, condition: Callable[[], object]) -> None:
    """Turn the loop until a worker has done something; its clock stands still."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        lab.loop.turn(0.01)


def answer(lab: Lab, client: Client) -> Packet:
    got: list[Packet] = []
    until(lab, lambda: got.extend(client.waiting()) or got)
    assert len(got) == 1
    return got[0]


def ask(lab: Lab, name: str, mode: str = "octet", **options: str) -> tuple[Client, Packet]:
    client = lab.client()
    client.send(Wrq(name, mode, tuple(options.items())), lab.address)
    return client, answer(lab, client)


def bring(client: Client, lab: Lab, data: bytes, size: int = 512, window: int = 1) -> Packet:
    """Send all blocks; return the answer to the last one."""
    blocks = [data[at : at + size] for at in range(0, len(data) + 1, size)]
    for number, block in enumerate(blocks, 1):
        client.send(Data(number & 0xFFFF, block))
        if number == len(blocks):
            break
        if number % window == 0:
            assert answer(lab, client) == Ack(number & 0xFFFF)
    return answer(lab, client)


def ended(lab: Lab) -> list[tuple[TransferOutcome, int, str]]:
    found = [event for event in lab.events if isinstance(event, Uploaded)]
    return [(event.outcome, event.octets, event.reason) for event in found]


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100_000])
@pytest.mark.parametrize(
    "options", [{}, {"blksize": "1000"}, {"windowsize": "4", "blksize": "700", "tsize": "{size}"}]
)
def test_a_file_arrives_whole(lab: Lab, folder: Path, size: int, options: dict[str, str]) -> None:
    data = os.urandom(size)
    asked = {name: text.format(size=size) for name, text in options.items()}
    client, first = ask(lab, "/sub/new", **asked)
    assert first == (Oack(tuple(asked.items())) if asked else Ack(0))
    block, window = int(asked.get("blksize", 512)), int(asked.get("windowsize", 1))
    last = bring(client, lab, data, block, window)
    assert last == Ack(size // block + 1)
    assert (folder / "sub" / "new").read_bytes() == data
    assert names_in(folder) == ["here", "sub/new"]
    assert ended(lab) == [(TransferOutcome.DONE, size, "")]


def test_nothing_is_there_before_it_is_whole(lab: Lab, folder: Path) -> None:
    client, _ = ask(lab, "new")
    client.send(Data(1, bytes(512)))
    assert answer(lab, client) == Ack(1)
    assert not (folder / "new").exists()
    client.send(Data(2, b""))
    assert answer(lab, client) == Ack(2)
    assert (folder / "new").read_bytes() == bytes(512)


def test_the_last_block_is_acknowledged_again(lab: Lab) -> None:
    """RFC 1350 6: the last ACK may get lost."""
    client, _ = ask(lab, "new")
    for _ in range(3):
        client.send(Data(1, b"text"))
        assert answer(lab, client) == Ack(1)
        lab.wait(1.0, 0.1)
    lab.wait(7.0, 0.5)
    assert lab.sockets() == 0
    assert ended(lab) == [(TransferOutcome.DONE, 4, "")]


def test_netascii_is_translated_across_blocks(lab: Lab, folder: Path) -> None:
    client, _ = ask(lab, "text", "netascii")
    text = b"x" * 511 + b"\r\nline\r\nbare\r\0end\r"
    assert bring(client, lab, text) == Ack(2)
    assert (folder / "text").read_bytes() == b"x" * 511 + b"\nline\nbare\rend\r"


@pytest.mark.parametrize(
    ("name", "code", "why"),
    [
        ("here", ErrorCode.FILE_EXISTS, "there is a file of this name already"),
        ("sub", ErrorCode.ACCESS_VIOLATION, "is a directory"),
        ("sub/", ErrorCode.ACCESS_VIOLATION, "is a directory"),
        ("none/new", ErrorCode.ACCESS_VIOLATION, "there is no directory none, and none is made"),
        ("here/new", ErrorCode.ACCESS_VIOLATION, "here is no directory"),
        ("../new", ErrorCode.ACCESS_VIOLATION, "the name leads out of the root"),
        ("sub/../../new", ErrorCode.ACCESS_VIOLATION, "the name leads out of the root"),
        ("out/new", ErrorCode.ACCESS_VIOLATION, "the name leads out of the root"),
        ("link", ErrorCode.FILE_EXISTS, "there is a file of this name already"),
        ("a\nb", ErrorCode.ACCESS_VIOLATION, "the name holds control characters"),
        ("", ErrorCode.ACCESS_VIOLATION, "the name is empty"),
        ("grub.cfg.j2", ErrorCode.ACCESS_VIOLATION, "no .j2 is taken: it would be a template"),
        ("sub/GRUB.J2", ErrorCode.ACCESS_VIOLATION, "no .j2 is taken: it would be a template"),
        (
            ".pybootd-upload-1",
            ErrorCode.ACCESS_VIOLATION,
            "no name that begins with .pybootd-upload- is taken",
        ),
    ],
)
def test_a_name_that_is_not_taken(
    lab: Lab, folder: Path, tmp_path: Path, name: str, code: ErrorCode, why: str
) -> None:
    (folder / "out").symlink_to(tmp_path)
    (folder / "link").symlink_to("nothing")
    before = names_in(tmp_path)
    _, got = ask(lab, name)
    assert got == Error(code, why)
    assert names_in(tmp_path) == before
    refused = [event for event in lab.events if isinstance(event, TransferRefused)]
    assert [(event.reason, event.upload) for event in refused] == [(why, True)]


def test_a_size_beyond_the_limit_is_refused_at_once(lab: Lab) -> None:
    _, got = ask(lab, "new", tsize=str(LARGEST + 1))
    why = f"{LARGEST + 1} octets are more than upload_size allows, {LARGEST}"
    assert got == Error(ErrorCode.DISK_FULL, why)


def test_a_file_that_grows_beyond_the_limit_is_gone(lab: Lab, folder: Path) -> None:
    client, _ = ask(lab, "new", tsize="5", blksize="60000")
    for number in range(1, 4):
        client.send(Data(number, bytes(60000)))
        assert answer(lab, client) == Ack(number)
    client.send(Data(4, bytes(60000)))
    got = answer(lab, client)
    assert got == Error(ErrorCode.DISK_FULL, f"larger than upload_size allows, {LARGEST} octets")
    until(lab, lambda: names_in(folder) == ["here"])
    assert [outcome for outcome, _, _ in ended(lab)] == [TransferOutcome.FAILED]


def test_only_so_many_files_are_taken(lab: Lab, folder: Path) -> None:
    for number in range(7):
        client, _ = ask(lab, f"sub/{number}" if number % 2 else str(number))
        assert bring(client, lab, b"text") == Ack(1)
    _, got = ask(lab, "more")
    assert got == Error(ErrorCode.ACCESS_VIOLATION, "8 files are here: upload_count allows no more")
    assert len(names_in(folder)) == 8


def test_the_last_places_are_not_given_twice(lab: Lab, folder: Path) -> None:
    asked = [ask(lab, f"new{number}")[0] for number in range(10)]
    answers = [bring(client, lab, b"text") for client in asked]
    assert answers.count(Ack(1)) == 7
    assert len(names_in(folder)) == 8


def test_two_that_bring_the_same_name(lab: Lab, folder: Path) -> None:
    first, second = ask(lab, "new")[0], ask(lab, "new")[0]
    assert bring(second, lab, b"second") == Ack(1)
    why = "there is a file of this name already"
    assert bring(first, lab, b"first") == Error(ErrorCode.FILE_EXISTS, why)
    assert (folder / "new").read_bytes() == b"second"
    until(lab, lambda: names_in(folder) == ["here", "new"])


def started(lab: Lab, folder: Path) -> Client:
    """Bring the first part of a file, so much that it is on disk."""
    client, _ = ask(lab, "new", blksize="60000")
    for number in range(1, 3):
        client.send(Data(number, bytes(60000)))
        assert answer(lab, client) == Ack(number)
    running = lab.server.write_server
    assert running is not None
    until(lab, lambda: not any(upload.writing for upload in running.uploads))
    assert len(names_in(folder)) == 2
    return client


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_session, "WRITE_OCTETS", 100_000)


@pytest.mark.usefixtures("small_chunks")
def test_a_client_that_stops_in_the_middle_leaves_nothing(lab: Lab, folder: Path) -> None:
    client = started(lab, folder)
    lab.wait(29.9, 0.1)
    assert client.waiting() == [Ack(2)] * 4
    lab.wait(0.5, 0.1)
    until(lab, lambda: names_in(folder) == ["here"])
    assert ended(lab) == [(TransferOutcome.TIMEOUT, 120_000, "")]


@pytest.mark.usefixtures("small_chunks")
def test_a_client_that_gives_up_leaves_nothing(lab: Lab, folder: Path) -> None:
    client = started(lab, folder)
    client.send(Error(0, "enough"))
    until(lab, lambda: names_in(folder) == ["here"])
    assert ended(lab) == [(TransferOutcome.ABORTED, 120_000, "enough")]


@pytest.mark.usefixtures("small_chunks")
def test_the_end_of_the_daemon_leaves_nothing(lab: Lab, folder: Path) -> None:
    client = started(lab, folder)
    lab.server.close()
    assert client.waiting() == [Error(0, "the server stops")]
    assert names_in(folder) == ["here"]


def test_what_a_killed_daemon_left_is_gone_after_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{uploads._UNFINISHED}0123").write_bytes(b"half")
    (tmp_path / "in" / "whole").write_bytes(b"whole")
    with running(tmp_path, Uploads(tmp_path / "in", LARGEST, 8)):
        assert names_in(tmp_path / "in") == ["whole"]


def test_a_request_that_comes_twice_is_one_upload(lab: Lab, folder: Path) -> None:
    client = lab.client()
    for _ in range(3):
        client.send(Wrq("new", "octet", (("blksize", "512"),)), lab.address)
    assert answer(lab, client) == Oack((("blksize", "512"),))
    client.send(Wrq("new", "octet", (("blksize", "512"),)), lab.address)
    until(lab, lambda: lab.sockets() == 2)
    lab.turn(20)
    assert client.waiting() == []
    assert bring(client, lab, b"text") == Ack(1)
    assert names_in(folder) == ["here", "new"]


def test_a_client_that_begins_again_has_its_earlier_upload_ended(lab: Lab, folder: Path) -> None:
    client, _ = ask(lab, "one")
    client.send(Data(1, bytes(512)))
    assert answer(lab, client) == Ack(1)
    client.send(Wrq("two"), lab.address)
    assert answer(lab, client) == Ack(0)
    assert bring(client, lab, b"text") == Ack(1)
    assert names_in(folder) == ["here", "two"]
    assert [outcome for outcome, _, _ in ended(lab)] == [
        TransferOutcome.ABORTED,
        TransferOutcome.DONE,
    ]


def test_requests_that_nobody_means_keep_no_one_out(
    lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_server, "MAX_UPLOADS", 4)
    for number in range(20):
        ask(lab, f"never{number}")
    assert lab.sockets() <= 2 * 5
    client, _ = ask(lab, "meant")
    assert bring(client, lab, b"text") == Ack(1)
    assert names_in(folder) == ["here", "meant"]


def test_a_client_whose_request_may_be_forged_is_answered_three_times(lab: Lab) -> None:
    client, _ = ask(lab, "new")
    lab.wait(7.0, 0.1)
    assert client.waiting() == [Ack(0)] * 2
    assert ended(lab) == [(TransferOutcome.TIMEOUT, 0, "")]


def test_a_block_longer_than_agreed_ends_it(lab: Lab, folder: Path) -> None:
    client, _ = ask(lab, "new")
    client.send(Data(1, bytes(513)))
    assert answer(lab, client) == Error(
        ErrorCode.ILLEGAL_OPERATION, "a block is longer than agreed"
    )
    assert names_in(folder) == ["here"]


def test_a_stranger_disturbs_no_upload(lab: Lab, folder: Path) -> None:
    client, _ = ask(lab, "new")
    stranger = lab.client()
    stranger.send(Data(1, b"forged"), client.tid)
    assert answer(lab, stranger) == Error(
        ErrorCode.UNKNOWN_TRANSFER, "this port serves another client"
    )
    assert bring(client, lab, b"text") == Ack(1)
    assert (folder / "new").read_bytes() == b"text"


def test_without_a_directory_every_write_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as lab:
        _, got = ask(lab, "new")
        assert got == Error(ErrorCode.ACCESS_VIOLATION, "writes are refused")
        # and a reload may allow them, or forbid them again
        lab.server.reload(lab.server.config, lab, Uploads(tmp_path, LARGEST, 8))
        client, _ = ask(lab, "new")
        assert bring(client, lab, b"text") == Ack(1)
        lab.server.reload(lab.server.config, lab)
        _, got = ask(lab, "newer")
        assert got == Error(ErrorCode.ACCESS_VIOLATION, "writes are refused")


def test_a_slow_disk_keeps_its_client_waiting_and_nobody_else(
    lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_session, "WRITE_OCTETS", 1000)
    monkeypatch.setattr(write_session, "MAX_UNWRITTEN_OCTETS", 2000)
    slow = uploads.UploadedFile.append_data
    free: list[bool] = []

    def write(file: uploads.UploadedFile, data: bytes) -> None:
        while not free:
            time.sleep(0.01)
        slow(file, data)

    monkeypatch.setattr(uploads.UploadedFile, "append_data", write)
    client, _ = ask(lab, "new", blksize="1000")
    for number in range(1, 5):
        client.send(Data(number, bytes(1000)))
        if number < 4:
            assert answer(lab, client) == Ack(number)
    lab.wait(30.0, 0.1)  # it is not the client that is late
    assert client.waiting() == []
    (lab.root / "file").write_bytes(b"content")
    assert lab.client().fetch("file") == b"content"
    free.append(True)
    assert answer(lab, client) == Ack(4)
    client.send(Data(5, b""))
    assert answer(lab, client) == Ack(5)
    assert (folder / "new").read_bytes() == bytes(4000)
