"""Filters: the requested name in, another name out."""

import time
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config, examine, load
from pybootd.config.options.files import TftpConfig
from pybootd.core.client import Client, KnownClient
from pybootd.core.workers import Later
from pybootd.files.filters import Filter, FilterTarget, Patterns, compile_pattern
from pybootd.files.local import LocalSource
from pybootd.files.locator import join_url
from pybootd.files.resolver import Files
from pybootd.files.source import (
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    OpenedFile,
    Source,
    StaticBody,
    StreamBody,
    TextBody,
    Unavailable,
)

KNOWN = KnownClient(
    Client(bytes.fromhex("525400123456"), architecture=7, hostname="said"),
    IPv4Address("192.0.2.9"),
    uuid=UUID("00112233-4455-6677-8899-AABBCCDDEEFF"),
    hostname="node7",
    file="boot/linux",
    variables={"image": "images/v5"},
)


def request(name: str, known: KnownClient | None = KNOWN) -> FileRequest:
    return FileRequest(name, "192.0.2.9", "192.0.2.1", known)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("linux", "linux", True),
        ("linux", "linux2", False),
        ("linux", "a/linux", False),
        ("/linux", "linux", True),
        ("boot\\bcd", "boot/bcd", True),
        ("Linux", "linux", False),
        ("pxelinux.cfg/*", "pxelinux.cfg/default", True),
        ("pxelinux.cfg/*", "pxelinux.cfg/", True),
        ("pxelinux.cfg/*", "pxelinux_cfg/default", False),
        ("*", "a/b/c", True),
        ("*.cfg", "a/b.cfg", True),
        ("*.cfg", "a/b.cfg.old", False),
        ("a*b*c", "a1b2b3c", True),
        ("a*b*c", "acb", False),
        ("a*bc*c", "abcc", True),
        ("a*bc*c", "abc", False),
        ("a*a", "a", False),
        ("*ab?*", "xababab", True),
        ("**a**", "bab", True),
        ("??", "ab", True),
        ("??", "a", False),
        ("?.0", "/.0", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("a", "a\n", False),
        ("", "", True),
    ],
)
def test_a_pattern_fits(pattern: str, name: str, fits: bool) -> None:
    assert bool(compile_pattern(pattern).match(name)) is fits


def fits_slowly(pattern: str, name: str) -> bool:
    """Match wildcards by their definition."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(fits_slowly(pattern[1:], name[cut:]) for cut in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and fits_slowly(pattern[1:], name[1:])


@given(st.text("ab*?", max_size=7), st.text("ab", max_size=9))
def test_every_pattern_fits_as_wildcards_are_defined(pattern: str, name: str) -> None:
    assert bool(compile_pattern(pattern).match(name)) is fits_slowly(pattern, name)


def test_no_name_makes_a_pattern_slow() -> None:
    pattern = compile_pattern("*a" * 20 + "*b")
    before = time.process_time()
    assert not pattern.match("a" * 1000)
    assert time.process_time() - before < 0.2


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("other/name", FilterTarget("other/name")),
        ("/srv/name", FilterTarget("/srv/name")),
        ("file:///srv/name", FilterTarget("/srv/name")),
        ("../name", FilterTarget("../name")),
        ("http://mirror/x?y=z", FilterTarget("http://mirror/x?y=z")),
        ("[lists/now]", FilterTarget("lists/now", "", True)),
        ("[ lists/{mac} ]", FilterTarget("lists/", "52-54-00-12-34-56", True)),
        ("{mac}", FilterTarget("", "52-54-00-12-34-56")),
        ("{ip}", FilterTarget("", "192.0.2.9")),
        ("{uuid}", FilterTarget("", "00112233-4455-6677-8899-aabbccddeeff")),
        ("{arch}", FilterTarget("", "efi-x86_64")),
        ("{hostname}", FilterTarget("", "node7")),
        ("{server}", FilterTarget("", "192.0.2.1")),
        ("{file}", FilterTarget("", "boot/linux")),
        ("{image}/x", FilterTarget("", "images/v5/x")),
        ("other/{filename}", FilterTarget("other/", "sub/asked name")),
        ("/srv/x-{mac}/{filename}", FilterTarget("/srv/", "x-52-54-00-12-34-56/sub/asked name")),
        ("../{filename}", FilterTarget("../", "sub/asked name")),
        ("http://mirror/{filename}", FilterTarget("http://mirror/sub/asked%20name")),
        (
            "http://mirror/?m={mac}&f={file}",
            FilterTarget("http://mirror/?m=52-54-00-12-34-56&f=boot/linux"),
        ),
    ],
)
def test_a_value_leads_to_its_target(value: str, target: FilterTarget) -> None:
    filters = Patterns.from_config(Section("filters", options={"sub/*": value}))
    assert filters.rewrite(request("sub/asked name")) == target
    assert filters.rewrite(request("elsewhere")) is None


def test_the_first_line_that_fits_decides() -> None:
    filters = Patterns({"a*": "first", "ab*": "second", "*": "third"})
    assert filters.rewrite(request("abc")) == FilterTarget("first")
    assert filters.rewrite(request("b")) == FilterTarget("third")


@pytest.mark.parametrize("value", ["{mac}", "{uuid}", "{file}", "{hostname}", "http://m/{mac}"])
def test_a_variable_that_is_unknown_of_this_client_is_a_miss(value: str) -> None:
    with pytest.raises(Missing, match="not known"):
        Patterns({"*": value}).rewrite(request("a", None))


def test_a_variable_that_is_unknown_is_empty_in_the_query_of_a_url() -> None:
    filters = Patterns({"*": "http://m/boot?mac={mac}&host={hostname}"})
    assert filters.rewrite(request("a", None)) == FilterTarget("http://m/boot?mac=&host=")


@pytest.mark.parametrize("name", ["..", "../../etc", "a/b", "/etc/passwd", "a\\b", "a\nb", "\0"])
@pytest.mark.parametrize(
    "value",
    ["hosts/{hostname}", "/srv/{hostname}/x", "{hostname}", "http://m/{hostname}", "[{hostname}]"],
)
def test_a_host_name_never_adds_a_part_to_a_path(name: str, value: str) -> None:
    known = KnownClient(Client(b"123456", hostname=name))
    try:
        target = Patterns({"*": value}).rewrite(request("a", known))
    except Forbidden:
        return
    assert target in (FilterTarget("http://m/a%0Ab"), FilterTarget("http://m/%00"))


@pytest.mark.parametrize("file", ["../../etc/passwd", "a/../../b", "..\\..\\b"])
@pytest.mark.parametrize("value", ["{file}", "hosts/{file}", "/srv/{file}", "http://m/x/{file}"])
def test_a_file_named_by_a_server_never_leads_out(file: str, value: str) -> None:
    known = KnownClient(Client(b"123456"), file=file)
    try:
        target = Patterns({"*": value}).rewrite(request("a", known))
    except Forbidden:
        return
    assert target == FilterTarget("http://m/x/..%5C..%5Cb")


def test_parts_that_only_meet_to_lead_out_are_refused() -> None:
    known = KnownClient(Client(b"123456", hostname="."))
    for value in ("/srv/.{hostname}/x", "http://m/.{hostname}/x"):
        with pytest.raises(Forbidden):
            Patterns({"*": value}).rewrite(request("a", known))


def test_faults_are_told_all_at_once(tmp_path: Path) -> None:
    ini = tmp_path / "pybootd.ini"
    ini.write_text(
        "[tftp]\nroot = nowhere\nfilters = patterns, inventary\n[filters]\na = {hostnam}.cfg\n"
        "b = {mac\nc =\nd = {mac}/{image}\n"
    )
    config = examine(ini, ("tftp",))[0]
    with pytest.raises(ConfigError) as caught:
        Files.from_config(config)
    text = str(caught.value)
    assert len(caught.value.faults) == 6
    assert f"{ini}:2: [tftp] root: {tmp_path}/nowhere does not exist" in text
    assert f"{ini}:3: [tftp] filters: pybootd.filters knows no 'inventary'" in text
    assert f"{ini}:5: [filters] a: unknown variable {{hostnam}}; there are {{arch}}" in text
    assert "(did you mean {hostname}?)" in text
    assert f"{ini}:6: [filters] b: a brace without its partner" in text
    assert f"{ini}:7: [filters] c: no path" in text
    assert f"{ini}:8: [filters] d: unknown variable {{image}}" in text


@pytest.mark.parametrize("name", ["filters", "pins"])
def test_more_lines_than_a_request_can_be_compared_with_are_a_fault(
    root: Path, tmp_path: Path, name: str
) -> None:
    """300,000 filters took 16 s to read, and each request a second."""
    value = {"filters": "x", "pins": f"sha256:{'0' * 64}"}[name]
    options = {f"dir{number}/*": value for number in range(300_000)}
    lines = {option: number + 3 for number, option in enumerate(options)}
    root_section = Section("tftp", tmp_path / "x.ini", {"root": str(root)}, {"root": 2})
    sections = {"tftp": root_section, name: Section(name, tmp_path / "x.ini", options, lines)}
    before = time.process_time()
    with pytest.raises(
        ConfigError, match=rf"ini:10003: \[{name}\] .*more than 10000 lines, 300000"
    ):
        Files.from_config(Config(tmp_path / "x.ini", sections=sections))
    assert time.process_time() - before < 1


# the walk: names -> filters -> source


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a root, and a directory beside it that only filters lead to."""
    for path, text in {
        "root/file": "file",
        "root/images/node7.img": "for node7",
        "root/52-54-00-12-34-56/linux": "own linux",
        "root/lists/now": "images/node7.img\nnothing else is read",
        "root/lists/bom": "\ufeff  /file  \r\n",
        "root/lists/out": "../beside/secret",
        "root/lists/absolute": "/etc/passwd",
        "root/lists/empty": "\n\nfile\n",
        "root/lists/long": "x" * 5000,
        "root/lists/binary": "\0\0\0",
        "root/pybootd/etc/own.cfg": "own",
        "root/pybootd/etc/pxe.cfg": "never",
        "beside/secret": "beside",
        "beside/sub/file": "beside sub",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    (tmp_path / "root" / "out").symlink_to("../beside")
    (tmp_path / "beside" / "out").symlink_to("/etc")
    return tmp_path / "root"


def fetch(root: Path, lines: dict[str, str], name: str, known: KnownClient | None = KNOWN) -> bytes:
    files = Files(LocalSource(root), str(root), [Patterns(lines)])
    opened = files.open(request(name, known))
    assert isinstance(opened, OpenedFile)
    assert isinstance(opened.body, StaticBody)
    with_size = opened.body.pread(opened.body.size, 0)
    opened.body.close()
    return with_size


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("file", b"file"),
        ("/etc/hostname", None),
        ("{root}/images/node7.img", b"for node7"),
        ("../beside/secret", b"beside"),
        ("out/secret", b"beside"),
        ("../beside/{filename}", b"beside sub"),
        ("{root}/../beside/{filename}", b"beside sub"),
        ("images/{hostname}.img", b"for node7"),
        ("{mac}/linux", b"own linux"),
        ("[lists/now]", b"for node7"),
        ("[/{root}/lists/now]", b"for node7"),
        ("[lists/bom]", b"file"),
        ("pybootd/etc/own.cfg", b"own"),
    ],
)
def test_a_filter_is_followed(root: Path, value: str, content: bytes | None) -> None:
    if content is None:
        content = Path(value).read_bytes()
    assert fetch(root, {"sub/file": value.replace("{root}", str(root))}, "/sub/file") == content


@pytest.mark.parametrize(
    ("value", "refusal", "reason"),
    [
        ("out/{filename}", Forbidden, "out of the root"),
        ("../beside/out/{filename}", Forbidden, ""),
        ("images", Forbidden, "directory"),
        ("nothing", Missing, "no such file"),
        ("[lists/out]", Forbidden, "lists/out: the name leads out of the root"),
        ("[lists/absolute]", Missing, "no such file"),
        ("[lists/empty]", Missing, "lists/empty holds no name"),
        ("[lists/long]", Missing, "lists/long: the name is longer"),
        ("[lists/binary]", Forbidden, "lists/binary: .*control"),
        ("[nothing]", Missing, "no such file"),
        ("ftp://mirror/x", Unavailable, "knows no .ftp."),
    ],
)
def test_a_filter_that_leads_nowhere_is_a_refusal(
    root: Path, value: str, refusal: type[FileError], reason: str
) -> None:
    if value.startswith("../beside/out"):
        assert fetch(root, {"*": "../beside/out/hostname"}, "a")  # the administrator's own may
        with pytest.raises(FileError):
            fetch(root, {"*": "../beside/{filename}"}, "out/hostname")  # the client's own may not
        return
    with pytest.raises(refusal, match=reason):
        fetch(root, {"*": value}, "secret")


def test_a_shipped_file_is_served_whatever_the_root_is(root: Path) -> None:
    served = fetch(root, {"pxelinux.cfg/*": "pybootd/etc/pxe.cfg"}, "pxelinux.cfg/01-52-54-00")
    assert b"initrd=" in served
    assert fetch(root, {"*": "pybootd/etc/{filename}"}, "pxe.cfg") == served
    # asked for by a client, it is a path like any other
    assert fetch(root, {}, "pybootd/etc/pxe.cfg") == b"never"
    with pytest.raises(FileError):
        fetch(root, {"*": "pybootd/etc/{filename}"}, "../config.py")


class Shout(Filter):
    """A third party's filter."""

    @classmethod
    def from_config(cls, section):
        return cls()

    def rewrite(self, request):
        word, _, rest = request.name.partition("/")
        answers = {
            "bytes": rest.upper().encode(),
            "name": rest,
            "path": f"/{rest}",
            "later": Later(lambda: rest.upper().encode(), "shout"),
            "never": Later(self.refuse),
        }
        return answers.get(word)

    def refuse(self):
        raise Missing("never heard of it")


def test_a_filter_may_answer_with_octets_a_name_or_later(root: Path) -> None:
    files = Files(LocalSource(root), str(root), [Shout(), Patterns({"*": "file"})])

    def content(name: str) -> bytes:
        opened = files.open(request(name))
        if isinstance(opened, Later):
            assert opened.pool in ("shout", "default")
            opened = opened.call()
        assert isinstance(opened.body, StaticBody)
        data = opened.body.pread(99, 0)
        opened.body.close()
        return data

    assert content("bytes/quiet") == b"QUIET"
    assert content("name/images/node7.img") == b"for node7"
    assert content("path/etc/hostname") == Path("/etc/hostname").read_bytes()
    assert content("later/quiet") == b"QUIET"
    assert content("anything") == b"file"
    with pytest.raises(Missing, match="never heard"):
        content("never/mind")
    with pytest.raises(Forbidden):
        content("name/out/secret")


class Slow(StreamBody):
    """A body of two pieces; the second comes later, and then the end."""

    size = None

    def __init__(self, pieces):
        self.pieces = pieces
        self.closed = False

    def read(self, count):
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def when_ready(self, callback):
        callback(0.0)

    def close(self):
        self.closed = True


class Elsewhere(Source):
    """A source that has to wait, as a remote one does."""

    def __init__(self, listing):
        self.listing = Slow(listing)
        self.asked = []

    @classmethod
    def from_config(cls, section):
        raise NotImplementedError

    def open(self, name, request):
        self.asked.append(name)
        return Later(lambda: self.listing if name == "list" else TextBody(name.encode()), "far")


@pytest.mark.parametrize(
    ("listing", "served"),
    [
        ([None, b"dir/name\nmore"], "dir/name"),
        ([None, Unavailable("cut")], Unavailable),
        ([b""], Missing),
    ],
)
def test_a_list_at_a_remote_root_is_read_by_a_worker(listing, served) -> None:
    source = Elsewhere(listing)
    files = Files(source, "http://mirror/top", [Patterns({"now": "[list]"})])
    later = files.open(request("now"))
    assert isinstance(later, Later)
    assert later.pool == "far"
    if isinstance(served, str):
        opened = later.call()
        assert opened.served == served
        assert source.asked == ["list", "dir/name"]
    else:
        with pytest.raises(served):
            later.call()
    assert source.listing.closed


def test_relative_targets_of_a_remote_root_stay_with_its_source() -> None:
    source = Elsewhere([])
    lines = {"a": "other dir/a", "b": "../b c", "c": "http://host/d e", "d": "/etc/hostname"}
    files = Files(source, "http://mirror/top/sub", [Patterns(lines)])
    for name in "abcx":
        later = files.open(request(name))
        assert isinstance(later, Later)
    assert source.asked == ["other dir/a", "http://mirror/top/b%20c", "http://host/d e", "x"]
    opened = files.open(request("d"))
    assert isinstance(opened, OpenedFile)
    opened.body.close()


def test_a_relative_path_leads_out_of_a_url_but_never_to_another_host() -> None:
    assert join_url("http://host", "a") == "http://host/a"
    assert join_url("http://host/a/b", "../c") == "http://host/a/c"
    assert join_url("http://host/a/", "../../../c") == "http://host/c"


def test_a_configuration_with_filters_is_read(root: Path, tmp_path: Path) -> None:
    ini = tmp_path / "pybootd.ini"
    ini.write_text(
        "[tftp]\nroot = ./root\n[filters]\nImages/* = images/{hostname}.img\n*.cfg = [lists/now]\n"
    )
    config, faults = examine(ini, ("tftp",))
    assert not faults
    assert not config.warnings
    files = Files.from_config(config)
    for name, served in {"Images/x": "images/node7.img", "a.cfg": "images/node7.img"}.items():
        opened = files.open(request(name))
        assert isinstance(opened, OpenedFile)
        assert opened.served == served
        opened.body.close()
    with pytest.raises(Missing):
        files.open(request("images/x"))
    plain = Config(tmp_path / "x.ini", tftp=TftpConfig(root=str(root)))
    opened = Files.from_config(plain).open(request("file"))
    assert isinstance(opened, OpenedFile)
    opened.body.close()


def test_an_option_in_other_letters_names_the_root_of_its_section(
    root: Path, tmp_path: Path
) -> None:
    ini = tmp_path / "pybootd.ini"
    ini.write_text("[tftp]\nroot = ./root\n[httpd]\nRoot = ./beside\n")
    opened = Files.from_config(load(ini, ("tftp",)), "httpd").open(request("secret"))
    assert isinstance(opened, OpenedFile)
    opened.body.close()
