"""Boots in which a packet got lost: what is said of them, and that nothing false is.

As in ``test_verdicts.py``, daemon and conversation are real, and time is pushed on.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from pybootd.core.finding import Grade
from pybootd.lab.network import Network
from pybootd.tftp.wire import packet as tftp

from .rig import SERVER, Client
from .test_verdicts import EFI, ask, boot_file, discover, make, request

pytestmark = pytest.mark.net

TOOL = 288 * 512 - 10  # octets: 18 windows of 16 blocks


def fetch_slowly(client: Client, name: str, size: int) -> None:
    """Fetch a file, each block of which takes a second."""
    sock = client.port()
    sock.sendto(tftp.encode(tftp.Rrq(name, "octet", (("timeout", "60"),))), (SERVER, 69))
    for number in range(size // 512 + 2):
        _, peer = sock.recvfrom(2048)
        client.pass_time(1.0)
        sock.sendto(tftp.encode(tftp.Ack(number)), peer)


def probe_goes_on(client: Client) -> None:
    """Lose the ERROR that ends the question for a file's size, and fetch the file."""
    client.obtain()
    ask(client, "loader.efi", tsize=0)
    fetch_slowly(client, "loader.efi", len(EFI))


def without_last_ack(name: str, **wanted: int) -> Callable[[Client], None]:
    """Wait behind a file that came in one window, and whose only ACK got lost."""

    def act(client: Client) -> None:
        boot_file(client)
        ask(client, name, *([0] if wanted else []), **wanted)

    return act


def fetch_in_windows(client: Client, *lost: int) -> None:
    """Fetch a file in windows of 16 blocks; the ACKs of some blocks get lost, once."""
    client.obtain()
    sock, got, payload, deaf = client.port(), 0, 512, set(lost)
    asked = (("windowsize", "16"), ("timeout", "1"))  # a busy machine must not end it
    sock.sendto(tftp.encode(tftp.Rrq("tool.efi", "octet", asked)), (SERVER, 69))
    _, peer = sock.recvfrom(2048)
    sock.sendto(tftp.encode(tftp.Ack(0)), peer)
    while payload == 512:
        data = sock.recv(2048)
        again, fresh = (int.from_bytes(data[2:4]) == got + more for more in (0, 1))
        got, payload = got + fresh, len(data) - 4 if fresh else payload
        if (again or (fresh and (got % 16 == 0 or payload < 512))) and got not in deaf:
            sock.sendto(tftp.encode(tftp.Ack(got)), peer)
        deaf.discard(got)


def hear_no_ack(client: Client, name: str) -> None:
    """Ask for an address; the DHCPACK gets lost, and U-Boot begins again."""
    client.become(21, "U-Boot.armv7")
    request(client, 1)
    client.pass_time(5.0)
    client.fetch_file(client.obtain().tftp_server, name)


def u_boot(client: Client) -> None:
    for name in ("loader.efi", "linux", "initrd.gz"):
        hear_no_ack(client, name)
    client.system_up()


def ipxe(client: Client) -> None:
    """Be loaded, and hear the second offer only."""
    boot_file(client)
    client.run_ipxe()
    discover(client, 2)
    client.fetch_file(client.obtain().tftp_server, "linux")
    client.system_up()


# what was done, the seconds that pass then, and the steps that are told at the end
WENT_WELL = {
    "the ERROR of a probe": (probe_goes_on, 1000.0, ("silent", "done")),
    "the request behind a probe, so far": (
        lambda c: (c.obtain(), ask(c, "loader.efi", tsize=0)),
        10.0,
        ("silent",),
    ),
    "the ACK of a small file": (
        without_last_ack("grub.cfg", blksize=1024),
        1000.0,
        ("done", "silent"),
    ),
    "the ACK of a small file, no options": (
        without_last_ack("grub.cfg"),
        1000.0,
        ("done", "silent"),
    ),
    "the ACK of a loader in one window": (
        without_last_ack("grubx64.efi", windowsize=16),
        1000.0,
        ("done", "silent"),
    ),
    "one ACK of a window": (lambda c: fetch_in_windows(c, 32), 1000.0, ("done",)),
    "the ACK of the last window": (
        lambda c: fetch_in_windows(c, TOOL // 512 + 1),
        1000.0,
        ("silent",),
    ),
    "U-Boot's DHCPACKs": (u_boot, 1000.0, ("done", "done", "done")),
    "the offers to iPXE": (ipxe, 1000.0, ("done", "done")),
    "the last ACK to a patient server": (
        lambda c: (c.obtain(), ask(c, "loader.efi", *range(6), timeout=60)),
        1000.0,
        ("silent",),
    ),
}


@pytest.mark.parametrize("lost", WENT_WELL)
def test_a_boot_that_went_well_has_no_fault(
    network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    act, later, ends = WENT_WELL[lost]
    more = "ipxe = menu.ipxe\nuboot-arm32 = loader.efi"
    with make(network, tmp_path, bootfile=more) as rig:
        rig.put("tool.efi", TOOL)
        rig.run(act, later)
        (verdict,) = rig.verdicts()  # of one boot
        assert verdict is None or verdict.grade is not Grade.FAULT
        assert rig.ends() == ends
        warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        assert [one for one in warnings if "ACK" in one] == []
