"""A configuration file, as ``pybootd --check`` reads it."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from pybootd.config import ini
from pybootd.config.ini import ConfigError
from pybootd.config.options import table
from pybootd.daemon import Daemon

SERVICES = ("bootp", "tftp", "httpd")
WORDS = tuple(
    word.encode()
    for word in (
        *(f"[{section}]" for section in table.SECTIONS),
        *sorted({f"{option.name} = " for option in table.all_options() if not option.free}),
        *("[subnet 10.0.0.0/24]", "[client 52:54:00:00:00:01]", "[class c]", "match ", "{mac}"),
        *("pxe.cfg", "on", "no", "192.168.1.100", "http://h/", "00007", "efi-x86_64", "auto"),
    )
)


@functools.cache
def folder() -> Path:
    """Make the folder that holds the file, once for all runs."""
    made = Path(tempfile.mkdtemp(prefix="pybootd-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    (made / "root").mkdir()
    return made


def ini_file(data: bytes) -> None:
    """Read a file of any octets: every fault and warning is one line that names the file."""
    path = folder() / "pybootd.ini"
    path.write_bytes(data)
    sections, _ = ini.read_ini(path)
    for section in sections.values():
        for option in section.options:
            assert section.lines[option] > section.line > 0
    try:
        said = Daemon.from_file(path, SERVICES).config.warnings
    except ConfigError as error:
        assert error.faults
        said = error.faults
    for fault in said:
        line = str(fault)
        assert line.startswith(str(path))
        assert line.isprintable(), line
