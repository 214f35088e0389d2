"""The HTTP server of the real daemon, asked by curl."""

import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Network

from .lab import CLIENT, LEASED, MIRROR, SERVER, TOP
from .lab import Lab as WithMirror

SIZE = 20_000_000
HUGE = 200_000_000  # more than what the systems of both sides hold on its way
CUT_SHORT = (18, 56)  # curl: the transfer ended too early, the connection was reset

pytestmark = pytest.mark.net("curl")


class Lab(WithMirror):
    """The same, asked by curl."""

    @contextmanager
    def serving(
        self, text: str = "[tftp]\nroot = ./root\n", *options: str
    ) -> Iterator[DaemonProcess]:
        with super().serving(text, *(options or ("-t", "-H"))) as daemon:
            yield daemon

    def wait_for(self, line: str) -> None:
        deadline = time.monotonic() + 30
        while line not in self.said():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def curl(self, name: str, *options: str | Path, status: tuple[int, ...] = (0,)) -> str:
        """Ask for a name and return what curl prints, in which a body is no text."""
        ran = self.client.run(
            *("curl", "--silent", "--show-error", *options, f"http://{SERVER}/{name}"), check=False
        )
        assert ran.returncode in status, ran.stderr
        return ran.stdout + ran.stderr

    def get(self, name: str, *options: str) -> tuple[str, dict[str, str], bytes]:
        """Ask for a name; the status line, the fields, the body."""
        head, body = self.folder / "head", self.folder / "body"
        body.write_bytes(b"")
        self.curl(name, "--dump-header", head, "--output", body, *options)
        status, *lines = head.read_text().split("\n\n")[0].strip().splitlines()
        fields = dict(line.split(": ", 1) for line in lines if line)
        return status.split(" ", 1)[1], fields, body.read_bytes()


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture
def lab(network: Network, tmp_path: Path, data: bytes) -> Lab:
    lan, wan = network.switch(), network.switch("wan")
    server, client, mirror = (network.host(name) for name in ("server", "client", "mirror"))
    server.plug(lan, f"{SERVER}/24")
    server.plug(wan, "10.8.0.1/24")
    client.plug(lan, f"{CLIENT}/24")
    mirror.plug(wan, f"{MIRROR}/24")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "big").write_bytes(data)
    (tmp_path / "root" / "boot.efi").write_bytes(data[:5000])
    return Lab(tmp_path, server, client, mirror)


def test_ranges(lab: Lab, data: bytes) -> None:
    with lab.serving():
        for asked, first, last in (
            ("0-0", 0, 0),
            ("100-1099", 100, 1099),
            ("19999990-", SIZE - 10, SIZE - 1),
            ("-10", SIZE - 10, SIZE - 1),
            ("0-99999999", 0, SIZE - 1),
        ):
            status, fields, body = lab.get("big", "--range", asked)
            assert status == "206 Partial Content"
            assert fields["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
            assert body == data[first : last + 1]
        status, fields, body = lab.get("big", "--range", "0-1,5-6")
        assert (status, fields["Content-Length"], body) == ("200 OK", str(SIZE), data)
        status, fields, _ = lab.get("big", "--range", f"{SIZE}-")
        assert (status[:3], fields["Content-Range"]) == ("416", f"bytes */{SIZE}")
        half = lab.folder / "half"
        half.write_bytes(data[: SIZE // 2])
        lab.curl("big", "--continue-at", "-", "--output", half)
        assert half.read_bytes() == data


def test_head_and_conditions(lab: Lab, data: bytes) -> None:
    with lab.serving():
        status, head, body = lab.get("boot.efi", "--head")
        assert (status, body[:15]) == ("200 OK", b"HTTP/1.1 200 OK")
        status, got, body = lab.get("boot.efi")
        assert (got["Content-Type"], got["Content-Length"]) == ("application/efi", "5000")
        assert {**head, "Date": ""} == {**got, "Date": ""}
        assert body == data[:5000]
        for condition in (f"If-None-Match: {got['ETag']}", "If-None-Match: *"):
            assert lab.get("boot.efi", "--header", condition)[0] == "304 Not Modified"
        assert lab.get("boot.efi", "--header", 'If-None-Match: "x"')[0] == "200 OK"
        assert lab.get("boot.efi", "--time-cond", got["Last-Modified"])[0] == "304 Not Modified"
        assert lab.get("boot.efi", "--time-cond", "1 Jan 2001")[0] == "200 OK"
        resumed = ("--range", "4990-", "--header", f"If-Range: {got['ETag']}")
        assert lab.get("boot.efi", *resumed)[2] == data[4990:5000]
        (lab.root / "boot.efi").write_bytes(b"another")
        assert lab.get("boot.efi", *resumed)[2] == b"another"


def test_one_connection_for_many_files_and_clear_refusals(lab: Lab) -> None:
    (lab.root / "a b").write_text("space")
    (lab.root / "out").symlink_to("/etc/passwd")
    with lab.serving():
        again = (f"http://{SERVER}/none", f"http://{SERVER}/out", f"http://{SERVER}/a%20b?x=1")
        said = lab.curl("a%20b", "--verbose", *again)
        assert said.count("Connected to") == 1
        # as curl 7 and curl 8 word it
        assert len(re.findall(r"Re-?using existing (?:http: )?connection", said)) == 3
        assert said.startswith("no such file\nthe name leads out of the root\nspacespace")
        ran = lab.get("a%20b", "--request", "POST", "--data", "x")
        assert (ran[0], ran[1]["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")
        assert lab.get("%2e%2e/pybootd.ini", "--path-as-is")[0] == "403 Forbidden"
        assert lab.get("../pybootd.ini", "--path-as-is")[0] == "403 Forbidden"
        assert lab.get("a%20b", "--header", f"X: {'x' * 40_000}")[0].startswith("431")
        assert lab.get("a%20b", "--http1.0")[2] == b"space"
        assert lab.get("a%20b", "--http2")[2] == b"space"
    assert f"http {CLIENT} out: the name leads out of the root" in lab.said()


def test_a_slow_reader_beside_fast_ones(lab: Lab, data: bytes) -> None:
    with (lab.root / "huge").open("wb") as file:
        file.truncate(HUGE)
    with lab.serving():
        url = f"http://{SERVER}/huge"
        slow = lab.client.popen("curl", "-s", "--limit-rate", "1M", "-o", "/dev/null", url)
        for _ in range(3):
            assert lab.get("big")[2] == data
        assert slow.poll() is None, "it was not slow"
        assert "huge" not in lab.said()
        slow.terminate()
        slow.wait(5)


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "rewritten"])
def test_a_file_that_changes_under_a_transfer(lab: Lab, cut: bool) -> None:
    with lab.serving(), (lab.root / "huge").open("w+b") as file:
        file.truncate(HUGE)
        url = f"http://{SERVER}/huge"
        running = lab.client.popen("curl", "-s", "--limit-rate", "10M", "-o", "/dev/null", url)
        time.sleep(0.5)
        if cut:
            file.truncate(HUGE // 4)
        else:
            file.write(b"x")
            file.flush()
        assert running.wait(20) in CUT_SHORT
        lab.wait_for("failed: the file")


def test_a_client_that_leaves_in_the_middle(lab: Lab, data: bytes) -> None:
    with (lab.root / "huge").open("wb") as file:
        file.truncate(HUGE)
    with lab.serving():
        slow = ("--limit-rate", "1M", "--max-time", "0.5")
        lab.curl("huge", *slow, "--output", "/dev/null", status=(28,))
        lab.wait_for("aborted by the client")
        assert lab.get("big")[2] == data


def test_fifty_clients(lab: Lab, data: bytes) -> None:
    with lab.serving():
        crowd = [
            lab.client.popen(
                "curl", "-s", "-o", lab.folder / f"got{number}", f"http://{SERVER}/big"
            )
            for number in range(50)
        ]
        assert [client.wait(60) for client in crowd] == [0] * 50
        assert lab.said().count("done, 20000000 octets") == 50
    for number in range(50):
        assert (lab.folder / f"got{number}").read_bytes() == data


@pytest.mark.net("dhclient")
def test_only_those_who_have_an_address_from_us(lab: Lab) -> None:
    text = (
        f"[bootp]\npool_start = {LEASED}\nallow_simple_dhcp = on\nleases = memory\n"
        "[tftp]\nroot = ./root\n[httpd]\nenable = on\ncheck_ip = on\n"
    )
    with lab.serving(text, "-d"):
        assert lab.get("boot.efi")[0] == "403 Forbidden"
        lab.client.run("ip", "address", "flush", "dev", "eth0")
        files = ("-lf", lab.folder / "leases", "-pf", lab.folder / "pid")
        lab.client.popen("dhclient", "-4", "-d", "-1", *files, "eth0")
        deadline = time.monotonic() + 60  # dhclient takes its time to ask again
        while LEASED not in lab.client.ip("address", "show", "dev", "eth0"):
            assert time.monotonic() < deadline, lab.said()
            time.sleep(0.05)
        assert lab.get("boot.efi")[0] == "200 OK"


def test_files_of_another_web_server(lab: Lab) -> None:
    script = TOP / "tests" / "files" / "origin.py"
    lab.mirror.popen(sys.executable, script, lab.root, "--port", "80")
    retried = ("--retry-connrefused", "--retry", "9")
    lab.server.run("curl", "-s", *retried, f"http://{MIRROR}/boot.efi", "-o", "/dev/null")
    text = f"[tftp]\nroot = ./root\n[httpd]\nroot = http://{MIRROR}\n[filters]\nx = boot.efi\n"
    with lab.serving(text):
        wanted = (lab.root / "boot.efi").read_bytes()
        for name in ("boot.efi", "chunked/boot.efi", "x"):
            assert lab.get(name)[2] == wanted
        assert lab.get("big")[2] == (lab.root / "big").read_bytes()
        assert lab.get("boot.efi", "--head")[1]["Content-Length"] == "5000"
        assert lab.get("none")[0] == "404 Not Found"
        assert lab.get("status/500/x")[0] == "503 Service Unavailable"
