"""Each client's boots, stage by stage, as the events tell them; memory is bounded.

Times are monotonic seconds. What runs is never counted block by block: a transfer's progress is
asked of it when somebody looks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_address

from pybootd.core import events
from pybootd.core.bounded_map import BoundedMap
from pybootd.core.client import Client, IPAddress, KnownClient
from pybootd.core.client_table import Newcomers
from pybootd.core.events import EventBus, RefusalCause, TransferOutcome
from pybootd.observe.boots.boot import BOOTS, Boot, ClientRecord
from pybootd.observe.boots.continuity import (
    is_new_boot,
    is_next_way,
    is_other_card,
    is_stale,
    is_system_fetching,
)
from pybootd.observe.boots.roles import guess_role
from pybootd.observe.boots.steps import BootTransfer, Step, StepCause, StepKind, keep_text

CLIENTS = 10_000
STEPS = 250_000  # of all boots together: some 50 MB
_PER_BOOT = 200  # steps; more are left out of a boot, the first and the last are kept

NOBODY = IPv4Address(0)


class Timeline:
    """All clients' boots, those seen last at the end. ``changed`` is called with each record.

    A client that has never booted from the network leaves no trace. ``who`` tells the client at an
    address, for one whose first sign here is that it asks for a file.
    """

    def __init__(
        self,
        bus: EventBus,
        clock: Callable[[], float],
        who: Callable[[IPAddress], KnownClient | None],
        clients: int = CLIENTS,
        steps: int = STEPS,
    ) -> None:
        self._clock = clock
        self._who = who
        self._clients = clients
        self._most = steps
        self._records: OrderedDict[str, ClientRecord] = OrderedDict()
        self._strangers: Newcomers[str] = Newcomers(clients)
        self._by_address: dict[str, ClientRecord] = {}
        self._by_card: BoundedMap[bytes, ClientRecord] = BoundedMap(clients)  # but the last octet
        self.steps = 0
        self.changed: Callable[[ClientRecord], None] | None = None
        bus.subscribe(events.Offered, self._note_offer)
        bus.subscribe(events.ChoseAnother, self._note_other_server)
        bus.subscribe(events.Confirmed, self._note_confirmed)
        bus.subscribe(events.Refused, self._note_refused)
        bus.subscribe(events.AddressConflict, self._note_conflict)
        bus.subscribe(events.Released, self._note_released)
        bus.subscribe(events.TransferStarted, self._start_transfer)
        bus.subscribe(events.TransferEnded, self._end_transfer)
        bus.subscribe(events.TransferRefused, self._note_file_refused)

    def __len__(self) -> int:
        return len(self._records)

    def records(self) -> Iterator[ClientRecord]:
        """Yield every client, the one heard of last first."""
        return reversed(self._records.values())

    def running_clients(self) -> Iterator[ClientRecord]:
        """Yield the clients that a file is on its way to."""
        return (one for one in self.records() if one.boots and one.boot.active)

    def find_client(self, name: str) -> ClientRecord | None:
        """Return the client with this MAC (any case, ``:`` or ``-``) or address."""
        name = name.strip().lower()
        found = self._records.get(name.replace("-", ":"))
        return found if found is not None else self._by_address.get(name)

    # what DHCP tells

    def _note_offer(self, event: events.Offered) -> None:
        if not self._is_of_interest(event.client):
            return
        record = self._hear_client(event.client)
        boot = self._boot_of_request(record, event.client)
        boot.proxy = boot.proxy or event.proxy
        boot.boot_file = keep_text(event.boot_file) or boot.boot_file
        boot.file_server = event.file_server
        address = "" if event.address == NOBODY else str(event.address)
        self._note_step(record, StepKind.OFFERED, address, boot.boot_file)

    def _note_other_server(self, event: events.ChoseAnother) -> None:
        record = self._records.get(event.client.name)
        if record is not None:
            self._note_step(record, StepKind.CHOSE_ANOTHER, str(event.server or ""))

    def _note_confirmed(self, event: events.Confirmed) -> None:
        client = event.client
        if not self._is_of_interest(client):
            if not event.booting:
                self._note_other_card(client, event.address)
            return
        record = self._hear_client(client)
        renewed = self._is_renewed(record, event)
        boot = record.boot if renewed else self._boot_of_request(record, client, asking=False)
        if event.address != NOBODY:
            if not event.claimed:
                self._place_client(record, event.address)
            boot.address = event.address
        if event.booting:
            boot.boot_file = keep_text(event.boot_file)
            boot.file_server, boot.proxy = event.file_server, event.proxy
        kind = StepKind.CONFIRMED if event.booting else StepKind.SYSTEM
        text = boot.boot_file if event.booting else ""
        self._note_step(record, kind, str(event.address), text)

    def _note_other_card(self, client: Client, address: IPAddress) -> None:
        """Take it for the system of a machine that has just booted by a card with a near MAC."""
        record = self._by_card.get(client.mac[:-1])
        if record is None or not record.boots or record.mac == client.mac:
            return
        if is_other_card(record.boot, record.mac, client.mac, self._clock()):
            self._note_step(record, StepKind.SYSTEM, str(address), client.name)

    @staticmethod
    def _is_renewed(record: ClientRecord, event: events.Confirmed) -> bool:
        """Tell whether a system that is up keeps its address."""
        return not event.booting and bool(record.boots) and record.boot.has_step(StepKind.SYSTEM)

    def _note_refused(self, event: events.Refused) -> None:
        client = event.client
        unserved = event.cause is RefusalCause.NOT_BOOTING
        if not unserved and not self._is_of_interest(client):
            return
        record = self._hear_client(client)
        self._boot_of_request(record, client)
        self._note_step(record, StepKind.REFUSED, "", event.reason, event.cause)

    def _note_conflict(self, event: events.AddressConflict) -> None:
        if not self._is_of_interest(event.client):
            return
        record = self._hear_client(event.client)
        self._boot_of_request(record, event.client)
        user = event.user.hex(":")
        self._note_step(record, StepKind.CONFLICT, str(event.address), user, event.cause)

    def _note_released(self, event: events.Released) -> None:
        record = self._records.get(event.client.name)
        if record is not None:
            self._note_step(record, StepKind.RELEASED, str(event.address))

    # what file servers tell

    def _start_transfer(self, event: events.TransferStarted) -> None:
        record, boot = self._find_boot_at(event.peer)
        role = guess_role(event.requested, boot.boot_file)
        if is_system_fetching(boot, role, self._clock()):
            self._note_step(record, StepKind.SYSTEM, event.peer)
        self._add_step(record, BootTransfer(event, role, self._clock()))

    def _end_transfer(self, event: events.TransferEnded) -> None:
        record = self._by_address.get(event.peer)
        for boot in reversed(record.boots if record else ()):
            steps = boot.steps
            for at in range(len(steps) - 1, -1, -1):
                step = steps[at]
                if step.running and isinstance(step, BootTransfer) and step.is_ended_by(event):
                    step.end_transfer(event, self._clock())
                    boot.active -= 1
                    boot.middle = min(boot.middle, at)
                    boot.touched = step.ended
                    if record is not None:
                        self._tell_change(record)
                    return
        if event.outcome is TransferOutcome.PROBED:  # HTTP's HEAD has no start
            record, boot = self._find_boot_at(event.peer)
            started = events.TransferStarted(
                event.protocol, event.peer, event.requested, event.served, None
            )
            probe = BootTransfer(
                started, guess_role(event.requested, boot.boot_file), self._clock()
            )
            probe.end_transfer(event, self._clock())
            self._add_step(record, probe)

    def _note_file_refused(self, event: events.TransferRefused) -> None:
        if event.upload:  # no part of a boot, as an upload that is taken is none
            return
        record, _ = self._find_boot_at(event.peer)
        missing = StepKind.MISSED if event.missing else StepKind.FORBIDDEN
        kind = StepKind.UNAVAILABLE if event.unavailable else missing
        why = f"{event.led_to}: {event.reason}" if event.led_to else event.reason
        self._note_step(record, kind, event.requested, why, event.problem)

    # inside

    def _is_of_interest(self, client: Client) -> bool:
        """Tell whether it boots, or has booted; somebody's PC or telephone is no boot."""
        return client.network_boot or client.plain_bootp or client.name in self._records

    def _hear_client(self, client: Client) -> ClientRecord:
        """Find the client's record, or make one, and note what its request tells."""
        record = self._records.get(client.name) or self._make_record(client.name)
        self._records.move_to_end(client.name)
        self._strangers.heard(client.name)
        record.mac = client.mac
        if client.network_boot and client.mac:
            self._by_card[client.mac[:-1]] = record
        record.hostname, record.known = keep_text(client.hostname) or record.hostname, ""
        if client.uuid is not None:
            record.uuid = str(client.uuid)
        return record

    def _make_record(self, name: str) -> ClientRecord:
        record = self._records[name] = ClientRecord(name)
        self._strangers.add(name)
        if len(self._records) > self._clients:
            self._forget_client(self._strangers.first_to_go(self._records))
        return record

    def _forget_client(self, name: str) -> None:
        record = self._records.pop(name)
        self._strangers.discard(name)
        self.steps -= sum(len(boot.steps) for boot in record.boots)
        if record.address is not None and self._by_address.get(str(record.address)) is record:
            del self._by_address[str(record.address)]

    def _place_client(self, record: ClientRecord, address: IPAddress) -> None:
        """Note that the client is at this address, and no other client is."""
        before = self._by_address.get(str(address))
        if before is record:
            return
        if before is not None and before.name == str(address):
            self._forget_client(before.name)  # it had told no MAC
        elif before is not None:
            before.address, before.standing, before.known = None, None, ""
        if record.address is not None:
            self._by_address.pop(str(record.address), None)
        record.address, record.known = address, ""
        self._by_address[str(address)] = record
        self._strangers.discard(record.name)

    def _find_boot_at(self, peer: str) -> tuple[ClientRecord, Boot]:
        """Find the client at an address, and the boot that it is in."""
        record = self._by_address.get(peer)
        address = ip_address(peer)
        known = self._who(address)
        if record is None or (known is not None and known.client.name != record.name):
            record = self._hear_client(known.client) if known else self._make_record(peer)
            self._place_client(record, address)
        self._records.move_to_end(record.name)
        if not record.boots or (record.name == peer and is_stale(record.boot, self._clock())):
            self._begin_boot(record)
            record.boot.booting = True
            record.boot.address = record.address
        return record, record.boot

    def _begin_boot(self, record: ClientRecord) -> Boot:
        if len(record.boots) == BOOTS:
            self.steps -= len(record.boots.pop(0).steps)
        record.count += 1
        now = self._clock()
        if record.boots:
            record.boot.followed = now
            record.boot.cached = None
        boot = Boot(record.count, now)
        record.boots.append(boot)
        return boot

    def _boot_of_request(
        self, record: ClientRecord, client: Client, *, asking: bool = True
    ) -> Boot:
        """Return the boot that a DHCP request belongs to: the one under way, or a new one.

        ``asking``: it looks for a server, so it may be the first request of a boot.
        """
        boots, now = record.boots, self._clock()
        if not boots or is_new_boot(record.boot, client, now, asking=asking):
            self._begin_boot(record)
        elif is_next_way(record.boot, client, now):
            record.boot.switches.append(len(record.boot.steps))
        boot = record.boot
        if client.network_boot:
            boot.booting = True
            boot.ipxe = boot.ipxe or client.ipxe
            boot.vendor_class = keep_text(client.vendor_class)
            if client.architecture is not None:
                boot.architecture = client.architecture
        boot.relay = client.relay
        boot.interface = client.interface
        return boot

    def _note_step(
        self,
        record: ClientRecord,
        kind: StepKind,
        subject: str,
        detail: str = "",
        cause: StepCause | None = None,
    ) -> None:
        if not record.boots:
            self._begin_boot(record)
        boot, now = record.boot, self._clock()
        subject, detail = keep_text(subject), keep_text(detail)
        # a system that keeps its address may ask for it from the start each time
        for step in boot.steps[-2:] if boot.up else boot.steps[-1:]:
            if isinstance(step, Step) and (step.kind, step.subject) == (kind, subject):
                step.count += 1
                step.ended = boot.touched = now
                step.detail, step.cause = detail, cause
                self._tell_change(record)
                return
        self._add_step(record, Step(kind, now, subject, detail, cause))

    def _add_step(self, record: ClientRecord, step: Step | BootTransfer) -> None:
        boot = record.boot
        boot.steps.append(step)
        boot.active += step.running
        boot.touched = step.ended
        boot.cached = None
        self.steps += 1
        if len(boot.steps) > _PER_BOOT:
            self._leave_out_step(boot)
        if self.steps > self._most:
            self._shrink_history()
        self._tell_change(record)

    def _leave_out_step(self, boot: Boot) -> None:
        """Forget a step of the middle: the start tells what it was to be, the end why it isn't."""
        for at in range(max(_PER_BOOT // 4, boot.middle), _PER_BOOT):
            if not boot.steps[at].running:
                del boot.steps[at]
                boot.left_out += 1
                self.steps -= 1
                break
        boot.middle = at

    def _shrink_history(self) -> None:
        """Forget the clients that were not heard of for longest, a tenth of what is kept."""
        while self.steps > self._most * 9 // 10 and len(self._records) > 1:
            self._forget_client(self._strangers.first_to_go(self._records))

    def _tell_change(self, record: ClientRecord) -> None:
        record.boot.cached = None
        record.standing = None
        if self.changed is not None:
            self.changed(record)
