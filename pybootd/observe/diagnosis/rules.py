"""Why a boot stopped: each rule reads one boot's facts and says what is most likely wrong.

A rule is a function of a Case and knows nothing else; the first that speaks is the verdict. It
says what happened, what to do, and what it was seen by, in words for someone who sees this for the
first time. A boot that goes on, or went well, has no fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pybootd.core.finding import Grade
from pybootd.observe.diagnosis import address, content, file, sequence, transfer
from pybootd.observe.diagnosis.evidence import SYSTEM, Evidence
from pybootd.observe.diagnosis.verdicts import Diagnosis

Rule = Callable[[Evidence], Diagnosis | None]


def judge(case: Evidence) -> Diagnosis | None:
    """Return the verdict on a boot; None: it goes on, or nothing is known to be wrong.

    Where firmware went on by another way, what stopped it first is the verdict.
    """
    boot = case.boot
    if not boot.steps or boot.active:
        return None
    if boot.up:
        return content.broken_root(case)
    if not boot.booting:
        return address.not_served(case)
    verdict = _judge_steps(case)
    for count in boot.switches if verdict is not None else ():
        first = _judge_steps(Evidence(boot.cut_at(count), case.now, case.look))
        if first is not None and first.grade is Grade.FAULT:
            then = f"then its firmware went on by another way ({boot.vendor_class})"
            return replace(first, evidence=(*first.evidence, then))
    return verdict


def _judge_steps(case: Evidence) -> Diagnosis | None:
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
    content.shim_refused,
    file.no_configuration,
    file.missing_file,
    file.forbidden,
    file.broken_template,
    file.unavailable,
    content.wrong_content,
    content.broken_file,
    transfer.size_probe,
    transfer.broken_off,
    file.ipxe_loop,
    content.wrong_architecture,
    content.grub_refused,
    content.firmware_refused,
    file.proxy_loader,
    sequence.loader_stopped,
    transfer.no_system,
    transfer.lossy,
    transfer.stopped,
)
