"""Configuration files of pybootd 1: they start, and serve as they say."""

from pathlib import Path
from uuid import UUID

import pytest

EXAMPLES = Path(__file__).parents[1] / "config/examples"
LISTED = UUID("00112233-4455-6677-8899-aabbccddeeff")


@pytest.fixture
def start(lan, daemon, tmp_path):
    """Start the daemon with an example; the server has the address that the file is made for."""
    lan[0].ip("address", "add", "192.168.26.1/24", "broadcast", "+", "dev", "eth0")
    (tmp_path / "images").mkdir()
    return lambda name: daemon((EXAMPLES / name).read_text())


@pytest.mark.net
def test_1_5(start, firmware):
    log = start("old-1.5.ini")
    ack = firmware.boot("52:54:00:12:34:56", LISTED)
    assert (str(ack.yiaddr), ack.file) == ("192.168.26.100", b"pxelinux.0")
    assert 3 not in ack.options  # set_gateway = false
    assert ack.options[51] == (7200).to_bytes(4)
    assert firmware.boot("52:54:00:12:34:57", UUID(int=1), patience=0.3) is None
    log.line_of("52:54:00:12:34:57 refused: 00000000-0000-0000-0000-000000000001 is not in [uuid]")
    log.line_of("[bootp] set_gateway: warning: is no option any more: write gateway = none")


@pytest.mark.net
def test_1_8(start, firmware):
    log = start("old-1.8.ini")
    ack = firmware.boot("00:16:3e:11:22:33")
    assert (str(ack.yiaddr), ack.file) == ("192.168.26.50", b"pxelinux.0")
    assert ack.options[3] == bytes((192, 168, 26, 254))
    for mac, told in (
        ("00:16:3e:11:22:34", "refused: 00-16-3E-11-22-34 is blocked in [mac]"),
        ("52:54:00:12:34:56", "refused: not in [mac]"),
        ("1c:69:7a:00:00:01", ""),  # allowed, but the pool is empty
    ):
        assert firmware.boot(mac, patience=0.3) is None
        log.line_of(f"{mac} {told}")
    log.line_of("[bootpd] server_name: warning: is called servername")
