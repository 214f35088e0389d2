"""Mistakes that beginners make in an .ini: each is one finding, and says what was meant."""

from pathlib import Path

import pytest

from pybootd.config.ini import ConfigError
from pybootd.core.finding import Finding, Grade
from pybootd.daemon import Daemon

POOL = "[tftp]\nroot = .\n[bootp]\npool_start = 192.168.1.100\n"  # lines 1 to 4
NETMASK = f"{POOL}netmask = 255.255.255.0\n"  # 5
ROOT = "[tftp]\nroot = .\n"
ONE, TWO = "52-54-00-00-00-01", "52-54-00-00-00-02"
UUID = "00112233-4455-6677-8899-aabbccddeeff"
FAULT, WARNING = Grade.FAULT, Grade.WARNING

# text, line, grade, section and option, what the line says
SECTIONS = [
    (f"{POOL}[tftp2]\n", 5, WARNING, "tftp2", "", "(did you mean [tftp]?)"),
    (f"{POOL}[botfile]\n", 5, WARNING, "botfile", "", "(did you mean [bootfile]?)"),
    (f"{POOL}[client{ONE}]\n", 5, WARNING, f"client{ONE}", "", f"[client {ONE}]"),
    (f"{POOL}[client:{ONE}]\n", 5, WARNING, f"client:{ONE}", "", f"[client {ONE}]"),
    (f"{POOL}[client]\n", 5, FAULT, "client", "", "write [client AA-BB-CC-DD-EE-FF]"),
    (f"{POOL}[client rack7]\n", 5, FAULT, "client rack7", "", "is no MAC address"),
    (f"{POOL}[BOOTP]\nlease_time = 9\n", 5, FAULT, "BOOTP", "", "the same as [bootp] in line 3"),
    (f"{POOL}[bootpd]\n", 5, FAULT, "bootpd", "", "the same as [bootp] in line 3"),
    (f"{POOL}[bootp]\n", 5, FAULT, "bootp", "", "first in line 3"),
    (POOL.replace("[bootp]", "[bootp"), 3, FAULT, "bootp", "", "(did you mean [bootp]?)"),
    (POOL.replace("[bootp]", "bootp]"), 3, FAULT, "bootp", "", "(did you mean [bootp]?)"),
    (POOL.replace("[bootp]", "{bootp}"), 3, FAULT, "bootp", "", "(did you mean [bootp]?)"),
    (POOL.replace("[bootp]", "bootp:"), 3, FAULT, "bootp", "", "(did you mean [bootp]?)"),
    (POOL.replace("[bootp]", "[bootp] port = 9"), 3, WARNING, "bootp", "", "in the next line"),
    (f"{POOL}[subnet 10.2.0.0]\n", 5, FAULT, "subnet 10.2.0.0", "", "[subnet 10.2.0.0/24]"),
    (f"{POOL}[subnet 10.2.0.1/24]\n", 5, FAULT, "subnet 10.2.0.1/24", "", "10.2.0.0/24]?"),
    (f"{POOL}[subnet fd00::/64]\n", 5, FAULT, "subnet fd00::/64", "", "only IPv4"),
    (f"{POOL}[class a]\nboot_file = x\n", 5, FAULT, "class a", "", "match vendor_class"),
    (f"{POOL}[client {ONE}]\n[client 52:54:00:00:00:01]\n", 6, FAULT, "client 52:54:00:00:00:01",
     "", "has a section already"),
]  # fmt: skip
FORM = [
    (f"{POOL}lease_time: 600\n", 5, FAULT, "bootp", "", "(did you mean lease_time = 600?)"),
    (f"{POOL}lease_time 600\n", 5, FAULT, "bootp", "", "(did you mean lease_time = 600?)"),
    (f"{POOL}lease_time := 600\n", 5, WARNING, "bootp", "lease_time :", "lease_time?)"),
    (f"{POOL}lease_time\n", 5, FAULT, "bootp", "", "write option = value"),
    (f"{POOL}lease_time =\n", 5, FAULT, "bootp", "lease_time", "has no value"),
    (f"{POOL}dns =\n", 5, WARNING, "bootp", "dns", "has no value, and is ignored"),
    (f"{POOL}// a comment\n", 5, FAULT, "bootp", "", "a comment begins with ; or #"),
    (f"{POOL}lease_time = 600 ; ten minutes\n", 5, FAULT, "bootp", "lease_time",
     "a comment needs its own line (did you mean 600?)"),
    (f"{POOL}domain = example.com # ours\n", 5, FAULT, "bootp", "domain", "mean example.com?"),
    (f"{POOL}boot_file = a.0 ; ours\n", 5, WARNING, "bootp", "boot_file", "needs its own line"),
    (f"{POOL}boot_file = a.0\n  lease_time = 9\n", 6, WARNING, "bootp", "lease_time", "indented"),
    (f"{POOL}lease-time = 600\n", 5, WARNING, "bootp", "lease-time", "(did you mean lease_time?)"),
    (f"{POOL}lease time = 600\n", 5, WARNING, "bootp", "lease time", "(did you mean lease_time?)"),
    (f"{POOL}\u200blease_time = 6\n", 5, WARNING, "bootp", "\u200blease_time", "mean lease_time?"),
    (f"{POOL}Port = 1067\nport = 1067\n", 6, FAULT, "bootp", "port", "first in line 5"),
    (f"{POOL}root = /srv\n", 5, WARNING, "bootp", "root", "(did you mean [tftp] root?)"),
    (f"{POOL}hostname = x\n", 5, WARNING, "bootp", "hostname", "(did you mean [client] hostname?)"),
    (f"{POOL}dhcp-range = 10.0.0.9\n", 5, WARNING, "bootp", "dhcp-range", "pool_start"),
    (f"{POOL}dhcp-boot = x.0\n", 5, WARNING, "bootp", "dhcp-boot", "[bootp] boot_file?"),
    (f"{POOL}routers = 10.0.0.1\n", 5, WARNING, "bootp", "routers", "[bootp] gateway?"),
    (f"{POOL}option 66 = x\n", 5, WARNING, "bootp", "option 66", "(did you mean [options] 66?)"),
    (f"{POOL}pool_end = 192.168.1.200\n", 5, WARNING, "bootp", "pool_end", "pool_count?"),
    (f"{POOL}[subnet 10.2.0.0/24]\nnetmask = 255.255.255.0\n", 6, WARNING, "subnet 10.2.0.0/24",
     "netmask", "[subnet NET/LEN]"),
    (f"{POOL}[class a]\nmatch vendor-class = x\n", 6, FAULT, "class a", "match vendor-class",
     "(did you mean vendor_class?)"),
    (f"{POOL}[class a]\nmatch = x\n", 6, FAULT, "class a", "match", "match FIELD = pattern"),
    (f"{POOL}[client {ONE}]\nbootfile = x\n", 6, WARNING, f"client {ONE}", "bootfile",
     "(did you mean boot_file?)"),
    (f"{POOL}[client {ONE}]\n66 = 10.0.0.1\n", 6, WARNING, f"client {ONE}", "66",
     "(did you mean option 66 = value?)"),
    (f"{POOL}[client {ONE}]\nip = 192.168.1.9\n", 6, FAULT, f"client {ONE}", "ip",
     "take another name"),
    (f"{POOL}[bootfile]\nuefi = a\n", 6, FAULT, "bootfile", "uefi", "(did you mean efi-x86_64?)"),
    (f"{POOL}[bootfile]\nx86_64 = a\n", 6, FAULT, "bootfile", "x86_64", "mean efi-x86_64?"),
    (f"{POOL}[bootfile]\nbios = a\n00000 = b\n", 7, FAULT, "bootfile", "00000", "written twice"),
    (f"{POOL}[options]\ntftp-servr = x\n", 6, FAULT, "options", "tftp-servr", "tftp-server"),
    (f"{POOL}[options]\n300 = x\n", 6, FAULT, "options", "300", "from 1 to 254"),
]  # fmt: skip
VALUES = [
    (f'{ROOT}[bootp]\npool_start = "10.0.0.9"\n', 4, FAULT, "bootp", "pool_start", "10.0.0.9?)"),
    (f"{POOL}allow_simple_dhcp = 'yes'\n", 5, FAULT, "bootp", "allow_simple_dhcp", "mean yes?"),
    (f'{POOL}boot_file = "a.0"\n', 5, WARNING, "bootp", "boot_file", "(did you mean a.0?)"),
    (f"{POOL}boot_file = \u201ca.0\u201d\n", 5, WARNING, "bootp", "boot_file", "mean a.0?"),
    (f'{POOL}[bootfile]\nbios = "a.0"\n', 6, WARNING, "bootfile", "bios", "(did you mean a.0?)"),
    (f"{POOL}lease_time = 600s\n", 5, FAULT, "bootp", "lease_time", "(did you mean 600?)"),
    (f"{POOL}lease_time = 12h\n", 5, FAULT, "bootp", "lease_time", "(did you mean 43200?)"),
    (f"{POOL}lease_time = 1 day\n", 5, FAULT, "bootp", "lease_time", "(did you mean 86400?)"),
    (f"{POOL}lease_time = 86,400\n", 5, FAULT, "bootp", "lease_time", "(did you mean 86400?)"),
    (f"{POOL}lease_time = infinite\n", 5, FAULT, "bootp", "lease_time", "mean 4294967295?"),
    (f"{POOL}timeout = 500ms\n", 5, FAULT, "bootp", "timeout", "(did you mean 0.5?)"),
    (f"{POOL}timeout = 0,5\n", 5, FAULT, "bootp", "timeout", "(did you mean 0.5?)"),
    (f"{POOL}port = dhcp\n", 5, FAULT, "bootp", "port", "from 1 to 65535"),
    (f"{POOL}pool_count = 5000000\n", 5, FAULT, "bootp", "pool_count", "from 0 to 1048576"),
    (f"{POOL}next_server = fd00::1\n", 5, FAULT, "bootp", "next_server", "only IPv4"),
    (f"{POOL}dns = 2001:db8::1\n", 5, FAULT, "bootp", "dns", "only IPv4"),
    (f"{POOL}dns = 10.0.0.1 10.0.0.2\n", 5, FAULT, "bootp", "dns", "mean 10.0.0.1, 10.0.0.2?"),
    (f"{POOL}next_server = boot.example.com\n", 5, FAULT, "bootp", "next_server", "is a name"),
    (f"{POOL}next_server = 10.0.0.1:69\n", 5, FAULT, "bootp", "next_server", "mean 10.0.0.1?"),
    (f"{ROOT}[bootp]\npool_start = 10.0.0.9/24\n", 4, FAULT, "bootp", "pool_start", "10.0.0.9?"),
    (f"{ROOT}[bootp]\npool_start = 10.0.0.9-10.0.0.99\n", 4, FAULT, "bootp", "pool_start",
     "pool_count"),
    (f"{ROOT}[bootp]\npool_start = 10.0.0.300\n", 4, FAULT, "bootp", "pool_start", "0 to 255"),
    (f"{POOL}dns = 10.0.0.1\n  10.0.0.2 x\n", 5, FAULT, "bootp", "dns", "goes on in the next"),
    (f"{POOL}netmask = /24\n", 5, FAULT, "bootp", "netmask", "(did you mean 255.255.255.0?)"),
    (f"{POOL}[status]\naddress = localhost\n", 6, FAULT, "status", "address", "127.0.0.1?"),
    (f"{POOL}interface = eth0 eth1\n", 5, FAULT, "bootp", "interface", "(did you mean eth0, eth1?"),
    (f"{POOL}access = mac, uuid\n", 5, FAULT, "bootp", "access", "one access list alone"),
    (f"{POOL}access = none\n", 5, FAULT, "bootp", "access", "leave the line out"),
    (f"{POOL}access = mac\n[mac]\n{ONE} = allow\n", 7, FAULT, "mac", ONE, "(did you mean on?)"),
    (f"{POOL}access = mac\n[mac]\n{ONE} = on ; mine\n", 7, FAULT, "mac", ONE, "mean on?"),
    (f"{POOL}[uuid]\n{UUID} = deny\n", 6, FAULT, "uuid", UUID, "(did you mean off?)"),
    (f'{POOL}[filters]\na = "b"\n', 6, WARNING, "filters", "a", "(did you mean b?)"),
    (f"{POOL}[filters]\na =\n", 6, FAULT, "filters", "a", "has no value"),
    (f"{POOL}authoritative = maybe\n", 5, FAULT, "bootp", "authoritative", "write on or off"),
    (f"{POOL}[client {ONE}]\nhostname = r\u00e4ck 7\n", 6, FAULT, f"client {ONE}", "hostname",
     "(did you mean rack-7?)"),
    (f"{POOL}[class a]\nmatch vendor_class = ^PXE.*\n", 6, WARNING, "class a",
     "match vendor_class", "no regular expression"),
    (f"{POOL}[static_dhcp]\n525400000001 = 192.168.1.9\n", 6, FAULT, "static_dhcp",
     "525400000001", ONE),
    (f"{POOL}[static_dhcp]\n192.168.1.9 = {ONE}\n", 6, FAULT, "static_dhcp", "192.168.1.9",
     f"(did you mean {ONE} = 192.168.1.9?)"),
    ("[tftp]\nroot = ~/none\n[bootp]\npool_start = 10.0.0.9\n", 2, FAULT, "tftp", "root",
     "the whole path"),
    ("[tftp]\nroot = $HOME/x\n[bootp]\npool_start = 10.0.0.9\n", 2, FAULT, "tftp", "root",
     "the whole path"),
    ("[tftp]\nroot = C:\\tftp\n[bootp]\npool_start = 10.0.0.9\n", 2, FAULT, "tftp", "root",
     "Windows"),
    ("[tftp]\nroot = http:/m/x\n[bootp]\npool_start = 10.0.0.9\n", 2, FAULT, "tftp", "root",
     "(did you mean http://m/x?)"),
    (f"{POOL}[httpd]\nenable = yes\naddress = ::\n", 7, FAULT, "httpd", "address", "only IPv4"),
    (f"{ROOT}links = cache\n[bootp]\npool_start = 10.0.0.9\n", 3, FAULT, "tftp", "links",
     "whole path"),
]  # fmt: skip
TOGETHER = [
    (f"{NETMASK}pool_count = 300\n", 6, WARNING, "bootp", "pool_count", "(did you mean 155?)"),
    (f"{NETMASK}gateway = 10.0.0.1\n", 6, WARNING, "bootp", "gateway", "can't reach it"),
    (f"{NETMASK}gateway = 192.168.1.105\n", 6, WARNING, "bootp", "gateway", "is in the pool"),
    (f"{POOL}address = 192.168.1.105\n", 5, WARNING, "bootp", "address", "is in the pool"),
    (f"{POOL}next_server = 192.168.1.105\n", 5, WARNING, "bootp", "next_server", "in the pool"),
    (f"{ROOT}[bootp]\npool_start = 192.168.1.0\nnetmask = 255.255.255.0\n", 4, WARNING, "bootp",
     "pool_start", "the network's own"),
    (f"{ROOT}[bootp]\npool_start = 224.0.0.1\n", 4, FAULT, "bootp", "pool_start", "multicast"),
    (f"{POOL}[subnet 10.2.0.0/24]\npool_start = 10.3.0.9\n", 6, FAULT, "subnet 10.2.0.0/24",
     "pool_start", "is not in 10.2.0.0/24"),
    (f"{POOL}[subnet 10.2.0.0/24]\npool_start = 10.2.0.200\npool_count = 99\n", 7, WARNING,
     "subnet 10.2.0.0/24", "pool_count", "(did you mean 55?)"),
    (f"{POOL}[static_dhcp]\n{ONE} = 192.168.1.9\n{TWO} = 192.168.1.9\n", 7, FAULT,
     "static_dhcp", TWO, "for another MAC, too"),
    (f"{POOL}[static_dhcp]\n{ONE} = 192.168.1.9\n52:54:00:00:00:01 = 192.168.1.8\n", 7, FAULT,
     "static_dhcp", "52:54:00:00:00:01", "the same MAC as in line 6"),
    (f"{NETMASK}[static_dhcp]\n{ONE} = 192.168.1.255\n", 7, WARNING, "static_dhcp", ONE,
     "no client can have it"),
    (f"{NETMASK}[static_dhcp]\n{ONE} = 10.1.1.1\n", 7, WARNING, "static_dhcp", ONE,
     "in no network that is served"),
    (f"{POOL}[client {ONE}]\naddress = 192.168.1.9\n[client {TWO}]\naddress = 192.168.1.9\n", 8,
     FAULT, f"client {TWO}", "address", f"[client {ONE}] in line 5"),
    (f"{POOL}lease_time = 900\nmax_lease_time = 60\n", 6, FAULT, "bootp", "max_lease_time",
     "less than lease_time"),
    (f"{POOL}port = 69\n", 5, FAULT, "bootp", "port", "the port of [tftp], too"),
    (f"{POOL}[httpd]\nenable = yes\nport = 8067\n", 7, WARNING, "httpd", "port", "of [status]"),
    (f"{POOL}share = 1/3\n", 5, WARNING, "bootp", "share", "has no meaning without"),
    (f"{POOL}[logger]\nfile = x.log\n", 6, WARNING, "logger", "file", "has no meaning without"),
    (f"{POOL}access = mac\n[mac]\n{ONE} = on\n52:54:00:00:00:01 = off\n", 8, FAULT, "mac",
     "52:54:00:00:00:01", "above says the contrary"),
]  # fmt: skip


def findings(tmp_path: Path, text: str | bytes) -> list[Finding]:
    path = tmp_path / "pybootd.ini"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        found = list(Daemon.from_file(path).config.warnings)
    except ConfigError as error:
        found = list(error.faults)
    assert all(str(one).startswith(str(path)) and str(one).isprintable() for one in found)
    return found


@pytest.mark.parametrize(
    ("text", "line", "grade", "section", "option", "says"),
    [*SECTIONS, *FORM, *VALUES, *TOGETHER],
    ids=lambda value: (
        value.split("\n")[-2][:40] if isinstance(value, str) and "\n" in value else ""
    ),
)
def test_a_mistake_is_one_finding(
    tmp_path: Path, text: str, line: int, grade: Grade, section: str, option: str, says: str
) -> None:
    (found,) = findings(tmp_path, text)
    assert (found.place.line, found.grade) == (line, grade)
    assert (found.place.section, found.place.option) == (section, option)
    assert says in str(found)


@pytest.mark.parametrize(
    "text",
    [
        POOL,
        "\ufeff" + POOL,
        POOL.replace("\n", "\r\n"),
        POOL.replace("\n", "\r"),
        POOL.replace("[bootp]", "[ bootp ]"),
        POOL.replace("[bootp]", "[BootP] ; the server"),
        POOL.replace(" = ", "\u00a0=\t"),
        f"{POOL}Lease_Time = 600\n",
        f"{POOL}[subnet   10.2.0.0/255.255.255.0]\npool_start = 10.2.0.9\n",
        f"{POOL}[client\t{ONE}]\nhostname = rack_7.example\n",
    ],
    ids=repr,
)
def test_what_looks_odd_and_is_right(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, text) == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"{POOL}domain = b\u00fccher.de\n".encode("latin-1"), 5),
        (POOL.encode("utf-16"), 1),
        (b"\x7fELF\xff\xfe\0\0", 1),
    ],
)
def test_a_file_in_another_encoding(tmp_path: Path, content: bytes, line: int) -> None:
    (found,) = findings(tmp_path, content)
    assert found.place.line == line
    assert "save the file as UTF-8" in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "[bootp]\npool_start = a b\n c\n d e\nlease_time = 1\n 2\n[tftp]\nroot = .\n",
        "interface=eth0\ndhcp-range=192.168.0.50,192.168.0.150,12h\n",
        "bootp:\n  pool_start: 10.0.0.1\n",
        '{"bootp": {"pool_start": "10.0.0.1"}}\n',
        "<html>\n<body>\n",
        "",
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    """Of another server, or of another form: few lines, each of which says what to write."""
    found = findings(tmp_path, text)
    assert 0 < len(found) < 5
    assert all(one.grade is FAULT for one in found)
