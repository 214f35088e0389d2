"""Files of web servers: passed on while they arrive, whole or with a clear refusal."""

import logging
import shutil
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from pybootd.config.ini import ConfigError, Section
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files.filters import Patterns
from pybootd.files.remote import source as source_module
from pybootd.files.remote.origin import HttpOrigin
from pybootd.files.remote.source import RemoteSource
from pybootd.files.resolver import Files
from pybootd.files.source import (
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    StreamBody,
    Unavailable,
)

from .origin import Site, octets
from .reading import SILENCE, Reader, fetch, start, wait


@pytest.mark.parametrize("count", [512, 65464, 1_000_000])
@pytest.mark.parametrize("manner", ["", "chunked/", "no-length/", "gzip/"])
def test_a_file_is_whole_however_it_comes(
    source: RemoteSource, loop: Loop, manner: str, count: int
) -> None:
    for size in (0, 1, 511, 512, 65536, 1_000_000):
        body = start(source, f"{manner}octets/{size}")
        assert body.size == (None if manner else size)
        reader = Reader(body, count)
        wait(lambda reader=reader: reader.over, loop)
        assert reader.error is None
        assert reader.data == octets(size)


def test_a_compressed_file_keeps_its_own_encoding(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    (site.root / "initrd.gz").write_bytes(b"compressed by its maker")
    name = "encoding/x-gzip/initrd.gz"
    assert start(source, name).size == 23
    assert fetch(source, loop, name) == b"compressed by its maker"


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("dir/with space", "/dir/with%20space"),
        ("50%/#1?", "/50%25/%231%3F"),
        ("gr\u00fc\u00dfe", "/gr%C3%BC%C3%9Fe"),
        ("latin\udcfc", "/latin%FC"),
    ],
)
def test_a_name_is_encoded_as_a_url_wants(
    source: RemoteSource, loop: Loop, site: Site, name: str, asked: str
) -> None:
    path = site.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"here")
    assert fetch(source, loop, name) == b"here"
    assert site.requests == [(asked, "")]


def test_a_prefix_may_have_a_path_or_a_query(site: Site, loop: Loop) -> None:
    (site.root / "sub").mkdir()
    (site.root / "sub" / "file").write_bytes(b"here")
    for prefix in ("/sub", "/sub/", "/sub/file?name="):
        source = RemoteSource(site.url + prefix)
        source.start(loop)
        assert fetch(source, loop, "file") == b"here"
        source.close()
    assert [path for path, _ in site.requests] == ["/sub/file", "/sub/file", "/sub/file?name=file"]


def test_redirections_are_followed_and_a_circle_is_not(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    assert fetch(source, loop, "redirect/chunked/octets/9") == octets(9)
    assert fetch(source, loop, f"{site.url}/redirect/no-length/octets/9") == octets(9)
    with pytest.raises(Unavailable, match="too many redirects"):
        start(source, "redirect/loop/x")
    with pytest.raises(Unavailable, match="No host"):
        start(source, "redirect/file:++/etc/passwd")


@pytest.mark.parametrize(
    ("name", "refusal", "reason"),
    [
        ("nothing", Missing, "/nothing: 404 Not Found$"),
        ("status/410/x", Missing, "410 Gone"),
        ("status/401/x", Forbidden, "401 Unauthorized"),
        ("status/403/x", Forbidden, "403 Forbidden"),
        ("status/500/x", Unavailable, "500 Internal Server Error"),
        ("status/503/x", Unavailable, "503 Service Unavailable"),
        ("status/204/x", Unavailable, "204 No Content"),
        ("status/304/x", Unavailable, "304 Not Modified"),
        ("encoding/\x1b[2J/octets/9", Unavailable, r"undone: \?\[2j$"),
        ("hangup/x", Unavailable, "the connection broke before an answer came"),
        ("slow-answer/1.5/octets/9", Unavailable, f"no answer for {SILENCE:g} s"),
        ("encoding/zstd/octets/9", Unavailable, "an encoding that can't be undone: zstd"),
    ],
)
def test_what_a_web_server_refuses_is_refused(
    source: RemoteSource, site: Site, name: str, refusal: type[FileError], reason: str
) -> None:
    with pytest.raises(refusal, match=reason) as caught:
        start(source, name)
    assert type(caught.value) is refusal
    assert str(caught.value).startswith(site.url)


def test_a_web_server_that_is_not_there_is_named_with_the_reason(loop: Loop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets it
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        for prefix, reason in (
            (url, "can't connect: Connection refused"),
            ("http://nowhere.invalid/", "no host of this name"),
            (url.replace("http:", "https:"), "can't connect: Connection refused"),
        ):
            source = RemoteSource(prefix)
            source.start(loop)
            with pytest.raises(Unavailable, match=f"^{prefix}x: {reason}$"):
                start(source, "x")
            source.close()


def test_a_web_server_that_takes_no_connection_is_given_up(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as busy, ExitStack() as stack:
        for _ in range(3):  # more than the backlog holds: the next one gets no answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        url = f"http://127.0.0.1:{busy.getsockname()[1]}"
        source = RemoteSource(url, HttpOrigin(connect=0.2))
        source.start(loop)
        with pytest.raises(Unavailable, match=f"^{url}/x: can't connect: no answer for 0.2 s$"):
            start(source, "x")
        source.close()


def test_https_wants_a_certificate_that_is_trusted(
    site: Site, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("not installed: openssl")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=mirror", "-addext", "subjectAltName=IP:127.0.0.1"]
    words = [*command.split(), *names, "-keyout", key, "-out", certificate]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    for trusted in (False, True):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        source = RemoteSource(site.url.replace("http:", "https:"))
        source.start(loop)
        if trusted:
            assert fetch(source, loop, "octets/100000") == octets(100000)
        else:
            with pytest.raises(Unavailable, match=r"connection: self.signed certificate"):
                start(source, "octets/9")
        source.close()


def test_what_is_no_https_is_told(site: Site, loop: Loop) -> None:
    source = RemoteSource(site.url.replace("http:", "https:"))
    source.start(loop)
    with pytest.raises(Unavailable, match=r"no secure connection: wrong version number$"):
        start(source, "octets/9")
    source.close()


@pytest.mark.parametrize("manner", ["", "chunked/", "no-length/", "gzip/"])
def test_silence_in_the_middle_is_waited_for_and_then_an_error(
    source: RemoteSource, loop: Loop, manner: str
) -> None:
    assert fetch(source, loop, f"{manner}silent/0.1@40000/octets/90000") == octets(90000)
    with pytest.raises(Unavailable, match=rf"silent for {SILENCE:g} s after \d+ octets"):
        fetch(source, loop, f"{manner}silent/1.5@40000/octets/90000")


@pytest.mark.parametrize("manner", ["", "chunked/", "gzip/", "etag/"])
def test_a_cut_in_the_middle_is_an_error(source: RemoteSource, loop: Loop, manner: str) -> None:
    reader = Reader(start(source, f"{manner}cut/@40000/octets/90000"), 512)
    wait(lambda: reader.over, loop)
    place = {"": "40000 of 90000", "etag/": "40000 of 90000", "chunked/": "40000"}
    assert f"octets/90000: cut after {place.get(manner, '')}" in str(reader.error)
    assert 39000 < len(reader.data) <= 40000
    assert octets(90000).startswith(reader.data)


def test_a_cut_download_is_taken_up_where_the_web_server_can(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    assert fetch(source, loop, "ranges/etag/cut/@40000/octets/90000") == octets(90000)
    assert [span for _, span in site.requests] == ["", "bytes=40000-"]


def test_the_octets_before_a_cut_are_passed_on(source: RemoteSource, loop: Loop) -> None:
    reader = Reader(start(source, "cut/@40960/octets/90000"), 512)
    wait(lambda: reader.over, loop)
    assert reader.data == octets(40960)
    assert reader.error is not None


def test_what_arrived_is_passed_on_while_the_rest_is_awaited(
    source: RemoteSource, loop: Loop, site: Site
) -> None:
    reader = Reader(start(source, "held/@5120/octets/9000"), 512)
    wait(lambda: len(reader.data) == 5120, loop)
    assert not reader.over
    site.go_on.set()
    wait(lambda: reader.over, loop)
    assert reader.data == octets(9000)


def test_too_many_downloads_are_refused(source: RemoteSource, monkeypatch) -> None:
    monkeypatch.setattr(source_module, "MAX_DOWNLOADS", 2)
    bodies = [start(source, f"octets/{number}") for number in (1, 2)]
    with pytest.raises(Unavailable, match="2 downloads are under way"):
        start(source, "octets/3")
    for body in bodies:
        body.close()


def test_a_stop_ends_what_is_under_way_at_once(source: RemoteSource, loop: Loop) -> None:
    reader = Reader(start(source, "held/@5000/octets/9000"), 512)
    before = time.monotonic()
    source.close()
    wait(lambda: reader.over and not source.download_count, loop)
    assert time.monotonic() - before < SILENCE
    assert "the daemon stops" in str(reader.error)
    with pytest.raises(Unavailable, match="the daemon stops"):
        start(source, "octets/1")


def test_an_error_of_pybootd_is_logged_and_ends_that_download_alone(
    source: RemoteSource, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(source.origin, "request_file", lambda *arguments: 1 // 0)
    with caplog.at_level(logging.ERROR), pytest.raises(Unavailable, match="internal error"):
        start(source, "octets/1")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "root",
    ["http://", "http:///x", "http://a b/", "http://h:99999/", "http://h:port/", "gopher://x"],
)
def test_a_root_that_is_no_url_is_a_fault(root: str) -> None:
    with pytest.raises(ConfigError, match=r"x.ini:4: \[tftp\] root: .* is no URL"):
        RemoteSource.from_config(Section("tftp", Path("x.ini"), {"root": root}, {"root": 4}))


def test_filters_lead_to_web_servers_and_back(site: Site, loop: Loop, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, text in {"sub/file": "below", "beside": "beside", "sub/list": "file\n"}.items():
        (tmp_path / name).write_text(text)
    lines = {
        "a": "file",
        "b": "../beside",
        "c": "[list]",
        "d": f"{site.url}/octets/{{hostname}}",
        "e": "/etc/hostname",
        "f": f"{site.url}/{{filename}}",
        "g": "pybootd/etc/pxe.cfg",
        "h": f"[{site.url}/sub/list]",
    }
    files = Files(RemoteSource(f"{site.url}/sub"), f"{site.url}/sub", [Patterns(lines)])
    files.start(loop)

    def content(name: str) -> bytes:
        """Fetch as a server does: on a worker where it has to wait, the loop going on."""
        opened = files.open(FileRequest(name, "192.0.2.9", "192.0.2.1"))
        if isinstance(opened, Later):
            outcomes: list = []
            loop.run_in_worker(opened, lambda outcome, now: outcomes.append(outcome))
            wait(lambda: outcomes, loop)
            opened = outcomes[0].get()
        if isinstance(opened.body, StreamBody):
            reader = Reader(opened.body)
            wait(lambda: reader.over, loop)
            return bytes(reader.data)
        with_size = opened.body.pread(opened.body.size, 0)
        opened.body.close()
        return with_size

    assert content("a") == content("c") == content("h") == b"below"
    assert content("b") == b"beside"
    assert content("e") == Path("/etc/hostname").read_bytes()
    assert b"initrd" in content("g")
    for name in ("d", "f", "nothing"):
        with pytest.raises(Missing):
            content(name)
    files.close()


def test_what_needs_no_web_server_loads_no_http_client(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pybootd.config.loader import Config\n"
        "from pybootd.config.options.files import TftpConfig\n"
        "from pybootd.files.resolver import Files\n"
        f"Files.from_config(Config(Path('x.ini'), tftp=TftpConfig(root={str(tmp_path)!r})))\n"
        "print([name for name in ('urllib3', 'ssl', 'http.client') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
