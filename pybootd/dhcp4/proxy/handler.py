"""What to boot, beside a DHCP server that stays as it is: proxyDHCP and port 4011 (PXE 2.1, 2.2).

Never an address, never an answer to a client that isn't booting.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from pybootd.access.base import AccessDecision
from pybootd.config.loader import Config
from pybootd.config.values import ANY
from pybootd.core.architecture import BIOS
from pybootd.core.client import KnownClient
from pybootd.core.client_table import ClientTable
from pybootd.core.events import Confirmed, Offered, RefusalCause
from pybootd.dhcp4.actions import Action, Publish
from pybootd.dhcp4.admission import Admission
from pybootd.dhcp4.bootfile import BootFileHints, choose_boot_file
from pybootd.dhcp4.reply import ReplyBuilder
from pybootd.dhcp4.request import Arrival, DhcpRequest, Subnet, read_requested_ip
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire import options, pxe
from pybootd.dhcp4.wire.packet import BOOTREQUEST, NOBODY, MessageType, Packet
from pybootd.leases.pool import EVERYWHERE, Pool

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
        self._any = Subnet(EVERYWHERE, Pool(EVERYWHERE, ANY, 0), config.bootp)

    def handle_port_67(self, packet: Packet, arrival: Arrival, now: float) -> list[Action]:
        """Say what to do about a request on port 67."""
        request = self._read_request(packet, arrival)
        if request is None:
            return []
        if request.kind == MessageType.REQUEST:
            return self._note_choice(request)
        if request.kind != MessageType.DISCOVER or not request.client.network_boot:
            return []
        return self._admission.ask_access(request, self._make_offer, now)

    def handle_port_4011(self, packet: Packet, arrival: Arrival, now: float) -> list[Action]:
        """Say what to do about a request on port 4011."""
        request = self._read_request(packet, arrival)
        if request is None or request.kind not in (MessageType.REQUEST, MessageType.INFORM):
            return []
        if not request.client.network_boot:
            return []
        return self._admission.ask_access(request, self._make_ack, now)

    def _read_request(self, packet: Packet, arrival: Arrival) -> DhcpRequest | None:
        kind = int.from_bytes(packet.options.get(options.TYPE, b""))
        server = self._address if self._address != ANY else arrival.local
        if packet.op != BOOTREQUEST or not packet.chaddr or server == NOBODY:
            return None
        place = self._subnets.choose_subnet(packet, arrival)
        if place is None and self._own_networks_only:
            return None
        network = place[0] if place is not None else self._any
        known = self._clients.by_mac(packet.chaddr)
        client = pxe.read_client(
            packet,
            arrival.interface.name,
            known.uuid if known else None,
            known.address if known else None,
            self._boot_classes,
        )
        # an access list that is asked for one port's request must not answer the other's
        owner = (b"boot:" if arrival.boot_server else b"proxy:") + packet.chaddr
        request = DhcpRequest(packet, arrival, network, server, client, owner, kind)
        if self._profiles:
            request.profile = self._profiles.find_profile(client)
        return request

    def _note_choice(self, request: DhcpRequest) -> list[Action]:
        """See which address a client takes; one that asks no more has all that it needs."""
        sent = request.packet.options
        address = read_requested_ip(request.packet) or request.packet.ciaddr
        known = self._note_address(request, address)
        if known is not None and known.booted and not request.client.network_boot:
            client = replace(request.client, address=address)
            return [Publish(Confirmed(client, address, "", booting=False, proxy=True))]
        if known is None or not request.client.network_boot or _asks_again(request):
            return []
        if options.SERVER_ID not in sent or not known.booted:
            return []
        return [self._make_confirmed(request, address, known.boot_file)]

    def _make_confirmed(self, request: DhcpRequest, address: IPv4Address, file: str) -> Publish:
        elsewhere = self._subnets.other_file_server(request, file)
        client = replace(request.client, address=address)
        reason = request.boot_file.reason if request.boot_file.told == file else None
        return Publish(
            Confirmed(client, address, file, True, elsewhere, proxy=True, file_reason=reason)
        )

    def _note_address(self, request: DhcpRequest, address: IPv4Address) -> KnownClient | None:
        """Know a client by the address that it takes, so that filters know whose files to give."""
        known = self._clients.by_mac(request.client.mac)
        if address == NOBODY or (known is None and not request.client.network_boot):
            return None
        known = self._clients.seen(request.client)
        self._clients.place(known, address)
        known.hostname = request.client.hostname or known.hostname
        return known

    def _refuse_without_file(self, request: DhcpRequest, now: float) -> list[Action]:
        return self._admission.refuse_request(
            request, "there is no file for it", now, cause=RefusalCause.NO_FILE
        )

    def _make_offer(
        self, request: DhcpRequest, verdict: AccessDecision, now: float
    ) -> list[Action]:
        return self._make_answer(request, verdict, MessageType.OFFER, now)

    def _make_ack(self, request: DhcpRequest, verdict: AccessDecision, now: float) -> list[Action]:
        self._note_address(request, _sender(request))
        return self._make_answer(request, verdict, MessageType.ACK, now)

    def _make_answer(
        self, request: DhcpRequest, verdict: AccessDecision, kind: MessageType, now: float
    ) -> list[Action]:
        choice = choose_boot_file(request, verdict, self._files, self._httpd)
        request.boot_file = choice
        found = self._hints.advise_once(request)
        advice = [Publish(found)] if found else []
        if not choice.told and not pxe.is_pi(request.packet):
            return [*advice, *self._refuse_without_file(request, now)]
        later = kind is MessageType.OFFER and _asks_again(request)
        known = self._clients.seen(request.client)
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
    said = request.packet.ciaddr
    return said if said != NOBODY else request.arrival.source


def _asks_again(request: DhcpRequest) -> bool:
    """Tell a client that wants to hear of its file on port 4011 alone: PXE of UEFI, OVMF 2022.11.

    dnsmasq and Pixiecore do the same. iPXE takes it at once wherever it runs.
    """
    client = request.client
    uefi = client.architecture not in (None, BIOS)
    return uefi and not client.ipxe and client.vendor_class.startswith("PXEClient")
