"""Names like one that is missing."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.files.suggestions import NameSuggester, suggest_names


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (
        "pxelinux.0",
        "debian/amd64/bootnetx64.efi",
        "grub/grub.cfg",
        "ipxe/undionly.kpxe",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        ("pxelinux.O", "pxelinux.0"),
        ("bootnetx64.efi", "debian/amd64/bootnetx64.efi"),
        ("BOOTNETX64.EFI", "debian/amd64/bootnetx64.efi"),
        ("\\grub\\grub.conf", "grub/grub.cfg"),
    ],
)
def test_the_nearest_name_comes_first(root: Path, missing: str, found: str) -> None:
    assert Files(LocalSource(root)).suggest_names(missing)[0] == found


def test_nothing_is_near_what_is_like_nothing(root: Path) -> None:
    assert Files(LocalSource(root)).suggest_names("vmlinuz") == ()


def test_a_name_is_told_once_and_three_at_most(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"file{number}").touch()
    assert (
        len(set(Files(LocalSource(tmp_path)).suggest_names("file")))
        == len(Files(LocalSource(tmp_path)).suggest_names("file"))
        == 3
    )


def test_many_names_are_looked_through_in_no_time() -> None:
    """5,000 names written alike took 0.7 s each, 60 machines with a missing file half a minute."""
    names = [f"dir{n % 50}/sub{n % 7}/file-{n * 7919 % 1000003}.img" for n in range(5000)]
    before = time.thread_time()
    for number in range(10):
        assert suggest_names(names, f"dir{number}/sub1/file-12345.img")
    assert time.thread_time() - before < 2


def test_the_names_are_listed_once_for_all_that_ask_at_once() -> None:
    listed = []

    def list_names() -> list[str]:
        listed.append(threading.get_ident())
        return ["pxelinux.0"]

    suggester = NameSuggester(list_names)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(suggester.suggest_names, ["pxelinux.1"] * 20))
    assert found == [("pxelinux.0",)] * 20
    assert len(listed) == 1


def test_a_folder_that_a_link_leads_back_to_is_walked_once(root: Path) -> None:
    (root / "debian/again").symlink_to("..")
    assert list(LocalSource(root).list_names()) == [
        "pxelinux.0",
        "debian/amd64/bootnetx64.efi",
        "grub/grub.cfg",
        "ipxe/undionly.kpxe",
    ]
