"""Which line of the log each event is worth."""

from __future__ import annotations

import logging
import logging.handlers
import time
from collections import Counter

from pybootd.core import events
from pybootd.core.architecture import architecture_name
from pybootd.core.client import Client
from pybootd.core.events import EndCause, EventBus, TransferOutcome
from pybootd.observe.log.handlers import Fact
from pybootd.observe.log.throttle import Throttle
from pybootd.observe.wording import describe_conflict, describe_outcome

log = logging.getLogger("pybootd")

# what the boot loaders of Raspberry Pis try and mostly don't find (their documentation)
_TRIED = frozenset(
    (
        *("bootsig.bin", "autoboot.txt", "tryboot.txt", "bootcfg.txt", "bootconf.sig"),
        *("recovery.elf", "recover4.elf", "pieeprom.upd", "pieeprom.sig", "vl805.sig"),
        *("dt-blob.bin", "armstub8.bin"),
    )
)

_REFUSALS = 200  # lines in a minute on what one peer was refused; firmware has ten misses in a boot
_PEERS = 10_000
_ENDS = {
    TransferOutcome.DONE: logging.INFO,
    TransferOutcome.ABORTED: logging.INFO,
    TransferOutcome.PROBED: logging.DEBUG,
    TransferOutcome.TIMEOUT: logging.WARNING,
    TransferOutcome.FAILED: logging.WARNING,
    TransferOutcome.STOPPED: logging.DEBUG,
}


class EventLog:
    """Writes one line for each event that a person wants to know of."""

    def __init__(self, bus: EventBus) -> None:
        bus.subscribe(events.Offered, self._log_offer)
        bus.subscribe(events.ChoseAnother, self._log_other_server)
        bus.subscribe(events.Confirmed, self._log_confirmed)
        bus.subscribe(events.Released, self._log_released)
        bus.subscribe(events.Refused, self._log_refused)
        bus.subscribe(events.Advice, self._log_advice)
        bus.subscribe(events.ModeChosen, self._log_mode)
        bus.subscribe(events.AddressConflict, self._log_conflict)
        bus.subscribe(events.TransferStarted, self._log_start)
        bus.subscribe(events.TransferEnded, self._log_end)
        bus.subscribe(events.TransferRefused, self._log_file_refused)
        bus.subscribe(events.Uploaded, self._log_upload)
        bus.subscribe(events.Malformed, self._log_malformed)
        self._minute = 0
        self._refusals: Counter[str] = Counter()  # by peer, in this minute

    def _log_offer(self, event: events.Offered) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        client, address = event.client, event.address
        offered = f"a boot file, {event.boot_file}" if event.proxy else address
        _write_line(
            logging.DEBUG, f"dhcp {client.name} offered {offered}", client=client, ip=address
        )

    def _log_other_server(self, event: events.ChoseAnother) -> None:
        message = f"dhcp {event.client.name} took the offer of {event.server or 'another server'}"
        _write_line(logging.DEBUG, message, client=event.client)

    def _log_confirmed(self, event: events.Confirmed) -> None:
        client, address = event.client, event.address
        if not log.isEnabledFor(logging.INFO) or _is_left_out(str(address), logging.INFO):
            return
        if event.booting:
            file = event.boot_file or "no boot file"
            message = f"{client.name} boots {_describe_kind(client)}: {address}, {file}"
        else:
            name = f" ({client.hostname})" if client.hostname else ""
            message = f"{client.name}{name} has {address}"
        facts = {"file": event.boot_file, "file_reason": event.file_reason}
        _write_line(logging.INFO, message, client=client, ip=address, **facts)

    def _log_released(self, event: events.Released) -> None:
        client, address = event.client, event.address
        _write_line(logging.INFO, f"{client.name} released {address}", client=client, ip=address)

    def _log_refused(self, event: events.Refused) -> None:
        message = f"dhcp {event.client.name} refused: {event.reason}"
        _write_line(
            event.level, message, client=event.client, reason=event.reason, cause=event.cause
        )

    def _log_advice(self, event: events.Advice) -> None:
        _write_line(logging.WARNING, f"{event.client.name} {event.text}", client=event.client)

    def _log_mode(self, event: events.ModeChosen) -> None:
        found = f"the DHCP server {event.other} answers" if event.other else "no other DHCP server"
        _write_line(logging.INFO, f"{event.interface}: {found}: mode {event.mode}")

    def _log_conflict(self, event: events.AddressConflict) -> None:
        how = describe_conflict(event.cause, event.user.hex(":"))
        message = f"{event.address} is in use by another machine: {how}"
        _write_line(
            logging.WARNING, message, client=event.client, ip=event.address, cause=event.cause
        )

    def _log_start(self, event: events.TransferStarted) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        size = "unknown size" if event.size is None else f"{event.size} octets"
        _write_line(logging.DEBUG, f"{event.protocol} {event.peer} asks for {event.served}: {size}")

    def _log_end(self, event: events.TransferEnded) -> None:
        # whose last ACK alone is missing has the file, and goes on
        level = logging.INFO if event.cause is EndCause.LAST_ACK_MISSING else _ENDS[event.outcome]
        if not log.isEnabledFor(level) or _is_left_out(event.peer, level):
            return
        # 0: it left within one turn of the loop, so that nothing was measured
        rate = f" ({event.sent / event.seconds / 1e6:.1f} MB/s)" if event.seconds > 0 else ""
        again = f", {event.retransmissions} sent again" if event.retransmissions else ""
        how = describe_outcome(event)
        served = "" if event.served == event.requested else f" ({event.served})"
        message = (
            f"{event.protocol} {event.peer} {event.requested}{served}: {how}, {event.sent} octets"
            f" in {event.seconds:.2f} s{rate}{again}"
        )
        _write_line(
            level,
            message,
            ip=event.peer,
            file=event.served,
            octets=event.sent,
            seconds=round(event.seconds, 6),
            protocol=event.protocol,
            outcome=event.outcome,
            cause=event.cause,
            problem=event.problem,
        )

    def _log_upload(self, event: events.Uploaded) -> None:
        how = describe_outcome(event)
        again = f", {event.retransmissions} answers sent again" if event.retransmissions else ""
        message = (
            f"{event.protocol} {event.peer} uploads {event.name}: {how}, {event.octets} octets"
            f" in {event.seconds:.2f} s{again}"
        )
        _write_line(
            _ENDS[event.outcome],
            message,
            ip=event.peer,
            file=event.name,
            octets=event.octets,
            seconds=round(event.seconds, 6),
            protocol=event.protocol,
            outcome=event.outcome,
            cause=event.cause,
            problem=event.problem,
        )

    def _log_file_refused(self, event: events.TransferRefused) -> None:
        # a miss is normal traffic: pxelinux makes ten before its default
        level = logging.INFO if event.missing else logging.WARNING
        if event.missing and event.requested.rpartition("/")[2] in _TRIED:
            level = logging.DEBUG
        level = self._moderate_level(event.peer, level)
        looked = f" ({event.led_to})" if event.led_to else ""
        message = f"{event.protocol} {event.peer} {event.requested}{looked}: {event.reason}"
        _write_line(
            level,
            message,
            ip=event.peer,
            file=event.requested,
            reason=event.reason,
            protocol=event.protocol,
            problem=event.problem,
        )

    def _log_malformed(self, event: events.Malformed) -> None:
        message = f"{event.protocol} {event.peer}: not understood: {event.reason}"
        _write_line(self._moderate_level(event.peer, logging.INFO), message, reason=event.reason)

    def _moderate_level(self, peer: str, level: int) -> int:
        """Keep one peer that sends nonsense from filling the disk."""
        minute = int(time.time() // 60)
        if minute != self._minute or len(self._refusals) > _PEERS:
            self._minute = minute
            self._refusals.clear()
        self._refusals[peer] += 1
        if self._refusals[peer] == _REFUSALS:
            log.warning("%s: refused %d times in a minute, the rest at debug", peer, _REFUSALS)
        return level if self._refusals[peer] <= _REFUSALS else logging.DEBUG


def _describe_kind(client: Client) -> str:
    """Say what boots: its architecture, and iPXE if it is that already."""
    known = client.architecture
    name = "an unknown architecture" if known is None else architecture_name(known)
    return f"{name} (iPXE)" if client.ipxe else name


def _is_left_out(peer: str, level: int) -> bool:
    """Tell whether a line about the peer would be left out, before it is made."""
    for handler in log.handlers:
        for each in handler.filters:
            if isinstance(each, Throttle) and each.leave_out_line(peer, level, time.time()):
                return True
    return False


def _write_line(level: int, message: str, **facts: Fact) -> None:
    if not log.isEnabledFor(level):
        return
    # as log.log does, which takes as long for it as the rest for the line
    record = logging.LogRecord(log.name, level, "", 0, "%s", (message,), None)
    record.__dict__["facts"] = facts
    log.handle(record)
