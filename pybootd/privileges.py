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
from pathlib import Path
from typing import TYPE_CHECKING

from pybootd import keeping
from pybootd.config import ANY, Config

if TYPE_CHECKING:
    import ctypes

log = logging.getLogger(__name__)

CAP_NET_BIND_SERVICE = 10  # linux/capability.h
_PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 8, 38  # linux/prctl.h
_CAPABILITY_VERSION_3 = 0x20080522
_PRIVILEGED = 1024  # ports below need root, or CAP_NET_BIND_SERVICE
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PrivilegeError(Exception):
    """The daemon can't become the user, or can't work as it; the text says why."""


def drop(config: Config, services: Collection[str]) -> None:
    """Become ``[security] user`` for good, with the capabilities needed later and no others.

    To be called with every port bound and no thread started; raises PrivilegeError.
    """
    user, group = config.security.user, config.security.group
    if not user:
        if os.geteuid() == 0:
            log.warning("running as root: name a user to become in [security] user")
        return
    entry = pwd.getpwnam(user)
    uid, gid = entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid
    if os.geteuid() != 0:
        if os.geteuid() != uid:
            log.warning("only root can become %s ([security] user): running as before", user)
        return
    lease_file = config.bootp.lease_copy if config.bootp.shared else config.bootp.leases
    kept_in_file = lease_file not in ("memory", "none") and config.bootp.mode != "proxy"
    if "bootp" in services and kept_in_file:
        _hand_over_folder(Path(lease_file), uid, gid)
    if config.cache.dir is not None:
        _hand_over_cache(config.cache.dir, uid, gid)
    if config.logger.type == "file" and config.logger.file is not None:
        with contextlib.suppress(OSError):  # it may be a terminal, or on a system without owners
            hand_over(config.logger.file, uid, gid)
    kept = needed(config, services)
    try:
        _become(user, uid, gid, kept)
    except OSError as error:
        raise PrivilegeError(f"[security] user: can't become {user}: {error.strerror}") from error
    os.environ["HOME"] = entry.pw_dir  # libpq looks there for passwords and certificates
    _see_that_it_can_read(config, services)
    _see_that_it_can_keep(config)
    log.info("running as %s%s", user, ", with CAP_NET_BIND_SERVICE" if kept else "")


def needed(config: Config, services: Collection[str]) -> Collection[int]:
    """Return the capabilities that are needed when every port of the start is bound.

    Packet sockets are opened at the start and serve interfaces that come later, too, and
    SO_BINDTODEVICE on a fresh socket needs no right (Linux 5.7). Left is CAP_NET_BIND_SERVICE: for
    port 67 on a named interface that comes later, and for transfers from ports below 1024.
    """
    bootp, span = config.bootp, config.tftp.port_range
    single = bool(bootp.interface) or bootp.address != ANY
    if "bootp" in services and single and bootp.port < _PRIVILEGED:
        return (CAP_NET_BIND_SERVICE,)
    if "tftp" in services and span is not None and span[0] < _PRIVILEGED:
        return (CAP_NET_BIND_SERVICE,)
    return ()


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


def _see_that_it_can_keep(config: Config) -> None:
    """Warn when the user has no right to write to the cache."""
    folder = config.cache.dir
    if folder is not None and not keeping.may_write(folder):
        log.warning("[cache] dir: %s", keeping.cant_keep(config.security.user, folder))


def _see_that_it_can_read(config: Config, services: Collection[str]) -> None:
    """Raise PrivilegeError when the user has no right to what is served, or to the program."""
    user, roots = config.security.user, {"tftp": config.tftp.root, "httpd": config.httpd.root}
    for service in services:
        root = roots.get(service) or (config.tftp.root if service == "httpd" else "")
        if root and "://" not in root and not os.access(root, os.R_OK | os.X_OK):
            raise PrivilegeError(f"[{service}] root: {user} has no right to read {root}")
    upload = config.tftp.upload and config.path.absolute().parent / config.tftp.upload
    if "tftp" in services and upload and not os.access(upload, os.R_OK | os.W_OK | os.X_OK):
        raise PrivilegeError(f"[tftp] upload: {user} has no right to write to {upload}")
    for code in (__file__, os.__file__):  # modules are also loaded when they are needed first
        if not os.access(code, os.R_OK):
            where = Path(code).parent
            raise PrivilegeError(f"[security] user: {user} has no right to read {where}")
