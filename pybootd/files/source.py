"""What a file source promises: it opens a name and gives a body."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol, TypeVar

from pybootd.config.ini import Section
from pybootd.core.client import KnownClient
from pybootd.core.events import FileProblem
from pybootd.core.loop import Loop
from pybootd.core.workers import Later, TaskResult, TooManyWaitingError
from pybootd.files import suggestions

T = TypeVar("T")

READ_TIMEOUT_S = 60.0
"""Seconds that the next octets of a StreamBody may take, beside its source's own limits."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


class FileError(Exception):
    """A file can't be served; the text says why, for people, and ``problem`` for programs.

    ``status``: what a web server answered (RFC 9110 15), 0: no web server did. ``served``: the
    name that was looked for, if it isn't the one that was asked for. ``media``: what HTTP says of
    the text, where it isn't plain.
    """

    problem = FileProblem.OTHER
    served = ""
    media = ""

    def __init__(self, text: str, problem: FileProblem | None = None, *, status: int = 0) -> None:
        super().__init__(text)
        self.status = status
        if problem is not None:
            self.problem = problem

    def with_prefix(self, where: str) -> FileError:
        """Return the same error with ``where`` in front of its text."""
        return type(self)(f"{where}: {self}", self.problem, status=self.status)


class Missing(FileError):
    """There is no such file: a plain miss, which is normal traffic."""

    problem = FileProblem.NOT_FOUND


class Forbidden(FileError):
    """The name leads where no client may go, or the file may not be read."""

    problem = FileProblem.NO_PERMISSION


class Altered(Forbidden):
    """The file isn't what ``[pins]`` says that it must be."""

    problem = FileProblem.ALTERED


class Unavailable(FileError):
    """The file can't be had now: its origin is down, silent or broken, or it changed on disk."""


class Body(ABC):
    """An open file, for one reader. ``size`` in octets, None where it isn't known beforehand.

    ``modified``: when it was changed last, in seconds since the epoch; None: unknown.
    """

    size: int | None
    modified: int | None = None

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; may be called twice."""


class StaticBody(Body):
    """Octets that stand still and may be read at any place."""

    size: int
    key: Hashable
    """Two bodies with equal keys hold equal octets; it changes when the file does."""
    immutable: ClassVar[bool] = False
    """Whether nobody but pybootd can change the octets behind ``fileno``, however it is done."""

    @abstractmethod
    def pread(self, count: int, offset: int) -> bytes:
        """Read ``count`` octets from ``offset``, fewer only at the end.

        Raises Unavailable if the file is no longer the one that was opened.
        """

    def fileno(self) -> int | None:
        """Return the descriptor of the file behind it, None where there is none."""
        return None


class StreamBody(Body):
    """Octets that arrive while they are read, once and in order.

    Read by one thread at a time, which need not be the loop's.
    """

    @abstractmethod
    def read(self, count: int) -> bytes | None:
        """Take the next octets: ``count`` of them, fewer at the end, none after it.

        None: fewer than ``count`` have arrived and the end is not known yet. Raises Unavailable
        when the rest will never come.
        """

    @abstractmethod
    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once, in the loop's thread, when ``read`` may have more to say than None."""


class TextBody(StaticBody):
    """Octets that were made for this request."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.key = ("text", data)

    def pread(self, count: int, offset: int) -> bytes:
        """Read ``count`` octets from ``offset``, fewer only at the end."""
        return self._data[offset : offset + count]

    def close(self) -> None:
        """Nothing is held."""


def read_head(body: Body, count: int) -> bytes:
    """Read a body's first octets, fewer only at its end; blocks for a StreamBody.

    Raises Unavailable.
    """
    if isinstance(body, StaticBody):
        return body.pread(min(count, body.size), 0)
    if not isinstance(body, StreamBody):
        raise TypeError(f"{type(body).__name__} is neither a StaticBody nor a StreamBody")
    arrived = threading.Event()
    while (data := body.read(count)) is None:
        arrived.clear()
        body.when_ready(lambda now: arrived.set())
        if not arrived.wait(READ_TIMEOUT_S):
            raise Unavailable("silent", FileProblem.ORIGIN_BROKE_OFF)
    return data


def get_result(result: TaskResult[T]) -> T:
    """Return what a worker's call returned; raises FileError, also where it was not made."""
    try:
        return result.get()
    except TooManyWaitingError as error:
        raise Unavailable(str(error), FileProblem.BUSY) from None


class FileRequest(NamedTuple):  # a frozen dataclass takes thrice as long to make
    """Who asks for a file: the peer's and the own address, and what is known of the client.

    ``query`` and ``about`` are what an HTTP request said besides; no file depends on them. ``pin``:
    the sha256, in hexadecimal, that the file must have, so that it has to be whole, a StaticBody,
    before the first octet leaves; "": any will do. The resolver compares.
    """

    name: str
    peer: str
    server: str
    known: KnownClient | None = None
    query: str = ""
    about: Mapping[str, str] = _NOTHING
    pin: str = ""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What the configuration has for whatever source needs it.

    ``cache``: where remote files are kept, None: nowhere, ``cache_size`` octets of them at most;
    ``credentials``: origin -> the HTTP field ``Authorization``; ``links``: folders beside the root
    that links may lead to; ``uploads``: the folder that clients may write to, None: there is none.
    """

    cache: Path | None = None
    cache_size: int = 0
    credentials: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Path, ...] = ()
    uploads: Path | None = None


class Source(ABC):
    """Where files come from. One is chosen by its URL's scheme, through ``pybootd.sources``."""

    opens_paths: ClassVar[bool] = False
    """Whether a name that begins with "/" is a path of this host."""
    opens_at_once: ClassVar[bool] = False
    """Whether ``open`` never returns Later, and may be called twice where once would do."""
    renders_templates: ClassVar[bool] = True
    """Whether ``X.j2`` is a template for ``X``; not where its files are someone else's."""

    @classmethod
    @abstractmethod
    def from_config(cls, section: Section) -> Source:
        """Build it from the section that names its root; raises ConfigError with every fault."""

    def apply_settings(self, settings: SourceSettings) -> None:  # noqa: B027
        """Take what the configuration has for all sources; before ``start``."""

    def start(self, loop: Loop) -> None:  # noqa: B027  a source that needs no loop need not say so
        """Take the loop, whose ``post`` brings other threads' news; before the first ``open``."""

    def close(self) -> None:  # noqa: B027
        """End what is under way; the bodies that are still open may fail from now on."""

    @abstractmethod
    def open(self, name: str, request: FileRequest) -> Body | Later[Body]:
        """Open the name: cleaned and relative to the root; a path or a URL where a filter said so.

        Raises FileError, and so may the blocking call. A worker calls it when a step before it (a
        filter that has to ask, say) had to wait.
        """

    def list_folder(self, folder: str) -> Collection[str]:
        """List the names in a folder, "" being the root; those of folders end in "/".

        It may block, and serves suggestions and letter case. Nothing where there is no such folder,
        or where it can't be listed: then neither is to be had.
        """
        return ()

    def list_names(self) -> Iterable[str]:
        """Yield the names of the files below the root, for suggestions; blocks."""
        return suggestions.walk(self.list_folder)

    def find_dead_link(self, name: str) -> str:
        """Return where a link of this name leads that ends nowhere; "": it is none; blocks."""
        return ""

    def match_letter_case(self, name: str, now: float) -> str | Later[str | None] | None:
        """Return the one name that differs from this one in letter case alone.

        None: there is none, or more than one.
        """
        return Later(lambda: suggestions.match_letter_case(self.list_folder, name), "letter-case")

    def find_template(self, name: str) -> tuple[Source, str]:
        """Return the source that a template's includes come from, and the template's name there."""
        return self, name


class OpenedFile(NamedTuple):
    """The file that a client's request leads to. ``served`` is the name that it was found by.

    ``media`` and ``fields``: what HTTP says of it, where its name doesn't tell.
    """

    body: Body
    served: str
    media: str = ""
    fields: tuple[tuple[str, str], ...] = ()


class FileOpener(Protocol):
    """What gives clients files: ``Files``, or a stand-in."""

    def open(self, request: FileRequest) -> OpenedFile | Later[OpenedFile]:
        """Open what the request leads to. Raises FileError, and so may the blocking call."""
        ...
