"""The option table: code, name, type (RFC 2132 and the IANA list), and values from text."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType

from pybootd.core.text import did_you_mean, parse_flag

MASK, ROUTER, DNS, HOSTNAME, DOMAIN, BROADCAST = 1, 3, 6, 12, 15, 28
NTP, VENDOR, REQUESTED, LEASE_TIME, TYPE, SERVER_ID, WANTED = 42, 43, 50, 51, 53, 54, 55
MESSAGE, SIZE, T1, T2, CLASS, CLIENT_ID = 56, 57, 58, 59, 60, 61
TFTP_SERVER, BOOT_FILE, USER_CLASS, RELAY_AGENT = 66, 67, 77, 82
ARCHITECTURE, UUID, SUBNET, IPXE = 93, 97, 118, 175

# what the server works out itself, and where to set it instead
OWN = MappingProxyType(
    {
        50: "clients alone send it",
        51: "set [bootp] lease_time",
        52: "the server works it out",
        53: "the server works it out",
        54: "the server works it out",
        55: "clients alone send it",
        57: "clients alone send it",
        61: "the server works it out",
        82: "the server works it out",
    }
)


def _address(text: str) -> bytes:
    try:
        return IPv4Address(text).packed
    except ValueError:
        raise ValueError(f"{text!r} is no IPv4 address") from None


def _items(text: str) -> list[str]:
    return [item for item in re.split(r"[,;\s]+", text.strip()) if item]


def _addresses(text: str) -> bytes:
    items = _items(text)
    if not items:
        raise ValueError("at least one IPv4 address is needed")
    return b"".join(map(_address, items))


def _pairs(text: str) -> bytes:
    value = _addresses(text)
    if len(value) % 8:
        raise ValueError("addresses come in pairs here: two, four, ...")
    return value


def _integer(octets: int, signed: bool = False) -> Callable[[str], bytes]:
    bits = 8 * octets
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def read(text: str) -> bytes:
        try:
            number = int(text, 0)
        except ValueError:
            raise ValueError(f"{text!r} is no whole number") from None
        if not low <= number <= high:
            raise ValueError(f"{text} is not between {low} and {high}")
        return number.to_bytes(octets, "big", signed=signed)

    return read


_u16 = _integer(2)


def _u16s(text: str) -> bytes:
    return b"".join(map(_u16, _items(text)))


def _flag(text: str) -> bytes:
    return b"\1" if parse_flag(text) else b"\0"


def _text(text: str) -> bytes:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not text:
        raise ValueError("an empty text")
    return text.encode()


def _hex(text: str) -> bytes:
    digits = re.sub(r"^0x|[\s:.-]", "", text.lower())
    if not digits or len(digits) % 2 or re.search(r"[^0-9a-f]", digits):
        raise ValueError(f"{text!r} is no hexadecimal value: write 0x0102ab or 01:02:ab")
    return bytes.fromhex(digits)


def _domains(text: str) -> bytes:
    """Domain names as RFC 1035 3.1 writes them, uncompressed (RFC 3397 allows that)."""
    value = b""
    for name in _items(text):
        labels = name.rstrip(".").encode("idna").split(b".")
        value += b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if not value:
        raise ValueError("at least one domain name is needed")
    return value


def _routes(text: str) -> bytes:
    """Classless routes, ``NET/LEN GATEWAY`` and so on (RFC 3442)."""
    items = _items(text)
    if not items or len(items) % 2:
        raise ValueError("routes are written NET/LEN GATEWAY, NET/LEN GATEWAY, ...")
    value = b""
    for target, gateway in zip(items[::2], items[1::2], strict=True):
        try:
            network = IPv4Network(target)
        except ValueError:
            raise ValueError(f"{target!r} is no network") from None
        significant = (network.prefixlen + 7) // 8
        value += bytes((network.prefixlen,)) + network.network_address.packed[:significant]
        value += _address(gateway)
    return value


def _guess(text: str) -> bytes:
    """Read the value of an option that the table lacks: hexadecimal, number, addresses, text."""
    if text.startswith("0x") or re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})+", text):
        return _hex(text)
    if re.fullmatch(r"[0-9]+", text):
        number = int(text)
        return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
    try:
        return _addresses(text)
    except ValueError:
        return _text(text)


_u8, _u32, _i32 = _integer(1), _integer(4), _integer(4, signed=True)

TABLE: MappingProxyType[int, tuple[str, Callable[[str], bytes]]] = MappingProxyType(
    {
        1: ("subnet-mask", _address),
        2: ("time-offset", _i32),
        3: ("router", _addresses),
        4: ("time-server", _addresses),
        5: ("name-server", _addresses),
        6: ("domain-name-server", _addresses),
        7: ("log-server", _addresses),
        8: ("cookie-server", _addresses),
        9: ("lpr-server", _addresses),
        10: ("impress-server", _addresses),
        11: ("resource-location-server", _addresses),
        12: ("host-name", _text),
        13: ("boot-size", _u16),
        14: ("merit-dump", _text),
        15: ("domain-name", _text),
        16: ("swap-server", _address),
        17: ("root-path", _text),
        18: ("extensions-path", _text),
        19: ("ip-forwarding", _flag),
        20: ("non-local-source-routing", _flag),
        21: ("policy-filter", _pairs),
        22: ("max-datagram-reassembly", _u16),
        23: ("default-ip-ttl", _u8),
        24: ("path-mtu-aging-timeout", _u32),
        25: ("path-mtu-plateau-table", _u16s),
        26: ("interface-mtu", _u16),
        27: ("all-subnets-local", _flag),
        28: ("broadcast-address", _address),
        29: ("perform-mask-discovery", _flag),
        30: ("mask-supplier", _flag),
        31: ("router-discovery", _flag),
        32: ("router-solicitation-address", _address),
        33: ("static-route", _pairs),
        34: ("trailer-encapsulation", _flag),
        35: ("arp-cache-timeout", _u32),
        36: ("ieee802-3-encapsulation", _flag),
        37: ("default-tcp-ttl", _u8),
        38: ("tcp-keepalive-interval", _u32),
        39: ("tcp-keepalive-garbage", _flag),
        40: ("nis-domain", _text),
        41: ("nis-server", _addresses),
        42: ("ntp-server", _addresses),
        43: ("vendor-encapsulated-options", _hex),
        44: ("netbios-name-server", _addresses),
        45: ("netbios-dd-server", _addresses),
        46: ("netbios-node-type", _u8),
        47: ("netbios-scope", _text),
        48: ("font-server", _addresses),
        49: ("x-display-manager", _addresses),
        56: ("message", _text),
        58: ("renewal-time", _u32),
        59: ("rebinding-time", _u32),
        60: ("vendor-class-identifier", _text),
        62: ("netware-domain", _text),
        63: ("netware-option", _hex),
        64: ("nisplus-domain", _text),
        65: ("nisplus-server", _addresses),
        66: ("tftp-server-name", _text),
        67: ("bootfile-name", _text),
        68: ("mobile-ip-home-agent", _addresses),
        69: ("smtp-server", _addresses),
        70: ("pop3-server", _addresses),
        71: ("nntp-server", _addresses),
        72: ("www-server", _addresses),
        73: ("finger-server", _addresses),
        74: ("irc-server", _addresses),
        75: ("streettalk-server", _addresses),
        76: ("stda-server", _addresses),
        77: ("user-class", _text),
        78: ("slp-directory-agent", _hex),
        79: ("slp-service-scope", _hex),
        81: ("fqdn", _hex),
        85: ("nds-server", _addresses),
        86: ("nds-tree-name", _text),
        87: ("nds-context", _text),
        93: ("client-architecture", _u16s),
        94: ("client-interface", _hex),
        97: ("client-machine-id", _hex),
        98: ("user-authentication", _text),
        100: ("posix-timezone", _text),
        101: ("tzdb-timezone", _text),
        108: ("ipv6-only-preferred", _u32),
        114: ("captive-portal", _text),
        116: ("auto-configure", _flag),
        117: ("name-service-search", _u16s),
        118: ("subnet-selection", _address),
        119: ("domain-search", _domains),
        120: ("sip-server", _hex),
        121: ("classless-static-route", _routes),
        124: ("vivco", _hex),
        125: ("vivso", _hex),
        128: ("tftp-server", _guess),
        138: ("capwap-controller", _addresses),
        150: ("tftp-server-address", _addresses),
        175: ("ipxe-encapsulated-options", _hex),
        208: ("pxelinux-magic", _hex),
        209: ("pxelinux-config-file", _text),
        210: ("pxelinux-path-prefix", _text),
        211: ("pxelinux-reboot-time", _u32),
        249: ("microsoft-classless-static-route", _routes),
        252: ("proxy-autodiscovery", _text),
    }
)
_CODES = {name: code for code, (name, _) in TABLE.items()}
# other names in wide use
_CODES |= {
    "netmask": 1,
    "routers": 3,
    "gateway": 3,
    "dns-server": 6,
    "domain-name-servers": 6,
    "hostname": 12,
    "broadcast": 28,
    "mtu": 26,
    "ntp-servers": 42,
    "vendor-class": 60,
    "lease-time": 51,
    "bootfile": 67,
    "tftp-server-ip": 150,
}


def name(code: int) -> str:
    """Name an option; one that the table lacks goes by its number."""
    return TABLE[code][0] if code in TABLE else str(code)


def parse_option(key: str, text: str) -> tuple[int, bytes]:
    """Read an option from its name or number and its value as text.

    Raises ValueError with a message for people.
    """
    if re.fullmatch(r"[0-9]{1,3}", key):
        code = int(key)
        if not 1 <= code <= 254:
            raise ValueError(f"option numbers go from 1 to 254, not {key}")
    else:
        found = _CODES.get(key.lower().replace("_", "-"))
        if found is None:
            meant = did_you_mean(key.replace("_", "-"), _CODES)
            hint = f" (did you mean {meant}?)" if meant else ""
            raise ValueError(f"{key!r} is no DHCP option{hint}")
        code = found
    if code in OWN:
        raise ValueError(f"can't be set here: {OWN[code]}")
    read = TABLE[code][1] if code in TABLE else _guess
    return code, read(text.strip())
