"""The walk from a requested name to an open file: cleaned, filtered, opened by its source."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.config.options.files import HttpdConfig, TftpConfig
from pybootd.core import plugins
from pybootd.core.events import FileProblem, TransferEnded, TransferOutcome
from pybootd.core.finding import Finding
from pybootd.core.loop import Loop
from pybootd.core.workers import Later
from pybootd.files import paths
from pybootd.files.checksums import CheckedCopies, Pins
from pybootd.files.fallbacks import BootFolders, pi_shared_names
from pybootd.files.filters import Filter, FilterAnswer, FilterTarget, check_count, is_url
from pybootd.files.locator import SourceLocator, build_source
from pybootd.files.source import (
    Altered,
    Body,
    FileError,
    FileRequest,
    Forbidden,
    Missing,
    OpenedFile,
    Source,
    SourceSettings,
    StaticBody,
    StreamBody,
    TextBody,
    Unavailable,
    read_head,
)
from pybootd.files.suggestions import NameSuggester

T = TypeVar("T")
Steps = Generator[Later[Any], Any, T]
"""Steps towards a value; whatever has to wait is yielded, so that a worker does the rest."""

TEMPLATE_SUFFIX = ".j2"
"""How the name of a template ends, beside the name that it is rendered for."""

TEMPLATE_WORKERS = 2
"""Threads that render templates; one client has half of them at most."""

_NO_PINS: Mapping[str, str] = MappingProxyType({})
_LIST_OCTETS = paths.MAX_NAME + 1  # octets of a list that are read: one more than its name may have
_SECTIONS = MappingProxyType({"patterns": "filters"})  # the one whose section has another name


class Files:
    """What one file service serves: a root, and filters in front of it.

    ``base`` is the root as text, an absolute path or a URL: what a filter's relative path starts
    from. ``pins``: what files must be; ``settings`` are for all sources.
    """

    def __init__(
        self,
        root: Source,
        base: str = "",
        filters: Iterable[Filter] = (),
        pins: Mapping[str, str] = _NO_PINS,
        settings: SourceSettings | None = None,
    ) -> None:
        self.root = root
        self.base = base
        self.filters = tuple(filters)
        settings = settings or SourceSettings()
        self._locator = SourceLocator(root, base, settings)
        root_folder = Path(base) if root.opens_paths else None
        self._boot_folders = BootFolders(root_folder, settings.uploads)
        self._suggester = NameSuggester(root.list_names)
        self._loop: Loop | None = None
        self._pins = Pins(pins)
        self._copies = CheckedCopies(settings.cache)
        repeatable = root.opens_at_once and all(each.repeatable for each in self.filters)
        self._fast_path = repeatable and not pins

    @classmethod
    def from_config(cls, config: Config, section: str = "tftp") -> Files:
        """Build it from the section that names the root; raises ConfigError with every fault."""
        named = config.sections.get(section, Section(section, config.path))
        if "root" not in named.options:  # in other letters, or in a configuration without a file
            read: TftpConfig | HttpdConfig = getattr(config, section)
            named = replace(named, options={**named.options, "root": read.root})
        base = named.options["root"].removeprefix("file://")
        if not is_url(base):
            base = str((config.path.parent / base).absolute())
        filters, faults = _build_filters(config, named)
        settings, wrong = _read_settings(config)
        faults += wrong
        try:
            check_count(config.sections.get("pins", Section("pins", config.path)))
            root = build_source(named)
        except ConfigError as error:
            raise ConfigError([*error.faults, *faults]) from error
        if faults:
            raise ConfigError(faults)
        return cls(root, base, filters, config.pins, settings)

    def start(self, loop: Loop) -> None:
        """Give the sources the loop; to be called before the first ``open``."""
        self._loop = loop
        self._locator.start(loop)

    def close(self) -> None:
        """End what the sources have under way."""
        self._locator.close()
        self._copies.close()

    def open(self, request: FileRequest) -> OpenedFile | Later[OpenedFile]:
        """Open what the request leads to. Raises FileError, and so may the blocking call."""
        name = paths.clean_name(request.name)
        if name != request.name:
            request = request._replace(name=name)
        if self._fast_path:
            opened = self._open_plain_file(request)
            if opened is not None:
                return opened
        steps = self._resolve_request(request)
        try:
            later = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        owner = later.owner or request.peer
        return replace(later, call=lambda: _finish_steps(steps, later), owner=owner)

    def read_head(self, request: FileRequest, count: int) -> bytes | None:
        """Read a file's first octets, if that needs no waiting; None: it does, or can't be had."""
        try:
            opened = self.open(request)
            if isinstance(opened, Later):
                return None
            with contextlib.closing(opened.body) as body:
                if isinstance(body, StaticBody):
                    return read_head(body, count)
        except FileError:
            pass
        return None

    def suggest_names(self, name: str) -> tuple[str, ...]:
        """Return up to three names below the root that are like one that is missing; blocks."""
        return self._suggester.suggest_names(name)

    def note_transfer(self, ended: TransferEnded) -> None:
        """Note where a client has its boot file from, once it has acknowledged all of it."""
        if ended.outcome is not TransferOutcome.DONE:
            return
        inside = ended.served.removeprefix(f"{self.base}/")
        if inside.startswith("/") or is_url(inside):  # a filter led out of the root
            inside = ended.requested.replace("\\", "/").lstrip("/")
        self._boot_folders.note_boot_file(ended.peer, inside)

    def find_dead_link(self, name: str) -> str:
        """Return where a link of this name leads that ends nowhere; "": it is none; blocks."""
        try:
            return self.root.find_dead_link(paths.clean_name(name))
        except FileError:
            return ""

    def _open_plain_file(self, request: FileRequest) -> OpenedFile | None:
        """Open what no filter answers for, as most files; None: all the steps have to be taken."""
        try:
            for filter_ in self.filters:
                if filter_.rewrite(request) is not None:
                    return None
            body = self.root.open(request.name, request)
        except FileError:
            return None
        if isinstance(body, Later):
            raise TypeError(f"{type(self.root).__name__} opens_at_once, but returned Later")
        return OpenedFile(body, request.name)

    def _resolve_request(self, request: FileRequest) -> Steps[OpenedFile]:
        """Ask the filters, then open what they lead to."""
        answer: FilterAnswer | None = None
        for filter_ in self.filters:
            answer = yield from _wait_for(filter_.rewrite(request))
            if answer is not None:
                break
        if answer is None:
            return (yield from self._open_below_root(request))
        if isinstance(answer, bytes):
            return OpenedFile(TextBody(answer), request.name)
        target = _target_of(answer)
        if target.listed:
            target = yield from self._read_list(target, request)
        return (yield from self._open_target(target, request))

    def _open_below_root(self, request: FileRequest) -> Steps[OpenedFile]:
        """Open the name that the client asked for below the root, else what it must have meant."""
        try:
            return (yield from self._open_checked(self.root, request.name, request))
        except Missing:
            fallback = yield from self._open_fallback(request)
            if fallback is None:
                raise
            return fallback

    def _open_fallback(self, request: FileRequest) -> Steps[OpenedFile | None]:
        """Open the first of the names that a missing file may have; None: there is none."""
        others = (*pi_shared_names(request), *self._boot_folders.names_beside(request))
        for name in others:
            opened = yield from self._try_fallback(name, request)
            if opened is not None:
                return opened
        now = self._loop.now if self._loop else 0.0
        for name in (request.name, *others):
            found = yield from _wait_for(self.root.match_letter_case(name, now))
            if found is not None and found != name:
                opened = yield from self._try_fallback(found, request)
                if opened is not None:
                    return opened
        return None

    def _try_fallback(self, name: str, request: FileRequest) -> Steps[OpenedFile | None]:
        try:
            return (yield from self._open_checked(self.root, name, request))
        except Altered:
            raise
        except (Missing, Forbidden):
            return None

    def _open_target(self, target: FilterTarget, request: FileRequest) -> Steps[OpenedFile]:
        source, name = self._locator.locate_target(target)
        try:
            return (yield from self._open_checked(source, name, request))
        except FileError as error:
            error.served = target.base + target.name  # the source knows what is below base alone
            if error.problem is FileProblem.NOT_FOUND:
                error.problem = FileProblem.FILTER_TARGET
            raise

    def _read_list(self, target: FilterTarget, request: FileRequest) -> Steps[FilterTarget]:
        """Open a text that holds a name, and return where that leads."""
        listing = yield from self._open_target(target, request)
        name = yield from _read_first_line(listing)
        try:
            return FilterTarget("", paths.clean_name(name))
        except FileError as error:
            raise error.with_prefix(listing.served) from error

    def _open_checked(self, source: Source, name: str, request: FileRequest) -> Steps[OpenedFile]:
        """Open the name or, where only that is there, the template for it, if its pin allows."""
        below = name.removeprefix(f"{self.base.rstrip('/')}/")
        pin = self._pins.find_pin(below) or self._pins.find_pin(name)
        if not pin:
            return (yield from self._open_or_render(source, name, request))
        opened = yield from self._open_or_render(source, name, request._replace(pin=pin))
        body = opened.body
        try:
            if not isinstance(body, StaticBody):
                text = f"{name} is pinned, and its source can't say what it is"
                raise Unavailable(text, FileProblem.UNCHECKED)
            checked = self._copies.find_checked(body, name, pin)
            if checked is None:
                make = partial(self._copies.make_checked, body, name, pin)
                checked = yield Later(make, "checksums", 2)
        except BaseException:
            body.close()
            raise
        if checked is not body:
            body.close()
        return opened._replace(body=checked)

    def _open_or_render(self, source: Source, name: str, request: FileRequest) -> Steps[OpenedFile]:
        """Open the name or, where only that is there, the template for it, rendered."""
        try:
            return (yield from _open_name(source, name, request))
        except Missing:
            if not source.renders_templates:
                raise
            template = name + TEMPLATE_SUFFIX
            try:
                body: Body = yield from _wait_for(source.open(template, request))
            except Missing:
                pass
            else:
                body.close()
                render = partial(_render_template, source, template, request, self._pins)
                rendered = yield Later(render, "templates", TEMPLATE_WORKERS)
                return OpenedFile(rendered, template)
            raise


def _build_filters(config: Config, named: Section) -> tuple[list[Filter], list[Finding]]:
    """Build the filters in the order in which ``[tftp] filters`` names them."""
    built: list[Filter] = []
    faults: list[Finding] = []
    for name in config.tftp.filters:
        section = config.sections.get(_SECTIONS.get(name, name), Section(name, config.path))
        try:
            filter_: Filter = plugins.find_class(plugins.FILTERS, name).from_config(section)
        except plugins.PluginError as error:
            faults.append(named.fault("filters", error.problem, error.meant))
        except ConfigError as error:
            faults += error.faults
        else:
            faults += filter_.find_faults(section, config.profiles.variables)
            built.append(filter_)
    return built, faults


def _read_settings(config: Config) -> tuple[SourceSettings, list[Finding]]:
    cache, path = config.cache, config.tftp.credentials
    found: Mapping[str, str] = MappingProxyType({})
    faults = []
    if path is not None:
        from pybootd.files.remote import credentials  # seldom needed

        try:
            found = credentials.read_credentials(path)
        except credentials.CredentialsError as error:
            section = config.sections.get("tftp", Section("tftp", config.path))
            faults.append(section.fault("credentials", str(error)))
    upload = config.tftp.upload
    uploads = config.path.absolute().parent / upload if upload else None
    return SourceSettings(cache.dir, cache.size, found, config.tftp.links, uploads), faults


def _target_of(answer: str | FilterTarget) -> FilterTarget:
    if isinstance(answer, FilterTarget):
        return answer
    if is_url(answer) or answer.startswith("/"):
        return FilterTarget(answer)
    return FilterTarget("", answer)


def _render_template(source: Source, template: str, request: FileRequest, pins: Pins) -> Body:
    try:
        from pybootd.files import templates  # where there is a template: jinja2 loads slowly
    except ImportError as error:  # the user that we have become may not read it
        text = f"{template}: jinja2 can't be loaded: {error}"
        raise Unavailable(text, FileProblem.TEMPLATE) from error
    return templates.render_template(source, template, request, pins)


def _open_name(source: Source, name: str, request: FileRequest) -> Steps[OpenedFile]:
    try:
        body: Body = yield from _wait_for(source.open(name, request))
    except FileError as error:
        error.served = name
        raise
    return OpenedFile(body, name)


def _wait_for(value: T | Later[T]) -> Steps[T]:
    """Wait for what is not there yet."""
    if isinstance(value, Later):
        return (yield value)  # type: ignore[no-any-return]
    return value


def _finish_steps(steps: Steps[OpenedFile], later: Later[Any]) -> OpenedFile:
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


def _read_first_line(listing: OpenedFile) -> Steps[str]:
    """Read and close a text that holds a name on its first line."""
    body = listing.body
    try:
        if isinstance(body, StreamBody):
            data: bytes = yield Later(lambda: read_head(body, _LIST_OCTETS), "lists")
        else:
            data = read_head(body, _LIST_OCTETS)
    finally:
        body.close()
    line = data.decode("utf-8-sig", "surrogateescape").partition("\n")[0].strip()
    if not line:
        text = f"{listing.served} holds no name on its first line"
        raise Missing(text, FileProblem.FILTER_TARGET)
    return line
