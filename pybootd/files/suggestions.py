"""Names that are like one that is missing, for whoever wrote it wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_LOOKED_AT = 5000  # names below a root, at most
_TOLD = 3


def like(root: Path, name: str) -> tuple[str, ...]:
    """Return up to three names below the root that are like the missing one, the nearest first.

    The same file in another directory or in other letter case goes before a name written alike.
    """
    import difflib  # needed for faults alone, and dear to load

    wanted = name.replace("\\", "/").strip("/")
    base = wanted.rpartition("/")[2].lower()
    names = list(_names(root))
    same = [one for one in names if one.rpartition("/")[2].lower() == base]
    rest = difflib.get_close_matches(wanted, names, n=_TOLD, cutoff=0.75)
    return tuple(dict.fromkeys((*sorted(same, key=len), *rest)))[:_TOLD]


def _names(root: Path) -> Iterator[str]:
    left = _LOOKED_AT
    for folder, folders, files in os.walk(root):
        folders.sort()
        inside = os.path.relpath(folder, root)
        for file in files[:left]:
            yield file if inside == "." else f"{inside}/{file}"
        left -= len(files)
        if left <= 0:
            return
