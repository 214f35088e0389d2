"""The other DHCP servers of each served network."""

from __future__ import annotations

import random
from collections.abc import Iterator
from uuid import UUID

from pybootd.commands.doctor.host_state import DoctorCode, HostState, fault, fine, warning
from pybootd.commands.probe.prober import Prober
from pybootd.commands.probe.result import ProbeError
from pybootd.core.finding import Finding


def check_other_servers(host: HostState) -> Iterator[Finding]:
    """Ask each served network whether another server gives addresses there."""
    mode = host.config.bootp.mode
    own = {address.ip for link in host.interfaces for address in link.addresses}
    silent, heard = [], False
    for link in host.served_interfaces():
        prober = Prober(link, link.mac, UUID(int=random.getrandbits(128)), 7)
        try:
            answers = prober.collect_offers(host.wait)
        except ProbeError as error:
            yield warning(
                DoctorCode.SERVERS_UNASKED,
                f"{link.name}: other DHCP servers were not looked for: {error}",
            )
            continue
        others = sorted({one.server for one in answers if one.address and one.server not in own})
        listed = ", ".join(map(str, others))
        heard = heard or bool(others)
        if mode == "proxy" and not others:
            silent.append(link.name)
        elif others and mode == "dhcp":
            yield warning(
                DoctorCode.OTHER_SERVER,
                f"{link.name}: another DHCP server answers: {listed}",
                "Which one a machine takes is luck: switch it off, or write mode = proxy.",
            )
        else:
            found = f"DHCP server {listed} answers" if others else "no other DHCP server answers"
            yield fine(DoctorCode.NO_OTHER_SERVER, f"{link.name}: {found}")
    # one that is heard is enough: this host may stand in networks that nobody boots from
    grade = warning if heard else fault
    for name in silent:
        yield grade(
            DoctorCode.SERVER_MISSING,
            f"{name}: no DHCP server answers, and mode = proxy needs one",
            "Start the other server, or let pybootd give the addresses: mode = dhcp.",
        )
