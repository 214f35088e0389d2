"""Which source has what a filter leads to: the root's own, this host, the package, a URL's."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import quote

from pybootd.config.ini import ConfigError, Section
from pybootd.core import plugins
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.events import FileProblem
from pybootd.core.loop import Loop
from pybootd.files import paths
from pybootd.files.filters import FilterTarget, is_url
from pybootd.files.local import LocalSource
from pybootd.files.source import Source, SourceSettings, Unavailable

SHIPPED = "pybootd/etc/"
"""What starts a filter's value that names a file of the package."""

_MAX_FOLDERS = 256  # folders of this host that filters lead to, and that are remembered
_ETC = Path(__file__).parents[1] / "etc"


class SourceLocator:
    """The sources of one file service. ``base``: its root as text, an absolute path or a URL."""

    def __init__(self, root: Source, base: str, settings: SourceSettings) -> None:
        self.root = root
        self.base = base
        self._settings = settings
        self._sources: dict[str, Source] = {scheme_of(base): root}
        self._shipped = LocalSource(_ETC)
        self._host: Source = root if root.opens_paths else LocalSource(Path("/"))
        self._folders: BoundedMap[str, LocalSource] = BoundedMap(_MAX_FOLDERS)
        self._loop: Loop | None = None
        root.apply_settings(settings)

    def start(self, loop: Loop) -> None:
        """Give the sources the loop."""
        self._loop = loop
        for source in self._sources.values():
            source.start(loop)

    def close(self) -> None:
        """End what the sources have under way."""
        for source in self._sources.values():
            source.close()

    def locate_target(self, target: FilterTarget) -> tuple[Source, str]:
        """Return the source that has the target, and the name that it knows it by.

        Raises FileError.
        """
        root, path = self.root, target.base + target.name
        if target.base.startswith(SHIPPED) and (_ETC / path[len(SHIPPED) :]).is_file():
            return self._shipped, paths.clean_name(path[len(SHIPPED) :])
        if is_url(path):
            return self._source_for(path), path
        if path.startswith("/"):
            return self._locate_on_host(target.base, target.name)
        inside = posixpath.normpath(target.base).split("/")[0] != ".."
        if inside and (target.name or not root.opens_paths):
            return root, paths.clean_name(path)
        if root.opens_paths:
            return self._locate_on_host(posixpath.join(self.base, target.base), target.name)
        url = join_url(self.base, path)
        return self._source_for(url), url

    def _locate_on_host(self, base: str, name: str) -> tuple[Source, str]:
        if not name:
            return self._host, base
        folder = self._folders.get(base)
        if folder is None:
            folder = self._folders[base] = LocalSource(Path(base))
        return folder, paths.clean_name(name)

    def _source_for(self, url: str) -> Source:
        """Return the source for the URL's scheme; built when it is needed first."""
        scheme = scheme_of(url)
        source = self._sources.get(scheme)
        if source is None:
            try:
                source = build_source(Section("filters", options={"root": url}))
            except ConfigError as error:
                text = f"{url}: {error.faults[0].problem}"
                raise Unavailable(text, FileProblem.CONFIGURATION) from error
            source.apply_settings(self._settings)
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


def scheme_of(base: str) -> str:
    """Return a URL's scheme in lower case, ``file`` for a path."""
    return base.partition("://")[0].lower() if is_url(base) else "file"


def build_source(section: Section) -> Source:
    """Build the source that the section's root asks for; raises ConfigError."""
    try:
        found = plugins.find_class(plugins.SOURCES, scheme_of(section.options["root"]))
    except plugins.PluginError as error:
        raise ConfigError([section.fault("root", error.problem, error.meant)]) from error
    return found.from_config(section)  # type: ignore[no-any-return]
