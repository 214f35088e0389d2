"""Why a transfer broke off, or nothing came after it."""

from __future__ import annotations

from pybootd.core.events import EndCause, TransferOutcome
from pybootd.observe.boots.roles import FileRole
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind, is_step
from pybootd.observe.diagnosis import verdicts
from pybootd.observe.diagnosis.evidence import ASKING, FAILING, OFTEN, QUIET, SYSTEM, Evidence
from pybootd.observe.diagnosis.verdicts import Diagnosis, as_note
from pybootd.observe.wording import STAGES, describe_end, describe_outcome

_LOSSY = 0.03  # the part of all blocks sent again that tells of a bad path
_WINDOWS = 4  # windows sent again, at least: one packet that gets lost may cost a whole one
_SLOW = 100_000.0  # octets a second
_BLOCKS = (8192, 1468, 1024, 512)  # octets that are worth a try; 1468 fit into packets of 1500

_PORTS = (
    "transfer has its own UDP port here ([tftp] port_range chooses them), and both ways"
    " to it must be open on every firewall. Large packets may get lost on the way, too: [tftp]"
    " blocksize = 512."
)


def size_probe(case: Evidence) -> Diagnosis | None:
    """Find that it asked for a file's size, and for nothing more."""
    newest = case.newest
    if not isinstance(newest, BootTransfer) or not case.is_silent(QUIET):
        return None
    aborted = newest.outcome is TransferOutcome.ABORTED and newest.sent <= newest.blocksize
    if newest.outcome is not TransferOutcome.PROBED and not (
        aborted and newest.role is FileRole.OTHER
    ):
        return None
    return verdicts.SIZE_PROBE.diagnose(
        f"It asked how large {newest.requested} is, and for no more: that is how firmware begins.",
        "",
        "asked by HEAD"
        if newest.protocol == "http"
        else "ended by the client before the first block was acknowledged",
    )


def broken_off(case: Evidence) -> Diagnosis | None:
    """Find that it gave up in the middle of a file, or fell silent."""
    newest = case.newest
    if not isinstance(newest, BootTransfer):
        return None
    if newest.outcome not in (TransferOutcome.TIMEOUT, TransferOutcome.ABORTED):
        return None
    asked = _unheard(case)
    if newest.came and asked < OFTEN:
        return None
    silent = newest.outcome is TransferOutcome.TIMEOUT
    if not (silent and newest.sent) and not case.is_silent(QUIET):
        return None  # it may ask again, with other options
    how = describe_outcome(newest)
    got = f"{newest.sent} of {newest.size if newest.size is not None else '?'} octets arrived"
    large = newest.blocksize > 512 and newest.sent == 0 and newest.retransmissions
    if large and _smaller_got_through(case, newest):
        smaller = next((size for size in _BLOCKS if size < newest.blocksize), 512)
        return verdicts.BLOCK_TOO_LARGE.diagnose(
            f"Blocks of {newest.blocksize} octets, large packets, do not get through to it; smaller"
            " ones did.",
            "Something on the way carries smaller packets than this host believes. Write in [tftp]:"
            f" blocksize = {smaller}, or set the interface's MTU to what the whole way carries.",
            f"{newest.requested}: blocks of {newest.blocksize} octets, none acknowledged,"
            f" {newest.retransmissions} sent again",
        )
    if asked >= OFTEN:
        return verdicts.ANSWER_LOST.diagnose(
            f"Our answers do not reach it, or its do not reach us: it asked for {newest.requested}"
            " again and again.",
            f"Each {_PORTS}",
            f"asked {asked} times, nothing acknowledged",
        )
    if _lossy(newest):
        return _bad_path(newest)
    if not silent and _slow(newest):  # the silence at an end is no part of its pace
        return _slow_path(newest, f"{got}; {how}")
    if silent and not newest.sent and newest.protocol == "tftp":
        return verdicts.GAVE_UP.diagnose(
            f"It asked for {newest.requested}, and acknowledged nothing of it.",
            "Look at its screen: it may be switched off, or unplugged. If it always stops here:"
            f" each {_PORTS}",
            f"{got}; {how}",
        )
    return verdicts.GAVE_UP.diagnose(
        f"It {'fell silent' if silent else 'gave up'} in the middle of {newest.requested}.",
        "",
        f"{got}; {how}",
    )


def _unheard(case: Evidence) -> int:
    """Count how often in a row it asked for the newest file, and acknowledged nothing."""
    count, name = 0, ""
    for one in reversed(case.boot.steps):
        if not isinstance(one, BootTransfer) or one.sent or name not in ("", one.requested):
            break
        if one.protocol != "tftp" or (
            one.outcome is not TransferOutcome.TIMEOUT and one.cause is not EndCause.ASKED_AGAIN
        ):
            break
        name = one.requested
        count += 1
    return count


def _smaller_got_through(case: Evidence, transfer: BootTransfer) -> bool:
    """Tell whether smaller blocks were acknowledged, or the answer to a question for the size."""
    if any(0 < one.blocksize < transfer.blocksize for one in case.fetched if one.sent):
        return True
    return any(
        one.outcome is TransferOutcome.PROBED and one.protocol == transfer.protocol
        for one in case.boot.transfers()
    )


def _lossy(transfer: BootTransfer) -> bool:
    """Tell whether many blocks were sent twice, those into the silence at the end left out."""
    block = transfer.blocksize
    if transfer.protocol != "tftp" or not block:
        return False
    window = transfer.windowsize
    silent = transfer.outcome is TransferOutcome.TIMEOUT
    lost = transfer.retransmissions - (2 * window + 6 if silent else 0)
    return lost >= max(10, _WINDOWS * window, _LOSSY * transfer.sent / block)


def _slow(transfer: BootTransfer) -> bool:
    took = transfer.ended - transfer.began
    return took > 30 and transfer.sent > 0 and transfer.sent / took < _SLOW


def _bad_path(transfer: BootTransfer) -> Diagnosis:
    took = max(transfer.ended - transfer.began, 0.001)
    how = "came with many repetitions" if transfer.came else "did not get through"
    return verdicts.LOSSY.diagnose(
        f"The way to it loses packets: {transfer.requested} {how}.",
        "",
        f"{transfer.retransmissions} blocks sent again, {transfer.sent} octets in {took:.1f} s"
        f" ({transfer.sent / took / 1e6:.2f} MB/s)",
    )


def _slow_path(transfer: BootTransfer, *evidence: str) -> Diagnosis:
    took = transfer.ended - transfer.began
    return verdicts.SLOW.diagnose(
        f"{transfer.requested} came very slowly, though few packets were lost or none.",
        "",
        f"{transfer.sent} octets in {took:.1f} s ({transfer.sent / took / 1e3:.2f} kB/s),"
        f" {transfer.retransmissions} blocks sent again",
        *evidence,
    )


def _how_whole(transfer: BootTransfer) -> str:
    return "whole" if transfer.done else "whole but for its last ACK"


# a kernel, and no system


def no_system(case: Evidence) -> Diagnosis | None:
    """Find that the kernel was fetched, and its system never heard of."""
    newest = case.newest
    if not isinstance(newest, BootTransfer) or not newest.came or not case.is_silent(SYSTEM):
        return None
    kernel = next((one for one in case.fetched if one.role is FileRole.KERNEL), None)
    if kernel is None:
        return None
    loss = next((one for one in case.fetched if _lossy(one)), None)
    if loss is not None and case.over:
        return _bad_path(loss)
    followed = case.boot.followed
    failing = followed is not None and followed - newest.ended <= FAILING
    kind = verdicts.NO_SYSTEM if failing else as_note(verdicts.NO_SYSTEM)
    # a proxy overhears one broadcast, which may get lost
    asked = "was not heard asking" if case.boot.proxy else "never asked"
    return kind.diagnose(
        f"It fetched its kernel ({kernel.requested}), and the system {asked} for an address.",
        "",
        # what is said once and kept must not grow with time
        f"last file: {newest.requested}, {_how_whole(newest)}; then nothing for"
        + (f" {followed - newest.ended:.0f} s" if followed else f" more than {SYSTEM:.0f} s"),
    )


def lossy(case: Evidence) -> Diagnosis | None:
    """Find that it stopped behind a file that took many repetitions, or very long."""
    newest = case.newest
    if not isinstance(newest, BootTransfer) or not newest.came or not case.is_silent(QUIET):
        return None
    if newest.role is FileRole.KERNEL or newest.role is FileRole.INITRD:
        return None  # it is booting
    if _lossy(newest):
        return _bad_path(newest)
    # one that ended in silence took that long because of it
    return _slow_path(newest) if newest.done and _slow(newest) else None


def stopped(case: Evidence) -> Diagnosis | None:
    """Say that it stopped, where no rule knows why."""
    newest = case.newest
    kernel = any(one.role in (FileRole.KERNEL, FileRole.INITRD) for one in case.fetched)
    asking = is_step(newest, StepKind.OFFERED, StepKind.CONFLICT)
    if not case.is_silent(SYSTEM if kernel else ASKING if asking else QUIET):
        return None
    missing = ""
    if isinstance(newest, Step):  # a proxy offers no address
        name = f"{STAGES[newest.kind]} {newest.subject or newest.detail}".rstrip()
        after = f"this: {name}"
    else:
        after = name = newest.requested
        missing = describe_end(newest) if newest.cause is EndCause.LAST_ACK_MISSING else ""
    return verdicts.STOPPED.diagnose(
        f"Nothing was heard of it after {after}.",
        "",
        f"last: {name}",
        missing,
    )
