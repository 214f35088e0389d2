"""Why a boot stopped: each rule reads one boot's facts and says what is most likely wrong.

A rule is a function of a Case and knows nothing else; the first that speaks is the verdict. It
says what happened, what to do, and what it was seen by, in words for someone who sees this for the
first time. A boot that goes on, or went well, has no fault.
"""

from __future__ import annotations

from collections.abc import Callable

from pybootd.observe import broken_off, no_address, no_file
from pybootd.observe.case import SYSTEM, Case, Look, Looker, Verdict

__all__ = ["RULES", "Case", "Look", "Looker", "Verdict", "judge", "settled"]

Rule = Callable[[Case], Verdict | None]


def judge(case: Case) -> Verdict | None:
    """Return the verdict on a boot; None: it goes on, or nothing is known to be wrong."""
    boot = case.boot
    if not boot.steps or not boot.booting or boot.active or boot.up:
        return None
    for rule in RULES:
        verdict = rule(case)
        if verdict is not None:
            return verdict
    return None


def settled(case: Case) -> bool:
    """Tell whether the verdict can't change any more."""
    return case.over or case.boot.up or case.now - case.boot.touched > SYSTEM


RULES: tuple[Rule, ...] = (
    no_address.another_server,
    no_address.refused,
    no_address.no_boot_file,
    no_address.not_requested,
    no_address.not_fetched,
    no_file.no_configuration,
    no_file.missing_file,
    no_file.forbidden,
    no_file.broken_template,
    no_file.unavailable,
    broken_off.size_probe,
    broken_off.broken_off,
    no_file.ipxe_loop,
    no_file.wrong_architecture,
    no_file.secure_boot,
    no_file.proxy_loader,
    broken_off.no_system,
    broken_off.lossy,
    broken_off.stopped,
)
