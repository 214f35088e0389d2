"""Hosts on which doctor is asked: well ones of many kinds, and ones with one thing wrong.

Each is a function of a ``Bench``, which sets the host up; it returns what doctor must find: the
code of a fault or warning, or "" for nothing.
"""

import gzip
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
EFI = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0\x64\x86" + bytes(3000)
USER = "nobody"


class Bench:
    """The host, its network, its configuration."""

    def __init__(self, network, folder):
        self.network, self.folder = network, folder
        self.lan = network.switch()
        self.host = network.host("server")
        self.host.plug(self.lan, "10.7.0.1/24")
        self.host.run("sysctl", "-w", "net.ipv4.ip_forward=1")
        self.root = folder / "boot"
        self.root.mkdir()
        (self.root / "loader.efi").write_bytes(EFI)
        self.sections = {
            "bootp": {"pool_start": "10.7.0.100", "leases": "memory"},
            "bootfile": {"efi-x86_64": "loader.efi"},
            "tftp": {"root": "./boot"},
        }
        self.wait = "0.4"

    def write(self, section, **options):
        self.sections.setdefault(section, {}).update(options)

    def drop(self, section, *options):
        for option in options:
            del self.sections[section][option]

    def ini(self):
        path = self.folder / "pybootd.ini"
        path.write_text(
            "".join(
                f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
                for section, options in self.sections.items()
            )
        )
        return path

    def nft(self, rules):
        path = self.folder / "rules.nft"
        # a chain's and a table's last brace stand in their own lines
        path.write_text(rules.replace("; } }", "\n}\n}\n").replace("; }\n", "\n}\n"))
        self.host.run("nft", "-f", path)

    def iptables(self, rules, kind="nft"):
        path = self.folder / "rules.v4"
        path.write_text(rules)
        self.host.run("sh", "-c", f"iptables-{kind}-restore < {path}")

    def link(self, name, *words, address=""):
        self.host.ip("link", "add", *words)
        if address:
            self.host.ip("address", "add", address, "dev", name)
        self.host.ip("link", "set", "dev", name, "up")

    def other(self, address="10.7.0.2/24", lan=None):
        made = self.network.host("other")
        made.plug(lan or self.lan, address)
        return made

    def dnsmasq(self, host, *options, port=67):
        process = host.popen(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"),
            *("--user=root", "--no-resolv", f"--pid-file={self.folder}/{host.name}.pid"),
            *(f"--dhcp-leasefile={self.folder}/{host.name}.leases", *options),
        )
        while port not in host.udp_ports():
            assert process.poll() is None
            time.sleep(0.02)

    def listen(self, host, address, port, kind="udp"):
        """Hold a port of a host."""
        script = (
            "import socket, sys, time; kind, address, port = sys.argv[1:];"
            " sock = socket.socket(type=socket.SOCK_DGRAM if kind == 'udp' else"
            " socket.SOCK_STREAM); sock.bind((address, int(port)));"
            " kind == 'tcp' and sock.listen(); print(flush=True); time.sleep(600)"
        )
        taker = host.popen(sys.executable, "-c", script, kind, address, str(port), stdout=-1)
        with taker.stdout as said:
            assert said.readline() == "\n"


# well ones


def none(bench):
    return ""


def nftables_with_established(bench):
    bench.nft(
        "table inet filter { chain input { type filter hook input priority 0; policy drop;\n"
        "ct state established,related accept\nct state invalid drop\niif lo accept\n"
        "ip protocol icmp accept\ntcp dport 22 accept\nudp dport { 67, 69, 4011 } accept\n}\n"
        "chain output { type filter hook output priority 0; policy accept; } }"
    )
    return ""


def nftables_with_named_sets_and_interfaces(bench):
    bench.nft(
        "table inet fw { set boot { type inet_service; elements = { 67, 69, 4011 }; }\n"
        'set lans { type ifname; elements = { "eth0", "br-lan" }; }\n'
        "chain in { type filter hook input priority filter; policy drop;\n"
        "ct state vmap { established : accept, related : accept, invalid : drop }\n"
        "iifname @lans udp dport @boot counter accept\niifname lo accept\nreject; } }"
    )
    return ""


def firewalld(bench):
    bench.nft(
        "table inet firewalld {\n"
        "chain filter_INPUT { type filter hook input priority filter + 10; policy accept;\n"
        "ct state { established, related } accept\niifname lo accept\njump filter_INPUT_ZONES\n"
        "ct state invalid drop\nreject with icmpx admin-prohibited; }\n"
        "chain filter_INPUT_ZONES { iifname eth0 goto filter_IN_internal\n"
        "goto filter_IN_public; }\n"
        "chain filter_IN_internal { jump filter_IN_internal_allow\nmeta l4proto icmp accept; }\n"
        "chain filter_IN_internal_allow { tcp dport 22 accept\nudp dport 67 accept\n"
        "udp dport 69 accept\nudp dport 4011 accept; }\n"
        "chain filter_IN_public { tcp dport 22 accept; }\n}"
    )
    return ""


UFW = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
:ufw-not-local - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-user-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -j ufw-not-local
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -j DROP
%s
COMMIT
"""
UFW_OPEN = "-A ufw-user-input -p udp -m multiport --dports 67,69,4011 -j ACCEPT"


def ufw(bench):
    bench.iptables(UFW % UFW_OPEN)
    return ""


def ufw_on_legacy_tables(bench):
    bench.iptables(UFW % UFW_OPEN, "legacy")
    return ""


def docker(bench):
    bench.link("docker0", "docker0", "type", "bridge", address="172.17.0.1/16")
    bench.link("br-3f2a", "br-3f2a", "type", "bridge", address="172.18.0.1/16")
    bench.iptables(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n"
        "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
        "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\nCOMMIT\n"
        "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n"
        "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        "-A DOCKER-USER -j RETURN\nCOMMIT\n"
    )
    return ""


def vlan(bench):
    bench.host.plug(bench.network.switch("trunk"), "10.20.0.1/24")
    for words in (("down",), ("name", "eth0.20"), ("up",)):
        bench.host.ip("link", "set", "dev", "eth0.20" if words == ("up",) else "eth1", *words)
    bench.write("bootp", pool_start="10.20.0.100", interface="eth0.20")
    return ""


def a_card_that_is_down_and_one_without_address(bench):
    bench.host.ip("link", "add", "wlan0", "type", "bridge")
    bench.host.plug(bench.network.switch("spare"))
    return ""


def a_dhcp_server_on_the_other_card(bench):
    upstream = bench.network.switch("upstream")
    bench.host.plug(upstream, "192.168.1.5/24")
    router = bench.other("192.168.1.1/24", upstream)
    bench.dnsmasq(router, "--interface=eth0", "--dhcp-range=192.168.1.50,192.168.1.60,600")
    return ""


def libvirt_with_its_own_dnsmasq(bench):
    bench.link("virbr0", "virbr0", "type", "bridge", address="192.168.122.1/24")
    bench.dnsmasq(
        bench.host, "--interface=virbr0", "--bind-dynamic", "--except-interface=lo",
        "--dhcp-range=192.168.122.2,192.168.122.254,600",
    )  # fmt: skip
    bench.write("bootp", interface="eth0")
    return ""


def templates_and_filters_with_variables(bench):
    (bench.root / "aa").mkdir()
    (bench.root / "menu.ipxe.j2").write_text("#!ipxe\necho {{ mac }} {{ rack }}\n")
    bench.write("bootfile", ipxe="menu.ipxe", bios="start/pxelinux.0")
    bench.write("filters", **{"start/*": "{mac}/pxelinux.0"})
    bench.write("client 52:54:00:00:00:01", rack="r1")
    return ""


def a_user_with_the_rights(bench):
    home = bench.folder / "state"
    home.mkdir(mode=0o755)
    os.chown(home, 65534, 65534)
    bench.write("security", user=USER)
    bench.write("bootp", leases=str(home / "leases.db"))
    return ""


def http_boot(bench):
    bench.write("httpd", enable="yes")
    bench.write("bootfile", **{"http-efi-x86_64": "http://10.7.0.1/loader.efi"})
    return ""


def a_policy_that_refuses_what_leaves_but_ours(bench):
    bench.nft(
        "table ip out { chain output { type filter hook output priority 0; policy drop;\n"
        "oifname lo accept\nct state established,related accept\nudp sport { 67, 4011 } accept\n"
        "udp dport 67-69 accept\nudp sport 1024-65535 accept; } }"
    )
    return ""


def another_web_server_for_the_url(bench):
    bench.listen(bench.host, "0.0.0.0", 80, "tcp")
    bench.write("bootfile", **{"http-efi-x86_64": "http://10.7.0.1/loader.efi"})
    return ""


def networks_of_relays_alone(bench):
    upstream = bench.network.switch("upstream")
    bench.host.plug(upstream, "192.168.1.5/24")
    router = bench.other("192.168.1.1/24", upstream)
    bench.dnsmasq(router, "--interface=eth0", "--dhcp-range=192.168.1.50,192.168.1.60,600")
    bench.drop("bootp", "pool_start")
    bench.write("subnet 10.30.0.0/24", pool_start="10.30.0.10", gateway="10.30.0.1")
    return ""


CLEAN = (
    none,
    nftables_with_established,
    nftables_with_named_sets_and_interfaces,
    firewalld,
    ufw,
    ufw_on_legacy_tables,
    docker,
    vlan,
    a_card_that_is_down_and_one_without_address,
    a_dhcp_server_on_the_other_card,
    libvirt_with_its_own_dnsmasq,
    templates_and_filters_with_variables,
    a_user_with_the_rights,
    http_boot,
    a_policy_that_refuses_what_leaves_but_ours,
    another_web_server_for_the_url,
    networks_of_relays_alone,
)


# ones with a fault


def tftp_port_taken(bench):
    bench.listen(bench.host, "0.0.0.0", 69)
    return "port-taken"


def dhcp_port_taken(bench):
    bench.listen(bench.host, "0.0.0.0", 67)
    return "port-taken"


def web_port_taken(bench):
    bench.write("httpd", enable="yes")
    bench.listen(bench.host, "0.0.0.0", 80, "tcp")
    return "port-taken"


def drop_without_boot_ports(bench):
    bench.nft(
        "table inet filter { chain input { type filter hook input priority 0; policy drop;\n"
        "ct state established,related accept\niif lo accept\ntcp dport 22 accept; } }"
    )
    return "firewall"


def named_set_without_tftp(bench):
    bench.nft(
        "table inet fw { set boot { type inet_service; elements = { 67, 4011 }; }\n"
        "chain in { type filter hook input priority 0; policy drop;\n"
        "ct state established accept\nudp dport @boot accept; } }"
    )
    return "firewall"


def firewalld_in_the_public_zone(bench):
    firewalld(bench)
    bench.host.run("nft", "flush", "chain", "inet", "firewalld", "filter_INPUT_ZONES")
    bench.nft("add rule inet firewalld filter_INPUT_ZONES goto filter_IN_public")
    return "firewall"


def rule_for_another_card(bench):
    bench.host.plug(bench.network.switch("second"), "10.8.0.1/24")
    bench.nft(
        "table inet fw { chain in { type filter hook input priority 0; policy drop;\n"
        "iifname eth1 udp dport { 67, 69, 4011 } accept\nct state established accept; } }"
    )
    return "firewall"


def rule_for_the_network_only(bench):
    """Forget that a DISCOVER comes from 0.0.0.0."""
    bench.nft(
        "table inet fw { chain in { type filter hook input priority 0; policy drop;\n"
        "ip saddr 10.7.0.0/24 accept\nct state established accept; } }"
    )
    return "firewall"


def answers_may_not_leave(bench):
    bench.nft(
        "table inet fw { chain out { type filter hook output priority 0; policy drop;\n"
        "udp sport 67 accept\ntcp sport 22 accept; } }"
    )
    return "firewall"


def transfers_without_established(bench):
    """Port 69 is open, and the port to which the ACKs go is not."""
    bench.nft(
        "table inet fw { chain in { type filter hook input priority 0; policy drop;\n"
        "udp dport { 67, 69, 4011 } accept; } }"
    )
    return "firewall"


def port_range_wider_than_the_rule(bench):
    bench.write("tftp", port_range="50000-50200")
    bench.nft(
        "table inet fw { chain in { type filter hook input priority 0; policy drop;\n"
        "udp dport { 67, 69, 4011, 50000-50100 } accept; } }"
    )
    return "firewall"


def tftp_redirected(bench):
    bench.nft(
        "table ip nat { chain pre { type nat hook prerouting priority dstnat; policy accept;\n"
        "udp dport 69 redirect to :6969; } }"
    )
    return "firewall"


def ufw_without_tftp(bench):
    bench.iptables(UFW % "-A ufw-user-input -p udp -m multiport --dports 67,4011 -j ACCEPT")
    return "firewall"


def legacy_tables_drop(bench):
    bench.iptables(UFW % "-A ufw-user-input -p tcp --dport 22 -j ACCEPT", "legacy")
    return "firewall"


def web_server_behind_a_firewall(bench):
    http_boot(bench)
    nftables_with_established(bench)
    return "firewall"


def letter_case_of_a_name(bench):
    bench.write("bootfile", **{"efi-x86_64": "Boot/Loader.EFI"})
    return "boot-file-missing"


def dangling_link(bench):
    (bench.root / "loader.efi").unlink()
    (bench.root / "loader.efi").symlink_to("loader-2.efi")
    return "boot-file-missing"


def link_out_of_the_root(bench):
    (bench.folder / "away.efi").write_bytes(EFI)
    (bench.root / "loader.efi").unlink()
    (bench.root / "loader.efi").symlink_to("../away.efi")
    return "boot-file-refused"


def web_page_for_a_boot_file(bench):
    page = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>"
    (bench.root / "loader.efi").write_bytes(page)
    return "boot-file-content"


def empty_boot_file(bench):
    (bench.root / "loader.efi").write_bytes(b"")
    return "boot-file-content"


def packed_boot_file(bench):
    (bench.root / "loader.efi").write_bytes(gzip.compress(EFI))
    return "boot-file-content"


def boot_file_of_another_architecture(bench):
    bench.write("bootfile", **{"efi-arm64": "loader.efi"})
    return "boot-file-architecture"


def elf_program_for_uefi(bench):
    """Forget that firmware starts PE programs alone."""
    (bench.root / "loader.efi").write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\x3e\0" + EFI)
    return "boot-file-content"


def bios_loader_for_uefi(bench):
    (bench.root / "pxelinux.0").write_bytes(b"\xfa" * 3000)
    bench.write("bootfile", **{"efi-x86_64": "pxelinux.0"})
    return "boot-file-architecture"


def filter_that_leads_nowhere(bench):
    bench.write("filters", **{"*.efi": "signed/shimx64.efi"})
    return "boot-file-refused"


def ipxe_for_ipxe(bench):
    (bench.root / "ipxe.efi").write_bytes(EFI)
    bench.write("bootfile", ipxe="ipxe.efi")
    return "ipxe-loop"


def root_closed_to_the_user(bench):
    a_user_with_the_rights(bench)
    bench.root.chmod(0o700)
    return "user-no-right"


def file_closed_to_the_user(bench):
    a_user_with_the_rights(bench)
    (bench.root / "loader.efi").chmod(0o600)
    return "user-no-right"


def lease_folder_of_root(bench):
    a_user_with_the_rights(bench)
    closed = bench.folder / "closed"
    closed.mkdir(mode=0o755)
    bench.write("bootp", leases=str(closed / "leases.db"))
    return "lease-folder"


def lease_folder_missing(bench):
    bench.write("bootp", leases="/srv/no-such-folder/leases.db")
    return "lease-folder"


def lease_disk_full(bench):
    full = bench.folder / "full"
    full.mkdir()
    script = f"mount -t tmpfs -o size=64k tmpfs {full} && head -c 64k /dev/zero > {full}/x"
    bench.host.run("sh", "-c", script, check=False)
    bench.write("bootp", leases=str(full / "leases.db"))
    return "lease-space"


def upload_folder_missing(bench):
    bench.write("tftp", upload="./no-such-folder")
    return "folder-not-writable"


def cache_of_root(bench):
    a_user_with_the_rights(bench)
    closed = bench.folder / "closed"
    closed.mkdir(mode=0o755)
    bench.write("cache", dir=str(closed))
    return "folder-not-writable"


def authorization_server_down(bench):
    bench.write("bootp", access="http")
    bench.write("http", location="10.7.0.1:8080/allow", pxe="?", dhcp="?")
    return "authorization-server"


def next_server_silent(bench):
    bench.write("bootp", next_server="10.7.0.99")
    return "next-server"


def interface_misspelt(bench):
    bench.write("bootp", interface="eht0")
    return "interface-missing"


def interface_without_address(bench):
    bench.host.plug(bench.network.switch("spare"))
    bench.write("bootp", interface="eth1")
    return "interface-address"


def cable_unplugged(bench):
    bench.lan.ip("link", "set", "dev", "port0", "down")
    return "interface-down"


def pool_of_no_network(bench):
    bench.write("bootp", pool_start="10.70.0.100")
    return "pool-network"


def router_in_the_pool(bench):
    bench.write("bootp", gateway="10.7.0.105")
    return "configuration"


def router_of_another_network(bench):
    bench.write("bootp", gateway="10.8.0.1")
    return "gateway-network"


def pool_over_the_broadcast_address(bench):
    bench.write("bootp", pool_start="10.7.0.250", pool_count="20")
    return "pool-end"


def netmask_of_another_size(bench):
    bench.write("bootp", netmask="255.255.0.0")
    return "netmask"


def kept_address_of_this_host(bench):
    bench.write("static_dhcp", **{"52-54-00-00-00-01": "10.7.0.1"})
    return "static-address"


def http_boot_without_web_server(bench):
    bench.write("bootfile", **{"http-efi-x86_64": "http://10.7.0.1/loader.efi"})
    return "web-server-off"


def http_boot_at_another_port(bench):
    bench.write("httpd", enable="yes", port="8080")
    bench.write("bootfile", **{"http-efi-x86_64": "http://10.7.0.1/loader.efi"})
    return "web-server-port"


def another_dhcp_server_that_pings_first(bench):
    """Let it answer after 3 s."""
    other = bench.other()
    bench.dnsmasq(other, "--interface=eth0", "--dhcp-range=10.7.0.150,10.7.0.160,600")
    bench.wait = ""
    return "other-server"


def proxy_without_a_dhcp_server(bench):
    bench.drop("bootp", "pool_start")
    bench.write("bootp", mode="proxy")
    return "server-missing"


def router_that_does_not_forward(bench):
    bench.host.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    return "not-forwarding"


WRONG = tuple(
    one
    for name, one in list(globals().items())
    if callable(one)
    and getattr(one, "__module__", "") == __name__
    and one not in (*CLEAN, Bench)
    and not name.startswith("_")
)
