"""A request and a moment in, what to do out: every decision of the DHCP server, without I/O."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from pybootd.access.base import Access, AccessDecision
from pybootd.config.loader import Config
from pybootd.core.client import Client, IPAddress, make_identity
from pybootd.core.client_table import ClientTable
from pybootd.core.events import (
    AddressConflict,
    ChoseAnother,
    Confirmed,
    ConflictCause,
    Offered,
    RefusalCause,
    Refused,
    Released,
)
from pybootd.core.rate_limit import REMIND_S, once_per
from pybootd.dhcp4.actions import Effect, Probe, Publish
from pybootd.dhcp4.admission import Admission
from pybootd.dhcp4.advice import Advisor
from pybootd.dhcp4.proxy.handler import ProxyHandler
from pybootd.dhcp4.reply import ReplyBuilder
from pybootd.dhcp4.subnets import Arrival, DhcpRequest, Subnets, override
from pybootd.dhcp4.wire import options, pxe
from pybootd.dhcp4.wire.packet import BOOTREQUEST, NOBODY, MessageType, Packet
from pybootd.leases.lease import FOREVER, Lease, LeaseState

log = logging.getLogger(__name__)

BOOTP = 0  # the kind of a request without option 53
PROBE_TIME = 0.3  # seconds that an offer waits for somebody who uses the address already


class DhcpHandler:
    """Answers requests; its memory is the leases of ``networks`` and what ``clients`` knows.

    ``proxy`` answers for it those that have their address from another server.
    """

    def __init__(
        self,
        config: Config,
        networks: Subnets,
        clients: ClientTable,
        access: Access | None = None,
        settings: Sequence[options.Setting] = (),
    ) -> None:
        self._bootp = config.bootp
        self._boot_classes = pxe.CLASSES + config.bootp.boot_classes
        self._by_client_id = config.bootp.identity == "client-id"
        self._networks = networks
        self._clients = clients
        self._admission = Admission(config, access)
        self._profiles = config.profiles
        self._replies = ReplyBuilder(config, settings)
        self._advisor = Advisor(self._replies)
        self.proxy = ProxyHandler(config, networks, clients, self._admission, self._replies)
        self._reminder = once_per(REMIND_S)
        self.offline = False  # the lease database is away

    def handle(self, packet: Packet, origin: Arrival, now: float) -> list[Effect]:
        """Say what to do about one request, in the order in which to do it."""
        kind = int.from_bytes(packet.options.get(options.TYPE, b""))
        if packet.op != BOOTREQUEST:
            return []
        if kind in (MessageType.DECLINE, MessageType.RELEASE):
            return self._given_up(packet, origin, kind, now)
        place = self._networks.choose(packet, origin)
        owner = self.identify_client(packet.chaddr, packet.options.get(options.CLIENT_ID))
        if place is None or not owner:
            return []
        network, server = place
        lease = network.pool.find_lease(owner)
        known = self._clients.by_mac(packet.chaddr)
        uuid = (known.uuid if known else None) or (lease.uuid if lease else None)
        had = lease.address if lease else None
        client = pxe.read_client(packet, origin.interface.name, uuid, had, self._boot_classes)
        request = DhcpRequest(packet, origin, network, server, client, owner, kind)
        if self._profiles:
            request.profile = self._profiles.of(client)
        if kind == MessageType.REQUEST and not self.is_for_us(packet):
            return self._chose_another(request, lease, now)
        if kind not in (BOOTP, MessageType.DISCOVER, MessageType.REQUEST, MessageType.INFORM):
            return []
        if not self._admission.boots_here(request, known, lease):
            return self._admission.refuse(
                request,
                "it does not boot from the network",
                now,
                cause=RefusalCause.NOT_BOOTING,
            )
        return self._admission.ask(request, self._decide, now)

    def identify_client(self, mac: bytes, client_id: bytes | None) -> bytes:
        """Return what tells clients apart here; empty for one that shows nothing."""
        return make_identity(mac, client_id, self._by_client_id)

    def recall(self, now: float) -> None:
        """Note the clients of the leases that a store kept, so that other protocols know them."""
        for network in self._networks:
            for lease in network.pool.list_leases():
                if lease.is_active(now):
                    self._note(lease)

    def place(self, lease: Lease, now: float) -> None:
        """Note whose the address is after another daemon has changed its lease."""
        known = self._clients.by_address(lease.address)
        if lease.is_active(now):
            self._note(lease)
        elif known is not None and lease.state is not LeaseState.OFFERED:
            self._clients.place(known, None)

    def _note(self, lease: Lease) -> None:
        known = self._clients.seen(Client(lease.mac, lease.uuid))
        known.booted, known.hostname = lease.booted, lease.hostname
        known.variables = dict(self._profiles.of(known.client).variables)
        self._clients.place(known, lease.address)

    def waiting(self) -> list[DhcpRequest]:
        """Return the requests whose answers wait for somebody else."""
        return list(self._admission.waiting.values())

    def forget(self, addresses: Collection[IPAddress], now: float) -> list[Effect]:
        """Take these addresses from their clients: a person took them out of the store."""
        effects: list[Effect] = []
        for address in addresses:
            network = self._networks.holding(address)
            lease = network.pool.forget_lease(address, now) if network is not None else None
            if lease is not None and lease.owner:
                known = self._clients.by_mac(lease.mac)
                if known is not None and known.address == address:
                    self._clients.place(known, None)
                client = Client(lease.mac, lease.uuid, lease.client_id, address=address)
                effects.append(Publish(Released(client, address, booting=False)))
        return effects

    # what is asked?

    def _decide(self, request: DhcpRequest, verdict: AccessDecision, now: float) -> list[Effect]:
        if request.kind == MessageType.INFORM:
            return self._inform(request, verdict)
        if self.offline and not self._keeps(request, now):
            return self._put_off(request, now)
        if request.kind == MessageType.DISCOVER:
            return self._discover(request, verdict, now, now + PROBE_TIME)
        if request.kind == BOOTP:
            return self._boot(request, verdict, now)
        packet = request.packet
        wanted = _wanted_address(packet)
        if options.SERVER_ID in packet.options:
            return self._selecting(request, verdict, wanted or packet.ciaddr, now)
        if packet.ciaddr != NOBODY:
            return self._renewing(request, verdict, packet.ciaddr, now)
        return [] if wanted is None else self._init_reboot(request, verdict, wanted, now)

    def _discover(
        self, request: DhcpRequest, verdict: AccessDecision, now: float, deadline: float
    ) -> list[Effect]:
        pool = request.network.pool
        wanted = _wanted_address(request.packet)
        move = not self.offline  # known clients keep what the database is known to hold
        lease = pool.offer_address(request.owner, request.client.mac, now, wanted, move=move)
        if lease is None:
            return self._exhausted(request, now)
        pi = pxe.is_pi(request.packet)
        lease.booted |= pi  # it may use what it is offered, which every daemon has to know
        here = request.packet.giaddr == NOBODY  # a relay's network is out of ARP's reach
        if self._bootp.conflict_check and here and not lease.checked and now < deadline:
            return self._probe(request, verdict, lease, deadline)
        boot_file = self._boot_file(request, verdict)
        seconds = self._lease_time(request, lease, now)
        reply = self._replies.give(
            request, MessageType.OFFER, lease.ipv4, seconds, boot_file, verdict.hostname
        )
        pool.note_offer_sent(lease, idle=not pi)
        if pi:
            self._expect_no_request(request, lease)
        elsewhere = self._networks.elsewhere(request, boot_file)
        offered = Publish(Offered(request.client, lease.address, boot_file, elsewhere))
        return [reply, offered, *self._advisor.advise(request, verdict.file)]

    def _expect_no_request(self, request: DhcpRequest, lease: Lease) -> None:
        """Know the client at the address offered: a Pi 3's ROM uses it without a REQUEST."""
        known = self._clients.seen(request.client)
        known.booted, known.server = True, request.server
        known.variables = dict(request.profile.variables)
        self._clients.place(known, lease.address)

    def _keeps(self, request: DhcpRequest, now: float) -> bool:
        """Tell whether the lease database, which is away, is known to hold the client's lease."""
        lease = request.network.pool.find_lease(request.owner)
        return lease is not None and lease.stored_until > now

    def _put_off(self, request: DhcpRequest, now: float) -> list[Effect]:
        reason = "the lease database is away, and new clients wait for it"
        level = logging.WARNING if self._reminder.take_token("away", now) else logging.DEBUG
        return [Publish(Refused(request.client, reason, level, RefusalCause.DATABASE_AWAY))]

    def _lease_time(self, request: DhcpRequest, lease: Lease, now: float) -> float:
        seconds = self._replies.lease_time(request)
        if self.offline:  # no longer than the others know of
            return min(
                seconds, int(lease.stored_until - now) if lease.stored_until != FOREVER else seconds
            )
        return seconds

    def _exhausted(self, request: DhcpRequest, now: float) -> list[Effect]:
        pool = request.network.pool
        reason = f"no free address left in {pool}"
        level = logging.WARNING if self._reminder.take_token(pool, now) else logging.DEBUG
        return [Publish(Refused(request.client, reason, level, RefusalCause.POOL))]

    def _probe(
        self, request: DhcpRequest, verdict: AccessDecision, lease: Lease, deadline: float
    ) -> list[Effect]:
        owner, address, pool = request.owner, lease.ipv4, request.network.pool
        self._admission.waiting[owner] = request

        def resume(user: bytes, now: float) -> list[Effect]:
            newest = self._admission.waiting.pop(owner)
            # a second identity of the same machine, or who was offered it before, may have it now
            there = lease if pool.is_moving(lease) else pool.find_lease_at(address) or lease
            theirs = newest.client.mac if there.owner == owner else there.mac
            if user in (b"", theirs):
                there.checked = True
                return self._decide(newest, verdict, now)
            pool.block_address(address, now)
            cause = ConflictCause.PROBED
            conflict = Publish(AddressConflict(newest.client, address, cause, user))
            if newest.kind != MessageType.DISCOVER:
                return [conflict, *self._decide(newest, verdict, now)]
            return [conflict, *self._discover(newest, verdict, now, deadline)]

        interface = request.origin.interface.index
        return [Probe(address, interface, request.server, deadline, resume)]

    def _selecting(
        self, request: DhcpRequest, verdict: AccessDecision, address: IPv4Address, now: float
    ) -> list[Effect]:
        """Confirm our offer; or adopt one made before a restart or taken back, if still free."""
        lease = self._claim(request, address, now, chosen=True)
        if lease is None:
            return self._nak(request, f"{address} was not offered to this client", now)
        return self._confirm(request, verdict, lease, now)

    def _init_reboot(
        self, request: DhcpRequest, verdict: AccessDecision, address: IPv4Address, now: float
    ) -> list[Effect]:
        """Confirm the address of a client that comes back (RFC 2131 4.3.2)."""
        if address not in request.network.network:
            return self._nak_unknown(request, f"{address} is not of this network", now)
        had = request.network.pool.find_lease(request.owner)
        if had is None or (had.state is LeaseState.OFFERED and had.address != address):
            return []  # no record of it: another server may have one
        lease = self._claim(request, address, now)
        if lease is None:
            return self._nak(request, f"{address} is not this client's", now)
        return self._confirm(request, verdict, lease, now)

    def _renewing(
        self, request: DhcpRequest, verdict: AccessDecision, address: IPv4Address, now: float
    ) -> list[Effect]:
        """Extend a lease, RENEWING or REBINDING; one that we don't know, if it may be ours."""
        if address not in request.network.network:
            return self._nak_unknown(request, f"{address} is not of this network", now)
        pool = request.network.pool
        had = pool.find_lease(request.owner)
        lease = self._claim(request, address, now)
        if lease is not None:
            return self._confirm(request, verdict, lease, now)
        if had is not None or pool.find_lease_at(address) is not None:
            return self._nak(request, f"{address} is not this client's", now)
        return self._nak_unknown(request, f"{address} is not in the pool", now)

    def _claim(
        self, request: DhcpRequest, address: IPv4Address, now: float, *, chosen: bool = False
    ) -> Lease | None:
        """Return the lease of the address that the client names, if it is or can be its own."""
        pool = request.network.pool
        had, mac = pool.find_lease(request.owner), request.client.mac
        # who chooses the address that is kept for it gives up the other one now
        moves = chosen and not self.offline and pool.is_reserved_for(address, mac)
        if had is not None and had.address != address and not moves:
            return None
        return pool.claim_address(address, request.owner, mac, now, chosen=chosen)

    def _confirm(
        self, request: DhcpRequest, verdict: AccessDecision, lease: Lease, now: float
    ) -> list[Effect]:
        seconds = self._lease_time(request, lease, now)
        return self._bind(request, verdict, lease, MessageType.ACK, seconds, now)

    def _boot(self, request: DhcpRequest, verdict: AccessDecision, now: float) -> list[Effect]:
        """Answer a BOOTP request: an address for good (RFC 951, RFC 1534 3)."""
        packet = request.packet
        if packet.sname not in (b"", self._bootp.servername.encode()):
            return []  # RFC 951 7.3: it wants another server
        if packet.ciaddr != NOBODY:
            boot_file = self._boot_file(request, verdict)
            return [self._replies.give(request, None, NOBODY, FOREVER, boot_file)]
        move = not self.offline
        lease = request.network.pool.offer_address(
            request.owner, request.client.mac, now, move=move
        )
        if lease is None:
            return self._exhausted(request, now)
        return self._bind(request, verdict, lease, None, FOREVER, now)

    def _bind(
        self,
        request: DhcpRequest,
        verdict: AccessDecision,
        lease: Lease,
        kind: MessageType | None,
        seconds: float,
        now: float,
    ) -> list[Effect]:
        client = request.client
        if client.address != lease.address:
            client = replace(client, address=lease.address)
        boot_file = self._boot_file(request, verdict)
        lease.client_id = client.client_id
        lease.mac = client.mac
        lease.hostname = verdict.hostname or client.hostname
        lease.uuid = client.uuid
        known = self._clients.seen(client)
        known.booted = known.booted or lease.booted or client.network_boot
        lease.booted = known.booted
        request.network.pool.bind_lease(lease, seconds, now)
        self._clients.place(known, lease.address)
        known.hostname = lease.hostname or known.hostname
        known.server = request.server
        known.file = verdict.file or known.file
        known.variables = dict(request.profile.variables)
        if client.network_boot:
            known.boot_file = boot_file
        elsewhere = self._networks.elsewhere(request, boot_file)
        event = Confirmed(client, lease.address, boot_file, client.network_boot, elsewhere)
        reply = self._replies.give(request, kind, lease.ipv4, seconds, boot_file, verdict.hostname)
        return [reply, Publish(event, durable=True)]

    def _inform(self, request: DhcpRequest, verdict: AccessDecision) -> list[Effect]:
        """Give a client that has an address all but a lease (RFC 2131 4.3.5)."""
        boot_file = self._boot_file(request, verdict)
        return [
            self._replies.give(request, MessageType.ACK, NOBODY, 0, boot_file, verdict.hostname)
        ]

    def _boot_file(self, request: DhcpRequest, verdict: AccessDecision) -> str:
        return self._replies.boot_file(request, verdict.file)

    # no

    def _nak(self, request: DhcpRequest, reason: str, now: float) -> list[Effect]:
        return [
            self._replies.refuse(request, reason),
            *self._admission.refuse(request, reason, now, cause=RefusalCause.WRONG_ADDRESS),
        ]

    def _nak_unknown(self, request: DhcpRequest, reason: str, now: float) -> list[Effect]:
        """Refuse what we don't know of, unless another server here may know it."""
        if not self._bootp.authoritative:
            return self._admission.refuse(
                request, reason, now, logging.DEBUG, RefusalCause.WRONG_ADDRESS
            )
        return self._nak(request, reason, now)

    # what clients give up

    def is_for_us(self, packet: Packet) -> bool:
        """Tell whether the request names no other server."""
        named = packet.options.get(options.SERVER_ID)
        if named is None or named in self._networks.identifiers:
            return True
        other = override(packet)
        return other is not None and named == other.packed

    def _chose_another(self, request: DhcpRequest, lease: Lease | None, now: float) -> list[Effect]:
        if lease is not None and lease.state is LeaseState.OFFERED:
            request.network.pool.withdraw_offer(lease, now)
        named = request.packet.options[options.SERVER_ID]
        other = IPv4Address(named) if len(named) == 4 else None
        return [Publish(ChoseAnother(request.client, other))]

    def _given_up(self, packet: Packet, origin: Arrival, kind: int, now: float) -> list[Effect]:
        """Note a DECLINE or RELEASE; from anyone but the owner it does nothing."""
        wanted = _wanted_address(packet)
        address = (wanted or NOBODY) if kind == MessageType.DECLINE else packet.ciaddr
        network = self._networks.holding(address)
        owner = self.identify_client(packet.chaddr, packet.options.get(options.CLIENT_ID))
        lease = network.pool.find_lease(owner) if network is not None and owner else None
        if network is None or lease is None or lease.address != address:
            return []
        if not self.is_for_us(packet) or lease.state not in (LeaseState.OFFERED, LeaseState.BOUND):
            return []
        client = pxe.read_client(packet, origin.interface.name, lease.uuid, address)
        if kind == MessageType.DECLINE:
            network.pool.block_address(address, now)
            return [Publish(AddressConflict(client, address, ConflictCause.DECLINED))]
        network.pool.release_lease(lease, now)
        known = self._clients.by_mac(client.mac)
        if known is not None:
            self._clients.place(known, None)
        return [Publish(Released(client, address, client.network_boot), durable=True)]


def _wanted_address(packet: Packet) -> IPv4Address | None:
    value = packet.options.get(options.REQUESTED)
    return IPv4Address(value) if value is not None and len(value) == 4 else None
