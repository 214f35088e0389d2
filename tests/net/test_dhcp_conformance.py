"""Every behaviour of dhcp_rows, of the real daemon."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Network

from .dhcp_rows import Row
from .dhcp_rows_reported import ROWS
from .dhcp_servers import pybootd_ini
from .dhcp_wire import Wire, wired

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder: Path = tmp_path_factory.mktemp("conformance")
    with Network() as network, wired(network) as (server, made):
        ini = folder / "pybootd.ini"
        ini.write_text(pybootd_ini(folder))
        with DaemonProcess(server, ini, folder / "log", (67,), "-p"):
            yield made
    assert "Traceback" not in (folder / "log").read_text()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.source}: {row.name}")
def test_row(row: Row, wire: Wire) -> None:
    row.check(wire)
