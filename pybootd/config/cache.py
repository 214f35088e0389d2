"""``[cache]`` and ``[pins]``: what is kept of remote files, and what files must be."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pybootd.config import values
from pybootd.config.options.table import build_config
from pybootd.config.reader import ConfigReader
from pybootd.system.permissions import UnsafePathError, check_path
from pybootd.system.privileges import may_write


def read_cache(reading: ConfigReader) -> dict[str, Any]:
    """Read both sections: ``cache``, and ``pins``, pattern -> checksum in the file's order.

    The directory is relative to the configuration file's.
    """
    found = reading.read_section("cache")
    if "dir" in found:
        found["dir"] = reading.absolute_path(found["dir"])
        _examine(reading, found["dir"])
    elif "size" in found:
        reading.note_missing("cache", "dir", "required with size: where remote files are kept")
    section, pins = reading.section("pins"), {}
    for pattern, text in section.options.items():
        value = reading.parse_value(section, pattern, values.CHECKSUM, text)
        if value is not None:
            pins[pattern] = value
    tftp = reading.section("tftp")
    if pins and "dir" not in found and "://" in tftp.options.get("root", ""):
        problem = "required for pins of a remote root: a file is kept there until it is checked"
        reading.note_missing("cache", "dir", problem)
    return {"cache": build_config("cache", found), "pins": MappingProxyType(pins)}


def _examine(reading: ConfigReader, folder: Path) -> None:
    """Note what keeps files from being kept: a fault, or a right that another user may have."""
    there, section = folder, reading.section("cache")
    with contextlib.suppress(OSError):  # a folder that may not be entered is one without a right
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            reading.faults.append(section.fault("dir", f"{there} is no directory"))
            return
    if not may_write(there):
        reading.warnings.append(section.warning("dir", describe_unwritable(_own_name(), there)))


def describe_unwritable(user: str, folder: Path) -> str:
    """Say that a user may not write to the cache."""
    return f"{user} has no right to write to {folder}: no file of a web server is kept"


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def resolve_credentials(reading: ConfigReader, found: Mapping[str, Any]) -> dict[str, Path]:
    """Resolve the path of a credentials file.

    A warning says when every user may read it, and when somebody else may put another in its place.
    """
    if "credentials" not in found:
        return {}
    path = reading.absolute_path(found["credentials"])
    section = reading.section("tftp")
    written = reading.written(section, "credentials")
    with contextlib.suppress(OSError):  # what is wrong shows when it is read
        if path.stat().st_mode & stat.S_IROTH:
            problem = f"every user of this host may read {path}: chmod o= {path}"
            reading.warnings.append(section.warning(written, problem))
        owners = {os.geteuid(), reading.path.stat().st_uid}
        try:
            check_path(path, owners, links=owners | {0})
        except UnsafePathError as error:
            problem = f"another user may change {error.part}, and so what web servers are told"
            reading.warnings.append(section.warning(written, problem))
    return {"credentials": path}
