"""Who is served: clients that boot from the network, and that the access list lets in."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pybootd.access.base import Access, AccessDecision
from pybootd.config.loader import Config
from pybootd.core.client import Client, KnownClient
from pybootd.core.events import RefusalCause, Refused
from pybootd.core.rate_limit import REMIND_S, once_per
from pybootd.core.workers import TaskResult, TooManyWaitingError
from pybootd.dhcp4.actions import Action, Publish, Wait
from pybootd.dhcp4.request import Arrival, DhcpRequest, read_selected_subnet
from pybootd.dhcp4.wire import pxe
from pybootd.dhcp4.wire.packet import NOBODY, Packet
from pybootd.leases.lease import Lease

log = logging.getLogger(__name__)

Decide = Callable[[DhcpRequest, AccessDecision, float], list[Action]]

_ALLOWED = AccessDecision(True, "all are served")


class Admission:
    """Asks the access list, once for all requests of a client that come meanwhile.

    ``waiting`` holds the newest request of each client whose answer has to wait.
    """

    def __init__(self, config: Config, access: Access | None) -> None:
        self._bootp = config.bootp
        self._static = config.static
        self._access = access
        self._reminder = once_per(REMIND_S)
        self.waiting: dict[bytes, DhcpRequest] = {}

    def boots_from_here(
        self, request: DhcpRequest, known: KnownClient | None, lease: Lease | None
    ) -> bool:
        """Tell whether the client network-boots, or did so from us, or all are served."""
        return (
            request.client.network_boot
            or self._bootp.allow_simple_dhcp
            or (known is not None and known.booted)
            or (lease is not None and lease.booted)
        )

    def ask_access(self, request: DhcpRequest, decide: Decide, now: float) -> list[Action]:
        """Do what ``decide`` says of a request that may be served, now or later."""
        if request.owner in self.waiting:  # asked already: the newest request gets the answer
            self.waiting[request.owner] = request
            return []
        if self._access is None:
            return decide(request, _ALLOWED, now)
        verdict = self._access.check(request.client)
        if isinstance(verdict, AccessDecision):
            return self._judge_client(request, verdict, decide, now)
        owner = request.owner
        self.waiting[owner] = request

        def resume(outcome: TaskResult[AccessDecision], now: float) -> list[Action]:
            newest = self.waiting.pop(owner)
            try:
                found = outcome.get()
            except TooManyWaitingError:
                reason = "more clients ask than the access list can answer"
                return self.refuse_all_alike(newest.client, reason, RefusalCause.NO_ACCESS, now)
            except Exception as error:
                log.debug("the access list failed", exc_info=True)
                found = AccessDecision(None, f"access: {error}", error=True)
            return self._judge_client(newest, found, decide, now)

        return [Wait(verdict, resume)]

    def _judge_client(
        self, request: DhcpRequest, verdict: AccessDecision, decide: Decide, now: float
    ) -> list[Action]:
        if verdict.error:
            return self.refuse_request(
                request, verdict.reason, now, logging.ERROR, RefusalCause.NO_ACCESS
            )
        # a reservation speaks for its MAC where no list denies it
        allowed = request.client.mac in self._static if verdict.allow is None else verdict.allow
        if not allowed:
            return self.refuse_request(request, verdict.reason, now, cause=RefusalCause.ACCESS)
        return decide(request, verdict, now)

    def refuse_request(
        self,
        request: DhcpRequest,
        reason: str,
        now: float,
        level: int = logging.INFO,
        cause: RefusalCause = RefusalCause.OTHER,
    ) -> list[Action]:
        """Leave the request unanswered, and say so once in a while."""
        if not self._reminder.take_token((request.client.identity, reason), now):
            level = logging.DEBUG
        return [Publish(Refused(request.client, reason, level, cause))]

    def refuse_all_alike(
        self, client: Client, reason: str, cause: RefusalCause, now: float
    ) -> list[Action]:
        """Leave a request unanswered for a reason that isn't the client's: one warning for all."""
        level = logging.WARNING if self._reminder.take_token(reason, now) else logging.DEBUG
        return [Publish(Refused(client, reason, level, cause))]

    def refuse_unknown_network(
        self, packet: Packet, arrival: Arrival, now: float, *, served: bool
    ) -> list[Action]:
        """Say that no pool is on the network of a relay, or of any interface that was asked on.

        Where another interface has a pool (``served``), clients of this one are no concern.
        """
        client = pxe.read_client(packet, arrival.interface.name)
        if packet.giaddr == NOBODY:
            if served or not client.network_boot:
                return []
            own = ", ".join(str(one) for one in arrival.interface.addresses) or "no address"
            reason = f"no pool is on the network of {arrival.interface.name}, which has {own}"
            return self.refuse_all_alike(client, reason, RefusalCause.NO_SUBNET, now)
        chosen = read_selected_subnet(packet) or packet.giaddr
        reason = f"no [subnet] has {chosen}, by which its relay {packet.giaddr} asks for it"
        return self.refuse_all_alike(client, reason, RefusalCause.NO_SUBNET, now)
