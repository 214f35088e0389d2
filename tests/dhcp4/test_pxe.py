"""Who is asking, and which boot file."""

from ipaddress import IPv4Address
from uuid import UUID

import pytest

from pybootd.config.bootfile import BootFileConfig
from pybootd.config.values import is_ipxe
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


FILES = BootFileConfig("any", "menu.ipxe", {0: "pxelinux.0", 7: "shim.efi", 10: "arm.efi"})


@pytest.mark.parametrize(
    ("architecture", "ipxe", "file"),
    [
        (None, False, "any"),
        (0, False, "pxelinux.0"),
        (0, True, "menu.ipxe"),
        (7, False, "shim.efi"),
        (9, False, "shim.efi"),
        (10, False, "arm.efi"),
        (11, False, "any"),
        (224, False, "any"),
    ],
)
def test_boot_file(architecture: int | None, ipxe: bool, file: str) -> None:
    assert pxe.boot_file(FILES, Client(MAC, architecture=architecture, ipxe=ipxe)) == file


def test_7_and_9_differ_when_both_are_named() -> None:
    files = BootFileConfig(by_architecture={7: "x64.efi", 9: "ebc.efi"})
    assert pxe.boot_file(files, Client(MAC, architecture=7)) == "x64.efi"
    assert pxe.boot_file(files, Client(MAC, architecture=9)) == "ebc.efi"


def test_ipxe_without_an_entry_goes_by_architecture() -> None:
    files = BootFileConfig("any", by_architecture={0: "pxelinux.0"})
    assert pxe.boot_file(files, Client(MAC, architecture=0, ipxe=True)) == "pxelinux.0"


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


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("undionly.kpxe", True),
        ("boot/undionly.kkpxe", True),
        ("ipxe.efi", True),
        ("ipxe-arm64.efi", True),
        ("snponly.efi", True),
        ("http://10.0.0.1/IPXE.EFI?x=1", True),
        ("ipxe/boot.cfg", False),
        ("http://10.0.0.1/boot.ipxe", False),
        ("pxelinux.0", False),
        ("grubx64.efi", False),
    ],
)
def test_ipxe_by_its_name(file: str, found: bool) -> None:
    assert is_ipxe(file) is found


def test_ipxe_gets_no_ipxe_again() -> None:
    running = Client(MAC, architecture=7, ipxe=True)
    with_entry = BootFileConfig("any", "menu.ipxe", {7: "ipxe.efi"})
    without = BootFileConfig("any", "", {7: "ipxe.efi"})
    assert pxe.boot_file(with_entry, running) == "menu.ipxe"
    assert pxe.boot_file(with_entry, running, "snponly.efi") == "menu.ipxe"
    assert pxe.boot_file(with_entry, running, "own.ipxe") == "own.ipxe"
    assert pxe.boot_file(without, running) == ""
    assert pxe.boot_file(without, Client(MAC, architecture=7)) == "ipxe.efi"
    assert "write [bootfile] ipxe = SCRIPT" in pxe.advice(without, running)
    assert pxe.advice(with_entry, running) == ""


@pytest.mark.parametrize(
    ("files", "code", "text"),
    [
        (FILES, 11, "is efi-arm64 and gets the default, any: write [bootfile] 00011 = FILE"),
        (FILES, 224, "is 00224 and gets the default, any: write [bootfile] 00224 = FILE"),
        (FILES, 9, ""),
        (FILES, None, ""),
        (BootFileConfig("any"), 0, ""),
        (
            BootFileConfig("any"),
            7,
            "is efi-x86_64 and gets the default, any: write [bootfile] 00007",
        ),
        (
            BootFileConfig("", "", {7: "x"}),
            0,
            "is bios and gets no boot file: write [bootfile] 00000",
        ),
    ],
)
def test_advice(files: BootFileConfig, code: int | None, text: str) -> None:
    given = pxe.advice(files, Client(MAC, architecture=code))
    assert given.startswith(text)
    assert bool(given) == bool(text)


def test_other_classes_boot_too() -> None:
    packet = decode(wire("350101" + "3c06" + b"AcmeGo".hex()))
    assert not pxe.read_client(packet, "x").network_boot
    assert pxe.read_client(packet, "x", classes=(*pxe.CLASSES, "Acme")).network_boot
