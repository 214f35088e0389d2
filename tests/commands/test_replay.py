"""pybootd replay on captures of boots that dnsmasq served, and on files that are none."""

import contextlib
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

from pybootd.commands.replay.pcap import CaptureError, read_capture
from pybootd.dhcp4.wire import packet
from pybootd.lab import firmware as firmware_module
from pybootd.lab.firmware import BootError, Firmware

EFI = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0\x64\x86" + bytes(30_000)
INI = """\
[bootp]
pool_start = 10.7.0.100
[bootfile]
efi-x86_64 = loader.efi
[tftp]
root = ./boot
"""


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
    found = list(read_capture(file))
    assert [(one.data, one.source_port, one.target) for one in found] == [
        (b"data", 67, A("10.0.0.2"))
    ] * 2
    assert [round(one.when) for one in found] == [1000, 1001]


def test_what_is_no_capture_is_one_line(tmp_path):
    file = tmp_path / "boot.pcap"
    with pytest.raises(CaptureError, match="No such file"):
        list(read_capture(file))
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
            assert len(list(read_capture(file))) <= 2
        for _ in range(300):
            broken = bytearray(whole)
            for _ in range(5):
                broken[chance.randrange(4, len(broken))] = chance.randrange(256)
            file.write_bytes(broken)
            list(read_capture(file))


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
    assert client["verdict"]["name"] == "stopped"


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
