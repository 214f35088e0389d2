"""Whole boots while strangers flood the server; what they get out of it, beside two peers."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.firmware import BootError, FileNotServed, Firmware
from pybootd.lab.machine import Machine
from pybootd.lab.network import which
from tests.net.test_flood import ATTACK

from .verdicts import faults

pytestmark = [pytest.mark.boot, pytest.mark.timeout(400)]

MAC = "52:54:00:12:34:56"
BOOTS, DESKS = 20, 4  # whole boots, and how many go on at a time
HALF_OPEN = 500
PATIENCE = 5.0
INI = """\
[bootp]
pool_start = 10.7.0.100
pool_count = 200
netmask = 255.255.0.0
leases = ./leases.db
[bootfile]
bios = pxelinux.0
efi-x86_64 = loader.efi
[tftp]
root = ./root
"""
# requests from 500 ports of ten addresses that read what comes, and never acknowledge it
OPEN = textwrap.dedent(
    """
    import selectors, socket, sys, time
    server, count = sys.argv[1], int(sys.argv[2])
    request = b"\\0\\1pxelinux.0\\0octet\\0"
    selector, heard, sent, got = selectors.DefaultSelector(), {}, 0, 0
    for number in range(count):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((f"10.7.1.{number % 10 + 1}", 0))
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
        heard[sock] = 0.0
    answered, began = set(), time.monotonic()
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        now = time.monotonic()
        for sock in [one for one, when in heard.items() if now - when > 8]:
            sent += sock.sendto(request, (server, 69))
            heard[sock] = now
        for key, _ in selector.select(0.2):
            if key.fileobj is sys.stdin:
                print(sent, got, len(answered), flush=True)
                sys.exit()
            try:
                while True:
                    got += len(key.fileobj.recv(65536))
                    answered.add(key.fileobj)
                    heard[key.fileobj] = time.monotonic()
            except OSError:
                pass
    """
)


def memory(pid, field):
    """Return a figure of /proc/PID/status or smaps_rollup, in MB."""
    for file in ("status", "smaps_rollup"):
        with contextlib.suppress(OSError):
            found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text())
            if found:
                return int(found[1]) * 1024 / 1e6
    return 0.0


@dataclass
class Siege:
    """Half-open requests to a server, from their own host."""

    host: object
    server: str

    def __enter__(self):
        words = (sys.executable, "-c", OPEN, self.server, str(HALF_OPEN))
        pipe = subprocess.PIPE
        self.process = self.host.popen(*words, stdin=pipe, stdout=pipe)
        return self

    def __exit__(self, *_):
        self.sent, self.got, self.answered = map(
            int, self.process.communicate("\n", timeout=30)[0].split()
        )

    @property
    def factor(self):
        return self.got / self.sent


def mac(number):
    return f"52:54:00:aa:00:{number:02x}"


def lease_of(host, mac, uuid):
    """Get an address for a MAC, as firmware does; it waits longer, 60 s altogether."""
    host.ip("address", "flush", "dev", "eth0")
    firmware = Firmware(host, "eth0", mac, uuid, patience=PATIENCE)
    return firmware, firmware.obtain_lease()


def boot(host, number, root):
    """Do what firmware and boot loader do; every byte is compared. Returns the address."""
    firmware, lease = lease_of(host, mac(number), UUID(int=number + 1))
    assert lease.boot_file == "loader.efi"
    firmware.ask_size(lease.tftp_server, "loader.efi", 1468)
    with contextlib.suppress(FileNotServed):
        firmware.fetch_file(lease.tftp_server, f"loader.cfg-01-{number}", blksize=1408, tsize=0)
    for name in ("loader.efi", "loader.cfg", "kernel", "initrd"):
        got = firmware.fetch_file(lease.tftp_server, name, tsize=0, blksize=1408, windowsize=16)
        there = (root / name).read_bytes()
        assert hashlib.sha256(got).digest() == hashlib.sha256(there).digest(), name
    return lease.address


@pytest.fixture
def peers(network, lan, tmp_path):
    """Start dnsmasq and tftpd-hpa on their own hosts; their names, addresses and processes."""
    for program in ("dnsmasq", "in.tftpd"):
        if which(program) is None:
            pytest.skip(f"not installed: {program}")
    root = tmp_path / "peer"
    root.mkdir()
    (root / "pxelinux.0").write_bytes(bytes(50_000))
    commands = {
        "dnsmasq": (
            *("dnsmasq", "-k", "--port=0", "--conf-file=/dev/null", "--user=root"),
            *("--enable-tftp", f"--tftp-root={root}", "--tftp-max=2000", "--log-facility=-"),
            *(f"--pid-file={tmp_path}/pid", f"--dhcp-leasefile={tmp_path}/leases"),
            "--dhcp-range=10.7.0.100,10.7.1.43,255.255.0.0",
        ),
        "tftpd-hpa": ("in.tftpd", "-L", "-a", "0.0.0.0:69", "-u", "root", "-s", str(root)),
    }
    made = []
    far = network.switch("far")
    for number, (name, words) in enumerate(commands.items()):
        host = network.host(name)
        host.plug(far, f"10.7.0.{number + 1}/16")
        process = host.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        made.append((name, host, f"10.7.0.{number + 1}", process))
    return far, made


def stranger(network, switch, name):
    """Make a host with ten addresses to send from."""
    host = network.host(name)
    host.plug(switch, *(f"10.7.1.{number + 1}/16" for number in range(10)))
    return host


@contextlib.contextmanager
def flood(host, server, seconds):
    """Send DISCOVERs of ever new MACs as fast as it goes, to the server's MAC.

    As broadcasts they would reach every machine, and an emulated one does nothing else then.
    """
    target = server.mac().replace(":", "")
    pipe, words = subprocess.PIPE, (target, "dhcp", str(seconds), "inf")
    process = host.popen(sys.executable, "-c", ATTACK, *words, stdout=pipe)
    assert process.stdout.readline() == "go\n"
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def arrived(host):
    """Count the frames that the host's interface has taken in."""
    (link,) = json.loads(host.ip("-json", "-stats", "link", "show", "dev", "eth0"))
    return link["stats64"]["rx"]["packets"]


def boots(hosts, root):
    """Boot machines on all hosts at the same time; address by number, and what went wrong."""
    addresses, problems, left = {}, [], list(range(BOOTS))

    def work(host):
        with contextlib.suppress(IndexError):
            while True:
                number = left.pop()
                try:
                    addresses[number] = boot(host, number, root)
                except BootError as error:
                    problems.append(f"{number}: {error}")

    threads = [threading.Thread(target=work, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return addresses, problems


def test_whole_boots_while_strangers_flood(installer_tree, network, lan, peers, tmp_path):
    far, others = peers
    root = tmp_path / "root"
    shutil.copytree(installer_tree, root, copy_function=os.link)
    for name, size in (("loader.efi", 1 << 20), ("loader.cfg", 99), ("kernel", 2 << 20)):
        (root / name).write_bytes(os.urandom(size))
    (root / "initrd").write_bytes(os.urandom(4 << 20))
    # a tenth of it: on two cores that strangers and server fill the emulated PC is slow
    (given,) = root.glob("**/initrd.gz")
    begin = given.read_bytes()[: 4 << 20]
    given.unlink()
    given.write_bytes(begin)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(INI)
    server = network.host("server")
    server.plug(lan, "10.7.0.1/16")
    hosts = [network.host(f"desk{number}") for number in range(DESKS)]
    for host in hosts:
        host.plug(lan)
    near_by, far_off = stranger(network, lan, "stranger"), stranger(network, far, "far off")
    with DaemonProcess(server, ini, tmp_path / "log") as daemon, contextlib.ExitStack() as sieges:
        known = [lease_of(hosts[0], mac(n), UUID(int=n + 1))[1].address for n in range(BOOTS)]
        lease_of(hosts[0], MAC, UUID("00112233-4455-6677-8899-aabbccddeeff"))
        siege = sieges.enter_context(Siege(near_by, "10.7.0.1"))
        theirs = [sieges.enter_context(Siege(far_off, address)) for _, _, address, _ in others]
        before, began = arrived(server), time.monotonic()
        with (
            flood(near_by, server, 300),
            Machine("bios", lan, tmp_path / "pc", MAC) as machine,
        ):
            addresses, problems = boots(hosts, root)
            booted = time.monotonic() - began
            print(f"{len(addresses)} boots in {booted:.1f} s; {problems}")
            # the kernel and its initrd have come: what follows needs no network
            seconds = machine.wait_for_line("Linux version", timeout=200)
            print(f"QEMU: Linux starts after {seconds:.1f} s")
        took = time.monotonic() - began
        rate = (arrived(server) - before) / took
        held = memory(daemon.pid, "VmHWM")
        hpa = sum(memory(pid, "Pss") for pid in others[1][1].processes())
        with flood(far_off, others[0][1], 300):
            time.sleep(3)
        dnsmasq = memory(others[0][3].pid, "VmHWM")
        sieges.close()
        print(f"a flood of {rate:.0f} DISCOVERs a second for {took:.0f} s")
        print(f"{'':10} octets sent, got; factor; peak memory")
        for name, one, most in (
            ("pybootd", siege, held),
            ("dnsmasq", theirs[0], dnsmasq),
            ("tftpd-hpa", theirs[1], hpa),
        ):
            print(f"{name:10} {one.sent:11} {one.got:9} {one.factor:6.1f} {most:6.1f} MB")
        assert not problems
        assert [addresses[number] for number in range(BOOTS)] == known
        assert siege.answered == HALF_OPEN
        assert siege.factor <= 3 * 516 / 19 + 1  # three packets for each request
        assert held < 150
        # before the flood it only took an address; that it did not boot then is right
        assert [one["name"] for one in faults(server, MAC)] == ["not-fetched"]
    said = (tmp_path / "log").read_text()
    assert "known clients go first" in said
    assert "Traceback" not in said
