"""The virtual PC's parts that need no QEMU."""

import gzip

import pytest

from pybootd.lab import debian_installer, machine
from pybootd.lab.console import Console, Line


def test_console_shows_what_a_person_would_read(tmp_path):
    path = tmp_path / "console.log"
    console = Console(path)
    assert list(console.read_lines()) == []
    path.write_bytes(b"\x1b[2J\x1b[01;01H\x1b[0m\x0fiPXE\x1b[=3h 1.0\r\n\r\n\x1b[?25l\r\nhalf a l")
    assert [line.text for line in console.read_lines()] == ["iPXE 1.0"]
    with path.open("ab") as file:
        file.write("ine \xfc\r\nnext".encode("latin-1"))
    assert [line.text for line in console.read_lines()] == ["half a line \ufffd"]
    assert console.seen == ["iPXE 1.0", "half a line \ufffd"]


def test_console_keeps_the_lines_that_nobody_took(tmp_path):
    path = tmp_path / "console.log"
    path.write_bytes(b"one\ntwo\n")
    console = Console(path)
    assert next(console.read_lines()).text == "one"
    with path.open("ab") as file:
        file.write(b"three\n")
    assert [line.text for line in console.read_lines()] == ["two", "three"]


def test_console_counts_seconds_from_power_on(tmp_path, monkeypatch):
    path = tmp_path / "console.log"
    path.write_bytes(b"hello\n")
    console = Console(path)
    console.started = 100.0
    monkeypatch.setattr("time.monotonic", lambda: 102.5)
    assert list(console.read_lines()) == [Line(2.5, "hello")]


def test_router_advertisement_is_what_scapy_would_send():
    scapy = pytest.importorskip("scapy.layers.inet6")
    l2 = pytest.importorskip("scapy.layers.l2")
    expected = (
        l2.Ether(src="52:54:00:00:00:01", dst="33:33:00:00:00:01")
        / scapy.IPv6(src="fe80::5054:ff:fe00:1", dst="ff02::1", hlim=255)
        / scapy.ICMPv6ND_RA(chlim=64, routerlifetime=0, prf=0)
    )
    assert machine.build_advertisement() == bytes(expected)


def member(name, body):
    """One file in a cpio archive, "newc"."""
    encoded = name.encode() + b"\0"
    fields = [0] * 13
    fields[6], fields[11] = len(body), len(encoded)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + body + bytes(-len(body) % 4)


KEPT = [
    ("init", b"#!/bin/sh\n"),
    ("lib/modules/6.1/kernel/drivers/net/ethernet/intel/e1000/e1000.ko", b"driver"),
    ("lib/modules/6.1/modules.dep", b"x"),
    ("TRAILER!!!", b""),
]


def test_initrd_loses_firmware_and_drivers_of_other_hardware(tmp_path, monkeypatch):
    lost = [("lib/firmware/a.bin", b"12345"), ("lib/modules/6.1/kernel/drivers/ata/ahci.ko", b"z")]
    boot = tmp_path / "12" / "amd64" / "text" / "debian-installer" / "amd64"
    (boot / "grub").mkdir(parents=True)
    archive = b"".join(member(*each) for each in (KEPT[0], *lost, *KEPT[1:]))
    (boot / "initrd.gz").write_bytes(gzip.compress(archive))
    (boot / "kernel").write_bytes(b"kernel")
    (boot / "linux").symlink_to("kernel")
    monkeypatch.setattr(debian_installer, "IMAGES", tmp_path)
    assert debian_installer.missing() == ""
    debian_installer.build(tmp_path / "root")
    built = tmp_path / "root" / "debian-installer" / "amd64"
    assert gzip.decompress((built / "initrd.gz").read_bytes()) == b"".join(
        member(*each) for each in KEPT
    )
    assert not (built / "linux").is_symlink()
    assert "console=ttyS0" in (built / "grub" / "grub.cfg").read_text()
    assert "console=ttyS0" in (tmp_path / "root" / "pxelinux.cfg" / "default").read_text()


def test_missing_image_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(debian_installer, "IMAGES", tmp_path)
    for system, number in (
        ({"ID": "debian", "VERSION_ID": "12"}, "12"),
        ({"ID": "debian", "VERSION_ID": "13"}, "13"),
        ({"ID": "debian"}, "13"),  # testing
        ({"ID": "fedora", "VERSION_ID": "43"}, "13"),
    ):
        monkeypatch.setattr("platform.freedesktop_os_release", lambda system=system: system)
        named = f"debian-installer-{number}-netboot-amd64"
        assert debian_installer.missing() == f"not installed: {named}"


def test_the_newest_image_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(debian_installer, "IMAGES", tmp_path)
    for number in ("9", "12", "13"):
        boot = tmp_path / number / "amd64" / "text" / "debian-installer" / "amd64"
        boot.mkdir(parents=True)
        (boot / "linux").write_bytes(b"kernel")
    (boot / "linux").unlink()
    assert debian_installer.find_image().parts[-3] == "12"
