"""The walk from a requested name to an open file: cleaned, filtered, opened by its source."""

from __future__ import annotations

from pybootd.config import Config, Section
from pybootd.files import names
from pybootd.files.local import LocalSource
from pybootd.files.sources import Opened, Request, Source
from pybootd.loop import Later, Loop


class Files:
    """What one file service serves: a root. Clients ask with a name of their own making."""

    def __init__(self, root: Source) -> None:
        self.root = root

    @classmethod
    def from_config(cls, config: Config, section: str = "tftp") -> Files:
        """Build it from the section that names the root; raises ConfigError with every fault."""
        options = config.sections.get(section, Section(section, config.path))
        return cls(LocalSource.from_config(options))

    def start(self, loop: Loop) -> None:
        """Give the sources the loop; to be called before the first ``open``."""
        self.root.start(loop)

    def close(self) -> None:
        """End what the sources have under way."""
        self.root.close()

    def open(self, request: Request) -> Opened | Later[Opened]:
        """Open what the request comes down to. Raises FileError, and so may the blocking call."""
        name = names.clean(request.name)
        body = self.root.open(name, request)
        if isinstance(body, Later):
            call = body.call
            return Later(lambda: Opened(call(), name), body.pool)
        return Opened(body, name)
