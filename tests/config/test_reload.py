"""SIGHUP: the file is read again, and what is under way goes on."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.core.test_startup import free_port

Start = Callable[[str], "Running"]


class Running:
    """``pybootd -t`` on loopback, in its own folder."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.write(text)
        self.said = folder / "said"
        self.log = folder / "log" if "file = log" in text else self.said
        with self.said.open("w") as said:
            command = [sys.executable, "-m", "pybootd", "-t"]
            self.process = subprocess.Popen(command, cwd=folder, stderr=said)
        self.wait_for("serves TFTP")
        self.descriptors_at_start = self.descriptors()

    def write(self, text: str) -> None:
        start = f"[tftp]\naddress = 127.0.0.1\nport = {self.port}\n"
        (self.folder / "pybootd.ini").write_text(start + text)

    def reload(self, said: str) -> None:
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(said)

    def wait_for(self, words: str, times: int = 1) -> None:
        deadline = time.monotonic() + 60
        while not self.log.exists() or self.log.read_text().count(words) < times:
            assert time.monotonic() < deadline, self.said.read_text()
            assert self.process.poll() is None, self.said.read_text()
            time.sleep(0.01)

    def ask(self, name: str) -> tuple[bytes, socket.socket, tuple[str, int]]:
        """Ask for a file; return the first answer, and where to go on."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        sock.sendto(b"\0\1" + name.encode() + b"\0octet\0", ("127.0.0.1", self.port))
        data, source = sock.recvfrom(600)
        return data, sock, source

    def fetch(self, name: str) -> bytes:
        data, sock, _ = self.ask(name)
        sock.close()
        return data[4:]

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "one" / "long").write_bytes(b"1" * 700)
    (tmp_path / "two" / "long").write_bytes(b"2" * 700)

    def begin(text: str) -> Running:
        running.append(Running(tmp_path, text))
        return running[-1]

    yield begin
    for daemon in running:
        daemon.process.terminate()
        assert daemon.process.wait(20) == 0
        assert "Traceback" not in daemon.said.read_text()


def test_a_transfer_goes_on_and_the_next_one_is_served_again(start: Start) -> None:
    daemon = start("root = ./one\n")
    data, sock, source = daemon.ask("long")
    daemon.write("root = ./two\n")
    daemon.reload("is in force")
    assert daemon.fetch("file") == b"two"
    sock.sendto(b"\0\4\0\1", source)
    assert data[4:] + sock.recv(600)[4:] == b"1" * 700
    sock.close()


def test_a_faulty_file_is_refused_and_the_old_one_stays(start: Start) -> None:
    daemon = start("root = ./one\n")
    daemon.write("root = ./none\nretries = many\n[filters]\nfile = {nobody}\n")
    daemon.reload("the earlier configuration stays")
    said = daemon.said.read_text()
    for option in ("[tftp] root: ", "[tftp] retries: ", "[filters] file: "):
        assert option in said
    assert daemon.fetch("file") == b"one"
    (daemon.folder / "pybootd.ini").unlink()
    daemon.reload("No such file")
    assert daemon.fetch("file") == b"one"


def test_what_requires_a_restart_is_told_and_stays(start: Start) -> None:
    daemon = start("root = ./one\n")
    port = daemon.port
    daemon.port = free_port()
    daemon.write("root = ./two\nport_range = 5000-5010\n")
    daemon.port = port
    daemon.reload("[tftp] port, [tftp] port_range: changed, but that requires a restart")
    assert daemon.fetch("file") == b"two"


@pytest.mark.parametrize("configuration", ["root = ./two\n", "root = ./none\n"])
def test_a_log_that_was_moved_away_is_opened_again(start: Start, configuration: str) -> None:
    log = "[logger]\ntype = file\nfile = log\n"
    daemon = start("root = ./one\n" + log)
    daemon.log.rename(daemon.folder / "log.1")
    daemon.write(configuration + log)
    daemon.reload("pybootd.ini")
    daemon.write("root = ./two\n[logger]\ntype = file\nfile = ./none/log\n")
    daemon.reload("none/log can't be opened: No such file or directory: change [logger] file")
    assert daemon.descriptors() == daemon.descriptors_at_start


def test_reloading_leaves_no_descriptors_behind(start: Start) -> None:
    daemon = start("root = ./one\n")
    for times in range(1, 6):
        daemon.write(f"root = ./{('one', 'two')[times % 2]}\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("is in force", times)
    assert daemon.descriptors() == daemon.descriptors_at_start
