"""Measure TFTP servers side by side, and print the table.

Each server runs alone, on CPU 0 and in its own network namespace; the load runs on CPU 1, in
another namespace, at the other end of a veth pair. CPU time is the server's cgroup's (children and
softirq included) where the system has one. Ratios are taken within one repetition; the table has
medians.
"""

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.tftp.cases import CASES, FLOORS, Case, Target
from bench.tftp.servers import SERVERS, Server, set_up
from pybootd.lab.network import Host, Network, NetworkError

HERE = Path(__file__).parent
ADDRESS = "10.9.0.1"
Record = dict[str, Any]


class Account:
    """Counts what a process and its children use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = 0.0
        self._folder: Path | None = None
        for base, counter in (("cpuacct", "cpuacct.usage"), ("", "cpu.stat")):
            folder = Path("/sys/fs/cgroup") / base / f"pybootd-bench-{os.getpid()}-{pid}"
            try:
                folder.mkdir()
                if (folder / counter).exists():
                    (folder / "cgroup.procs").write_text(str(pid))
                    self._folder = folder
                    return
                folder.rmdir()
            except OSError:
                continue

    def pids(self) -> list[int]:
        if self._folder is None:
            return [self.pid]
        return [int(line) for line in (self._folder / "cgroup.procs").read_text().split()]

    def cpu(self) -> float:
        """Return the seconds used so far."""
        if self._folder is None:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        if (self._folder / "cpuacct.usage").exists():
            return int((self._folder / "cpuacct.usage").read_text()) / 1e9
        return int((self._folder / "cpu.stat").read_text().split()[1]) / 1e6

    def sample(self) -> None:
        """Note the memory that all the processes have resident now, in MB."""
        resident = 0
        for pid in self.pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("VmHWM:" if len(self.pids()) == 1 else "VmRSS:"):
                    resident += int(line.split()[1])
        self.peak = max(self.peak, resident * 1024 / 1e6)

    def close(self) -> None:
        if self._folder is not None:
            for _ in range(50):
                try:
                    self._folder.rmdir()
                except OSError:
                    time.sleep(0.05)
                else:
                    return


@contextmanager
def wire() -> Iterator[tuple[Host, Host]]:
    """Make two hosts with a cable between them."""
    with Network() as network:
        server, client = network.host("server"), network.host("client")
        peer = ("peer", "name", "eth0", "netns", str(client.pid))
        server.ip("link", "add", "eth0", "type", "veth", *peer)
        for host, address in ((server, ADDRESS), (client, "10.9.0.2")):
            host.ip("address", "add", f"{address}/24", "dev", "eth0")
            host.ip("link", "set", "dev", "eth0", "up")
        yield server, client


@contextmanager
def serving(
    host: Host, server: Server, peers: Path, root: Path, scratch: Path
) -> Iterator[Account]:
    with (scratch / "said").open("w") as said:
        command = server.command(peers, root, scratch)
        process = host.popen("taskset", "-c", "0", *command, stdout=said, stderr=said)
        account = Account(process.pid)
        try:
            deadline = time.monotonic() + 20
            while 69 not in host.udp_ports():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NetworkError(f"{server.name}: {(scratch / 'said').read_text()}")
                time.sleep(0.02)
            time.sleep(0.3)
            yield account
        finally:
            for pid in account.pids():
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    continue
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pid in account.pids():
                os.kill(pid, signal.SIGKILL)
            account.close()


class Bench:
    """The files, the peers and the load generator, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.scratch = folder / "scratch"
        self.peers = folder / "peers"
        self.load = folder / "load"
        for made in (self.root, self.scratch):
            made.mkdir(parents=True, exist_ok=True)

    def compile(self) -> None:
        for name in ("load", "floor"):
            source, made = HERE / f"{name}.c", self.load.with_name(name)
            if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
                subprocess.run(["cc", "-O2", "-o", str(made), str(source)], check=True)

    def files(self, case: Case, slow: bool) -> None:
        for number in range(case.files):
            path = self.root / f"{case.size_for(slow)}.{number}"
            if not path.exists():
                path.write_bytes(random.Random(number).randbytes(case.size_for(slow)))

    def measure(self, case: Case, server: Server, hosts: tuple[Host, Host]) -> Record:
        self.files(case, server.slow)
        words = ["taskset", "-c", "1", self.load, "-s", ADDRESS, "-r", self.root]
        with serving(hosts[0], server, self.peers, self.root, self.scratch) as account:
            before = account.cpu()
            process = hosts[1].popen(*words, *case.arguments(server.slow), stdout=subprocess.PIPE)
            deadline = time.monotonic() + 180
            while process.poll() is None and time.monotonic() < deadline:
                account.sample()
                time.sleep(0.05)
            process.kill()
            said, _ = process.communicate()
            used = account.cpu() - before
            account.sample()
        record: Record = json.loads(said) if said else {"done": 0, "blocks": 0, "seconds": 180}
        record |= {"cpu": round(used, 6), "rss": round(account.peak, 1)}
        record["us/block"] = round(used / max(1, record["blocks"]) * 1e6, 3)
        record["MB/s"] = round(record.get("bytes", 0) / record["seconds"] / 1e6, 3)
        record["files/s"] = round(record["done"] / record["seconds"], 2)
        return record


def ratio(target: Target, records: list[Record]) -> float | None:
    """Our figure over the peer's, within each repetition; their median."""
    found = []
    for repetition in {record["repetition"] for record in records}:
        figures = {
            record["server"]: record[target.figure]
            for record in records
            if record["repetition"] == repetition
            and record["done"]
            and record["server"] not in (*FLOORS, "before")
        }
        ours = figures.pop("pybootd", None)
        pick = min if target.small_is_good else max
        theirs = pick(figures.values(), default=None)
        if target.peer != "best":
            theirs = figures.get(target.peer)
        if ours and theirs:
            found.append(ours / theirs)
    return statistics.median(found) if found else None


def table(records: list[Record]) -> str:
    lines = []
    for case in CASES.values():
        own = [record for record in records if record["case"] == case.name]
        if not own:
            continue
        lines += ["", case.title, ""]
        head = f"    {'':10} {'us/block':>9} {'MB/s':>8} {'files/s':>9} {'RSS MB':>7}"
        lines.append(head + f" {'again':>7} {'failed':>6}")
        for name in case.servers:
            runs = [record for record in own if record["server"] == name]
            if runs:
                lines.append("    " + row(name, runs))
        for target in case.targets:
            found = ratio(target, own)
            if found is not None:
                what = f"{target.figure} over {target.peer}'s"
                aim = f"must {target.must}, goal {target.goal}"
                lines.append(f"    {what}: {found:.2f} ({aim}): {target.met(found)}")
        for record in own:
            if record["server"] == "pybootd":
                lines += [f"    limit: {fault}" for fault in case.limits(record)]
    return "\n".join(lines)


def row(name: str, runs: list[Record]) -> str:
    def median(figure: str) -> float:
        return statistics.median(run.get(figure, 0) for run in runs)

    return (
        f"{name:10} {median('us/block'):9.2f} {median('MB/s'):8.1f} {median('files/s'):9.1f}"
        f" {median('rss'):7.1f} {median('client_resent'):7.0f} {median('failed'):6.0f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help="which, by commas")
    parser.add_argument("--servers", default=",".join(SERVERS), help="which, by commas")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / ".cache" / "bench-tftp")
    parser.add_argument("--json", type=Path, help="where the raw records go")
    parser.add_argument("--show", type=Path, help="print the table of raw records, measure nothing")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())["records"]))
        return 0
    bench = Bench(options.folder.absolute())
    set_up(bench.peers)
    bench.compile()
    servers, records = options.servers.split(","), []
    with wire() as hosts:
        for name in options.cases.split(","):
            case = CASES[name]
            for repetition in range(options.repeat):
                for server in (one for one in case.servers if one in servers and one in SERVERS):
                    if repetition and SERVERS[server].slow:
                        continue
                    record = {"case": name, "server": server, "repetition": repetition}
                    record |= bench.measure(case, SERVERS[server], hosts)
                    record["busy"] = os.getloadavg()[0]
                    records.append(record)
                    print(json.dumps(record), file=sys.stderr, flush=True)
    made = {"machine": platform.platform(), "python": platform.python_version()}
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n  ".join(json.dumps(record) for record in records)
        head = json.dumps(made)[:-1]
        options.json.write_text(f'{head}, "records": [\n  {lines}\n]}}\n')
    print(table(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
