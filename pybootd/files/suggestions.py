"""Names that are like one that is missing: written almost alike, or in other letter case.

Both look through a source's folders by its ``list_folder``, and so may block.
"""

from __future__ import annotations

import heapq
import itertools
import posixpath
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from pybootd.core.bounded_map import BoundedMap

MAX_NAMES = 5000
"""Names below a root that are looked at for a suggestion."""
MAX_FOLDERS = 1000
"""Folders that are looked into for it."""
MAX_ENTRIES = 5000
"""Entries of a folder that is looked through for letter case; a larger one isn't."""
NAMES_S = 10.0
"""Seconds that the names below a root are kept, and what was found among them."""

_MAX_SUGGESTIONS = 3
_MAX_COMPARED = 100  # names that are compared letter by letter
_MAX_KEPT = 1024  # missing names whose suggestions are kept
_MAX_FOLDERS_ALIKE = 8  # folders that are alike but for letter case, and are looked into

ListFolder = Callable[[str], Collection[str]]
ListEntries = Callable[[str], Mapping[str, list[str]]]


class NameSuggester:
    """Names below a root that are like one that is missing. Both are kept for a while.

    Threads may share it; it blocks, so it is for workers.
    """

    def __init__(self, list_names: Callable[[], Iterable[str]]) -> None:
        self._list_names = list_names
        self._names: list[str] = []
        self._listed_at = float("-inf")
        self._found: BoundedMap[str, tuple[str, ...]] = BoundedMap(_MAX_KEPT)
        self._lock = threading.Lock()

    def suggest_names(self, missing: str) -> tuple[str, ...]:
        """Return up to three names that are like the missing one, the nearest first."""
        with self._lock:  # those that ask together wait for one list
            now = time.monotonic()
            if now - self._listed_at > NAMES_S:
                self._names = list(itertools.islice(self._list_names(), MAX_NAMES))
                self._listed_at = time.monotonic()
                self._found.clear()
            found = self._found.use(missing)
            if found is None:
                found = self._found[missing] = suggest_names(self._names, missing)
        return found


def suggest_names(names: Collection[str], missing: str) -> tuple[str, ...]:
    """Return up to three of the names that are like the missing one, the nearest first.

    The same file in another folder or in other letter case goes before a name written alike.
    """
    import difflib  # needed for faults alone, and slow to load

    wanted = missing.replace("\\", "/").strip("/")
    base = posixpath.basename(wanted).lower()
    same = [name for name in names if posixpath.basename(name).lower() == base]
    # a comparison takes long, so only the names that share most pairs of letters are compared
    pairs = set(itertools.pairwise(wanted))

    def shared_pairs(name: str) -> float:
        return len(pairs.intersection(itertools.pairwise(name))) / (len(name) + 1)

    likely = heapq.nlargest(_MAX_COMPARED, names, shared_pairs)
    alike = difflib.get_close_matches(wanted, likely, n=_MAX_SUGGESTIONS, cutoff=0.75)
    return tuple(dict.fromkeys((*sorted(same, key=len), *alike)))[:_MAX_SUGGESTIONS]


def walk(list_folder: ListFolder) -> Iterator[str]:
    """Yield the names of all files below a root; of MAX_FOLDERS folders at most."""
    folders = [""]
    for _ in range(MAX_FOLDERS):
        if not folders:
            return
        folder = folders.pop()
        inside = []
        for name in sorted(list_folder(folder)):
            if name.endswith("/"):
                inside.append(posixpath.join(folder, name[:-1]))
            else:
                yield posixpath.join(folder, name)
        folders += reversed(inside)


def match_letter_case(list_folder: ListFolder, name: str) -> str | None:
    """Return the one name that is like it but for letter case; None: none, or more than one."""
    return match_entries(lambda folder: group_by_case(list_folder(folder)), name)


def match_entries(entries: ListEntries, name: str) -> str | None:
    """Do the same with a function that returns a folder's names by their lower case."""
    alike = [""]
    for part in name.split("/"):
        wanted = part.casefold()
        alike = [
            posixpath.join(folder, entry)
            for folder in alike
            for entry in entries(folder).get(wanted, ())
        ]
        if not 0 < len(alike) <= _MAX_FOLDERS_ALIKE:
            return None
    return alike[0] if len(alike) == 1 else None


def group_by_case(names: Iterable[str]) -> Mapping[str, list[str]]:
    """Group a folder's names by their lower case; nothing where there are too many of them."""
    found: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        if number == MAX_ENTRIES:
            return {}
        bare = name.removesuffix("/")
        found.setdefault(bare.casefold(), []).append(bare)
    return found
