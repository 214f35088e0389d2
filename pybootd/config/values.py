"""Text of the configuration -> typed values. Each raises ValueError with a message for people."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pybootd.config.guesses import (
    explain_address,
    explain_netmask,
    guess_flag,
    guess_number,
    unquote,
)
from pybootd.core.mac import parse_mac, parse_mac_prefix
from pybootd.core.text import did_you_mean, parse_flag

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ANY = IPv4Address("0.0.0.0")

DATABASES = ("postgresql://", "postgres://")  # how URLs begin that libpq knows
MAX_NAME = 253  # characters of a domain name: RFC 1035 2.3.4
MAX_SERVER_NAME = 63  # octets of the field sname, less a closing NUL
MAX_INTERFACE_NAME = 15  # octets: IFNAMSIZ of Linux, less a closing NUL
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOSTNAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
MAX_SECONDS = 0xFFFFFFFF  # of a lease: RFC 2131 3.3, which is for ever

Gateway = IPv4Address | Literal["none", "self"]


@dataclass(frozen=True, slots=True)
class ValueParser(Generic[T_co]):
    """How the text of an option becomes its value.

    ``accepts`` tells people what may be written, ``form`` turns a value back into text.
    ``free``: any text will do, so what was meant as a comment is a part of it.
    """

    parse: Callable[[str], T_co]
    accepts: str
    form: Callable[[Any], str] = str
    free: bool = False


class BadValueError(ValueError):
    """A text that is no value of its option; ``meant`` is what was most likely meant, or ""."""

    def __init__(self, problem: str, meant: str = "") -> None:
        super().__init__(problem)
        self.meant = meant


def parse_boolean(text: str) -> bool:
    """Read a boolean, in any of its spellings."""
    try:
        return parse_flag(text)
    except ValueError as error:
        raise BadValueError(str(error), guess_flag(text)) from None


def parse_word(text: str) -> str:
    """Read a text that must not be empty."""
    if not text:
        raise ValueError("has no value")
    return text


def parse_hostname(text: str) -> str:
    """Read a host name or a domain: labels of letters, digits, ``-`` and ``_`` (RFC 1123 2.1)."""
    if len(parse_word(text)) > MAX_NAME or not _HOSTNAME.fullmatch(text):
        problem = f"{text!r} is no host name: letters, digits, - and dots"
        raise BadValueError(problem, _guess_hostname(text))
    return text


def parse_domain(text: str) -> str:
    """Read a domain, or several that blanks separate."""
    if not all(_HOSTNAME.fullmatch(part) for part in parse_word(text).split()):
        problem = f"{text!r} is no domain: letters, digits, - and dots"
        raise BadValueError(problem, _guess_hostname(text))
    return text


def parse_server_name(text: str) -> str:
    """Read a name for the field ``sname`` of a reply (RFC 2131 2)."""
    if not parse_word(text).isascii() or not text.isprintable() or len(text) > MAX_SERVER_NAME:
        raise ValueError(
            f"{text!r} is no server name: {MAX_SERVER_NAME} characters of ASCII at most"
        )
    return text


def parse_interfaces(text: str) -> tuple[str, ...]:
    """Read names of interfaces that commas separate."""
    found = parse_names(text)
    for name in found:
        if re.search(r"\s", name):
            raise BadValueError(f"{name!r}: separate names by commas", ", ".join(name.split()))
        if len(name.encode()) > MAX_INTERFACE_NAME or "/" in name:
            raise ValueError(f"{name!r} is no name of an interface: see ip link")
    return found


def parse_access(text: str) -> str:
    """Read the name of one access list."""
    if text.lower() in ("none", "off", "no", "all", "any", "everybody"):
        raise ValueError(f"{text!r} is no access list: leave the line out to serve everybody")
    if re.search("[,;]", text):
        raise ValueError(f"{text!r}: write one access list alone")
    return parse_word(text)


def parse_path(text: str) -> Path:
    """Read a path, as it is written."""
    return Path(parse_word(text))


def parse_folders(text: str) -> tuple[Path, ...]:
    """Read whole paths of folders that commas separate."""
    found = tuple(Path(part.strip()) for part in text.split(",") if part.strip())
    for path in found:
        if not path.is_absolute():
            raise ValueError(f"{str(path)!r} is no whole path: write /dir")
    return found


def parse_leases(text: str) -> str:
    """Read where leases are kept: a path, ``memory``, or the URL of a database."""
    scheme, colon, _ = parse_word(text).partition("://")
    if colon and not text.startswith(DATABASES):
        raise ValueError(f"{scheme}:// is no database for leases: write postgresql://, or a path")
    return text


def parse_size(text: str) -> int:
    """Read a size in octets; ``k``, ``M``, ``G`` and ``T`` behind the number are powers of 1024."""
    found = re.fullmatch(r"([0-9]{1,12}) ?([kKmMgGtT]?)(i?[bB])?", text)
    if not found:
        raise ValueError(f"{text!r} is no size: write 67108864 or 64M")
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[found[2].lower()]


def parse_address(text: str) -> IPv4Address:
    """Read an IPv4 address."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise BadValueError(*explain_address(text)) from None


def parse_netmask(text: str) -> IPv4Address:
    """Read a netmask: ones, then zeros."""
    try:
        mask = IPv4Address(text)
        inverse = ~int(mask) & 0xFFFFFFFF
        if not inverse & (inverse + 1):
            return mask
    except ValueError:
        pass
    problem = f"{text!r} is no netmask, such as 255.255.255.0"
    raise BadValueError(problem, explain_netmask(text))


def parse_addresses(text: str) -> tuple[IPv4Address, ...]:
    """Read addresses that commas or semicolons separate."""
    try:
        return tuple(parse_address(part) for part in _parts(text))
    except BadValueError as error:
        if re.search(r"[,;]", text):
            raise BadValueError(str(error)) from None  # the guess is of one part
        raise


def parse_name_servers(text: str) -> tuple[IPv4Address, ...]:
    """Read addresses, or ``auto``: those that this host asks itself, which may be none."""
    if text.lower() == "auto":
        from pybootd.system import interfaces  # asks the system: only where it is wanted

        return interfaces.name_servers()
    return parse_addresses(text)


def parse_names(text: str) -> tuple[str, ...]:
    """Read words that commas separate."""
    return tuple(_parts(text))


def parse_gateway(text: str) -> Gateway:
    """Read an address, ``none``, or ``self`` (the server's own address on that network)."""
    if text.lower() == "none":
        return "none"
    if text.lower() == "self":
        return "self"
    try:
        return parse_address(text)
    except ValueError:
        problem = f"{text!r} is neither an IPv4 address nor none nor self"
        raise BadValueError(problem, did_you_mean(text, ("none", "self"))) from None


def parse_endpoints(text: str) -> tuple[tuple[str, int], ...]:
    """Read ``a.b.c.d:port``, several separated by ``;``."""
    found = []
    for part in _parts(text):
        host, _, port = part.partition(":")
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
            raise ValueError(f"{part!r} is no target: write a.b.c.d:port")
        found.append((str(parse_address(host)), int(port)))
    return tuple(found)


def parse_user(text: str) -> str:
    """Read the name of a user of this system."""
    import pwd

    try:
        return pwd.getpwnam(text).pw_name
    except KeyError:
        raise ValueError(f"{text!r} is no user here: name one, or make it with useradd") from None


def parse_group(text: str) -> str:
    """Read the name of a group of this system."""
    import grp

    try:
        return grp.getgrnam(text).gr_name
    except KeyError:
        raise ValueError(f"{text!r} is no group here: name one, or make it: groupadd") from None


def parse_share(text: str) -> tuple[int, int]:
    """Read ``1/3``, the first of three parts; raises ValueError."""
    number, _, parts = text.partition("/")
    if number.strip().isdecimal() and parts.strip().isdecimal():
        made = int(number), int(parts)
        if 1 <= made[0] <= made[1] <= 256:
            return made
    raise ValueError("a part of the clients, as 1/3, 2/3 and 3/3 on three servers")


def parse_port_range(text: str) -> tuple[int, int]:
    """Read ``first-last``: ports, both included."""
    found = re.fullmatch(r"([0-9]{1,5}) *- *([0-9]{1,5})", text)
    if not found or not 0 < int(found[1]) <= int(found[2]) < 65536:
        raise ValueError(f"{text!r} is no range of ports: write 20000-20999")
    return int(found[1]), int(found[2])


def parse_checksum(text: str) -> str:
    """Read ``sha256:HEX``; the digits come back in lower case."""
    found = re.fullmatch(r"sha256:([0-9a-fA-F]{64})", text)
    if not found:
        raise ValueError(
            f"{text!r} is no checksum: write sha256: and 64 hexadecimal digits (sha256sum FILE)"
        )
    return found[1].lower()


def choice(*words: str) -> ValueParser[str]:
    """Accept one of the words, in any letter case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            problem = f"{text!r}: expected one of {', '.join(words)}"
            raise BadValueError(problem, did_you_mean(text, words))
        return text.lower()

    return ValueParser(parse, f"{', '.join(words[:-1])} or {words[-1]}")


def integer(low: int, high: int) -> ValueParser[int]:
    """Accept an integer from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            problem = f"{text!r} is not an integer, from {low} to {high}"
            raise BadValueError(problem, guess_number(text, low, high))
        if not low <= int(text) <= high:
            raise ValueError(f"{text} is not from {low} to {high}")
        return int(text)

    return ValueParser(parse, f"{low} to {high}")


def seconds(low: float, high: float) -> ValueParser[float]:
    """Accept a time in seconds, fractions allowed."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            problem = f"{text!r} is no number of seconds, from {low:g} to {high:g}"
            raise BadValueError(problem, guess_number(text, low, high, fractions=True))
        if not low <= float(text) <= high:
            raise ValueError(f"{text} s is not from {low:g} to {high:g}")
        return float(text)

    return ValueParser(parse, f"{low:g} to {high:g}", lambda value: f"{value:g}")


def size(low: int, high: int) -> ValueParser[int]:
    """Accept a size in octets from ``low`` to ``high``; ``parse_size`` says how it is written."""

    def parse(text: str) -> int:
        if not low <= (value := parse_size(text)) <= high:
            raise ValueError(f"{text} is not from {_short(low)} to {_short(high)}")
        return value

    return ValueParser(parse, f"{_short(low)} to {_short(high)}", _short)


def _parts(text: str) -> list[str]:
    parts = [part.strip() for part in re.split(r"[,;]", text)]
    return [part for part in parts if part]


def _guess_hostname(text: str) -> str:
    """Replace what a host name can't hold."""
    plain = unicodedata.normalize("NFKD", unquote(text)).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.")
    return plain if _HOSTNAME.fullmatch(plain) else ""


def _join(values: tuple[Any, ...]) -> str:
    return ", ".join(map(str, values))


def _short(octets: int) -> str:
    for shift, letter in ((40, "T"), (30, "G"), (20, "M"), (10, "k")):
        if octets and not octets % (1 << shift):
            return f"{octets >> shift}{letter}"
    return str(octets)


BOOLEAN = ValueParser(parse_boolean, "on or off", lambda value: "on" if value else "off")
WORD = ValueParser(parse_word, "text", free=True)
AS_WRITTEN = ValueParser(str, "text", free=True)
PATH = ValueParser(parse_path, "a path", free=True)
PATH_TEXT = ValueParser(parse_word, "a path", free=True)
FOLDERS = ValueParser(parse_folders, "whole paths, separated by commas", _join)
LEASES = ValueParser(parse_leases, "a path, ``memory``, or a URL of PostgreSQL")
ADDRESS = ValueParser(parse_address, "an IPv4 address")
ADDRESSES = ValueParser(parse_addresses, "IPv4 addresses, separated by commas", _join)
NAME_SERVERS = ValueParser(
    parse_name_servers, "IPv4 addresses, separated by commas, or auto", _join
)
HOSTNAME = ValueParser(parse_hostname, "letters, digits, - and dots")
DOMAIN = ValueParser(parse_domain, "letters, digits, - and dots")
SERVER_NAME = ValueParser(parse_server_name, "63 characters of ASCII at most")
INTERFACES = ValueParser(parse_interfaces, "names, separated by commas", _join)
ACCESS = ValueParser(parse_access, "``mac``, ``uuid``, ``http``, or a plug-in's name")
NETMASK = ValueParser(parse_netmask, "a netmask")
NAMES = ValueParser(parse_names, "names, separated by commas", _join)
GATEWAY: ValueParser[Gateway] = ValueParser(parse_gateway, "an IPv4 address, none or self")
ENDPOINTS = ValueParser(
    parse_endpoints,
    "a.b.c.d:port, several separated by ;",
    lambda value: "; ".join(f"{host}:{port}" for host, port in value),
)
USER = ValueParser(parse_user, "a user of this host")
GROUP = ValueParser(parse_group, "a group of this host")
SHARE = ValueParser(
    parse_share, "NUMBER/PARTS, 256 parts at most", lambda value: f"{value[0]}/{value[1]}"
)
PORT = integer(1, 65535)
PORT_OR_OFF = integer(0, 65535)
PORT_RANGE = ValueParser(parse_port_range, "first-last", lambda value: f"{value[0]}-{value[1]}")
LEASE_SECONDS = integer(1, MAX_SECONDS)
POOL_COUNT = integer(0, 1 << 20)
CHECKSUM = ValueParser(parse_checksum, "sha256: and 64 hexadecimal digits")
MAC = ValueParser(parse_mac, "a MAC")
MAC_PREFIX = ValueParser(parse_mac_prefix, "a MAC, or a prefix such as AA-BB-CC/24")
