"""Who is asking: MAC, UUID, architecture, classes, and what we know of a client by its address."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

K = TypeVar("K", bound=Hashable)

# Option 93, client system architecture: RFC 4578 2.1 and IANA "Processor Architecture Types".
# 7 and 9 are swapped in RFC 4578 (erratum 4624): real x64 firmware sends 7.
ARCHITECTURES = MappingProxyType(
    {
        0: "bios",
        1: "pc98",
        2: "efi-itanium",
        3: "dec-alpha",
        4: "arc-x86",
        5: "intel-lean",
        6: "efi-ia32",
        7: "efi-x86_64",
        8: "efi-xscale",
        9: "efi-ebc",
        10: "efi-arm32",
        11: "efi-arm64",
        12: "powerpc",
        13: "powerpc-epapr",
        14: "opal",
        15: "http-efi-ia32",
        16: "http-efi-x86_64",
        17: "http-efi-ebc",
        18: "http-efi-arm32",
        19: "http-efi-arm64",
        20: "http-bios",
        21: "uboot-arm32",
        22: "uboot-arm64",
        23: "http-uboot-arm32",
        24: "http-uboot-arm64",
        25: "efi-riscv32",
        26: "http-efi-riscv32",
        27: "efi-riscv64",
        28: "http-efi-riscv64",
        29: "efi-riscv128",
        30: "http-efi-riscv128",
        31: "s390",
        32: "s390-extended",
        33: "efi-mips32",
        34: "efi-mips64",
        35: "efi-sunway32",
        36: "efi-sunway64",
        37: "efi-loongarch32",
        38: "http-efi-loongarch32",
        39: "efi-loongarch64",
        40: "http-efi-loongarch64",
        41: "rpiboot",
    }
)
ARCHITECTURE_CODES = MappingProxyType({name: code for code, name in ARCHITECTURES.items()})


def architecture_name(code: int) -> str:
    """Name an architecture; one that the table lacks goes by its five digits (``00224``)."""
    return ARCHITECTURES.get(code, f"{code:05d}")


def parse_architecture(text: str) -> int:
    """Read an architecture from its name or its number (five digits, or fewer).

    Raises ValueError with a message for people.
    """
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= 0xFFFF:
        return int(text)
    try:
        return ARCHITECTURE_CODES[text.lower()]
    except KeyError:
        problem = f"{text!r} is no architecture: five digits or a name, such as bios or efi-x86_64"
        raise ValueError(problem) from None


def format_mac(mac: bytes, separator: str = ":") -> str:
    """Write a hardware address in upper-case hexadecimal pairs; no octets: ``-``."""
    return mac.hex(separator).upper() if mac else "-"


def parse_mac(text: str) -> bytes:
    """Read ``AA-BB-CC-DD-EE-FF`` or ``aa:bb:cc:dd:ee:ff``; raises ValueError."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}([-:][0-9A-Fa-f]{2}){5}", text):
        raise ValueError(f"{text!r} is no MAC address: write AA-BB-CC-DD-EE-FF")
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


@dataclass(frozen=True, slots=True)
class Client:
    """One client as its own request describes it (RFC 2131, RFC 4578).

    ``mac`` is chaddr cut to hlen; ``network_boot`` says that the request carries PXE or HTTP Boot
    information; ``plain_bootp`` that it had no option 53; ``relay`` is giaddr if set; ``address``
    the address that it has or had, if known; ``circuit_id`` says which port of
    the relay it is at (RFC 3046), as text, or in hexadecimal where it is none.
    """

    mac: bytes
    uuid: UUID | None = None
    client_id: bytes | None = None
    architecture: int | None = None
    vendor_class: str = ""
    user_class: str = ""
    hostname: str = ""
    network_boot: bool = False
    ipxe: bool = False
    plain_bootp: bool = False
    relay: IPv4Address | None = None
    interface: str = ""
    address: IPv4Address | None = None
    circuit_id: str = ""

    @property
    def name(self) -> str:
        """The MAC as log lines write it: lower case, colons."""
        return self.mac.hex(":") or "-"


@dataclass(slots=True)
class Known:
    """What we know of a client at an address, across its requests and protocols.

    ``booted``: it network-booted from us, so the system that follows is served as well.
    ``file``: the boot file that an authorization server named. ``variables``: for filters.
    """

    client: Client
    address: IPv4Address | None = None
    booted: bool = False
    uuid: UUID | None = None
    hostname: str = ""
    file: str = ""
    boot_file: str = ""
    server: IPv4Address | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def is_pi(self) -> bool:
        """Tell whether it is a Raspberry Pi: by its MAC, or its UUID (``RPi4``, ``RPi5``)."""
        if self.uuid is not None and self.uuid.bytes_le.startswith(b"RPi"):
            return True
        return any(prefix.holds(self.client.mac) for prefix in PI_MACS)


class Strangers(Generic[K]):
    """Who has no address yet, the longest unheard first.

    When they are more than half of the ``limit`` that may be remembered they are forgotten before
    anybody else: a flood of ever new MACs makes no machine with an address forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: dict[K, None] = {}

    def add(self, name: K) -> None:
        """Note somebody who is new."""
        self._names[name] = None

    def heard(self, name: K) -> None:
        """Note that a stranger was heard of again; anybody else is left alone."""
        if name in self._names:
            del self._names[name]
            self._names[name] = None

    def discard(self, name: K) -> None:
        """Forget a name: it has an address now, or is gone."""
        self._names.pop(name, None)

    def first_to_go(self, everybody: Iterable[K]) -> K:
        """Name who is to be forgotten; ``everybody`` is those remembered, longest unheard first."""
        flooded = len(self._names) > self._limit // 2
        return next(iter(self._names if flooded else everybody))


class Clients:
    """What is known of clients, found by MAC or by address; the longest unseen go first.

    ``limit`` bounds how many are kept, so that a flood of made-up MACs costs bounded memory.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._by_mac: OrderedDict[bytes, Known] = OrderedDict()
        self._strangers: Strangers[bytes] = Strangers(limit)
        self._by_address: dict[IPv4Address, Known] = {}

    def __len__(self) -> int:
        return len(self._by_mac)

    def by_mac(self, mac: bytes) -> Known | None:
        """Return what is known of the client with this MAC."""
        return self._by_mac.get(mac)

    def by_address(self, address: IPv4Address) -> Known | None:
        """Return what is known of the client at this address."""
        return self._by_address.get(address)

    def seen(self, client: Client) -> Known:
        """Note a request of the client and return what is known of it."""
        known = self._by_mac.get(client.mac)
        if known is None:
            known = self._by_mac[client.mac] = Known(client)
            self._strangers.add(client.mac)
            if len(self._by_mac) > self._limit:
                mac = self._strangers.first_to_go(self._by_mac)
                self._strangers.discard(mac)
                self._forget(self._by_mac.pop(mac))
        else:
            self._by_mac.move_to_end(client.mac)
            self._strangers.heard(client.mac)
            known.client = client
        # the UUID comes with PXE requests alone; the system's plain DHCP request lacks it
        known.uuid = client.uuid or known.uuid
        return known

    def place(self, known: Known, address: IPv4Address | None) -> None:
        """Note that the client is at this address, and no other client is."""
        if known.address == address:
            return
        self._forget(known)
        if address is not None:
            earlier = self._by_address.get(address)
            if earlier is not None:
                earlier.address = None
            self._by_address[address] = known
            self._strangers.discard(known.client.mac)
        known.address = address

    def _forget(self, known: Known) -> None:
        if known.address is not None and self._by_address.get(known.address) is known:
            del self._by_address[known.address]
