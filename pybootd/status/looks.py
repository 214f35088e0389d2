"""Looks at files that are served: what each is, which names are like one that is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.workers import Later
from pybootd.files.resolver import Files
from pybootd.files.source import FileError, FileRequest, StaticBody
from pybootd.observe.content.inspect import inspect_file
from pybootd.observe.content.kinds import Content
from pybootd.observe.diagnosis.evidence import FileLook

MAX_CONTENTS = 256
"""Files whose content is remembered, by their keys: it changes when the file does."""

_NOBODY = "0.0.0.0"

Contents = BoundedMap[Hashable, Content]


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
        found = files.open(FileRequest(name, _NOBODY, _NOBODY))
        opened = found.call() if isinstance(found, Later) else found
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


Look = Callable[[str], FileLook]
