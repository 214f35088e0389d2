"""What this host says of itself: which program has a port, whether it forwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"  # /proc/net/tcp: the state of a listening socket


def find_port_holder(protocol: str, port: int) -> str:
    """Name the program that has a port, as ``dnsmasq (process 123)``; "" where it is not known."""
    inodes = set(_find_inodes(protocol, port))
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
            if inodes & set(links):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # it has ended, or isn't ours to look at
    return ""


def _find_inodes(protocol: str, port: int) -> Iterator[str]:
    for family in ("", "6"):
        try:
            table = Path(f"/proc/net/{protocol}{family}").read_text(encoding="ascii")
        except OSError:
            continue
        for row in table.splitlines()[1:]:
            words = row.split()
            # proc(5): local address and port in hexadecimal, state, ..., inode
            if int(words[1].rpartition(":")[2], 16) != port:
                continue
            if protocol == "udp" or words[3] == _LISTEN:
                yield f"socket:[{words[9]}]"


def is_forwarding(interface: str) -> bool | None:
    """Tell whether the host forwards IPv4 that comes in there; None: it doesn't tell."""
    path = Path("/proc/sys/net/ipv4/conf", interface, "forwarding")
    try:
        return path.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return None


def has_carrier(interface: str) -> bool | None:
    """Tell whether an interface is up and something is plugged in; None: it doesn't tell."""
    path = Path("/sys/class/net", interface, "operstate")
    try:
        state = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if state == "unknown" else state == "up"
