"""Why a file did not come, or did not do what it should."""

from __future__ import annotations

from pybootd.core.events import FileProblem, TransferOutcome
from pybootd.observe.boots.loaders import is_answer_file, is_loader_configuration, is_normal_miss
from pybootd.observe.boots.roles import FileRole, guess_role, plain_name
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind, is_step
from pybootd.observe.diagnosis import verdicts
from pybootd.observe.diagnosis.evidence import QUIET, Evidence, role_in_boot
from pybootd.observe.diagnosis.verdicts import Diagnosis
from pybootd.observe.wording import STAGES, describe_end

_LOOPS = 3  # times that iPXE fetches the same boot file before it is called a loop


def missing_file(case: Evidence) -> Diagnosis | None:
    """Find that a file which the boot can't do without isn't there."""
    newest = _newest_miss(case)
    if newest is None:
        return None
    name, role = newest.subject, role_in_boot(case, newest.subject)
    if not _is_needed(case, name, role):
        return None
    if role is not FileRole.BOOT_FILE and not case.is_silent(QUIET):
        return None
    look, place = case.look(name), "the loader's configuration"
    if role is FileRole.BOOT_FILE:
        which, place = "Its boot file", "[bootfile]"
    elif is_answer_file(name) and _has_system(case):
        which, place = "What the installer takes its answers from", "the kernel's command line"
    else:
        which = f"A file ({STAGES[role]})"
    like = f" Names like it: {', '.join(look.near)}." if look.near else ""
    link = f"a link that leads to {look.link}, which is not there"
    return verdicts.MISSING_FILE.diagnose(
        f"{which} is not there: {name}{f' is {link}' if look.link else ''}.",
        f"Put it below [tftp] root, or correct its name where it is written ({place}).{like}",
        f"asked for {name!r}, {newest.detail}",
        _list_tried(case),
        f"{name} is {link}" if look.link else "",
    )


def _list_tried(case: Evidence) -> str:
    """List what was asked for and is not there, up to the last file that came; "": one alone."""
    tried: list[str] = []
    for one in reversed(case.boot.steps):
        if isinstance(one, BootTransfer) and one.came:
            break
        if not isinstance(one, Step) or one.kind is not StepKind.MISSED:
            continue
        if guess_role(one.subject) is not FileRole.OTHER:
            tried.insert(0, one.subject)
    return f"tried: {', '.join(tried)}" if len(tried) > 1 else ""


def _newest_miss(case: Evidence) -> Step | None:
    """Return the miss that the boot ended with; a system that asked meanwhile changes nothing.

    What firmware and loaders do well without is passed over.
    """
    for one in reversed(case.boot.steps):
        if not isinstance(one, Step) or one.kind not in (StepKind.MISSED, StepKind.RELEASED):
            return None
        if one.kind is StepKind.MISSED and not is_normal_miss(one.subject):
            return one
    return None


def _is_needed(case: Evidence, name: str, role: FileRole) -> bool:
    """Tell whether the boot can't do without a file: by its role, or since it was named."""
    if role is FileRole.CONFIGURATION:
        named = is_answer_file(name) and not is_loader_configuration(name)
        return named and _has_system(case)
    if role is not FileRole.OTHER or not case.fetched:
        return True
    if is_answer_file(name):
        return _has_system(case)
    config = case.newest_configuration()
    if config is not None and name.rpartition("/")[2] in " ".join(config[1].names):
        return True
    settings = [one for one in case.fetched if one.role is FileRole.CONFIGURATION]
    # it was named by a configuration that is not understood, and nothing else was asked for
    return (
        bool(settings)
        and case.fetched[-1].role is not FileRole.OTHER
        and (not case.boot.has_step(StepKind.SYSTEM))
    )


def _has_system(case: Evidence) -> bool:
    """Tell whether a system runs, of an installer say: it asked for an address, or had a kernel."""
    kernel = any(one.role is FileRole.KERNEL for one in case.fetched)
    return kernel or case.boot.has_step(StepKind.SYSTEM)


def forbidden(case: Evidence) -> Diagnosis | None:
    """Find a file that was refused: outside the root, or not to be read."""
    newest = case.newest
    if (
        not isinstance(newest, Step)
        or newest.kind is not StepKind.FORBIDDEN
        or _origin_said(newest)
    ):
        return None
    what = f"A file was refused to it: {newest.subject}: {newest.detail}."
    special = _forbidden_by_cause(newest)
    if special is not None:
        return special
    if newest.cause is FileProblem.ALTERED:
        return verdicts.FORBIDDEN_FILE.diagnose(
            what,
            "Find out who changed the file, and put the right one back; if it was you, write its"
            " sum (sha256sum FILE) into [pins].",
            f"asked for {newest.subject!r}",
        )
    return verdicts.FORBIDDEN_FILE.diagnose(
        what,
        "",
        f"asked for {newest.subject!r}",
    )


def _forbidden_by_cause(step: Step) -> Diagnosis | None:
    """Say more where the cause is known, and no link or right has a part in it."""
    name = step.subject
    if step.cause is FileProblem.NO_SPACE:
        return verdicts.DISK_FULL.diagnose(
            f"{name} could not be kept: no space is left for it.", "", f"asked for {name!r}"
        )
    if step.cause is FileProblem.BAD_REQUEST:
        return verdicts.BAD_REQUEST.diagnose(
            f"It asked for {name} in a mode that is not served.", "", step.detail
        )
    if step.cause is FileProblem.UNKNOWN_CLIENT:
        return verdicts.FORBIDDEN_FILE.diagnose(
            f"{name} was refused to it: [httpd] check_ip is on, and its address was not"
            " given here.",
            "Let it keep the address that it booted with, or switch check_ip off.",
            f"asked for {name!r}",
        )
    return None


def broken_template(case: Evidence) -> Diagnosis | None:
    """Find that the file would have been made from a template, which has a fault."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind is not StepKind.UNAVAILABLE:
        return None
    if newest.cause is not FileProblem.TEMPLATE:
        return None
    return verdicts.TEMPLATE.diagnose(
        f"The template for {newest.subject} has a fault: {newest.detail}.",
        "",
        f"rendering said: {newest.detail}",
    )


def _origin_said(step: Step | BootTransfer) -> bool:
    """Tell whether it was a web server's answer that refused the file."""
    if not isinstance(step, Step) or step.kind is not StepKind.FORBIDDEN:
        return False
    return step.cause is FileProblem.ORIGIN_STATUS


def unavailable(case: Evidence) -> Diagnosis | None:
    """Find that the place where the files come from did not give this one."""
    newest = case.newest
    failed = isinstance(newest, BootTransfer) and newest.outcome is TransferOutcome.FAILED
    if not failed and not is_step(newest, StepKind.UNAVAILABLE) and not _origin_said(newest):
        return None
    if isinstance(newest, BootTransfer):
        name, reason = newest.requested, describe_end(newest)
    else:
        name, reason = newest.subject, newest.detail
    return verdicts.ORIGIN_DOWN.diagnose(
        f"{name} could not be had: {reason}.",
        "",
        f"the source said: {reason}",
    )


def ipxe_loop(case: Evidence) -> Diagnosis | None:
    """Find that iPXE loads itself again and again."""
    boot, newest = case.boot, case.newest
    whole = [one for one in case.fetched if one.role is FileRole.BOOT_FILE]
    if not boot.ipxe or len(whole) < _LOOPS or len({one.requested for one in whole}) > 1:
        return None
    if isinstance(newest, BootTransfer) and newest.role is not FileRole.BOOT_FILE:
        return None
    return verdicts.IPXE_LOOP.diagnose(
        f"iPXE loads {whole[0].requested} again and again: that is iPXE itself.",
        "",
        f"{len(whole)} times {whole[0].requested}, the last times asked for by iPXE",
    )


def no_configuration(case: Evidence) -> Diagnosis | None:
    """Find that the loader found none of its configuration files."""
    newest = _newest_miss(case)
    if newest is None or not case.is_silent(QUIET) or is_answer_file(newest.subject):
        return None
    if role_in_boot(case, newest.subject) is not FileRole.CONFIGURATION:
        return None
    return verdicts.NO_CONFIGURATION.diagnose(
        f"The boot loader found no configuration: {newest.subject}, the last that it tried, is not"
        " there.",
        f"Write one of these files below [tftp] root ({plain_name(newest.subject)} is for every"
        " machine), or lead its name to another by a line in [filters].",
        _list_tried(case) or f"tried: {newest.subject}",
    )


def proxy_loader(case: Evidence) -> Diagnosis | None:
    """Find that GRUB, under a proxy, asks the DHCP server for its files."""
    newest = case.newest
    if not case.boot.proxy or not isinstance(newest, BootTransfer) or not newest.came:
        return None
    if newest.role is FileRole.CONFIGURATION:  # it asked here
        return None
    if "grub" not in newest.requested.lower() or not case.is_silent(QUIET):
        return None
    return verdicts.OTHER_FILE_SERVER.diagnose(
        "GRUB was loaded, and asked for its files elsewhere: it takes the file server from the"
        " DHCP server's answer, never from a proxy's.",
        "Boot a GRUB with its own prefix (grub-mkimage -p), or iPXE, or let pybootd give the"
        " addresses (mode = dhcp).",
        f"{newest.requested} was the last file asked for here; pybootd is proxy",
    )
