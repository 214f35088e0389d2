"""What a client may ask for: its name cleaned, and opened so that nothing leads out of the root."""

from __future__ import annotations

import errno
import os
import re
from functools import lru_cache

from pybootd.core.events import FileProblem
from pybootd.files.source import Forbidden, Missing
from pybootd.system import openat2

MAX_NAME = 1024
"""Characters that a name may have."""

OUTSIDE = "the name leads out of the root"

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", 0)
_DIRECTORY = _ROOT | os.O_NOFOLLOW
# non-blocking: a FIFO that nobody writes to must not hold the loop
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# what systems say of a symbolic link that they were told not to follow
_LINK_ERRORS = frozenset((errno.ELOOP, errno.ENOTDIR, errno.EMLINK))
_MAX_LINKS = 40


@lru_cache(1024)
def clean_name(name: str) -> str:
    """Return the name as a path below a root: no leading slash, no empty, ``.`` or ``..`` part.

    A backslash is read as a slash. Raises Forbidden for a name that leads out or holds control
    characters, Missing for one that names nothing.
    """
    if len(name) > MAX_NAME:
        raise Missing(f"the name is longer than {MAX_NAME} characters", FileProblem.BAD_NAME)
    if _CONTROL.search(name):
        raise Forbidden("the name holds control characters", FileProblem.BAD_NAME)
    parts: list[str] = []
    for part in name.replace("\\", "/").split("/"):
        if part == "..":
            if not parts:
                raise Forbidden(OUTSIDE, FileProblem.OUTSIDE_ROOT)
            parts.pop()
        elif part and part != ".":
            parts.append(part)
    if not parts:
        raise Missing("the name is empty", FileProblem.BAD_NAME)
    return "/".join(parts)


def encode_name(name: str) -> bytes:
    """Turn a name back into the octets that it came as, also those that are not UTF-8.

    Raises Missing where that can't be done.
    """
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Missing("the name is no text", FileProblem.BAD_NAME) from None


def open_anywhere(path: bytes) -> int:
    """Open a path that the administrator gave, for reading. Raises OSError."""
    return os.open(path, _FILE)


def open_beneath(root: bytes, name: bytes) -> int:
    """Open a cleaned name for reading, below ``root``; links are followed while they stay there.

    Raises Forbidden when a link leads out, OSError as ``open``.
    """
    if b"/" not in name:
        # a name of one part leads out only as a link, which the walk doesn't follow unseen
        try:
            return os.open(root + b"/" + name, _FILE | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in _LINK_ERRORS:
                raise
        return _walk(root, os.open(root, _ROOT), name)
    top = os.open(root, _ROOT)
    try:
        opened = openat2.beneath(top, name, _FILE)
    except OSError:
        os.close(top)
        raise
    if opened is not None:
        os.close(top)
        return opened
    return _walk(root, top, name)


def _walk(root: bytes, top: int, name: bytes) -> int:
    """Open a name part by part, each in the directory that the part before it led to.

    So a link that is swapped in meanwhile leads nowhere else. ``top`` is the root, and is closed.
    """
    ahead = name.split(b"/")[::-1]
    held = [top]
    links = 0
    try:
        while ahead:
            part = ahead.pop()
            if part == b"..":  # from a link: a cleaned name has none
                if len(held) == 1:
                    raise Forbidden(OUTSIDE, FileProblem.OUTSIDE_ROOT)
                os.close(held.pop())
            elif part not in (b"", b"."):
                try:
                    opened = _open_part(part, held[-1], last=not ahead)
                except OSError as error:
                    target = _read_link(part, held[-1], error)
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                    if target.startswith(b"/"):
                        target = _below(root, target)
                        while len(held) > 1:
                            os.close(held.pop())
                    ahead += target.split(b"/")[::-1]
                    continue
                if not ahead:
                    return opened
                held.append(opened)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    finally:
        for descriptor in held:
            os.close(descriptor)


def _open_part(part: bytes, directory: int, *, last: bool) -> int:
    flags = _FILE | os.O_NOFOLLOW if last else _DIRECTORY
    return os.open(part, flags, dir_fd=directory)


def _read_link(part: bytes, directory: int, error: OSError) -> bytes:
    """Return where the link points; raises the error that opening it gave if it is no link."""
    if error.errno in _LINK_ERRORS:
        try:
            return os.readlink(part, dir_fd=directory)
        except OSError:
            pass
    raise error


def _below(root: bytes, target: bytes) -> bytes:
    """Return an absolute link's target relative to the root; raises Forbidden if it isn't there."""
    for top in (root, os.path.realpath(root)):
        prefix = top.rstrip(b"/") + b"/"
        if (target + b"/").startswith(prefix):
            return target[len(prefix) :]
    raise Forbidden(OUTSIDE, FileProblem.OUTSIDE_ROOT)
