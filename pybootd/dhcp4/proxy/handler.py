"""What to boot, beside a DHCP server that stays as it is: proxyDHCP and port 4011 (PXE 2.1, 2.2).

Never an address, never an answer to a client that isn't booting. Which address a client has is told
by the system's neighbour table alone: what a packet says of it goes to the log and nowhere else.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address

from pybootd.access.base import AccessDecision
from pybootd.config.loader import Config
from pybootd.config.values import ANY
from pybootd.core.architecture import BIOS
from pybootd.core.client import make_identity
from pybootd.core.client_table import ClientTable
from pybootd.core.events import Confirmed, Offered, RefusalCause
from pybootd.core.rate_limit import REMIND_S, once_per
from pybootd.dhcp4.actions import Action, Publish
from pybootd.dhcp4.admission import Admission
from pybootd.dhcp4.bootfile import BootFileHints, choose_boot_file
from pybootd.dhcp4.reply import ReplyBuilder
from pybootd.dhcp4.request import (
    Arrival,
    DhcpRequest,
    Subnet,
    read_ciaddr,
    read_kind,
    read_requested_ip,
)
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire import options, pxe
from pybootd.dhcp4.wire.packet import BOOTREQUEST, NOBODY, MessageType, Packet
from pybootd.leases.pool import EVERYWHERE, Pool

log = logging.getLogger(__name__)

PORT = 4011
"""Where clients ask that were told of a boot server and of no file."""


class ProxyHandler:
    """Tells clients what to boot; with ``mode = dhcp`` those of networks of ours, on port 4011."""

    def __init__(
        self,
        config: Config,
        subnets: Subnets,
        clients: ClientTable,
        admission: Admission,
        replies: ReplyBuilder,
    ) -> None:
        self._address = config.bootp.address
        self._own_networks_only = config.bootp.mode == "dhcp"
        self._boot_classes = pxe.CLASSES + config.bootp.boot_classes
        self._profiles = config.profiles
        self._subnets = subnets
        self._clients = clients
        self._admission = admission
        self._replies = replies
        self._files, self._httpd = config.bootfile, config.httpd
        self._hints = BootFileHints()
        self._reminder = once_per(REMIND_S)
        self._any = Subnet(EVERYWHERE, Pool(EVERYWHERE, ANY, 0), config.bootp)

    def handle_port_67(self, packet: Packet, arrival: Arrival, now: float) -> list[Action]:
        """Say what to do about a request on port 67, where another server gives the addresses."""
        request = self._read_request(packet, arrival, now)
        if request is None:
            return []
        if request.kind == MessageType.REQUEST:
            return self._note_choice(request)
        if request.kind != MessageType.DISCOVER or not request.client.network_boot:
            return []
        return self._admission.ask_access(request, self._make_offer, now)

    def handle_port_4011(
        self, packet: Packet, arrival: Arrival, now: float, *, beside_other: bool = False
    ) -> list[Action]:
        """Say what to do about a request on port 4011.

        ``beside_other``: another server gives the addresses on that link.
        """
        request = self._read_request(packet, arrival, now)
        if request is None or request.kind not in (MessageType.REQUEST, MessageType.INFORM):
            return []
        if not request.client.network_boot:
            return []
        return self._admission.ask_access(request, partial(self._make_ack, beside_other), now)

    def _read_request(self, packet: Packet, arrival: Arrival, now: float) -> DhcpRequest | None:
        kind = read_kind(packet)
        server = self._address if self._address != ANY else arrival.local
        identity = make_identity(packet.chaddr, packet.options.get(options.CLIENT_ID))
        if packet.op != BOOTREQUEST or not identity or server == NOBODY:
            return None
        place = self._subnets.choose_subnet(packet, arrival)
        if place is None and self._own_networks_only:
            return None
        ciaddr = packet.ciaddr if arrival.boot_server else read_ciaddr(packet, kind, arrival)
        if not self._subnets.may_answer(packet, arrival, ciaddr):
            return None
        if self._is_impostor(packet, arrival, now):
            return None
        network = place[0] if place is not None else self._any
        known = self._clients.find_by_identity(identity)
        client = pxe.read_client(
            packet,
            arrival.interface.name,
            known.uuid if known else None,
            known.address if known else None,
            self._boot_classes,
            known=known is not None and known.booted,
        )
        # an access list that is asked for one port's request must not answer the other's
        owner = (b"boot:" if arrival.boot_server else b"proxy:") + identity
        request = DhcpRequest(packet, arrival, network, server, client, owner, kind, ciaddr)
        if self._profiles:
            request.profile = self._profiles.find_profile(client)
        return request

    def _is_impostor(self, packet: Packet, arrival: Arrival, now: float) -> bool:
        """Tell whether the sender's address is known to be another machine's than it says."""
        relayed = packet.giaddr != NOBODY and not arrival.boot_server
        if relayed or not packet.chaddr or arrival.source == NOBODY:
            return False
        if self._clients.has_neighbour(arrival.source, packet.chaddr) is not False:
            return False
        if self._reminder.take_token(arrival.source, now):
            log.warning(
                "dhcp: %s says that it is %s, but another hardware address is behind it: ignored",
                arrival.source,
                packet.chaddr.hex(":"),
            )
        return True

    def _note_choice(self, request: DhcpRequest) -> list[Action]:
        """See which address a client takes; one that asks no more has all that it needs."""
        client = request.client
        address = read_requested_ip(request.packet) or request.packet.ciaddr
        known = self._clients.find_by_identity(client.identity)
        if address == NOBODY or known is None or not known.booted:
            return []
        known = self._clients.note_client(client)
        known.hostname = client.hostname or known.hostname
        if not client.network_boot:
            return [self._make_confirmed(request, address, "")]
        if _asks_again(request) or options.SERVER_ID not in request.packet.options:
            return []
        return [self._make_confirmed(request, address, known.boot_file)]

    def _make_confirmed(self, request: DhcpRequest, address: IPv4Address, file: str) -> Publish:
        booting = request.client.network_boot
        elsewhere = self._subnets.other_file_server(request, file) if booting else ""
        client = replace(request.client, address=address)
        choice = request.boot_file
        reason = choice.reason if booting and choice.told == file else None
        there = self._clients.find_by_address(address)
        claimed = there is None or there.client.identity != client.identity
        event = Confirmed(
            client,
            address,
            file,
            booting,
            elsewhere,
            proxy=True,
            file_reason=reason,
            claimed=claimed,
        )
        return Publish(event)

    def _refuse_without_file(self, request: DhcpRequest, now: float) -> list[Action]:
        return self._admission.refuse_request(
            request, "there is no file for it", now, cause=RefusalCause.NO_FILE
        )

    def _make_offer(
        self, request: DhcpRequest, verdict: AccessDecision, now: float
    ) -> list[Action]:
        return self._make_answer(request, verdict, MessageType.OFFER, now)

    def _make_ack(
        self, beside_other: bool, request: DhcpRequest, verdict: AccessDecision, now: float
    ) -> list[Action]:
        return self._make_answer(request, verdict, MessageType.ACK, now, beside_other=beside_other)

    def _make_answer(
        self,
        request: DhcpRequest,
        verdict: AccessDecision,
        kind: MessageType,
        now: float,
        *,
        beside_other: bool = True,
    ) -> list[Action]:
        choice = choose_boot_file(request, verdict, self._files, self._httpd)
        request.boot_file = choice
        found = self._hints.advise_once(request)
        advice = [Publish(found)] if found else []
        if not choice.told and not pxe.is_pi(request.packet):
            return [*advice, *self._refuse_without_file(request, now)]
        later = kind is MessageType.OFFER and _asks_again(request)
        known = self._clients.note_client(request.client)
        known.proxied = known.proxied or beside_other
        known.booted, known.server, known.boot_file = True, request.server, choice.told
        known.file, known.variables = choice.own, dict(request.profile.variables)
        known.hostname = verdict.hostname or request.profile.hostname or known.hostname
        reply = self._replies.build_proxy_reply(request, kind, boot_server_follows=later)
        if kind is MessageType.ACK:
            return [reply, self._make_confirmed(request, _sender(request), choice.told), *advice]
        elsewhere = self._subnets.other_file_server(request, choice.told)
        offered = Offered(
            request.client, NOBODY, choice.told, elsewhere, proxy=True, file_reason=choice.reason
        )
        return [reply, Publish(offered), *advice]


def _sender(request: DhcpRequest) -> IPv4Address:
    source = request.arrival.source
    return source if source != NOBODY else request.packet.ciaddr


def _asks_again(request: DhcpRequest) -> bool:
    """Tell a client that wants to hear of its file on port 4011 alone: PXE of UEFI, OVMF 2022.11.

    dnsmasq and Pixiecore do the same. iPXE takes it at once wherever it runs.
    """
    client = request.client
    uefi = client.architecture not in (None, BIOS)
    return uefi and not client.ipxe and client.vendor_class.startswith("PXEClient")
