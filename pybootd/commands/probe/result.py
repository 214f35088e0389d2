"""What a probe found: the servers' answers, the boot file, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from pybootd.commands.display import CommandError
from pybootd.core.finding import Finding, Grade
from pybootd.dhcp4.wire import options, packet, pxe
from pybootd.dhcp4.wire.packet import Packet

_FILE_NAME_HERE = 8  # PXE 2.1, table 2-1: bit 3 of item 6: a file name is here, fetch it
_DISCOVERY_CONTROL, _BOOT_SERVERS = 6, 8


class ProbeCode(StrEnum):
    """The kind of what a probe found."""

    INTERFACE = "interface"
    PORT_RIGHT = "port-no-right"
    PORT_TAKEN = "port-taken"
    NOT_SENT = "not-sent"
    NO_ANSWER = "no-answer"
    NO_ADDRESS = "no-address"
    SEVERAL_SERVERS = "several-servers"
    BOOT_SERVER_UNASKED = "boot-server-unasked"
    BOOT_SERVER_SILENT = "boot-server-silent"
    NO_BOOT_FILE = "no-boot-file"
    NOT_A_URL = "not-a-url"
    HTTP_CLASS = "http-class"
    URL_FOR_PXE = "url-for-pxe"
    BIOS_FIELDS = "bios-fields"
    FILE_FIELD = "file-field"
    FETCH = "boot-file-not-fetched"
    UNTRIED = "boot-file-untried"
    EMPTY_FILE = "boot-file-empty"
    ARCHITECTURE = "boot-file-architecture"
    CONTENT = "boot-file-content"
    IPXE_LOOP = "ipxe-loop"
    FILE_NAME = "boot-file-name"
    NO_SERVER_ID = "no-server-id"
    NO_LEASE_TIME = "no-lease-time"
    NETMASK = "netmask"
    ROUTER = "router"
    OFFERED_ADDRESS = "offered-address"
    FILE_SERVER_FAR = "file-server-unreachable"
    FILE_SERVER_NAME = "file-server-name"
    TWO_FILE_SERVERS = "two-file-servers"
    TWO_BOOT_FILES = "two-boot-files"
    UNICAST_ANSWER = "unicast-answer"
    DNS = "no-name-server"
    HTTP_SIZE = "http-size"


class ProbeError(CommandError):
    """The network can't be asked from here."""


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """One server's answer: ``sender`` and ``port`` it came from, ``after`` so many seconds."""

    sender: IPv4Address
    port: int
    after: float
    packet: Packet
    unicast: bool = False
    """It was sent to the offered address, which the client does not have yet."""

    @property
    def address(self) -> IPv4Address | None:
        """The address that is offered."""
        return None if self.packet.yiaddr == packet.NOBODY else self.packet.yiaddr

    @property
    def server(self) -> IPv4Address:
        """The server, as it calls itself."""
        named = self.packet.options.get(options.SERVER_ID, b"")
        return IPv4Address(named) if len(named) == 4 else self.sender

    @property
    def file(self) -> str:
        """The boot file that it names, in the field or in option 67."""
        return decode_text(self.packet.file) or self.read_text_option(options.BOOT_FILE)

    @property
    def file_server(self) -> str:
        """Where the file is to be fetched from: siaddr, else option 66, else the server itself."""
        if self.packet.siaddr != packet.NOBODY:
            return str(self.packet.siaddr)
        return self.read_text_option(options.TFTP_SERVER) or str(self.server)

    @property
    def vendor_class(self) -> str:
        """Option 60: for which clients it is meant."""
        return self.read_text_option(options.CLASS)

    @property
    def is_for_boot_clients(self) -> bool:
        """Tell whether it is meant for boot clients: option 60 says so."""
        return self.vendor_class.startswith(("PXEClient", "HTTPClient"))

    @property
    def asks_again(self) -> bool:
        """Tell whether UEFI firmware asks the server's port 4011 before it fetches anything."""
        if not self.vendor_class.startswith("PXEClient"):
            return False
        items = pxe.parse_vendor(self.packet.options.get(options.VENDOR, b""))
        control = items.get(_DISCOVERY_CONTROL, b"") or b"\0"
        return not self.file or not control[0] & _FILE_NAME_HERE

    @property
    def boot_servers(self) -> list[IPv4Address]:
        """Who is to be asked on port 4011: the servers of item 8 (PXE 2.1), else itself."""
        items = pxe.parse_vendor(self.packet.options.get(options.VENDOR, b""))
        listed, found = items.get(_BOOT_SERVERS, b""), []
        while len(listed) >= 7:  # type, count, addresses
            end = 3 + 4 * listed[2]
            found += [
                IPv4Address(listed[at : at + 4])
                for at in range(3, end, 4)[: len(listed) // 4]
                if len(listed) >= at + 4
            ]
            listed = listed[max(end, 7) :]
        usable = [one for one in found if _is_host(one)]
        return usable[:4] or ([self.server] if _is_host(self.server) else [])

    @property
    def network(self) -> IPv4Network | None:
        """The network that the client would be in; None: no address, or no mask that is one."""
        mask = self.packet.options.get(options.MASK, b"")
        if self.address is None or len(mask) != 4:
            return None
        try:
            return IPv4Network(f"{self.address}/{IPv4Address(mask)}", strict=False)
        except ValueError:
            return None

    @property
    def routers(self) -> list[IPv4Address]:
        """The routers that it names."""
        value = self.packet.options.get(options.ROUTER, b"")
        return [IPv4Address(value[at : at + 4]) for at in range(0, len(value) - 3, 4)]

    def read_text_option(self, code: int) -> str:
        """Read an option that is text."""
        return decode_text(self.packet.options.get(code, b""))


@dataclass(slots=True)
class ProbeResult:
    """What was found: the answers, the boot file, and what is wrong with either."""

    architecture: int
    answers: list[ServerAnswer] = field(default_factory=list)
    chosen: ServerAnswer | None = None
    fetched: int | None = None
    seconds: float = 0.0
    program: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def would_boot(self) -> bool:
        """Tell whether nothing was found that keeps the machine from booting."""
        return all(one.grade is not Grade.FAULT for one in self.findings)

    def add_fault(self, code: ProbeCode, problem: str, advice: str = "") -> None:
        """Note what keeps the machine from booting."""
        self.findings.append(Finding(Grade.FAULT, problem, advice, code))

    def add_warning(self, code: ProbeCode, problem: str, advice: str = "") -> None:
        """Note what may keep a machine from booting."""
        self.findings.append(Finding(Grade.WARNING, problem, advice, code))


def _is_host(address: IPv4Address) -> bool:
    return not (address.is_multicast or address.is_unspecified or address.is_reserved)


def decode_text(value: bytes) -> str:
    """Read text as firmware does: up to the first NUL."""
    return value.partition(b"\0")[0].decode("utf-8", "replace")
