"""Files of this host: what is served, and what never is."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config, examine
from pybootd.core.workers import Later
from pybootd.files import paths
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.files.source import (
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    OpenedFile,
    SourceSettings,
    StaticBody,
    Unavailable,
)
from pybootd.system import openat2

from ..tftp.lab import RefusedError, running

# swaps a directory and a link to one outside, over and over: renameat2(2), RENAME_EXCHANGE
SWAP = """
import ctypes, os, sys
swap = ctypes.CDLL(None, use_errno=True).renameat2
one, other = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
while True:
    if swap(-100, one, -100, other, 2):
        sys.exit(os.strerror(ctypes.get_errno()))
"""


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep names below the root in each of the two ways: not every system has openat2."""
    if request.param == "walk":
        monkeypatch.setattr(openat2, "beneath", lambda *ignored: None)
    elif not has_openat2():
        pytest.skip("this system has no openat2")
    return str(request.param)


def has_openat2() -> bool:
    top = os.open("/", os.O_RDONLY)
    try:
        found = openat2.beneath(top, b".", os.O_RDONLY)
        if found is not None:
            os.close(found)
        return found is not None
    finally:
        os.close(top)


@pytest.fixture
def root(tmp_path: Path, way: str) -> Iterator[Path]:
    """Make a root with files and links in it, and something secret beside it."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"secret")
    (tmp_path / "root-more").mkdir()
    (tmp_path / "root-more" / "file").write_bytes(b"secret")
    made = tmp_path / "root"
    (made / "dir" / "deep").mkdir(parents=True)
    (made / "file").write_bytes(b"content")
    (made / "dir" / "file").write_bytes(b"in dir")
    (made / "dir" / "deep" / "file").write_bytes(b"deep")
    yield made
    assert left_open(tmp_path) == []


def left_open(below: Path) -> list[str]:
    """Tell what is open of a folder; nothing where the system doesn't tell.

    Not how much is open: another test's threads may still be closing theirs.
    """
    found = []
    for one in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
            found.append(str(one.readlink()))
    return [name for name in found if name.startswith(f"{below}/") or name == str(below)]


def fetch(root: Path, name: str) -> bytes:
    opened = Files(LocalSource(root)).open(FileRequest(name, "192.0.2.9", "192.0.2.1"))
    if isinstance(opened, Later):  # a template is rendered by a worker
        opened = opened.call()
    assert isinstance(opened, OpenedFile)
    assert isinstance(opened.body, StaticBody)
    try:
        return opened.body.pread(opened.body.size, 0)
    finally:
        opened.body.close()
        opened.body.close()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("file", b"content"),
        ("/file", b"content"),
        ("dir\\file", b"in dir"),
        ("/dir//deep/./file", b"deep"),
        ("dir/../file", b"content"),
    ],
)
def test_a_file_below_the_root_is_served(root: Path, name: str, content: bytes) -> None:
    assert fetch(root, name) == content


@pytest.mark.parametrize(
    ("link", "target", "name", "content"),
    [
        ("link", "file", "link", b"content"),
        ("link", "dir/deep/file", "link", b"deep"),
        ("link", "dir", "link/file", b"in dir"),
        ("link", "dir/", "link/deep/file", b"deep"),
        ("dir/deep/link", "../../file", "dir/deep/link", b"content"),
        ("dir/link", "../dir/deep/../../dir", "dir/link/file", b"in dir"),
        ("link", "{root}/dir/file", "link", b"in dir"),
        ("dir/link", "{root}/dir", "dir/link/deep/file", b"deep"),
        ("dir/link", "{root}", "dir/link/file", b"content"),
    ],
)
def test_a_link_that_stays_inside_is_followed(
    root: Path, link: str, target: str, name: str, content: bytes
) -> None:
    (root / link).symlink_to(target.format(root=root))
    assert fetch(root, name) == content


@pytest.mark.parametrize(
    ("link", "target", "name"),
    [
        ("link", "../secret", "link"),
        ("link", "../outside", "link/file"),
        ("link", "{root}/../secret", "link"),
        ("link", "/etc/passwd", "link"),
        ("link", "/etc", "link/passwd"),
        ("dir/link", "../../outside/file", "dir/link"),
        ("link", "dir/../../secret", "link"),
        ("link", "{root}-more/file", "link"),
        ("link", "..", "link/root/file"),
        ("link", "/", "link/etc/passwd"),
        ("link", "/proc/self/root", "link/etc/passwd"),
    ],
)
def test_a_link_that_leads_out_is_refused(root: Path, link: str, target: str, name: str) -> None:
    (root / link).symlink_to(target.format(root=root))
    assert (root / name).exists()
    with pytest.raises(Forbidden, match="out of the root"):
        fetch(root, name)


def fetch_by(root: Path, name: str, *links: Path, uploads: Path | None = None) -> bytes:
    settings = SourceSettings(links=links, uploads=uploads)
    files = Files(LocalSource(root), str(root), settings=settings)
    opened = files.open(FileRequest(name, "192.0.2.9", "192.0.2.1"))
    opened = opened.call() if isinstance(opened, Later) else opened
    with contextlib.closing(opened.body) as body:
        assert isinstance(body, StaticBody)
        return body.pread(body.size, 0)


LED_OUT = [
    ("link", "{stage}/file", "link", b"staged"),
    ("link", "{stage}", "link/file", b"staged"),
    ("link", "{stage}/deep", "link/file", b"deep staged"),
    ("link", "{stage}/./deep//file", "link", b"deep staged"),
    ("dir/link", "{stage}/inner/file", "dir/link", b"deep staged"),
    ("link", "{stage}/back/file", "link", b"content"),
    ("link", "{stage}/other/file", "link", b"secret"),
    ("link", "{stage}/deep/../file", "link", b"staged"),
    ("LINK", "{stage}", "link/FILE", b"staged"),
    ("link", "{stage}/../outside/file", "link", None),
    ("link", "../stage/file", "link", None),
    ("link", "dir/../../stage/file", "link", None),
    ("link", "{stage}-more/file", "link", None),
    ("link", "{stage}/up/outside/file", "link", None),
    ("link", "{stage}/passwd", "link", None),
    ("link", "{stage}/..", "link/outside/file", None),
    ("link", "/etc/passwd", "link", None),
    ("link", "{stage}/in/file", "link", None),
    ("in/link", "{stage}/file", "in/link", None),
    ("link", "{stage}/in", "link/file", None),
    ("link", "{stage}/toin/file", "link", None),
]


@pytest.fixture
def stage(root: Path, tmp_path: Path) -> Path:
    """Make a folder beside the root that links may lead to, with links in it."""
    made = tmp_path / "stage"
    for name, text in {"file": "staged", "deep/file": "deep staged", "in/file": "brought"}.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    (tmp_path / "stage-more").mkdir()
    (tmp_path / "stage-more" / "file").write_text("secret")
    for link, target in {
        "inner": "deep",
        "back": str(root),
        "other": str(tmp_path / "outside"),
        "up": "..",
        "passwd": "/etc/passwd",
        "toin": "in",
    }.items():
        (made / link).symlink_to(target)
    return made


@pytest.mark.parametrize(("link", "target", "name", "content"), LED_OUT)
def test_a_link_leads_out_where_the_administrator_says_so(
    root: Path,
    tmp_path: Path,
    stage: Path,
    link: str,
    target: str,
    name: str,
    content: bytes | None,
) -> None:
    uploads = stage / "in"
    if link.startswith("in/"):
        uploads = root / "in"
        uploads.mkdir()
    (root / link).symlink_to(target.format(stage=stage))
    allowed = (stage, tmp_path / "outside")
    if content is None:
        with pytest.raises(Forbidden, match="out of the root"):
            fetch_by(root, name, *allowed, uploads=uploads)
    else:
        assert fetch_by(root, name, *allowed, uploads=uploads) == content
    with pytest.raises(FileError):
        fetch(root, name)
    with pytest.raises(FileError):
        fetch_by(root, name, tmp_path / "root-more")


def test_no_link_leads_to_a_folder_below_that_of_uploads(root: Path, stage: Path) -> None:
    (root / "link").symlink_to(stage / "deep" / "file")
    with pytest.raises(Forbidden, match="out of the root"):
        fetch_by(root, "link", stage / "deep", uploads=stage)
    assert fetch_by(root, "link", stage / "deep", uploads=stage / "in") == b"deep staged"


def test_a_folder_for_links_may_be_reached_by_a_link(
    root: Path, stage: Path, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to("stage")
    (root / "one").symlink_to(tmp_path / "alias" / "file")
    (root / "two").symlink_to(stage / "file")
    for name in ("one", "two"):
        assert fetch_by(root, name, tmp_path / "alias") == b"staged"


def test_links_out_are_an_option_of_the_configuration(
    root: Path, stage: Path, tmp_path: Path
) -> None:
    (root / "link").symlink_to(stage / "file")
    (root / "bad").symlink_to(stage / "in" / "file")
    ini = tmp_path / "pybootd.ini"
    ini.write_text(f"[tftp]\nroot = ./root\nlinks = /nowhere, {stage}\nupload = ./stage/in\n")
    config, faults = examine(ini, ("tftp",))
    assert faults == []
    files = Files.from_config(config)
    opened = files.open(FileRequest("link", "192.0.2.9", "192.0.2.1"))
    assert isinstance(opened, OpenedFile)
    opened.body.close()
    with pytest.raises(Forbidden):
        files.open(FileRequest("bad", "192.0.2.9", "192.0.2.1"))


def test_names_of_several_parts_are_left_to_the_kernel_where_it_can(
    root: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[bytes] = []
    walk = paths._walk
    monkeypatch.setattr(paths, "_walk", lambda *given: walked.append(given[2]) or walk(*given))
    assert fetch(root, "dir/deep/file") == b"deep"
    assert walked == ([] if way == "openat2" else [b"dir/deep/file"])


@pytest.fixture(params=["../outside", "{outside}"], ids=["relative", "absolute"])
def swapping(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Iterator[Path]:
    """Have another process swap the directory ``dir`` for a link that leads out, and back."""
    outside = tmp_path / "outside"
    (root / "dir" / "text.j2").write_text("in template")
    (outside / "text.j2").write_text("secret")
    (outside / "deep").mkdir()
    (outside / "deep" / "file").write_text("secret")
    (root / "link").symlink_to(request.param.format(outside=outside))
    attack = [sys.executable, "-c", SWAP, str(root / "dir"), str(root / "link")]
    with subprocess.Popen(attack, stderr=subprocess.PIPE) as running:
        yield root
        assert running.poll() is None, running.communicate()[1]
        running.kill()


RACED = {"file": b"in dir", "deep/file": b"deep", "text": b"in template"}


def test_a_directory_swapped_for_a_link_meanwhile_leads_nowhere_else(swapping: Path) -> None:
    seen: dict[str, set[bytes]] = {name: set() for name in RACED}
    refused: set[str] = set()
    for tries in range(50_000):
        for name, found in seen.items():
            try:
                found.add(fetch(swapping, f"dir/{name}"))
            except (Forbidden, Missing, Unavailable) as error:
                refused.add(type(error).__name__)
        if tries > 1000 and "Forbidden" in refused and all(seen.values()):
            break  # both sides of the swap were met
    assert seen == {name: {content} for name, content in RACED.items()}
    assert "Forbidden" in refused


def test_a_folder_swapped_behind_a_link_that_may_lead_out_leads_nowhere_else(
    swapping: Path, tmp_path: Path
) -> None:
    """The link leads to ``root/dir`` from another root: what is swapped lies behind it."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "way").symlink_to(swapping / "dir")
    (other / "to").symlink_to(swapping)
    seen: set[bytes] = set()
    refused: set[str] = set()
    for tries in range(20_000):
        for name in ("way/deep/file", "to/dir/deep/file"):
            try:
                seen.add(fetch_by(other, name, swapping))
            except (Forbidden, Missing, Unavailable) as error:
                refused.add(type(error).__name__)
        if tries > 300 and "Forbidden" in refused and seen:
            break
    assert seen == {b"deep"}
    assert "Forbidden" in refused


def test_a_client_that_fetches_meanwhile_gets_nothing_from_outside(swapping: Path) -> None:
    got: set[bytes] = set()
    with running(swapping) as lab:
        client = lab.client()
        for tries in range(20_000):
            try:
                got.add(client.fetch("dir/deep/file"))
            except RefusedError as error:
                got.add(b"code %d" % error.error.code)
            if tries > 500 and {b"deep", b"code 2"} <= got:
                break
            lab.now += 0.01
    assert got <= {b"deep", b"code 2", b"code 1"}
    assert {b"deep", b"code 2"} <= got


def test_a_link_to_its_own_directory_is_not_followed_for_ever(root: Path) -> None:
    (root / "dir" / "self").symlink_to(".")
    assert fetch(root, "dir/" + "self/" * 30 + "file") == b"in dir"
    with pytest.raises(Forbidden):
        fetch(root, "dir/" + "self/" * 60 + "file")


def test_a_chain_of_links_is_followed_and_a_loop_is_refused(root: Path) -> None:
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("dir/three")
    (root / "dir" / "three").symlink_to("../file")
    assert fetch(root, "one") == b"content"
    (root / "loop").symlink_to("loop")
    (root / "ping").symlink_to("pong/x")
    (root / "pong").symlink_to("ping")
    for name in ("loop", "loop/file", "ping", "pong/file"):
        with pytest.raises(Forbidden):
            fetch(root, name)


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("root")
    (root / "link").symlink_to(tmp_path / "current" / "dir")
    (root / "real").symlink_to(root / "dir")
    assert fetch(tmp_path / "current", "link/file") == b"in dir"
    assert fetch(tmp_path / "current", "real/file") == b"in dir"


def test_only_regular_files_are_served_and_nothing_hangs(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        for name in ("fifo", "dir", "socket", "dir/"):
            with pytest.raises(Forbidden):
                fetch(root, name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused(root: Path) -> None:
    try:
        os.mknod(root / "null", 0o020666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this system makes no devices here")
    with pytest.raises(Forbidden, match="no regular file"):
        fetch(root, "null")


@pytest.mark.parametrize("name", ["nothing", "file/below", "dir/nothing", "x" * 300, "no/dir/file"])
def test_what_is_not_there_is_missing(root: Path, name: str) -> None:
    with pytest.raises(Missing):
        fetch(root, name)


def test_a_name_of_any_octets_is_found(root: Path) -> None:
    octets = b"caf\xe9"
    Path(os.fsdecode(os.fsencode(root) + b"/" + octets)).write_bytes(b"latin")
    assert fetch(root, octets.decode("utf-8", "surrogateescape")) == b"latin"


@pytest.mark.parametrize("change", ["cut", "grown", "written"])
def test_a_file_that_changes_while_it_is_read_is_noticed(root: Path, change: str) -> None:
    path = root / "file"
    body = LocalSource(root).open("file", FileRequest("file", "192.0.2.9", "192.0.2.1"))
    assert body.pread(4, 0) == b"cont"
    before = path.stat().st_mtime_ns
    path.write_bytes({"cut": b"con", "grown": b"content and more", "written": b"CONTENT"}[change])
    os.utime(path, ns=(before, before + 1_000_000_000))
    with pytest.raises(Unavailable):
        body.pread(4, 4)
    body.close()


def test_a_file_that_is_replaced_is_read_to_its_end(root: Path) -> None:
    source = LocalSource(root)
    request = FileRequest("file", "192.0.2.9", "192.0.2.1")
    old = source.open("file", request)
    (root / "new").write_bytes(b"renewed")
    (root / "new").replace(root / "file")
    new = source.open("file", request)
    again = source.open("file", request)
    assert (old.pread(99, 0), new.pread(99, 0)) == (b"content", b"renewed")
    assert old.pread(99, 99) == b""
    assert old.key != new.key == again.key
    for body in (old, new, again):
        body.close()
        assert body.fileno() is None


def test_the_files_of_a_configuration_are_found_beside_it(root: Path, tmp_path: Path) -> None:
    ini = tmp_path / "pybootd.ini"
    config = Config(ini, sections={"tftp": Section("tftp", ini, {"root": "./root"}, {"root": 3})})
    opened = Files.from_config(config).open(FileRequest("/dir/file", "192.0.2.9", "192.0.2.1"))
    assert isinstance(opened, OpenedFile)
    assert opened.served == "dir/file"
    opened.body.close()


@pytest.mark.parametrize(
    ("text", "problem"),
    [("./nothing", "does not exist"), ("./secret", "is no directory"), ("", "missing")],
)
def test_a_root_that_cannot_be_served_is_a_fault(
    root: Path, tmp_path: Path, text: str, problem: str
) -> None:
    section = Section("tftp", tmp_path / "pybootd.ini", {"root": text}, {"root": 3})
    with pytest.raises(ConfigError, match=rf"pybootd.ini:3: \[tftp\] root: .*{problem}"):
        LocalSource.from_config(section)


def test_every_refusal_is_a_file_error_of_one_line(root: Path) -> None:
    (root / "out").symlink_to("/etc")
    for name in ("", "..", "a\nb", "dir", "nothing", "out/passwd"):
        with pytest.raises(FileError) as caught:
            fetch(root, name)
        assert str(caught.value)
        assert "\n" not in str(caught.value)
