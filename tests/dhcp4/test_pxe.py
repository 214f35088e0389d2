"""Who is asking, and which boot file."""

from ipaddress import IPv4Address
from uuid import UUID

import pytest

from pybootd.core.client import Client
from pybootd.dhcp4.wire import pxe
from pybootd.dhcp4.wire.packet import decode

from .vectors import MAC, MACHINE, VECTORS, Vector, wire


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_a_client_as_its_packet_tells_it(vector: Vector) -> None:
    client = pxe.read_client(decode(vector.data), "lan0")
    assert client == Client(
        MAC,
        vector.uuid,
        vector.client_id,
        vector.architecture,
        vector.vendor_class,
        vector.user_class,
        vector.hostname,
        vector.network_boot,
        vector.ipxe,
        53 not in vector.codes,
        None,
        "lan0",
    )


def test_what_is_known_from_before_fills_in() -> None:
    address = IPv4Address("10.0.0.9")
    client = pxe.read_client(decode(wire("350101")), "lan0", MACHINE, address)
    assert (client.uuid, client.address) == (MACHINE, address)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"iPXE", "iPXE"),
        (b"\x04iPXE", "iPXE"),
        (b"\x04iPXE\x03lab", "iPXE lab"),
        (b"MSFT 5.0\0", "MSFT 5.0"),
        (b"a\x1b[0m", "a?[0m"),
        (b"", ""),
    ],
)
def test_both_forms_of_the_user_class(value: bytes, text: str) -> None:
    assert pxe.parse_user_class(value) == text


@pytest.mark.parametrize("value", [b"", b"\0" * 5, b"\1" + bytes(16), bytes(18)])
def test_what_is_no_uuid_is_none(value: bytes) -> None:
    assert pxe.parse_uuid(value) is None


def test_a_uuid_is_little_endian() -> None:
    assert pxe.parse_uuid(b"\0" + MACHINE.bytes_le) == UUID(str(MACHINE))


def test_flexboot_is_ipxe_without_its_user_class() -> None:
    assert pxe.read_client(decode(wire("350101 af03eb0101")), "x").ipxe


def test_vendor_options() -> None:
    assert pxe.parse_vendor(bytes.fromhex("4704800000 00ff0601")) == {71: b"\x80\0\0\0"}
    assert pxe.parse_vendor(bytes.fromhex("00060108 0904 00")) == {6: b"\x08"}


def test_reply_options() -> None:
    packets = {vector.name: decode(vector.data) for vector in VECTORS}
    expected = {
        "iPXE ROM, BIOS": {60: b"PXEClient", 43: b"\6\1\x08\xff", 97: b"\0" + MACHINE.bytes_le},
        "OVMF HTTP Boot": {60: b"HTTPClient", 97: b"\0" + MACHINE.bytes_le},
        "U-Boot arm": {},
        "dhcpcd": {},
    }
    for name, options in expected.items():
        client = pxe.read_client(packets[name], "x")
        assert pxe.reply_options(packets[name], client, "f") == options


def test_other_classes_boot_too() -> None:
    packet = decode(wire("350101" + "3c06" + b"AcmeGo".hex()))
    assert not pxe.read_client(packet, "x").network_boot
    assert pxe.read_client(packet, "x", classes=(*pxe.CLASSES, "Acme")).network_boot
