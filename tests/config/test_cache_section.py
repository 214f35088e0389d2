"""What ``--check`` says of ``[cache]`` and ``[pins]``."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pybootd.cli import main

SUM = "sha256:" + "0f" * 32


def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> tuple[int, list[str]]:
    """Check a configuration; the exit status and what is said of it."""
    ini = tmp_path / "pybootd.ini"
    ini.write_text(f"[tftp]\nroot = http://192.0.2.1/\n{text}\n")
    status = main(["--check", "-t", "-c", str(ini)])
    return status, capsys.readouterr().out.replace(f"{ini}:", "").splitlines()


def test_a_cache_that_will_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"[cache]\ndir = ./one/two\n[pins]\na* = {SUM}"
    assert checked(tmp_path, capsys, text) == (0, [" no fault found"])
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("folder", ["file", "file/deeper"])
def test_a_cache_where_a_file_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    (tmp_path / "file").touch()
    problem = f"4: [cache] dir: {tmp_path / 'file'} is no directory"
    assert checked(tmp_path, capsys, f"[cache]\ndir = {folder}") == (1, [problem])


@contextmanager
def without_rights() -> Iterator[str]:
    """Be a user whose rights access(2) asks for, and who isn't root; yields the name."""
    if os.getuid():
        yield pwd.getpwuid(os.getuid()).pw_name
        return
    os.setreuid(pwd.getpwnam("nobody").pw_uid, -1)
    try:
        yield "nobody"
    finally:
        os.setreuid(0, -1)


def test_a_cache_without_a_right_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning, for the daemon may run as another user; it serves all the same."""
    folder = tmp_path / "cache"
    folder.mkdir(0o500)
    with without_rights() as name:
        status, said = checked(tmp_path, capsys, "[cache]\ndir = ./cache/deeper")
    assert status == 0
    assert len(said) == 2
    told = f"{name} has no right to write to {folder}: no file of a web server is kept"
    assert said[0].endswith(f"4: [cache] dir: warning: {told}")


@pytest.mark.parametrize("pin", [SUM[:-1], SUM[7:], f"{SUM} x", "sha512:00", f"sha256: {SUM[7:]}"])
def test_a_malformed_pin(tmp_path: Path, capsys: pytest.CaptureFixture[str], pin: str) -> None:
    problem = f"6: [pins] a*: {pin!r} is no checksum: write sha256: and 64 hexadecimal digits"
    text = f"[cache]\ndir = ./cache\n[pins]\na* = {pin}"
    assert checked(tmp_path, capsys, text) == (1, [f"{problem} (sha256sum FILE)"])


@pytest.mark.parametrize(("mode", "warned"), [(0o755, False), (0o777, True)])
def test_credentials_where_others_may_put_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, warned: bool
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    (folder / "origins.ini").touch(0o600)
    status, said = checked(tmp_path, capsys, "credentials = shared/origins.ini")
    assert status == 0
    assert len(said) == 1 + warned
    assert (
        not warned
        or f"3: [tftp] credentials: warning: another user may change {folder}" in (said[0])
    )
