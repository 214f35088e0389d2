"""pybootd status and pybootd why, asking a daemon over its status address."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.status.looking import Rig

from .story import SYSTEM, UEFI

EVIL = "<script>\x1b[2J\n\u202e[bold]x"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_status_is_a_row_for_each_machine(rig: Rig) -> None:
    rig.lease()
    rig.fetch("loader.efi")
    rig.miss("linux")
    rig.pass_time(30)
    done = rig.command("status")
    assert done.returncode == 0, done.stderr
    for words in ("52:54:00:12:34:56", "10.7.0.100", "efi-x86_64", "failed", "1 machines"):
        assert words in done.stdout
    assert "52:54" not in rig.command("status", "nobody").stdout
    assert json.loads(rig.command("status", "--json").stdout)["clients"][0]["state"] == "failed"


def test_why_tells_of_the_newest_failed_boot_and_of_any(rig: Rig) -> None:
    rig.lease()
    rig.fetch("loader.efi", 2_000_000)
    rig.miss("linux")
    rig.pass_time(30)
    done = rig.command("why")
    assert done.returncode == 0, done.stderr
    for words in (
        "boot 1",
        "address confirmed 10.7.0.100",
        "boot file: loader.efi",
        "2.0 MB",
        "file not found linux",
        "A file (kernel) is not there: linux.",
        "Put it below",
        "seen: asked for 'linux'",
    ):
        assert words in " ".join(done.stdout.split()), done.stdout
    for name in ("52-54-00-12-34-56", "10.7.0.100"):
        assert "is not there" in rig.command("why", name).stdout
    verdict = json.loads(rig.command("why", "--json").stdout)["boots"][0]["verdict"]
    assert verdict["name"] == "missing-file"


def test_why_without_a_failure_or_of_an_unknown_machine_is_one_line(rig: Rig) -> None:
    rig.lease()
    done = rig.command("why")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pybootd why: no boot has failed here; name a machine to see its boot\n"
    done = rig.command("why", "00:00:00:00:00:01")
    assert (done.returncode, done.stderr) == (1, "pybootd why: no such machine was seen here\n")
    assert "It is booting." in rig.command("why", "10.7.0.100").stdout


def test_no_daemon_is_one_line(rig: Rig) -> None:
    rig.watching.close()
    done = rig.command("status")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "is the daemon running" in done.stderr


def test_a_token_that_is_wanted_is_asked_for_in_words_of_the_command(tmp_path: Path) -> None:
    """Not as ?token= or Authorization, which the command doesn't have."""
    word = "of the daemon"
    rig = Rig(tmp_path, token=word)
    try:
        for words, said in (((), "wants a token"), (("--token", "x"), "has another token")):
            done = rig.command("status", *words)
            assert (done.returncode, done.stdout) == (1, "")
            assert f"{said}: write --token TOKEN" in done.stderr
        assert rig.command("status", "--token", word).returncode == 0
    finally:
        rig.close()


def test_follow_tells_of_what_changes(rig: Rig) -> None:
    rig.lease()
    rig.start("linux")
    assert "kernel" in rig.command("status", "--follow", until="kernel").stdout
    line = rig.command("status", "--follow", "--json", until="transfers").stdout.splitlines()[-1]
    assert json.loads(line)
    rig.end("linux")


def test_what_strangers_say_steers_no_terminal(rig: Rig) -> None:
    rig.lease()
    rig.lease(replace(SYSTEM, hostname=EVIL))
    rig.fetch(f"{EVIL}.efi\udcff")
    rig.miss("../\x07\x9b31m")
    for words in (("status",), ("why", "10.7.0.100"), ("why", "--json", "10.7.0.100")):
        done = rig.command(*words)
        assert done.returncode == 0, done.stderr
        bad = [one for one in done.stdout if not one.isprintable() and one != "\n"]
        assert not bad, bad
    assert "[bold]" in rig.command("why", "10.7.0.100").stdout
    assert UEFI.mac.hex(":") in rig.command("status").stdout
