"""What a person sees when the daemon can't start: one clear line, exit status 1, no traceback."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybootd.daemon import USUAL, Daemon

NOBODY = 65534
# another user may not be able to read this interpreter's folders: load everything, then become it
AS_NOBODY = f"""
import contextlib, io, os, sys
import encodings.idna
import pybootd.cli, pybootd.daemon, pybootd.dhcp4.server, pybootd.tftp.server
import pybootd.files.resolver
with contextlib.redirect_stdout(io.StringIO()):
    pybootd.cli.main(["--check", *sys.argv[1:]])
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
sys.exit(pybootd.cli.main(sys.argv[1:]))
"""
Done = subprocess.CompletedProcess[str]


def pybootd(*arguments: str, cwd: Path, nobody: bool = False) -> Done:
    start = ["-c", AS_NOBODY] if nobody else ["-m", "pybootd"]
    command = [sys.executable, *start, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def write(folder: Path, text: str) -> None:
    (folder / "pybootd.ini").write_text(text)


def one_line(done: Done, *said: str) -> None:
    assert done.returncode == 1
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for words in said:
        assert words in done.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that other users may enter; runs side by side close pytest's to each other."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@pytest.mark.parametrize(
    ("section", "option", "flag"),
    [("bootp", "pool_start = 127.0.0.5", "-p"), ("tftp", "root = .", "-t")],
)
def test_a_port_that_is_taken(
    tmp_path: Path, taken: int, section: str, option: str, flag: str
) -> None:
    write(tmp_path, f"[{section}]\n{option}\naddress = 127.0.0.1\nport = {taken}\n")
    done = pybootd(flag, cwd=tmp_path)
    one_line(done, f"udp port {taken} on", "is taken by another program", f"[{section}] port")


@needs_root
def test_no_right_to_bind(folder: Path) -> None:
    write(folder, "[tftp]\nroot = .\naddress = 127.0.0.1\nport = 1\n")
    one_line(pybootd("-t", cwd=folder, nobody=True), "no right to bind", "start as root")


def test_no_configuration_file(tmp_path: Path) -> None:
    one_line(pybootd("-c", "none.ini", cwd=tmp_path), "none.ini: can't be read: No such file")
    if not Path("/etc/pybootd.ini").exists():
        one_line(pybootd(cwd=tmp_path), "pybootd.ini", "/etc/pybootd.ini", "--sample")


@needs_root
def test_a_configuration_file_that_can_not_be_looked_at(folder: Path) -> None:
    write(folder, "[tftp]\nroot = .\n")
    (folder / "closed").mkdir(mode=0o700)
    write(folder / "closed", "")
    start = f"import os; os.chdir('closed')\n{AS_NOBODY.replace('--check', '--sample')}"
    command = [sys.executable, "-c", start, "-t"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    one_line(done, "pybootd.ini: can't be read: Permission denied")


def test_an_empty_configuration_file(tmp_path: Path) -> None:
    write(tmp_path, "")
    done = pybootd(cwd=tmp_path)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in said] == [
        "[bootp] pool_start",
        "[tftp] root",
    ]


def test_no_descriptors_left_to_start_with(tmp_path: Path) -> None:
    write(tmp_path, "[tftp]\nroot = .\naddress = 127.0.0.1\n")
    start = ["bash", "-c", 'ulimit -n 6; exec "$@"', "-", sys.executable, "-m", "pybootd", "-t"]
    done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    one_line(done, "pybootd: Too many open files")


def test_a_root_that_is_missing_or_no_directory(tmp_path: Path) -> None:
    write(tmp_path, "[tftp]\nroot = ./none\n")
    one_line(pybootd("-t", cwd=tmp_path), "pybootd.ini:2: [tftp] root: ", "does not exist")
    write(tmp_path, "[tftp]\nroot = pybootd.ini\n")
    one_line(pybootd("-t", cwd=tmp_path), "pybootd.ini:2: [tftp] root: ", "no directory")


@needs_root
@pytest.mark.parametrize("root", ["closed", "closed/below"])
def test_a_root_that_can_not_be_read(folder: Path, root: str) -> None:
    (folder / "closed").mkdir(mode=0o700)
    (folder / "closed" / "below").mkdir()
    write(folder, f"[tftp]\nroot = ./{root}\n")
    one_line(pybootd("-t", cwd=folder, nobody=True), "pybootd.ini:2: [tftp] root: ", "no right")


def test_a_faulty_configuration(tmp_path: Path) -> None:
    write(tmp_path, "[tftp]\nroot = .\nport = tftp\n")
    one_line(pybootd("-t", cwd=tmp_path), "pybootd.ini:3: [tftp] port: 'tftp' is not an integer")


def test_check_prints_every_fault_and_binds_nothing(tmp_path: Path, taken: int) -> None:
    write(tmp_path, f"[tftp]\nroot = .\naddress = 127.0.0.1\nport = {taken}\n")
    done = pybootd("--check", "-t", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "pybootd.ini: no fault found\n", "")
    write(tmp_path, "[tftp]\nroot = ./none\nprot = 69\nport = x\n[bootp]\npool_start = 10.0.0\n")
    done = pybootd("--check", cwd=tmp_path)
    assert done.returncode == 1
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == [
        "pybootd.ini:2:",
        "pybootd.ini:3:",
        "pybootd.ini:4:",
        "pybootd.ini:6:",
    ]


def test_of_a_file_that_is_no_text_nothing_else_is_said(tmp_path: Path) -> None:
    """Not that its root is missing, which it may well hold."""
    (tmp_path / "pybootd.ini").write_bytes(b"[tftp]\nroot = .\n[bootp]\nboot_file = gr\xfc\xdfe\n")
    one_line(pybootd("-t", cwd=tmp_path), "pybootd.ini:4: not UTF-8 text: save the file as UTF-8")


def test_a_fault_of_no_section_hides_no_other(tmp_path: Path) -> None:
    clients = "".join(f"[client 52-54-00-00-00-0{n}]\naddress = 10.0.0.9\n" for n in (1, 2))
    write(tmp_path, f"[bootp]\npool_start = 10.0.0.1\n{clients}[tftp]\nroot = ./none\n")
    said = pybootd("--check", cwd=tmp_path).stdout
    assert "10.0.0.9 is kept for [client 52-54-00-00-00-01]" in said
    assert "none does not exist" in said


def test_a_lease_database_without_what_talks_to_it(tmp_path: Path) -> None:
    """What the package of Debian leaves to the administrator; TFTP alone needs none of it."""
    write(tmp_path, "[bootp]\npool_start = 127.0.0.9\nleases = postgresql:///x\n[tftp]\nroot = .\n")
    hidden = (
        "import sys; sys.modules['psycopg'] = None; import pybootd.cli as c; sys.exit(c.main())"
    )

    def without(*arguments: str) -> Done:
        command = [sys.executable, "-c", hidden, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    said = "a lease database needs psycopg: on Debian apt install python3-psycopg, elsewhere"
    one_line(without(), "pybootd.ini:3: [bootp] leases: ", said)
    one_line(without("leases", "--migrate"), said)
    checked = without("--check")
    assert (checked.returncode, checked.stderr) == (1, "")
    assert said in checked.stdout
    assert without("--check", "-t").stdout == "pybootd.ini: no fault found\n"


def test_the_http_server_runs_where_it_is_asked_for(tmp_path: Path) -> None:
    """Built, not bound: by -H, by enable, by neither, and not beside one service alone."""
    path = tmp_path / "pybootd.ini"
    for enable, services, serves in (
        ("off", USUAL, ["DHCP", "TFTP"]),
        ("on", USUAL, ["DHCP", "TFTP", "HTTP"]),
        ("on", ("tftp",), ["TFTP"]),
        ("off", ("tftp", "httpd"), ["TFTP", "HTTP"]),
        ("on", (*USUAL, "httpd"), ["DHCP", "TFTP", "HTTP"]),
    ):
        write(
            tmp_path, f"[bootp]\npool_start = 127.0.0.9\n[tftp]\nroot = .\n[httpd]\nenable={enable}"
        )
        assert Daemon.from_file(path, services)._serves == serves


def test_a_fault_that_two_services_see_is_told_once(tmp_path: Path) -> None:
    write(tmp_path, "[tftp]\nroot = ./none\n[filters]\nx = {nobody}\n")
    assert len(pybootd("--check", "-t", "-H", cwd=tmp_path).stdout.splitlines()) == 2
    write(tmp_path, "[tftp]\nroot = .\n[httpd]\nroot = ./none\n[filters]\nx = {nobody}\n")
    assert len(pybootd("--check", "-t", "-H", cwd=tmp_path).stdout.splitlines()) == 2


def test_an_http_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"address = 127.0.0.1\nport = {free_port()}\n[httpd]\nport = {port}\n"
        write(tmp_path, f"[tftp]\nroot = .\n{text}address = 127.0.0.1\n")
        one_line(pybootd("-t", "-H", cwd=tmp_path), f"tcp port {port}", "[httpd] port")


def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    for arguments in (("-p", "-t"), ("--nonsense",), ("nonsense",)):
        assert pybootd(*arguments, cwd=tmp_path).returncode == 2


def test_the_sample_passes_its_check(tmp_path: Path) -> None:
    write(tmp_path, pybootd("--sample", cwd=tmp_path).stdout)
    done = pybootd("--check", cwd=tmp_path)
    # not the folder that it stands in itself: as /etc/pybootd.ini it served /etc to the network
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert f"[tftp] root: {tmp_path}/tftpboot does not exist" in done.stdout
    (tmp_path / "tftpboot").mkdir()
    done = pybootd("--check", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "pybootd.ini: no fault found\n")


def seconds_to_stop(folder: Path, number: signal.Signals) -> float:
    write(folder, f"[tftp]\nroot = .\naddress = 127.0.0.1\nport = {free_port()}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "pybootd", "-t"], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr:
        while "serves" not in (line := process.stderr.readline()):
            assert line
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(20) == 0
        took = time.monotonic() - began
        assert "Traceback" not in process.stderr.read()
    return took


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_within_a_second(tmp_path: Path, number: signal.Signals) -> None:
    # up to three times: the machine may be busy with something else
    assert any(seconds_to_stop(tmp_path, number) < 1.0 for _ in range(3))
