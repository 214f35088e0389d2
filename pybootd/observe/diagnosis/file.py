"""Why a file did not come, or did not do what it should."""

from __future__ import annotations

from pybootd.core.architecture import architecture_name
from pybootd.core.events import FileProblem, TransferOutcome
from pybootd.observe.boots.roles import FileRole, examine, is_bios_name, plain_name
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind, is_step
from pybootd.observe.diagnosis import verdicts
from pybootd.observe.diagnosis.evidence import QUIET, Evidence, role_in_boot
from pybootd.observe.diagnosis.verdicts import Diagnosis
from pybootd.observe.wording import STAGES, describe_end

_LOOPS = 3  # times that iPXE fetches the same boot file before it is called a loop


def missing_file(case: Evidence) -> Diagnosis | None:
    """Find that a file which the boot can't do without isn't there."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind is not StepKind.MISSED:
        return None
    role = role_in_boot(case, newest.subject)
    if role is FileRole.CONFIGURATION or (role is FileRole.OTHER and case.fetched):
        return None
    if role is not FileRole.BOOT_FILE and not case.is_silent(QUIET):
        return None
    near = case.look(newest.subject).near
    which = "Its boot file" if role is FileRole.BOOT_FILE else f"A file ({STAGES[role]})"
    like = f" Names like it: {', '.join(near)}." if near else ""
    return verdicts.MISSING_FILE.diagnose(
        f"{which} is not there: {newest.subject}.",
        "Put it below [tftp] root, or correct its name where it is written"
        f" ({'[bootfile]' if role is FileRole.BOOT_FILE else 'the loader configuration'}).{like}",
        f"asked for {newest.subject!r}, {newest.detail}",
    )


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


def wrong_architecture(case: Evidence) -> Diagnosis | None:
    """Find that the boot file is a program for another kind of machine."""
    boot, fetched = case.boot, case.fetched
    if boot.architecture is None or not fetched or not _ends_at_boot_file(case):
        return None
    if not case.is_silent(QUIET):
        return None
    file = fetched[-1]
    program = examine(case.look(file.requested).head or b"")
    runs = architecture_name(boot.architecture)
    if program is not None and boot.architecture not in program.architectures:
        holds = program.text
    elif program is None and is_bios_name(file.requested) and "efi" in runs:
        holds = "a program for a PC with BIOS, to judge by its name"
    else:
        return None
    return verdicts.WRONG_ARCHITECTURE.diagnose(
        f"The boot file {file.requested} is {holds}; this machine is {runs}.",
        f"Name a file that fits in section [bootfile]: {runs} = FILE",
        f"its header says: {holds}",
        f"the client says (option 93): {boot.architecture:05d}, {runs}",
    )


def _ends_at_boot_file(case: Evidence) -> bool:
    """Tell whether the boot file came whole, and nothing that mattered after it."""
    newest = case.newest
    return isinstance(newest, BootTransfer) and newest.came and newest.role is FileRole.BOOT_FILE


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


def secure_boot(case: Evidence) -> Diagnosis | None:
    """Find that the firmware fetched the file whole and did not want to run it."""
    boot = case.boot
    if not _ends_at_boot_file(case) or not case.over or boot.ipxe:
        return None
    if not case.fetched[-1].done:  # it may lack the end
        return None
    if boot.architecture is None or "efi" not in architecture_name(boot.architecture):
        return None
    file = case.fetched[-1]
    return verdicts.SECURE_BOOT.diagnose(
        f"The firmware fetched {file.requested} whole and started over: Secure Boot has most"
        " likely refused it.",
        "",
        f"{file.sent} octets of {file.size if file.size is not None else '?'} arrived, nothing else"
        " was asked for, then a new DHCPDISCOVER",
    )


def no_configuration(case: Evidence) -> Diagnosis | None:
    """Find that the loader found none of its configuration files."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind is not StepKind.MISSED:
        return None
    if role_in_boot(case, newest.subject) is not FileRole.CONFIGURATION or not case.is_silent(
        QUIET
    ):
        return None
    tried: list[str] = []
    for one in reversed(case.boot.steps):
        if isinstance(one, BootTransfer) and one.came:
            break
        if not isinstance(one, Step) or one.kind is not StepKind.MISSED:
            continue
        if role_in_boot(case, one.subject) is FileRole.CONFIGURATION:
            tried.insert(0, one.subject)
    return verdicts.NO_CONFIGURATION.diagnose(
        f"The boot loader found no configuration: {tried[-1]}, the last that it tried, is not"
        " there.",
        f"Write one of these files below [tftp] root ({plain_name(tried[-1])} is for every"
        " machine), or lead its name to another by a line in [filters].",
        f"tried: {', '.join(tried)}",
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
