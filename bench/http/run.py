"""HTTP servers side by side: one large file to many clients, and many small ones.

``run.py [--repeat N] [--json FILE]``. Everything happens on the loopback of a network namespace,
the servers on CPU 0, the load on CPU 1. Each repetition goes round all servers, so that whatever
else the machine does strikes them alike; medians are shown, and ratios within this run. Where
``nginx`` isn't installed its Debian package is unpacked for the run, which starts no service.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pybootd.lab.network import Host, Network, which

HERE = Path(__file__).parent
ADDRESS, PORT = "127.0.0.1", 8080
# the Python of another checkout's .venv: that build is measured beside this one, as "before"
BEFORE = os.environ.get("PYBOOTD_BEFORE", "")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """A file of ``size`` octets, fetched ``requests`` times by so many clients at once."""

    name: str
    size: int
    clients: int
    requests: int
    keep: bool

    @property
    def file(self) -> str:
        return f"file-{self.size}"


CASES = (
    Case("20 MB to 50 clients", 20_000_000, 50, 100, False),
    # http.server lets 5 connections wait: more would measure how long a SYN takes to be sent again
    Case("4 KiB, 5 clients, a connection each", 4096, 5, 4000, False),
    Case("4 KiB, 5 clients, connections kept", 4096, 5, 2000, True),
)


def pybootd(folder: Path, root: Path, keep: bool) -> list[str]:
    (folder / "pybootd.ini").write_text(
        f"[logger]\ntype = file\nfile = log\n[tftp]\nroot = {root}\n"
        f"[httpd]\naddress = {ADDRESS}\nport = {PORT}\n"
    )
    return [sys.executable, "-m", "pybootd", "-t", "-H", "-c", str(folder / "pybootd.ini")]


def before(folder: Path, root: Path, keep: bool) -> list[str]:
    return [BEFORE, *pybootd(folder, root, keep)[1:]]


def nginx(folder: Path, root: Path, keep: bool) -> list[str]:
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;\n"
        "user root; events { worker_connections 1024; }\n"
        f"http {{ access_log {folder}/log; sendfile on; tcp_nopush on; keepalive_requests 100000;\n"
        + "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"server {{ listen {ADDRESS}:{PORT} backlog=512; root {root}; }} }}\n"
    )
    return [str(folder.parent / "nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def http_server(folder: Path, root: Path, keep: bool) -> list[str]:
    version = "HTTP/1.1" if keep else "HTTP/1.0"
    words = ["-m", "http.server", "--bind", ADDRESS, "--directory", str(root), "-p", version]
    return [sys.executable, *words, str(PORT)]


SERVERS: dict[str, Callable[[Path, Path, bool], list[str]]] = {
    "pybootd": pybootd,
    **({"before": before} if BEFORE else {}),
    "nginx": nginx,
    "http.server": http_server,
}


def unpack_nginx(folder: Path) -> str:
    """Return nginx's path, "" where it can't be had."""
    folder.mkdir()
    folder.chmod(0o777)  # apt downloads as its own user
    download = ("apt-get", "download", "-qq", "nginx")
    try:
        subprocess.run(download, cwd=folder, check=True, capture_output=True)
        for package in folder.glob("*.deb"):
            subprocess.run(("dpkg", "-x", package, folder), check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    path = folder / "usr" / "sbin" / "nginx"
    return str(path) if path.exists() else ""


class Server:
    """A server that runs on CPU 0 of the host until the block ends."""

    def __init__(self, host: Host, command: list[str], log: Path) -> None:
        self.host = host
        self.command = ["taskset", "-c", "0", *command]
        self.log = log

    def __enter__(self) -> "Server":
        with self.log.open("w") as log:
            self.process = self.host.popen(*self.command, stdout=log, stderr=log)
        listening = f":{PORT:04X} 00000000:0000 0A"
        deadline = time.monotonic() + 20
        while listening not in Path(f"/proc/{self.host.pid}/net/tcp").read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command}: {self.log.read_text()[-1000:]}")
            time.sleep(0.05)
        time.sleep(0.2)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(10)

    def cpu(self) -> float:
        """Return the seconds of CPU that it and its children have used, those that ended too."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total = 0
        for each in (str(pid), *children):
            # proc(5): utime, stime, cutime, cstime are the fields 14 to 17
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
        return total / TICK


def measure(server: Server, load: Path, root: Path, case: Case) -> dict[str, float]:
    """Let the load run once and return what it and the server's CPU say."""
    words = ("/" + case.file, root / case.file, case.clients, case.requests, int(case.keep))
    before = server.cpu()
    ran = server.host.run(
        "taskset", "-c", "1", load, ADDRESS, str(PORT), *map(str, words), timeout=120
    )
    spent = server.cpu() - before
    found = json.loads(ran.stdout)
    return {
        "cpu_s_per_gb": spent / found["octets"] * 1e9,
        "cpu_us_per_request": spent / found["answers"] * 1e6,
        "mb_per_s": found["octets"] / found["seconds"] / 1e6,
        "requests_per_s": found["answers"] / found["seconds"],
    }


Results = dict[str, dict[str, list[dict[str, float]]]]


def rounds(host: Host, folder: Path, names: list[str], repeat: int) -> Results:
    """Measure every case with every server, one after the other, ``repeat`` times."""
    load, root = folder / "load", folder / "root"
    subprocess.run(["cc", "-O2", "-Wall", "-o", load, HERE / "load.c"], check=True)
    root.mkdir()
    for case in CASES:
        (root / case.file).write_bytes(os.urandom(case.size))
    results: Results = {case.name: {name: [] for name in names} for case in CASES}
    for turn in range(repeat):
        for case in CASES:
            for name in names:
                own = folder / f"{name}-{turn}-{case.file}-{case.keep}"
                own.mkdir()
                command = SERVERS[name](own, root, case.keep)
                with Server(host, command, own / "output") as server:
                    results[case.name][name].append(measure(server, load, root, case))
    return results


def table(results: Results) -> str:
    """Show the medians, and each server's CPU and rate as a multiple of pybootd's."""
    lines = []
    for case, servers in results.items():
        lines += ["", f"{case:38} CPU s/GB  CPU us/req     MB/s  requests/s   CPU   rate"]
        middle = {
            name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            for name, runs in servers.items()
        }
        own = middle["pybootd"]
        for name, found in middle.items():
            cpu = own["cpu_us_per_request"] / found["cpu_us_per_request"]
            rate = own["requests_per_s"] / found["requests_per_s"]
            lines.append(
                f"  {name:36} {found['cpu_s_per_gb']:8.3f} {found['cpu_us_per_request']:11.1f}"
                f" {found['mb_per_s']:8.0f} {found['requests_per_s']:11.0f} {cpu:5.2f} {rate:6.2f}"
            )
    return "\n".join([*lines, "", "CPU, rate: pybootd's as a multiple of this server's"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the raw data here")
    options = parser.parse_args()
    with Network() as network, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = which("nginx") or unpack_nginx(folder / "packages")
        if program:
            (folder / "nginx").symlink_to(program)
        names = [name for name in SERVERS if name != "nginx" or program]
        results = rounds(network.host("bench"), folder, names, options.repeat)
    print(table(results))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
