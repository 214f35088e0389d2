"""Faults injected into real exchanges, and the one verdict that each gets; good boots get none.

The daemon, its sockets and its files are real, and so is the client's conversation with it; only
the time that passes afterwards is pushed on.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import MessageType, encode
from pybootd.lab.firmware import BootError
from pybootd.lab.network import Network
from pybootd.tftp.wire import packet as tftp
from tests.files.origin import Site

from .rig import SERVER, Client, Rig

pytestmark = pytest.mark.net

EVERYBODY = ("255.255.255.255", 67)
EFI = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0\x64\x86" + bytes(3000)
ARM = EFI.replace(b"\x64\x86", b"\x64\xaa")


def discover(client: Client, times: int = 1) -> None:
    """Ask for an address and take no notice of the answers."""
    with client.broadcaster() as sock:
        for number in range(times):
            sock.sendto(encode(client.make_message(MessageType.DISCOVER, number)), EVERYBODY)
            sock.recv(2048)


def request(client: Client, times: int) -> None:
    """Ask for the address that was offered, and take no notice of the answers."""
    discover(client)
    message = client.make_message(MessageType.REQUEST, 0)
    message.options[options.SERVER_ID] = IPv4Address(SERVER).packed
    message.options[options.REQUESTED] = IPv4Address("10.7.0.100").packed
    with client.broadcaster() as sock:
        for _ in range(times):
            sock.sendto(encode(message), EVERYBODY)
            sock.recv(2048)


def take_another(client: Client, discover_first: bool = True) -> None:
    if discover_first:
        discover(client)
    message = client.make_message(MessageType.REQUEST, 0)
    message.options[options.SERVER_ID] = bytes((10, 7, 0, 9))
    message.options[options.REQUESTED] = bytes((10, 7, 0, 200))
    with client.broadcaster() as sock:
        sock.sendto(encode(message), EVERYBODY)


def proxied(client: Client) -> None:
    """Take an address of another server, and ask port 4011 for the boot file."""
    take_another(client)
    client.host.ip("address", "replace", "10.7.0.200/24", "dev", client.interface)
    message = client.make_message(MessageType.REQUEST, 0)
    message.ciaddr = IPv4Address("10.7.0.200")
    sock = client.port()
    sock.bind(("10.7.0.200", 4011))
    sock.sendto(encode(message), (SERVER, 4011))
    sock.recv(2048)


def proxied_grub(client: Client) -> None:
    proxied(client)
    client.fetch_file(IPv4Address(SERVER), "grubx64.efi", blksize=1400)


def proxied_boot(client: Client, system: bool = True) -> None:
    proxied(client)
    for name in ("loader.efi", "grub.cfg", "linux", "initrd.gz"):
        client.fetch_file(IPv4Address(SERVER), name, blksize=1400)
    if system:
        client.run_system()
        take_another(client, discover_first=False)


def arm_alone(client: Client) -> None:
    client.become(11)
    client.obtain()


def boot_file(client: Client, name: str = "loader.efi") -> Any:
    lease = client.obtain()
    client.fetch_file(lease.tftp_server, name, blksize=512)
    return lease


def misses(client: Client) -> None:
    boot_file(client)
    look_for(
        client, "revocations.efi", "grub.cfg-01-52-54-00-12-34-56", "grub.cfg-0A07", "menu.cfg"
    )


def look_for(client: Client, *names: str) -> None:
    for name in names:
        with pytest.raises(BootError):
            client.fetch_file(IPv4Address(SERVER), name)


def ask(client: Client, name: str, *acknowledged: int, **wanted: int) -> None:
    """Ask for a file, acknowledge these blocks, and be silent; the port stays open."""
    sock = client.port()
    asked = tuple((option, str(value)) for option, value in wanted.items())
    sock.sendto(tftp.encode(tftp.Rrq(name, "octet", asked)), (SERVER, 69))
    for block in acknowledged:
        _, peer = sock.recvfrom(70000)
        sock.sendto(tftp.encode(tftp.Ack(block)), peer)
    sock.recvfrom(70000)


def ask_again(client: Client, name: str, times: int) -> None:
    """Ask for a file from one port, and wait each time until no more is sent there."""
    sock = client.port()
    sock.settimeout(1)
    for _ in range(times):
        sock.sendto(tftp.encode(tftp.Rrq(name, "octet", ())), (SERVER, 69))
        with contextlib.suppress(TimeoutError):  # a busy server gives up without repeating
            for _ in range(3):
                sock.recv(2048)


def last_ack(client: Client) -> None:
    """Start the kernel before the ACK of its last block has left."""
    boot_file(client)
    all_but_last(client, "linux")


def all_but_last(client: Client, name: str) -> None:
    """Acknowledge every block but the last."""
    size = {"loader.efi": len(EFI), "linux": 200_000}[name]
    ask(client, name, *range(1, size // 512 + 1))


def lossy(client: Client) -> None:
    """Hear every second packet only, and give up in the end."""
    boot_file(client)
    sock = client.port()
    sock.sendto(tftp.encode(tftp.Rrq("linux", "octet", ())), (SERVER, 69))
    for number in range(1, 40):
        for _ in range(2):  # the first is lost
            _, peer = sock.recvfrom(2048)
        sock.sendto(tftp.encode(tftp.Ack(number)), peer)
    sock.sendto(tftp.encode(tftp.Error(0, "timeout")), peer)


def crawl(client: Client, name: str, blocks: int) -> tuple[socket.socket, Any]:
    """Acknowledge so many blocks, each 6 s after it came, and nothing is lost."""
    sock = client.port()
    sock.sendto(tftp.encode(tftp.Rrq(name, "octet", (("timeout", "60"),))), (SERVER, 69))
    for number in range(blocks + 1):
        _, peer = sock.recvfrom(2048)
        client.pass_time(6.0)
        sock.sendto(tftp.encode(tftp.Ack(number)), peer)
    return sock, peer


def slow(client: Client) -> None:
    client.obtain()
    crawl(client, "loader.efi", len(EFI) // 512 + 1)


def slow_kernel(client: Client) -> None:
    boot_file(client)
    sock, peer = crawl(client, "linux", 8)
    sock.recv(2048)
    sock.sendto(tftp.encode(tftp.Error(0, "enough")), peer)


def forbidding(client: Client) -> None:
    """Be a web server that gives nothing, too."""
    lease = client.obtain()
    with client.host.inside():
        site = Site(address=("0.0.0.0", 8098))
    serving = threading.Thread(target=site.serve_forever, args=(0.05,))
    serving.start()
    try:
        client.fetch_file(lease.tftp_server, "loader.efi")
    finally:
        site.shutdown()
        serving.join()
        site.server_close()


def large_blocks(client: Client) -> None:
    boot_file(client)
    ask(client, "linux", 0, blksize=8192)


def loop(client: Client) -> None:
    boot_file(client)
    client.run_ipxe()
    for _ in range(3):
        boot_file(client)


def start_over(client: Client) -> None:
    boot_file(client)
    client.obtain()


def kernel(client: Client) -> None:
    lease = boot_file(client)
    for name in ("grub.cfg", "linux", "initrd.gz"):
        client.fetch_file(lease.tftp_server, name, blksize=1400, windowsize=8)


def arm(client: Client) -> None:
    client.become(11)
    client.obtain()


def old_bios(client: Client) -> None:
    client.become(0)
    boot_file(client)


def fault(
    name: str, how: str, act: Callable[[Client], object], *said: str, later: float = 60, **ini: str
) -> Any:
    return pytest.param(name, act, said, later, ini, id=f"{name}: {how}")


FAULTS = [
    fault("another-server", "requests the address of 10.7.0.9", take_another, "10.7.0.9"),
    fault("not-requested", "takes no notice of one offer", discover, "10.7.0.100"),
    fault("not-requested", "hears the second offer only", lambda c: discover(c, 2), "2 of its"),
    fault("answer-lost", "takes no notice of four offers", lambda c: discover(c, 4), "4 offers"),
    fault(
        "answer-lost",
        "hears no confirmation",
        lambda c: request(c, 4),
        "confirmed 4 times",
        "UDP port 68",
    ),
    fault(
        "not-fetched",
        "iPXE asks for no script",
        lambda c: (boot_file(c), c.run_ipxe(), c.obtain()),
        "last file: loader.efi",
        bootfile="ipxe = menu.ipxe",
    ),
    fault(
        "not-fetched",
        "U-Boot where dhcp is typed three times",
        lambda c: [c.obtain() for _ in range(3)],
        "UDP port 69",
    ),
    fault("not-fetched", "its DHCPREQUEST comes twice", lambda c: request(c, 2), "UDP port 69"),
    fault(
        "refused",
        "its MAC is blocked",
        Client.obtain,
        "52-54-00/24 is blocked in [mac]",
        bootp="access = mac",
        more="[mac]\n52-54-00/24 = off",
        later=0,
    ),
    fault(
        "pool-empty",
        "a pool of no addresses",
        Client.obtain,
        "pool_count",
        bootp="pool_count = 0",
        later=0,
    ),
    fault("no-boot-file", "ARM, and no line for it", arm, "efi-arm64 = FILE", later=0),
    fault(
        "missing-file",
        "the boot file lies in another folder",
        lambda c: boot_file(c, "loader2.efi"),
        "Names like it: sub/loader2.efi",
        boot_file="loader2.efi",
        later=0,
    ),
    fault(
        "wrong-architecture",
        "a loader for ARM",
        lambda c: boot_file(c, "arm.efi"),
        "64-bit ARM",
        boot_file="arm.efi",
    ),
    fault(
        "wrong-architecture",
        "a UEFI loader for BIOS",
        old_bios,
        "x86-64",
        bootfile="bios = loader.efi",
    ),
    fault(
        "other-file-server",
        "next_server is another host",
        Client.obtain,
        "10.7.0.50",
        bootp="next_server = 10.7.0.50",
    ),
    fault("not-fetched", "asks for no file", Client.obtain, "UDP port 69"),
    fault(
        "not-fetched",
        "asks this host's HTTP server for nothing",
        Client.obtain,
        "[httpd] enable",
        boot_file=f"http://{SERVER}/loader.efi",
    ),
    fault(
        "other-file-server",
        "the URL is another host's",
        Client.obtain,
        "www.example.org",
        boot_file="http://www.example.org/loader.efi",
    ),
    fault(
        "forbidden-file",
        "a link out of the root",
        lambda c: boot_file(c, "out"),
        "outside [tftp] root",
        boot_file="out",
    ),
    fault(
        "forbidden-file",
        "another file than the one pinned",
        boot_file,
        "is not what [pins] says",
        "sha256sum FILE",
        more="[pins]\nloader.efi = sha256:" + 64 * "0",
    ),
    fault(
        "block-too-large",
        "blocks of 512 come, none of 1468",
        large_blocks,
        "blocks of 1468 octets",
        "blocksize = 1024",
    ),
    fault(
        "gave-up",
        "silent after three blocks",
        lambda c: (boot_file(c), ask(c, "linux", 1, 2, 3)),
        "1536 of 200000",
    ),
    fault(
        "gave-up",
        "silent behind its request",
        lambda c: (boot_file(c), ask(c, "linux", tsize=0)),
        "acknowledged nothing of it",
        "port_range",
    ),
    fault(
        "answer-lost",
        "nothing but its requests gets through",
        lambda c: (boot_file(c), *(ask(c, "linux") for _ in range(4))),
        "asked 4 times",
        "port_range",
    ),
    fault(
        "answer-lost",
        "asks from one port, and gets no answer",
        lambda c: (boot_file(c), ask_again(c, "grub.cfg", 4)),
        "asked 4 times",
    ),
    fault("lossy", "every second packet is lost", lossy, "sent again"),
    fault("slow", "6 s for each block of the boot file", slow, "0.07 kB/s"),
    fault("slow", "6 s for each block, gives up", slow_kernel, "0.08 kB/s", "4096 of 200000"),
    fault(
        "size-probe",
        "breaks off once it has the size",
        lambda c: c.ask_size(c.obtain().tftp_server, "loader.efi", 1468),
        "how large",
    ),
    fault(
        "size-probe",
        "asks by HEAD, and for no more",
        lambda c: (boot_file(c), c.host.run("curl", "-fsI", f"http://{SERVER}/linux")),
        "how large",
        "HEAD",
        more="[httpd]\nenable = yes",
    ),
    fault("ipxe-loop", "iPXE loads iPXE", loop, "ipxe = "),
    fault(
        "no-configuration",
        "none of its names is there",
        misses,
        "tried: grub.cfg-01-52-54-00-12-34-56, grub.cfg-0A07, menu.cfg",
    ),
    fault("secure-boot", "starts over behind the boot file", start_over, "signed", later=0),
    fault(
        "stopped",
        "starts over, and the boot file's last ACK is missing",
        lambda c: (c.obtain(), all_but_last(c, "loader.efi"), c.pass_time(9), c.obtain()),
        "last ACK",
        later=1,
    ),
    fault("no-system", "silent behind the initrd", kernel, "driver", later=200),
    fault(
        "no-system",
        "a proxy does not hear the system",
        lambda c: proxied_boot(c, system=False),
        "was not heard asking",
        later=200,
        bootp="mode = proxy",
    ),
    fault(
        "no-system", "the kernel's last ACK is lost", last_ack, "but for its last ACK", later=200
    ),
    fault("stopped", "silent behind the boot file", boot_file, "memory test"),
    fault(
        "stopped",
        "silent behind what shim does without",
        lambda c: (boot_file(c), look_for(c, "revocations_sku.efi", "shim_certificate_0.efi")),
        "file not found shim_certificate_0.efi",
    ),
    fault(
        "stopped",
        "iPXE takes no notice of our offer",
        lambda c: (boot_file(c), c.run_ipxe(), discover(c)),
        "offered 10.7.0.100",
    ),
    fault(
        "stopped",
        "iPXE goes away beside another server",
        lambda c: (proxied_grub(c), c.run_ipxe(), discover(c)),
        "offered loader.efi",
        bootp="mode = proxy",
    ),
    fault(
        "stopped",
        "the boot file's last ACK is lost",
        lambda c: (c.obtain(), all_but_last(c, "loader.efi")),
        "last ACK",
    ),
    fault(
        "proxy-not-asked",
        "a proxy's client never asks port 4011",
        take_another,
        "UDP port 4011",
        bootp="mode = proxy",
    ),
    fault(
        "other-file-server",
        "a proxy's client fetches elsewhere",
        proxied,
        "options 66 and 67",
        bootp="mode = proxy",
    ),
    fault(
        "other-file-server",
        "GRUB under a proxy fetches elsewhere",
        proxied_grub,
        "grub-mkimage",
        bootp="mode = proxy",
        later=30,
    ),
    fault(
        "no-boot-file",
        "ARM under a proxy, and no line for it",
        arm_alone,
        "efi-arm64 = FILE",
        bootp="mode = proxy",
        later=0,
    ),
    fault(
        "template",
        "a template names what nobody gave",
        lambda c: boot_file(c, "broken"),
        "broken.j2 line 1",
        boot_file="broken",
    ),
    fault(
        "origin-down",
        "no web server is at the origin",
        boot_file,
        "refused",
        more="[filters]\nloader.efi = http://127.0.0.1:9/loader.efi",
    ),
    fault(
        "origin-down",
        "the origin answers 403",
        forbidding,
        "403",
        more="[filters]\nloader.efi = http://10.7.0.100:8098/status/403/loader.efi",
    ),
    fault(
        "authorization-silent",
        "no web server is at its address",
        Client.obtain,
        "127.0.0.1:9",
        bootp="access = http\ntimeout = 0.5",
        more="[http]\nlocation = 127.0.0.1:9",
        later=0,
    ),
]


def make(network: Network, folder: Path, **ini: str) -> Rig:
    rig = Rig(network, folder, **ini)
    for name, content in {
        "loader.efi": EFI,
        "broken.j2": b"{{ nope }}",
        "sub/loader2.efi": EFI,
        "arm.efi": ARM,
        "grub.cfg": b"linux",
        "grubx64.efi": EFI,
        "linux": 200_000,
        "initrd.gz": 400_000,
    }.items():
        rig.put(name, content)
    (folder / "boot" / "out").symlink_to("/etc/hostname")
    return rig


@pytest.mark.parametrize(("name", "act", "said", "later", "ini"), FAULTS)
def test_a_fault_gets_its_verdict_and_no_other(
    record_property: Callable[[str, object], None],
    network: Network,
    tmp_path: Path,
    name: str,
    act: Callable[[Client], object],
    said: tuple[str, ...],
    later: float,
    ini: dict[str, str],
) -> None:
    with make(network, tmp_path, **ini) as rig:
        rig.run(act, later)
        found = [verdict for verdict in rig.verdicts() if verdict is not None]
        record_property("verdicts", ", ".join(verdict.code for verdict in found))
        assert [verdict.code for verdict in found] == [name]
        told = " ".join((found[0].problem, found[0].advice, *found[0].evidence))
        for words in said:
            assert words in told


def pxelinux(client: Client, system: bool = True) -> None:
    client.become(0)
    lease = boot_file(client, "pxelinux.0")
    for name in ("pxelinux.cfg/00112233", "pxelinux.cfg/01-52-54-00-12-34-56", "ldlinux.e64"):
        with pytest.raises(BootError):
            client.fetch_file(lease.tftp_server, name, blksize=1408, tsize=0)
    for name in ("pxelinux.cfg/default", "linux", "initrd.gz"):
        client.fetch_file(lease.tftp_server, name, blksize=1408, tsize=0)
    if system:
        client.system_up()


def grub(client: Client, system: bool = True, window: int = 4) -> None:
    lease = client.obtain()
    client.ask_size(lease.tftp_server, "loader.efi", 1468)
    client.fetch_file(lease.tftp_server, "loader.efi", blksize=1468, windowsize=window)
    for name in ("revocations_sku.efi", "shim_certificate_0.efi"):
        with pytest.raises(BootError):
            client.fetch_file(lease.tftp_server, name)
    for name in ("/grub.cfg", "/linux", "/initrd.gz"):
        client.fetch_file(lease.tftp_server, name, blksize=1024, tsize=0)
    if system:
        client.system_up()


def ipxe(client: Client, system: bool = True, whole: bool = True) -> None:
    """Load iPXE with another ROM, then its script; or start it before the last ACK has left."""
    if whole:
        boot_file(client)
    else:
        client.obtain()
        all_but_last(client, "loader.efi")
    client.run_ipxe()
    lease = client.obtain()
    for name in ("menu.ipxe", "linux", "initrd.gz"):
        client.fetch_file(lease.tftp_server, name, blksize=1432, tsize=0)
    if system:
        client.system_up()


def grub_asks_for_an_address(client: Client) -> None:
    """Let the loader ask by DHCP, as GRUB's net_dhcp does: that is no system yet."""
    lease = boot_file(client)
    before = client.extra
    client.system_up()
    client.extra = before
    for name in ("grub.cfg", "linux", "initrd.gz"):
        client.fetch_file(lease.tftp_server, name)
    client.system_up()


def u_boot(client: Client) -> None:
    for name in ("loader.efi", "linux", "initrd.gz"):
        client.become(21, "U-Boot.armv7")
        lease = client.obtain()
        client.fetch_file(lease.tftp_server, name, timeout=5, blksize=1468)
    client.system_up()


def http_boot(client: Client) -> None:
    """Fetch everything from the daemon's own HTTP server."""
    client.become(16, "HTTPClient:Arch:00016:UNDI:003000")
    client.obtain()
    for name in ("loader.efi", "grub.cfg", "linux", "initrd.gz"):
        client.host.run("curl", "-fsI", f"http://{SERVER}/{name}")
        client.host.run("curl", "-fs", "-o", "/dev/null", f"http://{SERVER}/{name}")
    client.system_up()


def again(act: Callable[[Client], object], times: int = 2) -> Callable[[Client], None]:
    def repeat(client: Client) -> None:
        for _ in range(times):
            client.extra = {}
            act(client)

    return repeat


GOOD = {
    "pxelinux": (pxelinux, 1000.0),
    "pxelinux-now": (pxelinux, 0.0),
    "pxelinux-kernel-starts": (lambda c: pxelinux(c, system=False), 60.0),
    "pxelinux-three-times": (again(pxelinux, 3), 1000.0),
    "grub": (grub, 1000.0),
    "grub-now": (grub, 0.0),
    "grub-kernel-starts": (lambda c: grub(c, system=False), 60.0),
    "grub-ten-times": (again(grub, 10), 1000.0),
    "grub-window-1": (lambda c: grub(c, window=1), 1000.0),
    "grub-window-16": (lambda c: grub(c, window=16), 1000.0),
    "grub-dhcp": (grub_asks_for_an_address, 1000.0),
    "ipxe": (ipxe, 1000.0),
    "ipxe-now": (ipxe, 0.0),
    "ipxe-kernel-starts": (lambda c: ipxe(c, system=False), 60.0),
    "ipxe-last-ack": (lambda c: ipxe(c, whole=False), 1000.0),
    "kernel-last-ack": (last_ack, 60.0),
    "ipxe-twice": (again(ipxe), 1000.0),
    "u-boot": (u_boot, 1000.0),
    "http-boot": (http_boot, 1000.0),
    "loader-just-now": (boot_file, 5.0),
    "address-just-now": (Client.obtain, 5.0),
    "offer-just-now": (discover, 5.0),
}


def test_a_good_boot_beside_another_server_gets_no_verdict(
    network: Network, tmp_path: Path
) -> None:
    with make(network, tmp_path, bootp="mode = proxy") as rig:
        rig.run(proxied_boot, 1000.0)
        assert rig.verdicts() == [None]


def test_grub_under_a_proxy_may_wait_in_its_menu(network: Network, tmp_path: Path) -> None:
    def wait(client: Client) -> None:
        proxied_grub(client)
        client.fetch_file(IPv4Address(SERVER), "grub.cfg", blksize=1400)

    with make(network, tmp_path, bootp="mode = proxy") as rig:
        rig.run(wait, 1000.0)
        assert [verdict and verdict.code for verdict in rig.verdicts()] == ["stopped"]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_boot_gets_no_verdict(
    record_property: Callable[[str, object], None], network: Network, tmp_path: Path, name: str
) -> None:
    act, later = GOOD[name]
    more = "bios = pxelinux.0\nipxe = menu.ipxe\nuboot-arm32 = loader.efi\n"
    more += f"http-efi-x86_64 = http://{SERVER}/loader.efi"
    with make(network, tmp_path, bootfile=more, more="[httpd]\nenable = yes") as rig:
        for file in ("pxelinux.0", "pxelinux.cfg/default", "menu.ipxe"):
            rig.put(file, 2000)
        rig.run(act, later)
        assert rig.verdicts()
        found = [verdict for verdict in rig.verdicts() if verdict is not None]
        record_property("verdicts", ", ".join(verdict.code for verdict in found))
        assert found == []
