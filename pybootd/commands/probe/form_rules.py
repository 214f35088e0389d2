"""What firmware makes of the form of an answer: its options, and how it names the boot file."""

from __future__ import annotations

from ipaddress import IPv4Address
from urllib.parse import urlsplit

from pybootd.commands.probe.prober import HTTP_ARCHITECTURES, Prober
from pybootd.commands.probe.result import ProbeCode, ProbeResult, ServerAnswer
from pybootd.dhcp4.wire import options, packet

_MIN_PREFIX = 8  # no network is larger: what 0.0.0.0 says is a mask that was forgotten


def judge_offer(prober: Prober, result: ProbeResult, answer: ServerAnswer) -> None:
    """Say what keeps firmware from taking an offer of an address, or the machine from using it."""
    if answer.address is None or answer.port != 67:
        return
    who, given = answer.server, answer.packet.options
    if len(given.get(options.SERVER_ID, b"")) != 4:
        result.add_fault(
            ProbeCode.NO_SERVER_ID,
            f"The offer of {answer.sender} does not say who it is from (option 54).",
            "Firmware takes no such offer: RFC 2131 wants the option.",
        )
    lease = given.get(options.LEASE_TIME, b"")
    if options.TYPE in given and (len(lease) != 4 or not any(lease)):
        result.add_fault(
            ProbeCode.NO_LEASE_TIME,
            f"The offer of {who} names no lease time (option 51), or 0 s.",
            "Much firmware takes no such offer.",
        )
    if answer.unicast:
        result.add_fault(
            ProbeCode.UNICAST_ANSWER,
            f"{who} answers to {answer.address}, although a broadcast was asked for.",
            "UEFI firmware does not hear that: let the server heed the broadcast flag.",
        )
    _judge_network(result, answer)


def _judge_network(result: ProbeResult, answer: ServerAnswer) -> None:
    """Judge netmask, address and router together."""
    who, network = answer.server, answer.network
    if network is None or network.prefixlen < _MIN_PREFIX:
        mask = answer.packet.options.get(options.MASK, b"")
        shown = str(IPv4Address(mask)) if len(mask) == 4 else mask.hex(" ") or "none"
        result.add_fault(
            ProbeCode.NETMASK,
            f"The offer of {who} holds no usable netmask (option 1): {shown}.",
            "Write the mask of the network, such as 255.255.255.0.",
        )
        return
    if network.prefixlen < 31 and answer.address in (
        network.network_address,
        network.broadcast_address,
    ):
        result.add_fault(
            ProbeCode.OFFERED_ADDRESS,
            f"{who} offers {answer.address}, which no host may have in {network}.",
            "Correct its pool, or its netmask.",
        )
    outside = [str(one) for one in answer.routers if one not in network]
    if outside:
        result.add_warning(
            ProbeCode.ROUTER,
            f"{who} names the router {', '.join(outside)}, which is not in {network}.",
            "A machine can't reach it: correct option 3, or the netmask.",
        )


def judge_form(prober: Prober, result: ProbeResult, answer: ServerAnswer) -> None:
    """Say what firmware makes of the form in which the file is named."""
    if prober.ARCHITECTURE in HTTP_ARCHITECTURES:
        _judge_http_form(result, answer)
    elif "://" in answer.file:
        if not prober.ipxe:
            result.add_fault(
                ProbeCode.URL_FOR_PXE,
                f"Only iPXE and HTTP Boot fetch a URL, not PXE: {answer.file}",
                "Name iPXE itself to PXE, and the URL to iPXE ([bootfile] ipxe with pybootd).",
            )
    else:
        _judge_tftp_form(prober, result, answer)
    if any(not letter.isprintable() or letter == "\ufffd" for letter in answer.file) or (
        answer.file.strip() != answer.file
    ):
        result.add_fault(
            ProbeCode.FILE_NAME,
            f"The boot file's name holds what belongs to no name: {answer.file!r}.",
            "Look for a blank, a line end or an octet of 255 at its end, in the server's file.",
        )
    if answer.port == 67:
        _judge_way(prober, result, answer)


def _judge_http_form(result: ProbeResult, answer: ServerAnswer) -> None:
    if "://" not in answer.file:
        result.add_fault(ProbeCode.NOT_A_URL, f"HTTP Boot wants a URL, not {answer.file!r}.")
    elif not answer.packet.options.get(options.DNS) and _names_host(answer.file):
        result.add_fault(
            ProbeCode.DNS,
            f"{answer.file} names a host, and no name server is given (option 6).",
            "Give one, or write the address into the URL.",
        )
    if not answer.vendor_class.startswith("HTTPClient"):
        result.add_fault(
            ProbeCode.HTTP_CLASS, "HTTP Boot takes only offers with option 60 = HTTPClient."
        )


def _judge_tftp_form(prober: Prober, result: ProbeResult, answer: ServerAnswer) -> None:
    sent, named = answer.packet, answer.read_text_option(options.TFTP_SERVER)
    if prober.ARCHITECTURE == 0 and (sent.siaddr == packet.NOBODY or not sent.file):
        result.add_fault(
            ProbeCode.BIOS_FIELDS,
            "siaddr and the file field are not both set: iPXE's and many other ROMs boot nothing.",
            "Set next-server and filename, not options 66 and 67 alone.",
        )
    elif not sent.file:
        result.add_warning(
            ProbeCode.FILE_FIELD, "The file field is empty: shim loses the directory of its loader."
        )
    if not named:
        return
    if sent.siaddr == packet.NOBODY and _parse_address(named) is None:
        result.add_fault(
            ProbeCode.FILE_SERVER_NAME,
            f"The file server is named, {named!r} (option 66), and PXE looks up no names.",
            "Write its address, and set next-server (siaddr).",
        )
    elif sent.siaddr != packet.NOBODY and _parse_address(named) not in (None, sent.siaddr):
        result.add_warning(
            ProbeCode.TWO_FILE_SERVERS,
            f"Two file servers are named: {sent.siaddr} (next-server) and {named} (option 66).",
            "Which one is asked depends on the firmware: name one.",
        )


def _judge_way(prober: Prober, result: ProbeResult, answer: ServerAnswer) -> None:
    """See whether the machine itself, in the network that it is told, reaches the file server."""
    offer = next((one for one in result.answers if one.address and one.port == 67), None)
    server = _parse_address(_find_host(answer))
    if offer is None or offer.network is None or server is None:
        return
    network = offer.network
    if server not in network and not any(one in network for one in offer.routers):
        result.add_fault(
            ProbeCode.FILE_SERVER_FAR,
            f"The file server {server} is not in the machine's network {network}, and no router in"
            " it is named.",
            "Correct netmask (option 1) or router (option 3), or the file server's address.",
        )


def _find_host(answer: ServerAnswer) -> str:
    if "://" not in answer.file:
        return answer.file_server
    try:
        return urlsplit(answer.file).hostname or ""
    except ValueError:
        return ""


def _names_host(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return bool(host) and ":" not in str(host) and _parse_address(str(host)) is None


def _parse_address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None
