"""An hour of mixed boots in minutes, over a bad network: what the daemon holds before and after.

``run.py [--boots N] [--at-once N] [--loss P] ...``. Everything happens in a private network: the
daemon, a web server that its remote files come from, a middle box that loses, repeats and
delays frames, and behind it the machines.
"""

import argparse
import collections
import ctypes
import fcntl
import hashlib
import json
import os
import queue
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.soak.clients import RELAY, SERVER, WAYS, Machine, Relay, Tally
from pybootd.lab.firmware import BootError
from pybootd.lab.network import Host, Network

HERE = Path(__file__).parent
TOP = HERE.parents[1]
ORIGIN = "10.7.0.9"
MACHINES = 100
SHARES = (30, 20, 20, 15, 10, 5)  # of the ways, in their order
SIZES = {"boot.efi": 150_000, "kernel": 600_000, "initrd": 1_500_000}
SETTLED = 75.0  # longer than an HTTP connection may idle, or an offer is held
INI = f"""
[bootp]
pool_start = 10.7.8.0
pool_count = 200
lease_time = 60
reclaim = expired
leases = ./leases.db
allow_simple_dhcp = on
boot_file = boot.efi
conflict_check = off
[tftp]
root = ./files
[httpd]
enable = yes
[filters]
mirror/kernel = http://{ORIGIN}:8000/kernel
mirror/initrd = http://{ORIGIN}:8000/initrd
[status]
port = 0
"""
# linux/ethtool.h: what a card would do to a packet, which no frame passed on by a program may need
SIOCETHTOOL, OFFLOADS = 0x8946, (0x17, 0x1F, 0x24)  # transmit checksums, TSO, GSO


def without_offload(host: Host) -> None:
    """Let the host's eth0 send frames as they are on a cable."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        for command in OFFLOADS:
            value = (ctypes.c_uint32 * 2)(command, 0)
            wanted = struct.pack("16sP16x", b"eth0", ctypes.addressof(value))
            fcntl.ioctl(sock, SIOCETHTOOL, wanted)


class Daemon:
    """The daemon, counted."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.counts = folder / "counts.json"
        self.log = (folder / "log").open("w")
        words = [sys.executable, HERE / "counted.py", folder / "pybootd.ini", self.counts]
        self.process = host.popen(*words, stderr=self.log, cwd=TOP, env={"PYTHONPATH": str(TOP)})
        until = time.monotonic() + 20
        while not host.udp_ports() >= {67, 69}:
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.05)

    def count(self) -> dict[str, float]:
        """Ask the daemon what it holds."""
        self.counts.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        until = time.monotonic() + 10
        while not self.counts.exists():
            if time.monotonic() > until:
                raise SystemExit("the daemon does not answer")
            time.sleep(0.05)
        return json.loads(self.counts.read_text())


def build(network: Network, folder: Path, options: argparse.Namespace) -> tuple[Host, Host]:
    """Make the network and its files; return the daemon's host and the machines'."""
    near, far = network.switch("near"), network.switch("far")
    server, box, clients = (network.host(name) for name in ("server", "box", "clients"))
    origin = network.host("origin")
    server.plug(near, f"{SERVER}/16")
    origin.plug(near, f"{ORIGIN}/16")
    box.plug(near)
    box.plug(far)
    clients.plug(far, f"{RELAY}/16")
    clients.ip("link", "set", "dev", "lo", "up")
    # every address that may be leased is the machines' host's own
    clients.ip("route", "add", "local", "10.7.8.0/24", "dev", "lo")
    without_offload(server)
    without_offload(clients)
    rates = (options.loss, options.repeated, options.late)
    shares = [str(percent / 100) for percent in rates]
    box.popen(sys.executable, HERE / "box.py", *shares, str(options.seed))
    files = folder / "files"
    files.mkdir()
    for name, size in SIZES.items():
        (files / name).write_bytes(random.Random(name).randbytes(size))
    (folder / "pybootd.ini").write_text(INI)
    origin.popen(
        *(sys.executable, "-m", "http.server", "8000", "--directory", files),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return server, clients


def boot_all(machines: list[Machine], count: int, at_once: int, seed: int) -> Tally:
    """Boot so many times, each time a machine that isn't booting already."""
    tally, free = Tally(), queue.SimpleQueue[Machine]()
    for machine in machines:
        free.put(machine)
    left = iter(range(count))

    def work() -> None:
        while True:
            with tally.lock:
                number = next(left, None)
            if number is None:
                return
            chance = random.Random(f"{seed} {number}")
            how = chance.choices(list(WAYS), SHARES)[0]
            machine = free.get()
            try:
                machine.boot(how, chance)
            except BootError as error:
                with tally.lock:
                    tally.errors.append(f"{how}: {error} ({machine.address})")
            with tally.lock:
                tally.done[how] = tally.done.get(how, 0) + 1
                tally.octets += machine.octets
            free.put(machine)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def main() -> int:
    """Run it; 1 when a boot failed or the daemon holds more than it did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boots", type=int, default=1000, help="in each of the rounds (1000)")
    parser.add_argument("--rounds", type=int, default=3, help="(3; the first one warms up)")
    parser.add_argument("--at-once", type=int, default=40, help="machines booting at a time (40)")
    parser.add_argument("--loss", type=float, default=1.0, help="percent of all frames (1)")
    parser.add_argument("--repeated", type=float, default=1.0, help="percent (1)")
    parser.add_argument("--late", type=float, default=2.0, help="percent (2)")
    parser.add_argument("--seed", type=int, default=os.getpid(), help="of all chance")
    parser.add_argument("--settle", type=float, default=SETTLED, help="seconds (75)")
    parser.add_argument("--log", type=Path, help="keep what the daemon said")
    options = parser.parse_args()
    rows: list[tuple[str, dict[str, float]]] = []
    done, errors, octets = collections.Counter[str](), list[str](), 0
    with tempfile.TemporaryDirectory() as temporary, Network() as network:
        folder = Path(temporary)
        server, clients = build(network, folder, options)
        daemon = Daemon(server, folder)
        files = {
            name: hashlib.sha256((folder / "files" / name).read_bytes()).hexdigest()
            for name in SIZES
        }
        relay = Relay(clients)
        machines = [Machine(number, clients, relay, files) for number in range(MACHINES)]
        while not daemon.count()["watched"]:  # its ports are bound before they are watched
            time.sleep(0.1)
        rows.append(("started", daemon.count()))
        for number in range(options.rounds):
            began = time.monotonic()
            tally = boot_all(machines, options.boots, options.at_once, options.seed + number)
            took = time.monotonic() - began
            done.update(tally.done)
            errors, octets = errors + tally.errors, octets + tally.octets
            rows.append((f"{options.boots} boots in {took:.0f} s", daemon.count()))
        time.sleep(options.settle)
        rows.append(("settled", daemon.count()))
        said = (folder / "log").read_text()
        if options.log:
            options.log.write_text(said)
    return report(rows, done, errors, octets, said)


def report(
    rows: list[tuple[str, dict[str, float]]],
    done: collections.Counter[str],
    errors: list[str],
    octets: int,
    said: str,
) -> int:
    """Print the table, and what went wrong."""
    columns = list(rows[0][1])
    width = max(len(name) for name, _ in rows)
    rule = "  ".join(["=" * width, *("=" * max(8, len(column)) for column in columns)])
    print(rule)
    print("  ".join(["when".ljust(width), *(column.rjust(8) for column in columns)]))
    print(rule)
    for name, counts in rows:
        cells = (f"{counts[column]:g}".rjust(max(8, len(column))) for column in columns)
        print("  ".join([name.ljust(width), *cells]))
    print(rule)
    print("\n".join(f"{how}: {count}" for how, count in sorted(done.items())))
    print(f"{octets / 1e6:.0f} MB arrived and were right; {len(errors)} boots failed")
    for error, count in collections.Counter(errors).most_common(10):
        print(f"{count} times {error}")
    crashes = said.count("Traceback")
    print(f"{crashes} tracebacks in the daemon's log")
    first, last = rows[0][1], rows[-1][1]
    warm = rows[1][1]
    same = all(last[key] <= first[key] for key in ("descriptors", "watched", "timers", "threads"))
    steady = last["rss"] <= warm["rss"] * 1.1
    print("all is as it was" if same and steady else "it holds more than it did")
    return int(bool(errors) or bool(crashes) or not (same and steady))


if __name__ == "__main__":
    sys.exit(main())
