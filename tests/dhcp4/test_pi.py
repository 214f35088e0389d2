"""The boot ROMs of Raspberry Pis, replayed octet by octet (their documentation tells them)."""

import pytest

from pybootd.config.bootfile import BootFileConfig
from pybootd.dhcp4.wire.packet import MessageType, Packet, decode

from .desk import FIRST, SERVER, Desk, events, request

PI_3, PI_4 = bytes.fromhex("b827eb123456"), bytes.fromhex("dca632123456")
CLASS = b"PXEClient:Arch:00000:UNDI:002001"
ITEM = "Raspberry Pi Boot"
# discovery control 3; prompt, at once; menu: type 0, its text; end
MENU = bytes.fromhex("060103 0a0400505845 0914000011") + ITEM.encode() + b"\xff"
PI_3_MENU = bytes.fromhex("060103 0a0400505845 0917000014") + f"{ITEM}   ".encode() + b"\xff"
NO_FILES = BootFileConfig()


def discover(mac: bytes, machine: bytes) -> bytes:
    """Build a ROM's DISCOVER: options 53, 55, 93, 94, 97, 60; padded to 320 octets."""
    options = bytes.fromhex("350101 370b 2b3c4380818283848586 42 5d020000 5e03010201")
    options += bytes((97, len(machine))) + machine + bytes((60, len(CLASS))) + CLASS + b"\xff"
    head = bytes.fromhex("01010600 26f30339 0000 8000") + bytes(16) + mac + bytes(10 + 64 + 128)
    return (head + bytes.fromhex("63825363") + options).ljust(320, b"\0")


MACHINE_3 = bytes(17)
MACHINE_4 = b"\0RPi4" + bytes.fromhex("14310c00123456789abcdef0")


@pytest.mark.parametrize(
    ("mac", "machine", "menu"),
    [
        (PI_3, MACHINE_3, PI_3_MENU),
        (PI_4, MACHINE_4, MENU),
        (bytes.fromhex("024242123456"), MACHINE_4, MENU),  # a MAC that no table knows
        (bytes.fromhex("2ccf67123456"), b"\0RPi5" + MACHINE_4[5:], MENU),
    ],
)
def test_the_offer_is_what_the_rom_looks_for(mac: bytes, machine: bytes, menu: bytes) -> None:
    desk = Desk(files=NO_FILES)
    reply = desk.reply(decode(discover(mac, machine)))
    offer = decode(reply.data)
    assert offer.options[43] == menu
    assert (offer.options[60], offer.options[97]) == (b"PXEClient", machine)
    assert (offer.yiaddr, offer.siaddr, offer.hops) == (FIRST, SERVER, 0)
    assert offer.options[54] == SERVER.packed
    assert len(reply.data) >= 300


def test_the_first_rom_never_requests_but_is_known_by_its_address() -> None:
    """Its files are its own in filters, and the system that it loads is served."""
    desk = Desk(files=NO_FILES, allow_simple_dhcp=False)
    desk.ask(decode(discover(PI_3, MACHINE_3)))
    known = desk.clients.find_by_address(FIRST)
    assert known is not None
    assert known.client.mac == PI_3
    assert desk.lease(mac=PI_3).yiaddr == FIRST


def test_it_gets_no_advice() -> None:
    desk = Desk(files=BootFileConfig(by_architecture={7: "x.efi"}))
    assert len(events(desk.effects(decode(discover(PI_4, MACHINE_4))))) == 1


@pytest.mark.parametrize("architecture", [b"\0\x0b", b"\0\x16"])
def test_uefi_and_u_boot_on_a_pi_are_what_they_say(architecture: bytes) -> None:
    packet = request(MessageType.DISCOVER, mac=PI_4, options={60: b"PXEClient", 93: architecture})
    offer = Desk().ask(packet)
    assert offer is not None
    assert offer.options[43] == b"\6\1\x08\xff"


def test_its_system_is_a_plain_client() -> None:
    offer = Desk().ask(Packet(chaddr=PI_4, options={53: b"\1", 55: bytes((1, 3, 43, 60))}))
    assert offer is not None
    assert 43 not in offer.options
