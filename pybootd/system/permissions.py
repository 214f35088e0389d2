"""Who may change what a path leads to: a path is used only where nobody else may.

A user who may write to a folder may put a link in the place of any file in it. So before a file is
opened for writing each part of its path is looked at, and what a stranger could have put there is
refused.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections import deque
from collections.abc import Collection
from pathlib import Path

_MAX_LINKS = 40  # path_resolution(7)
_FIRST_PERSONAL_GID = 1000  # login.defs(5): groups below are those of the system
_OTHERS, _GROUP = stat.S_IWOTH, stat.S_IWGRP
_SYSTEM_FOLDERS = (Path("/dev"), Path("/proc"))  # terminals and descriptors, not kept files


class UnsafePathError(Exception):
    """Somebody else may change what a path leads to; the text says at which part, and how to help.

    ``part`` is that part of the path.
    """

    def __init__(self, path: Path, part: Path, why: str) -> None:
        where = "it" if part == path else str(part)
        super().__init__(f"{path} is not used: {where} {why}")
        self.part = part


def check_path(path: Path, owners: Collection[int], *, links: Collection[int] = (0,)) -> None:
    """Raise UnsafePathError where anybody else could change what an absolute path leads to.

    ``owners`` are the users (uid) that may own its folders and the file itself; root always
    is one. ``links`` are those whose links are followed. What doesn't exist yet is nobody's.
    """
    if any(path.is_relative_to(folder) for folder in _SYSTEM_FOLDERS):
        return
    trusted, followed = {0, *owners}, 0
    parts, here = deque(path.parts[1:]), Path("/")
    _check_folder(path, here, os.lstat(here), trusted)
    while parts:
        part = parts.popleft()
        if part == "..":
            here = here.parent
            continue
        here = here / part
        try:
            status = here.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISLNK(status.st_mode):
            followed += 1
            if status.st_uid not in links or followed > _MAX_LINKS:
                raise UnsafePathError(path, here, f"is a link that {_user(status.st_uid)} made")
            target = here.readlink()
            parts.extendleft(reversed([one for one in target.parts if one != "/"]))
            here = Path("/") if target.is_absolute() else here.parent
        elif stat.S_ISDIR(status.st_mode):
            _check_folder(path, here, status, trusted)
        else:
            _check_file(path, here, status, trusted)


def _check_folder(path: Path, here: Path, status: os.stat_result, trusted: set[int]) -> None:
    if status.st_uid not in trusted:
        raise UnsafePathError(path, here, f"belongs to {_user(status.st_uid)}")
    # in a sticky folder, such as /tmp, nobody may move what is another's: unlink(2)
    if status.st_mode & _OTHERS and not status.st_mode & stat.S_ISVTX:
        raise UnsafePathError(path, here, f"can be written to by everybody: chmod o-w {here}")
    if status.st_mode & _GROUP and not _is_system_group(status.st_gid):
        group = _group(status.st_gid)
        raise UnsafePathError(path, here, f"can be written to by group {group}: chmod g-w {here}")


def _check_file(path: Path, here: Path, status: os.stat_result, trusted: set[int]) -> None:
    if status.st_uid not in trusted:
        raise UnsafePathError(path, here, f"belongs to {_user(status.st_uid)}")
    if not stat.S_ISREG(status.st_mode):
        raise UnsafePathError(path, here, "is no regular file")  # opening a FIFO would wait
    if status.st_nlink > 1:
        raise UnsafePathError(path, here, "has another name, too: it may be another's file")
    if status.st_mode & _OTHERS:
        raise UnsafePathError(path, here, f"can be written to by everybody: chmod o-w {here}")


def _is_system_group(gid: int) -> bool:
    """Tell whether only the administrator puts somebody into a group; ``users`` has people."""
    return gid < _FIRST_PERSONAL_GID and _group(gid) != "users"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
