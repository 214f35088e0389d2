"""A captured boot, played again: its timeline, and what our responder would have answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface

from pybootd.access import base
from pybootd.commands.replay.pcap import Datagram
from pybootd.config.bootfile import host_of
from pybootd.config.loader import Config
from pybootd.core import events
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EndCause, EventBus, FileProblem, RefusalCause, TransferOutcome
from pybootd.core.workers import TaskResult as Result
from pybootd.dhcp4.actions import Action, Probe, Wait
from pybootd.dhcp4.handler import DhcpHandler
from pybootd.dhcp4.own_options import read_own_options
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire import options, packet, pxe
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet
from pybootd.system.interfaces import Interface
from pybootd.tftp.wire import packet as tftp

_BOOTPS, _BOOTPC, _PXE, _TFTP = 67, 68, 4011, 69
# a RELEASE, say, has none; BOOTP has no type
_WANT_ANSWERS = (b"", bytes((MessageType.DISCOVER,)), bytes((MessageType.REQUEST,)))


@dataclass(slots=True)
class Exchange:
    """A request, the answers that the capture holds, and ours (None: silence)."""

    when: float
    request: Packet
    port: int
    theirs: list[Packet] = field(default_factory=list)
    ours: Packet | None = None


def pair_exchanges(datagrams: Iterable[Datagram]) -> list[Exchange]:
    """Pair the DHCP requests of a capture with the answers that came to them."""
    found: list[Exchange] = []
    for one in datagrams:
        if one.target_port not in (_BOOTPS, _BOOTPC, _PXE) and one.source_port not in (
            _BOOTPS,
            _PXE,
        ):
            continue
        try:
            message = packet.decode(one.data)
        except packet.DhcpPacketError:
            continue
        if message.op == packet.BOOTREQUEST:
            found.append(Exchange(one.when, message, one.target_port))
            continue
        for exchange in reversed(found):
            asked = exchange.request
            if (asked.xid, asked.chaddr) == (message.xid, message.chaddr):
                exchange.theirs.append(message)
                break
    return found


@dataclass(slots=True)
class Unanswered:
    """A client that asked, ``requests`` times in ``seconds``, and got no answer at all."""

    mac: str
    requests: int
    seconds: float


def find_unanswered(asked: Iterable[Exchange]) -> list[Unanswered]:
    """Find the clients that the capture holds questions of, and not one answer to."""
    by_client: dict[bytes, list[Exchange]] = {}
    for exchange in asked:
        if exchange.request.options.get(options.TYPE, b"") in _WANT_ANSWERS:
            by_client.setdefault(exchange.request.chaddr, []).append(exchange)
    return [
        Unanswered(mac.hex(":"), len(asked), asked[-1].when - asked[0].when)
        for mac, asked in by_client.items()
        if not any(exchange.theirs for exchange in asked)
    ]


class ReplayServer:
    """Our responder in the place of the captured server, on its address where that fits."""

    def __init__(self, config: Config, captured: Sequence[Exchange]) -> None:
        self._mode = config.bootp.mode
        own = _own_address(config, captured)
        link = Interface("capture", 1, (own,), b"\2\0\0\0\0\1")
        self._origin = Arrival(link, own.ip)
        # no user of an address can be asked for any more
        quiet = replace(config, bootp=replace(config.bootp, conflict_check=False))
        subnets = Subnets(quiet)
        subnets.follow_interfaces([link])
        own_options = read_own_options(config)
        access = base.build_access(config)
        self._handler = DhcpHandler(quiet, subnets, ClientTable(), access, own_options)
        self._offered: dict[bytes, Packet] = {}

    def answer_request(self, exchange: Exchange) -> Packet | None:
        """Say what we would have answered."""
        asked = self._take_our_offer(exchange)
        handler, origin = self._handler, self._origin
        if exchange.port == _PXE:
            origin = replace(origin, boot_server=True, unicast=True, source=asked.ciaddr)
            effects = handler.proxy.handle_port_4011(asked, origin, exchange.when)
        elif self._mode == "proxy":
            effects = handler.proxy.handle_port_67(asked, origin, exchange.when)
        else:
            effects = handler.handle_request(asked, origin, exchange.when)
        reply = self._run_actions(effects, exchange.when)
        if reply is not None and reply.yiaddr != NOBODY:
            self._offered[asked.chaddr] = reply
        return reply

    def _take_our_offer(self, exchange: Exchange) -> Packet:
        """Let the client take our offer where it took the captured server's."""
        asked = exchange.request
        ours = self._offered.get(asked.chaddr)
        if ours is None or options.SERVER_ID not in asked.options:
            return asked
        changed = dict(asked.options)
        changed[options.SERVER_ID] = ours.options.get(options.SERVER_ID, b"")
        if options.REQUESTED in changed:
            changed[options.REQUESTED] = ours.yiaddr.packed
        return replace(asked, options=changed)

    def _run_actions(self, effects: Sequence[Action], when: float) -> Packet | None:
        for effect in effects:
            if isinstance(effect, Reply):
                return packet.decode(effect.data)
            if isinstance(effect, Probe):
                return self._run_actions(effect.resume(b"", when), when)
            if isinstance(effect, Wait):
                try:
                    outcome = Result(effect.later.call())
                except Exception as error:
                    outcome = Result(None, error)
                return self._run_actions(effect.resume(outcome, when), when)
        return None


def _own_address(config: Config, captured: Sequence[Exchange]) -> IPv4Interface:
    """Find an address for our double: the captured server's, else one of the pool's network."""
    start, mask = config.bootp.pool_start, str(config.bootp.netmask or "24")
    for exchange in captured:
        for answer in exchange.theirs:
            named = answer.options.get(options.SERVER_ID, b"")
            theirs = answer.options.get(options.MASK, b"")
            if len(named) != 4 or len(theirs) != 4:
                continue
            own = IPv4Interface(f"{IPv4Address(named)}/{IPv4Address(theirs)}")
            if start is None or start in own.network:
                return own
    network = IPv4Interface(f"{start or '192.0.2.1'}/{mask}").network
    return IPv4Interface(f"{network.network_address + 1}/{network.prefixlen}")


# the timeline of what was captured

_PROBLEMS: dict[int, FileProblem] = {
    tftp.ErrorCode.NOT_FOUND: FileProblem.NOT_FOUND,
    tftp.ErrorCode.ACCESS_VIOLATION: FileProblem.NO_PERMISSION,
    tftp.ErrorCode.ILLEGAL_OPERATION: FileProblem.BAD_REQUEST,
}
"""What a server's ERROR packet says is wrong (RFC 1350, appendix)."""


class Player:
    """Publishes what a capture holds as the events that a server would have published."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._transfers: dict[tuple[IPv4Address, int], _Download] = {}
        self.now = 0.0

    def play_capture(self, datagrams: Iterable[Datagram]) -> None:
        """Publish everything, in order; ``now`` follows."""
        asked: dict[tuple[int, bytes], Packet] = {}
        for one in datagrams:
            self.now = one.when
            if _BOOTPS in (one.source_port, one.target_port) or one.source_port == _PXE:
                self._play_dhcp(one, asked)
            else:
                self._play_tftp(one)
        for download in list(self._transfers.values()):
            cause = EndCause.LAST_ACK_MISSING if download.last else EndCause.NONE
            self._end_download(download, TransferOutcome.TIMEOUT, cause)

    def _play_dhcp(self, one: Datagram, asked: dict[tuple[int, bytes], Packet]) -> None:
        try:
            message = packet.decode(one.data)
        except packet.DhcpPacketError:
            return
        key = (message.xid, message.chaddr)
        if message.op == packet.BOOTREQUEST:
            asked[key] = message
            return
        request = asked.get(key)
        if request is None:
            return
        client = pxe.read_client(request, "capture")
        kind = int.from_bytes(message.options.get(options.TYPE, b"")[:1])
        file = pxe.plain(message.file or message.options.get(options.BOOT_FILE, b""))
        proxy = message.yiaddr == NOBODY and kind in (MessageType.OFFER, MessageType.ACK)
        elsewhere = host_of(file)  # no HTTP is replayed
        event: object = None
        if kind == MessageType.OFFER:
            event = events.Offered(client, message.yiaddr, file, elsewhere, proxy)
        elif kind == MessageType.NAK:
            said = pxe.plain(message.options.get(options.MESSAGE, b"")) or "DHCPNAK"
            event = events.Refused(client, said, cause=RefusalCause.WRONG_ADDRESS)
        elif message.yiaddr != NOBODY or (proxy and request.ciaddr != NOBODY):
            address = message.yiaddr if message.yiaddr != NOBODY else request.ciaddr
            boots = client.network_boot
            file = file if boots else ""
            event = events.Confirmed(client, address, file, boots, elsewhere, proxy)
        if event is not None:
            self._bus.publish(event)

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
            self._play_server_packet(download, came)
            return
        download = self._transfers.get((one.source, one.source_port))
        if download is not None:
            self._play_client_packet(download, came)

    def _begin_download(self, one: Datagram, came: tftp.Rrq) -> None:
        key = (one.source, one.source_port)
        if key in self._transfers:
            return  # once more
        self._transfers[key] = _Download(key, came.name, self.now)

    def _play_server_packet(self, download: _Download, came: tftp.Packet) -> None:
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
            size, block = granted.get("tsize", ""), granted.get("blksize", "")
            download.size = int(size) if size.isdigit() else None
            download.blocksize = int(block) if block.isdigit() else 512
        elif isinstance(came, tftp.Data):
            download.count_block(came)
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
                    download.progress,
                )
            )

    def _play_client_packet(self, download: _Download, came: tftp.Packet) -> None:
        if isinstance(came, tftp.Error):
            probed = not download.acknowledged
            self._end_download(
                download,
                TransferOutcome.PROBED if probed else TransferOutcome.ABORTED,
                EndCause.CLIENT_ERROR,
                came.message,
            )
        elif isinstance(came, tftp.Ack):
            download.acknowledged = download.acknowledged or came.block > 0
            if download.last and came.block == download.block & 0xFFFF:
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
                download.progress()[0],
                self.now - download.began,
                download.again,
                outcome,
                reason,
                cause,
                progress=download.progress,
            )
        )


@dataclass(slots=True, eq=False)
class _Download:
    """One transfer of the capture."""

    key: tuple[IPv4Address, int]
    name: str
    began: float
    blocksize: int = 512
    size: int | None = None
    block: int = 0
    octets: int = 0
    again: int = 0
    started: bool = False
    acknowledged: bool = False
    last: bool = False

    def progress(self) -> tuple[int, int]:
        """Count the octets that came, and the blocks that came again."""
        return (self.octets if self.acknowledged else 0), self.again

    def count_block(self, data: tftp.Data) -> None:
        """Count a block, or that it came again."""
        if data.block == (self.block + 1) & 0xFFFF and not self.last:
            self.block += 1
            self.octets += len(data.payload)
            self.last = len(data.payload) < self.blocksize
        else:
            self.again += 1
