"""A stranger sends as fast as it can: known machines go on booting, and the daemon stays small."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.lab.daemon_process import DaemonProcess

pytestmark = pytest.mark.net("curl")

INI = """
[bootp]
pool_start = 192.168.1.100
pool_count = 60
leases = ./leases.db
boot_file = pxelinux.0
[tftp]
root = ./files
"""
# to a MAC, DISCOVERs of ever new MACs or requests for files from ever new addresses and ports
ATTACK = textwrap.dedent(
    """
    import itertools, os, socket, struct, sys, time
    from ipaddress import IPv4Address as A
    from pybootd.dhcp4.wire.ethernet import encode_datagram
    from pybootd.dhcp4.wire.packet import Packet, encode
    target, kind, seconds = bytes.fromhex(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    rate = float(sys.argv[4])  # packets a second, at most
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind(("eth0", 0))
    wide = socket.inet_aton("255.255.255.255")
    frames = []
    for number in range(20_000):
        mac = b"\\x52\\x66" + os.urandom(4)
        if kind == "dhcp":
            packet = Packet(xid=number, chaddr=mac)
            packet.options |= {53: b"\\1", 60: b"PXEClient:Arch:00000:UNDI:002001", 93: bytes(2)}
            data = encode_datagram(encode(packet), A("0.0.0.0"), A("255.255.255.255"), 68, 67)
            frames.append(target + mac + b"\\x08\\0" + data)
        else:
            source = A("192.168.1.200") + number % 50
            request = b"\\0\\1pxelinux.0\\0octet\\0"
            data = encode_datagram(request, source, A("192.168.1.1"), 1024 + number, 69)
            frames.append(target + mac + b"\\x08\\0" + data)
    print("go", flush=True)
    begin, sent = time.monotonic(), 0
    end = begin + seconds
    for frame in itertools.cycle(frames):
        try:
            wire.send(frame)
        except OSError:  # no buffer is free: as fast as it goes
            time.sleep(0.001)
        sent += 1
        if not sent & 15:
            now = time.monotonic()
            if now > end:
                break
            time.sleep(max(0, begin + sent / rate - now))
    print(sent)
    """
)


def memory(pid):
    """Return what the process takes, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.fixture
def lan(network):
    """Make a server, a client and a stranger on one switch."""
    switch = network.switch()
    hosts = {"server": "1/24", "client": "9/24", "stranger": "66/24"}
    made = [network.host(name) for name in hosts]
    for host, address in zip(made, hosts.values(), strict=True):
        host.plug(switch, f"192.168.1.{address}")
    return made


def boot(firmware, client, number):
    """Boot a machine: an address, asked for until there is one, and its boot file."""
    mac = f"52:54:00:00:00:{number:02x}"
    uuid = UUID(int=number + 1)
    for _ in range(8):
        ack = firmware.boot(mac, uuid, 1.0)
        if ack is not None:
            break
    assert ack is not None, mac
    got = client.run(
        *("curl", "-s", "--max-time", "20", "tftp://192.168.1.1/pxelinux.0"), check=False
    )
    assert got.stdout == "boot me" * 300, mac
    return ack.yiaddr


def test_newcomers_get_an_address_in_a_flood(lan, firmware, tmp_path):
    """Two thousand new MACs a second ask for a pool of 200; a machine repeats as firmware does.

    Beyond what the daemon can read the system drops packets, a genuine machine's like any other.
    """
    server, _, stranger = lan
    (tmp_path / "files").mkdir()
    (tmp_path / "pybootd.ini").write_text(
        INI.replace("100\npool_count = 60", "10\npool_count = 200")
    )
    with DaemonProcess(server, tmp_path / "pybootd.ini", tmp_path / "log") as daemon:
        small = memory(daemon.pid)
        attacker = stranger.popen(
            *(sys.executable, "-c", ATTACK, "ff" * 6, "dhcp", "60", "2000"),
            stdout=subprocess.PIPE,
        )
        assert attacker.stdout.readline() == "go\n"
        time.sleep(1.0)  # by now every address has been offered
        given, tries = {}, []
        for number in range(5):
            mac = f"52:54:00:00:01:{number:02x}"
            for wait in (1, 2, 4, 8, 16):  # iPXE's; UEFI repeats after 4, 8, 16 and 32 s
                ack = firmware.boot(mac, UUID(int=number + 1), float(wait))
                if ack is not None:
                    break
            assert ack is not None, f"{mac}: {given}"
            assert ack.options[53] == b"\5"
            given[mac] = ack.yiaddr
            tries.append(wait)
        assert attacker.poll() is None, "the flood was over before the last of them came"
        attacker.terminate()
        attacker.communicate(timeout=10)
        grown = memory(daemon.pid) - small
        print(f"the last patience of each, in s: {tries}; {grown} kB more")
        assert len(set(given.values())) == 5
        assert grown < 40_000
        # what was confirmed stays
        assert firmware.boot("52:54:00:00:01:00", UUID(int=1), 10.0).yiaddr in given.values()
        assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("kind", ["dhcp", "tftp"])
def test_known_machines_boot_in_a_flood(lan, firmware, tmp_path, kind):
    server, client, stranger = lan
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "pxelinux.0").write_bytes(b"boot me" * 300)
    (tmp_path / "pybootd.ini").write_text(INI)
    with DaemonProcess(server, tmp_path / "pybootd.ini", tmp_path / "log") as daemon:
        before = [boot(firmware, client, number) for number in range(20)]
        small = memory(daemon.pid)
        target = "ff" * 6 if kind == "dhcp" else server.mac().replace(":", "")
        attacker = stranger.popen(
            *(sys.executable, "-c", ATTACK, target, kind, "4", "1e9"),
            stdout=subprocess.PIPE,
        )
        assert attacker.stdout.readline() == "go\n"
        assert [boot(firmware, client, number) for number in range(20)] == before
        sent = int(attacker.communicate(timeout=30)[0])
        grown = memory(daemon.pid) - small
        log = (tmp_path / "log").stat().st_size
        print(f"{kind}: {sent} packets, {grown} kB more, {log} octets of log")
        assert grown < 40_000
        assert log < 2_000_000
        assert "Traceback" not in (tmp_path / "log").read_text()
