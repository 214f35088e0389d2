"""The walk from a requested name to an open file: cleaned, filtered, opened by its source."""

from __future__ import annotations

import contextlib
import posixpath
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import quote

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.config.options.files import HttpdConfig, TftpConfig
from pybootd.core import plugins
from pybootd.core.events import FileProblem
from pybootd.core.finding import Finding
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files import paths
from pybootd.files.checksums import Pins, differs
from pybootd.files.fallbacks import BootFolders, LetterCaseFinder, shared
from pybootd.files.filters import Answer, Filter, Patterns, Target, is_url
from pybootd.files.local import LocalSource
from pybootd.files.source import (
    Altered,
    Body,
    Equipment,
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    Opened,
    Source,
    StaticBody,
    StreamBody,
    TextBody,
    Unavailable,
)
from pybootd.files.suggestions import like

T = TypeVar("T")
Steps = Generator[Later[Any], Any, T]

SHIPPED = "pybootd/etc/"
"""What starts a filter's value that names a file of the package."""

_NONE: Mapping[str, str] = MappingProxyType({})
_ETC = Path(__file__).parents[1] / "etc"
_LISTED = paths.LONGEST + 1  # octets of a list that are read: one more than its name may have
_SECTIONS = MappingProxyType({"patterns": "filters"})  # the one whose section has another name
_PATIENCE = 60.0  # seconds that a list's first line may take, an origin's own limits apart

TEMPLATE = ".j2"
"""How the name of a template ends, beside the name that it is rendered for."""


class Files:
    """What one file service serves: a root, and filters in front of it.

    ``base`` is the root as text, an absolute path or a URL: what a filter's relative path starts
    from. ``pins``: what files must be; ``equipment`` is for all sources.
    """

    def __init__(
        self,
        root: Source,
        base: str = "",
        filters: Iterable[Filter] = (),
        pins: Mapping[str, str] = _NONE,
        equipment: Equipment | None = None,
    ) -> None:
        self.root = root
        self.base = base
        self.filters = tuple(filters)
        self._sources: dict[str, Source] = {_scheme(base): root}
        self._shipped = LocalSource(_ETC)
        self._host = root if isinstance(root, LocalSource) else LocalSource(Path("/"))
        self._places = BootFolders()
        self._spelling = LetterCaseFinder(root.root) if isinstance(root, LocalSource) else None
        self._loop: Loop | None = None
        self._pins = Pins(pins)
        # patterns may be asked twice: they neither wait nor keep anything
        self._plain = not pins and all(type(each) is Patterns for each in self.filters)
        self._equipment = equipment or Equipment()
        root.equip(self._equipment)

    @classmethod
    def from_config(cls, config: Config, section: str = "tftp") -> Files:
        """Build it from the section that names the root; raises ConfigError with every fault."""
        own = config.sections.get(section, Section(section, config.path))
        if "root" not in own.options:  # in other letters, or in a configuration without a file
            read: TftpConfig | HttpdConfig = getattr(config, section)
            own = replace(own, options={**own.options, "root": read.root})
        base = own.options["root"].removeprefix("file://")
        if not is_url(base):
            base = str((config.path.parent / base).absolute())
        filters, faults = _filters_of(config, own)
        equipment, wrong = _equipment_of(config)
        faults += wrong
        try:
            root = _source_of(own)
        except ConfigError as error:
            raise ConfigError([*error.faults, *faults]) from error
        if faults:
            raise ConfigError(faults)
        return cls(root, base, filters, config.pins, equipment)

    def start(self, loop: Loop) -> None:
        """Give the sources the loop; to be called before the first ``open``."""
        self._loop = loop
        for source in self._sources.values():
            source.start(loop)

    def close(self) -> None:
        """End what the sources have under way."""
        for source in self._sources.values():
            source.close()

    def open(self, request: FileRequest) -> Opened | Later[Opened]:
        """Open what the request comes down to. Raises FileError, and so may the blocking call."""
        name = paths.clean(request.name)
        if name != request.name:
            request = request._replace(name=name)
        opened = self._straight(request)
        if opened is not None:
            return opened
        steps = self._walk(request)
        try:
            later = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        return Later(lambda: _finish(steps, later), later.pool)

    def peek(self, request: FileRequest, count: int) -> bytes | None:
        """Read a file's first octets, if that needs no waiting; None: it does, or can't be had."""
        try:
            opened = self.open(request)
            if isinstance(opened, Later):
                return None
            with contextlib.closing(opened.body) as body:
                if isinstance(body, StaticBody):
                    return body.pread(min(count, body.size), 0)
        except FileError:
            pass
        return None

    def near(self, name: str) -> tuple[str, ...]:
        """Return names below a root on this host that are like one that is missing."""
        if not isinstance(self.root, LocalSource):
            return ()
        return like(self.root.root, name)

    def _straight(self, request: FileRequest) -> Opened | None:
        """Open what no filter answers for, as most files; None: the walk is to tell."""
        root = self.root
        if not self._plain or not isinstance(root, LocalSource):
            return None
        try:
            for filter_ in self.filters:
                if filter_.rewrite(request) is not None:
                    return None
            opened = Opened(root.open(request.name, request), request.name)
        except FileError:
            return None
        self._places.note(request, request.name)
        return opened

    def _walk(self, request: FileRequest) -> Steps[Opened]:
        """Take the steps; whatever has to wait is yielded, so that a worker does the rest."""
        answer: Answer | None = None
        for filter_ in self.filters:
            answer = yield from _settled(filter_.rewrite(request))
            if answer is not None:
                break
        if answer is None:
            return (yield from self._open_own(request))
        if isinstance(answer, bytes):
            return Opened(TextBody(answer), request.name)
        target = _target(answer)
        if target.listed:
            listing = yield from self._open(target, request)
            name = yield from _first_line(listing)
            try:
                target = Target("", paths.clean(name))
            except FileError as error:
                raise error.prefixed(listing.served) from error
        opened = yield from self._open(target, request)
        inside = opened.served.removeprefix(f"{self.base}/")
        outside = inside.startswith("/") or is_url(inside)
        self._places.note(request, request.name if outside else inside)
        return opened

    def _open_own(self, request: FileRequest) -> Steps[Opened]:
        """Open the name that the client asked for below the root, else what it must have meant."""
        try:
            opened = yield from self._served(self.root, request.name, request)
        except Missing:
            for name in self._elsewhere(request):
                try:
                    opened = yield from self._served(self.root, name, request)
                except Altered:
                    raise
                except (Missing, Forbidden):
                    continue
                break
            else:
                raise
        self._places.note(request, opened.served)
        return opened

    def _elsewhere(self, request: FileRequest) -> Iterator[str]:
        others = (*shared(request), *self._places.beside(request))
        yield from others
        if self._spelling is not None:
            now = self._loop.now if self._loop else 0.0
            for name in (request.name, *others):
                found = self._spelling.found(name, now)
                if found not in (None, name):
                    yield found

    def _open(self, target: Target, request: FileRequest) -> Steps[Opened]:
        source, name = self._locate(target)
        try:
            return (yield from self._served(source, name, request))
        except FileError as error:
            error.served = target.base + target.name  # the source knows what is below base alone
            if error.problem is FileProblem.NOT_FOUND:
                error.problem = FileProblem.FILTER_TARGET
            raise

    def _served(self, source: Source, name: str, request: FileRequest) -> Steps[Opened]:
        """Open the name or, where only that is there, the template for it, if its pin allows."""
        pin = self._pins.of(name.removeprefix(f"{self.base.rstrip('/')}/")) or self._pins.of(name)
        if not pin:
            return (yield from _served(source, name, request))
        opened = yield from _served(source, name, request._replace(pin=pin))
        body = opened.body
        try:
            if not isinstance(body, StaticBody):
                text = f"{name} is pinned, and its source can't say what it is"
                raise Unavailable(text, FileProblem.UNCHECKED)
            digest = self._pins.known(body)
            if not digest:
                digest = yield Later(lambda: self._pins.measure(body), "checksums", 2)
            if digest != pin:
                raise differs(name, digest, pin)
        except BaseException:
            body.close()
            raise
        return opened

    def _locate(self, target: Target) -> tuple[Source, str]:
        """Find the source that has the target, and the name that it knows it by."""
        path = target.base + target.name
        if target.base.startswith(SHIPPED) and (_ETC / path[len(SHIPPED) :]).is_file():
            return self._shipped, paths.clean(path[len(SHIPPED) :])
        if is_url(path):
            return self._source(path), path
        if path.startswith("/"):
            return self._on_host(target.base, target.name)
        local = isinstance(self.root, LocalSource)
        inside = posixpath.normpath(target.base).split("/")[0] != ".."
        if inside and (target.name or not local):
            return self.root, paths.clean(path)
        if local:
            return self._on_host(posixpath.join(self.base, target.base), target.name)
        url = join_url(self.base, path)
        return self._source(url), url

    def _on_host(self, base: str, name: str) -> tuple[Source, str]:
        if name:
            return LocalSource(Path(base)), paths.clean(name)
        return self._host, base

    def _source(self, url: str) -> Source:
        """Return the source for the URL's scheme; built when it is needed first."""
        scheme = _scheme(url)
        source = self._sources.get(scheme)
        if source is None:
            try:
                source = _source_of(Section("filters", options={"root": url}))
            except ConfigError as error:
                text = f"{url}: {error.faults[0].problem}"
                raise Unavailable(text, FileProblem.CONFIGURATION) from error
            source.equip(self._equipment)
            if self._loop is not None:
                source.start(self._loop)
            self._sources[scheme] = source
        return source


def join_url(base: str, path: str) -> str:
    """Resolve a filter's relative path from a URL; it may lead out of it, never to another host."""
    scheme, _, rest = base.partition("://")
    host, _, folder = rest.partition("/")
    joined = posixpath.normpath(posixpath.join("/", folder, quote(path, errors="surrogateescape")))
    return f"{scheme}://{host}{joined}"


def _scheme(base: str) -> str:
    return base.partition("://")[0].lower() if is_url(base) else "file"


def _source_of(section: Section) -> Source:
    """Build the source that the section's root asks for; raises ConfigError."""
    try:
        found = plugins.find(plugins.SOURCES, _scheme(section.options["root"]))
    except plugins.PluginError as error:
        raise ConfigError([section.fault("root", error.problem, error.meant)]) from error
    return found.from_config(section)  # type: ignore[no-any-return]


def _filters_of(config: Config, named: Section) -> tuple[list[Filter], list[Finding]]:
    """Build the filters in the order in which ``[tftp] filters`` names them."""
    built: list[Filter] = []
    faults: list[Finding] = []
    for name in config.tftp.filters:
        section = config.sections.get(_SECTIONS.get(name, name), Section(name, config.path))
        try:
            found = plugins.find(plugins.FILTERS, name)
            if issubclass(found, Patterns):
                built.append(found.from_config(section, config.profiles.variables))
            else:
                built.append(found.from_config(section))
        except plugins.PluginError as error:
            faults.append(named.fault("filters", error.problem, error.meant))
        except ConfigError as error:
            faults += error.faults
    return built, faults


def _equipment_of(config: Config) -> tuple[Equipment, list[Finding]]:
    cache, path = config.cache, config.tftp.credentials
    found: Mapping[str, str] = _NONE
    faults = []
    if path is not None:
        from pybootd.files.remote import credentials  # seldom needed

        try:
            found = credentials.read(path)
        except credentials.CredentialsError as error:
            section = config.sections.get("tftp", Section("tftp", config.path))
            faults.append(section.fault("credentials", str(error)))
    return Equipment(cache.dir, cache.size, found), faults


def _target(answer: str | Target) -> Target:
    if isinstance(answer, Target):
        return answer
    if is_url(answer) or answer.startswith("/"):
        return Target(answer)
    return Target("", answer)


def _served(source: Source, name: str, request: FileRequest) -> Steps[Opened]:
    """Open the name or, where only that is there, the template for it, rendered."""
    try:
        return (yield from _opened(source, name, request))
    except Missing:
        # a mirror's files are someone else's: none of them is run here
        if not isinstance(source, LocalSource):
            raise
        template = name + TEMPLATE
        try:
            source.open(template, request).close()
        except Missing:
            pass
        else:
            body = yield Later(lambda: _rendered(source, template, request), "templates", 2)
            return Opened(body, template)
        raise


def _rendered(source: LocalSource, template: str, request: FileRequest) -> Body:
    try:
        from pybootd.files import templates  # where there is a template: jinja2 is dear to load
    except ImportError as error:  # the user that we have become may not read it
        text = f"{template}: jinja2 can't be loaded: {error}"
        raise Unavailable(text, FileProblem.TEMPLATE) from error
    return templates.render(source, template, request)


def _opened(source: Source, name: str, request: FileRequest) -> Steps[Opened]:
    try:
        body: Body = yield from _settled(source.open(name, request))
    except FileError as error:
        error.served = name
        raise
    return Opened(body, name)


def _settled(value: T | Later[T]) -> Steps[T]:
    """Wait for what is not there yet."""
    if isinstance(value, Later):
        return (yield value)  # type: ignore[no-any-return]
    return value


def _finish(steps: Steps[Opened], later: Later[Any]) -> Opened:
    """Take the rest of the steps, one blocking call after the other, on a worker."""
    while True:
        try:
            try:
                value = later.call()
            except FileError as error:
                later = steps.throw(error)
            else:
                later = steps.send(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _first_line(listing: Opened) -> Steps[str]:
    """Read and close a text that holds a name on its first line."""
    body = listing.body
    try:
        if isinstance(body, StaticBody):
            data = body.pread(min(body.size, _LISTED), 0)
        elif isinstance(body, StreamBody):
            data = yield Later(lambda: _read_some(body, _LISTED), "lists")
        else:
            raise Forbidden(f"{listing.served} is no text", FileProblem.CONFIGURATION)
    finally:
        body.close()
    line = data.decode("utf-8-sig", "surrogateescape").partition("\n")[0].strip()
    if not line:
        text = f"{listing.served} holds no name on its first line"
        raise Missing(text, FileProblem.FILTER_TARGET)
    return line


def _read_some(body: StreamBody, count: int) -> bytes:
    """Wait, on a worker, for the first octets of a body."""
    arrived = threading.Event()
    while (data := body.read(count)) is None:
        arrived.clear()
        body.when_ready(lambda now: arrived.set())
        if not arrived.wait(_PATIENCE):
            raise Unavailable("silent", FileProblem.ORIGIN_BROKE_OFF)
    return data
