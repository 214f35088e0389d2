"""What our DHCP server would have answered to the requests of a capture."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface

from pybootd.access import base
from pybootd.commands.replay.dissect import Datagram
from pybootd.config.loader import Config
from pybootd.core.client_table import ClientTable
from pybootd.core.workers import TaskResult
from pybootd.dhcp4.actions import Action, Probe, Wait
from pybootd.dhcp4.handler import DhcpHandler
from pybootd.dhcp4.own_options import read_own_options
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire import options, packet
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet
from pybootd.system.interfaces import Interface

BOOTPS, _BOOTPC, PXE = 67, 68, 4011
# a RELEASE, say, has none; BOOTP has no type
_WANT_ANSWERS = (b"", bytes((MessageType.DISCOVER,)), bytes((MessageType.REQUEST,)))


@dataclass(slots=True)
class Exchange:
    """A request, the answers that the capture holds, and ours (None: silence)."""

    when: float
    request: Packet
    port: int
    theirs: list[Packet] = field(default_factory=list)
    has_cut_answers: bool = False
    ours: Packet | None = None


def pair_exchanges(datagrams: Iterable[Datagram]) -> list[Exchange]:
    """Pair the DHCP requests of a capture with the answers that came to them."""
    found: list[Exchange] = []
    newest: dict[tuple[int, bytes], Exchange] = {}
    for one in datagrams:
        if not is_dhcp(one):
            continue
        message = decode_message(one)
        if message is None:
            asked = newest.get(_read_cut_answer(one))
            if asked is not None:
                asked.has_cut_answers = True
        elif message.op == packet.BOOTREQUEST:
            exchange = Exchange(one.when, message, one.target_port)
            found.append(exchange)
            newest[message.xid, message.chaddr] = exchange
        elif (message.xid, message.chaddr) in newest:
            newest[message.xid, message.chaddr].theirs.append(message)
    return found


def is_dhcp(one: Datagram) -> bool:
    """Tell by its ports whether a datagram is of DHCP or of a proxy's port."""
    return one.target_port in (BOOTPS, _BOOTPC, PXE) or one.source_port in (BOOTPS, PXE)


def decode_message(one: Datagram) -> Packet | None:
    """Decode a DHCP message; None: it is none, or not all of it was captured."""
    if one.is_cut:
        return None
    try:
        return packet.decode(one.data)
    except packet.DhcpPacketError:
        return None


def _read_cut_answer(one: Datagram) -> tuple[int, bytes]:
    """Say to which request a cut message answers: its header's start is enough for that."""
    head = one.data
    if not one.is_cut or len(head) < 44 or head[0] != packet.BOOTREPLY or head[2] > 16:
        return 0, b""
    return int.from_bytes(head[4:8]), head[28 : 28 + head[2]]


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
        if not any(exchange.theirs or exchange.has_cut_answers for exchange in asked)
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
        if exchange.port == PXE:
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
                    outcome = TaskResult(effect.later.call())
                except Exception as error:
                    outcome = TaskResult(None, error)
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
            with contextlib.suppress(ValueError):  # a mask that is none
                own = IPv4Interface(f"{IPv4Address(named)}/{IPv4Address(theirs)}")
                if start is None or start in own.network:
                    return own
    network = IPv4Interface(f"{start or '192.0.2.1'}/{mask}").network
    host = 1 if network.num_addresses > 1 else 0
    return IPv4Interface(f"{network.network_address + host}/{network.prefixlen}")
