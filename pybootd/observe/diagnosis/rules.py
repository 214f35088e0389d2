"""Why a boot stopped: each rule reads one boot's facts and says what is most likely wrong.

A rule is a function of a Case and knows nothing else; the first that speaks is the verdict. It
says what happened, what to do, and what it was seen by, in words for someone who sees this for the
first time. A boot that goes on, or went well, has no fault.
"""

from __future__ import annotations

from collections.abc import Callable

from pybootd.observe.diagnosis import address, file, transfer
from pybootd.observe.diagnosis.evidence import SYSTEM, Evidence
from pybootd.observe.diagnosis.verdicts import Diagnosis

Rule = Callable[[Evidence], Diagnosis | None]


def judge(case: Evidence) -> Diagnosis | None:
    """Return the verdict on a boot; None: it goes on, or nothing is known to be wrong."""
    boot = case.boot
    if not boot.steps or not boot.booting or boot.active or boot.up:
        return None
    for rule in RULES:
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return None


def settled(case: Evidence) -> bool:
    """Tell whether the verdict can't change any more."""
    return case.over or case.boot.up or case.now - case.boot.touched > SYSTEM


RULES: tuple[Rule, ...] = (
    address.another_server,
    address.refused,
    address.no_boot_file,
    address.not_requested,
    address.not_fetched,
    file.no_configuration,
    file.missing_file,
    file.forbidden,
    file.broken_template,
    file.unavailable,
    transfer.size_probe,
    transfer.broken_off,
    file.ipxe_loop,
    file.wrong_architecture,
    file.secure_boot,
    file.proxy_loader,
    transfer.no_system,
    transfer.lossy,
    transfer.stopped,
)
