"""How long a DHCP client waits for its OFFER while a hundred others fetch files from the daemon.

Prints the median and the 99th percentile of DISCOVER to OFFER, of the idle daemon and of the busy
one. The load is that of the case w1.
"""

import argparse
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.tftp.cases import CASES
from bench.tftp.run import ADDRESS, HERE, Bench, wire
from pybootd.dhcp4.wire.packet import BROADCAST_FLAG, Packet, decode, encode
from pybootd.lab.network import Host

INI = """
[logger]
type = file
file = {scratch}/dhcp.log
[bootp]
pool_start = 10.9.0.100
leases = memory
boot_file = boot
conflict_check = off
[tftp]
root = {root}
"""


def ask(sock: socket.socket, count: int, pause: float = 0.01) -> list[float]:
    """Send DISCOVERs one after the other; return the milliseconds that each OFFER took."""
    found = []
    for number in range(count):
        packet = Packet(xid=number + 1, flags=BROADCAST_FLAG, chaddr=b"\x52\x54\0\0\0\1")
        packet.options[53] = b"\1"
        packet.options[60] = b"PXEClient:Arch:00000:UNDI:002001"
        packet.options[93] = b"\0\0"
        start = time.perf_counter()
        sock.sendto(encode(packet), ("255.255.255.255", 67))
        while decode(sock.recv(2000)).xid != number + 1:
            continue
        found.append((time.perf_counter() - start) * 1000)
        time.sleep(pause)
    return found


def show(what: str, times: list[float]) -> None:
    times.sort()
    p99 = times[int(len(times) * 0.99)]
    print(f"{what:8} median {statistics.median(times):6.2f} ms, 99 % within {p99:6.2f} ms")


def client(host: Host) -> socket.socket:
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
    sock.bind(("0.0.0.0", 68))
    sock.settimeout(10)
    return sock


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / ".cache" / "bench-tftp")
    options = parser.parse_args()
    bench, case = Bench(options.folder.absolute()), CASES["w1"]
    bench.compile()
    bench.files(case, slow=False)
    random.seed(1)
    ini = bench.scratch / "dhcp.ini"
    ini.write_text(INI.format(scratch=bench.scratch, root=bench.root))
    with wire() as hosts, client(hosts[1]) as sock:
        words = (sys.executable, "-m", "pybootd", "-c", ini)
        daemon = hosts[0].popen("taskset", "-c", "0", *words)
        while not {67, 69} <= hosts[0].udp_ports():
            time.sleep(0.05)
        ask(sock, 20)
        show("idle", ask(sock, options.count))
        storm = ["-s", ADDRESS, "-r", str(bench.root), *case.arguments(slow=False), "-m", "100000"]
        load = hosts[1].popen("taskset", "-c", "1", bench.load, *storm, stdout=subprocess.DEVNULL)
        time.sleep(1.0)
        show("busy", ask(sock, options.count))
        load.kill()
        load.wait()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
