"""What several rooms' tests share: private networks, and the reason when there can be none.

With PYBOOTD_TEST_ALL=1 in the environment a test that would be skipped fails instead, so that a
machine that can run it can't forget to. A test that this kernel or system can't run, whoever sets
it up, says so: its reason starts with "this system".
"""

import ctypes
import os
import subprocess
from collections.abc import Generator, Iterator

import pytest

from pybootd.lab import debian_installer, machine
from pybootd.lab import network as private

# dhclient, dnsmasq and ip are where a user's PATH doesn't look
os.environ["PATH"] = private.PATH

ALL = os.environ.get("PYBOOTD_TEST_ALL") == "1"


def pytest_configure() -> None:
    """Give each test process a loopback of its own where it may: nobody else takes its ports."""
    if private.missing() == "":
        libc = ctypes.CDLL(None)
        if libc.unshare(private.CLONE_NEWNET) == 0:
            subprocess.run(["ip", "link", "set", "dev", "lo", "up"], check=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``net("dhclient", ...)`` or ``boot`` where what it needs is missing."""
    for mark in item.iter_markers("net"):
        if reason := private.missing(*mark.args):
            pytest.skip(reason)
    if item.get_closest_marker("boot") and (
        reason := machine.missing() or debian_installer.missing()
    ):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where every group must run."""
    report = yield
    if ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo else ""
        if not reason.startswith("this system"):
            report.outcome = "failed"
            report.longrepr = f"skipped, but every test must run here: {reason}"
    return report


@pytest.fixture
def network() -> Iterator[private.Network]:
    """Make a private network, empty; every process in it ends with the test."""
    if reason := private.missing():
        pytest.skip(reason)
    with private.Network() as made:
        yield made
