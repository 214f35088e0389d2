"""What a client may ask for: its name cleaned, and opened so that nothing leads out of the root."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class LinkRules:
    """Where links below a root may lead beside it: below ``folders``, which are absolute.

    Not on a way through ``uploads``, the folder that clients may write to.
    """

    folders: tuple[bytes, ...] = ()
    uploads: bytes = b""


NO_LINKS_OUT = LinkRules()


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


def open_beneath(root: bytes, name: bytes, rules: LinkRules = NO_LINKS_OUT) -> int:
    """Open a cleaned name for reading, below ``root``; links are followed while they stay there.

    An absolute one may lead where the rules say, none leads out by "..". Raises Forbidden when a
    link leads out, OSError as ``open``.
    """
    if b"/" not in name:
        # a name of one part leads out only as a link, which the walk doesn't follow unseen
        try:
            return os.open(root + b"/" + name, _FILE | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in _LINK_ERRORS:
                raise
        return _walk(root, os.open(root, _ROOT), name, rules)
    top = os.open(root, _ROOT)
    try:
        opened = openat2.beneath(top, name, _FILE)
    except OSError:
        os.close(top)
        raise
    if opened is not None:
        os.close(top)
        return opened
    return _walk(root, top, name, rules)


class _Walk:
    """Opens a name part by part, each in the directory that the part before it led to.

    So a link that is swapped in meanwhile leads nowhere else.
    """

    def __init__(self, root: bytes, top: int, rules: LinkRules) -> None:
        self._root = root
        self._rules = rules
        self._held = [top]  # the root, or the folder that a link led to, and what is below it
        self._links = 0
        self._uploads = _identify(rules.uploads) if rules.uploads else None
        self._outside = self._through_uploads = False

    def close(self) -> None:
        """Close the directories."""
        for descriptor in self._held:
            os.close(descriptor)

    def open_name(self, name: bytes) -> int:
        """Open the name for reading. Raises Forbidden, OSError."""
        ahead = name.split(b"/")[::-1]
        while ahead:
            part = ahead.pop()
            if part == b"..":  # from a link: a cleaned name has none
                if len(self._held) == 1:
                    raise Forbidden(OUTSIDE, FileProblem.OUTSIDE_ROOT)
                os.close(self._held.pop())
            elif part not in (b"", b"."):
                try:
                    opened = _open_part(part, self._held[-1], last=not ahead)
                except OSError as error:
                    target = self._follow_link(_read_link(part, self._held[-1], error))
                    ahead += target.split(b"/")[::-1]
                    continue
                if not ahead:
                    return opened
                self._held.append(opened)
                self._check_uploads()
        return os.open(b".", _FILE, dir_fd=self._held[-1])  # a link led to a directory

    def _follow_link(self, target: bytes) -> bytes:
        """Return the rest of the way; that of an absolute link begins at another folder."""
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.startswith(b"/"):
            folder, target = _find_folder(self._root, target, self._rules)
            opened = os.open(folder, _ROOT)
            self.close()
            self._held = [opened]
            self._outside = self._outside or folder != self._root
            self._check_uploads(folder)
        return target

    def _check_uploads(self, folder: bytes = b"") -> None:
        """Raise Forbidden where the way leads out of the root and by what clients may write to."""
        if self._uploads is None or not self._rules.folders:
            return
        self._through_uploads = (
            self._through_uploads
            or _identify(self._held[-1]) == self._uploads
            or (folder != b"" and _is_below(folder, self._rules.uploads))
        )
        if self._outside and self._through_uploads:
            raise Forbidden(OUTSIDE, FileProblem.OUTSIDE_ROOT)


def _walk(root: bytes, top: int, name: bytes, rules: LinkRules) -> int:
    """Open a name below ``top``, which is the root, and is closed."""
    walk = _Walk(root, top, rules)
    try:
        return walk.open_name(name)
    finally:
        walk.close()


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


def _identify(place: int | bytes) -> tuple[int, int] | None:
    """Return what tells a folder from any other; None where there is none."""
    try:
        status = os.stat(place)  # noqa: PTH116  it may be a descriptor
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_below(folder: bytes, top: bytes) -> bool:
    above = _split_path(os.path.realpath(top))
    return _split_path(os.path.realpath(folder))[: len(above)] == above


def _find_folder(root: bytes, target: bytes, rules: LinkRules) -> tuple[bytes, bytes]:
    """Return the folder that an absolute link leads below, the root or another, and the rest.

    Raises Forbidden if it leads below none of them.
    """
    parts = _split_path(target)
    for folder in (root, *rules.folders):
        for top in (folder, os.path.realpath(folder)):
            above = _split_path(top)
            if parts[: len(above)] == above:
                return folder, b"/".join(parts[len(above) :])
    raise Forbidden(OUTSIDE, FileProblem.OUTSIDE_ROOT)


def _split_path(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]
