"""Write the manual page pybootd(8): the command line, and every option of the configuration.

Usage: man.py OUTPUT
"""

import re
import sys
from pathlib import Path

from docutils.core import publish_string

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package of this tree, installed or not

from pybootd import __version__, cli
from pybootd.config import reference

HEAD = """=======
pybootd
=======

------------------------------------------------------------------------
boot machines over the network: BOOTP, DHCP, PXE, TFTP and HTTP
------------------------------------------------------------------------

:Manual section: 8
:Version: pybootd {version}

"""
SYNOPSIS = """
Synopsis
========

**pybootd** [options]

**pybootd** COMMAND ...

"""
CONFIGURATION = """
Configuration
=============

An INI file. ``=`` alone separates a key from its value, so ``:`` may stand in a MAC address. ``;``
and ``#`` start a comment line; a line that is indented further than an option continues its value.
A boolean is ``on true enable enabled yes high ok 1`` or ``off false disable disabled no low ko 0``.
A MAC is ``AA-BB-CC-DD-EE-FF`` or ``aa:bb:cc:dd:ee:ff``. An unknown section or option is a warning
with a near match.

"""
TAIL = """
Signals
=======

``SIGINT``, ``SIGTERM``
    stop

``SIGHUP``
    read the configuration again, and open the log file again. Leases, offers and transfers under
    way stay. A file at fault is refused, and the earlier configuration stays.

Exit status
===========

0 after a clean stop, 1 for a configuration or start-up error, 2 for wrong usage.

Files
=====

``/etc/pybootd.ini``
    the configuration; ``pybootd --sample`` prints one with every option

``/var/lib/pybootd/leases.db``
    the leases
"""


def source() -> str:
    """Return the page as reStructuredText."""
    lines = ["Options", "=======", ""]
    for option in cli.OPTIONS:
        flags = (f"{flag} {option.value}".rstrip() for flag in option.flags)
        lines += [", ".join(f"``{flag}``" for flag in flags), f"    {option.help}", ""]
    lines += ["Commands", "========", "", "``pybootd COMMAND --help`` tells more.", ""]
    for name, what in cli.COMMANDS.items():
        lines += [f"``{name}``", f"    {what}", ""]
    head = HEAD.format(version=__version__) + SYNOPSIS
    return head + "\n".join(lines) + CONFIGURATION + reference.render_rst("-") + TAIL


def page() -> str:
    """Return the page for man(1)."""
    settings = {"report_level": 2, "halt_level": 2, "output_encoding": "unicode"}
    text = publish_string(source(), writer="manpage", settings_overrides=settings)
    # names are not to be cut, nor lines stretched
    return re.sub(r"^\.SH ", ".ad l\n.nr HY 0\n.SH ", text, count=1, flags=re.M)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
