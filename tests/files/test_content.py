"""What was checked is what leaves: files that are written to while they are sent, in every way."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pybootd.files.checksums import CheckedFile
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.files.source import FileRequest

from .serving import PAGE, PAGES, SIZE, WAYS, Fetch, serving, state

# writes the number of its pass over all pages, one after the other, and puts the file's time back
WRITER = """
import os, struct, sys, time
path, page, pages, once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
file = os.open(path, os.O_RDWR)
before = os.fstat(file)
number = 0
while True:
    number += 1
    if once:  # back to the first content, for as long as a transfer takes
        number %= 2
        time.sleep(once * (0.5 + number))
    octets = struct.pack("<I", number) * (page // 4)
    for place in range(pages):
        if place % 16 == 0 and not once:
            time.sleep(0.001)  # so that something gets through
        os.pwrite(file, octets, place * page)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "root" / "file"
    made.parent.mkdir()
    made.write_bytes(state(0))
    return made


@contextlib.contextmanager
def writing(path: Path, once: float = 0.0) -> Iterator[None]:
    """Have another process write to the file all the time."""
    command = [sys.executable, "-c", WRITER, path, str(PAGE), str(PAGES), str(once)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as running:
        try:
            yield
            assert running.poll() is None, running.communicate()[1]
        finally:
            running.kill()


def rewrite(path: Path) -> None:
    """Write in place, and put the time back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(state(1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("way", WAYS)
def test_a_change_with_its_time_put_back_ends_a_transfer_before_any_of_it_leaves(
    file: Path, way: str
) -> None:
    with serving(file.parent) as servers:
        fetch = Fetch(servers, way)
        while len(fetch.data) < SIZE // 4:
            fetch.read_some()
        rewrite(file)
        fetch.read_all()
        assert not fetch.whole
        assert set(fetch.data) == {0}
        again = Fetch(servers, way)
        assert again.read_all() == state(1)  # no block of the old file is sent of the new one
        assert again.whole


@pytest.mark.parametrize("way", WAYS)
def test_what_is_pinned_is_sent_as_it_was_checked_whatever_happens_to_the_file(
    file: Path, way: str
) -> None:
    with serving(file.parent, {"file": digest(state(0))}) as servers:
        fetch = Fetch(servers, way)
        while len(fetch.data) < SIZE // 4:
            fetch.read_some()
        rewrite(file)
        assert fetch.read_all() == state(0)
        assert fetch.whole
        refused = Fetch(servers, way)
        assert refused.read_all() == b""
        assert not refused.whole
        file.write_bytes(state(0))
        assert Fetch(servers, way).read_all() == state(0)


@pytest.mark.parametrize("way", ["http", "tftp", "tftp window"])
def test_octets_of_one_state_leave_while_a_writer_races(file: Path, way: str) -> None:
    """A writer goes over the file from its begin: what is behind it is never newer."""
    with serving(file.parent) as servers, writing(file):
        came = cut = 0
        end = time.monotonic() + 20
        while time.monotonic() < end and not (came > 5 and cut > 5):
            fetch = Fetch(servers, way)
            numbers = array("I", fetch.read_all()[: len(fetch.data) // 4 * 4])
            came += len(numbers) > 0
            cut += not fetch.whole
            for number, behind in pairwise(numbers):
                assert number - 1 <= behind <= number
        assert came
        assert cut


@pytest.mark.parametrize("way", ["http", "tftp", "tftp window"])
def test_no_octet_but_the_pinned_leaves_while_a_writer_races(file: Path, way: str) -> None:
    pins = {"file": digest(state(0))}
    with serving(file.parent, pins) as servers, writing(file, 0.15):
        whole = refused = 0
        end = time.monotonic() + 10
        while time.monotonic() < end and not (whole > 2 and refused > 2):
            fetch = Fetch(servers, way)
            data = fetch.read_all()
            assert data in (b"", state(0))
            whole += fetch.whole
            refused += not data
        assert whole
        assert refused


def test_a_link_more_or_less_and_another_right_are_no_change(file: Path) -> None:
    body = LocalSource(file.parent).open("file", None)  # type: ignore[arg-type]
    key = body.key
    file.with_name("other").hardlink_to(file)
    assert body.pread(4, 0) == bytes(4)
    file.chmod(0o600)
    assert body.pread(4, 0) == bytes(4)
    file.unlink()
    assert body.pread(4, 0) == bytes(4)
    body.close()
    other = LocalSource(file.parent).open("other", None)  # type: ignore[arg-type]
    assert other.key != key
    other.close()


def test_clients_that_ask_together_share_one_checked_copy(file: Path) -> None:
    files = Files(LocalSource(file.parent), pins={"file": digest(state(0))})

    request = FileRequest("file", "192.0.2.9", "192.0.2.1")
    bodies = [files.open(request).call().body for _ in range(1)]
    bodies += [files.open(request).body for _ in range(3)]
    assert all(isinstance(body, CheckedFile) for body in bodies)
    places = {os.fstat(body.fileno())[1:3] for body in bodies}
    assert len(places) == 1
    for body in bodies:
        body.close()
        body.close()
    files.close()
