"""Text of the configuration -> typed values. Each raises ValueError with a message for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Literal, TypeVar

from pybootd.core.text import did_you_mean, parse_flag

T = TypeVar("T")

DATABASES = ("postgresql://", "postgres://")  # how URLs begin that libpq knows

ANY = IPv4Address("0.0.0.0")

Gateway = IPv4Address | Literal["none", "self"]

# iPXE as its binaries are named: undionly.kpxe, ipxe-arm64.efi
_IPXE = re.compile(
    r"(?:.*/)?(?:[^/]*\.k{1,3}pxe|(?:undionly|snp|snponly|ipxe)[^/]*\.(?:0|efi|pxe|lkrn))", re.I
)


class Unmeant(ValueError):
    """A value that is not one of the words there are; ``meant`` is the nearest of them."""

    def __init__(self, text: str, words: tuple[str, ...]) -> None:

        super().__init__(f"{text!r} is none of {', '.join(words)}")
        self.meant = did_you_mean(text, words)


def parse_boolean(text: str) -> bool:
    """Read a boolean in any of its spellings."""
    return parse_flag(text)


def word(text: str) -> str:
    """Read a text that must not be empty."""
    if not text:
        raise ValueError("has no value")
    return text


def leases(text: str) -> str:
    """Read where leases are kept: a path, ``memory``, or the URL of a database."""
    scheme, colon, _ = word(text).partition("://")
    if colon and not text.startswith(DATABASES):
        raise ValueError(f"{scheme}:// is no database for leases: write postgresql://, or a path")
    return text


def is_ipxe(file: str) -> bool:
    """Tell whether a boot file is iPXE itself, by its name."""
    return _IPXE.fullmatch(re.split("[?#]", file)[0]) is not None


def choice(*words: str) -> Callable[[str], str]:
    """Read one of the words, in any letter case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise Unmeant(text, words)
        return text.lower()

    return read


def integer(low: int, high: int) -> Callable[[str], int]:
    """Read a whole number from ``low`` to ``high``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise ValueError(f"{text!r} is no whole number")
        if not low <= int(text) <= high:
            raise ValueError(f"{text} is not from {low} to {high}")
        return int(text)

    return read


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Read a time in seconds, fractions allowed."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            raise ValueError(f"{text!r} is no number of seconds")
        if not low <= float(text) <= high:
            raise ValueError(f"{text} s is not from {low:g} to {high:g}")
        return float(text)

    return read


def octets(text: str) -> int:
    """Read a size in octets; ``k``, ``M`` and ``G`` behind the number are powers of 1024."""
    found = re.fullmatch(r"([0-9]{1,12}) ?([kKmMgG]?)(i?[bB])?", text)
    if not found:
        raise ValueError(f"{text!r} is no size: write 67108864 or 64M")
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]


def address(text: str) -> IPv4Address:
    """Read an IPv4 address."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 address, such as 192.168.1.1") from None


def netmask(text: str) -> IPv4Address:
    """Read a netmask: ones, then zeros."""
    try:
        mask = IPv4Address(text)
        inverse = ~int(mask) & 0xFFFFFFFF
        if not inverse & (inverse + 1):
            return mask
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no netmask, such as 255.255.255.0")


def addresses(text: str) -> tuple[IPv4Address, ...]:
    """Read addresses that commas or semicolons separate."""
    return tuple(address(part) for part in _parts(text))


def name_servers(text: str) -> tuple[IPv4Address, ...]:
    """Read addresses, or ``auto``: those that this host asks itself, which may be none."""
    if text.lower() == "auto":
        from pybootd.system import interfaces

        return interfaces.name_servers()
    return addresses(text)


def names(text: str) -> tuple[str, ...]:
    """Read words that commas separate."""
    return tuple(_parts(text))


def gateway(text: str) -> Gateway:
    """Read an address, ``none``, or ``self`` (the server's own address on that network)."""
    if text.lower() == "none":
        return "none"
    if text.lower() == "self":
        return "self"
    try:
        return address(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither an IPv4 address nor none nor self") from None


def endpoints(text: str) -> tuple[tuple[str, int], ...]:
    """Read ``a.b.c.d:port``, several separated by ``;``."""
    found = []
    for part in _parts(text):
        host, _, port = part.partition(":")
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
            raise ValueError(f"{part!r} is no target: write a.b.c.d:port")
        found.append((str(address(host)), int(port)))
    return tuple(found)


def user(text: str) -> str:
    """Read the name of a user of this system."""
    import pwd

    try:
        return pwd.getpwnam(text).pw_name
    except KeyError:
        raise ValueError(f"{text!r} is no user here: name one, or make it with useradd") from None


def group(text: str) -> str:
    """Read the name of a group of this system."""
    import grp

    try:
        return grp.getgrnam(text).gr_name
    except KeyError:
        raise ValueError(f"{text!r} is no group here: name one, or make it: groupadd") from None


def share(text: str) -> tuple[int, int]:
    """Read ``1/3``, the first of three parts; raises ValueError."""
    number, _, parts = text.partition("/")
    if number.strip().isdecimal() and parts.strip().isdecimal():
        made = int(number), int(parts)
        if 1 <= made[0] <= made[1] <= 256:
            return made
    raise ValueError("a part of the clients, as 1/3, 2/3 and 3/3 on three servers")


def port_range(text: str) -> tuple[int, int]:
    """Read ``first-last``: ports, both included."""
    found = re.fullmatch(r"([0-9]{1,5}) *- *([0-9]{1,5})", text)
    if not found or not 0 < int(found[1]) <= int(found[2]) < 65536:
        raise ValueError(f"{text!r} is no range of ports: write 20000-20999")
    return int(found[1]), int(found[2])


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in re.split(r"[,;]", text)]
    return [part for part in parts if part]
