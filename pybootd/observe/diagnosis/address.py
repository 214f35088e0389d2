"""Why a client got no address, or no boot file with it."""

from __future__ import annotations

from pybootd.core.architecture import architecture_name
from pybootd.core.events import RefusalCause
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind, is_step
from pybootd.observe.diagnosis import verdicts
from pybootd.observe.diagnosis.evidence import ASKING, OFTEN, QUIET, Evidence, count_times
from pybootd.observe.diagnosis.verdicts import Diagnosis, as_note

_ON_THIS_HOST = {
    RefusalCause.NO_SUBNET: (
        verdicts.NO_POOL,
        "It asks from a network that no pool is on.",
    ),
    RefusalCause.NOT_WRITTEN: (
        verdicts.LEASE_NOT_WRITTEN,
        "Its lease could not be written to disk, so its address was not confirmed.",
    ),
    RefusalCause.SEND_REFUSED: (
        verdicts.SEND_REFUSED,
        "This host refused to send our answer: most likely an output rule of its firewall.",
    ),
}


def not_served(case: Evidence) -> Diagnosis | None:
    """Say why a client that does not boot is not served."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.cause is not RefusalCause.NOT_BOOTING:
        return None
    return verdicts.NOT_SERVED.diagnose(
        "It asks for an address without booting, and [bootp] allow_simple_dhcp is off.",
        "",
        f"refused {count_times(newest)}: {newest.detail}",
    )


def another_server(case: Evidence) -> Diagnosis | None:
    """Find that another DHCP server's offer was taken."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind is not StepKind.CHOSE_ANOTHER:
        return None
    if not case.is_silent(QUIET):
        return None
    other = newest.subject or "it doesn't say which"
    return verdicts.ANOTHER_SERVER.diagnose(
        f"Another DHCP server on this network gave it an address: {other}.",
        "",
        f"its DHCPREQUEST names server {other}, not this one",
    )


def refused(case: Evidence) -> Diagnosis | None:
    """Find that the access list, the pool or the server itself said no."""
    newest: Step | BootTransfer | None = case.newest
    if is_step(case.newest, StepKind.OFFERED, StepKind.CONFIRMED):
        newest = _find_unsent(case)
    if not isinstance(newest, Step) or newest.kind is not StepKind.REFUSED:
        return None
    seen = f"refused {count_times(newest)}: {newest.detail}"
    if newest.cause is RefusalCause.ACCESS:
        return verdicts.REFUSED.diagnose(
            f"This machine is not allowed to boot: {newest.detail}.",
            "",
            seen,
        )
    if newest.cause is RefusalCause.NO_ACCESS:
        return verdicts.AUTHORIZATION_SILENT.diagnose(
            f"The authorization server did not say whether it may boot: {newest.detail}.",
            "",
            seen,
        )
    if newest.cause in _ON_THIS_HOST:
        kind, what = _ON_THIS_HOST[newest.cause]
        relay = f", behind the relay {case.boot.relay}" if case.boot.relay else ""
        where = f"asked on {case.boot.interface}{relay}" if case.boot.interface else ""
        return kind.diagnose(what, "", seen, where)
    if newest.cause is RefusalCause.POOL:
        return verdicts.POOL_EMPTY.diagnose(
            f"No address was left for it: {newest.detail}.",
            "",
            seen,
        )
    if newest.cause is RefusalCause.NO_FILE or not case.is_silent(QUIET):
        return None
    return verdicts.REFUSED_ADDRESS.diagnose(
        f"Its request was refused: {newest.detail}.",
        "",
        seen,
    )


def _find_unsent(case: Evidence) -> Step | None:
    """Return the step that says that this offer or confirmation was not let out of this host."""
    for one in reversed(case.boot.steps):
        if isinstance(one, BootTransfer):
            return None
        if one.cause is RefusalCause.SEND_REFUSED:
            return one
    return None


def not_requested(case: Evidence) -> Diagnosis | None:
    """Find an offer that was never taken."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind not in (StepKind.OFFERED, StepKind.CONFLICT):
        return None
    if case.boot.has_step(StepKind.CONFIRMED, StepKind.SYSTEM) or not case.is_silent(ASKING):
        return None
    if case.boot.proxy:
        return _proxy_not_asked(case)
    offered = sum(
        one.count
        for one in case.boot.steps
        if isinstance(one, Step) and one.kind is StepKind.OFFERED
    )
    if offered >= OFTEN:
        relay = case.boot.relay
        return verdicts.ANSWER_LOST.diagnose(
            "Our answers do not reach it: it asked again and again, and we offered each time.",
            f"They go to its relay {relay}: see that this host has a route to it, that UDP port 67"
            " is let through both ways, and that the relay sends replies on."
            if relay
            else "",
            f"{offered} DHCPDISCOVERs, {offered} offers, no DHCPREQUEST",
            f"offered on {case.boot.interface}" if case.boot.interface else "",
            _describe_relay(case),
        )
    return verdicts.NOT_REQUESTED.diagnose(
        f"It was offered {newest.subject}, and did not ask for it.",
        "",
        f"{offered} of its DHCPDISCOVERs answered by an offer, no DHCPREQUEST",
    )


def _describe_relay(case: Evidence) -> str:
    return f"answered by way of the relay {case.boot.relay}" if case.boot.relay else ""


def _proxy_not_asked(case: Evidence) -> Diagnosis:
    return verdicts.PROXY_NOT_ASKED.diagnose(
        "It took an address from the network's DHCP server, and never asked us for its boot file"
        " (UDP port 4011).",
        "",
        f"offered as proxy: boot file {case.boot.boot_file or 'none'}; no request on port 4011",
    )


def no_boot_file(case: Evidence) -> Diagnosis | None:
    """Find that no boot file is configured for this kind of machine."""
    boot = case.boot
    newest = case.newest
    told = is_step(newest, StepKind.CONFIRMED, StepKind.OFFERED) and not boot.boot_file
    lacks = isinstance(newest, Step) and newest.cause is RefusalCause.NO_FILE
    if not told and not lacks:
        return None
    if boot.ipxe and boot.architecture is None:
        line = "ipxe = URL or file"
    elif boot.architecture is None:
        line = "default = FILE"
    else:
        line = f"{architecture_name(boot.architecture)} = FILE"
    kind = "unknown" if boot.architecture is None else f"{boot.architecture:05d}"
    return verdicts.NO_BOOT_FILE.diagnose(
        "No boot file is configured for this kind of machine.",
        f"Write in section [bootfile]: {line}",
        f"its architecture (option 93) is {kind}",
    )


def not_fetched(case: Evidence) -> Diagnosis | None:
    """Find that it got a boot file's name, and asked nobody here for it."""
    boot, newest = case.boot, case.newest
    if not is_step(newest, StepKind.CONFIRMED) or not case.is_silent(QUIET):
        return None
    # in a row: one that begins again each time may do so on purpose, as U-Boot for each dhcp typed
    if isinstance(newest, Step) and newest.count >= OFTEN:
        return verdicts.ANSWER_LOST.diagnose(
            "Our answers do not reach it: it asked for its address again and again, and we"
            " confirmed it each time.",
            "",
            f"confirmed {count_times(newest)}, no file asked for",
            f"confirmed on {boot.interface}" if boot.interface else "",
        )
    return _sent_elsewhere(case) or _not_asked_here(case)


def _sent_elsewhere(case: Evidence) -> Diagnosis | None:
    """Say that the file is another server's, or most likely was asked for there."""
    boot, elsewhere = case.boot, case.boot.file_server
    if boot.boot_file.startswith("https:"):
        return verdicts.NOT_FETCHED.diagnose(
            f"Its address was confirmed, and it was told to fetch {boot.boot_file}, not from here:"
            " pybootd serves no https.",
            "See that a web server with a certificate that its firmware knows serves that URL, or"
            " write http:// in [bootfile].",
            "address confirmed, then no request for a file here",
        )
    if elsewhere:
        return verdicts.OTHER_FILE_SERVER.diagnose(
            f"It was sent to {elsewhere} for {boot.boot_file}, and not heard of again.",
            f"See whether {elsewhere} serves that file. If this host should: take away next_server"
            " (or the URL in [bootfile]).",
            "address confirmed, then no request for a file here",
        )
    if boot.proxy:
        return verdicts.OTHER_FILE_SERVER.diagnose(
            f"It never asked here for {boot.boot_file}: it may have asked the network's DHCP"
            " server.",
            "Take options 66 and 67 and the next server out of the other DHCP server's"
            " configuration: some firmware takes the file server from there.",
            "answered as proxy, then no request for a file here",
        )
    return None


def _not_asked_here(case: Evidence) -> Diagnosis:
    boot = case.boot
    if case.fetched:
        return as_note(verdicts.NOT_FETCHED).diagnose(
            f"Its address was confirmed once more, and it never asked for {boot.boot_file}.",
            "Files went to it before, so the way is open: look at its screen. A script that is"
            " built into iPXE may lead it elsewhere, or it was switched off.",
            f"last file: {case.fetched[-1].requested}; then an address, and no file asked for",
        )
    if boot.boot_file.startswith("http"):
        port, service, hint = "the URL's TCP port", "HTTP", "[httpd] enable = on"
    else:
        port, service, hint = "UDP port 69", "TFTP", "not started with -p"
    return verdicts.NOT_FETCHED.diagnose(
        f"Its address was confirmed, and it never asked for {boot.boot_file}.",
        f"Requests for files do not arrive here, or nobody serves them: let {port} through the"
        f" firewall, and see that the {service} service runs ({hint}).",
        f"address {boot.address} confirmed, no file asked for",
    )
