"""Filters: the requested name in, another name out, as the administrator wishes."""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from pybootd.config.ini import ConfigError, Section
from pybootd.core.architecture import architecture_name
from pybootd.core.events import FileProblem
from pybootd.core.finding import Finding
from pybootd.core.text import compile_wildcard, did_you_mean
from pybootd.core.workers import Later
from pybootd.files import paths
from pybootd.files.source import FileRequest, Forbidden, Missing


@dataclass(frozen=True, slots=True)
class FilterTarget:
    """Where a filter leads: ``name`` below ``base``, and nowhere else.

    ``base`` is what the administrator wrote: a directory, a URL, or empty for the root. Where
    ``name`` is empty, ``base`` is the whole path and may lead anywhere. ``listed``: the file there
    is a text whose first line is the name to serve.
    """

    base: str
    name: str = ""
    listed: bool = False


FilterAnswer = str | bytes | FilterTarget
"""A name (below the root, or an absolute path or a URL, which lead anywhere), the octets
themselves, or a FilterTarget."""


class Filter(ABC):
    """One filter. A third party's class is found through entry point ``pybootd.filters``."""

    repeatable: ClassVar[bool] = False
    """Whether ``rewrite`` never returns Later, and may be called twice where once would do."""

    @classmethod
    @abstractmethod
    def from_config(cls, section: Section) -> Filter:
        """Build it from the section that has its name; raises ConfigError with every fault."""

    @abstractmethod
    def rewrite(self, request: FileRequest) -> FilterAnswer | Later[FilterAnswer | None] | None:
        """Say what to serve instead of ``request.name`` (cleaned, no leading slash).

        None: no opinion, the next one decides. Raises FileError to refuse.
        """

    def find_faults(self, section: Section, variables: Collection[str]) -> Iterator[Finding]:
        """Yield what is wrong with its section when the configuration's clients are known.

        ``variables`` are those that [client] and [class] sections define.
        """
        return iter(())


def _mac(request: FileRequest) -> str:
    return request.known.client.mac.hex("-") if request.known else ""


def _uuid(request: FileRequest) -> str:
    return str(request.known.uuid or "") if request.known else ""


def _architecture(request: FileRequest) -> str:
    code = request.known.client.architecture if request.known else None
    return "" if code is None else architecture_name(code)


def _hostname(request: FileRequest) -> str:
    known = request.known
    return (known.hostname or known.client.hostname) if known else ""


VARIABLES: Mapping[str, Callable[[FileRequest], str]] = MappingProxyType(
    {
        "filename": lambda request: request.name,
        "file": lambda request: request.known.file if request.known else "",
        "mac": _mac,
        "ip": lambda request: request.peer,
        "uuid": _uuid,
        "arch": _architecture,
        "hostname": _hostname,
        "server": lambda request: request.server,
    }
)
MAX_PATTERNS = 10_000
"""Lines that [filters] and [pins] may have."""

_MAY_HOLD_SLASHES = frozenset(("filename", "file"))

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


def is_url(text: str) -> bool:
    """Tell a URL from a path."""
    return _URL.match(text) is not None


def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""Turn a pattern for names into an expression; ``\`` is ``/``, and none leads."""
    return compile_wildcard(pattern.replace("\\", "/").lstrip("/"))


def check_count(section: Section) -> None:
    """Raise ConfigError if a section has more patterns than a request can be compared with."""
    if len(section.options) > MAX_PATTERNS:
        first = next(itertools.islice(section.options, MAX_PATTERNS, None))
        problem = (
            f"more than {MAX_PATTERNS} lines, {len(section.options)}: each request is compared with"
            " them in turn; variables such as {mac} make one line of many"
        )
        raise ConfigError([section.fault(first, problem)])


class FilterValue:
    """The value of one line of ``[filters]``, taken apart once."""

    def __init__(self, text: str) -> None:
        self.listed = text.startswith("[") and text.endswith("]")
        path = (text[1:-1].strip() if self.listed else text).removeprefix("file://")
        self.pieces = _VARIABLE.split(path)  # text, variable, text, ..., text
        self.variables = self.pieces[1::2]
        self.url = is_url(path)
        head = self.pieces[0]
        # what the client's values may not leave: the directory before the first of them
        self.base = head[: head.rfind("/") + 1] if self.variables else path

    def find_problem(self, variables: Collection[str]) -> tuple[str, str]:
        """Say what is wrong with it, and what may have been meant; empty when nothing is."""
        if not "".join(self.pieces).strip():
            return "no path", ""
        if any("{" in text or "}" in text for text in self.pieces[::2]):
            return "a brace without its partner", ""
        for name in self.variables:
            if name not in VARIABLES and name not in variables:
                known = sorted({*VARIABLES, *variables})
                near = did_you_mean(name, known)
                listing = ", ".join(f"{{{one}}}" for one in known)
                meant = f"{{{near}}}" if near else ""
                return f"unknown variable {{{name}}}; there are {listing}", meant
        return "", ""

    def expand_target(self, request: FileRequest) -> FilterTarget:
        """Put the client's values in; raises Forbidden or Missing when that leads nowhere good."""
        if not self.variables:
            return FilterTarget(self.base, "", self.listed)
        if self.url:
            return self._expand_url(request)
        parts = self.pieces[:]
        parts[1::2] = [value_of(name, request) for name in self.variables]
        return FilterTarget(
            self.base, paths.clean_name("".join(parts)[len(self.base) :]), self.listed
        )

    def _expand_url(self, request: FileRequest) -> FilterTarget:
        from urllib.parse import quote  # only where there are URLs

        url = self.pieces[0]
        for name, text in zip(self.variables, self.pieces[2::2], strict=True):
            value = value_of(name, request, required="?" not in url)
            url += quote(value, errors="surrogateescape") + text
        if ".." in re.split(r"[?#]", url[len(self.base) :])[0].split("/"):
            raise Forbidden(paths.OUTSIDE, FileProblem.OUTSIDE_ROOT)
        return FilterTarget(url, "", self.listed)


def value_of(name: str, request: FileRequest, *, required: bool = True) -> str:
    """Return a variable's value for this client: one part of a path, save for ``{filename}``.

    Raises Missing when it is required and unknown, Forbidden when it would add a part.
    """
    if name in VARIABLES:
        value = VARIABLES[name](request)
        if name not in _MAY_HOLD_SLASHES and ("/" in value or "\\" in value or value == ".."):
            text = f"{{{name}}} of this client can't stand in a path: {value!r}"
            raise Forbidden(text, FileProblem.CLIENT_VALUE)
    else:
        value = request.known.variables.get(name, "") if request.known else ""
    if required and not value:
        raise Missing(f"{{{name}}} of this client is not known", FileProblem.CLIENT_VALUE)
    return value


class Patterns(Filter):
    """The lines ``pattern = value`` of ``[filters]``: the first pattern that fits decides."""

    repeatable = True

    def __init__(self, lines: Mapping[str, str]) -> None:
        self.lines = [
            (compile_pattern(pattern), FilterValue(text)) for pattern, text in lines.items()
        ]

    @classmethod
    def from_config(cls, section: Section) -> Patterns:
        """Build it from the section's lines; ``find_faults`` tells what is wrong with them.

        Raises ConfigError when there are too many of them.
        """
        check_count(section)
        return cls(section.options)

    def find_faults(self, section: Section, variables: Collection[str]) -> Iterator[Finding]:
        """Yield the lines that lead nowhere: braces without partners, unknown variables."""
        for pattern, (_, value) in zip(section.options, self.lines, strict=True):
            problem, meant = value.find_problem(variables)
            if problem:
                yield section.fault(pattern, problem, meant)

    def rewrite(self, request: FileRequest) -> FilterTarget | None:
        """Answer with the first pattern's value; never waits."""
        for pattern, value in self.lines:
            if pattern.match(request.name):
                return value.expand_target(request)
        return None
