"""What the files show that were served: each verdict names the content before it guesses."""

from __future__ import annotations

from pybootd.core.architecture import architecture_name
from pybootd.core.events import TransferOutcome
from pybootd.observe.boots.loaders import is_loader_configuration, is_mok_manager
from pybootd.observe.boots.roles import FileRole, is_bios_name
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind
from pybootd.observe.content.kinds import Content, ContentKind, Wholeness
from pybootd.observe.diagnosis import verdicts
from pybootd.observe.diagnosis.evidence import QUIET, RESTART, Evidence
from pybootd.observe.diagnosis.verdicts import Certainty, Diagnosis

_RUN = (FileRole.BOOT_FILE, FileRole.LOADER, FileRole.KERNEL)
_READ = (FileRole.KERNEL, FileRole.INITRD, FileRole.ROOT)
_CONFIGURATIONS = {
    "pxelinux": ContentKind.PXELINUX_CONFIG,
    "grub": ContentKind.GRUB_CONFIG,
}


def _list_suspects(case: Evidence) -> list[tuple[BootTransfer, Content]]:
    """Return what the boot ended with, the newest first: what came before has done its work.

    Those are the last file, and kernel and initrd where they are the last.
    """
    if case.boot.up or not case.is_silent(QUIET):
        return []
    found: list[tuple[BootTransfer, Content]] = []
    for one in reversed(case.boot.steps):
        if isinstance(one, Step):
            if one.kind in (StepKind.SYSTEM, StepKind.CONFIRMED, StepKind.OFFERED):
                break
            continue
        probed = one.outcome is TransferOutcome.PROBED
        if found and one.role not in _READ:
            break
        content = case.content_of(one) if one.came or probed else None
        if content is not None:
            found.append((one, content))
        if one.role not in _READ and not probed:
            break
    return found


def wrong_content(case: Evidence) -> Diagnosis | None:
    """Find a file that is empty, a page, or a text that its reader can't use."""
    for file, content in _list_suspects(case):
        what = _name_wrong_content(case, file, content)
        if what:
            return verdicts.WRONG_CONTENT.diagnose(
                f"{file.requested} is {what}.",
                "",
                f"looked at {file.requested}: {content.size} octets, {content.text}",
                f"named: {', '.join(content.names)}" if content.names else "",
            )
    return None


def _name_wrong_content(case: Evidence, file: BootTransfer, content: Content) -> str:
    """Say what is wrong with the content; "": nothing."""
    kind, name = content.kind, file.requested.lower()
    if kind is ContentKind.UNMARKED_SCRIPT:
        if content.byte_order_mark:
            return f"{content.text}: iPXE takes a script by its first octets, #!ipxe"
        if case.boot.ipxe or name.endswith(".ipxe"):
            return f"{content.text} as its first line: iPXE does not take it for a script"
    runs_scripts = case.boot.ipxe or case.boot.vendor_class.startswith("U-Boot")
    if content.is_text and file.role is FileRole.BOOT_FILE and not runs_scripts:
        plain = kind in (ContentKind.HTML, ContentKind.EMPTY)
        return content.text if plain else f"{content.text}, where firmware needs a program"
    if kind is ContentKind.TEXT and file.role is FileRole.BOOT_FILE and case.boot.ipxe:
        return "a text that is no iPXE script: it does not begin with #!ipxe"
    if file.role is FileRole.CONFIGURATION and not is_loader_configuration(name):
        return content.text if kind is ContentKind.HTML else ""
    if file.role is FileRole.CONFIGURATION or is_loader_configuration(name):
        if kind in (ContentKind.HTML, ContentKind.EMPTY) or content.is_program:
            return content.text
        wanted = next((one for key, one in _CONFIGURATIONS.items() if key in name), kind)
        both = set(_CONFIGURATIONS.values())
        if kind in both and kind is not wanted:
            return f"{content.text}, which this loader does not read"
        return ""
    if kind in (ContentKind.HTML, ContentKind.EMPTY):
        needed = file.role is not FileRole.OTHER
        return content.text if needed else ""
    if content.is_text and file.role in _RUN and not runs_scripts:
        return f"{content.text}, where a program is needed"
    return ""


def broken_file(case: Evidence) -> Diagnosis | None:
    """Find a file that ends before its own end."""
    for file, content in _list_suspects(case):
        if content.whole is Wholeness.CUT:
            return _describe_cut(file, content)
    return None


def broken_root(case: Evidence) -> Diagnosis | None:
    """Find that a system fetched its root file system, which is cut off."""
    transfers = list(case.boot.transfers())
    file = transfers[-1] if transfers else None
    if file is None or file.role is not FileRole.ROOT or not file.came:
        return None
    content = case.content_of(file)
    return _describe_cut(file, content) if content and content.whole is Wholeness.CUT else None


def _describe_cut(file: BootTransfer, content: Content) -> Diagnosis:
    return verdicts.BROKEN_FILE.diagnose(
        f"{file.requested} is cut off: it ends in the middle of {content.text}.",
        "",
        f"looked at {file.requested}: {content.size} octets, {content.text}, its end is missing",
    )


def wrong_architecture(case: Evidence) -> Diagnosis | None:
    """Find that the boot file or the kernel is a program for another kind of machine."""
    boot = case.boot
    if boot.architecture is None:
        return None
    runs = architecture_name(boot.architecture)
    for file, content in _list_suspects(case):
        holds = ""
        if file.role is FileRole.BOOT_FILE:
            misfit = content.architectures and boot.architecture not in content.architectures
            bios = not content.is_program and is_bios_name(file.requested)
            if misfit:
                holds = content.text
            elif (bios or content.kind is ContentKind.BIOS_PROGRAM) and "efi" in runs:
                holds = "a program for a PC with BIOS"
        elif file.role is FileRole.KERNEL and _family(content) not in ("", _family_of(runs)):
            holds = content.text
        if holds:
            what = "boot file" if file.role is FileRole.BOOT_FILE else "kernel"
            return verdicts.WRONG_ARCHITECTURE.diagnose(
                f"The {what} {file.requested} is {holds}; this machine is {runs}.",
                f"Name a file that fits in section [bootfile]: {runs} = FILE"
                if what == "boot file"
                else f"Name a kernel for {runs} in the loader's configuration.",
                f"its header says: {holds}",
                f"the client says (option 93): {boot.architecture:05d}, {runs}",
            )
    return None


def _family(content: Content) -> str:
    """Name the processors that a kernel runs on; "": unknown."""
    return {
        ContentKind.X86_KERNEL: "x86",
        ContentKind.ARM64_KERNEL: "arm64",
        ContentKind.ARM_KERNEL: "arm32",
    }.get(content.kind, "")


def _family_of(architecture: str) -> str:
    """Name the processors of a client's architecture."""
    for end in ("arm64", "arm32"):
        if end in architecture:
            return end
    return "x86" if architecture.endswith(("bios", "ia32", "x86_64", "ebc")) else ""


def shim_refused(case: Evidence) -> Diagnosis | None:
    """Find that shim refused its loader: it asked for MokManager, which is not there."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind is not StepKind.MISSED:
        return None
    if not is_mok_manager(newest.subject) or not case.fetched:
        return None
    loader = case.fetched[-1]
    return verdicts.SECURE_BOOT.diagnose(
        f"shim refused {loader.requested}: then it asked for {newest.subject}, which it starts"
        " when a signature does not fit.",
        "Serve the loader that belongs to this shim (of the same distribution and release), or"
        " put mmx64.efi beside it and enrol the loader's key.",
        _describe_signature(case, loader),
        f"{loader.requested} came whole, then {newest.subject} was asked for",
    )


def grub_refused(case: Evidence) -> Diagnosis | None:
    """Find that GRUB refused its kernel.

    GRUB under shim refuses a kernel without a signature, and asks for no initrd then.
    """
    newest = case.newest
    if not isinstance(newest, BootTransfer) or newest.role is not FileRole.KERNEL:
        return None
    if not newest.came or not case.is_silent(QUIET):
        return None
    content = case.content_of(newest)
    if content is None or content.signers is not None:
        return None
    shims = [one for one in case.fetched if _is_shim(case.content_of(one))]
    if not shims or not case.due_names():
        return None
    return verdicts.SECURE_BOOT.diagnose(
        f"GRUB most likely refused {newest.requested}: it is not signed, and Secure Boot wants it.",
        "Serve the distribution's signed kernel, or switch Secure Boot off in the firmware's"
        " settings. If Secure Boot is off: look at its screen, GRUB has stopped there.",
        f"{newest.requested} came whole and is not signed; {', '.join(case.due_names())} was never"
        " asked for",
        f"{shims[0].requested} is a shim",
    )


def firmware_refused(case: Evidence) -> Diagnosis | None:
    """Find that the firmware fetched the boot file whole and went on at once."""
    boot, newest = case.boot, case.newest
    if not isinstance(newest, BootTransfer) or newest.role is not FileRole.BOOT_FILE:
        return None
    if not newest.done or boot.followed is None or boot.ipxe:  # else it may lack the end
        return None
    if boot.followed - newest.ended > RESTART:  # it ran, and was restarted later
        return None
    if boot.architecture is None or "efi" not in architecture_name(boot.architecture):
        return None
    content = case.content_of(newest)
    signed = content is not None and content.signers is not None and content.signers != ()
    if signed:
        return None
    signature = _describe_signature(case, newest)
    return verdicts.SECURE_BOOT.diagnose(
        f"The firmware fetched {newest.requested} whole and started over: Secure Boot has most"
        f" likely refused it{', for it is not signed' if signature else ''}.",
        "",
        signature,
        f"{newest.sent} octets of {newest.size if newest.size is not None else '?'} arrived,"
        " nothing else was asked for, then a new DHCPDISCOVER",
        certainty=Certainty.LIKELY,
    )


def _is_shim(content: Content | None) -> bool:
    signers = content.signers if content is not None else None
    return bool(content and content.sbat and any("Microsoft" in one for one in signers or ()))


def _describe_signature(case: Evidence, file: BootTransfer) -> str:
    content = case.content_of(file)
    if content is None or content.kind is not ContentKind.UEFI_PROGRAM:
        return ""
    if content.signers is None:
        return f"{file.requested} is not signed"
    return f"{file.requested} is signed by {', '.join(content.signers)}" if content.signers else ""
