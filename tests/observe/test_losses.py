"""Boots in which a packet got lost: what is said of them, and that nothing false is.

As in ``test_verdicts.py``, daemon and conversation are real, and time is pushed on.
"""

from pathlib import Path

import pytest

from pybootd.tftp import packet as tftp
from pybootd.tools.network import Network

from .rig import SERVER, Client
from .test_verdicts import EFI, ask, make

pytestmark = pytest.mark.net


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


# what was done, the seconds that pass then, and the steps that are told at the end
WENT_WELL = {
    "the ERROR of a probe": (probe_goes_on, 1000.0, ("client silent", "done")),
}


@pytest.mark.parametrize("lost", WENT_WELL)
def test_a_boot_that_went_well_has_no_fault(network: Network, tmp_path: Path, lost: str) -> None:
    act, later, ends = WENT_WELL[lost]
    with make(network, tmp_path) as rig:
        rig.run(act, later)
        assert [one for one in rig.verdicts() if one is not None and one.grade == "fault"] == []
        assert rig.ends() == ends
