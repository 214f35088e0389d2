"""A request and a moment in, what to do out: every decision of the DHCP server, without I/O."""

from __future__ import annotations

import logging
from dataclasses import replace
from ipaddress import IPv4Address

from pybootd.access.base import Access, AccessDecision
from pybootd.config.loader import Config
from pybootd.core.client import make_identity
from pybootd.core.client_table import ClientTable
from pybootd.core.events import (
    AddressConflict,
    ChoseAnother,
    Confirmed,
    ConflictCause,
    Offered,
    RefusalCause,
    Released,
)
from pybootd.core.rate_limit import REMIND_S, once_per
from pybootd.dhcp4.actions import Action, Probe, Publish
from pybootd.dhcp4.admission import Admission
from pybootd.dhcp4.bootfile import BootFileHints, choose_boot_file
from pybootd.dhcp4.own_options import OwnOptions
from pybootd.dhcp4.proxy.handler import ProxyHandler
from pybootd.dhcp4.reply import ReplyBuilder
from pybootd.dhcp4.request import (
    BOOTP,
    Arrival,
    DhcpRequest,
    names_server,
    read_ciaddr,
    read_kind,
    read_requested_ip,
    read_server_id,
)
from pybootd.dhcp4.subnets import LeaseHolders, Subnets
from pybootd.dhcp4.wire import options, pxe
from pybootd.dhcp4.wire.packet import (
    ACK,
    BOOTREQUEST,
    DECLINE,
    DISCOVER,
    INFORM,
    NOBODY,
    OFFER,
    RELEASE,
    REQUEST,
    MessageType,
    Packet,
)
from pybootd.leases.conflicts import ConflictWatch
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.pool import DECLINE_HOLD_S, Pool

log = logging.getLogger(__name__)

PROBE_TIME_S = 0.3
"""Seconds that an offer waits for the answer of a host that uses the address already."""


class DhcpHandler:
    """Answers requests; its memory is the leases of ``subnets`` and what ``clients`` knows.

    ``proxy`` answers for it those that have their address from another server; ``holders`` tells
    other protocols who is at which address.
    """

    def __init__(
        self,
        config: Config,
        subnets: Subnets,
        clients: ClientTable,
        access: Access | None = None,
        own_options: OwnOptions | None = None,
    ) -> None:
        self._bootp = config.bootp
        self._files, self._httpd = config.bootfile, config.httpd
        self._boot_classes = pxe.CLASSES + config.bootp.boot_classes
        self._by_client_id = config.bootp.identity == "client-id"
        self._subnets = subnets
        self._clients = clients
        self.holders = LeaseHolders(subnets, clients, config.profiles)
        self._admission = Admission(config, access)
        self._profiles = config.profiles
        self._replies = ReplyBuilder(config, own_options or OwnOptions())
        self._hints = BootFileHints()
        self._conflicts = ConflictWatch()
        self._reminder = once_per(REMIND_S)
        self.proxy = ProxyHandler(config, subnets, clients, self._admission, self._replies)
        self.offline = False
        """Whether the lease database is away."""

    def handle_request(self, packet: Packet, arrival: Arrival, now: float) -> list[Action]:
        """Say what to do about one request, in the order in which to do it."""
        kind = read_kind(packet)
        if packet.op != BOOTREQUEST:
            return []
        if kind in (DECLINE, RELEASE):
            return self._end_lease(packet, arrival, kind, now)
        place = self._subnets.choose_subnet(packet, arrival)
        owner = self.identify_client(packet.chaddr, packet.options.get(options.CLIENT_ID))
        if place is None or not owner:
            served = self._subnets.serves_an_interface
            refuse = self._admission.refuse_unknown_network
            return refuse(packet, arrival, now, served=served) if owner else []
        subnet, server = place
        lease = subnet.pool.find_lease(owner)
        known = self._clients.find_by_identity(packet.chaddr or owner)
        uuid = (known.uuid if known else None) or (lease.uuid if lease else None)
        had = lease.address if lease else None
        ciaddr = read_ciaddr(packet, kind, arrival)
        if not self._subnets.may_answer(packet, arrival, ciaddr):
            return []
        held = lease is not None and lease.state is not LeaseState.OFFERED
        link = arrival.interface.name
        client = pxe.read_client(packet, link, uuid, had, self._boot_classes, known=held)
        request = DhcpRequest(packet, arrival, subnet, server, client, owner, kind, ciaddr)
        if self._profiles:
            request.profile = self._profiles.find_profile(client)
        if kind == REQUEST and not self._subnets.includes_server_of(packet):
            return self._note_other_choice(request, lease, now)
        if kind not in (BOOTP, DISCOVER, REQUEST, INFORM):
            return []
        if not self._admission.boots_from_here(request, known, lease):
            reason, cause = "it does not boot from the network", RefusalCause.NOT_BOOTING
            return self._admission.refuse_request(request, reason, now, cause=cause)
        return self._admission.ask_access(request, self._decide_request, now)

    def identify_client(self, mac: bytes, client_id: bytes | None) -> bytes:
        """Return what tells clients apart here; empty for one that shows nothing."""
        return make_identity(mac, client_id, self._by_client_id)

    def waiting_requests(self) -> list[DhcpRequest]:
        """Return the requests whose answers wait for an access list or a probe."""
        return list(self._admission.waiting.values())

    # what is asked?

    def _decide_request(
        self,
        request: DhcpRequest,
        verdict: AccessDecision,
        now: float,
        probe_until: float | None = None,
    ) -> list[Action]:
        """Decide a request that may be served; ``probe_until``: when its probing has to end."""
        request.hostname = verdict.hostname or request.profile.hostname
        request.boot_file = choose_boot_file(request, verdict, self._files, self._httpd)
        if request.kind == INFORM:
            return [self._replies.build_reply(request, ACK, NOBODY, 0)]
        if self.offline and not self._is_lease_in_database(request, now):
            reason = "the lease database is away, and new clients wait for it"
            cause = RefusalCause.DATABASE_AWAY
            return self._admission.refuse_all_alike(request.client, reason, cause, now)
        if request.kind == DISCOVER:
            until = now + PROBE_TIME_S if probe_until is None else probe_until
            return self._offer_address(request, verdict, now, until)
        if request.kind == BOOTP:
            return self._answer_bootp(request, now)
        return self._decide_dhcp_request(request, now)

    def _decide_dhcp_request(self, request: DhcpRequest, now: float) -> list[Action]:
        """Decide a DHCPREQUEST by the state that its client is in (RFC 2131 4.3.2)."""
        if request.ciaddr is not NOBODY:  # RENEWING, REBINDING
            return self._extend_lease(request, request.ciaddr, now)
        requested_ip = read_requested_ip(request.packet)
        if not names_server(request.packet):  # INIT-REBOOT
            return self._confirm_rebooted(request, requested_ip, now) if requested_ip else []
        if requested_ip is None and request.packet.ciaddr is not NOBODY:
            requested_ip = request.packet.ciaddr  # RFC 1541 had no better place for it
        return self._confirm_selected(request, requested_ip, now) if requested_ip else []

    def _offer_address(
        self, request: DhcpRequest, verdict: AccessDecision, now: float, probe_until: float
    ) -> list[Action]:
        pool = request.subnet.pool
        requested_ip = read_requested_ip(request.packet)
        move = not self.offline  # known clients keep what the database is known to hold
        lease = pool.offer_address(request.owner, request.client.mac, now, requested_ip, move=move)
        if lease is None:
            return self._refuse_for_full_pool(request, now)
        pi = pxe.is_pi(request.packet)
        lease.booted |= pi  # it may use what it is offered, which every daemon has to know
        here = request.packet.giaddr is NOBODY  # a relay's network is out of ARP's reach
        if self._bootp.conflict_check and here and not lease.checked and now < probe_until:
            return self._probe_before_offer(request, verdict, lease, probe_until)
        seconds = self._lease_seconds(request, lease, now)
        reply = self._replies.build_reply(request, OFFER, lease.ipv4, seconds)
        pool.note_offer_sent(lease, idle=not pi)
        if pi:
            self.holders.note_offer_to_pi(request, lease)
        choice = request.boot_file
        elsewhere = self._subnets.other_file_server(request, choice.told)
        offered = Offered(
            request.client, lease.address, choice.told, elsewhere, file_reason=choice.reason
        )
        advice = self._hints.advise_once(request)
        return [reply, Publish(offered), *([Publish(advice)] if advice else [])]

    def _is_lease_in_database(self, request: DhcpRequest, now: float) -> bool:
        """Tell whether the lease database, which is away, is known to hold the client's lease."""
        lease = request.subnet.pool.find_lease(request.owner)
        return lease is not None and lease.stored_until > now

    def _lease_seconds(self, request: DhcpRequest, lease: Lease, now: float) -> float:
        seconds = self._replies.granted_seconds(request)
        if self.offline:  # no longer than the others know of
            return min(
                seconds, int(lease.stored_until - now) if lease.stored_until != FOREVER else seconds
            )
        return seconds

    def _refuse_for_full_pool(self, request: DhcpRequest, now: float) -> list[Action]:
        pool = request.subnet.pool
        reason, cause = f"no free address left in {pool}", RefusalCause.POOL
        return self._admission.refuse_all_alike(request.client, reason, cause, now)

    def _probe_before_offer(
        self, request: DhcpRequest, verdict: AccessDecision, lease: Lease, probe_until: float
    ) -> list[Action]:
        owner, address, pool = request.owner, lease.ipv4, request.subnet.pool
        self._admission.waiting[owner] = request

        def resume(user: bytes, now: float) -> list[Action]:
            newest = self._admission.waiting.pop(owner)
            # a second identity of the same machine, or who was offered it before, may have it now
            there = lease if pool.is_moving(lease) else pool.find_lease_at(address) or lease
            theirs = newest.client.mac if there.owner == owner else there.mac
            if user in (b"", theirs):
                there.checked = True
                return self._decide_request(newest, verdict, now)
            if not self._conflicts.believe_answer(user, address, now):
                self._note_false_user(user, pool, now)
                there.checked = True
                return self._decide_request(newest, verdict, now)
            pool.block_address(address, now)
            cause = ConflictCause.PROBED
            conflict = Publish(AddressConflict(newest.client, address, cause, user))
            return [conflict, *self._decide_request(newest, verdict, now, probe_until)]

        interface = request.arrival.interface.index
        return [Probe(address, interface, request.server, probe_until, resume)]

    def _note_false_user(self, user: bytes, pool: Pool, now: float) -> None:
        """Free the addresses for which a host answered that answers for all."""
        answered = self._conflicts.list_answered(user)
        for address in answered:
            pool.unblock_address(address, now)
        if self._reminder.take_token(user, now):
            log.warning(
                "dhcp: %s answers for every address that is probed, %s among them: proxy ARP or a "
                "fault there; its answers are not believed",
                user.hex(":"),
                ", ".join(str(address) for address in answered),
            )

    def _confirm_selected(
        self, request: DhcpRequest, address: IPv4Address, now: float
    ) -> list[Action]:
        """Confirm our offer; or adopt one made before a restart or taken back, if still free."""
        lease = self._claim_lease(request, address, now, chosen=True)
        if lease is None:
            return self._reject_request(request, f"{address} was not offered to this client", now)
        return self._acknowledge_lease(request, lease, now)

    def _confirm_rebooted(
        self, request: DhcpRequest, address: IPv4Address, now: float
    ) -> list[Action]:
        """Confirm the address of a client that comes back, INIT-REBOOT (RFC 2131 4.3.2)."""
        if address not in request.subnet.network:
            return self._reject_unknown(request, f"{address} is not of this network", now)
        existing_lease = request.subnet.pool.find_lease(request.owner)
        if existing_lease is None:
            return []  # no record of it: another server may have one
        if existing_lease.state is LeaseState.OFFERED and existing_lease.address != address:
            return []
        lease = self._claim_lease(request, address, now)
        if lease is None:
            return self._reject_request(request, f"{address} is not this client's", now)
        return self._acknowledge_lease(request, lease, now)

    def _extend_lease(self, request: DhcpRequest, address: IPv4Address, now: float) -> list[Action]:
        """Extend a lease, RENEWING or REBINDING; one that we don't know, if it may be ours."""
        if address not in request.subnet.network:
            return self._reject_unknown(request, f"{address} is not of this network", now)
        pool = request.subnet.pool
        existing_lease = pool.find_lease(request.owner)
        lease = self._claim_lease(request, address, now)
        if lease is not None:
            return self._acknowledge_lease(request, lease, now)
        if existing_lease is not None or pool.find_lease_at(address) is not None:
            return self._reject_request(request, f"{address} is not this client's", now)
        return self._reject_unknown(request, f"{address} is not in the pool", now)

    def _claim_lease(
        self, request: DhcpRequest, address: IPv4Address, now: float, *, chosen: bool = False
    ) -> Lease | None:
        """Return the lease of the address that the client names, if it is or can be its own."""
        pool = request.subnet.pool
        existing_lease, mac = pool.find_lease(request.owner), request.client.mac
        # who chooses the address that is kept for it gives up the other one now
        moves = chosen and not self.offline and pool.is_reserved_for(address, mac)
        if existing_lease is not None and existing_lease.address != address and not moves:
            return None
        return pool.claim_address(address, request.owner, mac, now, chosen=chosen)

    def _acknowledge_lease(self, request: DhcpRequest, lease: Lease, now: float) -> list[Action]:
        seconds = self._lease_seconds(request, lease, now)
        return self._bind_lease(request, lease, ACK, seconds, now)

    def _answer_bootp(self, request: DhcpRequest, now: float) -> list[Action]:
        """Answer a BOOTP request: an address for good (RFC 951, RFC 1534 3)."""
        packet = request.packet
        if packet.sname not in (b"", self._bootp.servername.encode()):
            return []  # RFC 951 7.3: it wants another server
        if request.ciaddr is not NOBODY:
            return [self._replies.build_reply(request, None, NOBODY, FOREVER)]
        move = not self.offline
        lease = request.subnet.pool.offer_address(request.owner, request.client.mac, now, move=move)
        if lease is None:
            return self._refuse_for_full_pool(request, now)
        return self._bind_lease(request, lease, None, FOREVER, now)

    def _bind_lease(
        self,
        request: DhcpRequest,
        lease: Lease,
        kind: MessageType | None,
        seconds: float,
        now: float,
    ) -> list[Action]:
        client, choice = request.client, request.boot_file
        if client.address != lease.address:
            client = replace(client, address=lease.address)
        lease.client_id = client.client_id
        lease.mac = client.mac
        lease.hostname = request.hostname or client.hostname
        lease.uuid = client.uuid
        self.holders.note_lease(request, client, lease)
        request.subnet.pool.bind_lease(lease, seconds, now)
        elsewhere = self._subnets.other_file_server(request, choice.told)
        booting, why = client.network_boot, choice.reason
        event = Confirmed(client, lease.address, choice.told, booting, elsewhere, file_reason=why)
        reply = self._replies.build_reply(request, kind, lease.ipv4, seconds)
        return [reply, Publish(event, durable=True)]

    # no

    def _reject_request(self, request: DhcpRequest, reason: str, now: float) -> list[Action]:
        cause = RefusalCause.WRONG_ADDRESS
        nak = self._replies.build_nak(request, reason)
        return [nak, *self._admission.refuse_request(request, reason, now, cause=cause)]

    def _reject_unknown(self, request: DhcpRequest, reason: str, now: float) -> list[Action]:
        """Reject what we don't know of, unless another server here may know it."""
        if not self._bootp.authoritative:
            return self._admission.refuse_request(
                request, reason, now, logging.DEBUG, RefusalCause.WRONG_ADDRESS
            )
        return self._reject_request(request, reason, now)

    # what clients give up

    def _note_other_choice(
        self, request: DhcpRequest, lease: Lease | None, now: float
    ) -> list[Action]:
        if lease is not None and lease.state is LeaseState.OFFERED:
            request.subnet.pool.withdraw_offer(lease, now)
        return [Publish(ChoseAnother(request.client, read_server_id(request.packet)))]

    def _end_lease(self, packet: Packet, arrival: Arrival, kind: int, now: float) -> list[Action]:
        """Note a DECLINE or RELEASE; from anyone but the owner it does nothing."""
        requested_ip = read_requested_ip(packet)
        address = (requested_ip or NOBODY) if kind == DECLINE else packet.ciaddr
        subnet = self._subnets.find_subnet(address)
        owner = self.identify_client(packet.chaddr, packet.options.get(options.CLIENT_ID))
        lease = subnet.pool.find_lease(owner) if subnet is not None and owner else None
        if subnet is None or lease is None or lease.address != address:
            return []
        if not self._subnets.includes_server_of(packet):
            return []
        client = pxe.read_client(packet, arrival.interface.name, lease.uuid, address)
        if kind == DECLINE:
            if not lease.is_active(now):
                return []  # RFC 2131 3.1, 5: it is an address that we confirmed which it declines
            believed = self._conflicts.believe_decline(owner, now)
            subnet.pool.block_address(address, now, DECLINE_HOLD_S if believed else 0.0)
            self.holders.note_release(client)
            return [Publish(AddressConflict(client, address, ConflictCause.DECLINED))]
        if lease.state not in (LeaseState.OFFERED, LeaseState.BOUND):
            return []
        subnet.pool.release_lease(lease, now)
        self.holders.note_release(client)
        return [Publish(Released(client, address, client.network_boot), durable=True)]
