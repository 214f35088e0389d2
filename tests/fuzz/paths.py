"""Names as clients send them, and filters as administrators write them: nothing leads astray."""

import atexit
import functools
import os
import posixpath
import shutil
import tempfile
from pathlib import Path
from uuid import UUID

from pybootd.config.ini import Section
from pybootd.core.client import Client, KnownClient
from pybootd.core.workers import Later
from pybootd.files import paths
from pybootd.files.filters import FilterTarget, Patterns, is_url
from pybootd.files.local import LocalFile, LocalSource
from pybootd.files.resolver import Files
from pybootd.files.source import FileError, FileRequest, OpenedFile

from .feed import Feed, text

MAC = b"\x52\x54\0\0\0\1"
FULL = ("a", "b.efi", "dir/c", "dir/deep/grub.cfg", "grub/grub.cfg", "Case/FILE", "12345678/own")


@functools.cache
def root() -> Path:
    """Make a root once for all runs, with links that stay inside and links that lead out."""
    top = Path(tempfile.mkdtemp(prefix="pybootd-fuzz-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    made = top / "root"
    for name in FULL:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text("b.efi\n")
    for outside in (top / "out", top / "root2"):
        outside.mkdir()
        (outside / "secret").write_text("no client may read this")
    for link, target in {
        "in": "dir/c",
        "rel": "../out/secret",
        "abs": str(top / "out/secret"),
        "own": str(made / "dir"),
        "up": "..",
        "loop": "loop",
        "dir/back": "../..",
        "dir/home": "..",
        "near": f"{made}2/secret",
    }.items():
        (made / link).symlink_to(target)
    os.mkfifo(made / "fifo")
    return made


def _next_descriptor() -> int:
    """Tell the lowest descriptor that is free: the same before and after, if none was left."""
    free = os.open("/", os.O_PATH)
    os.close(free)
    return free


def _open(files: Files, request: FileRequest) -> str | None:
    """Return the path of the file that is served; None: it was refused."""
    free = _next_descriptor()
    try:
        opened = files.open(request)
        if isinstance(opened, Later):
            opened = opened.call()
    except FileError as error:
        assert _next_descriptor() == free
        assert str(error)
        return None
    path = _path(opened)
    opened.body.close()
    assert _next_descriptor() == free
    return path


def _path(opened: OpenedFile) -> str:
    assert isinstance(opened.body, LocalFile)
    return str(Path(f"/proc/self/fd/{opened.body.fileno()}").readlink())


def file_names(data: bytes) -> None:
    """Names one after the other, for one client: whatever is opened lies below the root."""
    paths.clean_name.cache_clear()
    files = Files(LocalSource(root()), str(root()))
    known = (
        KnownClient(Client(MAC, UUID(bytes_le=b"RPi4" + bytes(12)))) if data[:1] == b"p" else None
    )
    for octets in data[:2048].split(b"\0"):
        asked = text(octets)
        try:
            cleaned = paths.clean_name(asked)
        except FileError:
            pass
        else:
            assert not {"", ".", ".."} & set(cleaned.split("/"))
            assert paths.clean_name(cleaned) == cleaned
            assert paths.encode_name(cleaned).decode("utf-8", "surrogateescape") == cleaned
        path = _open(files, FileRequest(asked, "10.0.0.9", "10.0.0.1", known))
        if path is not None:
            assert path.startswith(f"{root()}/"), path
            assert os.path.relpath(path, root()) in FULL


def filters(data: bytes) -> None:
    """Lines of ``[filters]``, an empty one, the client's own values, the name that it asks for."""
    written, _, asked = data[:2048].partition(b"\n\n")
    # no configuration file holds a NUL
    lines = [line.partition("=") for line in text(written).replace("\0", "").split("\n")]
    options = {left.strip(): right.strip() for left, _, right in lines[:6] if left.strip()}
    section = Section("filters", Path("pybootd.ini"), options)
    patterns = Patterns.from_config(section)
    if list(patterns.find_faults(section, ("group",))):
        return
    feed = Feed(asked)
    known = KnownClient(Client(MAC, architecture=feed.octet()), variables={"group": "b.efi"})
    known.hostname, known.file = text(feed.take(feed.octet() % 16)), "dir/c"
    asked = text(feed.rest())
    try:
        name = paths.clean_name(asked)
    except FileError:
        return
    request = FileRequest(name, "10.0.0.9", "10.0.0.1", known)
    chosen = _chosen(patterns, request)
    first = next((one for one in options if _fits(one, name)), None)
    assert chosen is None or first is not None
    if chosen is not None and first is not None:
        _lead(patterns, chosen, options[first], request)


def _chosen(patterns: Patterns, request: FileRequest) -> FilterTarget | None:
    try:
        return patterns.rewrite(request)
    except FileError as error:
        assert str(error)
        return None


def _fits(pattern: str, name: str) -> bool:
    """Match as the README says, slowly: ``*`` any run of characters, ``?`` one."""
    pattern = pattern.replace("\\", "/").lstrip("/")
    ends = [True] + [False] * len(name)
    for letter in pattern:
        if letter == "*":
            ends = [any(ends[: at + 1]) for at in range(len(ends))]
        else:
            ends = [False] + [
                before and letter in ("?", there) for before, there in zip(ends, name, strict=False)
            ]
    return ends[-1]


def _lead(patterns: Patterns, chosen: FilterTarget, value: str, request: FileRequest) -> None:
    """See that the client's values stay where the administrator put them."""
    path = chosen.base + chosen.name
    if "{" not in value:
        assert chosen.name == ""
        assert chosen.base in value
    elif not is_url(path):
        inside = posixpath.normpath(posixpath.join("/x", chosen.name))
        assert inside.startswith("/x/")
    below = not path.startswith("/") and ".." not in path.split("/") and not is_url(path)
    if below and not path.startswith("pybootd/etc/"):
        files = Files(LocalSource(root()), str(root()), [patterns])
        served = _open(files, request)
        # an administrator's link may lead out: only what a client's own name leads to may not
        assert served is None or chosen.name == "" or served.startswith(f"{root()}/")
