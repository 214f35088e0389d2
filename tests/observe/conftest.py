"""A lease database; and the table of injected faults behind the tests that inject them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.postgres import Cluster, running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Make a cluster that may be stopped."""
    yield from running()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table where only those tests were asked for, as ``make verdicts`` does."""
    if not config.args or not all("test_verdicts.py" in name for name in config.args):
        return
    rows, right = [], 0
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        given = dict(report.user_properties).get("verdicts")
        if report.when != "call" or given is None:
            continue
        case = re.search(r"\[(.+)\]", report.nodeid)
        fault, _, how = (case[1] if case else "").partition(": ")
        rows.append((*((fault, how) if how else ("none", f"good boot: {fault}")), given or "none"))
        right += report.passed
    terminalreporter.write_line(f"{'fault':22}{'how injected':44}verdict given")
    for row in sorted(rows, key=lambda row: row[0] == "none"):
        terminalreporter.write_line("{:22}{:44}{}".format(*row))
    terminalreporter.write_line(f"{right} right, {len(rows) - right} wrong")
