"""Judges what servers answered, and the boot file, as a machine's firmware would."""

from __future__ import annotations

from pybootd.commands.probe.file_rules import judge_file
from pybootd.commands.probe.form_rules import judge_form, judge_offer
from pybootd.commands.probe.prober import Prober
from pybootd.commands.probe.result import ProbeCode, ProbeResult, ServerAnswer
from pybootd.core.architecture import architecture_name


def probe_network(prober: Prober, wait: float, *, fetch: bool = True) -> ProbeResult:
    """Ask, choose as firmware does, fetch the file, and judge. Raises ProbeError."""
    result = ProbeResult(prober.ARCHITECTURE)
    result.answers = prober.collect_offers(wait)
    _judge_servers(result)
    for answer in result.answers:
        judge_offer(prober, result, answer)
    result.chosen = _choose_answer(prober, result, wait)
    if result.chosen is not None:
        judge_form(prober, result, result.chosen)
        if fetch and result.would_boot:
            judge_file(prober, result, result.chosen)
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
    named = {(answer.file_server, answer.file) for answer in result.answers if answer.file}
    if len(named) > 1:
        listed = ", ".join(f"{file} on {server}" for server, file in sorted(named))
        result.add_warning(
            ProbeCode.TWO_BOOT_FILES,
            f"Several boot files are named: {listed}.",
            "Firmware may take any of them: let one server alone name the file.",
        )


def _choose_answer(prober: Prober, result: ProbeResult, wait: float) -> ServerAnswer | None:
    """Find the answer that tells the boot file, asking port 4011 where that is the next step."""
    ranked = sorted(
        result.answers, key=lambda one: (not one.is_for_boot_clients, one.address is None)
    )
    for answer in ranked:
        if answer.asks_again:
            again = _ask_boot_servers(prober, result, answer, wait)
            if again is not None and again.file:
                return again
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


def _ask_boot_servers(
    prober: Prober, result: ProbeResult, answer: ServerAnswer, wait: float
) -> ServerAnswer | None:
    """Ask port 4011 of the servers that an answer leads to, and say where nobody answers."""
    servers = answer.boot_servers
    listed = ", ".join(map(str, servers)) or str(answer.server)
    if not any(prober.link.address_towards(one) for one in servers):
        result.add_warning(
            ProbeCode.BOOT_SERVER_UNASKED,
            f"{prober.interface} has no address towards {listed}, so port 4011 was not asked.",
        )
        return None
    for server in servers:
        again = prober.ask_boot_server(server, wait)
        if again is not None:
            result.answers.append(again)
            return again
    bios = prober.ARCHITECTURE == 0
    tell = result.add_warning if bios and answer.file else result.add_fault
    tell(
        ProbeCode.BOOT_SERVER_SILENT,
        f"{listed} does not answer on UDP port 4011, where option 60 = PXEClient sends firmware"
        + ("." if bios else ": UEFI ends with PXE-E16."),
        "Let that port through the firewall and run a boot server there; or send no option 60, or"
        " option 43 = 06:01:08 beside it, which says that the file is named already.",
    )
    return None
