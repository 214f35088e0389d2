"""Remote files that are kept: fetched once, asked for again only if changed, served from disk."""

import errno
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import pytest

from pybootd.core.events import FileProblem
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files.local import LocalFile
from pybootd.files.remote import cache, cache_store
from pybootd.files.remote.cache_store import CacheStore
from pybootd.files.remote.origin import HttpOrigin
from pybootd.files.remote.source import RemoteSource
from pybootd.files.resolver import Files
from pybootd.files.source import (
    Body,
    FileError,
    FileRequest,
    Forbidden,
    SourceSettings,
    StaticBody,
    StreamBody,
    Unavailable,
)

from .origin import Site, octets
from .reading import SILENCE, Reader, wait

SIZE = 3_000_000
NAME = f"etag/octets/{SIZE}"
Make = Callable[..., RemoteSource]


@pytest.fixture
def make(site: Site, loop: Loop, tmp_path: Path) -> Iterator[Make]:
    made = []

    def one(room: int = 100_000_000) -> RemoteSource:
        """Build a source as a daemon does that is started again: it knows only what is on disk."""
        CacheStore.by_folder.clear()
        source = RemoteSource(site.url, HttpOrigin(connect=SILENCE, silence=SILENCE))
        source.apply_settings(SourceSettings(tmp_path / "cache", room))
        source.start(loop)
        made.append(source)
        return source

    yield one
    for source in made:
        source.close()


@pytest.fixture(autouse=True)
def nothing_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FRESH_S", -1.0)


def opened(source: RemoteSource, name: str, pin: str = "") -> Body:
    later = source.open(name, FileRequest(name, "192.0.2.9", "192.0.2.1", pin=pin))
    assert isinstance(later, Later)
    return later.call()


def content(body: Body, loop: Loop) -> bytes:
    if isinstance(body, StaticBody):
        data = body.pread(body.size, 0)
        body.close()
        return data
    assert isinstance(body, StreamBody)
    reader = Reader(body)
    wait(lambda: reader.over, loop)
    if reader.error is not None:
        raise reader.error
    return bytes(reader.data)


def fetched(source: RemoteSource, loop: Loop, name: str = NAME) -> bytes:
    """Fetch a file and wait until it is kept."""
    data = content(opened(source, name), loop)
    assert source.cache is not None
    assert source.cache.store.find_entry(f"{source.prefix}{name}") is not None
    return data


def files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "files").iterdir())


def test_it_is_kept_under_its_checksum_and_asked_for_again_only_if_changed(
    make: Make, loop: Loop, site: Site, tmp_path: Path
) -> None:
    source = make()
    assert fetched(source, loop) == octets(SIZE)
    (file,) = files(tmp_path)
    assert file.name == hashlib.sha256(octets(SIZE)).hexdigest()
    assert not list((tmp_path / "cache" / "parts").iterdir())
    sent = site.sent
    for again in (source, make()):
        body = opened(again, NAME)
        assert isinstance(body, LocalFile)
        assert content(body, loop) == octets(SIZE)
    assert site.sent == sent
    assert len(site.requests) == 3


def test_a_file_that_changed_is_fetched_again(
    make: Make, loop: Loop, site: Site, tmp_path: Path
) -> None:
    source = make()
    for text in (b"one", b"two and more"):
        (site.root / "file").write_bytes(text)
        assert fetched(source, loop, "etag/file") == text
    assert [file.read_bytes() for file in files(tmp_path)] == [b"two and more"]


def test_one_that_comes_while_it_is_fetched_reads_what_is_there(
    make: Make, loop: Loop, site: Site
) -> None:
    source = make()
    name = f"held/@{SIZE // 2}/octets/{SIZE}"
    first = Reader(opened(source, name))
    wait(lambda: len(first.data) > SIZE // 2 - 1468, loop)
    others = [Reader(opened(source, name), 1000 * number + 500) for number in range(20)]
    sleeper = Reader(opened(source, name), paused=True)
    gone = opened(source, name)
    gone.close()
    site.go_on.set()
    wait(lambda: first.over and all(one.over for one in others), loop)
    sleeper.go_on()  # long after the file was whole
    assert sleeper.over
    assert all(one.data == octets(SIZE) for one in (first, *others, sleeper))
    assert len(site.requests) == 1


@pytest.mark.parametrize("manner", ["status/503", "hangup", "silent", "stopped"])
def test_while_the_web_server_is_down_what_is_kept_is_served(
    make: Make,
    loop: Loop,
    site: Site,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    manner: str,
) -> None:
    caplog.set_level(logging.INFO, "pybootd")
    monkeypatch.setattr(cache, "DOWN_S", 0.0)  # it is asked each time
    source = make()
    fetched(source, loop)
    if manner == "stopped":
        site.kill()
    else:
        change = "slow-answer/1.5" if manner == "silent" else manner
        wrong = f"{site.url}/{change}/"
        monkeypatch.setattr(
            source.origin, "_send_request", _redirected(source.origin._send_request, wrong)
        )
    for _ in range(3):
        assert content(opened(source, NAME), loop) == octets(SIZE)
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "what the cache has is served" in line]) == 1
    with pytest.raises(Unavailable):
        opened(source, "octets/9")
    if manner != "stopped":
        monkeypatch.undo()
        monkeypatch.setattr(cache, "FRESH_S", -1.0)
        assert content(opened(source, NAME), loop) == octets(SIZE)
        assert "answers again" in caplog.text


def _redirected(send: Callable[..., object], prefix: str) -> Callable[..., object]:
    return lambda url, headers: send(prefix + url.partition("://")[2].partition("/")[2], headers)


def test_a_file_that_is_gone_is_not_served(make: Make, loop: Loop, site: Site) -> None:
    source = make()
    (site.root / "file").write_bytes(b"here")
    fetched(source, loop, "etag/file")
    (site.root / "file").unlink()
    with pytest.raises(FileError, match="404 Not Found"):
        opened(source, "etag/file")


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "index"])
def test_what_was_damaged_is_fetched_again(
    make: Make,
    loop: Loop,
    site: Site,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    fetched(make(), loop)
    (file,) = files(tmp_path)
    if damage == "cut":
        os.truncate(file, SIZE - 1)
    elif damage == "flipped":
        file.write_bytes(octets(SIZE)[:-1] + b"?")
    elif damage == "gone":
        file.unlink()
    else:
        (index,) = (tmp_path / "cache" / "index").iterdir()
        index.write_text("{}")
    assert fetched(make(), loop) == octets(SIZE)
    (file,) = files(tmp_path)
    assert file.read_bytes() == octets(SIZE)
    assert ("it isn't what was written" in caplog.text) == (damage in ("cut", "flipped"))


@pytest.mark.parametrize("manner", ["cut/@1000000", "no-length/cut/@1000000"])
def test_a_part_is_never_kept(make: Make, loop: Loop, tmp_path: Path, manner: str) -> None:
    source = make()
    name = f"{manner}/octets/{SIZE}"
    with suppress(Unavailable):  # without a length nobody can tell
        content(opened(source, name), loop)
    assert not files(tmp_path)
    wait(lambda: not list((tmp_path / "cache" / "parts").iterdir()), loop)


def test_those_used_least_recently_go_first(make: Make, loop: Loop, tmp_path: Path) -> None:
    source = make(room=25_000)
    names = [f"etag/octets/{8000 + number}" for number in range(4)]
    for name in names[:3]:
        fetched(source, loop, name)
    content(opened(source, names[0]), loop)
    fetched(source, loop, names[3])
    assert sorted(file.stat().st_size for file in files(tmp_path)) == [8000, 8002, 8003]
    assert len(list((tmp_path / "cache" / "index").iterdir())) == 3


@pytest.mark.parametrize("name", [NAME, f"chunked/{NAME}"])
def test_what_is_larger_than_the_cache_is_passed_on(
    make: Make, loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    source = make(room=SIZE // 2)
    assert content(opened(source, name), loop) == octets(SIZE)
    assert not files(tmp_path)
    assert "more than [cache] size" in caplog.text


@pytest.mark.parametrize("at", [0, 100_000, SIZE - 100])
def test_a_full_disk_is_a_warning_and_files_are_passed_on(
    make: Make,
    loop: Loop,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    """A disk can't be filled here without filling everybody's: its answer is put in its place."""
    source = make()
    written = [0]
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if written[0] + len(data) > at:
            raise OSError(errno.ENOSPC, "No space left on device")
        written[0] += len(data)
        return write(descriptor, data)

    monkeypatch.setattr(cache_store.os, "write", full)
    for name in (NAME, f"ranges/{NAME}", f"octets/{SIZE}"):
        readers = [Reader(opened(source, name), count) for count in (1468, 65464)]
        wait(lambda readers=readers: all(reader.over for reader in readers), loop)
        assert [reader.error for reader in readers] == [None, None]
        assert all(reader.data == octets(SIZE) for reader in readers)
        written[0] = 0
    assert not files(tmp_path)
    assert caplog.text.count("No space left on device") == 1


def test_a_folder_that_cant_be_made_is_a_warning(
    make: Make, loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file stands in its place")
    assert content(opened(make(), NAME), loop) == octets(SIZE)
    assert "remote files are served, but not kept" in caplog.text


def tree(folder: Path) -> dict[str, bytes | str]:
    """Return everything below a folder: contents, and where links point."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        found[name] = (
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else ""
        )
    return found


@pytest.mark.parametrize(
    "there", ["files/x", "index/x", "parts/x", "files/../x", "tag", "other tag"]
)
def test_a_folder_that_pybootd_did_not_mark_is_refused_and_untouched(
    make: Make, loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture, there: str
) -> None:
    folder = tmp_path / "cache"
    (folder / "files").mkdir(parents=True)
    if there.endswith("tag"):
        (folder / "CACHEDIR.TAG").write_text(
            "Signature: 8a477f597d28d172789f06886806bc55\n# Cargo\n" if "other" in there else ""
        )
    else:
        (folder / there).parent.mkdir(exist_ok=True)
        (folder / there).write_text("somebody's")
    before = tree(folder)
    source = make()
    for _ in range(2):
        assert content(opened(source, NAME), loop) == octets(SIZE)
    assert tree(folder) == before
    assert "remote files are served, but not kept" in caplog.text


@pytest.mark.parametrize("name", ["files", "index", "parts", "CACHEDIR.TAG"])
def test_a_cache_with_a_link_in_it_is_refused_and_its_target_untouched(
    make: Make, loop: Loop, tmp_path: Path, name: str
) -> None:
    fetched(make(), loop)
    place, folder = tmp_path / "cache" / name, tmp_path / "elsewhere"
    place.rename(folder)
    place.symlink_to(folder)
    if folder.is_dir():
        (folder / ("a" * 64)).write_text("somebody's")
        (folder / "1-1").write_text("somebody's")
    before = tree(tmp_path)
    source = make()
    assert content(opened(source, NAME), loop) == octets(SIZE)
    assert tree(tmp_path) == before


def test_what_has_no_name_of_the_caches_is_left_in_it(
    make: Make, loop: Loop, tmp_path: Path
) -> None:
    fetched(make(), loop)
    notes = [tmp_path / "cache" / name / "notes.txt" for name in ("files", "index", "parts")]
    for note in notes:
        note.write_text("somebody's")
    forgotten = tmp_path / "cache" / "files" / ("a" * 64)
    forgotten.write_text("of no URL")
    fetched(make(), loop)
    assert all(note.exists() for note in notes)
    assert not forgotten.exists()
    (file,) = [one for one in files(tmp_path) if one.name != "notes.txt"]
    assert file.read_bytes() == octets(SIZE)


def test_many_at_once_fetch_once(make: Make, loop: Loop, site: Site) -> None:
    name = f"held/@1000/{NAME}"  # the web server waits, so that nobody comes after the end
    source = make()
    bodies: list[Body] = []
    threads = [
        threading.Thread(target=lambda: bodies.append(opened(source, name))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    site.go_on.set()
    assert len(bodies) == 16
    assert all(content(body, loop) == octets(SIZE) for body in bodies)
    assert [unquote(path) for path, _ in site.requests] == [f"/{name}"]
    assert site.sent == SIZE


def pinned(source: RemoteSource, site: Site, loop: Loop, data: bytes) -> Files:
    pins = {"etag/file": f"{hashlib.sha256(data).hexdigest()}"}
    assert source.cache is not None
    settings = SourceSettings(source.cache.store.folder, source.cache.store.size)
    made = Files(source, site.url, pins=pins, settings=settings)
    made.start(loop)
    return made


def test_a_byte_flipped_at_the_origin_is_refused_by_its_pin(
    make: Make, loop: Loop, site: Site, tmp_path: Path
) -> None:
    good, bad = octets(SIZE), octets(SIZE)[:-1] + b"?"
    (site.root / "file").write_bytes(bad)
    served = pinned(make(), site, loop, good)
    asked = FileRequest("etag/file", "192.0.2.9", "192.0.2.1")
    later = served.open(asked)
    assert isinstance(later, Later)
    with pytest.raises(Forbidden) as caught:
        later.call()
    for data in (good, bad):
        assert hashlib.sha256(data).hexdigest() in str(caught.value)
    assert not files(tmp_path)
    (site.root / "file").write_bytes(good)
    for _ in range(2):
        later = served.open(asked)
        assert isinstance(later, Later)
        body = later.call().body
        assert isinstance(body, StaticBody)
        assert content(body, loop) == good
    (site.root / "file").write_bytes(bad)  # from the cache, for its sum says what it must be
    assert content(served.open(asked).call().body, loop) == good


def test_a_kept_file_that_is_written_to_while_it_is_sent(
    make: Make, loop: Loop, site: Site, tmp_path: Path
) -> None:
    """Pinned, it is sent as it was checked; else its transfer ends."""
    good = octets(SIZE)
    (site.root / "file").write_bytes(good)
    served = pinned(make(), site, loop, good)
    body = served.open(FileRequest("etag/file", "192.0.2.9", "192.0.2.1")).call().body
    plain = opened(served.root, "etag/file")
    plain = opened(served.root, "etag/file") if isinstance(plain, StreamBody) else plain
    assert isinstance(plain, LocalFile)
    assert plain.pread(1000, 0) == good[:1000]
    (file,) = files(tmp_path)
    times = file.stat()
    with file.open("r+b") as writer:
        writer.write(bytes(SIZE))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert content(body, loop) == good
    with pytest.raises(Unavailable, match="changed") as caught:
        plain.pread(1000, 1000)
    assert caught.value.problem is FileProblem.CHANGED
    plain.close()


def test_a_pin_without_a_cache_is_refused(source: RemoteSource) -> None:
    with pytest.raises(Unavailable, match=r"without \[cache\] dir"):
        opened(source, "octets/9", "0" * 64)


def test_a_pin_that_finds_no_room_is_refused(make: Make) -> None:
    with pytest.raises(Unavailable, match="can't be kept on disk to be checked"):
        opened(make(room=1000), NAME, hashlib.sha256(octets(SIZE)).hexdigest())


def test_an_origin_killed_in_the_middle_of_a_storm(make: Make, loop: Loop, site: Site) -> None:
    """Everything that was kept goes on; what was on its way ends in an error."""
    source = make()
    names = [f"etag/octets/{200_000 + number}" for number in range(4)]
    for name in names:
        fetched(source, loop, name)
    on_its_way = Reader(opened(source, f"held/@100000/octets/{SIZE}"))
    before = [
        Reader(body) for name in names if isinstance(body := opened(source, name), StreamBody)
    ]
    assert not before  # they come from the disk
    bodies = [opened(source, names[number % 4]) for number in range(50)]
    site.kill()
    bodies += [opened(source, names[number % 4]) for number in range(50, 100)]
    for number, body in enumerate(bodies):
        assert content(body, loop) == octets(200_000 + number % 4)
    wait(lambda: on_its_way.over, loop)
    assert isinstance(on_its_way.error, Unavailable)
