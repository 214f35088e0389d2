"""``pybootd doctor``: what on this host and network would keep machines from booting."""

from pybootd.commands.doctor.command import main, parser

__all__ = ["main", "parser"]
