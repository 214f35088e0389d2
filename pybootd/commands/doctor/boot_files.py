"""The boot files: is each there, does it fit its architecture, is it what it should be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from pybootd.commands.doctor import host_checks
from pybootd.commands.doctor.host_state import DoctorCode, HostState, fault, fine
from pybootd.commands.probe.content import describe_wrong_content
from pybootd.config.bootfile import is_ipxe
from pybootd.core.architecture import architecture_name
from pybootd.core.events import FileProblem
from pybootd.core.finding import Finding
from pybootd.core.workers import Later
from pybootd.files.resolver import Files
from pybootd.files.source import FileError, FileRequest, StaticBody
from pybootd.observe.boots.roles import is_bios_name
from pybootd.observe.content.programs import read_program

_MAX_READ = 64 << 20  # octets of a file that are looked at
_NOBODY = "0.0.0.0"
# what depends on the client: another than doctor gets a file
_FOR_CLIENTS = (FileProblem.CLIENT_VALUE, FileProblem.TEMPLATE)


def check_boot_files(host: HostState) -> Iterator[Finding]:
    """See whether each boot file is there, and fits its architecture."""
    config = host.config
    table = config.bootfile.by_architecture
    named: list[tuple[str, str, int | None]]
    named = [(architecture_name(code), file, code) for code, file in table.items()]
    named += [("default", config.bootfile.default, None), ("ipxe", config.bootfile.ipxe, None)]
    named = [one for one in named if one[1]]
    if not named and not config.profiles:
        yield fault(
            DoctorCode.NO_BOOT_FILE,
            "no boot file is named",
            "Name one for each architecture in [bootfile].",
        )
    for name, file, code in named:
        if name == "ipxe" and is_ipxe(file):
            yield fault(
                DoctorCode.IPXE_LOOP,
                f"ipxe: {file} is iPXE itself, which would load itself for ever",
                "Name the script that iPXE is to run.",
            )
        elif "://" in file:
            yield from _check_url(host, name, file)
        elif name.startswith("http-") and not config.httpd.enable:
            yield from _check_web_server(host, name, file)
        else:
            yield from _check_boot_file(host, name, file, code)


def _check_web_server(host: HostState, name: str, file: str) -> Iterator[Finding]:
    yield fault(
        DoctorCode.WEB_SERVER_OFF,
        f"{name}: {file} is to come by HTTP, and the web server is off",
        "Write [httpd] enable = yes, or a URL of another server.",
    )


def _check_url(host: HostState, name: str, url: str) -> Iterator[Finding]:
    """See whether a URL that names this host is one that it serves."""
    httpd = host.config.httpd
    own = {address.ip for link in host.interfaces for address in link.addresses}
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        here = IPv4Address(parts.hostname or "") in own
    except ValueError:
        port, here = 0, False
    ours = httpd.enable and port == httpd.port
    if here and not ours and host_checks.find_port_holder("tcp", port):
        yield fine(DoctorCode.BOOT_FILE, f"{name}: {url} is served by another program here")
    elif here and not httpd.enable:
        yield fault(
            DoctorCode.WEB_SERVER_OFF,
            f"{name}: {url} names this host, and the web server is off",
            "Write [httpd] enable = yes.",
        )
    elif here and port != httpd.port:
        yield fault(
            DoctorCode.WEB_SERVER_PORT,
            f"{name}: {url} names port {port} of this host, and the web server has {httpd.port}",
            "Write that port into the URL, or change [httpd] port.",
        )
    else:
        yield fine(DoctorCode.BOOT_FILE, f"{name}: {url} is a URL; pybootd probe fetches it")


def _check_boot_file(host: HostState, name: str, file: str, code: int | None) -> Iterator[Finding]:
    content, error = _read_boot_file(host, file)
    if content is None and error is None:
        yield fine(DoctorCode.BOOT_FILE, f"{name}: {file} comes from elsewhere: try pybootd probe")
    elif error is not None:
        yield _judge_error(host, name, file, error)
    else:
        yield _judge_content(host, name, file, code, content or b"")


def _judge_error(host: HostState, name: str, file: str, error: FileError) -> Finding:
    if error.problem in _FOR_CLIENTS:
        return fine(DoctorCode.BOOT_FILE, f"{name}: {file} is made for each client: {error}")
    if error.problem is not FileProblem.NOT_FOUND:
        return fault(
            DoctorCode.BOOT_FILE_REFUSED,
            f"{name}: {file} can't be served: {error}",
            "Correct its rights, its link, or the line of [filters] that leads there.",
        )
    near = dict.fromkeys(one for files in host.files for one in files.suggest_names(file))
    like = f" Names like it: {', '.join(near)}." if near else ""
    return fault(
        DoctorCode.BOOT_FILE_MISSING,
        f"{name}: {file} is not there",
        f"Put it below [tftp] root.{like}",
    )


def _judge_content(
    host: HostState, name: str, file: str, code: int | None, content: bytes
) -> Finding:
    if not content:
        return fault(
            DoctorCode.BOOT_FILE_CONTENT,
            f"{name}: {file} is empty",
            "Copy it to its place once more.",
        )
    program = read_program(content[:1024])
    if program and code is not None and code not in program.architectures:
        return fault(
            DoctorCode.BOOT_FILE_ARCHITECTURE,
            f"{name}: {file} is {program.text}",
            "Name a file for this architecture.",
        )
    if program is None and is_bios_name(file) and "efi" in name:
        return fault(
            DoctorCode.BOOT_FILE_ARCHITECTURE,
            f"{name}: {file} looks like a BIOS program",
            "Name a UEFI program (.efi).",
        )
    known = code is not None and ("efi" in name or name == "bios")
    wrong = describe_wrong_content(content, uefi="efi" in name, ipxe=name == "ipxe" or not known)
    if wrong and (known or name == "ipxe"):
        return fault(
            DoctorCode.BOOT_FILE_CONTENT,
            f"{name}: {file} is {wrong}",
            "Look at that file, and copy it to its place once more.",
        )
    what = f", {program.text}" if program else ""
    return fine(DoctorCode.BOOT_FILE, f"{name}: {file} is there{what}")


def _read_boot_file(host: HostState, name: str) -> tuple[bytes | None, FileError | None]:
    """Read a file as a client without a name gets it; (None, None): it would have to be waited for.

    Where both TFTP and HTTP have a root, either may have it.
    """
    failed: FileError | None = None
    for files in host.files:
        try:
            return _read_content(files, name), None
        except FileError as error:
            failed = failed or error
    return None, failed


def _read_content(files: Files, name: str) -> bytes | None:
    """Return a file's octets; None: they would have to be waited for. Raises FileError."""
    opened = files.open(FileRequest(name, _NOBODY, _NOBODY))
    if isinstance(opened, Later):
        if "://" in files.base:
            return None
        opened = opened.call()
    with contextlib.closing(opened.body) as body:
        if not isinstance(body, StaticBody) or body.size > _MAX_READ:
            return None
        return body.pread(body.size, 0)
