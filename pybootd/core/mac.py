"""Hardware addresses and prefixes of them: read, written, compared."""

from __future__ import annotations

import re
from typing import NamedTuple

_MAC_DIGITS = re.compile("[0-9A-Fa-f]{12}")


def format_mac(mac: bytes, separator: str = ":") -> str:
    """Write a hardware address in upper-case hexadecimal pairs; no octets: ``-``."""
    return mac.hex(separator).upper() if mac else "-"


def parse_mac(text: str) -> bytes:
    """Read ``AA-BB-CC-DD-EE-FF`` or ``aa:bb:cc:dd:ee:ff``; raises ValueError."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}([-:][0-9A-Fa-f]{2}){5}", text):
        digits = re.sub(r"[-:. ]", "", text)
        meant = "-".join(re.findall("..", digits)) if _MAC_DIGITS.fullmatch(digits) else ""
        raise ValueError(f"{text!r} is no MAC address: write {meant or 'AA-BB-CC-DD-EE-FF'}")
    return bytes.fromhex(text.replace("-", "").replace(":", ""))


class MacPrefix(NamedTuple):
    """The MACs that share their first ``bits`` bits with ``value`` (6 octets)."""

    value: bytes
    bits: int

    def holds(self, mac: bytes) -> bool:
        """Tell whether the MAC is one of them."""
        if len(mac) != 6:
            return False
        shift = 48 - self.bits
        return int.from_bytes(mac) >> shift == int.from_bytes(self.value) >> shift


def parse_mac_prefix(text: str) -> MacPrefix:
    """Read a MAC or a prefix such as ``AA-BB-CC/24`` (missing octets are 0); raises ValueError.

    ``00/0`` is every MAC.
    """
    head, slash, length = text.partition("/")
    octets = re.fullmatch(r"[0-9A-Fa-f]{2}([-:][0-9A-Fa-f]{2}){0,5}", head)
    if not slash:
        if octets and len(head) < 17:
            bits = 4 * len(re.sub("[-:]", "", head))
            raise ValueError(f"{text!r} is a part of a MAC: write all of it, or {text}/{bits}")
        return MacPrefix(parse_mac(text), 48)
    if not octets or not re.fullmatch(r"[0-9]{1,2}", length) or int(length) > 48:
        raise ValueError(f"{text!r} is no MAC prefix: write AA-BB-CC/24")
    value = bytes.fromhex(head.replace("-", "").replace(":", ""))
    if len(value) * 8 < int(length):
        raise ValueError(f"{text!r}: {length} bits are more than {head} holds")
    return MacPrefix(value.ljust(6, b"\0"), int(length))


PI_3 = parse_mac_prefix("B8-27-EB/24")
_LATER_PIS = ("DC-A6-32", "E4-5F-01", "28-CD-C1", "D8-3A-DD", "2C-CF-67")
PI_MACS = (PI_3, *(parse_mac_prefix(f"{prefix}/24") for prefix in _LATER_PIS))
"""The MACs of Raspberry Pis (IEEE's registry of OUIs)."""
