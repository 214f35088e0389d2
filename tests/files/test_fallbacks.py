"""A file that is missing where a client looks for it, but is there elsewhere."""

import os
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.core.client import Client, KnownClient
from pybootd.core.events import TransferEnded, TransferOutcome
from pybootd.core.workers import Later
from pybootd.files import fallbacks, local, suggestions
from pybootd.files.fallbacks import BootFolders
from pybootd.files.filters import Patterns
from pybootd.files.local import LocalSource
from pybootd.files.remote.source import RemoteSource
from pybootd.files.resolver import Files
from pybootd.files.source import (
    Body,
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    SourceSettings,
    StaticBody,
)

from .origin import Site

TREE = (
    *("debian/amd64/shim.efi", "debian/amd64/grubx64.efi", "debian/amd64/grub/grub.cfg"),
    *("debian/amd64/mmx64.efi", "debian/amd64/linux", "ubuntu/linux", "pxelinux.0", "secret"),
    *("other/boot.efi", "other/grub.cfg", "other/Boot/BCD", "Boot/Fonts/WGL4_Boot.ttf"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    for name in TREE:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    return made


@pytest.fixture
def files(root: Path) -> Files:
    return Files(LocalSource(root), str(root))


def ask(
    files: Files,
    name: str,
    peer: str = "192.0.2.9",
    outcome: TransferOutcome = TransferOutcome.DONE,
) -> str:
    """Ask for a file, and return the name that is served; its transfer ends with the outcome."""
    opened = files.open(FileRequest(name, peer, "192.0.2.1"))
    if isinstance(opened, Later):
        opened = opened.call()
    opened.body.close()
    files.note_transfer(TransferEnded("tftp", peer, name, opened.served, 1, 0.1, 0, outcome))
    return opened.served


BESIDE = [
    ("/grubx64.efi", "debian/amd64/grubx64.efi"),
    ("mmx64.efi", "debian/amd64/mmx64.efi"),
    ("/grub/grub.cfg", "debian/amd64/grub/grub.cfg"),
    ("linux", "debian/amd64/linux"),
    ("/boot/grub/grub.cfg", "debian/amd64/grub/grub.cfg"),
    ("debian-installer/amd64/grub/grub.cfg", "debian/amd64/grub/grub.cfg"),
    ("EFI/debian/grubx64.efi", "debian/amd64/grubx64.efi"),
    ("debian/arm64/grubx64.efi", "debian/amd64/grubx64.efi"),
    # there is such a name in the root
    ("secret", "secret"),
    # a kernel from another directory may be another kernel
    ("debian/arm64/linux", None),
    ("EFI/linux", None),
    ("revocations.efi", None),
    ("shim.efi/x", None),
]


@pytest.mark.parametrize(("name", "served"), BESIDE)
def test_a_missing_file_is_looked_for_beside_the_boot_file(
    files: Files, name: str, served: str | None
) -> None:
    ask(files, "debian/amd64/shim.efi")
    if served is None:
        with pytest.raises(Missing, match=r"^no such file$"):
            ask(files, name)
    else:
        assert ask(files, name) == served


def test_only_the_client_that_loaded_the_boot_file_is_helped(files: Files) -> None:
    ask(files, "debian/amd64/shim.efi")
    with pytest.raises(Missing):
        ask(files, "grubx64.efi", "192.0.2.10")
    ask(files, "other/boot.efi", "192.0.2.10")
    assert ask(files, "EFI/grub.cfg", "192.0.2.10") == "other/grub.cfg"
    assert ask(files, "grubx64.efi") == "debian/amd64/grubx64.efi"


@pytest.mark.parametrize(
    "outcome", [one for one in TransferOutcome if one is not TransferOutcome.DONE]
)
def test_a_boot_file_that_was_not_acknowledged_to_its_end_counts_for_nothing(
    files: Files, outcome: TransferOutcome
) -> None:
    """One forged request changed where a victim's missing file was looked for."""
    ask(files, "debian/amd64/shim.efi")
    ask(files, "other/boot.efi", outcome=outcome)
    assert ask(files, "grub/grub.cfg") == "debian/amd64/grub/grub.cfg"


@pytest.mark.parametrize("name", ["in/boot.efi", "in/deep/boot.efi", "link/boot.efi"])
def test_a_folder_that_takes_uploads_is_none_that_a_client_booted_from(
    root: Path, name: str
) -> None:
    for folder in ("in", "in/deep"):
        (root / folder).mkdir()
        for file in ("boot.efi", "grubx64.efi"):
            (root / folder / file).touch()
    (root / "link").symlink_to("in")
    files = Files(LocalSource(root), str(root), settings=SourceSettings(uploads=root / "in"))
    ask(files, "debian/amd64/shim.efi")
    ask(files, name)
    assert ask(files, "grubx64.efi") == "debian/amd64/grubx64.efi"


def test_the_last_boot_file_counts(files: Files, root: Path) -> None:
    ask(files, "debian/amd64/shim.efi")
    ask(files, "other/boot.efi")
    with pytest.raises(Missing):
        ask(files, "grubx64.efi")
    # data of shim's, found in the root, is no program
    ask(files, "debian/amd64/shim.efi")
    (root / "revocations_sbat.efi").touch()
    ask(files, "revocations_sbat.efi")
    assert ask(files, "grubx64.efi") == "debian/amd64/grubx64.efi"
    ask(files, "pxelinux.0")
    with pytest.raises(Missing):
        ask(files, "grubx64.efi")


def test_nothing_leads_out_of_the_root(files: Files, root: Path, tmp_path: Path) -> None:
    (tmp_path / "grubx64.efi").touch()
    (root / "out").mkdir()
    (root / "out/boot.efi").touch()
    (root / "out/grubx64.efi").symlink_to(tmp_path / "grubx64.efi")
    (root / "out/up").symlink_to(tmp_path)
    ask(files, "out/boot.efi")
    for name in ("grubx64.efi", "up/grubx64.efi", "OUT/UP/grubx64.EFI"):
        with pytest.raises(Missing):
            ask(files, name)
    with pytest.raises(Forbidden):
        ask(files, "../grubx64.efi")


def test_a_boot_file_that_a_filter_names_counts_where_it_is(root: Path) -> None:
    lines = {"boot.efi": "debian/amd64/shim.efi", "far.efi": "/dev/null", "x": "nowhere"}
    files = Files(LocalSource(root), str(root), [Patterns(lines)])
    ask(files, "boot.efi")
    assert ask(files, "grubx64.efi") == "debian/amd64/grubx64.efi"
    with pytest.raises(Missing):
        ask(files, "x")  # a filter's word is what it is


def test_a_template_beside_the_boot_file_is_rendered(files: Files, root: Path) -> None:
    (root / "other/grub").mkdir()
    (root / "other/grub/grub.cfg.j2").write_text("{{ ip }}")
    ask(files, "other/boot.efi")
    assert ask(files, "grub/grub.cfg") == "other/grub/grub.cfg.j2"


def test_a_remote_root_is_looked_through_likewise(
    site: Site, source: RemoteSource, root: Path
) -> None:
    site.root = root
    files = Files(source, site.url)
    ask(files, "debian/amd64/shim.efi")
    assert ask(files, "grubx64.efi") == "debian/amd64/grubx64.efi"
    site.requests.clear()
    with pytest.raises(FileError):
        ask(files, "debian/amd64/none")
    assert len(site.requests) == 1


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallbacks, "MAX_CLIENTS", 3)
    folders = BootFolders()
    for number in (1, 2, 3, 1, 4):
        folders.note_boot_file(f"192.0.2.{number}", "a/x.efi")
    heard = [
        bool([*folders.names_beside(FileRequest("y", f"192.0.2.{number}", ""))])
        for number in range(1, 5)
    ]
    assert heard == [True, False, True, True]


SERIAL, MAC = "1234abcd", "dc-a6-32-12-34-56"
PI = KnownClient(Client(bytes.fromhex("dca632123456")))
PI_5 = KnownClient(Client(bytes.fromhex("024242123456")), uuid=UUID(bytes_le=b"RPi5" + bytes(12)))
PC = KnownClient(Client(bytes.fromhex("525400123456")), uuid=UUID(int=7))
PIS = [
    (PI, f"{SERIAL}/start4.elf", "start4.elf"),
    (PI, f"{MAC}/start4.elf", "start4.elf"),
    (PI, f"{MAC}/overlays/disable-bt.dtbo", "overlays/disable-bt.dtbo"),
    (PI, f"{SERIAL}/cmdline.txt", f"{SERIAL}/cmdline.txt"),
    (PI, f"{SERIAL}/config.txt", "config.txt.j2"),
    (PI_5, f"{SERIAL}/start4.elf", "start4.elf"),
    # another server gave it its address
    (None, f"{SERIAL}/start4.elf", "start4.elf"),
    (PC, f"{SERIAL}/start4.elf", None),
    (PI, "1234abcde/start4.elf", None),
    (PI, "folder/start4.elf", None),
    (PI, f"{SERIAL}/{MAC}/start4.elf", None),
    (PI, f"{SERIAL}/recovery.elf", None),
]


@pytest.mark.parametrize(("known", "name", "served"), PIS)
def test_a_pi_finds_what_all_pis_share(
    files: Files, root: Path, known: KnownClient | None, name: str, served: str | None
) -> None:
    for path in ("start4.elf", "cmdline.txt", f"{SERIAL}/cmdline.txt", "overlays/disable-bt.dtbo"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).touch()
    (root / "config.txt.j2").write_text("{{ ip }}")
    opening = partial(files.open, FileRequest(name, "192.0.2.9", "192.0.2.1", known))
    if served is None:
        with pytest.raises(Missing):
            opening()
        return
    opened = opening()
    opened = opened.call() if isinstance(opened, Later) else opened
    opened.body.close()
    assert opened.served == served


CASE = [
    ("boot\\bcd", None),
    ("OTHER\\boot\\bcd", "other/Boot/BCD"),
    ("\\boot\\FONTS\\wgl4_boot.TTF", "Boot/Fonts/WGL4_Boot.ttf"),
    ("PXELINUX.0", "pxelinux.0"),
    ("Debian/AMD64", None),
]


@pytest.mark.parametrize(("name", "served"), CASE)
def test_letter_case_is_passed_over_where_one_file_fits(
    files: Files, name: str, served: str | None
) -> None:
    if served is None:
        with pytest.raises(Missing):
            ask(files, name)
    else:
        assert ask(files, name) == served


def test_windows_finds_its_files_beside_its_boot_manager(files: Files) -> None:
    ask(files, "other/boot.efi")
    assert ask(files, "\\BOOT\\bcd") == "other/Boot/BCD"


def test_two_files_that_fit_are_none(files: Files, root: Path) -> None:
    (root / "other/boot").mkdir()
    (root / "other/boot/x").touch()
    assert ask(files, "other/BOOT/bcd") == "other/Boot/BCD"
    (root / "other/boot/bcd").touch()
    with pytest.raises(Missing):
        ask(files, "other/BOOT/bCd")
    assert ask(files, "other/boot/bcd") == "other/boot/bcd"


def test_a_directory_is_read_again_when_it_changed_or_got_old(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: read.append(folder) or scandir(folder))
    source = LocalSource(root)
    for _ in range(5):
        assert source.match_letter_case("SECRET", 10.0) == "secret"
    assert len(read) == 1
    (root / "news").touch()
    os.utime(root, ns=(1, 1))
    assert source.match_letter_case("NEWS", 10.1) == "news"
    assert len(read) == 2
    assert source.match_letter_case("NEWS", 10.1 + local.LISTING_S) == "news"
    assert len(read) == 3


def test_large_directories_and_many_alike_are_not_looked_through(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggestions, "MAX_ENTRIES", 20)
    for number in range(16):
        folder = "".join(c.upper() if number >> at & 1 else c for at, c in enumerate("many"))
        (root / "alike" / folder).mkdir(parents=True)
    (root / "alike/MANY/x").touch()
    source = LocalSource(root)
    assert source.match_letter_case("ALIKE/many", 0.0) is None
    assert source.match_letter_case("alike/many/X", 0.0) is None
    for number in range(20):
        (root / f"file{number}").touch()
    assert source.match_letter_case("SECRET", 0.0) is None


def test_a_name_that_is_no_text_is_missing(files: Files, root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9")).touch()
    assert ask(files, os.fsdecode(b"CAF\xe9")) == os.fsdecode(b"caf\xe9")
    for name in (os.fsdecode(b"CAF\xe8"), "\ud800x", "a" * 1000):
        with pytest.raises(Missing):
            ask(files, name)


def test_the_body_is_that_of_the_file_found(files: Files) -> None:
    ask(files, "debian/amd64/shim.efi")
    opened = files.open(FileRequest("GRUBX64.EFI", "192.0.2.9", "192.0.2.1"))
    assert not isinstance(opened, Later)
    body: Body = opened.body
    assert isinstance(body, StaticBody)
    assert body.pread(body.size, 0) == b"debian/amd64/grubx64.efi"
    body.close()


def test_a_missing_file_that_a_filter_leads_to_is_named_whole(root: Path) -> None:
    """In the log and on the status page; of ``/srv/x`` they told ``x``, as if below the root."""
    lines = {"a/*": "/nowhere/{filename}", "b": "../b/{filename}", "c": "[list]"}
    files = Files(LocalSource(root), str(root), [Patterns(lines)])
    for name, looked in (("a/x", "/nowhere/a/x"), ("b", "../b/b"), ("c", "list")):
        with pytest.raises(Missing) as error:
            ask(files, name)
        assert error.value.served == looked
