"""The option table: code, name and type (RFC 2132 and the IANA list)."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any

from pybootd.core.text import did_you_mean, make_printable
from pybootd.dhcp4.wire.option_structures import DomainListType, RouteListType, SubOptionsType
from pybootd.dhcp4.wire.option_types import (
    ADDRESSES,
    HEX,
    TEXT,
    AddressListType,
    AddressType,
    FlagType,
    IntegerListType,
    IntegerType,
    OptionType,
    UnknownType,
)
from pybootd.dhcp4.wire.packet import MessageType

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


_ADDRESS, _PAIRS, _FLAG = AddressType(), AddressListType(2), FlagType()
_U8, _U16, _U32 = IntegerType(1), IntegerType(2), IntegerType(4)
_I32, _SECONDS = IntegerType(4, signed=True), IntegerType(4, unit="s")
_U16S, _DOMAINS, _ROUTES, _UNKNOWN = (
    IntegerListType(2),
    DomainListType(),
    RouteListType(),
    UnknownType(),
)
_KIND = IntegerType(1, names={kind.value: kind.name for kind in MessageType})

TABLE: MappingProxyType[int, tuple[str, OptionType[Any]]] = MappingProxyType(
    {
        1: ("subnet-mask", _ADDRESS),
        2: ("time-offset", _I32),
        3: ("router", ADDRESSES),
        4: ("time-server", ADDRESSES),
        5: ("name-server", ADDRESSES),
        6: ("domain-name-server", ADDRESSES),
        7: ("log-server", ADDRESSES),
        8: ("cookie-server", ADDRESSES),
        9: ("lpr-server", ADDRESSES),
        10: ("impress-server", ADDRESSES),
        11: ("resource-location-server", ADDRESSES),
        12: ("host-name", TEXT),
        13: ("boot-size", _U16),
        14: ("merit-dump", TEXT),
        15: ("domain-name", TEXT),
        16: ("swap-server", _ADDRESS),
        17: ("root-path", TEXT),
        18: ("extensions-path", TEXT),
        19: ("ip-forwarding", _FLAG),
        20: ("non-local-source-routing", _FLAG),
        21: ("policy-filter", _PAIRS),
        22: ("max-datagram-reassembly", _U16),
        23: ("default-ip-ttl", _U8),
        24: ("path-mtu-aging-timeout", _U32),
        25: ("path-mtu-plateau-table", _U16S),
        26: ("interface-mtu", _U16),
        27: ("all-subnets-local", _FLAG),
        28: ("broadcast-address", _ADDRESS),
        29: ("perform-mask-discovery", _FLAG),
        30: ("mask-supplier", _FLAG),
        31: ("router-discovery", _FLAG),
        32: ("router-solicitation-address", _ADDRESS),
        33: ("static-route", _PAIRS),
        34: ("trailer-encapsulation", _FLAG),
        35: ("arp-cache-timeout", _U32),
        36: ("ieee802-3-encapsulation", _FLAG),
        37: ("default-tcp-ttl", _U8),
        38: ("tcp-keepalive-interval", _U32),
        39: ("tcp-keepalive-garbage", _FLAG),
        40: ("nis-domain", TEXT),
        41: ("nis-server", ADDRESSES),
        42: ("ntp-server", ADDRESSES),
        43: ("vendor-encapsulated-options", HEX),
        44: ("netbios-name-server", ADDRESSES),
        45: ("netbios-dd-server", ADDRESSES),
        46: ("netbios-node-type", _U8),
        47: ("netbios-scope", TEXT),
        48: ("font-server", ADDRESSES),
        49: ("x-display-manager", ADDRESSES),
        50: ("requested-address", _ADDRESS),
        51: ("lease-time", _SECONDS),
        52: ("overload", _U8),
        53: ("message-type", _KIND),
        54: ("server-identifier", _ADDRESS),
        55: ("parameter-list", IntegerListType(1)),
        56: ("message", TEXT),
        57: ("maximum-message-size", _U16),
        58: ("renewal-time", _SECONDS),
        59: ("rebinding-time", _SECONDS),
        60: ("vendor-class-identifier", TEXT),
        61: ("client-identifier", HEX),
        62: ("netware-domain", TEXT),
        63: ("netware-option", HEX),
        64: ("nisplus-domain", TEXT),
        65: ("nisplus-server", ADDRESSES),
        66: ("tftp-server-name", TEXT),
        67: ("bootfile-name", TEXT),
        68: ("mobile-ip-home-agent", ADDRESSES),
        69: ("smtp-server", ADDRESSES),
        70: ("pop3-server", ADDRESSES),
        71: ("nntp-server", ADDRESSES),
        72: ("www-server", ADDRESSES),
        73: ("finger-server", ADDRESSES),
        74: ("irc-server", ADDRESSES),
        75: ("streettalk-server", ADDRESSES),
        76: ("stda-server", ADDRESSES),
        77: ("user-class", TEXT),
        78: ("slp-directory-agent", HEX),
        79: ("slp-service-scope", HEX),
        81: ("fqdn", HEX),
        82: ("relay-agent-information", SubOptionsType()),
        85: ("nds-server", ADDRESSES),
        86: ("nds-tree-name", TEXT),
        87: ("nds-context", TEXT),
        93: ("client-architecture", _U16S),
        94: ("client-interface", HEX),
        97: ("client-machine-id", HEX),
        98: ("user-authentication", TEXT),
        100: ("posix-timezone", TEXT),
        101: ("tzdb-timezone", TEXT),
        108: ("ipv6-only-preferred", _U32),
        114: ("captive-portal", TEXT),
        116: ("auto-configure", _FLAG),
        117: ("name-service-search", _U16S),
        118: ("subnet-selection", _ADDRESS),
        119: ("domain-search", _DOMAINS),
        120: ("sip-server", HEX),
        121: ("classless-static-route", _ROUTES),
        124: ("vivco", HEX),
        125: ("vivso", HEX),
        128: ("tftp-server", _UNKNOWN),
        138: ("capwap-controller", ADDRESSES),
        150: ("tftp-server-address", ADDRESSES),
        175: ("ipxe-encapsulated-options", HEX),
        208: ("pxelinux-magic", HEX),
        209: ("pxelinux-config-file", TEXT),
        210: ("pxelinux-path-prefix", TEXT),
        211: ("pxelinux-reboot-time", _U32),
        249: ("microsoft-classless-static-route", _ROUTES),
        252: ("proxy-autodiscovery", TEXT),
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
    "bootfile": 67,
    "tftp-server-ip": 150,
}


def option_name(code: int) -> str:
    """Name an option; one that the table lacks goes by its number."""
    return TABLE[code][0] if code in TABLE else str(code)


def option_type(code: int) -> OptionType[Any]:
    """Return the type of an option's value; what the table lacks is octets."""
    return TABLE[code][1] if code in TABLE else _UNKNOWN


def format_value(code: int, octets: bytes) -> str:
    """Write an option's value for people; what is no value of its type as hexadecimal digits."""
    kind = option_type(code)
    try:
        text = kind.to_text(kind.from_wire(octets.rstrip(b"\0") if kind is TEXT else octets))
    except ValueError:
        text = octets.hex(":")
    return make_printable(text)


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
    kind = option_type(code)
    return code, kind.to_wire(kind.from_text(text.strip()))
