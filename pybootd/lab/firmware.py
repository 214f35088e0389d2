"""A network boot client in software: it speaks DHCP and TFTP as firmware does (see ``Firmware``).

It knows only what the server tells it, so it boots only what is really served.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from uuid import UUID

from pybootd.dhcp4.wire import options, packet
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.lab.network import Host
from pybootd.tftp.wire import packet as tftp

Progress = Callable[[int, int | None], None]

_BOOTPS, _BOOTPC, _TFTP = 67, 68, 69
MAX_FILE_OCTETS = 512 << 20
MAX_FETCH_S = 300.0
_LIMIT = 1472  # the longest DHCP message that firmware takes, octets
_ASKED = bytes((1, 3, 6, 12, 15, 28, 43, 54, 60, 66, 67, 97))
_UNDI = bytes.fromhex("010300")


class BootError(Exception):
    """The boot ended too early; the text says where and why."""


class FileNotServed(BootError):
    """The server doesn't have the file (TFTP ERROR 1)."""


class ServerSilent(BootError):
    """The server does not answer, or no longer; ``strangers``: who answered in its place."""

    def __init__(self, text: str, strangers: Collection[str] = ()) -> None:
        super().__init__(text)
        self.strangers = sorted(strangers)


@dataclass(frozen=True, slots=True)
class ClientLease:
    """What the server told the client in its DHCPACK."""

    address: IPv4Address
    network: IPv4Network
    server: IPv4Address
    tftp_server: IPv4Address
    boot_file: str
    offered_after: float
    confirmed_after: float


class Firmware:
    """An x86-64 UEFI PC's firmware, as OVMF speaks; on one interface of a host.

    ``patience`` is how long an answer is waited for before the request is repeated, seconds.
    """

    ARCHITECTURE = 7
    VENDOR_CLASS = b"PXEClient:Arch:00007:UNDI:003000"

    def __init__(
        self, host: Host, interface: str, mac: str, uuid: UUID, patience: float = 2.0
    ) -> None:
        self.host = host
        self.interface = interface
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.uuid = uuid
        self.patience = patience

    def obtain_lease(self) -> ClientLease:
        """Get an address and a boot file by DHCP, and take the address. Raises BootError."""
        began = time.monotonic()
        with self.host.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode())
            sock.bind(("", _BOOTPC))
            xid = random.getrandbits(32)
            offer = self._await_answer(
                sock, self.make_message(MessageType.DISCOVER, xid), MessageType.OFFER
            )
            offered = time.monotonic() - began
            request = self.make_message(MessageType.REQUEST, xid)
            request.options[options.REQUESTED] = offer.yiaddr.packed
            request.options[options.SERVER_ID] = offer.options.get(options.SERVER_ID, b"")
            ack = self._await_answer(sock, request, MessageType.ACK)
        lease = _read_lease(ack, offered, time.monotonic() - began)
        address = f"{lease.address}/{lease.network.prefixlen}"
        self.host.ip("address", "add", address, "dev", self.interface)
        return lease

    def make_message(self, kind: MessageType, xid: int) -> Packet:
        """Make a message as the firmware sends it."""
        return Packet(
            xid=xid,
            flags=packet.BROADCAST_FLAG,
            chaddr=self.mac,
            options={
                options.TYPE: bytes((kind,)),
                options.SIZE: struct.pack(">H", _LIMIT),
                options.WANTED: _ASKED,
                options.UUID: b"\0" + self.uuid.bytes_le,
                94: _UNDI,
                options.ARCHITECTURE: struct.pack(">H", self.ARCHITECTURE),
                options.CLASS: self.VENDOR_CLASS,
            },
        )

    def _await_answer(self, sock: socket.socket, message: Packet, wanted: MessageType) -> Packet:
        """Broadcast a message until the wanted answer comes, four times at most."""
        asked = MessageType(message.options[options.TYPE][0]).name
        for _ in range(4):
            sock.sendto(packet.encode(message), ("255.255.255.255", _BOOTPS))
            deadline = time.monotonic() + self.patience
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(left)
                try:
                    answer = packet.decode(sock.recv(2048))
                except (TimeoutError, packet.DhcpPacketError):
                    continue
                if answer.op != packet.BOOTREPLY or answer.xid != message.xid:
                    continue
                kind = answer.options.get(options.TYPE, b"")
                if kind == bytes((MessageType.NAK,)):
                    raise BootError(f"the server said NAK to our {asked}")
                if kind == bytes((wanted,)):
                    return answer
        raise BootError(f"no {wanted.name} came for four times {asked}")

    def fetch_file(
        self, server: IPv4Address, name: str, progress: Progress | None = None, **wanted: int
    ) -> bytes:
        """Fetch a file by TFTP; ``wanted`` are options to ask for (``blksize``, ``windowsize``...).

        ``progress`` is called with the octets received and those to come in all, if known.
        Raises BootError, FileNotServed.
        """
        with self.host.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.bind(("", 0))
            sock.settimeout(self.patience)
            asked = tuple((option, str(value)) for option, value in wanted.items())
            return FirmwareTransfer(sock, str(server), name, asked, progress).fetch()

    def ask_size(self, server: IPv4Address, name: str, blksize: int) -> int | None:
        """Ask for a file's size and abort, as OVMF does before each download; None: not told.

        Raises BootError, FileNotServed.
        """
        with self.host.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(self.patience)
            asked = (("tsize", "0"), ("blksize", str(blksize)))
            sock.sendto(_encode_request(name, asked), (str(server), _TFTP))
            try:
                data, peer = sock.recvfrom(65536)
            except TimeoutError:
                raise BootError(f"{name}: no answer by TFTP") from None
            answer = _decode_answer(name, data)
            if isinstance(answer, tftp.Error):
                raise _refusal(name, answer)
            sock.sendto(tftp.encode(tftp.Error(8, "User aborted the transfer")), peer)
            return _size(answer.options) if isinstance(answer, tftp.Oack) else None


def _read_lease(ack: Packet, offered: float, confirmed: float) -> ClientLease:
    mask, server = ack.options.get(options.MASK, b""), ack.options.get(options.SERVER_ID, b"")
    if len(mask) != 4 or len(server) != 4:
        raise BootError("the server's ACK holds no netmask, or does not say who it is")
    if not ack.file:
        raise BootError("the server's ACK names no boot file")
    try:
        network = IPv4Network(f"{ack.yiaddr}/{IPv4Address(mask)}", strict=False)
    except ValueError:
        raise BootError(f"the server's ACK holds no netmask, but {IPv4Address(mask)}") from None
    return ClientLease(
        ack.yiaddr,
        network,
        IPv4Address(server),
        ack.siaddr,
        ack.file.decode("utf-8", "replace"),
        offered,
        confirmed,
    )


class FirmwareTransfer:
    """One file on its way (RFC 1350, 2347, 2348, 7440), over a socket with a time limit.

    It is given up after ``patience`` limits without a packet, after ``MAX_FETCH_S``, and when it
    is larger than ``MAX_FILE_OCTETS``.
    """

    def __init__(
        self,
        sock: socket.socket,
        server: str,
        name: str,
        asked: tftp.Options,
        progress: Progress | None,
        patience: int = 5,
    ) -> None:
        self.sock = sock
        self.patience = patience
        self.name = name
        self.progress = progress
        self.peer = (server, _TFTP)
        self.known = False  # the server's transfer port
        self.asked = {option: int(value) for option, value in asked}
        self.last = _encode_request(name, asked)
        self.blksize, self.windowsize = 512, 1
        self.size: int | None = None
        self.got = bytearray()
        self.block = 0  # the last that came in order, as a number of the file
        self.unanswered = 0
        self.complained = False
        self.done = False

    def fetch(self) -> bytes:
        """Fetch the file and return it. Raises BootError, FileNotServed."""
        self.sock.sendto(self.last, self.peer)
        silent = 0
        strangers: set[str] = set()
        deadline = time.monotonic() + MAX_FETCH_S
        while not self.done:
            if time.monotonic() > deadline:
                raise BootError(f"{self.name}: not whole after {MAX_FETCH_S:.0f} s")
            try:
                data, peer = self.sock.recvfrom(65536)
            except TimeoutError:
                silent += 1
                if silent == self.patience:
                    said = f"{self.name}: silence after {len(self.got)} octets"
                    raise ServerSilent(said, strangers) from None
                self.sock.sendto(self.last, self.peer)
                continue
            if peer[0] != self.peer[0] or (self.known and peer != self.peer):
                strangers |= {peer[0]} - {self.peer[0]}
                continue
            self.peer, self.known, silent = peer, True, 0
            self.take_packet(data)
        return bytes(self.got)

    def take_packet(self, data: bytes) -> None:
        """Take one packet of the server."""
        if data[:2] == b"\0\3":
            self.take_block(int.from_bytes(data[2:4]), data[4:])
            return
        answer = _decode_answer(self.name, data)
        if isinstance(answer, tftp.Error):
            raise _refusal(self.name, answer)
        if isinstance(answer, tftp.Oack) and not self.block:
            self.blksize = self._read_granted(answer.options, "blksize", 512)
            self.windowsize = self._read_granted(answer.options, "windowsize", 1)
            self.size = _size(answer.options)
            self.acknowledge_blocks()

    def _read_granted(self, granted: tftp.Options, option: str, default: int) -> int:
        """Read what the server grants, at most what was asked for (RFC 2348, RFC 7440)."""
        value = {name.lower(): text for name, text in granted}.get(option)
        if value is None:
            return default
        most = self.asked.get(option, 0)
        number = int(value) if re.fullmatch("[0-9]{1,5}", value) else 0
        if not (8 if option == "blksize" else 1) <= number <= most:
            raise BootError(f"{self.name}: {option} of {most} asked for, {value} granted")
        return number

    def take_block(self, number: int, payload: bytes) -> None:
        """Take a block if it is the next one; a gap is answered once, by what came before it."""
        ahead = (number - self.block - 1) & 0xFFFF
        if ahead:
            if ahead < 0x8000 and not self.complained:
                self.acknowledge_blocks()
                self.complained = True
            elif ahead == 0xFFFF and not self.unanswered:  # the last, again: its ACK got lost
                self.acknowledge_blocks()
            return
        self.complained = False
        if len(payload) > self.blksize or len(self.got) + len(payload) > MAX_FILE_OCTETS:
            raise BootError(f"{self.name}: a block of {len(payload)} octets, or a file without end")
        self.block += 1
        self.got += payload
        self.unanswered += 1
        self.done = len(payload) < self.blksize
        if self.done or self.unanswered == self.windowsize:
            self.acknowledge_blocks()

    def acknowledge_blocks(self) -> None:
        """Say what has come, and let the progress be seen."""
        self.unanswered = 0
        self.last = tftp.encode(tftp.Ack(self.block & 0xFFFF))
        self.sock.sendto(self.last, self.peer)
        if self.progress is not None:
            self.progress(len(self.got), self.size)


def _encode_request(name: str, asked: tftp.Options) -> bytes:
    try:
        return tftp.encode(tftp.Rrq(name, "octet", asked))
    except (tftp.TftpPacketError, ValueError) as error:
        raise BootError(f"{name!r} can't be asked for: {error}") from error


def _decode_answer(name: str, data: bytes) -> tftp.Packet:
    try:
        return tftp.decode(data)
    except tftp.TftpPacketError as error:
        raise BootError(f"{name}: the server's answer is no TFTP packet: {error}") from error


def _size(granted: tftp.Options) -> int | None:
    value = {name.lower(): text for name, text in granted}.get("tsize", "")
    return int(value) if re.fullmatch("[0-9]{1,15}", value) else None


def _refusal(name: str, error: tftp.Error) -> BootError:
    kind = FileNotServed if error.code == tftp.ErrorCode.NOT_FOUND else BootError
    return kind(f"{name}: {error.message or f'TFTP error {error.code}'}")
