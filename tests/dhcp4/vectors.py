"""What real clients send, octet by octet, and what each of it means."""

from dataclasses import dataclass
from uuid import UUID

MAC = bytes.fromhex("525400123456")
MACHINE = UUID("00112233-4455-6677-8899-aabbccddeeff")
MACHINE_WIRE = "00 33221100 5544 7766 8899 aabbccddeeff"


def wire(
    given: str,
    *,
    op: int = 1,
    flags: int = 0,
    secs: int = 0,
    ciaddr: str = "00000000",
    size: int = 300,
    xid: str = "3903f326",
) -> bytes:
    """One request: the fixed fields, the cookie, the options given in hexadecimal, END, padding."""
    head = bytes((op, 1, 6, 0)) + bytes.fromhex(xid) + secs.to_bytes(2) + flags.to_bytes(2)
    fixed = head + bytes.fromhex(ciaddr) + bytes(12) + MAC + bytes(10 + 64 + 128)
    return (fixed + bytes.fromhex("63825363" + given + "ff")).ljust(size, b"\0")


def opt(code: int, value: str) -> str:
    octets = bytes.fromhex(value)
    return bytes((code, len(octets))).hex() + octets.hex()


def text(code: int, value: str) -> str:
    return bytes((code, len(value))).hex() + value.encode().hex()


@dataclass(frozen=True)
class Vector:
    """``data`` as sent; ``codes``: its options in order; then what the client is."""

    name: str
    data: bytes
    codes: tuple[int, ...]
    architecture: int | None = None
    vendor_class: str = ""
    user_class: str = ""
    uuid: UUID | None = None
    client_id: bytes | None = None
    hostname: str = ""
    network_boot: bool = False
    ipxe: bool = False


_UUID = "6111" + MACHINE_WIRE
_ID = "3d0701" + MAC.hex()

VECTORS = (
    Vector(
        "iPXE ROM, BIOS",
        wire(
            "350101 3902 05c0 5d02 0000 5e03 010201"
            + text(60, "PXEClient:Arch:00000:UNDI:002001")
            + text(77, "iPXE")
            + opt(55, "0103060708 0c0f11 2b3c4243 8081828384858687 afcb")
            + opt(175, "b105018086100e eb03010a00 170101 150101 130101 110101 190101 100102 210101")
            + _ID
            + _UUID,
            size=400,
        ),
        (53, 57, 93, 94, 60, 77, 55, 175, 61, 97),
        0,
        "PXEClient:Arch:00000:UNDI:002001",
        "iPXE",
        MACHINE,
        b"\1" + MAC,
        network_boot=True,
        ipxe=True,
    ),
    Vector(
        "iPXE snponly.efi",
        wire(
            "350101 390205c0 5d020007 5e0301030a"
            + text(60, "PXEClient:Arch:00007:UNDI:003010")
            + text(77, "iPXE")
            + "3704 01034243 af03eb0101"
            + _ID
            + _UUID
        ),
        (53, 57, 93, 94, 60, 77, 55, 175, 61, 97),
        7,
        "PXEClient:Arch:00007:UNDI:003010",
        "iPXE",
        MACHINE,
        b"\1" + MAC,
        network_boot=True,
        ipxe=True,
    ),
    Vector(
        "OVMF PXE",
        wire(
            "350101 390205c0"
            + opt(55, "0102030405060c0d0f1112161728292a2b3233363a3b3c424361")
            + _UUID
            + "5e03010300 5d020007"
            + text(60, "PXEClient:Arch:00007:UNDI:003000"),
            flags=0x8000,
            size=347,
        ),
        (53, 57, 55, 97, 94, 93, 60),
        7,
        "PXEClient:Arch:00007:UNDI:003000",
        uuid=MACHINE,
        network_boot=True,
    ),
    Vector(
        "OVMF HTTP Boot",
        wire(
            "350101 390205c0 3707 0103060c0f43eb"
            + _UUID
            + "5e03010300 5d020010"
            + text(60, "HTTPClient:Arch:00016:UNDI:003000"),
            flags=0x8000,
        ),
        (53, 57, 55, 97, 94, 93, 60),
        16,
        "HTTPClient:Arch:00016:UNDI:003000",
        uuid=MACHINE,
        network_boot=True,
    ),
    Vector("GRUB net_dhcp", wire("350101", secs=3836), (53,)),
    Vector(
        "U-Boot arm",
        wire("350101 39020240 5d020015 5e03010000" + text(60, "U-Boot.armv7") + "3705 0103060c11"),
        (53, 57, 93, 94, 60, 55),
        21,
        "U-Boot.armv7",
        network_boot=True,
    ),
    Vector(
        "udhcpc",
        wire("350101" + _ID + "39020240 3707 0103060c0f1c2a" + text(60, "udhcp 1.35.0")),
        (53, 61, 57, 55, 60),
        vendor_class="udhcp 1.35.0",
        client_id=b"\1" + MAC,
    ),
    Vector(
        "dhclient, INIT-REBOOT",
        wire("350103 3204 c0a80164" + text(12, "box") + "370d 011c02030f06770c2c2f1a792a"),
        (53, 50, 12, 55),
        hostname="box",
    ),
    Vector(
        "dhcpcd",
        wire(
            "350101"
            + opt(61, "ff00123456 0004 000102030405060708090a0b")
            + text(60, "dhcpcd-9.4.1:Linux-6.18")
            + text(12, "box")
            + "390205c0 910101 370e 01792103060c0f1a1c33363a3b77"
        ),
        (53, 61, 60, 12, 57, 145, 55),
        vendor_class="dhcpcd-9.4.1:Linux-6.18",
        client_id=bytes.fromhex("ff001234560004000102030405060708090a0b"),
        hostname="box",
    ),
    Vector(
        "systemd-networkd",
        wire(
            "350101 3d13 ffb5485bbb 00020000ab11 0102030405060708"
            "3709 01030c0f1a2179062a 390205c0" + text(12, "box"),
            size=284,
        ),
        (53, 61, 55, 57, 12),
        client_id=bytes.fromhex("ffb5485bbb00020000ab110102030405060708"),
        hostname="box",
    ),
    Vector("BOOTP without a cookie", wire("")[:236] + bytes(64), ()),
    Vector("BOOTP with 60 zero octets", wire("") + bytes(60), ()),
)
