"""Port 67: datagrams in, what the responder decides out."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from pybootd.access.base import Access
from pybootd.config.ini import Section
from pybootd.config.loader import Config
from pybootd.config.values import ANY
from pybootd.core.client import IPAddress
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, Malformed
from pybootd.core.loop import Loop, Timer
from pybootd.core.rate_limit import REMIND_S, once_per
from pybootd.dhcp4.actions import Effect, Probe, Publish, Wait
from pybootd.dhcp4.cluster.load_balance import LoadBalance
from pybootd.dhcp4.handler import DhcpHandler
from pybootd.dhcp4.overload import OverloadFilter
from pybootd.dhcp4.proxy import handler
from pybootd.dhcp4.proxy.detect import LinkRole, is_probe
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.sockets import DhcpSockets
from pybootd.dhcp4.subnets import Arrival, Subnets
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.ethernet import Ethernet, datagram
from pybootd.dhcp4.wire.packet import NOBODY, DhcpPacketError, MessageType, Packet, decode
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.sqlite import open_store
from pybootd.leases.store import LeaseStore, MemoryStore, StoreError, StoreLost
from pybootd.system import interfaces, sockets

if TYPE_CHECKING:
    from pybootd.dhcp4.cluster.coordinator import Coordinator
    from pybootd.dhcp4.proxy.detector import Detector

log = logging.getLogger(__name__)

PAUSE = 0.01  # seconds after leases were saved in which requests gather, to share the next save
RECEIVE_BUFFER = 4 << 20  # octets: a thousand machines that start at once
_ORIGINS = 1024  # places that requests come from, remembered
_FIRMWARE_ASKS = 67  # RFC 2131 4.1
_SETTLE = 0.2  # seconds until interfaces that have changed are looked at: changes come in droves
_LOOK_AGAIN = 1.0  # seconds between two looks at the interfaces


_text = lru_cache(maxsize=1024)(IPv4Address.__str__)


class DhcpServer:
    """The DHCP server on its port, on all interfaces or on those named."""

    def __init__(
        self,
        config: Config,
        loop: Loop,
        bus: EventBus,
        clients: ClientTable,
        access: Access | None = None,
        store: LeaseStore | None = None,
    ) -> None:
        self._loop = loop
        self._bus = bus
        self._clients = clients
        self._store = store
        self._sharing: Coordinator | None = None  # where others give addresses, too
        self._configure(config, access)
        self._ethernet = Ethernet(loop)
        port = config.bootp.port
        self._rush = OverloadFilter(lambda: self._networks.leases())
        self._ports = DhcpSockets(loop, port, "DHCP server", "[bootp] port", RECEIVE_BUFFER)
        self._boot_ports = DhcpSockets(loop, handler.PORT, "PXE boot server", "[bootp] mode")
        self._lookout: Detector | None = None
        if config.bootp.mode == "auto":
            from pybootd.dhcp4.proxy.detector import Detector  # what it needs is dear to load

            self._lookout = Detector(loop, bus, self._ethernet)
        self._changes: socket.socket | None = None
        self._look_due: Timer | None = None
        self._interfaces: dict[int, interfaces.Interface] = {}
        self._origins: dict[tuple[int, str, str, str], Arrival] = {}
        self._looked = 0.0
        self._reminder = once_per(REMIND_S)

    def _configure(self, config: Config, access: Access | None) -> None:
        """Make all that follows from the configuration; raises ConfigError."""
        settings = options.from_config(config.sections.get("options", Section("options")))
        self._config = config
        parts = config.bootp.share
        self._share = LoadBalance(*parts) if parts[1] > 1 else None
        self._networks = Subnets(config)
        self._responder = DhcpHandler(config, self._networks, self._clients, access, settings)

    @property
    def responder(self) -> DhcpHandler:
        """Who decides."""
        return self._responder

    @property
    def networks(self) -> Subnets:
        """The networks that are served, with their pools and leases."""
        return self._networks

    # life

    def open(self) -> None:
        """Bind the ports; raises BindError."""
        self._look(self._loop.now)
        devices = {one.index: one.name for one in self._devices()}
        try:
            self._ports.open(devices)
            self._open_boot_ports(devices)
            self._ethernet.open()
            self._changes = interfaces.open_change_socket()
            if self._lookout is not None:
                self._lookout.open()
            self._complain()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Load the leases, and serve from the next turn of the loop on; raises BindError.

        The leases belong to whom the daemon is now: it bound its ports as somebody else, perhaps.
        """
        try:
            self._restore()
        except StoreError as error:
            raise sockets.BindError(f"DHCP server: {error}") from error
        self._ports.start(partial(self._drain, False))
        self._boot_ports.start(partial(self._drain, True))
        if self._lookout is not None:
            self._lookout.start()
            self._lookout.follow(filter(self._serves, self._interfaces.values()), self._loop.now)
        if self._changes is not None:
            self._loop.watch(self._changes, self._changed)

    def reload(self, config: Config, access: Access | None) -> None:
        """Serve by another configuration from now on; raises ConfigError, and nothing is changed.

        Leases, offers and sockets stay. What waits for somebody else is asked anew.
        """
        before, waiting, now = self._networks, self._responder.waiting(), self._loop.now
        self._configure(config, access)
        self._networks.refresh(self._interfaces.values())
        self._networks.changed.update(before.changed)
        self._take(before.leases(), now)
        if self._sharing is not None:
            self._sharing.reread_all()
        effects: list[Effect] = []
        for request in waiting:
            effects += self._respond(request.packet, request.origin, now)
        self.carry_out(effects, now)
        self._complain()

    def _complain(self) -> None:
        served = [one for one in self._interfaces.values() if self._serves(one)]
        for text in self._networks.complaints(served):
            log.warning("%s", text)

    def close(self) -> None:
        """Stop serving and give everything back; may be called twice."""
        self._ports.close()
        self._boot_ports.close()
        if self._lookout is not None:
            self._lookout.close()
        if self._changes is not None:
            self._loop.unwatch(self._changes)
            self._changes.close()
            self._changes = None
        self._ethernet.close()
        if self._sharing is not None:
            self._sharing.close()
        elif self._store is not None:
            self._store.close()

    def _open_boot_ports(self, devices: Mapping[int, str]) -> None:
        """Take port 4011, which firmware asks where it found us on port 67, and no other."""
        if self._config.bootp.port != _FIRMWARE_ASKS:
            return
        try:
            self._boot_ports.open(devices)
        except sockets.BindError as error:
            if self._config.bootp.mode != "dhcp":
                raise
            # our offers hold all that is asked there
            log.warning("%s; going on without it", error)

    def _restore(self) -> None:
        now = self._loop.now
        if self._store is None and self._config.bootp.mode == "proxy":
            self._store = MemoryStore()
        if self._store is None and self._config.bootp.shared:
            from pybootd.dhcp4.cluster.coordinator import (
                Coordinator,  # what it needs is dear to load
            )

            self._sharing = Coordinator.from_config(self._config.bootp, self._loop, self)
            self._take(self._sharing.start(now), now)
            return
        if self._store is None:
            self._store = open_store(self._config.bootp.leases)
        self._take(list(self._store.load_leases(now)), now)

    def _take(self, leases: Collection[Lease], now: float) -> None:
        for lease in leases:
            if lease.owner:
                lease.owner = self._responder.identify_client(lease.mac, lease.client_id)
        self._networks.restore(leases)
        self._responder.recall(now)

    def _devices(self) -> list[interfaces.Interface]:
        """Return the interfaces to bind to, empty for all; raises BindError."""
        bootp = self._config.bootp
        found = [one for one in self._interfaces.values() if one.name in bootp.interface]
        missing = set(bootp.interface) - {one.name for one in found}
        if missing:
            have = ", ".join(sorted(one.name for one in self._interfaces.values()))
            raise sockets.BindError(
                f"DHCP server: no interface {', '.join(sorted(missing))}: "
                f"change [bootp] interface (there are: {have})"
            )
        if bootp.address != ANY:
            # a socket bound to one address gets no broadcasts: the interface stands in for it
            holds = [one for one in self._interfaces.values() if _has(one, bootp.address)]
            if not holds:
                raise sockets.BindError(
                    f"DHCP server: no interface has {bootp.address}: change [bootp] address"
                )
            found = [one for one in holds if not found or one in found]
        return found

    def _look(self, now: float) -> None:
        """See which interfaces and addresses there are."""
        self._looked = now
        self._interfaces = interfaces.by_index(interfaces.list_interfaces())
        self._origins.clear()
        self._networks.refresh(self._interfaces.values())

    def _changed(self, now: float) -> None:
        """Look again soon: the system says that an interface or an address came or went."""
        sockets.drain(self._changes)
        if self._look_due is None:
            self._look_due = self._loop.after(_SETTLE, self._follow)

    def _follow(self, now: float) -> None:
        self._look_due = None
        self._look(now)
        found = [one for one in self._interfaces.values() if self._serves(one)]
        devices = {one.index: one.name for one in found}
        self._ports.follow(devices)
        self._boot_ports.follow(devices)
        if self._lookout is not None:
            self._lookout.follow(found, now)

    def _serves(self, interface: interfaces.Interface) -> bool:
        """Tell whether the configuration names the interface or its address."""
        bootp = self._config.bootp
        if bootp.interface and interface.name not in bootp.interface:
            return False
        return bootp.address == ANY or _has(interface, bootp.address)

    # in

    def _drain(self, boot_server: bool, sock: socket.socket, now: float) -> None:
        effects = self._responder.forget(self._removed(), now)
        for arrival in self._rush.arrivals(sock, now):
            try:
                effects += self._handle(arrival, boot_server, now)
            except Exception:
                log.exception("error while serving %s; the daemon goes on", arrival.address)
        saves = bool(self._networks.changed) or (
            self._sharing is not None and self._sharing.waiting_requests > 0
        )
        self.carry_out(effects, now)
        if saves and self._rush.emptied:
            (self._boot_ports if boot_server else self._ports).rest(sock, PAUSE)

    def _removed(self) -> Collection[IPAddress]:
        try:
            return self._store.list_removed() if self._store is not None else ()
        except StoreError:
            return ()  # what is wrong shows when leases are saved

    def _handle(
        self, arrival: sockets.ReceivedDatagram, boot_server: bool, now: float
    ) -> list[Effect]:
        try:
            packet = decode(arrival.data)
        except DhcpPacketError as error:
            if self._reminder.take_token(("malformed", arrival.address), now):
                self._bus.publish(Malformed("dhcp", arrival.address, str(error)))
            return []
        origin = self._origin(arrival, now)
        if origin is None:
            return []
        if boot_server:
            origin = replace(origin, port=arrival.port, boot_server=True)
        return self._respond(packet, origin, now)

    def _respond(self, packet: Packet, origin: Arrival, now: float) -> list[Effect]:
        if origin.boot_server:
            return self._responder.proxy.serve(packet, origin, now)
        if self._share is not None and not self._share.takes(packet, origin, now):
            return []
        if self._sharing is not None:
            return self._sharing.handle_request(packet, origin, now)
        return self.decide(packet, origin, now)

    def decide(self, packet: Packet, origin: Arrival, now: float) -> list[Effect]:
        """Let the server or the proxy decide, as the mode is."""
        responder, lookout = self._responder, self._lookout
        if self._config.bootp.mode == "proxy":
            return responder.proxy.handle(packet, origin, now)
        if lookout is None:
            return responder.handle(packet, origin, now)
        index, kind = origin.interface.index, packet.options.get(options.TYPE, b"")
        chosen = packet.options.get(options.SERVER_ID, b"")
        ours = responder.is_for_us(packet)
        if kind == bytes((MessageType.DISCOVER,)) and not is_probe(packet):
            lookout.asked(index, now)
        elif kind == bytes((MessageType.REQUEST,)) and not ours and len(chosen) == 4:
            lookout.heard(index, IPv4Address(chosen), now)
        if lookout.role(index) is LinkRole.SERVER:
            return responder.handle(packet, origin, now)
        if kind == bytes((MessageType.REQUEST,)) and chosen and ours:
            return responder.handle(packet, origin, now)  # of an offer made before
        return responder.proxy.handle(packet, origin, now)

    def _origin(self, arrival: sockets.ReceivedDatagram, now: float) -> Arrival | None:
        key = (arrival.interface, arrival.local, arrival.destination, arrival.address)
        origin = self._origins.get(key)
        if origin is not None:
            return origin
        interface = self._interfaces.get(arrival.interface)
        if interface is None and now - self._looked >= _LOOK_AGAIN:
            self._look(now)  # one that came since
            interface = self._interfaces.get(arrival.interface)
        if interface is None:
            interface = self._only_interface()
        if interface is None:
            return None
        if len(self._origins) >= _ORIGINS:
            self._origins.clear()
        local = IPv4Address(arrival.local) if arrival.local else NOBODY
        unicast = bool(arrival.local) and arrival.destination == arrival.local
        origin = Arrival(interface, local, IPv4Address(arrival.address), unicast)
        self._origins[key] = origin
        return origin

    def _only_interface(self) -> interfaces.Interface | None:
        """Guess the interface where the system doesn't tell: the only one on a pool's network."""
        fit = [
            interface
            for interface in self._interfaces.values()
            for own in interface.addresses
            if self._networks.holding(own.ip)
        ]
        return fit[0] if len(fit) == 1 else None

    # out

    def carry_out(self, effects: Iterable[Effect], now: float) -> None:
        """Do it, what is durable once the leases are saved."""
        held: list[Reply | Publish] = []
        for effect in effects:
            if isinstance(effect, Wait):
                resume = partial(self._resume, effect, self._responder)
                self._loop.work(effect.later, resume)
            elif isinstance(effect, Probe):
                self._probe(effect)
            elif effect.durable:
                held.append(effect)
            else:
                self._do(effect)
        if self._save(now):
            for one in held:
                self._do(one)

    def _resume(self, wait: Wait, asker: DhcpHandler, outcome: object, now: float) -> None:
        if asker is self._responder:  # else the configuration has changed since, and it asked anew
            self.carry_out(wait.resume(outcome, now), now)  # type: ignore[arg-type]

    def _probe(self, probe: Probe) -> None:
        interface = self._interfaces.get(probe.interface)
        if interface is None:
            asker = self._responder
            self._loop.at(self._loop.now, lambda now: self._probed(probe, asker, b"", now))
            return
        answered = partial(self._probed, probe, self._responder)
        self._ethernet.ask(probe.address, interface, probe.deadline, answered)

    def _probed(self, probe: Probe, asker: DhcpHandler, mac: bytes, now: float) -> None:
        if asker is self._responder:
            self.carry_out(probe.resume(mac, now), now)

    def _save(self, now: float) -> bool:
        """Save what has changed; False: it isn't safe, so nobody may be told of it."""
        if self._sharing is not None:  # it held back what is not safe yet
            self._sharing.submit_batch(now)
            return True
        changed = self._networks.changed
        if not changed or self._store is None:
            return True
        try:
            try:
                self._store.save_leases(changed.values(), now)
            except StoreLost as lost:
                known = self._networks.leases()
                kept = [
                    one for one in known if one.state not in (LeaseState.OFFERED, LeaseState.FREE)
                ]
                self._store.rebuild_store(kept, now, str(lost))
        except StoreError as error:
            if self._reminder.take_token("store", now):
                log.error("no lease is confirmed: %s", error)
            return False
        changed.clear()
        return True

    def _do(self, effect: Reply | Publish) -> None:
        if isinstance(effect, Publish):
            self._bus.publish(effect.event)
            return
        try:
            self._send(effect)
        except OSError as error:
            if self._reminder.take_token(("send", effect.to, error.errno), self._loop.now):
                log.warning("dhcp: no reply to %s: %s", effect.to, error.strerror)

    def _send(self, reply: Reply) -> None:
        port, to = self._config.bootp.port, reply.to
        if reply.mac:
            interface = self._interfaces.get(reply.interface)
            packet = datagram(reply.data, reply.source, to, port, reply.port)
            if interface is not None and self._ethernet.send(packet, interface, reply.mac):
                return
            to = sockets.BROADCAST
        ports = self._boot_ports if reply.boot_server else self._ports
        sock = ports.of(reply.interface)
        if sock is not None:
            index = reply.interface if to == sockets.BROADCAST else 0
            sockets.send(sock, reply.data, (_text(to), reply.port), index, _text(reply.source))


def _has(interface: interfaces.Interface, address: IPv4Address) -> bool:
    return any(own.ip == address for own in interface.addresses)
