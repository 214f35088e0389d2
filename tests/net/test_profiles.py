"""What is set for one client or a class of them, as far as the files that they get."""

from uuid import UUID

import pytest

INI = """\
[bootp]
pool_start = 192.168.1.100
leases = memory
conflict_check = off
[client 52-54-00-12-34-56]
address = 192.168.1.7
colour = red
[class pc]
match vendor_class = PXEClient:Arch:00000*
boot_file = first.0
colour = blue
size = big
[tftp]
root = ./files
[filters]
paint = {colour}/{size}.txt
"""
MACHINE = UUID("00112233-4455-6677-8899-aabbccddeeff")


@pytest.mark.net("curl")
def test_a_client_and_its_class_up_to_the_file(lan, firmware, daemon, tmp_path):
    for colour in ("red", "blue"):
        (tmp_path / "files" / colour).mkdir(parents=True)
        (tmp_path / "files" / colour / "big.txt").write_text(colour)
    daemon(INI)
    _, client = lan
    for mac, address, colour in (
        ("52:54:00:12:34:56", "192.168.1.7", "red"),
        ("52:54:00:00:00:02", "192.168.1.100", "blue"),
    ):
        ack = firmware.boot(mac, MACHINE)
        assert (str(ack.yiaddr), ack.file) == (address, b"first.0")
        client.ip("address", "add", f"{address}/24", "dev", "eth0")
        fetch = ("curl", "-sS", "--interface", address, "tftp://192.168.1.1/paint")
        assert client.run(*fetch).stdout == colour
