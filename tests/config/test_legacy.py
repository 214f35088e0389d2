"""Configuration files of pybootd 1 start and mean what they meant; old words are warnings."""

import shutil
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.access.base import build_access
from pybootd.config.loader import examine
from pybootd.core.client import Client
from pybootd.core.mac import MacPrefix, parse_mac
from pybootd.files.resolver import Files
from pybootd.files.source import FileRequest
from pybootd.system import interfaces

EXAMPLES = Path(__file__).parents[1] / "config/examples"


def read(tmp_path, name):
    """Read an example that stands beside the folder that it serves."""
    (tmp_path / "images").mkdir()
    path = tmp_path / "pybootd.ini"
    shutil.copy(EXAMPLES / name, path)
    config, faults = examine(path, ("bootp", "tftp"))
    assert faults == []
    return config


def warnings(config):
    return [str(w).removeprefix(str(config.path)) for w in config.warnings]


def test_a_file_of_1_5_means_what_it_meant(tmp_path):
    config = read(tmp_path, "old-1.5.ini")
    bootp = config.bootp
    assert bootp.servername == "bootbox"
    assert bootp.gateway == "none"
    assert bootp.timeout == 3
    assert bootp.pool_start == IPv4Address("192.168.26.100")
    assert (bootp.pool_count, bootp.lease_time, bootp.domain) == (5, 7200, "example.lan")
    assert bootp.allow_simple_dhcp
    assert bootp.dns == (IPv4Address("192.168.26.1"), IPv4Address("192.168.26.2"))
    assert bootp.notify == (("192.168.26.201", 12345), ("192.168.26.200", 12345))
    assert config.bootfile.default == "pxelinux.0"
    assert (config.tftp.blocksize, config.tftp.timeout) == (512, 2.5)
    assert config.tftp.root == str(tmp_path / "images")
    access = build_access(config)
    shown = UUID("00112233-4455-6677-8899-aabbccddeeff")
    assert access.check(Client(b"", uuid=shown)).allow is True
    assert access.check(Client(b"", uuid=UUID(int=5))).allow is None
    (tmp_path / "images" / "menu.lst").write_text("real.lst\n")
    (tmp_path / "images" / "real.lst").write_text("the menu")
    opened = Files.from_config(config).open(
        FileRequest("menu.lst", "192.168.26.100", "192.168.26.1")
    )
    assert opened.body.pread(100, 0) == b"the menu"
    opened.body.close()
    assert warnings(config) == [
        ":13: [bootp] server_name: warning: is called servername: write servername = bootbox",
        ":19: [bootp] set_gateway: warning: is no option any more: write gateway = none",
        ":34: [http] timeout: warning: belongs to [bootp]: write timeout = 3 there",
    ]


def test_a_file_of_1_8_means_what_it_meant(tmp_path):
    config = read(tmp_path, "old-1.8.ini")
    bootp = config.bootp
    assert bootp.servername == "bootbox"
    assert bootp.gateway == IPv4Address("192.168.26.254")
    assert bootp.pool_count == 0
    assert config.bootfile.default == "pxelinux.0"
    assert config.bootfile.by_architecture[7] == "shimx64.efi"
    assert config.buggy == ((MacPrefix(bytes.fromhex("1c697a000000"), 24), True),)
    kept = {parse_mac(f"00:16:3e:11:22:{last}"): last for last in ("33", "34")}
    assert config.static == {
        mac: IPv4Address(f"192.168.26.{17 + int(last)}") for mac, last in kept.items()
    }
    access = build_access(config)
    verdicts = [access.check(Client(mac)).allow for mac in (*kept, parse_mac("1c-69-7a-00-00-01"))]
    assert verdicts == [None, False, True]  # None: of [static_dhcp], so it is served
    assert warnings(config) == [
        ":13: [bootpd] server_name: warning: is called servername: write servername = bootbox",
        ":19: [bootpd] set_gateway: warning: is no option any more: "
        "gateway = 192.168.26.254 is enough",
    ]


def modern(tmp_path, *lines):
    path = tmp_path / "pybootd.ini"
    path.write_text("\n".join(("[bootp]", "pool_start = 10.0.0.9", *lines)))
    config, faults = examine(path, ("bootp",))
    told = [*faults, *config.warnings]
    return config, [str(fault).removeprefix(str(path)) for fault in told]


@pytest.mark.parametrize(
    ("lines", "gateway", "told"),
    [
        (["set_gateway = yes"], "self", "write gateway = self"),
        (["set_gateway = no"], "none", "write gateway = none"),
        (
            ["Gateway = 10.0.0.1", "SET_GATEWAY = off"],
            "none",
            "write gateway = none instead of 10.0.0.1",
        ),
    ],
)
def test_set_gateway(tmp_path, lines, gateway, told):
    config, warned = modern(tmp_path, *lines)
    assert config.bootp.gateway == gateway
    assert len(warned) == 1
    assert warned[0].endswith(f"warning: is no option any more: {told}")


def test_an_old_option_that_can_not_be_read_is_a_fault(tmp_path):
    told = modern(tmp_path, "set_gateway = perhaps")[1]
    assert told == [":3: [bootp] set_gateway: 'perhaps' is neither on nor off: write on or off"]


def test_of_old_and_new_the_new_timeout_holds(tmp_path):
    lines = ("timeout = 2", "[http]", "location = 10.0.0.1", "timeout = 9")
    config, warned = modern(tmp_path, *lines)
    assert config.bootp.timeout == 2
    assert warned == [":6: [http] timeout: warning: belongs to [bootp]: write timeout = 9 there"]
    told = modern(tmp_path, "[http]", "timeout = 0")[1]
    assert told[0] == ":4: [bootp] timeout: 0 s is not from 0.1 to 60"


def test_an_unknown_option_of_http_is_a_warning_with_a_guess(tmp_path):
    told = modern(tmp_path, "[http]", "always_chek = on")[1]
    expected = "warning: unknown option, ignored (did you mean always_check?)"
    assert told == [f":4: [http] always_chek: {expected}"]


def test_dns_auto_names_the_servers_that_this_host_asks(tmp_path, monkeypatch):
    first, second = tmp_path / "resolv.conf", tmp_path / "real.conf"
    monkeypatch.setattr(interfaces, "_RESOLVERS", (first, second))
    config, told = modern(tmp_path, "dns = auto")
    assert config.bootp.dns == ()
    assert "[bootp] dns: warning: auto: this host has none" in told[0]

    first.write_text("# local\nsearch lan\nnameserver 127.0.0.53\nnameserver\nnameserver ::1\n")
    second.write_text("nameserver 10.0.0.53\noptions edns0\nnameserver 10.0.1.53\n")
    config, told = modern(tmp_path, "dns = AUTO")
    assert list(map(str, config.bootp.dns)) == ["10.0.0.53", "10.0.1.53"]
    assert told == []

    first.write_text("nameserver 10.0.0.1\n")
    assert modern(tmp_path, "dns = auto")[0].bootp.dns == (IPv4Address("10.0.0.1"),)


@pytest.mark.parametrize("name", ["old-1.5.ini", "old-1.8.ini"])
def test_check_shows_the_warnings_and_finds_no_fault(tmp_path, name):
    (tmp_path / "images").mkdir()
    shutil.copy(EXAMPLES / name, tmp_path)
    check = [sys.executable, "-m", "pybootd", "--check", "-c", name]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *warned, last = done.stdout.splitlines()
    assert last == f"{name}: no fault found"
    shown = "\n".join(warned)
    assert f"{name}:13: [bootp" in shown
    assert "server_name: warning: is called servername: write servername = bootbox" in shown
    assert shown.count("set_gateway: warning: is no option any more") == 1
