"""Real TFTP clients bring files to the real daemon."""

import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Host, Network

from .test_tftp_clients import CLIENTS

SERVER = "10.7.0.1"
SIZES = (0, 1, 512, 513, 1468, 3_000_000)

pytestmark = pytest.mark.net("tftp", "atftp", "curl", "busybox")


@dataclass
class Lab:
    """A server and a client, and what they have on disk."""

    folder: Path
    server: Host
    client: Host

    @property
    def box(self) -> Path:
        return self.folder / "box"

    @contextmanager
    def serving(self, *options: str) -> Iterator[DaemonProcess]:
        ini, log = self.folder / "pybootd.ini", self.folder / "log"
        ini.write_text("\n".join(("[tftp]", "root = ./root", "upload = ./box", *options, "")))
        with DaemonProcess(self.server, ini, log, (69,), "-t") as daemon:
            yield daemon
            assert daemon.stop() == 0
        assert "Traceback" not in log.read_text()

    def put(self, client: str, file: Path, name: str) -> str:
        """Bring a file; return what the client said."""
        program, *options = client.split(",")
        ran = self.client.run(*command(program, options, file, name), timeout=60, check=False)
        return ran.stdout + ran.stderr

    def made(self, size: int) -> Path:
        file = self.folder / f"made{size}"
        file.write_bytes(random.Random(size).randbytes(size))
        return file

    def listed(self, box: Path | None = None) -> list[str]:
        return sorted(path.name for path in (box or self.box).iterdir())

    def wait(self, names: list[str], box: Path | None = None) -> None:
        deadline = time.monotonic() + 20
        while self.listed(box) != names:
            assert time.monotonic() < deadline, self.listed(box)
            time.sleep(0.05)


def command(program: str, options: list[str], file: Path, name: str) -> list[str]:
    match program:
        case "tftp-hpa":
            return ["tftp", "-m", *(options or ["octet"]), SERVER, "-c", "put", str(file), name]
        case "atftp":
            asked = [word for option in options for word in ("--option", option)]
            return ["atftp", *asked, "--put", "-l", str(file), "-r", name, SERVER]
        case "busybox":
            return ["busybox", "tftp", *options, "-p", "-l", str(file), "-r", name, SERVER]
        case _:
            return ["curl", "-sS", *options, "-T", str(file), f"tftp://{SERVER}/{name}"]


@pytest.fixture
def lab(network: Network, tmp_path: Path) -> Lab:
    switch = network.switch()
    server, client = network.host("server"), network.host("client")
    server.plug(switch, f"{SERVER}/24")
    client.plug(switch, "10.7.0.2/24")
    for name in ("root", "box"):
        (tmp_path / name).mkdir()
    return Lab(tmp_path, server, client)


def test_files_of_each_client_arrive_whole(lab: Lab) -> None:
    with lab.serving():
        for number, client in enumerate(CLIENTS):
            for size in SIZES:
                name = f"new{number}-{size}"
                said = lab.put(client, lab.made(size), name)
                assert (lab.box / name).is_file(), f"{client}, {size}: {said}"
                assert (lab.box / name).read_bytes() == lab.made(size).read_bytes(), client
        assert len(lab.listed()) == len(CLIENTS) * len(SIZES)
        text = lab.folder / "text"
        text.write_text("a line\nand another\n" * 100)
        lab.put("tftp-hpa,netascii", text, "text")
        assert (lab.box / "text").read_text() == text.read_text()
    log = (lab.folder / "log").read_text()
    assert re.search(r"INFO +tftp 10\.7\.0\.2 uploads new0-3000000: done, 3000000 octets", log)


def test_what_is_refused_and_why(lab: Lab) -> None:
    (lab.box / "here").write_text("here before")
    small = lab.made(10)
    with lab.serving("upload_size = 1M", "upload_count = 2"):
        assert "Error code 6" in lab.put("tftp-hpa", small, "here")
        assert "Error code 2: no .j2 is taken" in lab.put("tftp-hpa", small, "grub.cfg.j2")
        assert "Error code 2: the name leads out" in lab.put("tftp-hpa", small, "../root/new")
        # curl and atftp say beforehand how large it is; tftp-hpa's client doesn't
        for client in ("curl", "tftp-hpa"):
            assert lab.put(client, lab.made(3_000_000), "large"), client
            lab.wait(["here"])
        lab.put("tftp-hpa", small, "new")
        assert "Error code 2: 2 files are here" in lab.put("tftp-hpa", small, "more")
        got = lab.client.run("tftp", SERVER, "-c", "get", "new", lab.folder / "got", check=False)
        assert "Error code 1" in got.stdout
    assert lab.listed() == ["here", "new"]
    assert (lab.box / "here").read_text() == "here before"
    log = (lab.folder / "log").read_text()
    assert "large: 3000000 octets are more than upload_size allows, 1048576" in log
    assert "uploads large: failed: larger than upload_size allows, 1048576 octets" in log


def test_a_full_disk(lab: Lab) -> None:
    lab.server.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", lab.box)
    with lab.serving() as daemon:
        box = Path(f"/proc/{daemon.pid}/root{lab.box}")
        # 70 is curl's number for what it calls "disk full"
        for client, complaint in (("tftp-hpa", "Error code 3: no space"), ("curl", "curl: (70)")):
            assert complaint in lab.put(client, lab.made(3_000_000), "large")
            lab.wait([], box)
        lab.put("tftp-hpa", lab.made(512), "small")
        lab.wait(["small"], box)
    assert "uploads large: failed: no space is left on the disk" in (lab.folder / "log").read_text()


def test_a_client_that_is_killed_leaves_nothing(lab: Lab) -> None:
    with lab.serving("timeout = 0.2", "retries = 2"):
        slow = ["curl", "-sS", "--limit-rate", "600k", "-T", str(lab.made(3_000_000))]
        client = lab.client.popen(*slow, f"tftp://{SERVER}/half")
        deadline = time.monotonic() + 20
        while not (found := lab.listed()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert found[0].startswith(".pybootd-upload-")
        client.kill()
        client.wait()
        lab.wait([])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("upload = ./none",), r"\[tftp\] upload: .*/none does not exist"),
        (("upload = ./root",), r"\[tftp\] upload: .*/root holds the root"),
        (("upload = .",), r"\[tftp\] upload: .* holds the root"),
        (
            ("upload = ./box", "[security]", "user = nobody"),
            r"\[tftp\] upload: nobody has no right to write to",
        ),
    ],
)
def test_a_directory_that_cannot_do(lab: Lab, options: tuple[str, ...], why: str) -> None:
    with tempfile.TemporaryDirectory() as made:  # others can enter it, as they can't pytest's own
        folder = Path(made)
        folder.chmod(0o755)
        for name in ("root", "box"):
            (folder / name).mkdir()
        ini = folder / "pybootd.ini"
        ini.write_text("\n".join(("[tftp]", "root = ./root", *options, "")))
        done = lab.server.run(sys.executable, "-m", "pybootd", "-t", "-c", ini, check=False)
        assert done.returncode == 1
        assert re.search(why, done.stderr)
