"""What was most likely meant by what is wrong: quotes, units, brackets, words of other servers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from types import MappingProxyType

_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019", "\u201e\u201c", "\u00ab\u00bb")
_SECONDS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("ms", "msec", "milliseconds"), 0.001),
        **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1),
        **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
        **dict.fromkeys(("h", "hour", "hours"), 3600),
        **dict.fromkeys(("d", "day", "days"), 86400),
        **dict.fromkeys(("w", "week", "weeks"), 604800),
    }
)
_FLAGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("accept", "active", "allow", "allowed", "permit", "t", "y"), "on"),
        **dict.fromkeys(("block", "blocked", "deny", "denied", "f", "n", "none", "refuse"), "off"),
    }
)
_FOREVER = ("infinite", "infinity", "forever", "never", "unlimited")
_NUMBER = re.compile(r"([0-9][0-9., _']*?) ?([a-z]*)", re.I)
_THOUSANDS = re.compile(r"[0-9]{1,3}([., _'][0-9]{3})+")
_SEPARATORS = re.compile("[-_ .]")

_ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("legacy", "pc", "pcbios", "x86bios", "x86pc", "i386", "pxe"), "bios"),
        **dict.fromkeys(("efi32", "ia32", "uefi32", "efix86"), "efi-ia32"),
        **dict.fromkeys(("amd64", "efi", "efi64", "efibc", "efix64"), "efi-x86_64"),
        **dict.fromkeys(("uefi", "uefi64", "uefix64", "x64", "x8664"), "efi-x86_64"),
        **dict.fromkeys(("aarch64", "arm64", "efiaa64", "uefiarm64"), "efi-arm64"),
        **dict.fromkeys(("arm", "arm32", "efiarm"), "efi-arm32"),
        **dict.fromkeys(("http", "httpx64", "httpefi", "httpuefi"), "http-efi-x86_64"),
    }
)

# words of other servers and old habits -> what is written here
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "allowsimpledhcp": "[bootp] allow_simple_dhcp",
        "bootfilename": "[bootp] boot_file",
        "defaultleasetime": "[bootp] lease_time",
        "dhcpboot": "[bootp] boot_file",
        "dhcphost": "[static_dhcp] MAC = ADDRESS",
        "dhcpoption": "[options] NAME = value",
        "dhcprange": "[bootp] pool_start and pool_count",
        "dnsserver": "[bootp] dns",
        "dnsservers": "[bootp] dns",
        "domainname": "[bootp] domain",
        "domainnameservers": "[bootp] dns",
        "enabletftp": "[tftp] root",
        "filename": "[bootp] boot_file",
        "hardwareethernet": "[client MAC]",
        "listenaddress": "[bootp] address",
        "nameserver": "[bootp] dns",
        "nameservers": "[bootp] dns",
        "ntpserver": "[bootp] ntp",
        "ntpservers": "[bootp] ntp",
        "optionrouters": "[bootp] gateway",
        "poolend": "[bootp] pool_count",
        "poolsize": "[bootp] pool_count",
        "range": "[bootp] pool_start and pool_count",
        "router": "[bootp] gateway",
        "routers": "[bootp] gateway",
        "serveraddress": "[bootp] next_server",
        "serverip": "[bootp] next_server",
        "subnetmask": "[bootp] netmask",
        "tftpdirectory": "[tftp] root",
        "tftproot": "[tftp] root",
        "tftpserver": "[bootp] next_server",
    }
)


def unquote(text: str) -> str:
    """Return a text without the quotes around it; as it is where there are none."""
    if len(text) > 1 and text[0] + text[-1] in _QUOTES:
        return text[1:-1].strip()
    return text


def guess_flag(text: str) -> str:
    """Guess at a boolean by another word for it; "" for no guess."""
    return _FLAGS.get(text.lower(), "")


def normalize_name(text: str) -> str:
    """Return a name in lower case without ``-``, ``_``, dots and blanks, to be compared."""
    return _SEPARATORS.sub("", text).lower()


def guess_number(text: str, low: float, high: float, *, fractions: bool = False) -> str:
    """Guess at a number, written with a unit of time or with separators; "" for no guess."""
    if text.lower() in _FOREVER:
        return f"{high:g}" if high == int(high) and high < 1e6 else f"{int(high)}"
    found = _NUMBER.fullmatch(text)
    if not found or found[2].lower() not in _SECONDS:
        return ""
    digits = found[1].strip()
    if _THOUSANDS.fullmatch(digits):
        digits = re.sub("[^0-9]", "", digits)
    try:
        value = float(digits.replace(",", ".")) * _SECONDS[found[2].lower()]
    except ValueError:
        return ""
    if not low <= value <= high or (not fractions and value != int(value)):
        return ""
    return f"{int(value)}" if value == int(value) else f"{value:g}"


def explain_address(text: str) -> tuple[str, str]:
    """Say why a text is no IPv4 address, and what was meant ("": no guess)."""
    if _is_ipv6(text):
        return f"{text} is an IPv6 address, and only IPv4 is served: write such as 192.168.1.1", ""
    if text.lower() == "localhost":
        return f"{text!r} is a name: write its IPv4 address", "127.0.0.1"
    found = re.search(r"\s*[/:\s-]\s*", text)
    head, separator = (text[: found.start()], found[0]) if found else (text, "")
    tail = text[len(head) + len(separator) :]
    if separator.strip() == "/" and _is_ipv4(head):
        return f"{text!r} has a prefix length: write the address alone", head
    if separator.strip() == ":" and _is_ipv4(head):
        return f"{text!r} has a port: write the address alone", head
    if separator and not separator.strip() and _is_ipv4(head):
        listed = ", ".join(text.split())
        return f"{text!r}: separate addresses by commas", listed
    if separator.strip() == "-" and _is_ipv4(head) and re.fullmatch("[0-9.]+", tail):
        return f"{text!r} is a range: write its first address, and pool_count", head
    if re.fullmatch(r"[0-9]+(\.[0-9]+)*", text):
        return f"{text!r} is no IPv4 address: four numbers from 0 to 255, as in 192.168.1.1", ""
    if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", text, re.I):
        return f"{text!r} is a name: write an IPv4 address, such as 192.168.1.1", ""
    return f"{text!r} is no IPv4 address, such as 192.168.1.1", ""


def explain_netmask(text: str) -> str:
    """Guess at a netmask that is written as a prefix length; "" for no guess."""
    found = re.fullmatch(r"/?([0-9]|[12][0-9]|3[0-2])", text)
    return str(IPv4Network(f"0.0.0.0/{found[1]}").netmask) if found else ""


def guess_network(text: str) -> tuple[str, str]:
    """Say why a text is no network, and the one that was meant ("": no guess)."""
    head, slash, _ = text.partition("/")
    if _is_ipv6(head):
        return (
            f"{text} is an IPv6 network, and only IPv4 is served: write [subnet 192.168.2.0/24]",
            "",
        )
    if not text:
        return "names no network: write [subnet 192.168.2.0/24]", ""
    if not slash and _is_ipv4(head):
        return f"{text!r} has no length: write [subnet {text}/24]", ""
    try:
        meant = str(IPv4Network(text, strict=False))
    except ValueError:
        return f"{text!r} is no network: write [subnet 192.168.2.0/24]", ""
    return f"{text!r} is an address in a network", f"[subnet {meant}]"


def explain_root(text: str) -> tuple[str, str] | None:
    """Say why a root can't be what was meant, and what was; None: it may be."""
    if text.startswith("~"):
        return "~ is not read as a home: write the whole path", ""
    if text.startswith("$") or "${" in text:
        return "variables of the environment are not read: write the whole path", ""
    if re.match(r"[a-z]:[\\/]", text, re.I):
        return "a path of Windows: write /dir or ./dir", ""
    found = re.match(r"(https?|t?ftp|file):/*", text, re.I)
    if found and "://" not in text:
        return f"{text!r} is no URL: it has no //", f"{found[1]}://{text[found.end() :]}"
    return None


def guess_architecture(text: str) -> str:
    """Guess at an architecture by another name of it; "" for no guess."""
    return _ARCHITECTURES.get(normalize_name(text), "")


def guess_header(content: str, sections: Collection[str], kinds: Collection[str]) -> str:
    """Guess at the section whose header a line without ``=`` was meant to be; "" for none.

    Brackets that are missing or of another shape: ``[bootp``, ``{bootp}``, ``bootp:``.
    """
    name = " ".join(content.strip("[]{}()<>: \t").split())
    first = name.partition(" ")[0].lower()
    if name.lower() in sections or (first in kinds and first != name.lower()):
        return name
    return ""


def guess_setting(content: str, options: Collection[str]) -> str:
    """Guess at the setting that a line without ``=`` was meant to be; "" for none.

    ``options``: the names that there are, in lower case.
    """
    found = re.fullmatch(r"([A-Za-z][\w-]*)\s*(:=?|\s|->)\s*(\S.*)", content)
    if found and not found[2].strip() and found[1].lower() not in options:
        return ""
    return f"{found[1]} = {found[3].rstrip(';,')}" if found else ""


def guess_labelled(name: str, kinds: Collection[str]) -> str:
    """Guess at a section of a kind whose label is glued to it: ``client:AA-BB-...``."""
    for kind in kinds:
        rest = name[len(kind) :].strip(" :=_-/")
        if name.lower().startswith(kind) and rest:
            return f"[{kind} {rest}]"
    return ""


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text.strip())
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text.strip("[]").partition("/")[0])
    except ValueError:
        return False
    return True
