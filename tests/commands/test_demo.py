"""The demo: a whole boot from the real daemon, and what it says when something is wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pybootd.commands import demo

pytestmark = pytest.mark.net
ROOT = Path(__file__).parents[2]


def run(*command):
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "FIRMWARE": ""},
    )


def outcome(done):
    """Sum up a run: its status, what it complained of, the files that were right, the timeline."""
    right = done.stdout.count("every byte right")
    return done.returncode, done.stderr, right, "timeline\n" in done.stdout


def test_machine_boots_and_every_byte_is_right():
    done = run(sys.executable, "-m", "pybootd", "demo")
    assert outcome(done) == (0, "", 5, True)
    assert done.stdout.splitlines()[-1].endswith("4 files, 50.1 MB, every byte right")


def test_unprivileged_user_sees_the_same(unprivileged):
    done = run(*unprivileged("pybootd.commands.demo"), "-m", "pybootd", "demo")
    assert outcome(done) == (0, "", 5, True)


def test_one_wrong_byte_is_found(monkeypatch, capfd):
    class Careless(demo.Firmware):
        def fetch_file(self, server, name, progress=None, **wanted):
            content = super().fetch_file(server, name, progress, **wanted)
            return content[:-1] + b"?" if name == "linux" else content

    monkeypatch.setattr(demo, "Firmware", Careless)
    assert demo.main(["--firmware", "virtual"]) == 1
    said = capfd.readouterr().err
    expected = "linux: not what the server has on its disk (8222656 bytes came)"
    assert said == f"pybootd demo: {expected}\n"


def test_daemon_that_does_not_start_is_told_in_its_own_words(monkeypatch, capfd):
    monkeypatch.setattr(demo, "_INI", demo._INI + "blocksize = nonsense\n")
    assert demo.main(["--firmware", "virtual"]) == 1
    said = capfd.readouterr().err
    assert said.startswith("pybootd demo: ")
    assert "[tftp] blocksize" in said
    assert "Traceback" not in said


def test_stopped_half_way_it_says_so_and_leaves_nothing(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    class Interrupted(demo.Firmware):
        def fetch_file(self, *args, **wanted):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().fetch_file(*args, **wanted)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(demo, "Firmware", Interrupted)
    assert demo.main(["--firmware", "virtual"]) == 1
    assert capfd.readouterr().err == "pybootd demo: stopped before the machine had booted\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before
