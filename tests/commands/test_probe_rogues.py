"""pybootd probe before servers that are wrong, one way at a time."""

import json
import sys
import time

import pytest

pytestmark = pytest.mark.net

SECTION = bytes(8) + (2000).to_bytes(4, "little") + (1000).to_bytes(4, "little")
EFI = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0\x64\x86" + bytes(3000)
CUT = bytearray(EFI)
CUT[70:72] = b"\1\0"  # one section
CUT[84:86] = b"\0\0"  # no optional header
CUT[88 + 16 : 88 + 24] = (9000).to_bytes(4, "little") + (512).to_bytes(4, "little")
HTML = b"<!DOCTYPE html><html><title>404 Not Found</title></html>" * 40
PXE_CLASS = b"PXEClient".hex()
HTTP_CLASS = b"HTTPClient".hex()
GOOD = {"files": {"loader.efi": EFI.hex(), "pxelinux.0": (b"\xfa" * 3000).hex()}}


def url(text, **more):
    return {"file": "", "options": {"60": HTTP_CLASS, "67": text.encode().hex(), **more}}


def http(head, body=EFI):
    return {"http": (head.encode() + b"\r\n\r\n" + body).hex()}


LENGTH = f"HTTP/1.1 200 OK\r\nContent-Length: {len(EFI)}"

# each: what the server does, options of the command, what must be found (nothing: it boots)
SERVERS = {
    "well": ({}, (), set()),
    "class-without-43-and-nobody-on-4011": (
        {"options": {"60": PXE_CLASS}},
        (),
        {"boot-server-silent"},
    ),
    "class-with-43": ({"options": {"60": PXE_CLASS, "43": "060108ff"}}, (), set()),
    "class-and-4011": (
        {"options": {"60": PXE_CLASS}, "boot_server": "loader.efi"},
        (),
        set(),
    ),
    "empty-file": ({"files": {"loader.efi": ""}}, (), {"boot-file-empty"}),
    "html": ({"files": {"loader.efi": HTML.hex()}}, (), {"boot-file-content"}),
    "script-for-firmware": (
        {"files": {"loader.efi": b"#!ipxe\nboot\n".hex()}},
        (),
        {"boot-file-content"},
    ),
    "cut-program": ({"files": {"loader.efi": bytes(CUT).hex()}}, (), {"boot-file-content"}),
    "packed": (
        {"files": {"loader.efi": b"\x1f\x8b\x08".hex() + "00" * 99}},
        (),
        {"boot-file-content"},
    ),
    "no-netmask": ({"options": {"1": None}}, (), {"netmask"}),
    "bad-netmask": ({"options": {"1": "ff00ff00"}}, (), {"netmask"}),
    "zero-netmask": ({"options": {"1": "00000000"}}, (), {"netmask"}),
    "narrow-netmask": ({"options": {"1": "fffffff0"}}, (), {"file-server-unreachable"}),
    "broadcast-address": ({"address": "10.7.0.255"}, (), {"offered-address"}),
    "no-server-id": ({"options": {"54": None}}, (), {"no-server-id"}),
    "no-lease-time": ({"options": {"51": None}}, (), {"no-lease-time"}),
    "unicast": ({"unicast": True}, (), {"unicast-answer"}),
    "missing-file": ({"files": {}}, (), {"boot-file-not-fetched"}),
    "silent-file-server": ({"siaddr": "10.7.0.77"}, (), {"boot-file-not-fetched"}),
    "file-server-by-name": (
        {"siaddr": "0.0.0.0", "options": {"66": b"boot.example".hex()}},
        (),
        {"file-server-name"},
    ),
    "name-with-255": ({"file": "hex:" + b"loader.efi\xff".hex()}, (), {"boot-file-name"}),
    "url-for-pxe": ({"file": "http://10.7.0.1/loader.efi"}, (), {"url-for-pxe"}),
    "bios-66-67-alone": (
        {
            "siaddr": "0.0.0.0",
            "file": "",
            "options": {"66": b"10.7.0.1".hex(), "67": b"pxelinux.0".hex()},
        },
        ("-a", "bios"),
        {"bios-fields"},
    ),
    "http-without-class": (
        {"file": "http://10.7.0.1/loader.efi"} | http(LENGTH),
        ("-a", "http-efi-x86_64"),
        {"http-class"},
    ),
    "http-without-length": (
        url("http://10.7.0.1/loader.efi") | http("HTTP/1.1 200 OK"),
        ("-a", "http-efi-x86_64"),
        {"http-size"},
    ),
    "https": (url("https://10.7.0.1/loader.efi"), ("-a", "http-efi-x86_64"), set()),
    "http-name-without-dns": (
        url("http://boot.example/loader.efi"),
        ("-a", "http-efi-x86_64"),
        {"no-name-server"},
    ),
    "http-404": (
        url("http://10.7.0.1/loader.efi")
        | http("HTTP/1.1 404 \x1b[31mno\r\nContent-Length: 0", b""),
        ("-a", "http-efi-x86_64"),
        {"boot-file-not-fetched"},
    ),
    "ipxe-loads-itself": (
        {"files": {"loader.efi": (EFI + b"iPXE initialising").hex()}},
        ("--ipxe",),
        {"ipxe-loop"},
    ),
    "script-without-its-first-line": (
        {"files": {"loader.efi": b"dhcp\nboot\n".hex()}},
        ("--ipxe",),
        {"boot-file-content"},
    ),
    # what ended in a traceback
    "port-out-of-range": (
        url("http://10.7.0.1:99999/x"),
        ("-a", "http-efi-x86_64"),
        {"boot-file-not-fetched"},
    ),
    "open-bracket": (url("http://[::1/x"), ("-a", "http-efi-x86_64"), {"boot-file-not-fetched"}),
    "long-label": (
        url(f"http://{'a' * 70}.example/x", **{"6": "0a070001"}),
        ("-a", "http-efi-x86_64"),
        {"boot-file-not-fetched"},
    ),
    "odd-option-66": (
        {"siaddr": "0.0.0.0", "options": {"66": b"[\xff..\x01".hex()}},
        (),
        {"file-server-name"},
    ),
    "empty-item-6": ({"options": {"60": PXE_CLASS, "43": "0600ff"}}, (), {"boot-server-silent"}),
    "broadcast-server-id": (
        {"options": {"60": PXE_CLASS, "54": "ffffffff"}},
        (),
        set(),
    ),
    "blocksize-0": (
        {"oack": "0006" + b"blksize\x000\0".hex()},
        (),
        {"boot-file-not-fetched"},
    ),
    "blocksize-a-word": (
        {"oack": "0006" + b"blksize\x00many\0".hex()},
        (),
        {"boot-file-not-fetched"},
    ),
    "no-tftp-packet": ({"oack": "0009ff"}, (), {"boot-file-not-fetched"}),
}


@pytest.fixture
def probe(network):
    lan = network.switch()
    server, client = network.host("server"), network.host("client")
    server.plug(lan, "10.7.0.1/24")
    client.plug(lan, "10.7.0.9/24")

    def run(told, *words):
        given = json.dumps(GOOD | told)
        process = server.popen(sys.executable, "-m", "tests.commands.rogue", given)
        while 67 not in server.udp_ports() or (
            told.get("tftp", True) and 69 not in server.udp_ports()
        ):
            assert process.poll() is None
            time.sleep(0.02)
        line = (sys.executable, "-m", "pybootd", "probe", "-i", "eth0", "-w", "0.6", *words)
        done = client.run(*line, "--json", check=False)
        assert done.stderr == ""
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_is_wrong_is_named(probe, name):
    told, words, wanted = SERVERS[name]
    found = probe(told, *words)
    faults = {one["code"] for one in found["findings"] if one["grade"] == "fault"}
    assert faults == wanted
    assert found["boots"] == (not wanted)
