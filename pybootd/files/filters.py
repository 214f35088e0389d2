"""Filters: the requested name in, another name out, as the administrator wishes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pybootd.config.ini import ConfigError, Section
from pybootd.core.architecture import architecture_name
from pybootd.core.events import FileProblem
from pybootd.core.finding import Finding
from pybootd.core.text import compile_wildcard, did_you_mean
from pybootd.core.workers import Later
from pybootd.files import paths
from pybootd.files.source import FileRequest, Forbidden, Missing


@dataclass(frozen=True, slots=True)
class Target:
    """Where a filter leads: ``name`` below ``base``, and nowhere else.

    ``base`` is the administrator's own: a directory, a URL, or empty for the root. Where ``name``
    is empty, ``base`` is the whole path and may lead anywhere. ``listed``: the file there is a
    text that holds, on its first line, the name to serve.
    """

    base: str
    name: str = ""
    listed: bool = False


Answer = str | bytes | Target
"""A name (below the root, or an absolute path or a URL, which lead anywhere), the octets
themselves, or a Target."""


class Filter(ABC):
    """One filter. A third party's class is found through entry point ``pybootd.filters``."""

    @classmethod
    @abstractmethod
    def from_config(cls, section: Section) -> Filter:
        """Build it from the section of its own name; raises ConfigError with every fault."""

    @abstractmethod
    def rewrite(self, request: FileRequest) -> Answer | Later[Answer | None] | None:
        """Say what to serve instead of ``request.name`` (cleaned, no leading slash).

        None: no opinion, the next one decides. Raises FileError to refuse.
        """


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
_MAY_HOLD_SLASHES = frozenset(("filename", "file"))

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


def is_url(text: str) -> bool:
    """Tell a URL from a path."""
    return _URL.match(text) is not None


def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""Turn a pattern for names into an expression; ``\`` is ``/``, and none leads."""
    return compile_wildcard(pattern.replace("\\", "/").lstrip("/"))


class Value:
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

    def problem(self, own: Collection[str]) -> tuple[str, str]:
        """Say what is wrong with it, and what may have been meant; empty when nothing is."""
        if not "".join(self.pieces).strip():
            return "no path", ""
        if any("{" in text or "}" in text for text in self.pieces[::2]):
            return "a brace without its partner", ""
        for name in self.variables:
            if name not in VARIABLES and name not in own:
                known = sorted({*VARIABLES, *own})
                near = did_you_mean(name, known)
                listing = ", ".join(f"{{{one}}}" for one in known)
                meant = f"{{{near}}}" if near else ""
                return f"unknown variable {{{name}}}; there are {listing}", meant
        return "", ""

    def expand(self, request: FileRequest) -> Target:
        """Put the client's values in; raises Forbidden or Missing when that leads nowhere good."""
        if not self.variables:
            return Target(self.base, "", self.listed)
        if self.url:
            return self._expand_url(request)
        parts = self.pieces[:]
        parts[1::2] = [value_of(name, request) for name in self.variables]
        return Target(self.base, paths.clean("".join(parts)[len(self.base) :]), self.listed)

    def _expand_url(self, request: FileRequest) -> Target:
        from urllib.parse import quote  # only where there are URLs

        url = self.pieces[0]
        for name, text in zip(self.variables, self.pieces[2::2], strict=True):
            value = value_of(name, request, required="?" not in url)
            url += quote(value, errors="surrogateescape") + text
        if ".." in re.split(r"[?#]", url[len(self.base) :])[0].split("/"):
            raise Forbidden(paths.OUTSIDE, FileProblem.OUTSIDE_ROOT)
        return Target(url, "", self.listed)


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

    def __init__(self, lines: Mapping[str, str]) -> None:
        self.lines = [(compile_pattern(pattern), Value(text)) for pattern, text in lines.items()]

    @classmethod
    def from_config(cls, section: Section, own: Collection[str] = ()) -> Patterns:
        """Build it; ``own`` are the variables that the configuration's clients define."""
        made = cls(section.options)
        faults = list(made._faults(section, own))
        if faults:
            raise ConfigError(faults)
        return made

    def _faults(self, section: Section, own: Collection[str]) -> Iterator[Finding]:
        for pattern, (_, value) in zip(section.options, self.lines, strict=True):
            problem, meant = value.problem(own)
            if problem:
                yield section.fault(pattern, problem, meant)

    def rewrite(self, request: FileRequest) -> Target | None:
        """Answer with the first pattern's value; never waits."""
        for pattern, value in self.lines:
            if pattern.match(request.name):
                return value.expand(request)
        return None
