"""pybootd probe against real servers: ours, dnsmasq as DHCP server and as proxy, and nobody."""

import json
import sys
import time

import pytest

from pybootd.lab.daemon_process import DaemonProcess

pytestmark = pytest.mark.net("dnsmasq")

EFI = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0\x64\x86" + bytes(3000)
DNSMASQ = (
    *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"),
    *("--interface=eth0", "--no-ping", "--no-resolv", "--log-facility=-"),
)


class Net:
    """A server, a client with an address, and another server, on one switch."""

    def __init__(self, network, folder):
        self.folder = folder
        lan = network.switch()
        self.server, self.client, self.other = map(network.host, ("server", "client", "other"))
        self.server.plug(lan, "10.7.0.1/24")
        self.client.plug(lan, "10.7.0.9/24")
        self.other.plug(lan, "10.7.0.2/24")
        root = folder / "boot"
        root.mkdir()
        (root / "loader.efi").write_bytes(EFI)
        (root / "pxelinux.0").write_bytes(b"\xfa" * 3000)

    def pybootd(self, bootp="", more=""):
        ini = self.folder / "pybootd.ini"
        ini.write_text(
            f"[bootp]\nleases = memory\nconflict_check = off\n{bootp}\n[tftp]\nroot = ./boot\n"
            f"[status]\nport = 0\n{more}"
        )
        return DaemonProcess(self.server, ini, self.folder / "daemon.log")

    def dnsmasq(self, host, *options, ports=(67,)):
        files = [f"--pid-file={self.folder}/{host.name}.pid"]
        files += [f"--dhcp-leasefile={self.folder}/{host.name}.leases"]
        process = host.popen(*DNSMASQ, *files, *options)
        for _ in range(500):
            if set(ports) <= host.udp_ports():
                return
            assert process.poll() is None
            time.sleep(0.01)
        raise AssertionError("dnsmasq does not serve")

    def probe(self, *options):
        words = (sys.executable, "-m", "pybootd", "probe", "-i", "eth0", "-w", "1", *options)
        return self.client.run(*words, check=False)

    def facts(self, *options):
        done = self.probe("--json", *options)
        found = json.loads(done.stdout)
        assert (done.returncode == 0) == found["boots"]
        return found


@pytest.fixture
def net(network, tmp_path):
    return Net(network, tmp_path)


def codes(found):
    return [one["code"] for one in found["findings"]]


POOL = "pool_start = 10.7.0.100"
BOTH = "[bootfile]\nbios = pxelinux.0\nefi-x86_64 = loader.efi\nefi-arm64 = loader.efi\n"


def test_our_server(net):
    with net.pybootd(POOL, BOTH):
        found = net.facts()
        assert found["boots"], found
        assert (found["fetched"], found["program"]) == (len(EFI), "a UEFI program for x86-64")
        assert net.facts("-a", "bios")["boots"]
        assert codes(net.facts("-a", "efi-arm64")) == ["boot-file-architecture"]
        (none,) = net.facts("-a", "efi-riscv64")["findings"]
        assert none["code"] == "no-boot-file"
        assert "[bootfile] efi-riscv64 = FILE" in none["advice"]
        (net.folder / "boot" / "loader.efi").unlink()
        gone = net.facts()
        assert codes(gone) == ["boot-file-not-fetched"]
        shown = net.probe()
        assert shown.returncode == 1
        assert "no such file" in shown.stdout


def test_an_interface_without_an_address_asks_and_cannot_fetch(net):
    net.client.ip("address", "flush", "dev", "eth0")
    with net.pybootd(POOL, BOTH):
        (told,) = net.facts()["findings"]
        assert told["code"] == "boot-file-not-fetched"
        assert (
            "eth0 has no address to fetch it with: give it one of that network" in told["problem"]
        )
        assert net.facts("--no-fetch")["boots"]


def test_dnsmasq_and_ours_side_by_side(net):
    range_ = "--dhcp-range=10.7.0.150,10.7.0.160,255.255.255.0,600"
    net.dnsmasq(net.other, range_)
    with net.pybootd("mode = proxy", BOTH):
        found = net.facts()
        assert found["boots"], found
        kinds = {(one["server"], one["port"], bool(one["address"])) for one in found["answers"]}
        assert kinds == {("10.7.0.2", 67, True), ("10.7.0.1", 67, False), ("10.7.0.1", 4011, False)}
        assert found["answers"][found["chosen"]]["port"] == 4011
        shown = net.probe().stdout
        for words in ("DHCP server", "proxy", "boot server", "This machine would boot."):
            assert words in shown


def test_dnsmasq_alone_as_server_and_as_proxy(net):
    tftp = ("--enable-tftp", f"--tftp-root={net.folder}/boot")
    range_ = "--dhcp-range=10.7.0.150,10.7.0.160,255.255.255.0,600"
    net.dnsmasq(net.server, range_, "--dhcp-boot=loader.efi", *tftp)
    found = net.facts()
    assert found["boots"], found
    assert found["fetched"] == len(EFI)
    proxy = ("--dhcp-range=10.7.0.0,proxy", "--pxe-service=x86-64_EFI,Boot,loader.efi", *tftp)
    net.dnsmasq(net.other, *proxy, ports=(67, 4011))
    found = net.facts()
    assert found["boots"], found
    assert {one["server"] for one in found["answers"]} == {"10.7.0.1", "10.7.0.2"}


def test_nobody_is_there_or_two_are(net):
    found = net.facts()
    assert codes(found) == ["no-answer"]
    with net.pybootd(POOL, BOTH):
        net.dnsmasq(net.other, "--dhcp-range=10.7.0.150,10.7.0.160,255.255.255.0,600")
        found = net.facts()
        assert found["boots"]
        (told,) = found["findings"]
        assert (told["code"], told["grade"]) == ("several-servers", "warning")
        assert "(10.7.0.1, 10.7.0.2)" in told["problem"]


def test_http_boot(net):
    files = "[bootfile]\nhttp-efi-x86_64 = http://10.7.0.1/loader.efi\n[httpd]\nenable = yes\n"
    with net.pybootd(POOL, files):
        found = net.facts("-a", "http-efi-x86_64")
        assert found["boots"], found
        assert found["fetched"] == len(EFI)


def test_no_such_interface_is_one_line(net):
    done = net.client.run(sys.executable, "-m", "pybootd", "probe", "-i", "no0", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pybootd probe: there is no network interface no0\n"
