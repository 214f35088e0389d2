"""The boot files: is each there, and does it fit its architecture."""

from __future__ import annotations

from collections.abc import Iterator

from pybootd.commands.doctor.host_state import DoctorCode, HostState, fault, fine
from pybootd.core.architecture import architecture_name
from pybootd.core.finding import Finding
from pybootd.observe.boots.roles import examine, is_bios_name
from pybootd.status.service import look_at_file


def check_boot_files(host: HostState) -> Iterator[Finding]:
    """See whether each boot file is there, and fits its architecture."""
    config = host.config
    named = {
        architecture_name(code): file for code, file in config.bootfile.by_architecture.items()
    }
    named |= {"default": config.bootfile.default, "ipxe": config.bootfile.ipxe}
    named = {name: file for name, file in named.items() if file}
    if not named and not config.profiles:
        yield fault(
            DoctorCode.NO_BOOT_FILE,
            "no boot file is named",
            "Name one for each architecture in [bootfile].",
        )
    for name, file in named.items():
        yield from _check_boot_file(host, name, file)


def _check_boot_file(host: HostState, name: str, file: str) -> Iterator[Finding]:
    if "://" in file:
        yield fine(DoctorCode.BOOT_FILE, f"{name}: {file} is a URL; pybootd probe fetches it")
        return
    look = look_at_file(host.files, file)
    if look.head is None:
        like = f" Names like it: {', '.join(look.near)}." if look.near else ""
        yield fault(
            DoctorCode.BOOT_FILE_MISSING,
            f"{name}: {file} is not there",
            f"Put it below [tftp] root.{like}",
        )
        return
    program = examine(look.head)
    table = host.config.bootfile.by_architecture
    codes = [code for code in table if architecture_name(code) == name]
    if program and codes and not program.architectures & set(codes):
        yield fault(
            DoctorCode.BOOT_FILE_ARCHITECTURE,
            f"{name}: {file} is {program.text}",
            "Name a file for this architecture.",
        )
    elif program is None and is_bios_name(file) and "efi" in name:
        yield fault(
            DoctorCode.BOOT_FILE_ARCHITECTURE,
            f"{name}: {file} looks like a BIOS program",
            "Name a UEFI program (.efi).",
        )
    else:
        yield fine(
            DoctorCode.BOOT_FILE,
            f"{name}: {file} is there" + (f", {program.text}" if program else ""),
        )
