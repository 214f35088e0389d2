"""One plug-in of each kind, small and of use: a starting point for yours."""

from __future__ import annotations

import zipfile
from pathlib import Path

from pybootd.access.base import Access, AccessDecision
from pybootd.config.ini import ConfigError, Section
from pybootd.core.client import Client
from pybootd.core.mac import parse_mac
from pybootd.core.workers import Later
from pybootd.files.filters import Filter
from pybootd.files.source import FileRequest, Missing, Source, TextBody, Unavailable


class MacFile(Access):
    """``access = macfile``: the MACs in a text file, one a line, may boot.

    The file is read at each question, so that it can be changed while pybootd runs. It may stand
    on a server that hangs, so a worker reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def from_config(cls, section: Section) -> MacFile:
        """Read ``[macfile] path``, relative to the configuration file."""
        path = section.options.get("path", "")
        if not path:
            raise ConfigError([section.fault("path", "required: a file with a MAC in each line")])
        return cls(section.path.parent / path)

    def check(self, client: Client) -> Later[AccessDecision]:
        """Look the client's MAC up."""
        return Later(lambda: self._look_up(client.mac), pool="macfile")

    def _look_up(self, mac: bytes) -> AccessDecision:
        try:
            lines = self.path.read_text(encoding="ascii").split("\n")
            listed = {parse_mac(line.strip()) for line in lines if line.strip()}
        except (OSError, ValueError) as error:
            # nobody can say: the client stays unanswered, and the log has an error
            return AccessDecision(None, f"{self.path}: {error}", error=True)
        if mac in listed:
            return AccessDecision(True, f"in {self.path}")
        # no opinion: served if [static_dhcp] has it, else refused with this reason
        return AccessDecision(None, f"not in {self.path}")


class LowerCase(Filter):
    """``filters = lowercase, patterns``: names in lower case, for Windows' boot managers.

    They ask for the same file in several spellings, and Linux tells them apart.
    """

    @classmethod
    def from_config(cls, section: Section) -> LowerCase:
        """There is nothing to be said in ``[lowercase]``."""
        return cls()

    def rewrite(self, request: FileRequest) -> str | None:
        """Answer with the name in lower case; one that is so already is left to the next filter."""
        name = request.name.lower()
        return name if name != request.name else None


class ZipSource(Source):
    """``root = zip:///srv/boot.zip``: the files in a ZIP archive.

    It can list its folders, so a name in other letter case is found, and names like a missing one
    are suggested.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def from_config(cls, section: Section) -> ZipSource:
        """Take the archive's path off ``root``, which stands in the section that is given."""
        path = Path(section.options["root"].removeprefix("zip://"))
        if not zipfile.is_zipfile(path):
            raise ConfigError([section.fault("root", f"{path} is no ZIP archive")])
        return cls(path)

    def open(self, name: str, request: FileRequest) -> Later[TextBody]:
        """Unpack the member of that name; ``name`` never leads out of the root."""
        return Later(lambda: self._unpack(name), pool="zip")

    def list_folder(self, folder: str) -> set[str]:
        """List what is in a folder of the archive; a worker calls it."""
        prefix = f"{folder}/" if folder else ""
        try:
            with zipfile.ZipFile(self.path) as archive:
                below = [
                    name[len(prefix) :] for name in archive.namelist() if name.startswith(prefix)
                ]
        except (OSError, zipfile.BadZipFile):
            return set()
        # "boot/bcd" is in the folder "boot/"
        return {first + slash for first, slash, _ in (name.partition("/") for name in below)}

    def _unpack(self, name: str) -> TextBody:
        try:
            with zipfile.ZipFile(self.path) as archive:
                return TextBody(archive.read(name))
        except KeyError:
            raise Missing(f"{name} is not in {self.path}") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise Unavailable(f"{self.path}: {error}") from error
