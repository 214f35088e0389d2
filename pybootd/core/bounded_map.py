"""What strangers may fill is bounded: a mapping of so many entries, and who holds how many of them.

Strangers choose the keys, we choose the memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

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


class Holdings(Generic[K, V]):
    """Who holds which of the things that all share, the oldest first.

    When no more may be held, who holds most gives way: one client that takes all it can then
    keeps nothing from the others.
    """

    def __init__(self) -> None:
        self._by_holder: dict[K, dict[V, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add_item(self, holder: K, item: V) -> None:
        """Note that the holder has one more."""
        items = self._by_holder.get(holder)
        if items is None:
            items = self._by_holder[holder] = {}
        self._count += item not in items
        items[item] = None

    def discard_item(self, holder: K, item: V) -> None:
        """Note that the holder has it no more; harmless when it hadn't."""
        items = self._by_holder.get(holder)
        if items is not None and item in items:
            del items[item]
            self._count -= 1
            if not items:
                del self._by_holder[holder]

    def items_of(self, holder: K) -> Mapping[V, None]:
        """Return what the holder has, the oldest first."""
        return self._by_holder.get(holder, _NOTHING)

    def largest(self) -> Mapping[V, None]:
        """Return what the one holds who holds most."""
        return max(self._by_holder.values(), key=len, default=_NOTHING)


_NOTHING: Mapping[Any, None] = MappingProxyType({})
