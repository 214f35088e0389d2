"""TFTP behind address translation, as a container's: what packaging/Containerfile says."""

import pytest

from pybootd.lab.daemon_process import DaemonProcess

# what publishing ports comes down to
RULES = """
table ip nat {
    chain in {
        type nat hook prerouting priority dstnat;
        iifname eth0 udp dport { 69, 20000-20003 } dnat to 10.88.0.2
    }
    chain out {
        type nat hook postrouting priority srcnat;
        oifname eth0 ip saddr 10.88.0.0/16 masquerade
    }
}
"""


@pytest.mark.net("nft", "curl")
def test_a_transfer_through_published_ports(network, tmp_path):
    outside, inside = network.switch(), network.switch("bridge")
    client, host, container = map(network.host, ("client", "host", "container"))
    client.plug(outside, "192.168.1.9/24")
    host.plug(outside, "192.168.1.1/24")
    host.plug(inside, "10.88.0.1/16")
    container.plug(inside, "10.88.0.2/16")
    container.ip("route", "add", "default", "via", "10.88.0.1")
    host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    (tmp_path / "rules").write_text(RULES)
    host.run("nft", "-f", tmp_path / "rules")
    (tmp_path / "linux").write_bytes(b"0123456789" * 10_000)
    (tmp_path / "pybootd.ini").write_text("[tftp]\nroot = .\nport_range = 20000-20003\n")
    with DaemonProcess(container, tmp_path / "pybootd.ini", tmp_path / "log", (69,), "-t"):
        for _ in range(6):  # more than there are ports
            got = client.run("curl", "-s", "--max-time", "9", "tftp://192.168.1.1/linux")
            assert got.stdout == "0123456789" * 10_000
