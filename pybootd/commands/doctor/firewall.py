"""Asks the kernel what this host's firewall does with the packets of a boot.

The host is copied into a private network: its interfaces by name and address, its rules of nftables
and iptables. There a machine sends what boots send, and it shows what comes through. Nothing of
the host itself is touched.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from pybootd.lab.network import Host, Network, NetworkError, which
from pybootd.system.interfaces import Interface

_WAIT_S = 0.5  # for a packet to come through: there is no wire
_BOOTPS, _BOOTPC = 67, 68
_BROADCAST = "255.255.255.255"
_MANAGED = re.compile(r"xt (match|target)|managed by iptables")
_TRACED = re.compile(r"^trace id \S+ (.+)$", re.MULTILINE)
_TRACE_RULES = """
table inet pybootd_trace {{
    chain first {{
        type filter hook {hook} priority -390; policy accept;
        meta nftrace set 1
    }}
}}
"""
_ETH_P_IP = 0x0800
_IPTABLES_TABLES = ("raw", "mangle", "nat", "filter", "security")


class FirewallUnknown(Exception):
    """The rules can't be tried; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class BlockedWay:
    """One kind of packet that does not come through, and the rule that stops it, if known.

    ``way`` names it for people; ``outgoing``: this host's firewall keeps it from leaving.
    """

    way: str
    outgoing: bool
    rule: str = ""


@dataclass(frozen=True, slots=True)
class _Side:
    """A host of the copy, the interface it uses, and its address."""

    host: Host
    interface: str
    address: IPv4Address


class FirewallCopy:
    """Copies this host's firewall into a private network, with a machine beside it.

    A context manager.

    ``link`` is the interface that the machine stands behind, ``client`` its address.
    """

    def __init__(
        self, interfaces: Iterable[Interface], link: Interface, own: IPv4Interface, client: str
    ) -> None:
        self._interfaces = tuple(interfaces)
        self._link = link
        self._own = own
        self._client = client
        self._stack = contextlib.ExitStack()
        self._server: _Side
        self._machine: _Side

    def __enter__(self) -> FirewallCopy:
        """Copy it. Raises FirewallUnknown."""
        rules = list(_read_rules())
        try:
            network = self._stack.enter_context(Network())
            host, machine = network.host("host"), network.host("machine")
            self._copy_interfaces(host, machine)
            for command, text in rules:
                _load_rules(host, command, text)
        except (NetworkError, OSError) as error:
            self._stack.close()
            raise FirewallUnknown(str(error).partition("\n")[0]) from error
        except FirewallUnknown:
            self._stack.close()
            raise
        self._server = _Side(host, self._link.name, self._own.ip)
        self._machine = _Side(machine, "boot0", IPv4Address(self._client))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _copy_interfaces(self, host: Host, machine: Host) -> None:
        name, mask = self._link.name, self._own.network.prefixlen
        peer = ["peer", "name", "boot0", "netns", str(machine.pid)]
        host.ip("link", "add", name, "type", "veth", *peer)
        machine.ip("link", "set", "dev", "boot0", "addrgenmode", "none", "up")
        machine.ip("address", "add", f"{self._client}/{mask}", "dev", "boot0")
        for one in self._interfaces:
            if one.name == "lo":
                continue
            if one.name != name:
                host.ip("link", "add", one.name, "type", "bridge")
            host.ip("link", "set", "dev", one.name, "addrgenmode", "none", "up")
            for address in one.addresses:
                host.ip("address", "add", str(address), "broadcast", "+", "dev", one.name)

    def find_blocked_udp(self, port: int) -> BlockedWay | None:
        """Try a datagram of the machine to a UDP port, and an answer from there."""
        with _bind_udp(self._server, port) as taken, _bind_udp(self._machine, 0) as asking:
            rule = self._try_sending(
                asking, (str(self._server.address), port), taken, outgoing=False
            )
            if rule is not None:
                return BlockedWay(f"UDP port {port}", False, rule)
            rule = self._try_sending(taken, _peer_of(asking), asking, outgoing=True)
            return (
                BlockedWay(f"answers from UDP port {port}", True, rule)
                if rule is not None
                else None
            )

    def find_blocked_dhcp(self) -> BlockedWay | None:
        """Try a DISCOVER and an OFFER, both by broadcast, from a machine without an address."""
        with _bind_udp(self._server, _BOOTPS, any_address=True) as taken:
            frame = _make_datagram("0.0.0.0", _BOOTPC, _BROADCAST, _BOOTPS, b"discover")
            with self._tracing("prerouting") as trace:
                self._send_frame(frame)
                if not _has_arrived(taken):
                    return BlockedWay("a DISCOVER to UDP port 67", False, trace())
            with _bind_udp(self._machine, _BOOTPC, any_address=True) as hearing:
                rule = self._try_sending(taken, (_BROADCAST, _BOOTPC), hearing, outgoing=True)
            return BlockedWay("an OFFER to UDP port 68", True, rule) if rule is not None else None

    def find_blocked_transfer(self, port: int, data_port: int) -> BlockedWay | None:
        """Try a TFTP transfer: the request, the answer from another port, the ACK to that one."""
        with (
            _bind_udp(self._server, port) as taken,
            _bind_udp(self._server, data_port) as data,
            _bind_udp(self._machine, 0) as asking,
        ):
            server = str(self._server.address)
            rule = self._try_sending(asking, (server, port), taken, outgoing=False)
            if rule is not None:
                return BlockedWay(f"UDP port {port} (TFTP requests)", False, rule)
            rule = self._try_sending(data, _peer_of(asking), asking, outgoing=True)
            if rule is not None:
                return BlockedWay("TFTP's blocks, from their own port", True, rule)
            rule = self._try_sending(asking, (server, data.getsockname()[1]), data, outgoing=False)
            if rule is not None:
                return BlockedWay("TFTP's ACKs, to the port of the transfer", False, rule)
        return None

    def find_blocked_tcp(self, port: int) -> BlockedWay | None:
        """Try a connection of the machine to a TCP port."""
        with self._server.host.inside():
            listening = socket.create_server((str(self._server.address), port))
        with self._machine.host.inside():
            asking = socket.socket()
        with listening, asking, self._tracing("prerouting") as trace:
            asking.setblocking(False)
            asking.connect_ex((str(self._server.address), port))
            if select.select([listening], [], [], _WAIT_S)[0]:
                return None
            return BlockedWay(f"TCP port {port}", False, trace())

    def _try_sending(
        self,
        source: socket.socket,
        target: tuple[str, int],
        taken: socket.socket,
        *,
        outgoing: bool,
    ) -> str | None:
        """Send a datagram; None: it came, else the rule that stopped it, or ""."""
        with self._tracing("output" if outgoing else "prerouting") as trace:
            try:
                source.sendto(b"pybootd", target)
            except PermissionError:
                return trace()
            except OSError as error:
                raise FirewallUnknown(f"{target[0]}: {error.strerror}") from error
            return None if _has_arrived(taken) else trace()

    def _send_frame(self, packet: bytes) -> None:
        with self._machine.host.inside():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        with raw:
            raw.sendto(packet, (self._machine.interface, _ETH_P_IP, 0, 0, b"\xff" * 6))

    @contextlib.contextmanager
    def _tracing(self, hook: str) -> Iterator[_Trace]:
        """Let the kernel tell which rule a packet of the copy ends at."""
        if which("nft") is None:
            yield _Trace(None)
            return
        host = self._server.host
        _load_rules(host, ("nft", "-f", "-"), _TRACE_RULES.format(hook=hook))
        monitor = host.popen("nft", "monitor", "trace", stdout=subprocess.PIPE)
        time.sleep(0.1)  # until it listens; it does not say when
        try:
            yield _Trace(monitor)
        finally:
            monitor.kill()
            monitor.wait()
            if monitor.stdout is not None:
                monitor.stdout.close()
            host.run("nft", "delete", "table", "inet", "pybootd_trace", check=False)


class _Trace:
    """What ``nft monitor trace`` says; called, it returns the rule that ended a packet."""

    def __init__(self, monitor: subprocess.Popen[str] | None) -> None:
        self._monitor = monitor

    def __call__(self) -> str:
        """Return the last rule of the trace, for people; "" where there is none."""
        if self._monitor is None:
            return ""
        time.sleep(0.1)
        self._monitor.terminate()
        said = self._monitor.stdout.read() if self._monitor.stdout else ""
        lines = [line for line in _TRACED.findall(said) if "pybootd_trace" not in line]
        ends = [line for line in lines if " rule " in line or "policy drop" in line]
        return ends[-1].strip() if ends else ""


def has_firewall() -> bool:
    """Tell whether this host has any rules. Raises FirewallUnknown."""
    return any(True for _ in _read_rules())


def _read_rules() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the rules of this host, and the command that loads each. Raises FirewallUnknown."""
    managed = set()  # by iptables, whose matches nft can't read again
    if which("nft") is not None:
        for line in _run_tool("nft", "list", "tables").splitlines():
            table = line.split()[1:]  # table FAMILY NAME
            text = _run_tool("nft", "list", "table", *table) if len(table) == 2 else ""
            if _MANAGED.search(text):
                managed.add(" ".join(table))
            elif text:
                yield ("nft", "-f", "-"), _without_flowtables(text)
    if which("ipset") is not None and (sets := _run_tool("ipset", "save")):
        yield ("ipset", "restore"), sets
    for name in _IPTABLES_TABLES:
        if f"ip {name}" in managed and which("iptables-nft-save") is not None:
            text = _run_tool("iptables-nft-save", "-t", name)
            yield ("iptables-nft-restore", "--noflush"), text
    if which("iptables-legacy-save") is not None:
        text = _run_tool("iptables-legacy-save")
        if "*" in text:
            yield ("iptables-legacy-restore",), text


def _without_flowtables(text: str) -> str:
    """Take out what speeds forwarding up on real cards."""
    text = re.sub(r"(?ms)^\tflowtable \S+ \{.*?^\t\}\n?", "", text)
    return re.sub(r"(?m)^.*flow (add|offload) @.*\n", "", text)


def _load_rules(host: Host, command: tuple[str, ...], text: str) -> None:
    """Load rules into the copy. Raises FirewallUnknown."""
    process = host.popen(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, errors = process.communicate(text, timeout=20)
    if process.returncode != 0:
        said = errors.strip().partition("\n")[0]
        raise FirewallUnknown(f"{' '.join(command)}: {said}")


def _run_tool(*command: str) -> str:
    """Run a program that lists rules. Raises FirewallUnknown."""
    program = which(command[0])
    try:
        done = subprocess.run(
            [program or command[0], *command[1:]],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FirewallUnknown(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip().partition("\n")[0]
        if command[0] == "nft":
            raise FirewallUnknown(f"nft: {said}")
        return ""  # a kernel without that kind of tables
    return done.stdout


def _bind_udp(side: _Side, port: int, *, any_address: bool = False) -> socket.socket:
    with side.host.inside():
        sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, side.interface.encode())
    sock.bind(("" if any_address else str(side.address), port))
    return sock


def _peer_of(sock: socket.socket) -> tuple[str, int]:
    address, port = sock.getsockname()
    return address, port


def _has_arrived(sock: socket.socket) -> bool:
    arrived = bool(select.select([sock], [], [], _WAIT_S)[0])
    if arrived:
        sock.recv(2048)
    return arrived


def _make_datagram(
    source: str, source_port: int, target: str, target_port: int, data: bytes
) -> bytes:
    udp = struct.pack("!HHHH", source_port, target_port, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    head += IPv4Address(source).packed + IPv4Address(target).packed
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + udp
