"""The words for causes and steps: programs go by the enums, people read these."""

from __future__ import annotations

from types import MappingProxyType

from pybootd.core.events import ConflictCause, EndCause, TransferEnded, TransferOutcome, Uploaded
from pybootd.observe.boots.roles import FileRole
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind

OUTCOMES = MappingProxyType(
    {
        TransferOutcome.DONE: "done",
        TransferOutcome.ABORTED: "aborted by the client",
        TransferOutcome.PROBED: "probed for its size",
        TransferOutcome.TIMEOUT: "client silent",
        TransferOutcome.FAILED: "failed",
        TransferOutcome.STOPPED: "daemon stopped",
    }
)

ENDS = MappingProxyType(
    {
        EndCause.NONE: "",
        EndCause.LAST_ACK_MISSING: "its last ACK is missing",
        EndCause.ASKED_AGAIN: "the client asked again",
        EndCause.PORT_CLOSED: "its port is closed",
        EndCause.CLIENT_ERROR: "the client sent an error",
        EndCause.CONNECTION_LOST: "the connection is gone",
        EndCause.TOO_MANY: "too many at once",
        EndCause.FILE: "the file can't be read or written to its end",
        EndCause.PROTOCOL: "the client broke the protocol",
        EndCause.PARTIAL: "a part of it",
        EndCause.NOT_MODIFIED: "not modified",
        EndCause.INTERNAL: "a fault of the server",
    }
)

STAGES: MappingProxyType[StepKind | FileRole | None, str] = MappingProxyType(
    {
        None: "",
        StepKind.OFFERED: "offered",
        StepKind.CHOSE_ANOTHER: "took another server's offer",
        StepKind.CONFIRMED: "address confirmed",
        StepKind.SYSTEM: "system up",
        StepKind.REFUSED: "refused",
        StepKind.CONFLICT: "address in use",
        StepKind.RELEASED: "released",
        StepKind.MISSED: "file not found",
        StepKind.FORBIDDEN: "file refused",
        StepKind.UNAVAILABLE: "file unavailable",
        FileRole.BOOT_FILE: "boot file",
        FileRole.LOADER: "loader",
        FileRole.CONFIGURATION: "configuration",
        FileRole.KERNEL: "kernel",
        FileRole.INITRD: "initrd",
        FileRole.ROOT: "root file system",
        FileRole.OTHER: "file",
    }
)


def describe_end(ended: TransferEnded | Uploaded | BootTransfer) -> str:
    """Say why a transfer ended as it did; "": its outcome says all."""
    return ended.reason or ENDS[ended.cause]


def describe_outcome(ended: TransferEnded | Uploaded | BootTransfer) -> str:
    """Say how a transfer ended, and why."""
    how = "running" if ended.outcome is None else OUTCOMES[ended.outcome]
    why = describe_end(ended)
    return f"{how}: {why}" if why else how


def describe_conflict(cause: ConflictCause, user: str) -> str:
    """Say how it is known that another machine uses an address; ``user``: its MAC, or ""."""
    if cause is ConflictCause.DECLINED:
        return "the client found it in use"
    return f"{user or 'another machine'} answers for it"


def describe_step(step: Step) -> str:
    """Say what else is known of a step."""
    if isinstance(step.cause, ConflictCause):
        return describe_conflict(step.cause, step.detail)
    return "" if step.kind is StepKind.REFUSED else step.detail
