"""PXE and HTTP Boot: who is asking, and which options they need (RFC 4578)."""

from __future__ import annotations

import re
from uuid import UUID

from pybootd.core.client import Client, IPAddress
from pybootd.core.mac import PI_3, PI_MACS
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import NOBODY, Packet

# 06 01 08: discovery control, "a file name is here: fetch it" (PXE 2.1, table 2-1). A client that
# gets option 60 without it asks port 4011 first (iPXE 1.21 and OVMF 2022.11, captured).
FETCH_FILE = b"\x06\x01\x08\xff"
# what network boot clients call themselves (RFC 4578 2.4, UEFI 2.10 24.7)
CLASSES = ("PXEClient", "HTTPClient")
_ARCHITECTURE = re.compile(r":Arch:([0-9]{5})\b")  # RFC 4578 2.4
_PRINTABLE = bytes(octet if 32 <= octet < 127 else ord("?") for octet in range(256))
_BOOT_ITEM = 71  # PXE 2.1 table 2-1
# iPXE's option 175, item 0xb0, no-pxedhcp: it need not wait for a proxyDHCP server
NO_PROXY = b"\xb0\x01\x01"
# What the boot ROM of a Raspberry Pi looks for: discovery control, a prompt, and a menu whose first
# item has this very text (Raspberry Pi documentation, "Network booting"; the ROM of the first Pi 3
# compares three blanks behind it, too).
_PI_HEAD = bytes.fromhex("060103 0a04 00") + b"PXE"
_PI_TEXT, _PI_3_TEXT = b"Raspberry Pi Boot", b"Raspberry Pi Boot   "


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
    return value.rstrip(b"\0").translate(_PRINTABLE).decode("ascii")


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


def parse_relay_agent(packet: Packet) -> dict[int, bytes]:
    """Read the sub-options of option 82 (RFC 3046 2.0)."""
    return parse_vendor(packet.options.get(options.RELAY_AGENT, b""))


def _circuit(value: bytes) -> str:
    return (
        value.decode("ascii") if value.isascii() and plain(value).encode() == value else value.hex()
    )


def _read_architectures(octets: bytes, vendor_class: str) -> tuple[int, ...]:
    """Read option 93, a list with what runs now first (RFC 4578 2.1); without one, option 60."""
    if len(octets) == 2:
        return (octets[0] << 8 | octets[1],)
    if len(octets) > 2:
        return tuple(int.from_bytes(octets[at : at + 2]) for at in range(0, len(octets) - 1, 2))
    named = _ARCHITECTURE.search(vendor_class) if ":Arch:" in vendor_class else None
    return (int(named[1]),) if named else ()


def read_client(
    packet: Packet,
    interface: str,
    uuid: UUID | None = None,
    address: IPAddress | None = None,
    classes: tuple[str, ...] = CLASSES,
    *,
    known: bool = False,
) -> Client:
    """Read the client off its request.

    ``uuid``, ``address`` and ``known`` are what we know of it from before;
    ``classes`` how the classes (option 60) of network boot clients begin.
    """
    sent = packet.options
    vendor_class = plain(sent[options.CLASS]) if options.CLASS in sent else ""
    user_class = parse_user_class(sent[options.USER_CLASS]) if options.USER_CLASS in sent else ""
    listed = sent.get(options.ARCHITECTURE, b"")
    architectures = _read_architectures(listed, vendor_class) if listed or vendor_class else ()
    machine = sent.get(options.UUID)
    return Client(
        packet.chaddr,
        (parse_uuid(machine) if machine else None) or uuid,
        sent.get(options.CLIENT_ID),
        architectures[0] if architectures else None,
        vendor_class,
        user_class,
        plain(sent[options.HOSTNAME]) if options.HOSTNAME in sent else "",
        # some firmware lacks 97 or has its own class (danderson/pixiecore#21)
        bool(listed) or machine is not None or vendor_class.startswith(classes),
        # FlexBoot sends 175 without 77 (warewulf/warewulf3#104)
        options.IPXE in sent or ("iPXE" in user_class and "iPXE" in user_class.split()),
        options.TYPE not in sent,
        packet.giaddr if packet.giaddr is not NOBODY else None,
        interface,
        address,
        _circuit(parse_relay_agent(packet).get(1, b"")) if options.RELAY_AGENT in sent else "",
        architectures[1:],
        known,
    )


def is_pi(packet: Packet) -> bool:
    """Tell the boot ROM of a Raspberry Pi: architecture 0, its MAC or its 97 (``RPi4``, ``RPi5``).

    UEFI, U-Boot or iPXE on the same board send another architecture or class.
    """
    sent = packet.options
    if sent.get(options.ARCHITECTURE, b"")[:2] != b"\0\0" or options.IPXE in sent:
        return False
    machine = sent.get(options.UUID, b"")
    return b"RPi" in machine[:4] or any(prefix.holds(packet.chaddr) for prefix in PI_MACS)


def _pi_vendor(mac: bytes) -> bytes:
    text = _PI_3_TEXT if PI_3.holds(mac) else _PI_TEXT
    return _PI_HEAD + bytes((9, 3 + len(text), 0, 0, len(text))) + text + b"\xff"


def boot_server_options(packet: Packet, given: dict[int, bytes]) -> dict[int, bytes]:
    """Turn the options of an offer into those of port 4011: the boot item asked for comes back."""
    item = parse_vendor(packet.options.get(options.VENDOR, b"")).get(_BOOT_ITEM)
    changed = {code: value for code, value in given.items() if code != options.VENDOR}
    if item is not None:
        changed[options.VENDOR] = bytes((_BOOT_ITEM, len(item))) + item + b"\xff"
    return changed


def reply_options(packet: Packet, client: Client, boot_file: str) -> dict[int, bytes]:
    """Give the options that make a boot client take the file from this reply.

    Empty for others. The UUID (97) goes back as it came.
    """
    given: dict[int, bytes] = {}
    if is_pi(packet):
        given[options.CLASS] = b"PXEClient"
        given[options.VENDOR] = _pi_vendor(packet.chaddr)
    elif client.vendor_class.startswith("HTTPClient") and boot_file:
        # UEFI 2.10 24.7.3.1: only an offer with this class is an HTTP Boot offer
        given[options.CLASS] = b"HTTPClient"
    elif client.vendor_class.startswith("PXEClient") and boot_file:
        given[options.CLASS] = b"PXEClient"
        given[options.VENDOR] = FETCH_FILE
    if options.UUID in packet.options:
        given[options.UUID] = packet.options[options.UUID]  # RFC 4578 2.3
    return given
