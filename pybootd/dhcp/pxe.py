"""PXE and HTTP Boot: who is asking, which boot file, which options they need (RFC 4578)."""

from __future__ import annotations

from ipaddress import IPv4Address
from uuid import UUID

from pybootd.client import Client
from pybootd.config import BootFileConfig
from pybootd.dhcp import options
from pybootd.dhcp.packet import NOBODY, Packet

# 06 01 08: discovery control, "a file name is here: fetch it" (PXE 2.1, table 2-1). A client that
# gets option 60 without it asks port 4011 first (iPXE 1.21 and OVMF 2022.11, captured).
FETCH_FILE = b"\x06\x01\x08\xff"
# RFC 4578 erratum 4624: the RFC swaps them; x64 firmware sends 7, some sends 9
_SAME = {7: 9, 9: 7}


def parse_uuid(value: bytes) -> UUID | None:
    """Read option 97: type 0, then the UUID, first three fields little-endian; else None."""
    if len(value) != 17 or value[0] != 0:
        return None
    return UUID(bytes_le=value[1:])


def parse_user_class(value: bytes) -> str:
    """Read option 77: RFC 3004 counted texts (joined by a space), or bare text as iPXE sends."""
    texts, at = [], 0
    while at < len(value) and value[at]:
        end = at + 1 + value[at]
        texts.append(value[at + 1 : end])
        at = end
    if at != len(value):
        texts = [value]
    return " ".join(map(plain, texts))


def plain(value: bytes) -> str:
    """Read text that a client sent: trailing NULs and whatever is no printable ASCII go."""
    return "".join(chr(octet) if 32 <= octet < 127 else "?" for octet in value.rstrip(b"\0"))


def parse_vendor(value: bytes) -> dict[int, bytes]:
    """Read PXE vendor options (43, iPXE's 175); what is cut off or behind the END is ignored."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(value) and value[at] != 255:
        if value[at] == 0:
            at += 1
            continue
        end = at + 2 + value[at + 1]
        if end > len(value):
            break
        found[value[at]] = value[at + 2 : end]
        at = end
    return found


def read_client(
    packet: Packet, interface: str, uuid: UUID | None = None, address: IPv4Address | None = None
) -> Client:
    """Read the client off its request.

    ``uuid`` and ``address`` are what is known of it from before, for a request that lacks them.
    """
    sent = packet.options
    vendor_class = plain(sent[options.CLASS]) if options.CLASS in sent else ""
    user_class = parse_user_class(sent[options.USER_CLASS]) if options.USER_CLASS in sent else ""
    architecture = sent.get(options.ARCHITECTURE, b"")
    machine = sent.get(options.UUID)
    return Client(
        packet.chaddr,
        (parse_uuid(machine) if machine else None) or uuid,
        sent.get(options.CLIENT_ID),
        # RFC 4578 2.1: a list, the first is what runs now
        int.from_bytes(architecture[:2]) if len(architecture) >= 2 else None,
        vendor_class,
        user_class,
        plain(sent[options.HOSTNAME]) if options.HOSTNAME in sent else "",
        # some firmware lacks 97 or has a class of its own (danderson/pixiecore#21)
        bool(architecture) or machine is not None or boots(vendor_class),
        # FlexBoot sends 175 without 77 (warewulf/warewulf3#104)
        options.IPXE in sent or "iPXE" in user_class.split(),
        options.TYPE not in sent,
        packet.giaddr if packet.giaddr != NOBODY else None,
        interface,
        address or (packet.ciaddr if packet.ciaddr != NOBODY else None),
    )


def boots(vendor_class: str) -> bool:
    """Tell whether the class (option 60) is that of a network boot client."""
    return vendor_class.startswith(("PXEClient", "HTTPClient"))


def boot_file(files: BootFileConfig, client: Client) -> str:
    """Choose the client's boot file: ``ipxe``, then its architecture, then ``default``."""
    if client.ipxe and files.ipxe:
        return files.ipxe
    table = files.by_architecture
    code = client.architecture
    if code is None:
        return files.default
    return table.get(code) or table.get(_SAME.get(code, code)) or files.default


def reply_options(packet: Packet, client: Client, boot_file: str) -> dict[int, bytes]:
    """Give the options that make a boot client take the file from this reply.

    Empty for others. The UUID (97) goes back as it came.
    """
    given: dict[int, bytes] = {}
    if client.vendor_class.startswith("HTTPClient"):
        # UEFI 2.10 24.7.3.1: only an offer with this class is an HTTP Boot offer
        given[options.CLASS] = b"HTTPClient"
    elif client.vendor_class.startswith("PXEClient") and boot_file:
        given[options.CLASS] = b"PXEClient"
        given[options.VENDOR] = FETCH_FILE
    if options.UUID in packet.options:
        given[options.UUID] = packet.options[options.UUID]  # RFC 4578 2.3
    return given
