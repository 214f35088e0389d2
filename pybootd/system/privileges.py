"""Whom the daemon becomes once its ports are bound, and what it may still do then.

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
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

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

    ``capabilities`` are kept; ``lease_file``, ``log_file`` and the folder ``cache`` are given to
    the user first (None: there is none). ``reads`` and ``writes`` are pairs of a setting, as errors
    name it, and the directory that the user must be able to read, or to write to as well.
    """

    user: str
    group: str = ""
    capabilities: Collection[int] = ()
    lease_file: Path | None = None
    log_file: Path | None = None
    cache: Path | None = None
    reads: tuple[tuple[str, Path], ...] = ()
    writes: tuple[tuple[str, Path], ...] = ()


def drop(rights: Rights) -> bool:
    """Become that user for good, with the capabilities needed later and no others.

    False: there is no such user, or we may not become it; that is logged. To be called with every
    port bound and no thread started; raises PrivilegeError.
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
    if rights.lease_file is not None:
        _hand_over_folder(rights.lease_file, uid, gid)
    if rights.cache is not None:
        _hand_over_cache(rights.cache, uid, gid)
    if rights.log_file is not None:
        with contextlib.suppress(OSError):  # it may be a terminal, or on a system without owners
            hand_over(rights.log_file, uid, gid)
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


def _hand_over_folder(file: Path, uid: int, gid: int) -> None:
    """Make the folder of the lease file, and give both to the user.

    A folder that holds other files, too, is left as it is. What can't be given, the user may be
    able to write all the same; if not, the lease store says so.
    """
    folder = file.parent
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        names = list(folder.iterdir())
        ours = [one for one in names if one.name.startswith(file.name)]
        for one in ours:
            hand_over(one, uid, gid)
        if len(ours) == len(names):
            os.chown(folder, uid, gid, follow_symlinks=False)


def _hand_over_cache(folder: Path, uid: int, gid: int) -> None:
    """Make the folder of the cache, and give it to the user; one that holds other files stays."""
    ours = {"files", "index", "parts"}
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        there = {one.name for one in folder.iterdir()}
        if there <= ours:
            for path in (folder, *(folder / name for name in there)):
                os.chown(path, uid, gid, follow_symlinks=False)


def hand_over(file: Path, uid: int, gid: int) -> None:
    """Give the user a file; raises OSError. No link: it might be another's file that it names."""
    descriptor = os.open(file, _FILE)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
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
