"""Ask a network as a boot client's firmware would, and judge what came.

Nothing is taken: servers are asked for offers (and, as proxies want it, on port 4011), no address
is requested.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from urllib.parse import urlsplit
from uuid import UUID

from pybootd.core.architecture import architecture_name
from pybootd.dhcp4.wire import options, packet, pxe
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.lab.firmware import BootError, Firmware
from pybootd.observe.boots.roles import bios_only, examine
from pybootd.system import interfaces

_BOOTPS, _BOOTPC, _PXE = 67, 68, 4011
_MOST = 512 << 20  # octets of a boot file that are fetched
_HTTP = frozenset((15, 16, 17, 18, 19, 20, 23, 24, 26, 28, 30, 38, 40))  # option 93: by HTTP


class ProbeError(Exception):
    """The network can't be asked from here; the text says why and what to do."""


class _Here:
    """Stand for this host, where the software client would have one of a private network."""

    @staticmethod
    def inside() -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """One server's answer: ``sender`` and ``port`` it came from, ``after`` so many seconds."""

    sender: IPv4Address
    port: int
    after: float
    packet: Packet

    @property
    def address(self) -> IPv4Address | None:
        """The address that is offered."""
        return None if self.packet.yiaddr == packet.NOBODY else self.packet.yiaddr

    @property
    def server(self) -> IPv4Address:
        """Who answers, as it calls itself."""
        named = self.packet.options.get(options.SERVER_ID, b"")
        return IPv4Address(named) if len(named) == 4 else self.sender

    @property
    def file(self) -> str:
        """The boot file that it names, in the field or in option 67."""
        return _text(self.packet.file) or self.option(options.BOOT_FILE)

    @property
    def file_server(self) -> str:
        """Where the file is to be fetched from: siaddr, else option 66, else the server itself."""
        if self.packet.siaddr != packet.NOBODY:
            return str(self.packet.siaddr)
        return self.option(options.TFTP_SERVER) or str(self.server)

    @property
    def boots(self) -> bool:
        """Tell whether it is meant for boot clients: option 60 says so."""
        return self.option(options.CLASS).startswith(("PXEClient", "HTTPClient"))

    @property
    def asks_again(self) -> bool:
        """Tell whether firmware asks the server's port 4011 before it fetches anything."""
        if not self.option(options.CLASS).startswith("PXEClient"):
            return False
        items = pxe.parse_vendor(self.packet.options.get(options.VENDOR, b""))
        # PXE 2.1, table 2-1: bit 3 of item 6: a file name is here, fetch it
        return not self.file or not items.get(6, b"\0")[0] & 8

    def option(self, code: int) -> str:
        """Read an option that is text."""
        return _text(self.packet.options.get(code, b""))


@dataclass(slots=True)
class Result:
    """What asking came to. ``problems`` keep the machine from booting, ``remarks`` don't."""

    architecture: int
    answers: list[ServerAnswer] = field(default_factory=list)
    chosen: ServerAnswer | None = None
    fetched: int | None = None
    seconds: float = 0.0
    program: str = ""
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Prober(Firmware):
    """Firmware of any architecture, on an interface of this host, that takes no address."""

    def __init__(
        self, interface: interfaces.Interface, mac: bytes, uuid: UUID, architecture: int
    ) -> None:
        super().__init__(_Here(), interface.name, mac.hex(":"), uuid)  # type: ignore[arg-type]
        self.ARCHITECTURE = architecture
        name = "HTTPClient" if architecture in _HTTP else "PXEClient"
        undi = "002001" if architecture == 0 else "003000"
        self.VENDOR_CLASS = f"{name}:Arch:{architecture:05d}:UNDI:{undi}".encode()
        self.link = interface
        self.ipxe = False

    def _message(self, kind: MessageType, xid: int) -> Packet:
        made = super()._message(kind, xid)
        if self.ipxe:
            made.options[options.USER_CLASS] = b"iPXE"
        return made

    def discover(self, patience: float) -> list[ServerAnswer]:
        """Broadcast a DISCOVER and collect every offer, ``patience`` seconds. Raises ProbeError."""
        xid = random.getrandbits(32)
        with self._broadcaster() as sock:
            _send(sock, self._message(MessageType.DISCOVER, xid), "255.255.255.255", _BOOTPS)
            return list(_answers(sock, xid, self.mac, patience))

    def ask_boot_server(self, server: IPv4Address, patience: float) -> ServerAnswer | None:
        """Ask port 4011 for the boot file; needs an address on the interface."""
        own = self.link.address_towards(server)
        if own is None:
            return None
        xid = random.getrandbits(32)
        message = self._message(MessageType.REQUEST, xid)
        message.ciaddr, message.flags = own, 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(own), 0))
            _send(sock, message, str(server), _PXE)
            return next(_answers(sock, xid, self.mac, patience), None)

    @contextlib.contextmanager
    def _broadcaster(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode())
                sock.bind(("", _BOOTPC))
            except PermissionError:
                raise ProbeError("no right to use UDP port 68: start as root") from None
            except OSError as error:
                why = f"UDP port 68 on {self.interface} can't be used: {error.strerror}"
                raise ProbeError(f"{why}: stop this host's DHCP client meanwhile") from error
            yield sock


def _send(sock: socket.socket, message: Packet, address: str, port: int) -> None:
    try:
        sock.sendto(packet.encode(message), (address, port))
    except OSError as error:
        raise ProbeError(f"nothing can be sent to {address}: {error.strerror}") from error


def _answers(sock: socket.socket, xid: int, mac: bytes, patience: float) -> Iterator[ServerAnswer]:
    began = time.monotonic()
    while (left := began + patience - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data, (sender, port) = sock.recvfrom(4096)
            came = packet.decode(data)
        except (OSError, packet.DhcpPacketError):
            continue
        if came.op == packet.BOOTREPLY and came.xid == xid and came.chaddr == mac:
            yield ServerAnswer(IPv4Address(sender), port, time.monotonic() - began, came)


def probe(prober: Prober, patience: float, *, fetch: bool = True) -> Result:
    """Ask, choose as firmware does, fetch the file, and judge. Raises ProbeError."""
    result = Result(prober.ARCHITECTURE)
    result.answers = prober.discover(patience)
    _look_at_servers(result)
    result.chosen = _choose(prober, result, patience)
    if result.chosen is not None:
        _check_form(prober, result, result.chosen)
        if fetch and not result.problems:
            _fetch(prober, result, result.chosen)
    return result


def _look_at_servers(result: Result) -> None:
    givers = {answer.server for answer in result.answers if answer.address}
    if not result.answers:
        result.problems.append(
            "No server answered: none is here, none knows this machine, or a firewall is between."
        )
    elif not givers:
        result.problems.append(
            "No server offers an address: only boot files are offered. A DHCP server is missing."
        )
    elif len(givers) > 1:
        listed = ", ".join(map(str, sorted(givers)))
        result.remarks.append(
            f"{len(givers)} servers offer addresses ({listed}): which one a machine takes is luck."
        )


def _choose(prober: Prober, result: Result, patience: float) -> ServerAnswer | None:
    """Find the answer that tells the boot file, asking port 4011 where that is the next step."""
    ranked = sorted(result.answers, key=lambda one: (not one.boots, one.address is None))
    for answer in ranked:
        if answer.asks_again:
            again = prober.ask_boot_server(answer.server, patience)
            if again is not None:
                result.answers.append(again)
                if again.file:
                    return again
            elif not prober.link.addresses:
                result.remarks.append(
                    f"{prober.interface} has no address, so port 4011 of {answer.server} was not"
                    " asked."
                )
            elif not answer.file:
                result.problems.append(
                    f"{answer.server} wants to be asked on port 4011, and does not answer there."
                )
        if answer.file:
            return answer
    if result.answers and not result.problems:
        name = architecture_name(result.architecture)
        result.problems.append(
            f"No server names a boot file for {name}. With pybootd: [bootfile] {name} = FILE"
        )
    return None


def _check_form(prober: Prober, result: Result, answer: ServerAnswer) -> None:
    """Say what firmware makes of the form in which the file is named."""
    sent, bios = answer.packet, prober.ARCHITECTURE == 0
    if prober.ARCHITECTURE in _HTTP:
        if "://" not in answer.file:
            result.problems.append(f"HTTP Boot wants a URL, not {answer.file!r}.")
        if not answer.option(options.CLASS).startswith("HTTPClient"):
            result.problems.append("HTTP Boot takes only offers with option 60 = HTTPClient.")
    elif "://" in answer.file and not prober.ipxe:
        result.problems.append(f"Only iPXE and HTTP Boot fetch a URL, not PXE: {answer.file}")
    elif bios and (sent.siaddr == packet.NOBODY or not sent.file):
        result.problems.append(
            "siaddr and the file field are not both set: iPXE's and many other ROMs boot nothing."
        )
    elif not sent.file:
        result.remarks.append("The file field is empty: shim loses the directory of its loader.")


def _fetch(prober: Prober, result: Result, answer: ServerAnswer) -> None:
    began = time.monotonic()
    try:
        if "://" in answer.file:
            content = _fetch_url(answer.file)
        else:
            server = _resolve(answer.file_server)
            content = prober.fetch(server, answer.file, blksize=1468, tsize=0)
    except (BootError, OSError, http.client.HTTPException) as error:
        text = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) == errno.ENETUNREACH and not prober.link.addresses:
            text = (
                f"{prober.interface} has no address to fetch it with: give it one of that network,"
                " or leave the file out (--no-fetch)"
            )
        result.problems.append(f"The boot file can't be fetched: {text}")
        return
    result.fetched, result.seconds = len(content), time.monotonic() - began
    if not content:
        result.problems.append("The boot file is empty.")
        return
    runs = architecture_name(prober.ARCHITECTURE)
    program = examine(content[:1024])
    result.program = program.text if program else ""
    if program is not None and prober.ARCHITECTURE not in program.architectures:
        result.problems.append(f"{answer.file} is {program.text}; this machine is {runs}.")
    elif program is None and bios_only(answer.file) and "efi" in runs:
        result.problems.append(f"{answer.file} looks like a BIOS program; this machine is {runs}.")


def _resolve(server: str) -> IPv4Address:
    return IPv4Address(socket.getaddrinfo(server, None, socket.AF_INET)[0][4][0])


def _fetch_url(url: str) -> bytes:
    """Fetch by plain HTTP; raises BootError, OSError, HTTPException."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BootError(f"{url}: only http:// is tried here")
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=10)
    with contextlib.closing(connection):
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target)
        answer = connection.getresponse()
        if answer.status != 200:
            raise BootError(f"{url}: {answer.status} {answer.reason}")
        return answer.read(_MOST)


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("utf-8", "replace")
