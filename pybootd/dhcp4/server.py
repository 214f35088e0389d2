"""Port 67: datagrams in, what the handler decides out."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from pybootd.access.base import Access
from pybootd.config.loader import Config
from pybootd.core.client import Client, IPAddress
from pybootd.core.client_table import ClientTable
from pybootd.core.events import Confirmed, EventBus, Malformed, RefusalCause, Refused
from pybootd.core.loop import Loop
from pybootd.core.rate_limit import REMIND_S, once_per
from pybootd.dhcp4.actions import Action, Probe, Publish, Wait
from pybootd.dhcp4.cluster.load_balance import LoadBalance
from pybootd.dhcp4.handler import DhcpHandler
from pybootd.dhcp4.interfaces import ServedInterfaces
from pybootd.dhcp4.overload import OverloadFilter
from pybootd.dhcp4.own_options import read_own_options
from pybootd.dhcp4.proxy import handler as proxy
from pybootd.dhcp4.proxy.detect import LinkRole, is_probe
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import Arrival, read_address
from pybootd.dhcp4.sockets import DhcpSockets, Ethernet
from pybootd.dhcp4.subnets import Subnets
from pybootd.dhcp4.wire import options, pxe
from pybootd.dhcp4.wire.ethernet import encode_datagram
from pybootd.dhcp4.wire.packet import DhcpPacketError, MessageType, Packet, decode
from pybootd.leases.lease import Lease, LeaseState
from pybootd.leases.sqlite import open_store
from pybootd.leases.store import LeaseStore, MemoryStore, StoreError, StoreLost
from pybootd.system import sockets

if TYPE_CHECKING:
    from pybootd.dhcp4.cluster.coordinator import Coordinator
    from pybootd.dhcp4.proxy.detector import Detector

log = logging.getLogger(__name__)

_HOST_FAULTS = {
    RefusalCause.NOT_WRITTEN: "its lease can't be written",
    RefusalCause.SEND_REFUSED: "the system refuses to send the reply",
}

PAUSE_S = 0.01
"""Seconds after leases were saved in which requests gather, to share the next save."""
RECEIVE_BUFFER = 4 << 20
"""Octets: a thousand machines that start at once."""
_FIRMWARE_ASKS = 67  # RFC 2131 4.1

_format_address = lru_cache(maxsize=1024)(IPv4Address.__str__)


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
        self._coordinator: Coordinator | None = None  # where others give addresses, too
        self._interfaces = ServedInterfaces(loop, self._follow_interfaces)
        self._apply_config(config, access)
        self._ethernet = Ethernet(loop)
        port = config.bootp.port
        self._overload = OverloadFilter(lambda: self._subnets.all_leases())
        self._ports = DhcpSockets(loop, port, "DHCP server", "[bootp] port", RECEIVE_BUFFER)
        self._boot_ports = DhcpSockets(loop, proxy.PORT, "PXE boot server", "[bootp] mode")
        self._detector: Detector | None = None
        if config.bootp.mode == "auto":
            from pybootd.dhcp4.proxy.detector import Detector  # what it needs is slow to load

            self._detector = Detector(loop, bus, self._ethernet)
        self._reminder = once_per(REMIND_S)
        self._malformed = once_per(REMIND_S)  # apart, so that strangers silence nothing else

    def _apply_config(self, config: Config, access: Access | None) -> None:
        """Make all that follows from the configuration; raises ConfigError."""
        own_options = read_own_options(config)
        subnets = Subnets(config)
        handler = DhcpHandler(config, subnets, self._clients, access, own_options)
        self._config, self._subnets, self._handler = config, subnets, handler
        parts = config.bootp.share
        self._load_balance = LoadBalance(*parts) if parts[1] > 1 else None
        self._interfaces.apply_config(config.bootp, subnets)

    @property
    def handler(self) -> DhcpHandler:
        """Who decides."""
        return self._handler

    @property
    def subnets(self) -> Subnets:
        """The subnets that are served, with their pools and leases."""
        return self._subnets

    @property
    def coordinator(self) -> Coordinator | None:
        """Who agrees with other daemons about leases; None: the leases are ours alone."""
        return self._coordinator

    # life

    def open(self) -> None:
        """Bind the ports; raises BindError."""
        try:
            self._interfaces.open_watch(self._loop.now)
            devices = self._interfaces.choose_devices()
            self._ports.open_sockets(devices)
            self._open_boot_ports(devices)
            self._ethernet.open_link()
            if self._detector is not None:
                self._detector.open()
            self._log_complaints()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Load the leases, and serve from the next turn of the loop on; raises BindError.

        The leases belong to the user that the daemon is now; it may have bound its ports as root.
        """
        try:
            self._load_leases()
        except StoreError as error:
            raise sockets.BindError(f"DHCP server: {error}") from error
        self._ports.start_reading(partial(self._read_datagrams, False))
        self._boot_ports.start_reading(partial(self._read_datagrams, True))
        if self._detector is not None:
            self._detector.start()
            self._detector.follow_links(self._interfaces.list_served(), self._loop.now)
        self._interfaces.start_watch()

    def reload(self, config: Config, access: Access | None) -> None:
        """Serve by another configuration from now on; raises ConfigError, and nothing is changed.

        Leases, offers and sockets stay. Requests whose answers wait are decided again.
        """
        before, waiting, now = self._subnets, self._handler.waiting_requests(), self._loop.now
        self._apply_config(config, access)
        self._subnets.changed.update(before.changed)
        self._adopt_leases(before.all_leases(), now)
        if self._coordinator is not None:
            self._coordinator.reread_all()
        actions: list[Action] = []
        for request in waiting:
            actions += self._answer_packet(request.packet, request.arrival, now)
        self.perform_actions(actions, now)
        self._log_complaints()

    def _log_complaints(self) -> None:
        for text in self._subnets.find_complaints(self._interfaces.list_served()):
            log.warning("%s", text)

    def close(self) -> None:
        """Stop serving and give everything back; may be called twice."""
        self._ports.close_sockets()
        self._boot_ports.close_sockets()
        if self._detector is not None:
            self._detector.close()
        self._interfaces.close_watch()
        self._ethernet.close_link()
        if self._coordinator is not None:
            self._coordinator.close()
        elif self._store is not None:
            self._store.close()

    def _open_boot_ports(self, devices: dict[int, str]) -> None:
        """Take port 4011, which firmware asks where it found us on port 67, and no other."""
        if self._config.bootp.port != _FIRMWARE_ASKS:
            return
        try:
            self._boot_ports.open_sockets(devices)
        except sockets.BindError as error:
            if self._config.bootp.mode != "dhcp":
                raise
            # our offers hold all that is asked there
            log.warning("%s; going on without it", error)

    def _load_leases(self) -> None:
        now = self._loop.now
        if self._store is None and self._config.bootp.mode == "proxy":
            self._store = MemoryStore()
        if self._store is None and self._config.bootp.shared:
            # what it needs is slow to load
            from pybootd.dhcp4.cluster.coordinator import Coordinator

            self._coordinator = Coordinator.from_config(self._config.bootp, self._loop, self)
            self._adopt_leases(self._coordinator.start(now), now)
            return
        if self._store is None:
            self._store = open_store(self._config.bootp.leases)
        self._adopt_leases(list(self._store.load_leases(now)), now)

    def _adopt_leases(self, leases: Collection[Lease], now: float) -> None:
        for lease in leases:
            if lease.owner:
                lease.owner = self._handler.identify_client(lease.mac, lease.client_id)
        self._subnets.restore_leases(leases)
        self._handler.holders.recall_clients(now)

    def _follow_interfaces(self, now: float) -> None:
        served = self._interfaces.list_served()
        devices = {one.index: one.name for one in served}
        self._ports.follow_devices(devices)
        self._boot_ports.follow_devices(devices)
        if self._detector is not None:
            self._detector.follow_links(served, now)

    # in

    def _read_datagrams(self, boot_server: bool, sock: socket.socket, now: float) -> None:
        gone = self._handler.holders.forget_addresses(self._removed_addresses(), now)
        actions: list[Action] = [Publish(event) for event in gone]
        for datagram in self._overload.read_datagrams(sock, now):
            try:
                actions += self._handle_datagram(datagram, boot_server, now)
            except Exception:
                log.exception("error while serving %s; the daemon goes on", datagram.address)
        owed = self._coordinator is not None and self._coordinator.waiting_requests > 0
        saves = bool(self._subnets.changed) or owed
        self.perform_actions(actions, now)
        if saves and self._overload.emptied:
            (self._boot_ports if boot_server else self._ports).pause_socket(sock, PAUSE_S)

    def _removed_addresses(self) -> Collection[IPAddress]:
        try:
            return self._store.list_removed() if self._store is not None else ()
        except StoreError:
            return ()  # what is wrong shows when leases are saved

    def _handle_datagram(
        self, datagram: sockets.ReceivedDatagram, boot_server: bool, now: float
    ) -> list[Action]:
        try:
            packet = decode(datagram.data)
        except DhcpPacketError as error:
            # most have no address yet; and each sender is told of by itself
            sender = error.mac.hex(":") or datagram.address
            if self._malformed.take_token(sender, now):
                self._bus.publish(Malformed("dhcp", sender, str(error)))
            return []
        arrival = self._interfaces.trace_arrival(datagram, now)
        if arrival is None:
            return []
        if boot_server:
            arrival = replace(arrival, port=datagram.port, boot_server=True)
        return self._answer_packet(packet, arrival, now)

    def _answer_packet(self, packet: Packet, arrival: Arrival, now: float) -> list[Action]:
        if arrival.boot_server:
            beside = self._is_beside_other(arrival)
            return self._handler.proxy.handle_port_4011(packet, arrival, now, beside_other=beside)
        balance = self._load_balance
        if balance is not None and not balance.takes_request(packet, arrival, now):
            return []
        if self._coordinator is not None:
            return self._coordinator.handle_request(packet, arrival, now)
        return self.decide_packet(packet, arrival, now)

    def _is_beside_other(self, arrival: Arrival) -> bool:
        """Tell whether another server gives the addresses on the link."""
        if self._detector is not None:
            return self._detector.find_role(arrival.interface.index) is not LinkRole.SERVER
        return self._config.bootp.mode == "proxy"

    def decide_packet(self, packet: Packet, arrival: Arrival, now: float) -> list[Action]:
        """Let the server or the proxy decide, as the mode is."""
        handler, detector = self._handler, self._detector
        if self._config.bootp.mode == "proxy":
            return handler.proxy.handle_port_67(packet, arrival, now)
        if detector is None:
            return handler.handle_request(packet, arrival, now)
        index, kind = arrival.interface.index, packet.options.get(options.TYPE, b"")
        chosen = read_address(packet.options.get(options.SERVER_ID))
        ours = self._subnets.includes_server_of(packet)
        if kind == bytes((MessageType.DISCOVER,)) and not is_probe(packet):
            detector.note_discover(index, now)
        elif kind == bytes((MessageType.REQUEST,)) and not ours and chosen is not None:
            detector.note_other_choice(index, chosen, now)
        if detector.find_role(index) is LinkRole.SERVER:
            return handler.handle_request(packet, arrival, now)
        named = packet.options.get(options.SERVER_ID)
        if kind == bytes((MessageType.REQUEST,)) and named and ours:
            return handler.handle_request(packet, arrival, now)  # of an offer made before
        return handler.proxy.handle_port_67(packet, arrival, now)

    # out

    def perform_actions(self, actions: Iterable[Action], now: float) -> None:
        """Do what was decided; what is durable, once the leases are saved."""
        held: list[Reply | Publish] = []
        for action in actions:
            if isinstance(action, Wait):
                resume = partial(self._resume_request, action, self._handler)
                self._loop.run_in_worker(action.later, resume)
            elif isinstance(action, Probe):
                self._probe_address(action)
            elif action.durable:
                held.append(action)
            else:
                self._perform_action(action)
        saved = self._save_leases(now)
        for one in held:
            if saved:
                self._perform_action(one)
            elif isinstance(one, Publish) and isinstance(one.event, Confirmed):
                self._publish_refusal(one.event.client, RefusalCause.NOT_WRITTEN)

    def _publish_refusal(self, client: Client, cause: RefusalCause) -> None:
        """Tell that this host kept a client from its answer; the log has said why by now."""
        reason = _HOST_FAULTS[cause]
        self._bus.publish(Refused(client, reason, logging.DEBUG, cause))

    def _resume_request(self, wait: Wait, asker: DhcpHandler, outcome: object, now: float) -> None:
        if asker is self._handler:  # else a reload has decided it again
            self.perform_actions(wait.resume(outcome, now), now)  # type: ignore[arg-type]

    def _probe_address(self, probe: Probe) -> None:
        interface = self._interfaces.find_interface(probe.interface)
        asker = self._handler
        if interface is None:
            self._loop.call_at(self._loop.now, lambda now: self._end_probe(probe, asker, b"", now))
            return
        answered = partial(self._end_probe, probe, asker)
        self._ethernet.probe_address(probe.address, interface, probe.deadline, answered)

    def _end_probe(self, probe: Probe, asker: DhcpHandler, mac: bytes, now: float) -> None:
        if asker is self._handler:
            self.perform_actions(probe.resume(mac, now), now)

    def _save_leases(self, now: float) -> bool:
        """Save what has changed; False: it isn't safe, so no client may be told of it."""
        if self._coordinator is not None:  # it held back what is not safe yet
            self._coordinator.submit_batch(now)
            return True
        changed = self._subnets.changed
        if not changed or self._store is None:
            return True
        try:
            try:
                self._store.save_leases(changed.values(), now)
            except StoreLost as lost:
                known = self._subnets.all_leases()
                gone = (LeaseState.OFFERED, LeaseState.FREE)
                kept = [one for one in known if one.state not in gone]
                self._store.rebuild_store(kept, now, str(lost))
        except StoreError as error:
            if self._reminder.take_token("store", now):
                log.error("no lease is confirmed: %s", error)
            return False
        changed.clear()
        return True

    def _perform_action(self, action: Reply | Publish) -> None:
        if isinstance(action, Publish):
            self._bus.publish(action.event)
            return
        try:
            self._send_reply(action)
        except OSError as error:
            if self._reminder.take_token(("send", action.to, error.errno), self._loop.now):
                log.warning("dhcp: no reply to %s: %s", action.to, error.strerror)
            if error.errno in (errno.EPERM, errno.EACCES):
                client = pxe.read_client(decode(action.data), "")
                self._publish_refusal(client, RefusalCause.SEND_REFUSED)

    def _send_reply(self, reply: Reply) -> None:
        port, to = self._config.bootp.port, reply.to
        if reply.mac:
            interface = self._interfaces.find_interface(reply.interface)
            packet = encode_datagram(reply.data, reply.source, to, port, reply.port)
            if interface is not None and self._ethernet.send_frame(packet, interface, reply.mac):
                return
            to = sockets.BROADCAST
        ports = self._boot_ports if reply.boot_server else self._ports
        sock = ports.socket_of(reply.interface)
        if sock is not None:
            index = reply.interface if to == sockets.BROADCAST else 0
            target = (_format_address(to), reply.port)
            sockets.send(sock, reply.data, target, index, _format_address(reply.source))
