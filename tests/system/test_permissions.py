"""The owner of a path: each part of it that a stranger could have changed is refused, and named."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybootd.system.permissions import UnsafePathError, check_path

DAEMON, STRANGER, PEOPLE = 4321, 4322, 5000

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def top() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "state").mkdir()
        (folder / "state" / "leases.db").touch(0o600)
        (folder / "elsewhere").mkdir()
        (folder / "elsewhere" / "leases.db").touch(0o600)
        yield folder


def link(path: Path, target: Path, owner: int) -> None:
    if path.is_dir():
        path.rename(path.with_name("moved"))
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)
    os.lchown(path, owner, owner)


def give(path: Path, owner: int) -> None:
    os.chown(path, owner, owner)


FINE: dict[str, Callable[[Path], None]] = {
    "all of root's": lambda top: None,
    "the daemon's folder and file": lambda top: (
        give(top / "state", DAEMON),
        give(top / "state/leases.db", DAEMON),
    )[0],
    "a file that is to be made": lambda top: (top / "state/leases.db").unlink(),
    "a folder that is to be made": lambda top: (top / "state").rename(top / "moved"),
    "a link that root made": lambda top: link(top / "state", top / "elsewhere", 0),
    "a relative link that root made": lambda top: link(top / "state", Path("elsewhere"), 0),
    "a sticky folder, as /tmp is": lambda top: (top / "state").chmod(0o1777),
    "a folder of a system group": lambda top: (top / "state").chmod(0o775),
}
UNSAFE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "the daemon's link for the file": (
        "state/leases.db",
        lambda top: link(top / "state/leases.db", top / "elsewhere/leases.db", DAEMON),
    ),
    "a stranger's link for the file": (
        "state/leases.db",
        lambda top: link(top / "state/leases.db", Path("/etc/shadow"), STRANGER),
    ),
    "a stranger's link to nothing": (
        "state/leases.db",
        lambda top: link(top / "state/leases.db", Path("none"), STRANGER),
    ),
    "a stranger's link for the folder": (
        "state",
        lambda top: link(top / "state", top / "elsewhere", STRANGER),
    ),
    "a stranger's folder": ("state", lambda top: give(top / "state", STRANGER)),
    "a stranger's folder further up": ("", lambda top: give(top, STRANGER)),
    "a stranger's file": ("state/leases.db", lambda top: give(top / "state/leases.db", STRANGER)),
    "a folder that all may write to": ("state", lambda top: (top / "state").chmod(0o777)),
    "such a folder further up": ("", lambda top: top.chmod(0o777)),
    "a folder of a group of people": (
        "state",
        lambda top: (os.chown(top / "state", 0, PEOPLE), (top / "state").chmod(0o775))[0],
    ),
    "a file that all may write to": (
        "state/leases.db",
        lambda top: (top / "state/leases.db").chmod(0o666),
    ),
    "a FIFO": (
        "state/leases.db",
        lambda top: (
            (top / "state/leases.db").unlink(),
            os.mkfifo(top / "state/leases.db"),
        )[0],
    ),
    "another name of some file": (
        "state/leases.db",
        lambda top: os.link(top / "state/leases.db", top / "state/also"),
    ),
    "links that lead in a circle": (
        "state",
        lambda top: link(top / "state", Path("state"), 0),
    ),
}


@pytest.mark.parametrize("case", FINE)
def test_a_path_that_is_ours_is_used(top: Path, case: str) -> None:
    FINE[case](top)
    refused = None
    try:
        check_path(top / "state/leases.db", (DAEMON,))
    except UnsafePathError as error:
        refused = error
    assert refused is None


@pytest.mark.parametrize("case", UNSAFE)
def test_the_part_that_another_can_change_is_refused_and_named(top: Path, case: str) -> None:
    part, spoil = UNSAFE[case]
    spoil(top)
    with pytest.raises(UnsafePathError) as told:
        check_path(top / "state/leases.db", (DAEMON,))
    assert told.value.part == top / part


def test_what_one_has_made_oneself_is_followed_where_one_was_not_root(top: Path) -> None:
    link(top / "state", top / "elsewhere", DAEMON)
    check_path(top / "state/leases.db", (DAEMON,), links=(0, DAEMON))
    with pytest.raises(UnsafePathError):
        check_path(top / "state/leases.db", (DAEMON,))
