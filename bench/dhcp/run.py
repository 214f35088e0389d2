"""DHCP servers side by side: rates, CPU, storms, memory, and whether an ACK waits for the disk.

perfdhcp (Kea's) plays the clients, through its own relay, in a private network; the server has
CPU 0, the load CPU 1. Every repetition goes round all servers, so that what else the machine does
falls on all of them; the table shows medians. Needs root and Debian's kea-admin, strace, and the
servers themselves.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from peers import PEERS, SERVER, Peer

from pybootd.lab.network import Network

STEPS = (250, 375, 562, 844, 1265, 1898, 2500, 3200, 4000)
SECONDS = 4  # a step of the ladder
STORM = 1000  # clients that start at once
CROWD = 10_000  # leases for the memory row
TICKS = os.sysconf("SC_CLK_TCK")


class Bench:
    """One server in its own private network, and perfdhcp beside it."""

    def __init__(self, peer: Peer, folder: Path, network: Network) -> None:
        lan = network.switch()
        self.server, self.client = network.host("server"), network.host("client")
        self.server.plug(lan, f"{SERVER}/16")
        self.client.plug(lan, "10.7.0.2/16")
        self.process = peer.start(self.server, folder)
        self.round = 0

    def cpu(self) -> float:
        """Return the seconds of CPU that the server and its ended children have used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS

    def rss(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def perfdhcp(self, *words: str, timeout: float = 60) -> str:
        self.round += 1
        mac = f"mac=02:00:{self.round:02x}:00:00:00"
        command = ("taskset", "-c", "1", "perfdhcp", "-4", "-b", mac, *words, SERVER)
        return self.client.run(*command, check=False, timeout=timeout).stdout

    def step(self, rate: int, seconds: int = SECONDS) -> dict[str, float]:
        """Offer ``rate`` exchanges a second; tells what came back and what it cost."""
        before = self.cpu()
        output = self.perfdhcp(
            "-r", str(rate), "-R", str(rate * seconds), "-p", str(seconds), "-W", "1000000"
        )
        spent = self.cpu() - before
        sent = [int(number) for number in re.findall(r"sent packets: (\d+)", output)]
        got = [int(number) for number in re.findall(r"received packets: (\d+)", output)]
        done = got[-1]
        return {
            "rate": rate,
            "drops": 1 - done / max(1, sent[0]),
            # perfdhcp itself may not have kept up
            "offered": sent[0] / seconds,
            "cpu_ms": 1000 * spent / max(1, done),
        }

    def storm(self) -> float:
        """Start a thousand clients at once; seconds until the last one has its address."""
        output = self.perfdhcp("--scenario", "avalanche", "-R", str(STORM), timeout=120)
        found = re.search(r"It took (\d\d):(\d\d):(\d\d\.?\d*)", output)
        if not found:
            raise RuntimeError(output)
        return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])

    def crowd(self) -> float:
        """Give ten thousand addresses; the server's memory then, in MiB."""
        rate = 300
        self.perfdhcp(
            "-r", str(rate), "-R", str(CROWD), "-n", str(CROWD), "-W", "1000000", timeout=90
        )
        return self.rss()

    def syncs(self) -> str:
        """Tell whether the last REQUEST read and its ACK sent have a sync to disk in between."""
        trace = Path(tempfile.mkstemp(suffix=".strace")[1])
        calls = "trace=recvmsg,recvfrom,sendmsg,sendto,fsync,fdatasync"
        strace = self.server.popen(
            "strace", "-f", "-e", calls, "-s", "400", "-x", "-o", trace,
            "-p", str(self.process.pid),
        )  # fmt: skip
        time.sleep(0.5)
        self.perfdhcp("-r", "50", "-R", "10", "-n", "10", "-W", "1000000")
        strace.terminate()
        strace.wait(10)
        lines = trace.read_text().splitlines()
        trace.unlink()
        return _durable(lines)


def _durable(lines: list[str]) -> str:
    """Walk a trace: option 53 with value 3 comes in, a sync, value 5 goes out."""
    synced, each = False, []
    for line in lines:
        if re.search(r"\b(fsync|fdatasync)\b", line):
            synced = True
        elif re.search(r"\brecv", line) and re.search(r"\\x35\\x01\\x03|5\\1\\3", line):
            synced = False
        elif re.search(r"\bsend", line) and re.search(r"\\x35\\x01\\x05|5\\1\\5", line):
            each.append(synced)
    if not each:
        return "?"
    return "every ACK" if all(each) else "never" if not any(each) else "some"


def measure(peer: Peer, root: Path, number: int) -> dict[str, Any]:
    """Take every measurement of one server once."""
    found: dict[str, Any] = {"steps": []}
    folder = root / f"{re.sub(r'[^a-z]+', '-', peer.name.lower())}{number}"
    with Network() as network:
        bench = Bench(peer, folder / "ladder", network)
        for rate in STEPS:
            step = bench.step(rate)
            found["steps"].append(step)
            if rate == STEPS[0]:  # all servers' cost is compared here, too, if they get that far
                found |= {"rate": 0, "cpu_ms": step["cpu_ms"], "cpu_ms_slow": step["cpu_ms"]}
            if step["drops"] >= 0.01 or step["offered"] < 0.9 * rate:
                break
            found["rate"], found["cpu_ms"] = rate, step["cpu_ms"]
    with Network() as network:
        bench = Bench(peer, folder / "storm", network)
        found["storm"] = bench.storm()
        if number == 0:
            found["syncs"] = bench.syncs()
    if number == 0:
        with Network() as network:
            found["rss"] = Bench(peer, folder / "crowd", network).crowd()
    return found


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Write the medians as the README shows them."""
    slow = f"at {STEPS[0]}/s"
    head = ("server", "DORA/s", "CPU ms/DORA", slow, f"{STORM} at once, s", "RSS MiB", "synced")
    rows = [head]
    for name, runs in results.items():
        median = {
            key: statistics.median(run.get(key, 0) for run in runs)
            for key in ("rate", "cpu_ms", "cpu_ms_slow", "storm")
        }
        rows.append(
            (
                name,
                f"{median['rate']:.0f}" if median["rate"] else f"under {STEPS[0]}",
                f"{median['cpu_ms']:.2f}",
                f"{median['cpu_ms_slow']:.2f}",
                f"{median['storm']:.1f}",
                f"{runs[0]['rss']:.0f}",
                runs[0]["syncs"],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rule = " ".join("=" * width for width in widths)
    lines = [" ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join((rule, lines[0], rule, *lines[1:], rule))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="repetitions (3)")
    parser.add_argument("--only", default="", help="servers whose name fits this expression")
    parser.add_argument(
        "--json", type=Path, default=Path(".cache/bench-dhcp.json"), help="raw data"
    )
    options = parser.parse_args()
    chosen = [peer for peer in PEERS if re.search(options.only, peer.name)]
    results: dict[str, list[dict[str, Any]]] = defaultdict(list)
    # a real disk: a sync into memory proves nothing
    root = Path(tempfile.mkdtemp(prefix="bench-dhcp-", dir="/var/tmp"))
    try:
        for number in range(options.repeat):
            for peer in chosen:
                if peer.missing():
                    print(f"{peer.name}: not installed", file=sys.stderr)
                    continue
                found = measure(peer, root, number)
                results[peer.name].append(found)
                print(number, peer.name, {k: v for k, v in found.items() if k != "steps"})
    finally:
        shutil.rmtree(root)
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1))
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
