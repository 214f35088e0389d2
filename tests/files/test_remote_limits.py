"""What a slow web server, a greedy client and a circle can do to those who want other files."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybootd.config.options.files import HttpdConfig
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, FileProblem
from pybootd.core.loop import Loop
from pybootd.core.workers import TaskResult
from pybootd.files.remote import cache, origin
from pybootd.files.remote import source as source_module
from pybootd.files.remote.origin import HttpOrigin
from pybootd.files.remote.shares import Requester, find_victim
from pybootd.files.remote.source import RemoteSource
from pybootd.files.resolver import Files
from pybootd.files.source import Body, FileError, FileRequest, SourceSettings, Unavailable
from pybootd.http.server import HttpServer

from .origin import Site, octets
from .reading import SILENCE, Reader, fetch, start, wait


@pytest.fixture(params=["passed on", "cached"])
def source_of_each_kind(
    request: pytest.FixtureRequest, site: Site, loop: Loop, tmp_path: Path
) -> Iterator[RemoteSource]:
    made = RemoteSource(site.url, HttpOrigin(connect=1.0, silence=SILENCE))
    if request.param == "cached":
        made.apply_settings(SourceSettings(tmp_path / "cache", 1 << 30))
    made.start(loop)
    yield made
    site.go_on.set()
    made.close()


def open_for(source: RemoteSource, name: str, peer: str) -> Body:
    return source.open(name, FileRequest(name, peer, "192.0.2.1")).call()


def test_a_head_that_trickles_ends_as_a_whole(source: RemoteSource) -> None:
    before = time.monotonic()
    with pytest.raises(Unavailable, match=f"no answer for {SILENCE:g} s") as caught:
        start(source, "drip-head/x")
    assert caught.value.problem is FileProblem.ORIGIN_UNREACHABLE
    assert time.monotonic() - before < 5 * SILENCE


@pytest.mark.parametrize("manner", ["drip", "drip-chunk"])
def test_a_body_that_trickles_ends_as_a_whole(
    source: RemoteSource, loop: Loop, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    monkeypatch.setattr(origin, "SLOW_S", 2.0)
    reader = Reader(start(source, f"{manner}/x"))
    wait(lambda: reader.over, loop, 10)
    assert isinstance(reader.error, Unavailable)
    assert reader.error.problem is FileProblem.ORIGIN_BROKE_OFF


def test_seventy_trickling_names_of_one_client_stop_no_other(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    """They stopped all the other files of the same web server for 95 s."""
    ended: list[TaskResult[Body]] = []
    for number in range(70):
        name = f"drip-head/{number}"
        later = source.open(name, FileRequest(name, "192.0.2.66", "192.0.2.1"))
        loop.run_in_worker(later, lambda result, now: ended.append(result))
    loop.turn(0.1)
    done: list[TaskResult[Body]] = []
    before = time.monotonic()
    honest = source.open("octets/9", FileRequest("octets/9", "192.0.2.9", "192.0.2.1"))
    loop.run_in_worker(honest, lambda result, now: done.append(result))
    wait(lambda: done, loop)
    assert time.monotonic() - before < 1.5 * SILENCE
    done[0].get().close()
    wait(lambda: len(ended) == 70, loop, 30)
    assert all(isinstance(result.error, FileError) for result in ended)


def test_who_holds_most_gives_way_when_all_downloads_are_taken(
    source_of_each_kind: RemoteSource, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "MAX_DOWNLOADS", 6)
    monkeypatch.setattr(source_module, "MAX_DOWNLOADS_PER_CLIENT", 5)
    monkeypatch.setattr(cache, "MAX_FILLS", 6)
    monkeypatch.setattr(cache, "MAX_FILLS_PER_CLIENT", 5)
    source = source_of_each_kind
    greedy = [Reader(open_for(source, f"held/@50000/octets/{90000 + n}", "a")) for n in range(5)]
    with pytest.raises(Unavailable, match="for this client") as caught:
        open_for(source, "octets/1", "a")
    assert caught.value.problem is FileProblem.BUSY
    modest = [
        Reader(open_for(source, f"held/@50000/octets/{80000 + number}", peer))
        for number, peer in enumerate("bcd")
    ]
    wait(lambda: sum(one.over for one in greedy) == 2, loop)
    assert [one.over for one in greedy] == [False, False, False, True, True]
    assert all(isinstance(one.error, Unavailable) for one in greedy[3:])
    assert not any(one.over for one in modest)


def test_nobody_gives_way_to_one_that_holds_as_many() -> None:
    class Held:
        def __init__(self, peer: str) -> None:
            self.requester = Requester(peer)

    held = [Held(peer) for peer in "aabbb"]
    assert find_victim(held, "b") is None
    assert find_victim(held, "a") is None
    assert find_victim(held, "c") is held[4]
    assert find_victim([], "a") is None


@pytest.fixture
def circle(site: Site, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Run a daemon whose root is a web server that redirects to the daemon's own."""
    loop = Loop()
    loop.open()
    files = Files(RemoteSource(site.url, HttpOrigin(silence=5.0)), site.url)
    files.start(loop)
    server = HttpServer(HttpdConfig(port=0), loop, EventBus(), ClientTable(), files)
    server.open()
    server.start()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield lambda name: f"redirect/{f'http://127.0.0.1:{server.port}/'.replace('/', '+')}{name}"
    loop.call_from_thread(lambda now: loop.stop())
    thread.join()
    for part in (server, files, loop):
        part.close()


def test_a_web_server_that_leads_back_to_us_is_no_circle_for_ever(
    circle: Callable[[str], str], site: Site, loop: Loop
) -> None:
    source = RemoteSource(site.url)
    source.start(loop)
    name = circle("")
    with pytest.raises(Unavailable, match="503") as caught:
        start(source, f"{name}/{name}/x")
    assert caught.value.status == 503
    assert len(site.requests) < 5
    source.close()


def test_a_request_keeps_its_way_in_what_it_makes_us_ask(
    source: RemoteSource, site: Site, loop: Loop
) -> None:
    about = {"via": "1.1 other"}
    body = source.open("octets/9", FileRequest("octets/9", "a", "b", about=about)).call()
    body.close()
    assert site.vias == [f"1.1 other, 1.1 {origin.PSEUDONYM}"]
    about = {"via": f"1.1 {origin.PSEUDONYM}, 1.1 other"}
    with pytest.raises(Unavailable, match="leads back to pybootd"):
        source.open("octets/9", FileRequest("octets/9", "a", "b", about=about))
    assert fetch(source, loop, "octets/9") == octets(9)
