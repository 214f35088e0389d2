"""Octets that say, one after the other, what a target is to do; what is missing is 0."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Feed:
    """A run through the octets; it never ends in an error."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def octet(self) -> int:
        """Take one octet."""
        return next(iter(self.take(1)), 0)

    def number(self) -> int:
        """Take two octets as a number."""
        return int.from_bytes(self.take(2).ljust(2, b"\0"))

    def take(self, count: int) -> bytes:
        """Take so many octets, fewer at the end."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(len(self._data))

    def choose(self, among: Sequence[T]) -> T:
        """Let one octet choose."""
        return among[self.octet() % len(among)]


def text(octets: bytes) -> str:
    """Read text as a name arrives: octets that are no UTF-8 are kept."""
    return octets.decode("utf-8", "surrogateescape")
