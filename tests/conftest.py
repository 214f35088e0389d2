"""What several rooms' tests share: private networks, and the reason when there can be none.

With PYBOOTD_TEST_ALL=1 in the environment a test that would be skipped fails instead, so that a
machine that can run it can't forget to. A test that this kernel or system can't run, however it
is set up, says so: its reason starts with "this system".
"""

import ctypes
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from pybootd.core.loop import Loop
from pybootd.lab import debian_installer, machine
from pybootd.lab import network as private

# dhclient, dnsmasq and ip are where a user's PATH doesn't look
os.environ["PATH"] = private.PATH

ROOT = Path(__file__).parents[1]
MAX_CALLBACK_S, MAX_WAIT_S = 0.05, 0.5
ALL = os.environ.get("PYBOOTD_TEST_ALL") == "1"


def pytest_configure() -> None:
    """Give each test process its own loopback where it may: nobody else takes its ports."""
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


@pytest.fixture(autouse=True)
def _no_callback_holds_the_loop_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which a callback of the loop held it up.

    It may take MAX_CALLBACK_S of the processor. What it waits for is told by the clock, less the
    time for which the system let others run; other threads of the test wait for the same
    interpreter, so that bound is wider. ``slow_callbacks`` marks tests that are a callback.
    """
    slow: list[str] = []

    def guard(callback: Callable[[float], None]) -> Callable[[float], None]:
        def timed(now: float) -> None:
            collecting = gc.isenabled()
            gc.disable()  # what all tests have made takes a collection a tenth of a second
            began, used, delayed = time.monotonic(), time.thread_time(), run_delay()
            try:
                callback(now)
            finally:
                used = time.thread_time() - used
                if collecting:
                    gc.enable()
                waited = time.monotonic() - began - (run_delay() - delayed)
                if (used > MAX_CALLBACK_S or waited > MAX_WAIT_S) and is_slow(used, waited):
                    name = getattr(callback, "__qualname__", repr(callback))
                    slow.append(f"{name}: {used * 1000:.0f} ms of CPU, {waited * 1000:.0f} ms")

        return timed

    Loop.guard = staticmethod(guard)
    yield
    Loop.guard = None
    if not request.node.get_closest_marker("slow_callbacks"):
        assert slow == []


def is_slow(used: float, waited: float) -> bool:
    """Tell whether a callback took too long for how fast this machine is at the moment.

    A busy host gives its guests less of a processor than they are told: a sum shows how much less.
    """
    slowness = max(1.0, _seconds_of_a_sum() / BEST_SUM_S)
    return used > MAX_CALLBACK_S * slowness or waited > MAX_WAIT_S * slowness


def _seconds_of_a_sum() -> float:
    began = time.thread_time()
    sum(range(100_000))
    return time.thread_time() - began


BEST_SUM_S = min(_seconds_of_a_sum() for _ in range(20))


def run_delay() -> float:
    """Return the seconds for which this thread was ready and others ran (proc(5))."""
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) / 1e9
    except OSError:
        return 0.0


@pytest.fixture
def network() -> Iterator[private.Network]:
    """Make a private network, empty; every process in it ends with the test."""
    if reason := private.missing():
        pytest.skip(reason)
    with private.Network() as made:
        yield made


@pytest.fixture
def unprivileged():
    """Return a function that finds a Python which another user can run in a user namespace.

    It takes the module that this Python must be able to import, and returns a command;
    ``inside``: one that enters the user namespace first.
    """

    def find(module, inside=False):
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        enter = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
        for python in (sys.executable, "/usr/bin/python3"):
            command = [*become, *enter, python]
            tried = [*command, "-c", f"import {module}"]
            if subprocess.run(tried, capture_output=True, cwd=ROOT).returncode == 0:
                return command if inside else [*become, python]
        pytest.skip("this system lets no unprivileged user make a namespace, or run a Python in it")

    return find
