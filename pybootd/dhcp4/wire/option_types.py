"""The plain types of option values: each reads and writes octets and text (RFC 2132 and others).

``from_wire`` and ``from_text`` raise ValueError, with a message for people, for what is no value of
the type. Whatever they return can be written both ways, and is read back as the same value.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Generic, TypeVar

from pybootd.core.text import parse_flag

T = TypeVar("T")


class OptionType(ABC, Generic[T]):
    """One form that values of options have."""

    @abstractmethod
    def from_wire(self, octets: bytes) -> T:
        """Read a value as a packet holds it."""

    @abstractmethod
    def to_wire(self, value: T) -> bytes:
        """Write a value as a packet holds it."""

    @abstractmethod
    def from_text(self, text: str) -> T:
        """Read a value as a person writes it."""

    @abstractmethod
    def to_text(self, value: T) -> str:
        """Write a value for people."""


class AddressType(OptionType[IPv4Address]):
    """One IPv4 address."""

    def from_wire(self, octets: bytes) -> IPv4Address:
        """Read four octets."""
        if len(octets) != 4:
            raise ValueError(f"an IPv4 address has 4 octets, not {len(octets)}")
        return IPv4Address(octets)

    def to_wire(self, value: IPv4Address) -> bytes:
        """Write four octets."""
        return value.packed

    def from_text(self, text: str) -> IPv4Address:
        """Read ``10.0.0.1``."""
        return parse_address(text)

    def to_text(self, value: IPv4Address) -> str:
        """Write ``10.0.0.1``."""
        return str(value)


class AddressListType(OptionType[tuple[IPv4Address, ...]]):
    """IPv4 addresses, at least one; in pairs where ``group`` is 2."""

    def __init__(self, group: int = 1) -> None:
        self._group = group

    def from_wire(self, octets: bytes) -> tuple[IPv4Address, ...]:
        """Read four octets for each address."""
        if not octets or len(octets) % (4 * self._group):
            raise ValueError(f"{len(octets)} octets are no list of IPv4 addresses")
        return tuple(IPv4Address(octets[at : at + 4]) for at in range(0, len(octets), 4))

    def to_wire(self, value: tuple[IPv4Address, ...]) -> bytes:
        """Write four octets for each address."""
        return b"".join(address.packed for address in value)

    def from_text(self, text: str) -> tuple[IPv4Address, ...]:
        """Read ``10.0.0.1, 10.0.0.2``."""
        found = tuple(parse_address(item) for item in split_items(text))
        if not found:
            raise ValueError("at least one IPv4 address is needed")
        if len(found) % self._group:
            raise ValueError("addresses come in pairs here: two, four, ...")
        return found

    def to_text(self, value: tuple[IPv4Address, ...]) -> str:
        """Write ``10.0.0.1, 10.0.0.2``."""
        return ", ".join(map(str, value))


class IntegerType(OptionType[int]):
    """An integer of so many octets.

    ``unit`` stands behind it in text, and may be left out; ``names`` stand for some of the numbers.
    """

    def __init__(
        self,
        octets: int,
        *,
        signed: bool = False,
        unit: str = "",
        names: Mapping[int, str] | None = None,
    ) -> None:
        self._octets, self._signed, self._unit = octets, signed, unit
        self._names = dict(names or {})
        self._numbers = {name: number for number, name in self._names.items()}
        bits = 8 * octets
        self._low = -(1 << bits - 1) if signed else 0
        self._high = (1 << bits - 1) - 1 if signed else (1 << bits) - 1

    def from_wire(self, octets: bytes) -> int:
        """Read the octets, the most significant first."""
        if len(octets) != self._octets:
            raise ValueError(f"the number has {self._octets} octets, not {len(octets)}")
        return int.from_bytes(octets, signed=self._signed)

    def to_wire(self, value: int) -> bytes:
        """Write the octets, the most significant first."""
        return value.to_bytes(self._octets, signed=self._signed)

    def from_text(self, text: str) -> int:
        """Read a decimal or hexadecimal (``0x``) number, or a name."""
        if text.upper() in self._numbers:
            return self._numbers[text.upper()]
        digits = text.removesuffix(self._unit).strip() if self._unit else text
        try:
            number = int(digits, 0)
        except ValueError:
            raise ValueError(f"{text!r} is not an integer") from None
        if not self._low <= number <= self._high:
            raise ValueError(f"{text} is not between {self._low} and {self._high}")
        return number

    def to_text(self, value: int) -> str:
        """Write the name, or the decimal number with its unit."""
        return self._names.get(value) or (f"{value} {self._unit}" if self._unit else str(value))


class IntegerListType(OptionType[tuple[int, ...]]):
    """Integers without a sign, of so many octets each, at least one."""

    def __init__(self, octets: int) -> None:
        self._octets = octets
        self._one = IntegerType(octets)

    def from_wire(self, octets: bytes) -> tuple[int, ...]:
        """Read the numbers one after the other."""
        size = self._octets
        if not octets or len(octets) % size:
            raise ValueError(f"{len(octets)} octets are no list of numbers of {size} octets")
        return tuple(int.from_bytes(octets[at : at + size]) for at in range(0, len(octets), size))

    def to_wire(self, value: tuple[int, ...]) -> bytes:
        """Write the numbers one after the other."""
        return b"".join(number.to_bytes(self._octets) for number in value)

    def from_text(self, text: str) -> tuple[int, ...]:
        """Read ``68, 296``."""
        found = tuple(self._one.from_text(item) for item in split_items(text))
        if not found:
            raise ValueError("at least one number is needed")
        return found

    def to_text(self, value: tuple[int, ...]) -> str:
        """Write ``68, 296``."""
        return ", ".join(map(str, value))


class FlagType(OptionType[bool]):
    """On or off: one octet, 1 or 0."""

    def from_wire(self, octets: bytes) -> bool:
        """Read one octet."""
        if octets not in (b"\0", b"\1"):
            raise ValueError("a flag is one octet, 0 or 1")
        return octets == b"\1"

    def to_wire(self, value: bool) -> bytes:
        """Write one octet."""
        return b"\1" if value else b"\0"

    def from_text(self, text: str) -> bool:
        """Read ``on`` or ``off`` in any of their spellings."""
        return parse_flag(text)

    def to_text(self, value: bool) -> str:
        """Write ``on`` or ``off``."""
        return "on" if value else "off"


class TextType(OptionType[str]):
    """Text, not empty; octets that are no UTF-8 are kept as lone surrogates."""

    def from_wire(self, octets: bytes) -> str:
        """Read UTF-8; NULs at the end belong to the value."""
        if not octets:
            raise ValueError("an empty text")
        return octets.decode("utf-8", "surrogateescape")

    def to_wire(self, value: str) -> bytes:
        """Write UTF-8, without a NUL behind it."""
        return value.encode("utf-8", "surrogateescape")

    def from_text(self, text: str) -> str:
        """Read text as it stands; in double quotes where it begins or ends with a blank."""
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        if not text:
            raise ValueError("an empty text")
        return text

    def to_text(self, value: str) -> str:
        """Write text as it stands, in double quotes where it would be read differently."""
        quoted = value != value.strip() or (len(value) > 1 and value[0] == value[-1] == '"')
        return f'"{value}"' if quoted else value


class HexType(OptionType[bytes]):
    """Octets, at least one, as hexadecimal digits in text."""

    def from_wire(self, octets: bytes) -> bytes:
        """Take the octets."""
        if not octets:
            raise ValueError("an empty value")
        return octets

    def to_wire(self, value: bytes) -> bytes:
        """Give the octets."""
        return value

    def from_text(self, text: str) -> bytes:
        """Read ``0x0102ab`` or ``01:02:ab``."""
        digits = re.sub(r"^0x|[\s:.-]", "", text.lower())
        if not digits or len(digits) % 2 or re.search(r"[^0-9a-f]", digits):
            raise ValueError(f"{text!r} is no hexadecimal value: write 0x0102ab or 01:02:ab")
        return bytes.fromhex(digits)

    def to_text(self, value: bytes) -> str:
        """Write ``01:02:ab``; one octet alone as ``0xab``."""
        return value.hex(":") if len(value) > 1 else f"0x{value.hex()}"


class UnknownType(HexType):
    """Any octets: text may be hexadecimal, a number, addresses or words."""

    def from_text(self, text: str) -> bytes:
        """Read hexadecimal digits (``0x0102``, ``01:02``), else a number, addresses, or text."""
        if text.startswith("0x") or re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})+", text):
            return super().from_text(text)
        if re.fullmatch(r"[0-9]+", text):
            number = int(text)
            return number.to_bytes(max(1, (number.bit_length() + 7) // 8))
        try:
            return ADDRESSES.to_wire(ADDRESSES.from_text(text))
        except ValueError:
            return TEXT.to_wire(TEXT.from_text(text))


ADDRESSES, TEXT, HEX = AddressListType(), TextType(), HexType()


def parse_address(text: str) -> IPv4Address:
    """Read ``10.0.0.1``; raises ValueError with a message for people."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 address") from None


def split_items(text: str) -> list[str]:
    """Split a list written with commas, semicolons or blanks."""
    return [item for item in re.split(r"[,;\s]+", text.strip()) if item]
