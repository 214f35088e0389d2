"""Templates: X.j2 beside where X was asked for."""

import gc
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.core.client import Client, KnownClient
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files import sandbox, templates
from pybootd.files.checksums import Pins
from pybootd.files.filters import Patterns
from pybootd.files.local import LocalSource
from pybootd.files.remote.source import RemoteSource
from pybootd.files.resolver import Files
from pybootd.files.source import (
    FileError,
    FileRequest,
    Missing,
    OpenedFile,
    StaticBody,
    Unavailable,
)

from .origin import Site
from .serving import Fetch, serving, state

MAC = bytes.fromhex("525400123456")


def known(hostname: str = "node7", **variables: str) -> KnownClient:
    made = KnownClient(Client(MAC, architecture=7), IPv4Address("192.0.2.9"), hostname=hostname)
    made.uuid = UUID("00112233-4455-6677-8899-aabbccddeeff")
    made.variables = variables
    return made


def fetch(files: Files, name: str, client: KnownClient | None = None) -> tuple[str, str]:
    """Return the text and the name that was served."""
    opened = files.open(FileRequest(name, "192.0.2.9", "192.0.2.1", client or known()))
    if isinstance(opened, Later):
        opened = opened.call()
    assert isinstance(opened, OpenedFile)
    body = opened.body
    assert isinstance(body, StaticBody)
    text = body.pread(body.size, 0).decode()
    body.close()
    return text, opened.served


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "grub").mkdir(parents=True)
    return made


@pytest.fixture
def files(root: Path) -> Files:
    return Files(LocalSource(root), str(root))


def refusal(files: Files, name: str, client: KnownClient | None = None) -> str:
    with pytest.raises(Unavailable) as caught:
        fetch(files, name, client)
    return str(caught.value)


def test_a_template_holds_what_is_known_of_the_client(root: Path, files: Files) -> None:
    (root / "grub/grub.cfg.j2").write_text(
        "{{ mac }} {{ ip }} {{ uuid }}\n"
        "{% if arch == 'efi-x86_64' %}\n"
        "{{ hostname }} asks {{ server }} for {{ filename }}: {{ release }}\n"
        "{% endif %}\n"
    )
    assert fetch(files, "/grub/grub.cfg", known(release="a<b>&'")) == (
        "52-54-00-12-34-56 192.0.2.9 00112233-4455-6677-8899-aabbccddeeff\n"
        "node7 asks 192.0.2.1 for grub/grub.cfg: a<b>&'\n",
        "grub/grub.cfg.j2",
    )


def test_the_file_itself_goes_first_and_a_changed_template_is_read_again(
    root: Path, files: Files
) -> None:
    (root / "x.j2").write_text("one")
    assert fetch(files, "x") == ("one", "x.j2")
    (root / "x.j2").write_text("other")
    assert fetch(files, "x") == ("other", "x.j2")
    (root / "x").write_text("{{ itself }}")
    assert fetch(files, "x") == ("{{ itself }}", "x")
    assert fetch(files, "x.j2") == ("other", "x.j2")


def test_a_plain_miss_costs_two_looks_more_and_never_loads_jinja2(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    source = LocalSource(root)
    opening = source.open
    monkeypatch.setattr(source, "open", lambda *each: looks.append(each[0]) or opening(*each))
    with pytest.raises(Missing, match=r"^no such file$"):
        fetch(Files(source, str(root)), "grub/none")
    # straight, for most names are there; then the long way
    assert looks == ["grub/none", "grub/none", "grub/none.j2"]
    code = """
import sys
from pathlib import Path
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.files.source import Missing, FileRequest
try:
    Files(LocalSource(Path(sys.argv[1]))).open(FileRequest("none", "192.0.2.9", "192.0.2.1"))
except Missing:
    print("jinja2" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, root], text=True, capture_output=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_filter_may_lead_to_a_template(root: Path, tmp_path: Path) -> None:
    (root / "menu.j2").write_text("{{ filename }}")
    (tmp_path / "far.j2").write_text("{% include 'part' %} {{ filename }}")
    (tmp_path / "part").write_text("far")
    lines = {"menus/*": "menu", "far": f"{tmp_path}/far", "own/*": f"{tmp_path}/{{filename}}"}
    (tmp_path / "own").mkdir()
    (tmp_path / "own/x.j2").write_text("{% include 'part' %}{% include 'own/y' %}")
    (tmp_path / "own/y").write_text(" {{ ip }}")
    files = Files(LocalSource(root), str(root), [Patterns(lines)])
    assert fetch(files, "menus/a") == ("menus/a", f"{root}/menu.j2")
    assert fetch(files, "far") == ("far far", f"{tmp_path}/far.j2")
    assert fetch(files, "own/x") == ("far 192.0.2.9", "own/x.j2")


LINES = [
    ("a {% if ip %}b{% endif %}\nc\n", "a b\nc\n"),
    ("a {% include 'part' %}\nc", "a part\nc"),
    ("a {# b #}\nc", "a \nc"),
    ("a\n  {% if ip %}\nb\n  {% endif %}\nc\n", "a\nb\nc\n"),
    ("{% if ip %}{# b #}\nb\n{% endif %}\n\nc", "b\n\nc"),
    ("a {%- if ip -%}\n b {% endif +%}\nc", "ab \nc"),
    ("{% for x in 'ab' %}{{ x }}{% endfor %}\nc", "ab\nc"),
    ("{% raw %}a %}\n{{ b }}{% endraw %}", "a %}\n{{ b }}"),
    ("{% set x = [1,\n2] %}\n{{ x }}", "\n[1, 2]"),
    ("{{ ip }}\n\n", "192.0.2.9\n\n"),
]


@pytest.mark.parametrize(("text", "made"), LINES)
def test_a_line_of_blocks_alone_leaves_nothing_and_no_other_is_joined(
    root: Path, files: Files, text: str, made: str
) -> None:
    (root / "part").write_text("part")
    (root / "x.j2").write_text(text)
    assert fetch(files, "x")[0] == made


ERRORS = [
    ("\n\n{{ nope }}", r"x\.j2 line 3: 'nope' is undefined"),
    ("a\n{% for %}", r"x\.j2 line 2: Expected an expression.*"),
    ("\n{{ 1 / 0 }}", r"x\.j2 line 2: ZeroDivisionError: division by zero"),
    ("\n{% include 'grub/part' %}", r"x\.j2: grub/part line 2: 'nope' is undefined"),
    ("\n{% include 'none' %}", r"x\.j2 line 2: none: no such template"),
    ("{% include '../secret' %}", r"x\.j2 line 1: the name leads out of the root"),
    ("{% include '/etc/hostname' %}", r"x\.j2 line 1: /etc/hostname: no such template"),
    ("{% include 'link' %}", r"x\.j2 line 1: the name leads out of the root"),
    ("{% include 'grub' %}", r"x\.j2 line 1: is a directory"),
    ("{{ ''.__class__.__mro__ }}", r"x\.j2 line 1: access to attribute '__class__'.* unsafe\."),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", r"x\.j2 line 1: RecursionError: .*"),
    ("{{ 9 ** 99999 }}", r"x\.j2 line 1: a number is too large"),
    ("{{ 'ab' * 999999 }}", r"x\.j2 line 1: a product is longer than 1048576"),
    ("{% for a in range(99999) %}0123456789ab{% endfor %}", r"x\.j2: makes more than 1048576.*"),
    ("\udcff", r"x\.j2 is no UTF-8 text: octet 0"),
    ("x" * (sandbox.MAX_TEXT + 1), r"x\.j2 is longer than 1048576 octets"),
]


@pytest.mark.parametrize(("text", "says"), ERRORS)
def test_an_error_says_file_and_line(
    root: Path, files: Files, tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "grub/part").write_text("\n{{ nope }}")
    (root / "x.j2").write_bytes(text.encode("utf-8", "surrogateescape"))
    said = refusal(files, "x")
    assert re.fullmatch(rf"(x\.j2: )?{says}", said), said


LARGE = "{% set s = 'x' * 1000000 %}"
HUGE = [
    "{{ ip|center(300000000) }}",
    "{{ 'x'|center(300000000) }}",
    "{{ ip.center(300000000) }}",
    "{{ ip.zfill(300000000) }}",
    "{{ ip|indent(300000000) }}",
    "{{ (ip ~ '\n' * 9999)|indent(99999) }}",
    "{{ '%300000000d' % 1 }}",
    "{{ '%*d' % (300000000, 1) }}",
    "{{ '%300000000d'|format(1) }}",
    "{{ '{:300000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 300000000) }}",
    "{{ '\t'.expandtabs(300000000) }}",
    "{{ range(9)|batch(300000000, 0)|list }}",
    "{{ [1]|slice(300000000)|list }}",
    LARGE + "{{ s|replace('x', s) }}",
    LARGE + "{{ s.replace('x', s) }}",
    LARGE + "{{ ([s] * 1000)|join }}",
    LARGE + "{{ range(1000)|join(s) }}",
    LARGE + "{{ s.join(['a'] * 1000) }}",
    LARGE + "{{ [s] * 1000 }}",
    LARGE + "{{ ([s] * 1000)|string }}",
    LARGE + "{{ ([s] * 1000)|tojson }}",
    LARGE
    + "{% set n = namespace(x=s) %}{% for a in range(30) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    LARGE
    + "{% set n = namespace(x=s) %}{% for a in range(30) %}{% set n.x = n.x + n.x %}{% endfor %}",
    LARGE
    + "{% macro m() %}{% for a in range(9999) %}{{ s }}{% endfor %}{% endmacro %}{{ m()|length }}",
    LARGE + "{% set t %}{% for a in range(9999) %}{{ s }}{% endfor %}{% endset %}{{ t|length }}",
    "{% set n = [1] %}{% for a in range(40) %}{{ n.extend(n) or '' }}{% endfor %}",
    "{% set n = namespace(x=[]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "{% set n = [1] %}{{ n.append(n) or '' }}{{ n|string }}",
    "{{ lipsum(1000, max=100000) }}",
]


@pytest.mark.parametrize("text", HUGE)
def test_what_makes_much_of_little_is_refused_before_it_is_made(
    root: Path, files: Files, text: str
) -> None:
    (root / "x.j2").write_text(text)
    tracemalloc.start()
    try:
        said = refusal(files, "x")
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()
    assert re.match(r"x\.j2( line [12])?: ", said)


def test_what_a_boot_configuration_needs_is_not_refused(root: Path, files: Files) -> None:
    (root / "x.j2").write_text(
        "{{ hostname|upper|center(20) }}|{{ '%05.1f' % 2.25 }}|{{ 'a,b'.split(',')|join('+') }}|"
        "{{ 'x=%s y=%d'|format(ip, 7) }}|{{ mac|replace('-', ':') }}|{{ 'a' ~ (1 + 2) }}|"
        "{% for n in range(300) %}{{ '%d '|format(n) if n > 298 }}{% endfor %}|"
        "{{ [1, 'b']|tojson }}|{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(ip) }}|{{ {'a': 1} }}"
    )
    assert fetch(files, "x")[0] == (
        "       NODE7        |002.2|a+b|x=192.0.2.9 y=7|52:54:00:12:34:56|a3|299 |"
        "[1, \"b\"]|<192.0.2.9>|{'a': 1}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in r %}{% for b in r %}{% for c in r %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in r if a in r|map('string') %}{% endfor %}",
    ],
)
def test_a_template_that_goes_on_for_ever_is_stopped(
    root: Path, files: Files, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(sandbox, "MAX_STEPS", 50_000)
    (root / "x.j2").write_text("{% set r = range(9999)|list %}\n" + text)
    tracing = sys.gettrace()
    assert refusal(files, "x") == "x.j2 line 2: stopped: it seems to go on for ever"
    assert sys.gettrace() is tracing


def test_what_the_garbage_collector_calls_takes_no_limit_away(
    root: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in a finalizer is passed over, and so the tracing would end."""
    monkeypatch.setattr(sandbox, "MAX_STEPS", 20_000)
    called = []

    def collected(phase: str, info: object) -> None:
        called.append(phase)

    gc.callbacks.append(collected)
    before = gc.get_threshold()
    gc.set_threshold(10)  # all the time
    try:
        text = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = [[a]] %}"
        (root / "x.j2").write_text(text + "{% endfor %}{% endfor %}")
        assert refusal(files, "x") == "x.j2 line 1: stopped: it seems to go on for ever"
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collected)
    assert called


def test_what_is_not_known_is_an_error_only_where_it_is_needed(root: Path, files: Files) -> None:
    (root / "x.j2").write_text("{{ uuid|default('none') }}{% if mac is defined %}!{% endif %}")
    (root / "y.j2").write_text("{{ mac }}")
    nobody = KnownClient(Client(b""), hostname="")
    assert fetch(files, "x", nobody) == ("none", "x.j2")
    assert refusal(files, "y", nobody) == "y.j2 line 1: mac of this client is not known"


@pytest.mark.parametrize("said", ["a b", 'a"; reboot', "a'", "$(reboot)", "-x", "a\\", "h\u00e9"])
def test_a_host_name_that_is_none_breaks_nothing(root: Path, files: Files, said: str) -> None:
    (root / "x.j2").write_text("hostname={{ hostname }}")
    (root / "y.j2").write_text("hostname={{ hostname|default('unnamed') }}")
    assert refusal(files, "x", known(said)).startswith(
        "x.j2 line 1: hostname of this client is no host name: "
    )
    assert fetch(files, "y", known(said)) == ("hostname=unnamed", "y.j2")


@given(st.text(st.characters(max_codepoint=0x2100)))
def test_no_value_of_a_client_brings_a_line_or_a_control_character(text: str) -> None:
    client = known(text)
    client.file = text
    made = FileRequest("a", "192.0.2.9", "192.0.2.1", client)
    values = templates._values_for(
        templates._environment_of(LocalSource(Path("/")), Pins({})), made
    )
    for name in ("hostname", "file"):
        value = values[name]
        if isinstance(value, str):
            assert len((value + "x").splitlines()) == 1
            assert "\x1b" not in value


def test_a_value_can_be_quoted_for_a_shell(root: Path, files: Files) -> None:
    (root / "x.j2").write_text("echo {{ note|quote }}")
    assert fetch(files, "x", known(note="it's; reboot")) == (
        "echo 'it'\"'\"'s; reboot'",
        "x.j2",
    )


def test_a_template_renders_while_the_loop_goes_on(root: Path, loop: Loop) -> None:
    (root / "x.j2").write_text("{{ ip }}")
    files = Files(LocalSource(root), str(root))
    files.start(loop)
    later = files.open(FileRequest("x", "192.0.2.9", "192.0.2.1"))
    assert isinstance(later, Later)
    seen: list[object] = []
    caller = threading.get_ident()

    def call() -> OpenedFile:
        seen.append(threading.get_ident() != caller)
        return later.call()

    loop.run_in_worker(
        Later(call, later.pool), lambda outcome, now: seen.append(outcome.get().served)
    )
    while len(seen) < 2:
        loop.turn(1.0)
    assert seen == [True, "x.j2"]
    assert files.read_head(FileRequest("x", "192.0.2.9", "192.0.2.1"), 10) is None


LOOPS = "{% for a in range(200) %}{% for b in range(999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("way", ["tftp", "http"])
def test_a_flood_of_requests_for_a_template_keeps_no_plain_file_from_anyone(
    root: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """With forged addresses: each is a client by itself."""
    (root / "slow.j2").write_text(LOOPS)
    (root / "file").write_bytes(state(0))
    with serving(root) as servers:
        ended: list[object] = []

        def ask(number: int, now: float) -> None:
            request = FileRequest("slow", f"192.0.{number // 250}.{number % 250}", "192.0.2.1")
            later = servers.files.open(request)
            assert isinstance(later, Later)
            servers.loop.run_in_worker(later, lambda result, now: ended.append(result))

        before = time.monotonic()
        assert Fetch(servers, way).read_all() == state(0)
        alone = time.monotonic() - before
        for number in range(1500):
            servers.loop.call_from_thread(partial(ask, number))
        before = time.monotonic()
        assert Fetch(servers, way).read_all() == state(0)
        assert time.monotonic() - before < 20 * alone + 20
        assert len(ended) < 1500  # they still go on
        monkeypatch.setattr(sandbox, "MAX_STEPS", 0)
        while len(ended) < 1500:
            assert time.monotonic() < before + 100
            time.sleep(0.01)


def test_a_client_of_many_templates_leaves_another_its_turn(
    root: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "slow.j2").write_text(LOOPS)
    (root / "fast.j2").write_text("{{ ip }}")
    files = Files(LocalSource(root), str(root))
    files.start(loop)
    ended: list[str] = []

    def ask(name: str, peer: str) -> None:
        later = files.open(FileRequest(name, peer, "192.0.2.1"))
        assert isinstance(later, Later)
        loop.run_in_worker(later, lambda result, now: ended.append(peer))

    for _ in range(20):
        ask("slow", "192.0.2.66")
    ask("fast", "192.0.2.9")
    end = time.monotonic() + 60
    while "192.0.2.9" not in ended:
        assert time.monotonic() < end
        loop.turn(0.1)
    assert len(ended) < 5
    monkeypatch.setattr(sandbox, "MAX_STEPS", 0)
    while len(ended) < 21:
        assert time.monotonic() < end
        loop.turn(0.1)


def test_without_jinja2_it_says_so(
    root: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "x.j2").touch()
    monkeypatch.delattr("pybootd.files.templates")
    monkeypatch.delitem(sys.modules, "pybootd.files.templates")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert refusal(files, "x").startswith("x.j2: jinja2 can't be loaded: ")


def test_a_mirror_has_no_templates(site: Site, source: RemoteSource) -> None:
    files = Files(source, site.url)
    with pytest.raises(FileError):
        fetch(files, "none")
    assert [path for path, _ in site.requests] == ["/none"]
