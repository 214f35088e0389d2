"""Finds a class by its name: a built-in one, or one that an installed package brings.

The built-in ones stand in a table here, so that a start without third-party plug-ins doesn't read
the metadata of every installed package; they are registered as entry points all the same.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import Any

from pybootd.core.text import did_you_mean

ACCESS = "pybootd.access"
FILTERS = "pybootd.filters"
SOURCES = "pybootd.sources"

# group -> name -> module:class; setup.py makes the package's entry points from it
BUILT_IN = MappingProxyType(
    {
        ACCESS: MappingProxyType(
            {
                "http": "pybootd.access.http:HttpAccess",
                "mac": "pybootd.access.mac:MacAccess",
                "uuid": "pybootd.access.uuid:UuidAccess",
            }
        ),
        FILTERS: MappingProxyType({"patterns": "pybootd.files.filters:Patterns"}),
        SOURCES: MappingProxyType(
            {
                "file": "pybootd.files.local:LocalSource",
                "http": "pybootd.files.remote.source:RemoteSource",
                "https": "pybootd.files.remote.source:RemoteSource",
            }
        ),
    }
)


class PluginError(Exception):
    """A name that leads to no usable class; the text says why, ``meant`` guesses at the name."""

    def __init__(self, problem: str, meant: str = "") -> None:
        super().__init__(f"{problem} (did you mean {meant}?)" if meant else problem)
        self.problem = problem
        self.meant = meant


def find_class(group: str, name: str) -> type[Any]:
    """Return the class that the group knows by this name; a built-in name is never taken over.

    Raises PluginError: no such name (with the names that there are), or a plug-in that can't be
    imported or is no class.
    """
    if name in BUILT_IN[group]:
        return _load(group, name, BUILT_IN[group][name])
    from importlib.metadata import entry_points  # slow: only when a third party's class is named

    for entry in entry_points(group=group, name=name):
        return _load(group, name, entry.value)
    known = names(group)
    near = did_you_mean(name, known)
    raise PluginError(
        f"{group} knows no {name!r}: there {'are' if len(known) > 1 else 'is'} "
        f"{', '.join(known) or 'nothing'}",
        near,
    )


def names(group: str) -> list[str]:
    """List the names that the group knows, built-in or installed, sorted."""
    from importlib.metadata import entry_points

    return sorted({*BUILT_IN[group], *entry_points(group=group).names})


def _load(group: str, name: str, value: str) -> type[Any]:
    """Import ``module:class``; whatever a third party's module raises comes out as PluginError."""
    module, _, path = value.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        text = f"{group} {name!r} can't be loaded from {value}: {type(error).__name__}: {error}"
        raise PluginError(text) from error
    if not isinstance(found, type):
        raise PluginError(f"{group} {name!r}: {value} is no class")
    return found
