"""Judges what servers answered, and the boot file, as a machine's firmware would."""

from __future__ import annotations

import time

from pybootd.commands.probe.fetch import FetchError, fetch_boot_file
from pybootd.commands.probe.prober import HTTP_ARCHITECTURES, Prober
from pybootd.commands.probe.result import ProbeCode, ProbeResult, ServerAnswer
from pybootd.core.architecture import architecture_name
from pybootd.dhcp4.wire import packet
from pybootd.observe.boots.roles import examine, is_bios_name


def probe_network(prober: Prober, wait: float, *, fetch: bool = True) -> ProbeResult:
    """Ask, choose as firmware does, fetch the file, and judge. Raises ProbeError."""
    result = ProbeResult(prober.ARCHITECTURE)
    result.answers = prober.collect_offers(wait)
    _judge_servers(result)
    result.chosen = _choose_answer(prober, result, wait)
    if result.chosen is not None:
        _judge_form(prober, result, result.chosen)
        if fetch and result.would_boot:
            _judge_file(prober, result, result.chosen)
    return result


def _judge_servers(result: ProbeResult) -> None:
    givers = {answer.server for answer in result.answers if answer.address}
    if not result.answers:
        result.add_fault(
            ProbeCode.NO_ANSWER,
            "No server answered.",
            "None is here, none knows this machine, or a firewall is between.",
        )
    elif not givers:
        result.add_fault(
            ProbeCode.NO_ADDRESS,
            "No server offers an address: only boot files are offered.",
            "A DHCP server is missing.",
        )
    elif len(givers) > 1:
        listed = ", ".join(map(str, sorted(givers)))
        result.add_warning(
            ProbeCode.SEVERAL_SERVERS,
            f"{len(givers)} servers offer addresses ({listed}).",
            "Which one a machine takes is luck.",
        )


def _choose_answer(prober: Prober, result: ProbeResult, wait: float) -> ServerAnswer | None:
    """Find the answer that tells the boot file, asking port 4011 where that is the next step."""
    ranked = sorted(
        result.answers, key=lambda one: (not one.is_for_boot_clients, one.address is None)
    )
    for answer in ranked:
        if answer.asks_again:
            again = prober.ask_boot_server(answer.server, wait)
            if again is not None:
                result.answers.append(again)
                if again.file:
                    return again
            elif not prober.link.addresses:
                result.add_warning(
                    ProbeCode.BOOT_SERVER_UNASKED,
                    f"{prober.interface} has no address, so port 4011 of {answer.server} was not"
                    " asked.",
                )
            elif not answer.file:
                result.add_fault(
                    ProbeCode.BOOT_SERVER_SILENT,
                    f"{answer.server} wants to be asked on port 4011, and does not answer there.",
                )
        if answer.file:
            return answer
    if result.answers and result.would_boot:
        name = architecture_name(result.architecture)
        result.add_fault(
            ProbeCode.NO_BOOT_FILE,
            f"No server names a boot file for {name}.",
            f"With pybootd: [bootfile] {name} = FILE",
        )
    return None


def _judge_form(prober: Prober, result: ProbeResult, answer: ServerAnswer) -> None:
    """Say what firmware makes of the form in which the file is named."""
    sent, bios = answer.packet, prober.ARCHITECTURE == 0
    if prober.ARCHITECTURE in HTTP_ARCHITECTURES:
        if "://" not in answer.file:
            result.add_fault(ProbeCode.NOT_A_URL, f"HTTP Boot wants a URL, not {answer.file!r}.")
        if not answer.vendor_class.startswith("HTTPClient"):
            result.add_fault(
                ProbeCode.HTTP_CLASS, "HTTP Boot takes only offers with option 60 = HTTPClient."
            )
    elif "://" in answer.file and not prober.ipxe:
        result.add_fault(
            ProbeCode.URL_FOR_PXE, f"Only iPXE and HTTP Boot fetch a URL, not PXE: {answer.file}"
        )
    elif bios and (sent.siaddr == packet.NOBODY or not sent.file):
        result.add_fault(
            ProbeCode.BIOS_FIELDS,
            "siaddr and the file field are not both set: iPXE's and many other ROMs boot nothing.",
        )
    elif not sent.file:
        result.add_warning(
            ProbeCode.FILE_FIELD, "The file field is empty: shim loses the directory of its loader."
        )


def _judge_file(prober: Prober, result: ProbeResult, answer: ServerAnswer) -> None:
    began = time.monotonic()
    try:
        content = fetch_boot_file(prober, answer)
    except FetchError as error:
        result.add_fault(ProbeCode.FETCH, f"The boot file can't be fetched: {error}")
        return
    result.fetched, result.seconds = len(content), time.monotonic() - began
    if not content:
        result.add_fault(ProbeCode.EMPTY_FILE, "The boot file is empty.")
        return
    runs = architecture_name(prober.ARCHITECTURE)
    program = examine(content[:1024])
    result.program = program.text if program else ""
    if program is not None and prober.ARCHITECTURE not in program.architectures:
        result.add_fault(
            ProbeCode.ARCHITECTURE, f"{answer.file} is {program.text}; this machine is {runs}."
        )
    elif program is None and is_bios_name(answer.file) and "efi" in runs:
        result.add_fault(
            ProbeCode.ARCHITECTURE,
            f"{answer.file} looks like a BIOS program; this machine is {runs}.",
        )
