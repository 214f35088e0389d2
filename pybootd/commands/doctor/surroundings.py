"""What the daemon needs around it: rights, a place for leases, an authorization server."""

from __future__ import annotations

import http.client
import os
import pwd
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pybootd.commands.doctor.host_state import DoctorCode, HostState, fault, fine
from pybootd.core.finding import Finding
from pybootd.leases.sqlite import MEMORY

_MIN_FREE = 1 << 20  # octets: leases of a thousand machines, and their journal
_TIMEOUT_S = 5.0


def check_user_rights(host: HostState) -> Iterator[Finding]:
    """See whether the user that the daemon becomes may read what it serves."""
    config, user = host.config, host.config.security.user
    if not user or os.geteuid() != 0:
        return
    roots = {config.tftp.root: "[tftp] root", config.httpd.root: "[httpd] root"}
    names = [*config.bootfile.by_architecture.values(), config.bootfile.default]
    refused = False
    for root, setting in roots.items():
        if not root or "://" in root:
            continue
        tried = [root, *(str(Path(root, name)) for name in names if name and "://" not in name)]
        for path in dict.fromkeys(tried):
            if Path(path).exists() and not may_access(user, "read", path):
                refused = True
                yield fault(
                    DoctorCode.USER_RIGHT,
                    f"{setting}: {user} ([security] user) has no right to read {path}",
                    "Let it: chmod a+rX on the file and every folder above it.",
                )
    if not refused:
        yield fine(DoctorCode.USER_RIGHT, f"{user} may read what is served")


def may_access(user: str, how: str, path: str) -> bool:
    """Try as another user whether a path can be read ("read"), or written to ("write")."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return False
    groups = os.getgrouplist(user, entry.pw_gid)
    child = os.fork()
    if child == 0:
        allowed = False
        try:
            os.setgroups(groups)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            allowed = _try_access(how, path)
        finally:
            os._exit(0 if allowed else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _try_access(how: str, path: str) -> bool:
    """Read a folder's names or open a file, or see whether a folder may be written to."""
    if how == "write":
        return os.access(path, os.W_OK | os.X_OK)
    try:
        if Path(path).is_dir():
            next(Path(path).iterdir(), None)
        else:
            os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def check_lease_folder(host: HostState) -> Iterator[Finding]:
    """See whether leases can be written where they are to be kept."""
    bootp = host.config.bootp
    if bootp.mode == "proxy" or bootp.leases == MEMORY or bootp.shared:
        return
    folder = Path(bootp.leases).parent
    if not folder.is_dir():
        if Path(bootp.leases).parent != _default_folder():
            yield fault(
                DoctorCode.LEASE_FOLDER,
                f"[bootp] leases: there is no folder {folder}",
                "Make it, and give it to [security] user.",
            )
        return
    user = host.config.security.user
    if user and os.geteuid() == 0 and not may_access(user, "write", str(folder)):
        if folder != _default_folder():
            yield fault(
                DoctorCode.LEASE_FOLDER,
                f"[bootp] leases: {user} ([security] user) has no right to write to {folder}",
                f"chown {user} {folder}",
            )
        return
    free = shutil.disk_usage(folder).free
    if free < _MIN_FREE:
        yield fault(
            DoctorCode.LEASE_SPACE,
            f"[bootp] leases: the disk of {folder} is full ({free} octets are free)",
            "Make room: no lease is given that can't be written.",
        )
    else:
        yield fine(DoctorCode.LEASE_FOLDER, f"leases can be written to {folder}")


def check_written_folders(host: HostState) -> Iterator[Finding]:
    """See whether uploads, the cache and the log can be written where they are to go."""
    config, user = host.config, host.config.security.user
    upload = config.path.absolute().parent / config.tftp.upload if config.tftp.upload else None
    log = config.logger.file if config.logger.type == "file" else None
    folders = (
        ("[tftp] upload", upload),
        ("[cache] dir", config.cache.dir),
        ("[logger] file", log.absolute().parent if log else None),
    )
    for setting, folder in folders:
        if folder is None:
            continue
        if not folder.is_dir():
            made_by_us = setting == "[cache] dir" and folder.parent.is_dir()
            if not made_by_us:
                yield fault(
                    DoctorCode.FOLDER,
                    f"{setting}: there is no folder {folder}",
                    "Make it, and give it to [security] user.",
                )
        elif user and os.geteuid() == 0 and not may_access(user, "write", str(folder)):
            yield fault(
                DoctorCode.FOLDER,
                f"{setting}: {user} ([security] user) has no right to write to {folder}",
                f"chown {user} {folder}",
            )


def _default_folder() -> Path:
    from pybootd.config.options.bootp import DEFAULT_LEASES

    return Path(DEFAULT_LEASES).parent


def check_authorization_server(host: HostState) -> Iterator[Finding]:
    """See whether the server that is asked about each machine answers at all."""
    section = host.config.sections.get("http")
    if host.config.bootp.access != "http" or section is None:
        return
    location = section.options.get("location", "")
    url = location if "://" in location else f"http://{location}"
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), _TIMEOUT_S):
            pass
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error)
        yield fault(
            DoctorCode.AUTHORIZATION_SERVER,
            f"[http] location: {location} can't be reached: {why}",
            "Start that server, or correct its address: no machine boots without its word.",
        )
    else:
        yield fine(DoctorCode.AUTHORIZATION_SERVER, f"{location} can be reached")
