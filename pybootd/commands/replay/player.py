"""Plays a capture: publishes what it holds as the events that a server would have published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from pybootd.commands.replay.dissect import Datagram, Segment
from pybootd.commands.replay.http_flows import HttpPlayer
from pybootd.commands.replay.replayer import decode_message, is_dhcp
from pybootd.config.bootfile import host_of
from pybootd.core import events
from pybootd.core.events import EndCause, EventBus, FileProblem, RefusalCause, TransferOutcome
from pybootd.dhcp4.wire import options, packet, pxe
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet
from pybootd.tftp.wire import packet as tftp

_TFTP = 69
_SILENT_S = 8.0  # after which a transfer is taken to be over: clients repeat within seconds
_PROBLEMS: dict[int, FileProblem] = {
    tftp.ErrorCode.NOT_FOUND: FileProblem.NOT_FOUND,
    tftp.ErrorCode.ACCESS_VIOLATION: FileProblem.NO_PERMISSION,
    tftp.ErrorCode.ILLEGAL_OPERATION: FileProblem.BAD_REQUEST,
}
"""What a server's ERROR packet says is wrong (RFC 1350, appendix)."""


class Player:
    """Publishes the events of a capture; ``now`` follows its time."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._http = HttpPlayer(bus)
        self._transfers: dict[tuple[IPv4Address, int], _Download] = {}
        self._seen_servers: frozenset[str] = frozenset()
        self.dhcp_servers: dict[str, str] = {}
        """Who answered last, by the client's MAC."""
        self.file_servers: dict[str, str] = {}
        """Who was asked for a file last, by the client's address."""
        self.now = 0.0

    def play_capture(self, captured: Sequence[Datagram | Segment], ended: float) -> None:
        """Publish everything, in order; the capture goes on, without a packet, until ``ended``.

        What is under way then stays so: nobody knows how it went on.
        """
        asked: dict[tuple[int, bytes], Packet] = {}
        self._seen_servers = frozenset(map(str, _find_file_servers(captured)))
        for one in captured:
            self.now = one.when
            if isinstance(one, Segment):
                self._http.play_segment(one)
                if one.data and str(one.target) in self._seen_servers:
                    self.file_servers[str(one.source)] = str(one.target)
            elif is_dhcp(one):
                self._play_dhcp(one, asked)
            else:
                self._play_tftp(one)
        self.now = max(self.now, ended)
        for download in list(self._transfers.values()):
            if download.is_last or self.now - download.last_heard > _SILENT_S:
                cause = EndCause.NONE
                if download.is_last:  # the client may have it, and go on
                    cause, download.arrived = EndCause.LAST_ACK_MISSING, download.octets
                self._end_download(download, TransferOutcome.TIMEOUT, cause)

    def _play_dhcp(self, one: Datagram, asked: dict[tuple[int, bytes], Packet]) -> None:
        message = decode_message(one)
        if message is None:
            return
        key = (message.xid, message.chaddr)
        if message.op == packet.BOOTREQUEST:
            asked[key] = message
        elif key in asked:
            server = message.options.get(options.SERVER_ID, b"")
            named = IPv4Address(server) if len(server) == 4 else one.source
            self.dhcp_servers[message.chaddr.hex(":")] = str(named)
            event = self._read_answer(asked[key], message)
            if event is not None:
                self._bus.publish(event)

    def _read_answer(self, request: Packet, answer: Packet) -> object:
        """Make the event of an answer; None: it is of no interest."""
        client = pxe.read_client(request, "capture")
        kind = int.from_bytes(answer.options.get(options.TYPE, b"")[:1])
        file = pxe.plain(answer.file or answer.options.get(options.BOOT_FILE, b""))
        proxy = answer.yiaddr == NOBODY and kind in (MessageType.OFFER, MessageType.ACK)
        elsewhere = self._find_unseen_server(answer, file)
        if kind == MessageType.OFFER:
            return events.Offered(client, answer.yiaddr, file, elsewhere, proxy)
        if kind == MessageType.NAK:
            said = pxe.plain(answer.options.get(options.MESSAGE, b"")) or "DHCPNAK"
            return events.Refused(client, said, cause=RefusalCause.WRONG_ADDRESS)
        if answer.yiaddr != NOBODY or (proxy and request.ciaddr != NOBODY):
            address = answer.yiaddr if answer.yiaddr != NOBODY else request.ciaddr
            boots = client.network_boot
            return events.Confirmed(client, address, file if boots else "", boots, elsewhere, proxy)
        return None

    def _find_unseen_server(self, answer: Packet, file: str) -> str:
        """Name the host that the file is to come from, if the capture has nothing of it."""
        host = host_of(file)
        if not host and file and answer.siaddr.packed != answer.options.get(options.SERVER_ID):
            host = str(answer.siaddr) if answer.siaddr != NOBODY else ""
        return "" if host in self._seen_servers else host

    def _play_tftp(self, one: Datagram) -> None:
        try:
            came = tftp.decode(one.data)
        except tftp.TftpPacketError:
            return
        if one.target_port == _TFTP:
            if isinstance(came, tftp.Rrq):
                self._begin_download(one, came)
            return
        download = self._transfers.get((one.target, one.target_port))
        if download is not None:
            self._play_server_packet(download, one, came)
            return
        download = self._transfers.get((one.source, one.source_port))
        if download is not None:
            self._play_client_packet(download, came)

    def _begin_download(self, one: Datagram, came: tftp.Rrq) -> None:
        self.file_servers[str(one.source)] = str(one.target)
        key = (one.source, one.source_port)
        earlier = self._transfers.get(key)
        if earlier is None or earlier.name != came.name:
            self._transfers[key] = _Download(key, came.name, self.now, self.now)

    def _play_server_packet(self, download: _Download, one: Datagram, came: tftp.Packet) -> None:
        if isinstance(came, tftp.Error):
            missing = came.code == tftp.ErrorCode.NOT_FOUND
            del self._transfers[download.key]
            self._bus.publish(
                events.TransferRefused(
                    "tftp",
                    str(download.key[0]),
                    download.name,
                    came.message,
                    missing,
                    problem=_PROBLEMS.get(came.code) or FileProblem.OTHER,
                )
            )
            return
        if isinstance(came, tftp.Oack):
            granted = {name.lower(): value for name, value in came.options}
            download.size = _read_number(granted.get("tsize", ""))
            download.blocksize = _read_number(granted.get("blksize", "")) or 512
        elif isinstance(came, tftp.Data):
            # what the capture cut off was there
            download.count_block(came.block, one.length - 4)
        if not download.started:
            download.started = True
            self._bus.publish(
                events.TransferStarted(
                    "tftp",
                    str(download.key[0]),
                    download.name,
                    download.name,
                    download.size,
                    download.blocksize,
                    1,
                    download.read_progress,
                )
            )

    def _play_client_packet(self, download: _Download, came: tftp.Packet) -> None:
        download.last_heard = self.now
        if isinstance(came, tftp.Error):
            probed = not download.acknowledged
            self._end_download(
                download,
                TransferOutcome.PROBED if probed else TransferOutcome.ABORTED,
                EndCause.CLIENT_ERROR,
                came.message,
            )
        elif isinstance(came, tftp.Ack):
            download.note_ack(came.block)
            if download.is_last and came.block == download.block & 0xFFFF:
                self._end_download(download, TransferOutcome.DONE)

    def _end_download(
        self,
        download: _Download,
        outcome: TransferOutcome,
        cause: EndCause = EndCause.NONE,
        reason: str = "",
    ) -> None:
        del self._transfers[download.key]
        if not download.started:
            return
        self._bus.publish(
            events.TransferEnded(
                "tftp",
                str(download.key[0]),
                download.name,
                download.name,
                download.read_progress()[0],
                self.now - download.began,
                download.repeated,
                outcome,
                reason,
                cause,
                progress=download.read_progress,
            )
        )


@dataclass(slots=True, eq=False)
class _Download:
    """One TFTP transfer of the capture."""

    key: tuple[IPv4Address, int]
    name: str
    began: float
    last_heard: float
    blocksize: int = 512
    size: int | None = None
    block: int = 0
    octets: int = 0
    arrived: int = 0
    repeated: int = 0
    started: bool = False
    acknowledged: bool = False
    is_last: bool = False

    def read_progress(self) -> tuple[int, int]:
        """Count the octets that arrived, and the blocks that were sent again."""
        return self.arrived, self.repeated

    def note_ack(self, number: int) -> None:
        """Count what has arrived by the number of the last block that did."""
        behind = (self.block - number) & 0xFFFF
        if number and behind < 0x8000:
            whole = (self.block - behind) * self.blocksize
            self.arrived = max(self.arrived, whole if behind else self.octets)
            self.acknowledged = True

    def count_block(self, number: int, octets: int) -> None:
        """Count a block, or that it came again."""
        if number == (self.block + 1) & 0xFFFF and not self.is_last:
            self.block += 1
            self.octets += octets
            self.is_last = octets < self.blocksize
        else:
            self.repeated += 1


def _find_file_servers(captured: Iterable[Datagram | Segment]) -> Iterable[IPv4Address]:
    """Yield the hosts that the capture holds file transfers of: asked by TFTP, or by TCP."""
    for one in captured:
        asks = one.data[:4] in (b"GET ", b"HEAD") if isinstance(one, Segment) else False
        if asks or (isinstance(one, Datagram) and one.target_port == _TFTP):
            yield one.target


def _read_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
