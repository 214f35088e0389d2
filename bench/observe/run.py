"""Measure what watching costs: a thousand machines boot, with people looking on and without.

In each repetition the same load runs twice: with ``[status] port = 0``, and with the page, the API
and the metrics asked each second and two viewers on the stream, who are there before it begins. The
daemon has CPU 0, the load and those who look have CPU 1. Prints medians and keeps the raw data.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Host, Network

ROOT = Path(__file__).parents[2]
SERVER, CLIENTS, FIRST = "10.9.0.1", 1000, "10.10.0.1"
PATHS = ("/", "/api/clients", "/api/clients?search=10.10.1", "/metrics", f"/api/clients/{FIRST}")
INI = "[tftp]\nroot = ./boot\n[logger]\nlevel = error\n[status]\nport = {port}\n"


class Viewers:
    """Asks every path once a second, and follows the stream twice; ``took`` has seconds by path."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.took: dict[str, list[float]] = {path: [] for path in PATHS}
        self.streamed = 0
        self._ended = threading.Event()
        threads = (self._ask, self._follow, self._follow)
        self._threads = [threading.Thread(target=one) for one in threads]

    def __enter__(self) -> "Viewers":
        self._look(self._connect())  # the first look loads what answers, once for all
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _connect(self) -> http.client.HTTPConnection:
        made = http.client.HTTPConnection("127.0.0.1", 8067, timeout=5)
        with self.host.inside():
            made.connect()
        return made

    def _ask(self) -> None:
        connection = self._connect()
        while not self._ended.wait(1.0):
            for path, took in self._look(connection).items():
                self.took[path].append(took)
        connection.close()

    @staticmethod
    def _look(connection: http.client.HTTPConnection) -> dict[str, float]:
        """Ask every path once; seconds that the answers took."""
        found = {}
        for path in PATHS:
            began = time.monotonic()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                found[path] = time.monotonic() - began
        return found

    def _follow(self) -> None:
        connection = self._connect()
        connection.request("GET", "/api/events")
        answer = connection.getresponse()
        while not self._ended.is_set():
            self.streamed += len(answer.read1(65536))
        connection.close()


def run(server: Host, load: list[str], client: Host, folder: Path, port: int) -> dict[str, Any]:
    """Run the load once; what it took."""
    ini = folder / "pybootd.ini"
    ini.write_text(INI.format(port=port))
    with DaemonProcess(server, ini, folder / "log", (69,), "-t") as daemon:
        os.sched_setaffinity(daemon.pid, {0})
        viewers = Viewers(server) if port else None
        if viewers:
            viewers.__enter__()
        try:
            before = cpu(daemon.pid)
            done = client.run(*load, timeout=300, check=False)
            used = cpu(daemon.pid) - before
        finally:
            if viewers:
                viewers.__exit__()
        found: dict[str, Any] = json.loads(done.stdout)
        found |= {"cpu": used, "memory": peak(daemon.pid)}
        if viewers:
            found["took"] = viewers.took
            found["streamed"] = viewers.streamed
        return found


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def peak(pid: int) -> float:
    """Return the most memory that a process had resident, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--window", type=int, default=4)
    parser.add_argument("--transfers", type=int, default=12000)
    parser.add_argument("--output", type=Path, default=ROOT / ".cache/bench-observe.json")
    given = parser.parse_args()
    os.sched_setaffinity(0, {1})
    results = []
    with tempfile.TemporaryDirectory() as name, Network() as network:
        folder = Path(name)
        (folder / "boot").mkdir()
        (folder / "boot" / "file").write_bytes(os.urandom(1_000_000))
        program = folder / "load"
        subprocess.run(["cc", "-O2", "-o", program, ROOT / "bench/tftp/load.c"], check=True)
        switch = network.switch()
        server, client = network.host("server"), network.host("client")
        server.plug(switch, f"{SERVER}/24")
        client.plug(switch, "10.9.0.2/24")
        client.ip("route", "add", "local", "10.10.0.0/16", "dev", "lo")
        server.ip("route", "add", "10.10.0.0/16", "via", "10.9.0.2")
        load = [str(program), "-s", SERVER, "-r", str(folder / "boot"), "-n", str(CLIENTS)]
        load += ["-m", str(given.transfers), "-b", "1468", "-w", str(given.window), "-a", FIRST]
        for number in range(given.repeat):
            pair = {}
            for port in (0, 8067) if number % 2 == 0 else (8067, 0):
                pair["watched" if port else "alone"] = run(server, load, client, folder, port)
            results.append(pair)
            show(pair)
    given.output.parent.mkdir(exist_ok=True)
    given.output.write_text(json.dumps(results, indent=1))
    ratios = [pair["alone"]["seconds"] / pair["watched"]["seconds"] for pair in results]
    print(f"throughput, watched against alone: median {statistics.median(ratios):.3f}")
    for path in PATHS:
        took = sorted(one for pair in results for one in pair["watched"]["took"][path])
        at = took[min(len(took) - 1, len(took) * 99 // 100)]
        print(f"{path:32} median {took[len(took) // 2] * 1e3:6.1f} ms, 99 % {at * 1e3:6.1f} ms,"
              f" worst {took[-1] * 1e3:6.1f} ms ({len(took)})")  # fmt: skip
    return 0


def show(pair: dict[str, Any]) -> None:
    for name, one in pair.items():
        print(
            f"{name:8} {one['seconds']:6.2f} s, {one['bytes'] / one['seconds'] / 1e6:6.1f} MB/s,"
            f" CPU {one['cpu']:5.2f} s, {one['memory']:.0f} MB, {one['done']} done,"
            f" {one['failed']} failed, {one['wrong']} wrong"
        )


if __name__ == "__main__":
    sys.exit(main())
