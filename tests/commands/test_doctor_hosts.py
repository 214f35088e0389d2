"""pybootd doctor on well hosts of many kinds, and on hosts with one thing wrong."""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from . import hosts

pytestmark = pytest.mark.net("dnsmasq", "nft", "iptables")


@pytest.fixture
def folder():
    """Make a folder that other users can look into, as those of pytest they can't."""
    with tempfile.TemporaryDirectory(prefix="pybootd-doctor-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def examine(network, folder):
    def run(host_kind):
        bench = hosts.Bench(network, folder)
        wanted = host_kind(bench)
        wait = ("-w", bench.wait) if bench.wait else ()
        words = (sys.executable, "-m", "pybootd", "doctor", "-c", bench.ini(), *wait, "--json")
        done = bench.host.run(*words, check=False)
        assert done.stderr == ""
        found = json.loads(done.stdout)["findings"]
        return wanted, [one for one in found if one["grade"] != "fine"]

    return run


@pytest.mark.parametrize("kind", hosts.CLEAN, ids=lambda kind: kind.__name__)
def test_a_host_that_is_well_has_no_fault(examine, kind):
    _, found = examine(kind)
    assert found == []


@pytest.mark.parametrize("kind", hosts.WRONG, ids=lambda kind: kind.__name__)
def test_what_is_wrong_is_named(examine, kind):
    wanted, found = examine(kind)
    # where answers may not leave, other servers can't be asked for either
    assert {one["code"] for one in found} - {"other-servers-unasked"} == {wanted}, found
