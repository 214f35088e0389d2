"""Looks at files: a worker's, bounded, remembered by the file's key."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pybootd.core.bounded_map import BoundedMap
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.status.looks import MAX_WANTED, Contents, FileLooks, look_at_file
from tests.observe import content
from tests.observe.story import UEFI

from .looking import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_list_of_machines_with_missing_files_holds_up_no_one(rig: Rig, tmp_path: Path) -> None:
    """It held the loop for 15 s: names like the missing ones are looked for by a worker.

    That no callback takes long is seen to by the tests' own guard.
    """
    for number in range(2000):
        (tmp_path / f"kernel-{number}.efi").touch()
    for number in range(30):
        mac, address = bytes((2, 0, 0, 0, 0, number)), IPv4Address(0x0A070010 + number)
        rig.lease(replace(UEFI, mac=mac, uuid=None), address)
        rig.miss(f"kernel-{number}x.efi", str(address))
    rig.pass_time(60)
    document = rig.json("/api/clients")
    assert document["total"] == 30
    assert {row["verdict"]["name"] for row in document["clients"]} == {"missing-file"}


def test_what_is_told_of_one_machine_waits_for_the_look(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "loader.efi").write_bytes(content.HTML)
    rig.lease()
    rig.fetch("loader.efi", len(content.HTML))
    rig.pass_time(60)
    verdict = rig.json("/api/clients/10.7.0.100")["client"]["verdict"]
    assert (verdict["name"], verdict["certainty"]) == ("wrong-content", "certain")
    assert rig.json("/api/clients/failed")["client"]["verdict"] == verdict


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    files, contents = [Files(LocalSource(tmp_path))], Contents(8)
    (tmp_path / "x").write_bytes(content.gz())
    first = look_at_file(files, "x", contents).content
    assert look_at_file(files, "x", contents).content is first
    (tmp_path / "x").write_bytes(content.xz())
    second = look_at_file(files, "x", contents).content
    assert second is not None
    assert second is not first
    assert isinstance(contents, BoundedMap)


def test_only_so_many_names_wait_for_a_look(rig: Rig, tmp_path: Path) -> None:
    looks = FileLooks(rig.loop, lambda: [Files(LocalSource(tmp_path))])
    found = [looks.find_look(f"x{number}") for number in range(MAX_WANTED + 20)]
    assert sum(look.pending for look in found) == MAX_WANTED
    for _ in range(1000):
        rig.loop.turn(0.002)
        if looks.is_idle:
            break
    assert looks.is_idle
    assert not looks.find_look("x1").pending


def test_a_dead_link_is_told(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pxelinux.0").symlink_to("pxelinux-6.0")
    files = [Files(LocalSource(tmp_path))]
    assert look_at_file(files, "sub/pxelinux.0").link == "pxelinux-6.0"
    assert look_at_file(files, "sub/none").link == ""
    assert look_at_file(files, "../sub/none").link == ""
