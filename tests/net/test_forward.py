"""forward.sh: a client behind the server reaches a third host only while it is on."""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "forward.sh"
# all that the script may need besides nft and iptables
TOOLS = (
    "awk",
    "basename",
    "cat",
    "grep",
    "head",
    "id",
    "ip",
    "paste",
    "rm",
    "sed",
    "sort",
    "uname",
)


@pytest.fixture
def lab(network):
    """Client, server with two interfaces, and a third host that knows no way to the client."""
    lan, wan = network.switch("lan"), network.switch("wan")
    client, server, third = (network.host(name) for name in ("client", "server", "third"))
    client.plug(lan, "10.7.0.2/24")
    server.plug(lan, "10.7.0.1/24")
    server.plug(wan, "10.8.0.1/24")
    third.plug(wan, "10.8.0.2/24")
    client.ip("route", "add", "default", "via", "10.7.0.1")
    server.ip("route", "add", "default", "via", "10.8.0.2")
    return client, server, third


@contextlib.contextmanager
def listening(host):
    with host.inside():
        listener = socket.create_server(("0.0.0.0", 8080))
    with listener:
        yield listener


def reaches(client, address, listener):
    """Tell which address the listener saw the client come from; empty: it didn't come."""
    with client.inside():
        sock = socket.socket()
    with sock:
        sock.settimeout(0.4)
        try:
            sock.connect((address, 8080))
        except OSError:
            return ""
        connection, peer = listener.accept()
        connection.close()
        return peer[0]


def snapshot(server):
    """Tell everything that the script could have changed."""
    forwarding = server.run("sh", "-c", "grep . /proc/sys/net/ipv4/conf/*/forwarding").stdout
    rules = server.run("nft", "-s", "list", "ruleset").stdout
    return forwarding, rules


def path_with(tmp_path, *programs):
    """Make a PATH that holds these programs alone."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in (*TOOLS, *programs):
        (folder / program).symlink_to(shutil.which(program))
    return folder


def forward(host, tmp_path, *words, check=True, path=None):
    where = f"PATH={path}" if path else f"PATH={os.environ['PATH']}"
    state = f"FORWARD_STATE={tmp_path / 'state'}"
    return host.run("env", where, state, "/bin/sh", SCRIPT, *words, check=check)


@pytest.mark.net("nft", "iptables")
@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_the_boot_network_reaches_the_world_only_while_it_is_on(lab, tmp_path, backend):
    client, server, third = lab
    # another's rules, that must stay as they are; this firewall lets through what it knows alone
    server.run("nft", "add", "table", "ip", "others")
    server.run("nft", "add", "chain", "ip", "others", "c")
    server.run("iptables", "-A", "INPUT", "-p", "icmp", "-j", "ACCEPT")
    if backend == "iptables":
        server.run("iptables", "-P", "FORWARD", "DROP")
    server.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-d", "10.99.0.0/16", "-j", "ACCEPT")
    path = path_with(tmp_path, backend)
    before = snapshot(server)
    with listening(third) as there, listening(client) as here:
        assert reaches(client, "10.8.0.2", there) == ""

        told = forward(server, tmp_path, "on", path=path).stdout
        assert "net.ipv4.conf.eth0.forwarding = 1 (was 0)" in told
        assert "net.ipv4.conf.eth1.forwarding = 1 (was 0)" in told
        assert f"forward.sh: {backend} " in told
        assert told.endswith("forward.sh: on: eth0 reaches the world through eth1\n")
        assert reaches(client, "10.8.0.2", there) == "10.8.0.1"
        # the way back in stays closed, for a neighbour that knows the way, too
        third.ip("route", "add", "10.7.0.0/24", "via", "10.8.0.1")
        assert reaches(third, "10.7.0.2", here) == ""

        told = forward(server, tmp_path, "-i", "eth1", "-j", "eth0", "on", path=path).stdout
        assert told.startswith("forward.sh: already on, from eth0 to eth1")

        told = forward(server, tmp_path, "off", path=path).stdout
        assert "net.ipv4.conf.eth1.forwarding = 0 (was 1)" in told
        assert told.endswith("forward.sh: off: all is as it was\n")
        assert reaches(client, "10.8.0.2", there) == ""
    assert snapshot(server) == before
    assert not (tmp_path / "state").exists()
    told = forward(server, tmp_path, "off").stdout
    assert told == "forward.sh: not on: nothing to undo\n"


@pytest.mark.net("nft")
def test_a_host_that_forwarded_before_still_does_afterwards(lab, tmp_path):
    _, server, third = lab
    server.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    third.ip("route", "add", "10.7.0.0/24", "via", "10.8.0.1")
    before = snapshot(server)
    with listening(lab[0]) as here:
        for word in ("on", "off"):
            told = forward(server, tmp_path, word).stdout
            assert "forwarding =" not in told
            assert reaches(third, "10.7.0.2", here) == "10.8.0.2"
    assert snapshot(server) == before


@pytest.mark.net("nft")
def test_what_fails_half_way_is_undone(lab, tmp_path):
    _, server, _ = lab
    path = path_with(tmp_path)
    nft = path / "nft"
    nft.write_text(f'#!/bin/sh\n[ "$1" = -f ] && exit 1\nexec {shutil.which("nft")} "$@"\n')
    nft.chmod(0o755)
    before = snapshot(server)
    done = forward(server, tmp_path, "on", check=False, path=path)
    assert done.returncode == 1
    assert "that failed; undoing it" in done.stderr
    assert snapshot(server) == before
    assert not (tmp_path / "state").exists()


@pytest.mark.net("nft")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-i", "eth7", "on"], "there is no interface eth7"),
        (["-j", "eth7", "on"], "there is no interface eth7"),
        (["-j", "eth1", "on"], "eth1 can't be both"),
        (["-i", "eth0", "-j", "eth2", "on"], "eth2 has no IPv4 address"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(lab, tmp_path, words, told):
    _, server, _ = lab
    server.ip("link", "add", "eth2", "type", "veth", "peer", "name", "eth3")
    before = snapshot(server)
    done = forward(server, tmp_path, *words, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"forward.sh: {told}")
    assert snapshot(server) == before


@pytest.mark.net
def test_without_a_choice_it_asks(network, tmp_path):
    lan, host = network.switch(), network.host("server")
    host.plug(lan, "10.7.0.1/24")
    done = forward(host, tmp_path, "on", check=False)
    assert done.stderr.startswith("forward.sh: no default route here: name the interface")
    for number in (1, 2):
        host.plug(lan, f"10.7.{number}.1/24")
    done = forward(host, tmp_path, "-i", "eth0", "on", check=False)
    told = "name the boot network's interface with -j; there is: eth1 eth2\n"
    assert done.stderr == f"forward.sh: {told}"


@pytest.mark.parametrize("words", [[], ["maybe"], ["on", "off"], ["-x", "on"]])
def test_anything_else_is_a_usage_error(words):
    done = subprocess.run(["/bin/sh", SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "forward.sh [-i WAN] [-j LAN] on|off" in done.stderr


def stand_in(folder, name, script):
    """Put a command there that notes its arguments and answers as the script says."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{folder}/log"\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def mac(tmp_path):
    """Commands that answer as those of macOS: nothing but the words can be had here."""
    folder = path_with(tmp_path)
    for name in ("id", "uname"):
        (folder / name).unlink()
    stand_in(folder, "uname", "echo Darwin")
    stand_in(folder, "id", "echo 0")
    stand_in(folder, "route", 'echo "    gateway: 10.8.0.2"; echo "  interface: en0"')
    inet = "case $1 in -l) echo lo0 en0 en5 ;; *) echo; echo '\tinet 10.7.0.1' ;; esac"
    stand_in(folder, "ifconfig", inet)
    stand_in(folder, "sysctl", f'[ "$1" = -n ] && cat "{folder}/forwarding" || echo "${{2#*=}}" '
                               f'>"{folder}/forwarding"')  # fmt: skip
    (folder / "forwarding").write_text("0\n")
    pfctl = f'case $* in *-f*) cat >>"{folder}/log" ;; -E) echo "Token : 4242" >&2 ;; esac'
    stand_in(folder, "pfctl", pfctl)

    def run(*words):
        done = subprocess.run(
            ["/bin/sh", SCRIPT, *words],
            env={"PATH": str(folder), "FORWARD_STATE": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            check=False,
        )
        log = (folder / "log").read_text().splitlines()
        (folder / "log").unlink()
        return done, [line for line in log if line.startswith(("pfctl", "nat", "sysctl -w"))]

    return run


def test_on_macos_it_is_an_anchor_of_pf(mac, tmp_path):
    done, did = mac("on")
    assert done.stdout.endswith("forward.sh: on: en5 reaches the world through en0\n")
    assert did == [
        "pfctl -q -a com.apple/pybootd -f -",
        "nat on en0 inet from en5:network to any -> (en0)",
        "pfctl -E",
        "sysctl -w net.inet.ip.forwarding=1",
    ]
    done, did = mac("off")
    assert done.stdout.endswith("forward.sh: off: all is as it was\n")
    assert did == [
        "sysctl -w net.inet.ip.forwarding=0",
        "pfctl -q -a com.apple/pybootd -F all",
        "pfctl -q -X 4242",
    ]
    assert not (tmp_path / "state").exists()


def test_without_root_it_is_refused_politely(tmp_path):
    folder = path_with(tmp_path)
    (folder / "id").unlink()
    stand_in(folder, "id", "echo 1000")
    done = subprocess.run(
        ["/bin/sh", SCRIPT, "on"],
        env={"PATH": str(folder), "FORWARD_STATE": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    told = "only root may change how this host forwards: try sudo"
    assert done.stderr.startswith(f"forward.sh: {told} ")
    assert not (tmp_path / "state").exists()
