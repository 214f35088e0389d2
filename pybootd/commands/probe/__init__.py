"""``pybootd probe``: whether a machine would boot from this network, and why not."""

from pybootd.commands.probe.command import main, parser

__all__ = ["main", "parser"]
