"""pybootd replay on captures of boots that dnsmasq served, and on files that are none."""

import contextlib
import gzip
import json
import random
import socket
import struct
import subprocess
import sys
import time
from ipaddress import IPv4Address as A
from uuid import UUID

import pytest

from pybootd.commands.replay.dissect import Dissector
from pybootd.commands.replay.pcap import CaptureError, read_frames
from pybootd.dhcp4.wire import packet
from pybootd.lab import firmware as firmware_module
from pybootd.lab.firmware import BootError, Firmware

from .captures import OTHER, SERVER, Capture

EFI = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0\x64\x86" + bytes(30_000)
INI = """\
[bootp]
pool_start = 10.7.0.100
[bootfile]
efi-x86_64 = loader.efi
[tftp]
root = ./boot
"""


def read_datagrams(file):
    return list(Dissector().dissect_frames(read_frames(file)))


def replay(*words):
    line = [sys.executable, "-m", "pybootd", "replay", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=30)


def facts(*words):
    done = replay("--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def frame(data=b"data", source=67, target=68, vlan=False):
    udp = struct.pack("!HHHH", source, target, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    tag = b"\x81\x00\x00\x05" if vlan else b""
    return bytes(12) + tag + b"\x08\x00" + head + A("10.0.0.1").packed + A("10.0.0.2").packed + udp


def pcap(*frames, order="<", magic=0xA1B2C3D4, link=1):
    made = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for number, one in enumerate(frames):
        made += struct.pack(f"{order}IIII", 1000 + number, 500, len(one), len(one)) + one
    return made


def pcapng(*frames, order="<"):
    def block(kind, body):
        body += bytes(-len(body) % 4)
        size = struct.pack(f"{order}I", len(body) + 12)
        return struct.pack(f"{order}I", kind) + size + body + size

    made = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    made += block(1, struct.pack(f"{order}HHIHHBxxx", 1, 0, 0, 9, 1, 9))
    for number, one in enumerate(frames):
        when = (1000 + number) * 10**9 + 500_000
        head = struct.pack(f"{order}IIIII", 0, when >> 32, when & 0xFFFFFFFF, len(one), len(one))
        made += block(6, head + one)
    return made


@pytest.mark.parametrize(
    "content",
    [
        pcap(frame(), frame(vlan=True)),
        pcap(frame(), frame(), order=">"),
        pcap(frame(), frame(), magic=0xA1B23C4D),
        pcap(frame()[14:], frame()[14:], link=101),
        pcap(bytes(14) + frame()[12:], bytes(14) + frame()[12:], link=113),
        pcapng(frame(), frame()),
        pcapng(frame(), frame(), order=">"),
    ],
    ids=["pcap", "big-endian", "nanoseconds", "raw", "any", "pcapng", "pcapng-big-endian"],
)
def test_captures_of_every_kind_are_read(tmp_path, content):
    file = tmp_path / "boot.pcap"
    file.write_bytes(content)
    found = read_datagrams(file)
    assert [(one.data, one.source_port, one.target) for one in found] == [
        (b"data", 67, A("10.0.0.2"))
    ] * 2
    assert [round(one.when) for one in found] == [1000, 1001]


def test_what_is_no_capture_is_one_line(tmp_path):
    file = tmp_path / "boot.pcap"
    with pytest.raises(CaptureError, match="No such file"):
        read_datagrams(file)
    for content in (b"", b"abc", b"#!/bin/sh\n" * 100):
        file.write_bytes(content)
        done = replay(file)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1


def test_a_broken_capture_gives_what_is_whole(tmp_path):
    file = tmp_path / "boot.pcap"
    chance = random.Random(7)
    for whole in (pcap(frame(), frame()), pcapng(frame(), frame())):
        for cut in range(24, len(whole), 7):
            file.write_bytes(whole[:cut])
            assert len(read_datagrams(file)) <= 2
        for _ in range(300):
            broken = bytearray(whole)
            for _ in range(5):
                broken[chance.randrange(4, len(broken))] = chance.randrange(256)
            file.write_bytes(broken)
            read_datagrams(file)


def test_a_machine_that_nobody_answers_is_told(tmp_path):
    """The capture that most want explained; nothing was said of it, with exit status 0."""
    mac = bytes.fromhex("525400123456")
    asks = frame(packet.encode(packet.Packet(xid=7, chaddr=mac, options={53: b"\1"})), 68, 67)
    leaves = packet.encode(packet.Packet(xid=8, chaddr=bytes(6), options={53: b"\7"}))
    file = tmp_path / "boot.pcap"
    file.write_bytes(pcap(asks, frame(leaves, 68, 67), asks))
    told = {"mac": "52:54:00:12:34:56", "requests": 2, "seconds": 2.0}
    found = facts(file)
    assert found["unanswered"] == [told]
    assert [one["code"] for one in found["findings"]] == ["unanswered"]
    shown = replay(file)
    assert shown.returncode == 0
    assert "52:54:00:12:34:56 asked 2 times in 2 s" in shown.stdout


def tell(tmp_path, content, *words):
    file = tmp_path / "boot.pcap"
    file.write_bytes(content)
    return facts(*words, file)


def codes(found):
    return [one["code"] for one in found["findings"]]


def transfers(found):
    (client,) = found["clients"]
    steps = client["boots"][0]["steps"]
    return [(one["name"], one["sent"], one["outcome"]) for one in steps if one["type"] != "step"]


def test_a_capture_that_ends_in_a_transfer_is_no_end_of_the_boot(tmp_path):
    capture = Capture()
    capture.lease()
    capture.fetch("loader.efi", EFI, blocks=3)
    found = tell(tmp_path, capture.write_pcap())
    assert transfers(found) == [("loader.efi", 3 * 512, "running")]
    assert (found["clients"][0]["state"], found["clients"][0]["verdict"]) == ("booting", None)
    assert codes(found) == ["capture-ends"]
    # the silence is in the capture: others speak for long after
    capture.pass_time(60)
    capture.ask(1, xid=9, mac=bytes.fromhex("525400000009"))
    client = next(
        one for one in tell(tmp_path, capture.write_pcap())["clients"] if "12:34" in one["mac"]
    )
    assert client["state"] == "failed"


def test_a_capture_that_ends_after_the_address_blames_nobody(tmp_path):
    capture = Capture()
    capture.lease()
    found = tell(tmp_path, capture.write_pcap())
    assert found["clients"][0]["verdict"] is None
    assert codes(found) == ["capture-ends"]
    capture.pass_time(60)
    capture.add_udp(OTHER, 5353, "224.0.0.251", 5353, b"x")
    (client,) = tell(tmp_path, capture.write_pcap())["clients"]
    assert client["verdict"]["name"] == "not-fetched"


def test_packets_that_are_cut_count_whole(tmp_path):
    """With tcpdump -s 96 a DHCP answer lost its options, a block seemed to be the last."""
    capture = Capture()
    capture.lease()
    capture.fetch("loader.efi", EFI[:5000])
    capture.pass_time(60)
    capture.ask(1, xid=9)
    found = tell(tmp_path, capture.write_pcap(snaplen=96))
    assert transfers(found) == [("loader.efi", 5000, "done")]
    assert "cut-packets" in codes(found)
    assert "unanswered" not in codes(found)
    assert "no-boot-file" not in [
        one["verdict"] and one["verdict"]["name"] for one in found["clients"]
    ]


def test_blocks_in_fragments_count_whole(tmp_path):
    capture = Capture()
    capture.lease()
    capture.fetch("loader.efi", EFI, size=8192, mtu=1480)
    found = tell(tmp_path, capture.write_pcap())
    assert transfers(found) == [("loader.efi", len(EFI), "done")]
    assert "fragments" in codes(found)


def test_packets_that_a_bridge_shows_twice_count_once(tmp_path):
    capture = Capture()
    capture.lease()
    capture.fetch("loader.efi", EFI[:5000])
    (client,) = tell(tmp_path, capture.write_pcap(copies=2))["clients"]
    (boot,) = client["boots"]
    assert [one["retransmissions"] for one in boot["steps"] if one["type"] == "transfer"] == [0]
    assert [one["count"] for one in boot["steps"] if one["type"] == "step"] == [1, 1]


def test_files_that_come_by_http_are_told(tmp_path):
    capture = Capture()
    capture.lease("http://10.7.0.1/loader.efi")
    capture.get("loader.efi", content=EFI)
    capture.get("vmlinuz", 404, b"<html>", port=4001)
    found = tell(tmp_path, capture.write_pcap())
    assert transfers(found) == [("loader.efi", len(EFI), "done")]
    verdict = found["clients"][0]["verdict"]
    assert (verdict["name"], "10.7.0.1" in verdict["advice"]) == ("missing-file", True)
    capture = Capture()
    capture.lease()
    capture.get("loader.efi", content=EFI, sent=5000)
    assert transfers(tell(tmp_path, capture.write_pcap())) == [("loader.efi", 5000, "running")]


def test_advice_speaks_of_the_server_of_the_capture(tmp_path):
    for file, name, who in (("", "no-boot-file", SERVER), ("loader.efi", "missing-file", SERVER)):
        capture = Capture()
        capture.lease(file)
        if file:
            capture.refuse("loader.efi")
        verdict = tell(tmp_path, capture.write_pcap())["clients"][0]["verdict"]
        assert verdict["name"] == name
        assert who in verdict["what"] + verdict["advice"]
        assert "[" not in verdict["what"] + verdict["advice"]


def test_a_file_server_that_the_capture_does_not_show_is_not_said_to_be_unasked(tmp_path):
    capture = Capture()
    capture.lease(next_server="10.7.9.9")
    capture.pass_time(60)
    capture.add_udp(OTHER, 5353, "224.0.0.251", 5353, b"x")
    (client,) = tell(tmp_path, capture.write_pcap())["clients"]
    assert client["verdict"]["name"] == "other-file-server"
    assert "10.7.9.9" in client["verdict"]["what"]


def test_a_client_that_asks_again_and_again_is_deaf_also_where_the_capture_ends(tmp_path):
    capture = Capture()
    for number in range(5):
        capture.ask(1, xid=number)
        capture.answer(2, xid=number)
        capture.pass_time(8)
    (client,) = tell(tmp_path, capture.write_pcap())["clients"]
    assert client["verdict"]["name"] == "answer-lost"
    assert SERVER in client["verdict"]["what"]


def test_a_client_that_falls_silent_while_its_server_repeats(tmp_path):
    capture = Capture()
    capture.lease()
    capture.fetch("loader.efi", EFI, blocks=5)
    for _ in range(5):
        capture.pass_time(5)
        capture.add_udp(SERVER, 3000, "10.7.0.100", 2000, b"\0\3\0\6" + bytes(512))
    assert transfers(tell(tmp_path, capture.write_pcap())) == [("loader.efi", 5 * 512, "silent")]


ETHERNET = bytes(12) + b"\x08\0"
WIFI = b"\x08\1" + bytes(22) + b"\xaa\xaa\3\0\0\0\x08\0"


@pytest.mark.parametrize(
    ("link", "head"),
    [
        (1, ETHERNET),
        (1, bytes(12) + b"\x81\0\0\5\x81\0\0\6\x08\0"),
        (1, bytes(12) + b"\x88\x64\x11\0\0\1\0\x40\0\x21"),
        (1, bytes(12) + b"\x88\x47\0\0\x11\x40"),
        (0, b"\2\0\0\0"),
        (108, b"\0\0\0\2"),
        (9, b"\xff\3\0\x21"),
        (51, b"\x11\0\0\1\0\x40\0\x21"),
        (104, b"\x0f\0\x08\0"),
        (105, WIFI),
        (127, b"\0\0\x09\0\0\0\0\0\0" + WIFI),
        (113, bytes(14) + b"\x08\0"),
        (276, b"\x08\0" + bytes(18)),
        (228, b""),
    ],
)
def test_link_types(tmp_path, link, head):
    capture = Capture()
    capture.lease()
    capture.refuse("loader.efi")
    content = capture.write_pcap(link=link, head=head)
    for packed in (content, gzip.compress(content)):
        (client,) = tell(tmp_path, packed)["clients"]
        assert client["verdict"]["name"] == "missing-file"


def test_a_link_type_that_is_unknown_is_told(tmp_path):
    file = tmp_path / "boot.pcap"
    capture = Capture()
    capture.lease()
    file.write_bytes(capture.write_pcap(link=195))
    done = replay(file)
    assert done.returncode == 1
    assert "link type 195" in done.stderr


def test_absurd_times_are_no_traceback(tmp_path):
    """The unit of a pcapng's times may be anything from 1 s to 2^-127 s."""
    whole = pcapng(frame(packet.encode(packet.Packet(xid=7, chaddr=b"\2" * 6)), 68, 67))
    at = whole.index(struct.pack("<HHB", 9, 1, 9)) + 4
    for unit in (0, 1, 127, 128, 255):
        changed = bytearray(whole)
        changed[at] = unit
        found = tell(tmp_path, bytes(changed), "-c", write_ini(tmp_path))
        assert len(found["exchanges"]) == 1


def write_ini(tmp_path):
    (tmp_path / "boot").mkdir(exist_ok=True)
    (tmp_path / "pybootd.ini").write_text(INI)
    return tmp_path / "pybootd.ini"


LAST = b"the last datagram of the capture"


@pytest.fixture
def captured(network, tmp_path, monkeypatch):
    """Return a function that captures what a client does with a dnsmasq server."""
    # asked for option 67, dnsmasq leaves the file field empty, which our client reads
    monkeypatch.setattr(firmware_module, "_ASKED", bytes((1, 3, 6, 43, 54, 60, 97)))
    lan = network.switch()
    server, client = network.host("server"), network.host("client")
    server.plug(lan, "10.7.0.1/24")
    uuid = UUID("00112233-4455-6677-8899-aabbccddeeff")
    mac = "52:54:00:12:34:56"
    firmware = Firmware(client, client.plug(lan, mac=mac), mac, uuid, patience=5.0)
    root = tmp_path / "boot"
    root.mkdir()
    (root / "loader.efi").write_bytes(EFI)

    def capture(act, *more):
        process = server.popen(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"),
            *("--user=root", "--interface=eth0", "--no-ping", "--no-resolv", "--enable-tftp"),
            *(f"--tftp-root={root}", "--dhcp-range=10.7.0.150,10.7.0.160,255.255.255.0,600"),
            *(f"--pid-file={tmp_path}/pid", f"--dhcp-leasefile={tmp_path}/leases", *more),
            stderr=subprocess.DEVNULL,
        )
        file = tmp_path / "boot.pcap"
        dump = server.popen(
            # else its ring has room for some frames of 256 KiB, and it loses what comes quickly
            *("tcpdump", "-s", "2048", "-B", "8192"),
            *("-U", "--immediate-mode", "-i", "eth0", "-w", file, "udp"),
            stderr=subprocess.PIPE,
        )
        assert "listening" in dump.stderr.readline()
        while 67 not in server.udp_ports():
            assert process.poll() is None
        with contextlib.suppress(BootError):
            act(firmware)
        with server.inside(), socket.socket(type=socket.SOCK_DGRAM) as last:
            last.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            last.sendto(LAST, ("10.7.0.255", 9))
        deadline = time.monotonic() + 30
        while LAST not in file.read_bytes():  # then all before it is there too
            assert time.monotonic() < deadline
            time.sleep(0.02)
        dump.terminate()
        dump.communicate()
        return file

    return capture


@pytest.mark.net("dnsmasq", "tcpdump")
def test_a_boot_that_stopped_and_our_answers(captured, tmp_path):
    def boot(firmware):
        lease = firmware.obtain_lease()
        firmware.ask_size(lease.tftp_server, "loader.efi", 1468)
        firmware.fetch_file(lease.tftp_server, "loader.efi", blksize=1468)
        firmware.fetch_file(lease.tftp_server, "vmlinuz")

    file = captured(boot, "--dhcp-boot=loader.efi")
    (client,) = facts(file)["clients"]
    assert client["mac"] == "52:54:00:12:34:56"
    assert facts(file)["unanswered"] == []
    (shown,) = client["boots"]
    outcomes = [one["outcome"] for one in shown["steps"] if one["type"] == "transfer"]
    assert outcomes == ["probed", "done"]
    assert shown["verdict"]["name"] == "missing-file"
    assert "vmlinuz" in shown["verdict"]["what"]
    (tmp_path / "pybootd.ini").write_text(INI)
    found = facts("-c", tmp_path / "pybootd.ini", file)["exchanges"]
    assert [one["request"] for one in found] == ["DHCPDISCOVER", "DHCPREQUEST"]
    for exchange in found:
        (theirs,), ours = exchange["captured"], exchange["ours"]
        assert theirs["answer"] == ours["answer"]
        assert (theirs["yiaddr"], ours["yiaddr"]) == (client["address"], "10.7.0.100")
        assert theirs["file"] == ours["file"] == "loader.efi"
    text = replay("-c", tmp_path / "pybootd.ini", file).stdout
    for words in ("captured", "ours", client["address"], "10.7.0.100", "(kernel) is not there"):
        assert words in text


@pytest.mark.net("dnsmasq", "tcpdump")
def test_a_last_ack_that_is_missing_and_a_file_asked_for_twice(captured):
    def boot(firmware):
        lease = firmware.obtain_lease()
        with firmware.host.inside():
            one, other = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        with one, other:
            one.settimeout(5)
            for asking in (other, one):  # the first takes no notice of the answer
                asking.sendto(b"\0\1loader.efi\0octet\0", (str(lease.tftp_server), 69))
            data, peer = one.recvfrom(2048)
            while len(data) == 4 + 512:
                one.sendto(b"\0\4" + data[2:4], peer)
                data = one.recv(2048)

    (client,) = facts(captured(boot, "--dhcp-boot=loader.efi"))["clients"]
    (shown,) = client["boots"]
    ends = [(one["sent"], one["cause"]) for one in shown["steps"] if one["type"] == "transfer"]
    assert ends == [(0, ""), (len(EFI), "last-ack-missing")]
    assert client["verdict"] is None  # the capture ends there


@pytest.mark.net("dnsmasq", "tcpdump")
def test_a_server_that_names_no_file_and_the_wrong_one(captured, tmp_path):
    (client,) = facts(captured(lambda firmware: firmware.obtain_lease()))["clients"]
    assert client["verdict"]["name"] == "no-boot-file"


@pytest.mark.net("dnsmasq", "tcpdump")
def test_a_boot_file_of_another_architecture(captured, tmp_path):
    def boot(firmware):
        firmware.ARCHITECTURE = 11
        lease = firmware.obtain_lease()
        firmware.fetch_file(lease.tftp_server, "loader.efi", blksize=1468)

    file = captured(boot, "--dhcp-boot=loader.efi")
    (tmp_path / "pybootd.ini").write_text(INI)
    (client,) = facts("-c", tmp_path / "pybootd.ini", file)["clients"]
    assert client["verdict"]["name"] == "wrong-architecture"
