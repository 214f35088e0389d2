"""Several daemons with one lease database: a storm in which things fail, and what a lease costs.

``storm``: three daemons, clients that all start at once behind two relays, one in five with a file
to fetch by TFTP, a daemon killed, PostgreSQL stopped and started; the table says who answered what
when, and who sent how much. ``rates``: pybootd with a file and with PostgreSQL, and Kea with its
memfile and with PostgreSQL, each in turn, the servers with their database on CPU 0, perfdhcp on
CPU 1; medians. Needs root and Debian's postgresql, kea-admin and kea-dhcp4-server. PostgreSQL runs
in its own folder, on a real disk, durable.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
sys.path[:0] = [str(TOP), str(TOP / "bench" / "dhcp")]

import peers  # noqa: E402
import run as dhcp  # noqa: E402

from pybootd.lab.network import Network  # noqa: E402
from pybootd.leases.shared import admin  # noqa: E402
from tests.net.shared_site import SERVERS, Site  # noqa: E402
from tests.postgres import Cluster  # noqa: E402

STEPS = (250, 375, 562, 844, 1265, 1898, 2500, 3200)


def storm(cluster: Cluster, root: Path, options: argparse.Namespace) -> dict[str, Any]:
    folder = root / "storm"
    folder.mkdir()
    size = int(options.size * 1e6)
    with Site(cluster, folder, options.clients, boots=options.boots, size=size) as site:
        done = site.storm(options.outage, patience=180)
        faults = site.faults()
        print(site.table())
        print(f"\n{site.files.phases(site.marks, SERVERS)}")
        one = sum(len(set(client.told)) == 1 for client in site.clients)
        found = {
            "clients": options.clients,
            "done": done,
            "with exactly one address": one,
            "addresses given": len({a for client in site.clients for a in client.told}),
            "offers of another address": sum(crowd.differed for crowd in site.crowds),
            "refused": sum(crowd.refused for crowd in site.crowds),
            "faults": faults,
        } | files(site)
    for number in range(3):
        text = (folder / f"{number}.log").read_text().splitlines()
        print(f"\ndaemon {number + 1} said:")
        print("\n".join([line for line in text if "refused" not in line][:12]))
    print()
    for name, value in found.items():
        print(f"{name}: {value}")
    return found


def files(site: Site) -> dict[str, Any]:
    """Tell how the files fared, and whether transfers noticed that the database was stopped."""
    stopped = next(when for when, what in site.marks if "stopped" in what)
    living = [one for one in site.files.during(stopped) if one.server != SERVERS[site.killed]]
    ends = Counter(one.how for one in site.files.all)
    return {
        "clients that boot": sum(client.boots for client in site.clients),
        "with a whole file": len(site.files.having),
        "transfers cut off by the kill, fetched again": ends["failed"],
        "transfers with a wrong byte": ends["wrong"],
        "transfers under way when PostgreSQL stopped": len(living),
        "of these whole": sum(one.how == "whole" for one in living),
        "longest silence of one, s": max((one.silence for one in living), default=0.0),
    }


class Bench(dhcp.Bench):
    """The same with the database's CPU beside the server's."""

    cluster: Cluster | None = None

    def database_cpu(self) -> float:
        """Return the seconds of CPU of the database's processes, the ended ones too."""
        if self.cluster is None:
            return 0.0
        total, first = 0.0, self.cluster.pid
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(path.parent.name)
            if pid == first:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == first:
                total += sum(map(int, fields[11:13]))
        return total / dhcp.TICKS

    def step(self, rate: int, seconds: int = dhcp.SECONDS) -> dict[str, float]:
        before = self.database_cpu()
        found = super().step(rate, seconds)
        spent = self.database_cpu() - before
        done = found["offered"] * seconds * (1 - found["drops"])
        return found | {"db_ms": 1000 * spent / max(1.0, done)}


def kea_postgresql(cluster: Cluster) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        name = re.search(r"/(\w+)\?", cluster.create())[1]  # type: ignore[index]
        access = ["-u", "postgres", "-p", "", "-n", name, "-h", str(cluster.folder)]
        done = subprocess.run(
            ["kea-admin", "db-init", "pgsql", *access], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        words = peers.kea(persist=True)(folder)
        config = json.loads((folder / "kea.json").read_text())
        config["Dhcp4"]["lease-database"] = {
            "type": "postgresql",
            "name": name,
            "user": "postgres",
            "host": str(cluster.folder),
        }
        (folder / "kea.json").write_text(json.dumps(config))
        return words

    return prepare


def pybootd_postgresql(cluster: Cluster) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        url = cluster.create()
        admin.migrate_database(url)
        return peers.pybootd(leases=f"{url}\nlease_copy = copy.db")(folder)

    return prepare


def servers(cluster: Cluster) -> list[tuple[peers.Peer, Cluster | None]]:
    return [
        (peers.Peer("pybootd, SQLite", "pybootd", peers.pybootd()), None),
        (peers.Peer("pybootd, PostgreSQL", "pybootd", pybootd_postgresql(cluster)), cluster),
        (peers.Peer("Kea, memfile", "kea-dhcp4", peers.kea(persist=True)), None),
        (peers.Peer("Kea, PostgreSQL", "kea-dhcp4", kea_postgresql(cluster)), cluster),
    ]


def ladder(peer: peers.Peer, cluster: Cluster | None, folder: Path) -> dict[str, float]:
    """Offer more until more than 1 % is dropped; the last step before that."""
    found = {"rate": 0.0, "cpu_ms": 0.0, "db_ms": 0.0}
    with Network() as network:
        bench = Bench(peer, folder, network)
        bench.cluster = cluster
        for rate in STEPS:
            step = bench.step(rate)
            if step["drops"] >= 0.01 or step["offered"] < 0.9 * rate:
                break
            if rate == STEPS[0]:
                found |= {"cpu_slow": step["cpu_ms"], "db_slow": step["db_ms"]}
            found |= {"rate": rate, "cpu_ms": step["cpu_ms"], "db_ms": step["db_ms"]}
    return found


def rates(cluster: Cluster, root: Path, repeat: int, only: str) -> dict[str, Any]:
    subprocess.run(["taskset", "-a", "-p", "-c", "0", str(cluster.pid)], check=True, stdout=-3)
    results: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number in range(repeat):
        for peer, database in servers(cluster):
            if peer.missing() or not re.search(only, peer.name):
                continue
            folder = root / f"{re.sub('[^a-z]+', '-', peer.name.lower())}{number}"
            found = ladder(peer, database, folder)
            results[peer.name].append(found)
            print(number, peer.name, found, flush=True)
    keys = ("rate", "cpu_ms", "db_ms", "cpu_slow", "db_slow")
    print(f"\n{'server':24}{'DORA/s':>8}{'ms/DORA':>9}{'database':>9}  at {STEPS[0]}/s: both")
    for name, runs in results.items():
        rate, cpu, db, cpu_slow, db_slow = (
            statistics.median(run.get(key, 0.0) for run in runs) for key in keys
        )
        print(f"{name:24}{rate:8.0f}{cpu:9.2f}{db:9.2f}{cpu_slow:9.2f}{db_slow:9.2f}")
    return dict(results)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["storm", "rates"], help="storm, rates (both)")
    parser.add_argument("--clients", type=int, default=5000, help="of the storm (5000)")
    parser.add_argument("--outage", type=float, default=20.0, help="seconds (20)")
    parser.add_argument("--boots", type=int, default=5, help="each how many-th fetches a file (5)")
    parser.add_argument("--size", type=float, default=8.0, help="of the file, MB (8)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of the rates (3)")
    parser.add_argument("--only", default="", help="servers whose name fits this expression")
    parser.add_argument("--json", type=Path, default=Path(".cache/bench-scale.json"))
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="bench-scale-", dir="/var/tmp"))
    results: dict[str, Any] = {}
    try:
        with Cluster("/var/tmp", durable=True) as cluster:
            if "storm" in options.what:
                results["storm"] = storm(cluster, root, options)
            if "rates" in options.what:
                results["rates"] = rates(cluster, root, options.repeat, options.only)
    finally:
        shutil.rmtree(root)
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    os.chdir(TOP)
    sys.exit(main())
