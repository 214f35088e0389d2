"""Which boot file a client gets, and why: chosen here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from pybootd.access.base import AccessDecision
from pybootd.config.bootfile import BootFileConfig, is_ipxe
from pybootd.config.options.files import HttpdConfig
from pybootd.core.architecture import BIOS, architecture_name
from pybootd.core.client import Client
from pybootd.core.events import Advice, BootFileHint, BootFileReason
from pybootd.dhcp4.wire import pxe

if TYPE_CHECKING:
    from pybootd.dhcp4.request import DhcpRequest

MAX_HINTS = 100
"""Architectures that hints are given for: a flood of made-up ones ends there."""
# RFC 4578 erratum 4624: the RFC swaps them; x64 firmware sends 7, some sends 9
_SAME_FILE = {7: 9, 9: 7}


class BootFileChoice(NamedTuple):  # a frozen dataclass takes thrice as long to make
    """What a client is to boot.

    ``told``: what the client is told, empty: no file. ``file``: the name as it was written;
    ``url``: the same as HTTP Boot wants it, empty for other clients. ``reason`` says which kind of
    entry decided, ``architecture`` which one's, where it was one. ``hint``: what the configuration
    lacks. ``own``: the file that is set for this very client or its class, which may not be the one
    it gets now.
    """

    told: str = ""
    file: str = ""
    url: str = ""
    reason: BootFileReason = BootFileReason.NO_ENTRY
    architecture: int | None = None
    hint: BootFileHint | None = None
    own: str = ""

    @property
    def rests_on(self) -> str:
        """Name the entry that decided, as a person finds it; empty: there is none."""
        if self.architecture is not None:
            return f"[bootfile] {self.architecture:05d}"
        return _ENTRIES.get(self.reason, "")


_ENTRIES = {
    BootFileReason.ACCESS_LIST: "[bootp] access",
    BootFileReason.CLIENT: "boot_file of its [client] or [class]",
    BootFileReason.IPXE: "[bootfile] ipxe",
    BootFileReason.DEFAULT: "[bootfile] default",
}
NO_BOOT_FILE = BootFileChoice()


def choose_boot_file(
    request: DhcpRequest, verdict: AccessDecision, files: BootFileConfig, httpd: HttpdConfig
) -> BootFileChoice:
    """Choose what the client boots.

    The file that the access list names goes first, then that of the client's section or class, its
    architecture's, the default. A client that runs iPXE gets ``[bootfile] ipxe`` before the last
    two, and never iPXE again, which would load itself for ever.
    """
    client, named, own = request.client, verdict.file, request.profile.boot_file
    file, reason, architecture = _find_entry(client, files, named, own)
    own = named or own
    hint = None
    if client.ipxe:
        if reason is not BootFileReason.IPXE and is_ipxe(file):
            file, reason, hint = "", BootFileReason.IPXE_AGAIN, BootFileHint.WRITE_IPXE
    elif reason is BootFileReason.DEFAULT or reason is BootFileReason.NO_ENTRY:
        code = client.architecture
        # a default alone was made for what every PC once was
        if code is not None and (code != BIOS or files.by_architecture):
            hint = BootFileHint.WRITE_ARCHITECTURE
    if client.vendor_class.startswith("HTTPClient"):
        if "://" in file:
            return BootFileChoice(file, file, file, reason, architecture, hint, own)
        if not httpd.enable:
            reason, hint = BootFileReason.NO_URL if file else reason, BootFileHint.WRITE_URL
            return BootFileChoice("", "", "", reason, architecture, hint, own)
        if file:
            host = request.subnet.settings.next_server or request.server
            port = "" if httpd.port == 80 else f":{httpd.port}"
            url = f"http://{host}{port}/{quote(file.lstrip('/'))}"
            return BootFileChoice(url, file, url, reason, architecture, hint, own)
    return BootFileChoice(file, file, "", reason, architecture, hint, own)


def _find_entry(
    client: Client, files: BootFileConfig, named: str, own: str
) -> tuple[str, BootFileReason, int | None]:
    """Return the file of the first entry that fits, what kind of entry, and its architecture."""
    set_for_it = named or own
    if client.ipxe and files.ipxe and (not set_for_it or is_ipxe(set_for_it)):
        return files.ipxe, BootFileReason.IPXE, None
    if named:
        return named, BootFileReason.ACCESS_LIST, None
    if own:
        return own, BootFileReason.CLIENT, None
    if client.architecture is not None:
        for code in (client.architecture, *client.other_architectures):
            for entry in (code, _SAME_FILE.get(code, code)):
                file = files.by_architecture.get(entry)
                if file:
                    return file, BootFileReason.ARCHITECTURE, entry
    if files.default:
        return files.default, BootFileReason.DEFAULT, None
    return "", BootFileReason.NO_ENTRY, None


class BootFileHints:
    """Tells what the configuration lacks, once for each kind of client that shows it."""

    def __init__(self) -> None:
        self._told: set[object] = set()

    def advise_once(self, request: DhcpRequest) -> Advice | None:
        """Return the advice that a client's choice calls for, unless it has been given."""
        client, choice = request.client, request.boot_file
        if choice.hint is None or not (client.network_boot or client.ipxe):
            return None
        key = (client.architecture, client.ipxe)
        if key in self._told or len(self._told) >= MAX_HINTS:
            return None
        if pxe.is_pi(request.packet):  # a Pi asks for other files
            return None
        self._told.add(key)
        return Advice(client, describe_hint(client, choice), choice.hint)


def describe_hint(client: Client, choice: BootFileChoice) -> str:
    """Say for people which line the configuration lacks; empty: none."""
    code = client.architecture or 0
    if choice.hint is BootFileHint.WRITE_URL:
        line = f"[bootfile] {code:05d} = http://HOST/FILE"
        return f"boots over HTTP and wants a URL: write {line}, or [httpd] enable = yes"
    if choice.hint is BootFileHint.WRITE_IPXE:
        return "runs iPXE, and its boot file is iPXE again: write [bootfile] ipxe = SCRIPT"
    if choice.hint is BootFileHint.WRITE_ARCHITECTURE:
        given = f"gets the default, {choice.file}" if choice.file else "gets no boot file"
        return f"is {architecture_name(code)} and {given}: write [bootfile] {code:05d} = FILE"
    return ""
