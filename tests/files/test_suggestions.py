"""Names like one that is missing."""

from pathlib import Path

import pytest

from pybootd.files.local import LocalSource


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
    assert LocalSource(root).suggest_names(missing)[0] == found


def test_nothing_is_near_what_is_like_nothing(root: Path) -> None:
    assert LocalSource(root).suggest_names("vmlinuz") == ()


def test_a_name_is_told_once_and_three_at_most(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"file{number}").touch()
    assert (
        len(set(LocalSource(tmp_path).suggest_names("file")))
        == len(LocalSource(tmp_path).suggest_names("file"))
        == 3
    )
