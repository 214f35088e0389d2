"""Real DHCP clients against the real daemon: a lease, its renewal, its release; two networks."""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address as A
from pathlib import Path

import pytest

from pybootd.dhcp4.wire.packet import MessageType
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Host, Network, Switch, end_process

from .frames import BROADCAST, EVERYBODY, Capture

SERVER = "10.7.0.1"
FIRST = "10.7.0.100"

UDHCPC_SCRIPT = """#!/bin/sh
case $1 in
    bound|renew) ip address replace $ip/$mask dev $interface ;;
    deconfig) ip address flush dev $interface; ip link set dev $interface up ;;
esac
"""


def ini(folder: Path, text: str) -> Path:
    path = folder / "pybootd.ini"
    path.write_text(f"[bootp]\nallow_simple_dhcp = on\n{text}")
    return path


def wait(what: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@dataclass
class Lab:
    """A server and a client on one switch."""

    folder: Path
    network: Network
    lan: Switch
    server: Host
    client: Host
    capture: Capture

    @contextmanager
    def serving(self, text: str) -> Iterator[DaemonProcess]:
        path = ini(self.folder, f"pool_start = {FIRST}\npool_count = 5\n{text}")
        with DaemonProcess(self.server, path, self.folder / "log", (67,), "-p", "-d") as daemon:
            yield daemon

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def address(self) -> str:
        words = self.client.ip("-4", "-oneline", "address", "show", "dev", "eth0").split()
        return words[3].partition("/")[0] if words else ""

    def count(self, kind: int) -> int:
        return self.capture.kinds().count(kind)


@pytest.fixture
def lab(network: Network, tmp_path: Path) -> Iterator[Lab]:
    lan = network.switch()
    server, client = network.host("server"), network.host("client")
    server.plug(lan, f"{SERVER}/24")
    client.plug(lan)
    capture = Capture(client)
    yield Lab(tmp_path, network, lan, server, client, capture)
    capture.socket.close()


@pytest.mark.net("dhclient")
def test_dhclient_gets_renews_and_releases(lab: Lab) -> None:
    words = ["dhclient", "-4", "-lf", lab.folder / "leases", "-pf", lab.folder / "pid", "eth0"]
    with lab.serving("lease_time = 4\n"):
        running = lab.client.popen(*words[:1], "-d", *words[1:])
        wait(lambda: lab.address() == FIRST)
        assert lab.capture.last(MessageType.OFFER).target == bytes.fromhex(
            lab.client.mac().replace(":", "")
        )
        wait(lambda: lab.count(MessageType.ACK) > 1)  # T1 is after 2 s
        renewed = lab.capture.last(MessageType.ACK)
        assert (renewed.to, renewed.packet.ciaddr) == (FIRST, A(FIRST))
        running.terminate()
        running.wait()
        lab.client.run("dhclient", "-r", *words[1:], check=False)
        wait(lambda: lab.count(MessageType.RELEASE))
        wait(lambda: "released" in lab.said())


@pytest.mark.net("udhcpc")
@pytest.mark.parametrize("flags", [(), ("-B",)])
def test_udhcpc_gets_renews_and_releases(lab: Lab, flags: tuple[str, ...]) -> None:
    script = lab.folder / "script"
    script.write_text(UDHCPC_SCRIPT)
    script.chmod(0o755)
    with lab.serving(""):
        running = lab.client.popen("udhcpc", "-i", "eth0", "-f", "-R", *flags, "-s", script)
        wait(lambda: lab.address() == FIRST)
        target = lab.capture.last(MessageType.ACK).target
        assert target == (BROADCAST if flags else bytes.fromhex(lab.client.mac().replace(":", "")))
        running.send_signal(10)  # SIGUSR1: renew
        wait(lambda: lab.count(MessageType.ACK) == 2)
        assert lab.capture.last(MessageType.ACK).to == FIRST
        running.send_signal(12)  # SIGUSR2: release
        wait(lambda: lab.count(MessageType.RELEASE))


@pytest.mark.net("dhcpcd")
def test_dhcpcd_gets_rebinds_and_releases(lab: Lab) -> None:
    words = ("-4", "-t", "20", "-C", "resolv.conf", "-C", "hostname", "-A", "eth0")
    with lab.serving(""):
        running = lab.client.popen("dhcpcd", "-B", *words)
        wait(lambda: lab.address() == FIRST)
        own = bytes.fromhex(lab.client.mac().replace(":", ""))
        assert [lab.capture.last(kind).target for kind in (MessageType.OFFER, MessageType.ACK)] == [
            own
        ] * 2

        def tell(option: str, answer: MessageType, count: int) -> None:
            """Send it a signal by its own command, again where it was busy and missed it."""
            while lab.count(answer) < count:
                lab.client.run("dhcpcd", "-4", option, "eth0", check=False)
                with suppress(AssertionError):
                    wait(lambda: lab.count(answer) >= count, 5.0)

        tell("-n", MessageType.ACK, 2)
        assert lab.capture.last(MessageType.ACK).packet.yiaddr == A(FIRST)
        tell("-k", MessageType.RELEASE, 1)
        running.wait(10)


@pytest.mark.net("udhcpc", "dhclient")
@pytest.mark.parametrize("client", ["udhcpc", "dhclient"])
@pytest.mark.parametrize(
    ("own", "settings", "leased"),
    [
        ("10.7.1.0/31", "pool_start = 10.7.1.1\npool_count = 1\n", "10.7.1.1/31"),
        ("10.7.1.1/31", "pool_start = 10.7.1.0\npool_count = 1\n", "10.7.1.0/31"),
        (
            "10.7.1.1/32",
            "pool_start = 10.7.1.9\npool_count = 1\nnetmask = 255.255.255.255\n",
            "10.7.1.9/32",
        ),
    ],
)
def test_networks_of_31_and_32_bits(
    network: Network, tmp_path: Path, client: str, own: str, settings: str, leased: str
) -> None:  # RFC 3021
    lan, server, machine = network.switch(), network.host("server"), network.host("client")
    server.plug(lan, own)
    machine.plug(lan)
    capture = Capture(machine)
    path = ini(tmp_path, f"leases = memory\n{settings}")
    script = tmp_path / "script"
    script.write_text(UDHCPC_SCRIPT)
    script.chmod(0o755)
    files = ("-lf", tmp_path / "leases", "-pf", tmp_path / "pid")
    words = {
        "udhcpc": ("udhcpc", "-i", "eth0", "-f", "-s", script),
        "dhclient": ("dhclient", "-4", "-d", *files, "eth0"),
    }[client]
    with DaemonProcess(server, path, tmp_path / "log", (67,), "-p", "-d") as daemon:
        running = machine.popen(*words)
        host = leased.partition("/")[0]
        wait(lambda: f"inet {host}" in machine.ip("-4", "-oneline", "address", "show"))
        running.terminate()
        running.wait()
        assert daemon.stop() == 0
    ack = capture.last(MessageType.ACK).packet
    assert str(ack.yiaddr) == host
    assert ack.options[1] == (b"\xff\xff\xff\xfe" if leased.endswith("31") else b"\xff" * 4)
    assert ack.options[3] == A(own.partition("/")[0]).packed
    assert 28 not in ack.options
    capture.socket.close()


@pytest.mark.net("udhcpc", "setpriv")
def test_without_the_right_to_send_frames_replies_are_broadcast(lab: Lab) -> None:
    path = ini(lab.folder, f"pool_start = {FIRST}\npool_count = 5\nleases = memory\n")
    drop = ("setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw")
    words = (sys.executable, "-m", "pybootd", "-p", "-c", path)
    with (lab.folder / "log").open("w") as log:
        daemon = lab.server.popen(*drop, *words, stdout=log, stderr=log)
    wait(lambda: "no right to open packet sockets" in lab.said())
    wait(lambda: 67 in lab.server.udp_ports())
    lab.client.run("udhcpc", "-i", "eth0", "-n", "-q", "-s", "/bin/true")
    for kind in (MessageType.OFFER, MessageType.ACK):
        frame = lab.capture.last(kind)
        assert not frame.packet.flags
        assert (frame.target, frame.to) == (BROADCAST, EVERYBODY)
    assert end_process(daemon, 10) == 0


@pytest.mark.net("udhcpc")
def test_two_networks_each_with_its_own_side(network: Network, tmp_path: Path) -> None:
    """A client gets an address of its side's pool or none, never the other's."""
    left, right = network.switch("left"), network.switch("right")
    server = network.host("server")
    server.plug(left, f"{SERVER}/24")
    server.plug(right, "10.8.0.1/24")
    one, other = network.host("one"), network.host("other")
    one.plug(left)
    other.plug(right)
    ask = ("udhcpc", "-i", "eth0", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true")
    path = ini(tmp_path, f"pool_start = {FIRST}\n")
    with DaemonProcess(server, path, tmp_path / "log", (67,), "-p"):
        seen, unseen = Capture(one), Capture(other)
        one.run(*ask)
        assert other.run(*ask, check=False).returncode != 0
        offer = seen.last(MessageType.OFFER).packet
        assert (str(offer.yiaddr), offer.options[54]) == (FIRST, A(SERVER).packed)
        assert set(unseen.kinds()) == {MessageType.DISCOVER}
    path = ini(tmp_path, "pool_start = 10.8.0.100\n")
    with DaemonProcess(server, path, tmp_path / "log", (67,), "-p"):
        other.run(*ask)
        offer = unseen.last(MessageType.OFFER).packet
        assert (str(offer.yiaddr), offer.options[54]) == ("10.8.0.100", A("10.8.0.1").packed)
    seen.socket.close()
    unseen.socket.close()


@pytest.mark.net("udhcpc")
def test_an_address_in_use_is_not_offered(lab: Lab) -> None:
    squatter = lab.network.host("squatter")
    squatter.plug(lab.lan, f"{FIRST}/24")
    with lab.serving("conflict_check = on\n"):
        lab.client.run("udhcpc", "-i", "eth0", "-n", "-q", "-s", "/bin/true")
        assert lab.capture.last(MessageType.ACK).packet.yiaddr == A(FIRST) + 1
    assert f"{FIRST}" in lab.said()
    assert squatter.mac() in lab.said()


NETWORKD = """
[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
ALL = ("dhclient", "udhcpc", "dhcpcd", "systemd-networkd")


def run_client(kind: str, host: Host, folder: Path) -> None:
    """Start a client that stays, as its distribution does."""
    if kind == "dhclient":
        conf = folder / "dhclient.conf"
        # its usual ten seconds between two tries would lead past the end of a lease so short
        conf.write_text("initial-interval 1; backoff-cutoff 2;")
        own = ("-lf", folder / "leases", "-pf", folder / "pid", "-cf", conf)
        host.popen("dhclient", "-4", "-d", *own, "eth0")
    elif kind == "udhcpc":
        script = folder / "script"
        script.write_text(UDHCPC_SCRIPT)
        script.chmod(0o755)
        host.popen("udhcpc", "-i", "eth0", "-f", "-s", script)
    elif kind == "dhcpcd":
        host.popen("dhcpcd", "-B", "-4", "-C", "resolv.conf", "-C", "hostname", "-A", "eth0")
    else:
        network = folder / "eth0.network"
        network.write_text(NETWORKD)
        host.run("mkdir", "-p", "/run/systemd/network", "/run/systemd/netif")
        host.run("chown", "systemd-network", "/run/systemd/netif")
        host.run("cp", network, "/run/systemd/network/")
        host.popen("/lib/systemd/systemd-networkd", stderr=subprocess.DEVNULL)


def address_of(host: Host) -> str:
    words = host.ip("-4", "-oneline", "address", "show", "dev", "eth0").split()
    return words[3].partition("/")[0] if words else ""


@pytest.mark.net("dhclient", "udhcpc", "dhcpcd")
def test_clients_renew_rebind_and_start_over_on_another_network(
    network: Network, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Renew at T1; rebind at T2 after the server was away; a NAK, and all again, when moved."""
    lan, server = network.switch(), network.host("server")
    server.plug(lan, f"{SERVER}/24")
    there = [kind for kind in ALL if kind != ALL[-1] or Path("/lib/systemd", kind).exists()]
    hosts = {kind: network.host(kind) for kind in there}
    captures = {}
    for kind, host in hosts.items():
        host.plug(lan)
        captures[kind] = Capture(host)
        request.addfinalizer(captures[kind].socket.close)
    # dhclient counts whole seconds: of ten, less than one may be left from its T2 to the end
    pool = f"pool_count = 9\nlease_time = 20\nleases = {tmp_path}/leases.db\n"
    path = ini(tmp_path, f"pool_start = {FIRST}\n{pool}")

    def renewed(kind: str, to: str) -> bool:
        """Tell whether the client extended its lease by a message to that address."""
        own = bytes.fromhex(hosts[kind].mac().replace(":", ""))
        mine = [one for one in captures[kind].read() if one.packet.chaddr == own]
        return any(
            (one.kind, one.to, answer.kind) == (MessageType.REQUEST, to, MessageType.ACK)
            and one.packet.ciaddr != A(0)
            for one, answer in itertools.pairwise(mine)
        )

    def move(address: str) -> None:
        server.ip("address", "flush", "dev", "eth0")
        server.ip("address", "add", address, "broadcast", "+", "dev", "eth0")

    with DaemonProcess(server, path, tmp_path / "log", (67,), "-p"):
        for kind, host in hosts.items():
            run_client(kind, host, tmp_path)
        wait(lambda: all(map(address_of, hosts.values())))
        had = {kind: address_of(host) for kind, host in hosts.items()}
        assert len(set(had.values())) == len(hosts)
        # a lease so short is extended by udhcpc by broadcast alone
        wait(lambda: all(renewed(kind, SERVER) for kind in hosts if kind != "udhcpc"))
    # nobody is at the server's address any more; from T2 on anybody may answer
    move("10.7.0.9/24")
    with DaemonProcess(server, path, tmp_path / "log", (67,), "-p"):
        wait(lambda: all(renewed(kind, "255.255.255.255") for kind in hosts), 60.0)
        assert {kind: address_of(host) for kind, host in hosts.items()} == had
    # udhcpc heeds no NAK but its own server's, and waits for the end of its lease
    hosts.pop("udhcpc")
    move("10.8.0.1/24")
    ini(tmp_path, f"pool_start = 10.8.0.100\n{pool}")
    with DaemonProcess(server, path, tmp_path / "log", (67,), "-p"):
        wait(lambda: all(address_of(host).startswith("10.8.") for host in hosts.values()), 60.0)
    assert all(MessageType.NAK in captures[kind].kinds() for kind in hosts)


ZTP = """[options]
150 = 10.7.0.5
[class phones]
match vendor_class = Cisco Systems, Inc. IP Phone*
option tftp-server-name = 10.7.0.6
[class switches]
match vendor_class = Arista;*
option bootfile-name = !http://10.7.0.5/ztp
option 43 = 0104c0a80101
"""


@pytest.mark.net("udhcpc")
@pytest.mark.parametrize(
    ("vendor", "flags", "told"),
    [
        ("Cisco Systems, Inc. IP Phone CP-7960", ("-O", "tftp"), {"tftp": "10.7.0.6"}),
        ("Cisco Systems, Inc. IP Phone CP-7960", ("-O", "150"), {"opt150": "0a070005"}),
        ("Arista;DCS-7050S-64;01.23;JPE1", (), {"bootfile": "http://10.7.0.5/ztp"}),
        ("Arista;DCS-7050S-64;01.23;JPE1", ("-O", "43"), {"opt43": "0104c0a80101"}),
        ("another", ("-O", "tftp", "-O", "bootfile"), {"tftp": None, "bootfile": None}),
    ],
)
def test_a_phone_or_a_switch_is_told_what_is_set_for_it(
    lab: Lab, vendor: str, flags: tuple[str, ...], told: dict[str, str | None]
) -> None:
    """Zero-touch provisioning of machines that boot nothing from here."""
    script, seen = lab.folder / "script", lab.folder / "seen"
    script.write_text(f"#!/bin/sh\n[ $1 = bound ] && env >{seen}.new && mv {seen}.new {seen}\n")
    script.chmod(0o755)
    with lab.serving(ZTP):
        lab.client.run("udhcpc", "-i", "eth0", "-n", "-q", "-V", vendor, *flags, "-s", script)
    found = dict(line.partition("=")[::2] for line in seen.read_text().splitlines())
    assert {name: found.get(name) for name in told} == told
