"""Fetches the boot file and judges what came."""

from __future__ import annotations

import time

from pybootd.commands.probe.content import describe_wrong_content
from pybootd.commands.probe.fetch import FetchError, FetchUntried, fetch_boot_file
from pybootd.commands.probe.prober import HTTP_ARCHITECTURES, Prober
from pybootd.commands.probe.result import ProbeCode, ProbeResult, ServerAnswer
from pybootd.core.architecture import architecture_name
from pybootd.observe.boots.roles import is_bios_name
from pybootd.observe.content.programs import read_program


def judge_file(prober: Prober, result: ProbeResult, answer: ServerAnswer) -> None:
    """Fetch the file that an answer names, and say what keeps the machine from starting it."""
    began = time.monotonic()
    try:
        fetched = fetch_boot_file(prober, answer)
    except FetchUntried as error:
        result.add_warning(ProbeCode.UNTRIED, f"{error}.", "Try it on the machine itself.")
        return
    except FetchError as error:
        result.add_fault(ProbeCode.FETCH, f"The boot file can't be fetched: {error}", error.advice)
        return
    content = fetched.content
    result.fetched, result.seconds = len(content), time.monotonic() - began
    if fetched.size_unknown and prober.ARCHITECTURE in HTTP_ARCHITECTURES:
        result.add_fault(
            ProbeCode.HTTP_SIZE,
            f"The web server does not say the size of {answer.file} (Content-Length).",
            "UEFI HTTP Boot asks for it first: serve the file as it is, not packed or made.",
        )
    if not content:
        result.add_fault(
            ProbeCode.EMPTY_FILE, "The boot file is empty.", "Copy it to its place once more."
        )
        return
    _judge_program(prober, result, answer, content)


def _judge_program(
    prober: Prober, result: ProbeResult, answer: ServerAnswer, content: bytes
) -> None:
    runs = architecture_name(prober.ARCHITECTURE)
    program = read_program(content[:1024])
    result.program = program.text if program else ""
    if program is not None and prober.ARCHITECTURE not in program.architectures:
        result.add_fault(
            ProbeCode.ARCHITECTURE,
            f"{answer.file} is {program.text}; this machine is {runs}.",
            "Name a file for this architecture.",
        )
    elif program is None and is_bios_name(answer.file) and "efi" in runs:
        result.add_fault(
            ProbeCode.ARCHITECTURE,
            f"{answer.file} looks like a BIOS program; this machine is {runs}.",
            "Name a UEFI program (.efi).",
        )
    elif wrong := describe_wrong_content(content, uefi="efi" in runs, ipxe=prober.ipxe):
        result.add_fault(
            ProbeCode.CONTENT,
            f"{answer.file} is {wrong}: the machine starts no such file.",
            "Look at that file on the server, and copy it to its place once more.",
        )
    elif prober.ipxe and b"iPXE" in content and not content.startswith(b"#!ipxe"):
        result.add_fault(
            ProbeCode.IPXE_LOOP,
            f"iPXE is told to load {answer.file}, which is iPXE itself: it loads itself for ever.",
            "Give a client with user class iPXE its script ([bootfile] ipxe with pybootd).",
        )
