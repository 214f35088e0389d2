"""Where else a file may be that isn't where a client looks for it.

Boot programs look in places of their own making: shim for ``grubx64.efi`` in the root when it has
lost its directory, GRUB for ``/grub/grub.cfg``, Windows for names in any letter case, a Raspberry
Pi in a directory of its own.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from pybootd.files import paths
from pybootd.files.source import FileError, FileRequest

CLIENTS = 4096
"""Clients whose boot file's directory is remembered."""
ENTRIES = 5000
"""Entries of a directory that is looked through for letter case; a larger one isn't."""
KEPT = 2.0
"""Seconds that a directory's entries are kept, unless it changes before."""

_PROGRAM = re.compile(r"\.(efi|0|k{0,2}pxe|n12)$", re.IGNORECASE)
# what shim loads besides (rhboot/shim, README.tpm and SBAT.md): from there nothing goes on
_DATA = re.compile(r"(^|/)(revocations|shim_certificate)[^/]*$", re.IGNORECASE)
# what shim and GRUB want to have beside them, whatever directory they name
_BESIDE = re.compile(r"(grub[^/]*|mm[^/]*|fb[^/]*|revocations[^/]*)\.efi|grub\.cfg(-[^/]*)?")
# before the names that a Raspberry Pi asks for: its serial number, or its MAC (its documentation,
# "Raspberry Pi bootloader configuration", TFTP_PREFIX)
_OWN = re.compile(r"([0-9a-f]{8}|[0-9a-f]{2}(-[0-9a-f]{2}){5})/(?=.)", re.IGNORECASE)
_FOLDERS = 64  # directories whose entries are kept
_ALIKE = 8  # directories that are alike but for letter case, and are looked into


def shared(request: FileRequest) -> Iterator[str]:
    """Yield the name that a Pi's own file has where all Pis share it.

    Whoever isn't known may be a Pi: another server gave it its address.
    """
    own = _OWN.match(request.name)
    if own and (request.known is None or request.known.is_pi):
        yield request.name[own.end() :]


@lru_cache(256)
def _folder_of(served: str) -> str | None:
    """Return the directory of a boot program; None for what is none."""
    if not _PROGRAM.search(served) or _DATA.search(served):
        return None
    return posixpath.dirname(served)


class BootFolders:
    """The directory that each client's boot file came from."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._lock = threading.Lock()  # remote files are opened by workers

    def note(self, request: FileRequest, served: str) -> None:
        """Note where the client has a boot program from, if it is one."""
        folder = _folder_of(served)
        if folder is None:
            return
        with self._lock:
            self._folders.pop(request.peer, None)
            self._folders[request.peer] = folder
            if len(self._folders) > CLIENTS:
                del self._folders[next(iter(self._folders))]

    def beside(self, request: FileRequest) -> Iterator[str]:
        """Yield the names that a missing file may have beside the client's boot file."""
        name, folder = request.name, self._folders.get(request.peer)
        if not folder:
            return
        if not name.startswith(f"{folder}/"):
            yield f"{folder}/{name}"
            if at := name.find("/grub/") + 1:  # the prefix that GRUB was built with
                yield f"{folder}/{name[at:]}"
        base = posixpath.basename(name)
        if _BESIDE.fullmatch(base) and base != name and f"{folder}/{base}" != name:
            yield f"{folder}/{base}"


class LetterCaseFinder:
    """Finds a name below a directory of this host where only the letter case is another."""

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)
        self._kept: dict[str, tuple[int, float, Mapping[str, list[str]]]] = {}

    def found(self, name: str, now: float) -> str | None:
        """Return the one name that is like it; None where there is none, or more than one."""
        alike = [""]
        for part in name.split("/"):
            wanted = part.casefold()
            alike = [
                posixpath.join(folder, entry)
                for folder in alike
                for entry in self._entries(folder, now).get(wanted, ())
            ]
            if not 0 < len(alike) <= _ALIKE:
                return None
        return alike[0] if len(alike) == 1 else None

    def _entries(self, folder: str, now: float) -> Mapping[str, list[str]]:
        """Return what a directory holds, by names in lower case; nothing if it can't be had."""
        try:
            if folder:
                opened = paths.open_beneath(self._root, paths.encode(folder))
            else:
                opened = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, FileError):
            return {}
        try:
            changed = os.fstat(opened).st_mtime_ns
            kept = self._kept.get(folder)
            if kept is not None and kept[0] == changed and now - kept[1] < KEPT:
                return kept[2]
            entries = _read(opened)
        except OSError:  # no directory, too
            return {}
        finally:
            os.close(opened)
        if len(self._kept) >= _FOLDERS:
            self._kept.clear()
        self._kept[folder] = changed, now, entries
        return entries


def _read(folder: int) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    with os.scandir(folder) as entries:
        for number, entry in enumerate(itertools.islice(entries, ENTRIES + 1)):
            if number == ENTRIES:
                return {}
            found.setdefault(entry.name.casefold(), []).append(entry.name)
    return found
