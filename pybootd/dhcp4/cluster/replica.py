"""Memory follows the database: what other daemons did to leases is taken over here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address

from pybootd.core.client import IPAddress
from pybootd.dhcp4.actions import Action, Publish
from pybootd.dhcp4.cluster.group import SharingServer
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.shared.local_copy import LocalCopy
from pybootd.leases.shared.pool import SharedPool
from pybootd.leases.shared.postgres import DatabaseReply
from pybootd.leases.shared.rows import Row, make_row


class Replica:
    """The pools of ``server`` as a copy of the database, in which we are ``daemon_name``."""

    def __init__(self, server: SharingServer, daemon_name: str, copy: LocalCopy | None) -> None:
        self._server = server
        self._daemon_name = daemon_name
        self._copy = copy

    def make_network_row(self, lease: Lease) -> Row:
        """Return the lease's row, with the network in which its client has no other."""
        return make_row(lease, self._server.subnets.surrounding_network(lease.address))

    def drop_address(self, number: int, now: float) -> None:
        """Forget what is known of an address of which the database knows nothing."""
        address = IPv4Address(number)
        pool = self._find_pool(address)
        if pool is not None:
            pool.drop_lease(address, now)

    def drop_unknown(self, kept: Collection[int], now: float) -> None:
        """Forget the leases that no database ever had, but for the addresses ``kept``."""
        for network in self._server.subnets:
            for lease in list(network.pool.list_leases()):
                if not lease.version and int(lease.address) not in kept:
                    self.drop_address(int(lease.address), now)

    def find_disputed(self, failed: Sequence[Row], reply: DatabaseReply, now: float) -> set[int]:
        """Return the addresses of which memory counts for nothing, since it was wrong."""
        around = self._server.subnets.surrounding_network
        owners = {(row[1], around(IPv4Address(row[0]))) for row in failed if row[1]}
        there = {int(lease.address) for lease, _ in reply.leases}
        disputed = {row[0] for row in failed}
        for number in disputed - there:
            self.drop_address(number, now)
        return disputed | {
            int(one.address)
            for one, _ in reply.leases
            if (one.owner, around(one.address)) in owners
        }

    def learn_reply(
        self,
        reply: DatabaseReply,
        find_pending: Callable[[], set[int]],
        now: float,
        disputed: Collection[int] = (),
    ) -> list[Action]:
        """Take over what others did.

        ``disputed``: addresses of which memory counts for nothing; ``find_pending`` tells those
        whose leases are still to be written.
        """
        effects: list[Action] = []
        pending: set[int] | None = None
        for lease, writer in reply.leases:
            pool = self._find_pool(lease.address)
            if pool is None:
                continue
            number = int(lease.address)
            current = pool.find_lease_at(lease.address)
            if self._copy is not None:
                self._copy.note_change(lease)
            if current is not None and number not in disputed:
                if current.version >= lease.version:
                    continue
                if pending is None:
                    pending = find_pending()
                same = current.owner == lease.owner
                offered = current.state is lease.state is LeaseState.OFFERED
                # an offer that is still to be written undoes no lease that another daemon made
                behind = current.state is LeaseState.OFFERED and not offered
                ours = writer == self._daemon_name
                if ours or (number in pending and same and not behind):
                    current.version = lease.version
                    current.stored_until = lease.stored_until if same else 0.0
                    if same and offered:
                        pool.note_offer_stored(current)
                    continue
            effects += self._take_over(pool, lease, by_hand=not writer, now=now)
        return effects

    def _take_over(
        self, pool: SharedPool, lease: Lease, *, by_hand: bool, now: float
    ) -> list[Action]:
        handler, effects = self._server.handler, list[Action]()
        if lease.owner:
            lease.owner = handler.identify_client(lease.mac, lease.client_id)
        if lease.state is LeaseState.FREE:
            if by_hand:
                gone = handler.holders.forget_addresses([lease.address], now)
                effects = [Publish(event) for event in gone]
            self._server.subnets.changed.pop(int(lease.address), None)
        pool.learn_lease(lease)
        handler.holders.follow_lease(lease, now)
        return effects

    def _find_pool(self, address: IPAddress) -> SharedPool | None:
        network = self._server.subnets.find_subnet(address)
        return network.pool if network and isinstance(network.pool, SharedPool) else None
