"""Looks at files that are served: what each is, which names are like one that is missing."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Hashable, Iterable

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.loop import Loop
from pybootd.core.workers import Later, TaskResult
from pybootd.files.resolver import Files
from pybootd.files.source import FileError, FileRequest, StaticBody
from pybootd.observe.content.inspect import inspect_file
from pybootd.observe.content.kinds import Content
from pybootd.observe.diagnosis.evidence import FileLook

MAX_CONTENTS = 256
"""Files whose content is remembered, by their keys: it changes when the file does."""

MAX_LOOKS = 1024
"""Names whose looks are remembered."""
MAX_WANTED = 64
"""Names that may wait for a look: strangers choose them."""
FRESH_S = 30.0
"""Seconds that a look holds."""

_NOBODY = "0.0.0.0"
_PENDING = FileLook(pending=True)

log = logging.getLogger(__name__)

Contents = BoundedMap[Hashable, Content]
"""What files are, by their keys."""


def look_at_file(
    all_files: Iterable[Files], name: str, contents: Contents | None = None
) -> FileLook:
    """Look at the file that a client gets by this name; it reads it, and so blocks."""
    near: dict[str, None] = {}
    link = ""
    for files in all_files:
        content = _read_content(files, name, contents)
        if content is not None:
            return FileLook(content)
        near |= dict.fromkeys(files.suggest_names(name))
        link = link or files.find_dead_link(name)
    return FileLook(None, tuple(near), link)


def _read_content(files: Files, name: str, contents: Contents | None) -> Content | None:
    try:
        opened = files.open(FileRequest(name, _NOBODY, _NOBODY))
        if isinstance(opened, Later):  # a web server's, or rendered: no look is worth that
            return None
        with contextlib.closing(opened.body) as body:
            if not isinstance(body, StaticBody):
                return None
            known = contents.get(body.key) if contents is not None else None
            if known is not None:
                return known
            content = inspect_file(body.size, lambda offset, count: body.pread(count, offset))
            if contents is not None:
                contents[body.key] = content
            return content
    except FileError:
        return None


class FileLooks:
    """Looks at files by a worker, one at a time, and remembers what it saw.

    ``all_files`` returns the file services; a look holds FRESH_S, and while it is renewed the old
    one is told. What nobody has looked at yet is ``pending``.
    """

    def __init__(self, loop: Loop, all_files: Callable[[], Iterable[Files]]) -> None:
        self._loop = loop
        self._all_files = all_files
        self._contents: Contents = BoundedMap(MAX_CONTENTS)
        self._looks: BoundedMap[str, tuple[float, FileLook]] = BoundedMap(MAX_LOOKS)
        self._wanted: dict[str, None] = {}
        self._looking = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a look."""
        return not self._wanted

    def find_look(self, name: str) -> FileLook:
        """Return what is known of a file, and have a worker look where that is too old."""
        when, look = self._looks.get(name, (-FRESH_S, _PENDING))
        if self._loop.now - when >= FRESH_S and len(self._wanted) < MAX_WANTED:
            self._wanted[name] = None
            self._look_next()
        elif look.pending and name not in self._wanted:
            return FileLook()  # too many are wanted: it is judged without
        return look

    def look_now(self, names: Iterable[str], deadline: float) -> None:
        """Look at these files, and remember it; blocks, so that a worker calls it.

        At ``deadline`` (time.monotonic) it begins no further one; those are looked at later.
        """
        files = tuple(self._all_files())
        found: dict[str, FileLook] = {}
        for name in names:
            if time.monotonic() > deadline:
                break
            found[name] = look_at_file(files, name, self._contents)

        def keep_looks(now: float) -> None:
            for name, look in found.items():
                self._looks[name] = now, look

        self._loop.call_from_thread(keep_looks)

    def _look_next(self) -> None:
        if self._looking or not self._wanted:
            return
        self._looking = True
        name, files = next(iter(self._wanted)), tuple(self._all_files())

        def looked(result: TaskResult[FileLook], now: float) -> None:
            self._looking = False
            self._wanted.pop(name, None)
            try:
                self._looks[name] = now, result.get()
            except Exception:
                log.exception("error while looking at %s; the daemon goes on", name)
                self._looks[name] = now, FileLook()
            self._look_next()

        self._loop.run_in_worker(
            Later(lambda: look_at_file(files, name, self._contents), "looks", 1), looked
        )
