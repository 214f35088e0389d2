"""The private networks that other tests stand on."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pybootd.lab.network import Network, NetworkError, missing

pytestmark = pytest.mark.net
ROOT = Path(__file__).parents[2]


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def gone(pids, patience=10):
    deadline = time.monotonic() + patience
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_hosts_hear_each_other_through_a_switch(network):
    lan = network.switch()
    one, two = network.host("one"), network.host("two")
    one.plug(lan, "10.7.0.1/24", mac="52:54:00:00:00:01")
    two.plug(lan, "10.7.0.2/24")
    assert one.mac() == "52:54:00:00:00:01"
    with one.inside():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with two.inside():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind(("10.7.0.1", 6900))
        receiver.settimeout(5)
        sender.bind(("10.7.0.2", 6901))
        sender.sendto(b"hello", ("10.7.0.1", 6900))
        assert receiver.recvfrom(100) == (b"hello", ("10.7.0.2", 6901))


def test_two_networks_of_one_host_are_apart(network):
    first, second = network.switch("first"), network.switch("second")
    host, neighbour = network.host("host"), network.host("neighbour")
    assert host.plug(first, "10.7.1.1/24") == "eth0"
    assert host.plug(second, "10.7.2.1/24", mtu=1300) == "eth1"
    neighbour.plug(second, "10.7.2.9/24")
    assert "mtu 1300" in host.ip("link", "show", "dev", "eth1")
    assert host.run("cat", "/sys/class/net/eth1/mtu").stdout == "1300\n"
    host.run("ping", "-c1", "-W5", "-q", "10.7.2.9")
    with pytest.raises(NetworkError, match=r"^neighbour: ping .*"):
        neighbour.run("ping", "-c1", "-W1", "-q", "10.7.1.1")


def test_what_a_client_writes_stays_inside(network, tmp_path):
    host = network.host("host")
    host.run("sh", "-c", "echo nameserver 10.9.9.9 > /etc/resolv.conf; touch /run/here")
    assert host.run("cat", "/etc/resolv.conf").stdout == "nameserver 10.9.9.9\n"
    assert "10.9.9.9" not in Path("/etc/resolv.conf").read_text()
    assert not Path("/run/here").exists()
    assert host.run("pwd", cwd=tmp_path).stdout.strip() == str(tmp_path)


def test_end_ends_every_process_daemons_too():
    before = sorted(Path("/sys/class/net").iterdir())
    with Network() as network:
        host = network.host("host")
        started = host.popen("sleep", "1000")
        host.run(
            "setsid", "--fork", "sh", "-c", "trap '' TERM; exec >/dev/null 2>&1; sleep 1000 & wait"
        )
        deadline = time.monotonic() + 10
        while len(pids := host.processes()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(pids) == 3
        assert started.pid in pids
        holder = host.pid
    assert gone([*pids, holder], patience=0)
    assert sorted(Path("/sys/class/net").iterdir()) == before


def test_failure_and_hanging_are_told_in_one_line(network):
    host = network.host("host")
    with pytest.raises(NetworkError, match=r"^host: sleep 60: not done after 0.1 s$"):
        host.run("sleep", "60", timeout=0.1)
    with pytest.raises(NetworkError, match=r"^host: ip link show nosuch: Device .* not exist"):
        host.ip("link", "show", "nosuch")
    assert host.run("false", check=False).returncode == 1


SCRIPT = """
import select, signal, sys
from pybootd.lab.network import Network
# a job of a shell in the background is started with this ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
with Network() as network:
    lan = network.switch()
    host = network.host("host")
    host.plug(lan, "10.7.0.1/24")
    sleeper = host.popen("sleep", "1000")
    while sleeper.pid not in host.processes():
        pass
    print(lan.pid, host.pid, sleeper.pid, flush=True)
    # a signal just before a read that blocks for ever would be noticed never
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        pass
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_stays_when_the_owner_is_ended(number):
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as owner:
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 3
        owner.send_signal(number)
        assert gone(pids)


def test_unprivileged_user_builds_one_in_a_user_namespace(unprivileged):
    python = unprivileged("pybootd.lab.network", inside=True)
    done = subprocess.run(
        [*python, "-c", SCRIPT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 3


def test_missing_programs_are_named():
    assert missing("ip") == ""
    assert missing("ip", "no-such-program") == "not installed: no-such-program"
