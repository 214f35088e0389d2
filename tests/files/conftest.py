"""A web server, a loop, and a source that asks the one and calls back in the other."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybootd.core.loop import Loop
from pybootd.files.remote import download
from pybootd.files.remote.origin import HttpOrigin
from pybootd.files.remote.source import RemoteSource

from .origin import Site
from .reading import SILENCE, wait


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.go_on.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_WINDOWS", 4 << 20)
    monkeypatch.setattr(download, "MAX_WINDOW", 1 << 19)
    monkeypatch.setattr(download, "MIN_WINDOW", 1 << 16)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    made.open()
    yield made
    made.close()


@pytest.fixture
def source(site: Site, loop: Loop) -> Iterator[RemoteSource]:
    made = RemoteSource(site.url, HttpOrigin(connect=1.0, silence=SILENCE))
    made.start(loop)
    yield made
    made.close()
    wait(lambda: not made.download_count, loop)
