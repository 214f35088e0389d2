"""A web server that dies in the middle of a storm, or alters a file: what cache and pins do."""

import hashlib
import random
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pybootd.files.remote.cache import FRESH_S

from . import crowd
from .lab import MIRROR, SERVER, Lab

pytestmark = pytest.mark.net("tftp", "curl")

SIZE = 1_000_000
KEPT = tuple(f"etag/kept{number}" for number in range(4))
HELD = "held/@100000/octets/3000000"  # after 100,000 octets the web server waits
CUT = f"http://{MIRROR}/{HELD.replace('@', '%40')}: "
ENOUGH = 50_000  # octets after which a transfer is well under way
INI = f"""\
[tftp]
root = http://{MIRROR}
[httpd]
enable = on
[cache]
dir = ./cache
"""


def files(site: Path) -> dict[str, bytes]:
    """Make the files of the web server; name -> octets."""
    made = {name: random.Random(name).randbytes(SIZE) for name in KEPT}
    site.mkdir()
    for name, data in made.items():
        (site / Path(name).name).write_bytes(data)
    return made


class Storm:
    """Forty TFTP clients and five HTTP clients: eight and one want a file that isn't kept."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.under_way = threading.Event()
        self.far: list[crowd.Member] = []
        self.kept: list[crowd.Member] = []
        self.unfinished = 0  # of the kept files' transfers, when the web server died

    def run(self, kill: Callable[[], None]) -> None:
        """Fetch everything; ``kill`` is called once all are well under way."""
        beside = threading.Thread(target=self._fetch_held)
        beside.start()
        slow = ("curl", "-s", "--limit-rate", "500K")
        loads = [
            self.lab.client.popen(*slow, "-o", self.lab.folder / f"load{n}", url(name))
            for n, name in enumerate(KEPT)
        ]
        cut = self.lab.client.popen(*slow, "--retry", "0", "-o", self.lab.folder / "cut", url(HELD))
        assert self.under_way.wait(30)

        def look(members: list[crowd.Member]) -> None:
            if not self.unfinished and all(one.octets > ENOUGH for one in members):
                self.unfinished = sum(not one.done for one in members)
                kill()

        names = [KEPT[number % 4] for number in range(32)]
        client = self.lab.client
        self.kept = crowd.fetch(client, SERVER, names, blksize=512, windowsize=1, meanwhile=look)
        beside.join()
        self.loads = [one.wait(30) for one in loads]
        self.cut = cut.wait(30)

    def _fetch_held(self) -> None:
        def look(members: list[crowd.Member]) -> None:
            if all(one.octets > ENOUGH for one in members):
                self.under_way.set()

        options = {"blksize": 1024, "windowsize": 4, "meanwhile": look}
        self.far = crowd.fetch(self.lab.client, SERVER, [HELD] * 8, **options)


def url(name: str) -> str:
    return f"http://{SERVER}/{name}"


def wait_for_http(lab: Lab) -> None:
    lab.client.run("curl", "-s", "--retry-connrefused", "--retry", "9", url(".."))


def over_http(lab: Lab, name: str) -> tuple[str, bytes]:
    """Fetch over HTTP; the status and the octets."""
    into = lab.folder / "page"
    into.unlink(missing_ok=True)
    status = lab.client.run("curl", "-s", "-w", "%{http_code}", "-o", into, url(name)).stdout
    return status, into.read_bytes() if into.exists() else b""


def test_a_web_server_that_is_killed_in_the_middle_of_a_storm(lab: Lab) -> None:
    site = lab.folder / "site"
    wanted = files(site)
    website = lab.start_website(site)
    try:
        with lab.serving(INI, "-t", "-H"):
            wait_for_http(lab)
            for name, data in wanted.items():
                assert over_http(lab, name) == ("200", data)

            storm = Storm(lab)
            storm.run(website.kill)
            assert website.wait(10) < 0

            assert storm.unfinished > 0
            print(f"{storm.unfinished} of 32 transfers of kept files were under way")
            assert not [one.error for one in storm.kept if one.error]
            for number, one in enumerate(storm.kept):
                data = wanted[KEPT[number % 4]]
                assert (one.octets, one.sum) == (len(data), zlib.crc32(data))
            assert storm.loads == [0] * 4
            for number, name in enumerate(KEPT):
                assert (lab.folder / f"load{number}").read_bytes() == wanted[name]
            assert [one.octets < 3_000_000 for one in storm.far] == [True] * 8
            for one in storm.far:
                assert one.error.startswith(CUT), one.error
            assert storm.cut in (18, 56)  # curl: the connection ended before the file did
            print(f"the others: {storm.far[0].error}")

            while_it_is_down(lab, wanted)
            website = lab.start_website(site)
            time.sleep(FRESH_S)  # for as long its silence is an answer, too
            when_it_is_back(lab, wanted)
    finally:
        website.kill()
        website.wait()


def lines(lab: Lab, *words: str) -> list[str]:
    return [line for line in lab.said().splitlines() if all(word in line for word in words)]


def while_it_is_down(lab: Lab, wanted: dict[str, bytes]) -> None:
    assert len(lines(lab, "WARNING", "tftp", HELD)) == 8  # one for each client
    for name, data in wanted.items():
        assert lab.get(name) == data
        assert over_http(lab, name) == ("200", data)
    said = str(lab.get("etag/other"))
    assert f"Error code 0: http://{MIRROR}/etag/other: can't connect: Connection refused" in said
    assert len(lines(lab, "etag/other")) == 1
    status, told = over_http(lab, "etag/another")
    assert status == "503"
    assert b"can't connect: Connection refused" in told
    assert len(lines(lab, "etag/another")) == 1
    assert len(lines(lab, "WARNING", "until it answers, what the cache has is served")) == 1


def when_it_is_back(lab: Lab, wanted: dict[str, bytes]) -> None:
    (lab.folder / "site" / "other").write_text("other")
    (lab.folder / "site" / "kept1").write_text("another one")
    answers = lab.folder / "answers"
    before = len(answers.read_text().splitlines())
    assert lab.get("etag/other") == b"other"  # isn't kept, so that the web server is asked
    assert len(lines(lab, f"{MIRROR} answers again")) == 1
    assert lab.get(KEPT[0]) == wanted[KEPT[0]]
    assert lab.get(KEPT[1]) == b"another one"
    assert over_http(lab, KEPT[2]) == ("200", wanted[KEPT[2]])
    assert answers.read_text().splitlines()[before:] == [
        "200 /etag/other",
        f"304 /{KEPT[0]}",
        f"200 /{KEPT[1]}",
        f"304 /{KEPT[2]}",
    ]


def test_a_byte_flipped_at_the_web_server_is_refused_by_its_pin(lab: Lab) -> None:
    site = lab.folder / "site"
    good = files(site)[KEPT[0]]
    bad = good[:-1] + bytes((good[-1] ^ 1,))
    sums = [hashlib.sha256(data).hexdigest() for data in (bad, good)]
    (site / "kept0").write_bytes(bad)
    with lab.serving(f"{INI}[pins]\n{KEPT[0]} = sha256:{sums[1]}\n", "-t", "-H"):
        wait_for_http(lab)
        with lab.website(site):
            said = str(lab.get(KEPT[0]))
            assert "Error code 2: " in said
            assert "is not what [pins] says" in said
            status, told = over_http(lab, KEPT[0])
            assert status == "403"
            assert b"is not what [pins] says" in told
            for protocol in ("tftp", "http"):
                assert len(lines(lab, f" {protocol} ", "it has sha256:" + sums[0], sums[1])) == 1
            (site / "kept0").write_bytes(good)
            assert lab.get(KEPT[0]) == good
        # its sum says what it must be: from the cache, with nobody to ask
        assert over_http(lab, KEPT[0]) == ("200", good)
        assert lab.get(KEPT[0]) == good
    kept = [path.name for path in (lab.folder / "cache" / "files").iterdir()]
    assert kept == [sums[1]]
