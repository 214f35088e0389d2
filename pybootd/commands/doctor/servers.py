"""The other DHCP servers of each served network."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from uuid import UUID

from pybootd.commands.doctor.host_state import DoctorCode, HostState, fault, fine, warning
from pybootd.commands.probe.prober import Prober
from pybootd.commands.probe.result import ProbeError
from pybootd.core.finding import Finding
from pybootd.tftp.wire.packet import Rrq, TftpPacketError, encode


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


def check_next_server(host: HostState) -> Iterator[Finding]:
    """See whether the TFTP server that clients are sent to answers, where it is not this host."""
    bootp = host.config.bootp
    own = {address.ip for link in host.interfaces for address in link.addresses}
    server = bootp.next_server
    if server is None or server in own:
        return
    file = host.config.bootfile.default or next(
        iter(host.config.bootfile.by_architecture.values()), "pxelinux.0"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(max(host.wait, 1.0))
        try:
            sock.sendto(encode(Rrq(file, "octet", ())), (str(server), 69))
            sock.recvfrom(65535)
        except (OSError, TftpPacketError) as error:
            why = getattr(error, "strerror", None) or "it is silent"
            yield fault(
                DoctorCode.NEXT_SERVER,
                f"[bootp] next_server: {server} does not answer on UDP port 69 (TFTP): {why}",
                "Start its TFTP server, open its firewall, or leave next_server out.",
            )
        else:
            yield fine(DoctorCode.NEXT_SERVER, f"{server} answers on UDP port 69 (TFTP)")
