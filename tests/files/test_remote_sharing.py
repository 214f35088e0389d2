"""One download, many readers: who shares, who waits for others, and who is left behind."""

import random
import time

import pytest

from pybootd.core.loop import Loop
from pybootd.core.workers import TaskResult
from pybootd.files.remote import download
from pybootd.files.remote import source as source_module
from pybootd.files.remote.origin import MAX_PIECE
from pybootd.files.remote.source import RemoteSource
from pybootd.files.source import FileError, FileRequest

from .origin import Site, octets
from .reading import Reader, fetch, start, wait


def test_clients_that_ask_together_share_one_download(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    bodies = [start(source, "octets/2000000") for _ in range(20)]
    readers = [Reader(body, 1000 + 100 * number) for number, body in enumerate(bodies)]
    wait(lambda: all(reader.over for reader in readers), loop)
    content = octets(2000000)
    assert all(reader.data == content for reader in readers)
    assert len(site.requests) == 1


def test_one_that_comes_while_the_start_is_there_joins_and_one_that_comes_later_asks_again(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    name = f"octets/{download.MAX_WINDOW * 3}"
    first = Reader(start(source, name))
    second = Reader(start(source, name))
    assert len(site.requests) == 1
    wait(lambda: min(len(first.data), len(second.data)) > download.MAX_WINDOW * 2, loop)
    third = Reader(start(source, name))
    assert len(site.requests) == 2
    wait(lambda: first.over and second.over and third.over, loop)
    assert first.data == second.data == third.data == octets(download.MAX_WINDOW * 3)


def test_firmware_that_asks_twice_is_served_by_one_download(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    name = f"octets/{download.MAX_WINDOW * 2}"
    probe = start(source, name)
    assert probe.size == download.MAX_WINDOW * 2
    probe.close()
    assert fetch(source, loop, name) == octets(download.MAX_WINDOW * 2)
    assert len(site.requests) == 1


def test_a_download_that_nobody_reads_waits_and_then_ends(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    body = start(source, "octets/10000000")
    unread = body.download
    wait(lambda: unread.full, loop)
    kept = unread.end - unread.base
    assert download.MAX_WINDOW <= kept < download.MAX_WINDOW + 65536
    end = unread.end
    loop.turn(0.1)
    assert unread.end == end
    assert site.sent < 10000000
    body.close()
    wait(lambda: unread.error is not None, loop)
    wait(lambda: not source.download_count, loop)


def test_windows_are_smaller_when_downloads_are_many(source: RemoteSource, loop: Loop) -> None:
    bodies = [start(source, f"octets/{900_000 + number}") for number in range(32)]
    wait(lambda: all(body.download.full for body in bodies), loop)
    kept = sum(body.download.end - body.download.base for body in bodies)
    # the last ones have the smallest windows, and a window may hold one piece too many
    assert kept < download.MAX_WINDOWS + 32 * (download.MIN_WINDOW + MAX_PIECE)
    assert source.window_octets == kept
    for body in bodies:
        body.close()


@pytest.mark.parametrize("manner", ["", "ranges/etag/", "etag/", "chunked/"])
def test_one_that_stops_reading_holds_up_nobody_for_long(
    source: RemoteSource, loop: Loop, site: Site, manner: str
) -> None:
    name = f"{manner}octets/{download.MAX_WINDOW * 3}"
    bodies = [start(source, name) for _ in range(5)]
    sleeper = Reader(bodies[0], 512, paused=True)
    wait(lambda: sleeper.take(), loop)
    others = [Reader(body) for body in bodies[1:]]
    before = time.monotonic()
    wait(lambda: all(reader.over for reader in others), loop)
    assert time.monotonic() - before < 16 * download.HOLDUP_S
    content = octets(download.MAX_WINDOW * 3)
    assert all(reader.data == content for reader in others)
    # it wakes up, and gets the rest all the same
    sleeper.go_on()
    wait(lambda: sleeper.over, loop)
    assert sleeper.data == content
    spans = [span for _, span in site.requests]
    rest = {"ranges/etag/": ["bytes=512-"], "etag/": ["bytes=512-", ""]}
    assert spans == ["", *rest.get(manner, [""])]


def test_a_slow_one_is_left_behind_and_gets_the_rest(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    name = f"ranges/etag/octets/{download.MAX_WINDOW * 3}"
    slow = Reader(start(source, name), 8192, paused=True)
    fast = Reader(start(source, name))

    def read_one(now: float) -> None:
        slow.take()
        if not fast.over:
            loop.call_later(0.05, read_one)

    read_one(0.0)
    before = time.monotonic()
    wait(lambda: fast.over, loop)
    assert time.monotonic() - before < 6.0  # 10 s at the slow one's pace
    slow.go_on()
    wait(lambda: slow.over, loop)
    assert slow.data == fast.data == octets(download.MAX_WINDOW * 3)


def test_a_file_that_changed_is_not_continued(source: RemoteSource, loop: Loop, site: Site) -> None:
    path = site.root / "file"
    path.write_bytes(octets(download.MAX_WINDOW * 3))
    sleeper = Reader(start(source, "ranges/etag/file"), 512, paused=True)
    wait(lambda: sleeper.take(), loop)
    other = Reader(start(source, "ranges/etag/file"))
    wait(lambda: other.over, loop)
    path.write_bytes(octets(download.MAX_WINDOW * 3)[::-1])
    sleeper.go_on()
    wait(lambda: sleeper.over, loop)
    assert sleeper.error is not None
    assert "changed at its origin" in str(sleeper.error)


class Wanderer:
    """A reader of one file, of one pace, that may go away in the middle."""

    def __init__(self, source: RemoteSource, loop: Loop, chance: random.Random) -> None:
        self.loop = loop
        self.size = chance.choice((0, 100, 700_000, 1_500_000))
        self.count = chance.choice((1408, 8192, 65464, 300_000, 2_000_000))
        self.pause = chance.choice((0, 0, 0, 0.001, 0.03)) if self.count > 60000 else 0
        self.goes_at = chance.choice((self.size + 1,) * 5 + (self.size // 3,))
        manner = chance.choice(
            ("", "chunked/", "gzip/", "etag/", "ranges/etag/", "ranges/etag/cut/@300000/")
        )
        self.name = f"{manner}octets/{self.size}"
        self.data = bytearray()
        self.over = False
        self.error: FileError | None = None
        loop.run_in_worker(source.open(self.name, FileRequest(self.name, "", "")), self.opened)

    def opened(self, outcome: TaskResult, now: float) -> None:
        self.body = outcome.get()
        self.go(now)

    def go(self, now: float) -> None:
        try:
            while len(self.data) < self.goes_at:
                data = self.body.read(self.count)
                if data is None:
                    self.body.when_ready(self.go)
                    return
                self.data += data
                if len(data) < self.count:
                    break
                if self.pause:
                    self.loop.call_later(self.pause, self.go)
                    return
        except FileError as error:
            self.error = error
        self.body.close()
        self.over = True


@pytest.mark.parametrize("seed", range(3))
def test_readers_of_any_pace_that_come_and_go_get_the_right_octets(
    source: RemoteSource, loop: Loop, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(download, "HOLDUP_S", 0.05)
    monkeypatch.setattr(download, "LINGER_S", 0.05)
    chance = random.Random(seed)
    readers: list[Wanderer] = []
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, source.window_octets)
        waiting = sum(not reader.over for reader in readers)
        if len(readers) < 60 and waiting < 30:
            readers.append(Wanderer(source, loop, chance))
        return len(readers) == 60 and not waiting

    wait(done, loop, 30)
    assert not [(reader.name, reader.error) for reader in readers if reader.error]
    for reader in readers:
        content = octets(reader.size)
        assert reader.data == content or (
            len(reader.data) >= reader.goes_at and content.startswith(reader.data)
        )
    assert most < download.MAX_WINDOWS + source_module.MAX_DOWNLOADS * (
        download.MIN_WINDOW + MAX_PIECE
    )
    wait(lambda: not source.download_count, loop)
    assert source.window_octets == 0
