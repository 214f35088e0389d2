"""``pybootd replay``: a capture, played to the server that we would be."""

from pybootd.commands.replay.command import main, parser

__all__ = ["main", "parser"]
