"""The DHCP servers that are measured side by side, each as its manual would have it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pybootd.lab.network import Host, which

SERVER = "10.7.0.1"
NETWORK = "10.7.0.0/16"
# the Python of another checkout's .venv: that build is measured beside this one, as "before"
BEFORE = os.environ.get("PYBOOTD_BEFORE", "")
FIRST, LAST, COUNT = "10.7.10.0", "10.7.169.255", 40_960
LEASE_TIME = 3600


@dataclass(frozen=True)
class Peer:
    """``prepare`` writes what the server needs into a folder and gives its command line."""

    name: str
    program: str
    prepare: Callable[[Path], list[str]]

    def missing(self) -> bool:
        return self.program != "pybootd" and which(self.program) is None

    def start(self, host: Host, folder: Path) -> subprocess.Popen[str]:
        """Start it on CPU 0 and return when port 67 is bound."""
        folder.mkdir(parents=True)
        log = (folder / "output").open("w")
        words = ["taskset", "-c", "0", *self.prepare(folder)]
        process = host.popen(*words, stdout=log, stderr=log, cwd=folder)
        log.close()
        deadline = time.monotonic() + 10
        # ISC dhcpd and Kea listen on packet sockets too: their lease file tells that they run
        while 67 not in host.udp_ports():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: {(folder / 'output').read_text()[-500:]}")
            time.sleep(0.05)
        return process


def pybootd(
    *, leases: str = "leases.db", python: str = sys.executable
) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        (folder / "pybootd.ini").write_text(
            f"[logger]\ntype = file\nfile = log\n"
            f"[bootp]\npool_start = {FIRST}\npool_count = {COUNT}\nallow_simple_dhcp = on\n"
            f"lease_time = {LEASE_TIME}\nleases = {leases}\n"
        )
        return [python, "-m", "pybootd", "-p", "-c", str(folder / "pybootd.ini")]

    return prepare


def dnsmasq(folder: Path) -> list[str]:
    return [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root",
        "--interface=eth0", "--bind-interfaces", "--no-ping", "--quiet-dhcp", "--no-resolv",
        "--dhcp-authoritative", f"--dhcp-lease-max={COUNT}", f"--pid-file={folder}/pid",
        f"--dhcp-range={FIRST},{LAST},255.255.0.0,{LEASE_TIME}",
        f"--dhcp-leasefile={folder}/leases",
    ]  # fmt: skip


def dhcpd(extra: str = "") -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        (folder / "leases").touch()
        (folder / "dhcpd.conf").write_text(
            f"authoritative; ping-check off; {extra}\n"
            f"default-lease-time {LEASE_TIME}; max-lease-time {LEASE_TIME};\n"
            f"subnet 10.7.0.0 netmask 255.255.0.0 {{ range {FIRST} {LAST};"
            f" option routers {SERVER}; }}\n"
        )
        return [
            "dhcpd", "-4", "-f", "-q", "-cf", f"{folder}/dhcpd.conf", "-lf", f"{folder}/leases",
            "-pf", f"{folder}/pid", "--no-pid", "eth0",
        ]  # fmt: skip

    return prepare


def kea(persist: bool) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        lease_file = {"name": str(folder / "leases.csv"), "lfc-interval": 0} if persist else {}
        config = {
            "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "udp"},
            "lease-database": {"type": "memfile", "persist": persist, **lease_file},
            "valid-lifetime": LEASE_TIME,
            "multi-threading": {"enable-multi-threading": False},
            "subnet4": [
                {
                    "id": 1,
                    "subnet": NETWORK,
                    "pools": [{"pool": f"{FIRST} - {LAST}"}],
                    "option-data": [{"name": "routers", "data": SERVER}],
                }
            ],
            "loggers": [
                {
                    "name": "kea-dhcp4",
                    "severity": "WARN",
                    "output_options": [{"output": str(folder / "log")}],
                }
            ],
        }
        (folder / "kea.json").write_text(json.dumps({"Dhcp4": config}))
        # Kea writes its pid and its lock where they stay in the folder
        paths = [f"KEA_PIDFILE_DIR={folder}", f"KEA_LOCKFILE_DIR={folder}"]
        return ["env", *paths, "kea-dhcp4", "-c", f"{folder}/kea.json"]

    return prepare


PEERS = (
    Peer("pybootd", "pybootd", pybootd()),
    *([Peer("before", "pybootd", pybootd(python=BEFORE))] if BEFORE else []),
    Peer("pybootd, memory", "pybootd", pybootd(leases="memory")),
    Peer("dnsmasq", "dnsmasq", dnsmasq),
    Peer("ISC dhcpd", "dhcpd", dhcpd()),
    Peer("ISC dhcpd, delayed-ack", "dhcpd", dhcpd("delayed-ack 28; max-ack-delay 5000;")),
    Peer("Kea, memfile", "kea-dhcp4", kea(persist=True)),
    Peer("Kea, no persistence", "kea-dhcp4", kea(persist=False)),
)
