"""pybootd doctor on a host of a private network, well and with one thing wrong at a time."""

import json
import re
import sys

import pytest

pytestmark = pytest.mark.net("dnsmasq", "nft")

EFI = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0\x64\x86" + bytes(3000)


@pytest.fixture
def lan(network):
    return network.switch()


@pytest.fixture
def host(network, lan):
    made = network.host("server")
    made.plug(lan, "10.7.0.1/24")
    return made


@pytest.fixture
def ask(host, tmp_path):
    root = tmp_path / "boot"
    root.mkdir()
    (root / "loader.efi").write_bytes(EFI)

    def run(
        bootp="pool_start = 10.7.0.100",
        bootfile="efi-x86_64 = loader.efi",
        more="",
        grades=("fault", "warning"),
    ):
        ini = tmp_path / "pybootd.ini"
        ini.write_text(
            f"[bootp]\nleases = memory\n{bootp}\n[bootfile]\n{bootfile}\n"
            f"[tftp]\nroot = ./boot\n{more}"
        )
        words = (sys.executable, "-m", "pybootd", "doctor", "-c", str(ini), "-w", "0.3", "--json")
        done = host.run(*words, check=False)
        found = json.loads(done.stdout)["findings"]
        faults = [one for one in found if one["grade"] == "fault"]
        assert done.returncode == bool(faults)
        wrong = [one for one in found if one["grade"] in grades]
        assert all(one["advice"] for one in faults)
        return [" ".join((one.get("place", ""), one["problem"])).strip() for one in wrong]

    host.run("sysctl", "-w", "net.ipv4.ip_forward=1")
    return run


def test_a_host_that_is_well(ask):
    assert ask() == []


def test_what_is_wrong_with_the_configuration(ask, host):
    assert "required" in ask(bootp="")[0]
    (told,) = ask(more="[cache]\ndir = ./boot/loader.efi\n")
    assert told.endswith("loader.efi is no directory")
    (told,) = ask(more="[pins]\n*.efi = sha256:12\n")
    assert "[pins] *.efi: 'sha256:12' is no checksum: write sha256: and 64" in told
    (told,) = ask(bootfile="efi-x86_64 = missing.efi")
    assert told == "efi-x86_64: missing.efi is not there"
    (told,) = ask(bootfile="efi-arm64 = loader.efi")
    assert told == "efi-arm64: loader.efi is a UEFI program for x86-64"
    (told,) = ask(bootp="pool_start = 10.8.0.1")
    assert "is in no network of this host" in told
    (told,) = ask(bootp="pool_start = 10.7.0.1\npool_count = 5")
    assert "the pool holds this host's own address: 10.7.0.1" in told
    (told,) = ask(bootp="pool_start = 10.7.0.250\npool_count = 50")
    assert "behind the end of 10.7.0.0/24" in told
    (told,) = ask(bootp="pool_start = 10.7.0.100\ngateway = 10.9.0.1")
    assert told == "the gateway 10.9.0.1 is not in 10.7.0.0/24"
    host.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    (told,) = ask()
    assert "it forwards nothing from eth0" in told


def test_forwarding_as_forward_sh_opens_it_is_seen(ask, host):
    """It opens two interfaces, and not the host: else doctor went on with the same advice."""
    host.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    host.run("sysctl", "-w", "net.ipv4.conf.eth0.forwarding=1")
    assert ask() == []


def test_a_port_that_is_taken_is_told_with_its_holder(ask, host, tmp_path):
    options = ("--port=0", "--user=root", "--enable-tftp", f"--tftp-root={tmp_path}")
    taker = host.popen("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", *options)
    while 69 not in host.udp_ports():
        assert taker.poll() is None
    (told,) = ask()
    assert told == f"UDP port 69 is taken by dnsmasq (process {taker.pid})"


def test_a_port_that_the_daemon_can_do_without_is_a_warning(ask, host):
    """As in the daemon; what it can't do without depends on its mode."""
    take = (
        "import socket, time; page = socket.create_server(('127.0.0.1', 8067));"
        " asked = socket.socket(type=socket.SOCK_DGRAM); asked.bind(('', 4011)); time.sleep(600)"
    )
    taker = host.popen(sys.executable, "-c", take)
    while 4011 not in host.udp_ports():
        assert taker.poll() is None
    assert [told.partition(" is")[0] for told in ask()] == ["UDP port 4011", "TCP port 8067"]
    assert ask(grades=("fault",)) == []
    (told,) = ask(bootp="mode = auto\npool_start = 10.7.0.100", grades=("fault",))
    assert told.startswith("UDP port 4011 is taken by python")


@pytest.mark.parametrize(
    ("rules", "dropped"),
    [
        (
            "add chain inet t in { type filter hook input priority 0 ; policy drop ; }",
            [67, 4011, 69],
        ),
        (
            "add chain inet t in { type filter hook input priority 0 ; policy drop ; }\n"
            "add rule inet t in udp dport { 67, 69 } accept\n",
            # nothing lets in what answers: the ACKs of a transfer go to another port
            [4011, "ACKs"],
        ),
        (
            "add chain inet t in { type filter hook input priority 0 ; }\n"
            "add rule inet t in ct state established accept\n"
            "add rule inet t in udp dport 60-70 drop\n",
            [67, 69],
        ),
    ],
)
def test_a_firewall_that_drops_is_told(ask, host, tmp_path, rules, dropped):
    file = tmp_path / "rules.nft"
    file.write_text(f"add table inet t\n{rules}")
    host.run("nft", "-f", str(file))
    told = [re.findall(r"port (\d+)", one) for one in ask(more="[status]\nport = 0\n")]
    assert [int(ports[0]) if ports else "ACKs" for ports in told] == dropped


def test_another_dhcp_server_is_told(ask, host, network, lan, tmp_path):
    other = network.host("other")
    other.plug(lan, "10.7.0.2/24")
    (told,) = ask(bootp="mode = proxy")
    assert "mode = proxy needs one" in told
    range_ = "--dhcp-range=10.7.0.150,10.7.0.160,255.255.255.0,600"
    files = (f"--pid-file={tmp_path}/pid", f"--dhcp-leasefile={tmp_path}/leases")
    options = ("--port=0", "--user=root", "--interface=eth0", "--no-ping", range_, *files)
    process = other.popen("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", *options)
    while 67 not in other.udp_ports():
        assert process.poll() is None
    (told,) = ask()
    assert told == "eth0: another DHCP server answers: 10.7.0.2"
    assert ask(bootp="mode = proxy") == []
    assert ask(bootp="mode = auto\npool_start = 10.7.0.100") == []
    # another network of this host, and a network card that is in none
    host.plug(network.switch(), "10.8.0.1/24")
    host.plug(network.switch())
    (told,) = ask(bootp="mode = proxy")
    assert told == "eth1: no DHCP server answers, and mode = proxy needs one"
    assert ask(bootp="mode = proxy", grades=("fault",)) == []


def test_an_mtu_over_1500_is_told(ask, network, host):
    wide = network.switch("wide")
    wide.ip("link", "set", "dev", "br0", "mtu", "9000")
    host.plug(wide, "10.9.0.1/24", mtu=9000)
    (told,) = ask(bootp="pool_start = 10.9.0.100")
    assert told.startswith("eth1 has an MTU of 9000")
