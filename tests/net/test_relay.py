"""Ten networks behind a real relay agent, one pool each."""

import time

import pytest

from pybootd.lab.daemon_process import DaemonProcess

INI = """\
[bootp]
allow_simple_dhcp = on
leases = memory
pool_start = 10.7.0.100
"""
SUBNET = """\
[subnet 10.20.{0}.0/24]
pool_start = 10.20.{0}.50
domain = net{0}.example
"""
SCRIPT = "#!/bin/sh\n[ $1 = bound ] && echo $ip $mask $router $domain $serverid $siaddr\nexit 0\n"
COUNT = 10


@pytest.mark.net("dhcrelay", "udhcpc")
def test_each_network_behind_a_relay_has_its_own_pool(network, tmp_path):
    server, relay, client = (network.host(name) for name in ("server", "relay", "client"))
    backbone = network.switch("backbone")
    server.plug(backbone, "10.7.0.1/24")
    server.ip("route", "add", "10.20.0.0/16", "via", "10.7.0.2")
    uplink = relay.plug(backbone, "10.7.0.2/24")
    for number in range(COUNT):
        switch = network.switch(f"net{number}")
        relay.plug(switch, f"10.20.{number}.1/24")
        client.plug(switch)
    relay.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    ini = tmp_path / "pybootd.ini"
    ini.write_text(INI + "".join(map(SUBNET.format, range(COUNT))))
    # the sockets of ISC's relay see an interface alone: option 82 with each one's name (-a)
    below = [word for number in range(COUNT) for word in ("-id", f"eth{number + 1}")]
    words = ["dhcrelay", "-4", "-d", "-a", "--no-pid", *below, "-iu", uplink, "10.7.0.1"]
    with (
        (tmp_path / "relay.log").open("w") as said,
        DaemonProcess(server, ini, tmp_path / "log", (67,), "-p", "-d") as daemon,
    ):
        relay.popen(*words, stdout=said, stderr=said)
        # until it has bound its last socket, one hears what comes in on any interface
        deadline = time.monotonic() + 30
        while "Socket/fallback" not in (tmp_path / "relay.log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        clients = [
            client.popen(
                *("udhcpc", "-i", f"eth{number}", "-n", "-q", "-f", "-t", "8", "-T", "1"),
                *("-s", script),
                stdout=-1,
                stderr=said,
            )
            for number in range(COUNT)
        ]
        got = [one.communicate(timeout=30)[0].split() for one in clients]
        assert daemon.stop() == 0
    for number, (address, mask, router, domain, identifier, next_server) in enumerate(got):
        assert address == f"10.20.{number}.50"
        assert (mask, router) == ("24", f"10.20.{number}.1")
        assert domain == f"net{number}.example"
        assert identifier == next_server == "10.7.0.1"
