"""What this host says of itself: who has a port, what its firewall drops, whether it forwards."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pybootd.lab.network import which

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


def find_drop(protocol: str, port: int) -> str:
    """Say which rule of the firewall keeps a port's packets from this host; "" where none does."""
    return _nftables(protocol, port) or _iptables(protocol, port)


def _run_tool(*command: str) -> str:
    program = which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _nftables(protocol: str, port: int) -> str:
    text = _run_tool("nft", "-j", "list", "ruleset")
    try:
        items = json.loads(text)["nftables"] if text else []
    except (ValueError, KeyError):
        return ""
    rules: dict[tuple[str, str, str], list[list[dict[str, Any]]]] = {}
    for item in items:
        if rule := item.get("rule"):
            key = (rule["family"], rule["table"], rule["chain"])
            rules.setdefault(key, []).append(rule["expr"])
    for item in items:
        chain = item.get("chain", {})
        if chain.get("hook") != "input" or chain.get("family") not in ("ip", "inet"):
            continue
        where = f"nftables chain {chain['table']} {chain['name']}"
        verdict = _verdict(rules, chain["family"], chain["table"], chain["name"], protocol, port)
        if verdict in ("drop", "reject"):
            return f"{where}: a rule that says {verdict}"
        if verdict == "" and chain.get("policy") == "drop":
            return f"{where}: policy drop, and no rule accepts the port"
    return ""


def _verdict(
    rules: dict[tuple[str, str, str], list[list[dict[str, Any]]]],
    family: str,
    table: str,
    chain: str,
    protocol: str,
    port: int,
    depth: int = 0,
) -> str:
    """Follow a chain for a new packet to the port; rules with other conditions are passed."""
    for expressions in rules.get((family, table, chain), ()):
        fits = True
        for one in expressions:
            if "match" in one:
                fits = fits and _matches(one["match"], protocol, port)
            elif not fits:
                break
            elif "drop" in one or "reject" in one or "accept" in one:
                return next(iter(one))
            elif "jump" in one and depth < 8:
                target = one["jump"]["target"]
                found = _verdict(rules, family, table, target, protocol, port, depth + 1)
                if found:
                    return found
    return ""


def _matches(match: dict[str, Any], protocol: str, port: int) -> bool:
    left, right = match.get("left", {}), match.get("right")
    payload = left.get("payload", {}) if isinstance(left, dict) else {}
    if payload.get("field") == "dport":
        same = payload.get("protocol") in (protocol, "th") and _holds(right, port)
        return same == (match.get("op") != "!=")
    if isinstance(left, dict) and left.get("meta", {}).get("key") == "l4proto":
        return _holds(right, protocol)
    return False


def _holds(right: object, wanted: int | str) -> bool:
    if isinstance(right, dict):
        if "set" in right:
            return any(_holds(one, wanted) for one in right["set"])
        if "range" in right and isinstance(wanted, int):
            first, last = right["range"]
            return bool(first <= wanted <= last)
        return False
    return right == wanted


def _iptables(protocol: str, port: int) -> str:
    text = _run_tool("iptables-save", "-t", "filter")
    policy = re.search(r"^:INPUT (\w+)", text, re.MULTILINE)
    for line in re.findall(r"^-A INPUT (.*)$", text, re.MULTILINE):
        target = re.search(r"-j (\w+)", line)
        if target is None or target[1] not in ("ACCEPT", "DROP", "REJECT"):
            continue
        wanted = re.search(r"-p (\w+)", line)
        ports = re.search(r"--dports? ([\d:,]+)", line)
        others = re.sub(r"(-p \w+|-m \w+|--dports? \S+|-j .*|--reject-with \S+|\s)", "", line)
        if (wanted and wanted[1] != protocol) or others:
            continue  # a condition that we don't know
        if ports and not any(_in(one, port) for one in ports[1].split(",")):
            continue
        return "" if target[1] == "ACCEPT" else f"iptables INPUT: {line}"
    if policy and policy[1] == "DROP":
        return "iptables INPUT: policy DROP, and no rule accepts the port"
    return ""


def _in(span: str, port: int) -> bool:
    first, _, last = span.partition(":")
    return int(first) <= port <= int(last or first)
