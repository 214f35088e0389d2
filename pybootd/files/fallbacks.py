"""Where else a file may be that isn't where a client looks for it.

Boot programs look in places that their makers chose: shim for ``grubx64.efi`` in the root when it
has lost its directory, GRUB for ``/grub/grub.cfg``, a Raspberry Pi in a directory named after it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pybootd.core.bounded_map import BoundedMap
from pybootd.files.source import FileRequest

MAX_CLIENTS = 4096
"""Clients whose boot file's directory is remembered."""

_PROGRAM = re.compile(r"\.(efi|0|k{0,2}pxe|n12)$", re.IGNORECASE)
# what shim loads besides (rhboot/shim, README.tpm and SBAT.md): nothing is booted from there
_DATA = re.compile(r"(^|/)(revocations|shim_certificate)[^/]*$", re.IGNORECASE)
# what shim and GRUB want to have beside them, whatever directory they name
_BESIDE = re.compile(r"(grub[^/]*|mm[^/]*|fb[^/]*|revocations[^/]*)\.efi|grub\.cfg(-[^/]*)?")
# before the names that a Raspberry Pi asks for: its serial number, or its MAC (its documentation,
# "Raspberry Pi bootloader configuration", TFTP_PREFIX)
_PI_FOLDER = re.compile(r"([0-9a-f]{8}|[0-9a-f]{2}(-[0-9a-f]{2}){5})/(?=.)", re.IGNORECASE)


def pi_shared_names(request: FileRequest) -> Iterator[str]:
    """Yield the name that a Pi's file has where all Pis share it.

    A client that isn't known may be a Pi: another server gave it its address.
    """
    folder = _PI_FOLDER.match(request.name)
    if folder and (request.known is None or request.known.is_pi):
        yield request.name[folder.end() :]


@lru_cache(256)
def _folder_of(served: str) -> str | None:
    """Return the directory of a boot program; None for what is none."""
    if not _PROGRAM.search(served) or _DATA.search(served):
        return None
    return posixpath.dirname(served)


class BootFolders:
    """The directory that each client's boot file came from.

    ``uploads`` is a folder below ``root`` that clients may write to, None: there is none. What is
    in it was never meant to be booted, so that a stranger's file there leads nobody to others.
    """

    def __init__(self, root: Path | None = None, uploads: Path | None = None) -> None:
        self._folders: BoundedMap[str, str] = BoundedMap(MAX_CLIENTS)
        self._root, self._uploads = root, uploads

    def note_boot_file(self, peer: str, served: str) -> None:
        """Note where the client has a boot program from, if it is one.

        To be called once it has all of it: anyone may ask in its name, with a forged address.
        """
        folder = _folder_of(served)
        if folder is not None and not self._takes_uploads(folder):
            self._folders[peer] = folder

    def _takes_uploads(self, folder: str) -> bool:
        if self._root is None or self._uploads is None:
            return False
        return (self._root / folder).resolve().is_relative_to(self._uploads.resolve())

    def names_beside(self, request: FileRequest) -> Iterator[str]:
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
