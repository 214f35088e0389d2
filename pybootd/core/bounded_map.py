"""A mapping that holds at most so many entries: strangers choose the keys, we choose the memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMap(OrderedDict[K, V]):
    """Holds at most ``limit`` entries, the oldest first; the oldest gives way to a new one.

    Setting a key makes its entry the newest; so does ``use``. Reading with ``[]`` or ``get``
    changes no order.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self.limit:
            self.popitem(last=False)

    def use(self, key: K) -> V | None:
        """Return the value and make its entry the newest; None: there is none."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def oldest(self) -> K:
        """Name the entry that goes first; raises StopIteration where there is none."""
        return next(iter(self))
