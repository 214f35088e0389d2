"""Why a client got no address, or no boot file with it."""

from __future__ import annotations

from pybootd.core.architecture import architecture_name
from pybootd.core.events import RefusalCause
from pybootd.observe.boots.steps import Step, StepKind, is_step
from pybootd.observe.diagnosis.evidence import (
    ASKING,
    OFTEN,
    QUIET,
    Diagnosis,
    Evidence,
    fault,
    times,
)

_DEAF = (
    "Look for what drops packets to UDP port 68 on the way: a firewall on this host, a switch port"
    " that blocks strange DHCP servers (DHCP snooping), a wrong interface or VLAN. If only this"
    " kind of machine is deaf, answer it by broadcast: [buggy_clients] MAC = on."
)


def another_server(case: Evidence) -> Diagnosis | None:
    """Find that another DHCP server's offer was taken."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind is not StepKind.CHOSE_ANOTHER:
        return None
    if not case.silent(QUIET):
        return None
    other = newest.text or "it doesn't say which"
    return fault(
        "another-server",
        f"Another DHCP server on this network gave it an address: {other}.",
        "Two servers answer here and the client took the other one's offer. Switch that one off,"
        " or keep it and let pybootd only name the boot file: [bootp] mode = proxy.",
        f"its DHCPREQUEST names server {other}, not this one",
    )


def refused(case: Evidence) -> Diagnosis | None:
    """Find that the access list, the pool or the server itself said no."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind is not StepKind.REFUSED:
        return None
    seen = f"refused {times(newest)}: {newest.text}"
    if newest.cause is RefusalCause.ACCESS:
        return fault(
            "refused",
            f"This machine is not allowed to boot: {newest.text}.",
            "If it should be, change that line (or add one for its MAC or UUID) in the section"
            " named, and reload with SIGHUP.",
            seen,
        )
    if newest.cause is RefusalCause.NO_ACCESS:
        return fault(
            "authorization-silent",
            f"The authorization server did not say whether it may boot: {newest.text}.",
            "See that the server named in [http] location is running, that this host reaches it,"
            " and that it answers within [bootp] timeout with 200, 401 or 403.",
            seen,
        )
    if newest.cause is RefusalCause.POOL:
        return fault(
            "pool-empty",
            f"No address was left for it: {newest.text}.",
            "Make the pool larger ([bootp] pool_count), or let it take back addresses of machines"
            " that are gone: reclaim = expired.",
            seen,
        )
    if newest.cause is RefusalCause.NO_FILE or not case.silent(QUIET):
        return None
    return fault(
        "refused-address",
        f"Its request was refused: {newest.text}.",
        "Clients ask again from the start after that; one that doesn't has to be restarted.",
        seen,
    )


def not_requested(case: Evidence) -> Diagnosis | None:
    """Find an offer that was never taken."""
    newest = case.newest
    if not isinstance(newest, Step) or newest.kind not in (StepKind.OFFERED, StepKind.CONFLICT):
        return None
    if case.boot.has(StepKind.CONFIRMED, StepKind.SYSTEM) or not case.silent(ASKING):
        return None
    if case.boot.proxy:
        return _proxy_not_asked(case)
    offered = sum(
        one.count
        for one in case.boot.steps
        if isinstance(one, Step) and one.kind is StepKind.OFFERED
    )
    if offered >= OFTEN:
        return fault(
            "answer-lost",
            "Our answers do not reach it: it asked again and again, and we offered each time.",
            _DEAF,
            f"{offered} DHCPDISCOVERs, {offered} offers, no DHCPREQUEST",
            f"offered on {case.boot.interface}" if case.boot.interface else "",
        )
    return fault(
        "not-requested",
        f"It was offered {newest.text}, and did not ask for it.",
        "The client saw the offer and did not like it, or was switched off or set to boot from"
        " something else. If it happens each time: another server's offer may suit it better, or"
        " the offer lacks what it needs (a boot file for its architecture).",
        f"{offered} of its DHCPDISCOVERs answered by an offer, no DHCPREQUEST",
    )


def _proxy_not_asked(case: Evidence) -> Diagnosis:
    return fault(
        "proxy-not-asked",
        "It took an address from the network's DHCP server, and never asked us for its boot file"
        " (UDP port 4011).",
        "Let UDP port 4011 through the firewall of this host. See that the other DHCP server does"
        " not send option 60 or a boot file of its own (options 66, 67): the client then looks no"
        " further.",
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
    return fault(
        "no-boot-file",
        "No boot file is configured for this kind of machine.",
        f"Write in section [bootfile]: {line}",
        f"its architecture (option 93) is {kind}",
    )


def not_fetched(case: Evidence) -> Diagnosis | None:
    """Find that it got a boot file's name, and asked nobody here for it."""
    boot, newest = case.boot, case.newest
    if not is_step(newest, StepKind.CONFIRMED) or not case.silent(QUIET):
        return None
    # in a row: who begins anew each time may do so on purpose, as U-Boot for each dhcp typed
    if isinstance(newest, Step) and newest.count >= OFTEN:
        return fault(
            "answer-lost",
            "Our answers do not reach it: it asked for its address again and again, and we"
            " confirmed it each time.",
            _DEAF,
            f"confirmed {times(newest)}, no file asked for",
            f"confirmed on {boot.interface}" if boot.interface else "",
        )
    elsewhere = boot.file_server
    if elsewhere:
        return fault(
            "other-file-server",
            f"It was sent to {elsewhere} for {boot.boot_file}, and not heard of again.",
            f"See whether {elsewhere} serves that file. If this host should: take away next_server"
            " (or the URL in [bootfile]).",
            "address confirmed, then no request for a file here",
        )
    if boot.proxy:
        return fault(
            "other-file-server",
            f"It never asked here for {boot.boot_file}: it may have asked the network's DHCP"
            " server.",
            "Take options 66 and 67 and the next server out of the other DHCP server's"
            " configuration: some firmware takes the file server from there.",
            "answered as proxy, then no request for a file here",
        )
    if case.fetched:
        return fault(
            "not-fetched",
            f"Its address was confirmed once more, and it never asked for {boot.boot_file}.",
            "Files went to it before, so the way is open: look at its screen. A script that is"
            " built into iPXE may lead it elsewhere, or it was switched off.",
            f"last file: {case.fetched[-1].requested}; then an address, and no file asked for",
        )
    if boot.boot_file.startswith("http"):
        port, service, hint = "the URL's TCP port", "HTTP", "[httpd] enable = on"
    else:
        port, service, hint = "UDP port 69", "TFTP", "not started with -p"
    return fault(
        "not-fetched",
        f"Its address was confirmed, and it never asked for {boot.boot_file}.",
        f"Requests for files do not arrive here, or nobody serves them: let {port} through the"
        f" firewall, and see that the {service} service runs ({hint}).",
        f"address {newest.text if isinstance(newest, Step) else ''} confirmed, no file asked for",
    )
