"""The servers that the rows are tried on, all set up alike. It prints the scoreboard when run."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pybootd.lab.network import Host, Network, which

from .dhcp_rows_reported import ROWS
from .dhcp_wire import COUNT, FIRST, LEASE_TIME, MAX_LEASE_TIME, NEXT_SERVER, SERVER, Wire, wired

LAST = FIRST + COUNT - 1


def pybootd_ini(folder: Path) -> str:
    return f"""
[bootp]
pool_start = {FIRST}
pool_count = {COUNT}
allow_simple_dhcp = on
identity = client-id
authoritative = yes
conflict_check = off
lease_time = {LEASE_TIME}
max_lease_time = {MAX_LEASE_TIME}
leases = {folder}/leases.db
gateway = {SERVER}
dns = 1.1.1.1, 8.8.8.8
domain = example.com
next_server = {NEXT_SERVER}
boot_file = boot.file
"""


def pybootd(folder: Path) -> list[str]:
    (folder / "pybootd.ini").write_text(pybootd_ini(folder))
    return [sys.executable, "-m", "pybootd", "-p", "-c", str(folder / "pybootd.ini")]


def dnsmasq(folder: Path) -> list[str]:
    return [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root",
        "--interface=eth0", "--no-ping", "--dhcp-authoritative", "--bootp-dynamic", "--no-resolv",
        f"--dhcp-range={FIRST},{LAST},255.255.0.0,{LEASE_TIME}", f"--pid-file={folder}/pid",
        f"--dhcp-option=3,{SERVER}", "--dhcp-option=6,1.1.1.1,8.8.8.8", "--domain=example.com",
        f"--dhcp-boot=boot.file,,{NEXT_SERVER}", f"--dhcp-leasefile={folder}/leases",
        "--dhcp-lease-max=5000",
    ]  # fmt: skip


def dhcpd(folder: Path) -> list[str]:
    (folder / "leases").touch()
    (folder / "dhcpd.conf").write_text(
        f"authoritative; ping-check off; allow bootp; allow booting;\n"
        f"default-lease-time {LEASE_TIME}; max-lease-time {MAX_LEASE_TIME};\n"
        f'option domain-name-servers 1.1.1.1, 8.8.8.8; option domain-name "example.com";\n'
        f'next-server {NEXT_SERVER}; filename "boot.file";\n'
        f"subnet 10.7.0.0 netmask 255.255.0.0 {{ range dynamic-bootp {FIRST} {LAST};"
        f" option routers {SERVER}; }}\n"
    )
    return [
        "dhcpd", "-4", "-f", "-cf", f"{folder}/dhcpd.conf", "-lf", f"{folder}/leases",
        "--no-pid", "eth0",
    ]  # fmt: skip


def kea(folder: Path) -> list[str]:
    hooks = sorted(Path("/usr/lib").glob("*/kea/hooks/libdhcp_bootp.so"))
    config = {
        "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "raw"},
        "lease-database": {"type": "memfile", "persist": False},
        "authoritative": True,
        "valid-lifetime": LEASE_TIME,
        "max-valid-lifetime": MAX_LEASE_TIME,
        "min-valid-lifetime": 1,
        "calculate-tee-times": True,
        "hooks-libraries": [{"library": str(hook)} for hook in hooks],
        "next-server": str(NEXT_SERVER),
        "boot-file-name": "boot.file",
        "option-data": [
            {"name": "domain-name-servers", "data": "1.1.1.1, 8.8.8.8"},
            {"name": "domain-name", "data": "example.com"},
        ],
        "subnet4": [
            {
                "id": 1,
                "subnet": "10.7.0.0/16",
                "pools": [{"pool": f"{FIRST} - {LAST}"}],
                "option-data": [{"name": "routers", "data": str(SERVER)}],
            }
        ],
        "loggers": [{"name": "kea-dhcp4", "severity": "WARN"}],
    }
    (folder / "kea.json").write_text(json.dumps({"Dhcp4": config}))
    paths = [f"KEA_PIDFILE_DIR={folder}", f"KEA_LOCKFILE_DIR={folder}"]
    return ["env", *paths, "kea-dhcp4", "-c", f"{folder}/kea.json"]


SERVERS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "pybootd": ("sh", pybootd),
    "dnsmasq": ("dnsmasq", dnsmasq),
    "dhcpd": ("dhcpd", dhcpd),
    "kea": ("kea-dhcp4", kea),
}


def start(host: Host, words: list[str], log: Path) -> subprocess.Popen[str]:
    """Start a server and wait until it holds port 67."""
    with log.open("w") as output:
        process = host.popen(*words, stdout=output, stderr=output)
    deadline = time.monotonic() + 30
    while 67 not in host.udp_ports():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text()[-500:])
        time.sleep(0.05)
    time.sleep(0.5)
    return process


def try_rows(wire: Wire) -> dict[str, str]:
    """Try every row; returns what is wrong with those that fail."""
    wrong = {}
    for one in ROWS:
        try:
            one.check(wire)
        except Exception as error:  # a peer may answer with anything
            text = str(error).partition("\n")[0] or type(error).__name__
            wrong[f"{one.source}: {one.name}"] = text[:90]
    return wrong


def main() -> int:
    """Try the rows on every server that is installed, and print the scoreboard."""
    board = []
    for name, (program, prepare) in SERVERS.items():
        if which(program) is None:
            print(f"{name}: not installed")
            continue
        with (
            tempfile.TemporaryDirectory() as folder,
            Network() as network,
            wired(network) as (server, wire),
        ):
            start(server, prepare(Path(folder)), Path(folder) / "output")
            wrong = try_rows(wire)
        board.append((name, len(ROWS) - len(wrong), len(wrong)))
        print(f"{name}: {len(wrong)} of {len(ROWS)} rows fail")
        for row, why in wrong.items():
            print(f"    {row}  ({why})")
    for name, passed, failed in board:
        print(f"{name:10} passed {passed:4}  failed {failed:4}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
