"""Which boot file, and why."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

import pybootd
from pybootd.config.bootfile import BootFileConfig, is_ipxe
from pybootd.config.loader import load
from pybootd.config.options.files import HttpdConfig
from pybootd.core.client import Client
from pybootd.core.events import BootFileHint, BootFileReason, Offered
from pybootd.dhcp4.bootfile import describe_hint
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.dhcp4.wire.pxe import read_client

from .desk import MAC, Desk, choose, events, request

REASON = BootFileReason


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
    assert choose(FILES, Client(MAC, architecture=architecture, ipxe=ipxe)).told == file


def test_7_and_9_differ_when_both_are_named() -> None:
    files = BootFileConfig(by_architecture={7: "x64.efi", 9: "ebc.efi"})
    assert choose(files, Client(MAC, architecture=7)).told == "x64.efi"
    assert choose(files, Client(MAC, architecture=9)).told == "ebc.efi"


def test_ipxe_without_an_entry_goes_by_architecture() -> None:
    files = BootFileConfig("any", by_architecture={0: "pxelinux.0"})
    assert choose(files, Client(MAC, architecture=0, ipxe=True)).told == "pxelinux.0"


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
    assert choose(with_entry, running).told == "menu.ipxe"
    assert choose(with_entry, running, own="snponly.efi").told == "menu.ipxe"
    assert choose(with_entry, running, own="own.ipxe").told == "own.ipxe"
    assert choose(without, running).told == ""
    assert choose(without, Client(MAC, architecture=7)).told == "ipxe.efi"
    assert "write [bootfile] ipxe = SCRIPT" in describe_hint(running, choose(without, running))
    assert describe_hint(running, choose(with_entry, running)) == ""


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
    given = describe_hint(
        Client(MAC, architecture=code), choose(files, Client(MAC, architecture=code))
    )
    assert given.startswith(text)
    assert bool(given) == bool(text)


@pytest.mark.parametrize(
    ("given", "file", "reason", "rests_on"),
    [
        ({"named": "a", "own": "b"}, "a", REASON.ACCESS_LIST, "[bootp] access"),
        ({"own": "b"}, "b", REASON.CLIENT, "boot_file of its [client] or [class]"),
        ({"architecture": 7}, "shim.efi", REASON.ARCHITECTURE, "[bootfile] 00007"),
        ({"architecture": 9}, "shim.efi", REASON.ARCHITECTURE, "[bootfile] 00007"),
        ({"architecture": 11}, "any", REASON.DEFAULT, "[bootfile] default"),
        ({}, "any", REASON.DEFAULT, "[bootfile] default"),
        ({"ipxe": True}, "menu.ipxe", REASON.IPXE, "[bootfile] ipxe"),
        ({"ipxe": True, "own": "snponly.efi"}, "menu.ipxe", REASON.IPXE, "[bootfile] ipxe"),
        ({"ipxe": True, "own": "b"}, "b", REASON.CLIENT, "boot_file of its [client] or [class]"),
    ],
)
def test_why_this_file(
    given: Mapping[str, object], file: str, reason: BootFileReason, rests_on: str
) -> None:
    shown = {name: value for name, value in given.items() if name in ("architecture", "ipxe")}
    others = {name: value for name, value in given.items() if name not in shown}
    choice = choose(FILES, Client(MAC, **shown), **others)  # type: ignore[arg-type]
    assert (choice.file, choice.reason, choice.rests_on) == (file, reason, rests_on)


def test_why_no_file() -> None:
    again = choose(BootFileConfig("ipxe.efi"), Client(MAC, ipxe=True))
    assert (again.file, again.reason) == ("", REASON.IPXE_AGAIN)
    assert (again.rests_on, again.hint) == ("", BootFileHint.WRITE_IPXE)
    none = choose(BootFileConfig(), Client(MAC))
    assert (none.file, none.reason, none.hint) == ("", REASON.NO_ENTRY, None)
    over_http = Client(MAC, vendor_class="HTTPClient:Arch:00016", architecture=16)
    no_url = choose(BootFileConfig("shim.efi"), over_http)
    assert (no_url.told, no_url.reason, no_url.hint) == ("", REASON.NO_URL, BootFileHint.WRITE_URL)


def test_http_boot_gets_a_url() -> None:
    client = Client(MAC, vendor_class="HTTPClient:Arch:00016", architecture=16)
    ours = choose(BootFileConfig("/a b.efi"), client, httpd=HttpdConfig(enable=True, port=8080))
    assert (ours.file, ours.url) == ("/a b.efi", "http://192.168.1.1:8080/a%20b.efi")
    written = choose(BootFileConfig("http://h/x.efi"), client)
    assert (written.told, written.url) == ("http://h/x.efi", "http://h/x.efi")
    by_tftp = choose(BootFileConfig("http://h/x.efi"), Client(MAC))
    assert (by_tftp.told, by_tftp.url) == ("http://h/x.efi", "")


def test_events_say_why() -> None:
    (offered, *_) = events(Desk().effects(request(MessageType.DISCOVER)))
    assert isinstance(offered, Offered)
    assert (offered.boot_file, offered.file_reason) == ("default.0", REASON.DEFAULT)


def test_the_choice_has_one_caller_each_in_handler_and_proxy() -> None:
    root = Path(pybootd.__file__).parent
    callers = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "choose_boot_file"
    ]
    assert callers == ["dhcp4/handler.py", "dhcp4/proxy/handler.py"]


LISTS = [
    # what the client names; what has an entry; what decides
    ((7,), {7: "a"}, 7),
    ((7, 0), {7: "a", 0: "b"}, 7),
    ((0, 7), {7: "a", 0: "b"}, 0),
    ((11, 7), {7: "a", 0: "b"}, 7),
    ((11, 16, 0), {7: "a", 0: "b"}, 0),
    ((9, 7), {7: "a", 9: "b"}, 9),
    ((9, 0), {7: "a", 0: "b"}, 7),  # 9 is x64, too (RFC 4578 erratum 4624)
    ((224, 65535), {7: "a"}, None),
    ((224, 225, 7, 0), {0: "b"}, 0),
    ((), {7: "a"}, None),
    ((0, 0, 0), {0: "b"}, 0),
]


@pytest.mark.parametrize(("named", "entries", "decides"), LISTS)
@pytest.mark.parametrize("stray", [b"", b"\0"])
def test_the_first_architecture_that_has_an_entry_decides(
    named: tuple[int, ...], entries: dict[int, str], decides: int | None, stray: bytes
) -> None:
    octets = b"".join(code.to_bytes(2) for code in named)
    packet = Packet(chaddr=MAC, options={93: octets + stray})
    client = read_client(packet, "lan0")
    assert client.architecture == (named[0] if named else None)
    choice = choose(BootFileConfig("any", by_architecture=entries), client)
    assert choice.file == ("any" if decides is None else entries[decides])


@pytest.mark.parametrize(
    ("vendor_class", "code"),
    [
        (b"PXEClient:Arch:00007:UNDI:003000", 7),
        (b"PXEClient:Arch:00007", 7),
        (b"HTTPClient:Arch:00016:UNDI:003001", 16),
        (b"PXEClient:Arch:7:UNDI", None),
        (b"PXEClient:Arch:000071", None),
        (b"PXEClient:Arch:", None),
        (b"PXEClient", None),
        (b"MSFT 5.0", None),
    ],
)
def test_without_option_93_the_architecture_is_in_option_60(
    vendor_class: bytes, code: int | None
) -> None:
    def read(more: dict[int, bytes]) -> int | None:
        packet = Packet(chaddr=MAC, options={60: vendor_class} | more)
        return read_client(packet, "lan0").architecture

    assert read({}) == code
    assert read({93: b""}) == code
    assert read({93: b"\0"}) == code
    assert read({93: b"\0\x0b"}) == 11


def test_a_class_fits_any_architecture_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pybootd.ini"
    path.write_text("[class arm]\nmatch architecture = efi-arm64\nboot_file = arm.efi\n")
    profiles = load(path, ()).profiles
    assert profiles.find_profile(Client(MAC, architecture=7, other_architectures=(11,))).boot_file
    assert not profiles.find_profile(Client(MAC, architecture=7)).boot_file
