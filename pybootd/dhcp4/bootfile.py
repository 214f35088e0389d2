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
_SAME_FILE: dict[int | None, int] = {7: 9, 9: 7}


class BootFileChoice(NamedTuple):  # a frozen dataclass takes thrice as long to make
    """What a client is to boot.

    ``file``: the name as it was written, empty: none. ``url``: the same as HTTP Boot wants it,
    empty for other clients. ``reason`` says which kind of entry decided, ``rests_on`` names the
    entry. ``hint``: what the configuration lacks. ``own``: the file that is set for this very
    client or its class, which may not be the one it gets now.
    """

    file: str = ""
    url: str = ""
    reason: BootFileReason = BootFileReason.NO_ENTRY
    rests_on: str = ""
    hint: BootFileHint | None = None
    own: str = ""

    @property
    def told(self) -> str:
        """What the client is told: the URL, or else the name; empty: no file."""
        return self.url or self.file


NO_BOOT_FILE = BootFileChoice()


def choose_boot_file(
    request: DhcpRequest, verdict: AccessDecision, files: BootFileConfig, httpd: HttpdConfig
) -> BootFileChoice:
    """Choose what the client boots.

    The file that the access list names goes first, then that of the client's section or class, its
    architecture's, the default. A client that runs iPXE gets ``[bootfile] ipxe`` before the last
    two, and never iPXE again, which would load itself for ever.
    """
    client, own = request.client, verdict.file or request.profile.boot_file
    file, reason, rests_on = _find_entry(client, files, verdict.file, request.profile.boot_file)
    if client.ipxe and reason is not BootFileReason.IPXE and is_ipxe(file):
        file, reason = "", BootFileReason.IPXE_AGAIN
    url = ""
    if client.vendor_class.startswith("HTTPClient"):
        if "://" in file:
            url = file
        elif not httpd.enable:
            reason = BootFileReason.NO_URL if file else reason
            return BootFileChoice("", "", reason, rests_on, BootFileHint.WRITE_URL, own)
        elif file:
            host = request.subnet.settings.next_server or request.server
            port = "" if httpd.port == 80 else f":{httpd.port}"
            url = f"http://{host}{port}/{quote(file.lstrip('/'))}"
    return BootFileChoice(file, url, reason, rests_on, _find_hint(client, files, reason), own)


def _find_entry(
    client: Client, files: BootFileConfig, named: str, own: str
) -> tuple[str, BootFileReason, str]:
    """Return the file of the first entry that fits, and which entry that is."""
    set_for_it = named or own
    if client.ipxe and files.ipxe and (not set_for_it or is_ipxe(set_for_it)):
        return files.ipxe, BootFileReason.IPXE, "[bootfile] ipxe"
    if named:
        return named, BootFileReason.ACCESS_LIST, "[bootp] access"
    if own:
        return own, BootFileReason.CLIENT, "boot_file of its [client] or [class]"
    for code in (client.architecture, *client.other_architectures):
        for entry in (code, _SAME_FILE.get(code)):
            file = files.by_architecture.get(entry) if entry is not None else ""
            if file:
                return file, BootFileReason.ARCHITECTURE, f"[bootfile] {entry:05d}"
    if files.default:
        return files.default, BootFileReason.DEFAULT, "[bootfile] default"
    return "", BootFileReason.NO_ENTRY, ""


def _find_hint(
    client: Client, files: BootFileConfig, reason: BootFileReason
) -> BootFileHint | None:
    """Say which line of ``[bootfile]`` this client lacks; None: it lacks none."""
    if reason is BootFileReason.IPXE_AGAIN:
        return BootFileHint.WRITE_IPXE
    if client.ipxe or reason not in (BootFileReason.DEFAULT, BootFileReason.NO_ENTRY):
        return None
    code = client.architecture
    if code is None or (code == BIOS and not files.by_architecture):
        return None  # a default alone, and made for what every PC once was
    return BootFileHint.WRITE_ARCHITECTURE


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
