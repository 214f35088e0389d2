"""Which user the daemon becomes once its ports are bound, and what it may still do then.

capabilities(7) and prctl(2) through ctypes, on Linux; elsewhere every right goes with root.
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import pwd
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

from pybootd.system.permissions import UnsafePathError, check_path

log = logging.getLogger(__name__)

CAP_NET_BIND_SERVICE = 10  # linux/capability.h
_PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 8, 38  # linux/prctl.h
_CAPABILITY_VERSION_3 = 0x20080522
PRIVILEGED_PORTS = 1024
"""Ports below need root, or CAP_NET_BIND_SERVICE."""
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PrivilegeError(Exception):
    """The daemon can't become the user, or can't work as it; the text says why."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Who the daemon becomes, and what it needs then.

    ``capabilities`` are kept. ``lease_file``, ``log_file`` and the folder ``cache`` are written to
    by that user (None: there is none); ``default_folder`` is one that is made where it is missing.
    ``reads`` and ``writes`` are pairs of a setting, as errors name it, and the directory that the
    user must be able to read, or to write to as well.
    """

    user: str
    group: str = ""
    capabilities: Collection[int] = ()
    lease_file: Path | None = None
    log_file: Path | None = None
    cache: Path | None = None
    default_folder: Path | None = None
    reads: tuple[tuple[str, Path], ...] = ()
    writes: tuple[tuple[str, Path], ...] = ()


def drop(rights: Rights) -> bool:
    """Become that user for good, with the capabilities needed later and no others.

    False: there is no such user, or we may not become it; that is logged. To be called with every
    port bound, no thread started and no file opened: files are opened by the user whose they are.
    Raises PrivilegeError.
    """
    user, group = rights.user, rights.group
    if not user:
        if os.geteuid() == 0:
            log.warning("running as root: name a user to become in [security] user")
        return False
    entry = pwd.getpwnam(user)
    uid, gid = entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid
    if os.geteuid() != 0:
        if os.geteuid() != uid:
            log.warning("only root can become %s ([security] user): running as before", user)
        return False
    _hand_over_what_root_made(rights, uid, gid)
    try:
        _become(user, uid, gid, rights.capabilities)
    except OSError as error:
        raise PrivilegeError(f"[security] user: can't become {user}: {error.strerror}") from error
    os.environ["HOME"] = entry.pw_dir  # libpq looks there for passwords and certificates
    _require_access(rights)
    kept = ", with CAP_NET_BIND_SERVICE" if rights.capabilities else ""
    log.info("running as %s%s", user, kept)
    return True


def may_write(folder: Path) -> bool:
    """Tell whether the process may read, and make files in, a directory."""
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _become(user: str, uid: int, gid: int, kept: Collection[int]) -> None:
    """Change user and groups, on Linux with these capabilities; raises OSError."""
    import ctypes  # dear, and not needed where somebody else gave up root's rights

    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.initgroups(user, gid)
    os.setgid(gid)
    os.setuid(uid)
    if libc is not None:
        _limit(libc, kept)
        _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _limit(libc: ctypes.CDLL, kept: Collection[int]) -> None:
    """Give up every capability but these; one that we don't have is not had afterwards either."""
    import ctypes

    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: 0 to 31, then 32 to 63
    _check(libc.capget(head, sets))
    mask = sum(1 << capability for capability in kept)
    low, high = sets[1] & mask, sets[4] & (mask >> 32)
    sets[:] = [low, low, 0, high, high, 0]
    _check(libc.capset(head, sets))


def _check(result: int) -> None:
    import ctypes

    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _hand_over_what_root_made(rights: Rights, uid: int, gid: int) -> None:
    """Give the user what an earlier start as root has left, and an empty default folder.

    Only in folders that nobody but root can have changed, on the whole way: there no name is
    another's. All else is left as it is; what the user may not open is told when it is opened.
    """
    if rights.lease_file is not None:
        folder = rights.lease_file.parent
        if folder == rights.default_folder and _is_roots_alone(folder.parent):
            with contextlib.suppress(OSError):  # it is there, or its folder isn't
                folder.mkdir(0o755)
        names = {f"{rights.lease_file.name}{suffix}" for suffix in ("", "-wal", "-shm", ".lock")}
        _hand_over_folder(folder, names, uid, gid)
    if rights.log_file is not None and _is_roots_alone(rights.log_file.parent):
        with contextlib.suppress(OSError):  # it isn't there, or on a system without owners
            hand_over(rights.log_file, uid, gid)


def _is_roots_alone(path: Path) -> bool:
    """Tell whether nobody but root could have changed what the path leads to, or put a file in."""
    try:
        check_path(path, ())
        mode = path.stat().st_mode
    except (OSError, UnsafePathError):
        return False
    return stat.S_ISDIR(mode) and not mode & stat.S_IWOTH


def _hand_over_folder(folder: Path, names: Collection[str], uid: int, gid: int) -> None:
    """Give the user a folder of root's with these files, if it holds nothing that is not root's.

    A folder that holds anything else, or one of these that another owns or that has a second name,
    stays as it is with all that is in it.
    """
    if not _is_roots_alone(folder):
        return
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            status = path.lstat()
            ours = path.name in names and stat.S_ISREG(status.st_mode)
            if not ours or status.st_uid != 0 or status.st_nlink != 1:
                return
        for path in folder.iterdir():
            hand_over(path, uid, gid)
        os.chown(folder, uid, gid, follow_symlinks=False)


def check_writes(writes: Iterable[tuple[str, Path]], *, dropped: bool) -> None:
    """Raise PrivilegeError where anybody else could change what we are about to write.

    ``writes`` are pairs of a setting, as errors name it, and a path; ``dropped``: we were root, so
    links are followed that root made, and not those of the user that we are now. Where we have no
    right to write there is no harm to be done.
    """
    uid = os.geteuid()
    links = (0,) if dropped else (0, uid)
    for setting, path in writes:
        there = next(one for one in (path, *path.parents) if os.path.lexists(one))
        if there.is_symlink() or os.access(there, os.W_OK):
            try:
                check_path(path, (uid,), links=links)
            except UnsafePathError as error:
                raise PrivilegeError(f"{setting}: {error}") from error


@contextlib.contextmanager
def acting_as_owner(folder: Path) -> Iterator[None]:
    """As root, do what follows as the user that owns the folder: it may have links of theirs.

    For commands, which have one thread. Anyone else goes on as they are.
    """
    owner = folder.stat() if os.geteuid() == 0 and folder.is_dir() else None
    if owner is None or owner.st_uid == 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def hand_over(file: Path, uid: int, gid: int) -> None:
    """Give the user a file; raises OSError. No link: it might be another's file that it names."""
    descriptor = os.open(file, _FILE)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == 0:
            os.fchown(descriptor, uid, gid)
    finally:
        os.close(descriptor)


def _require_access(rights: Rights) -> None:
    """Raise PrivilegeError when the user has no right to what is served, or to the program."""
    user = rights.user
    for setting, folder in rights.reads:
        if not os.access(folder, os.R_OK | os.X_OK):
            raise PrivilegeError(f"{setting}: {user} has no right to read {folder}")
    for setting, folder in rights.writes:
        if not may_write(folder):
            raise PrivilegeError(f"{setting}: {user} has no right to write to {folder}")
    for code in (__file__, os.__file__):  # modules are also loaded when they are needed first
        if not os.access(code, os.R_OK):
            where = Path(code).parent
            raise PrivilegeError(f"[security] user: {user} has no right to read {where}")
