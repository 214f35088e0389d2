"""Run groups of checks one after the other, whatever becomes of one, and sum up at the end.

A group of which every test was skipped counts as skipped; with PYBOOTD_TEST_ALL=1 in the
environment that is a failure.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import lowest

ROOT = Path(__file__).parent.parent
BIN = ROOT / ".venv" / "bin"
LINT = (
    ("ruff", "check", "--quiet", "."),
    ("ruff", "format", "--quiet", "--check", "."),
    ("mypy", "--no-error-summary", "--strict", "pybootd"),
    ("lint-imports", "--no-cache"),
    ("python", "tests/words.py"),
)
MARKS = {
    "unit": "not net and not boot",
    "lowest": "not net and not boot",
    "net": "net and not boot",
    "boot": "boot",
}
NOTHING_RAN = 5  # pytest's exit status when no test was collected


def lint() -> tuple[str, str]:
    """Run the checkers; say nothing of those that find nothing."""
    failed = []
    for command in LINT:
        done = subprocess.run(
            [BIN / command[0], *command[1:]], cwd=ROOT, text=True, capture_output=True
        )
        if done.returncode:
            failed.append(command[-1] if command[0] == "python" else command[0])
            print(done.stdout + done.stderr)
    if failed:
        return "FAILED", ", ".join(failed)
    return "passed", "ruff check, ruff format, mypy --strict, import rules, words"


def tests(group: str) -> tuple[str, str]:
    """Run one group of tests on two cores, its output shown as it comes."""
    options = ["-q", "-n", "2", "--dist", "worksteal", "-m", MARKS[group]]
    if group == "lowest":
        try:
            command = [lowest.make(), "-m", "pytest", *options]
        except subprocess.CalledProcessError as error:
            return "FAILED", f"{error.cmd[0]} ended with {error.returncode}"
    else:
        command = [BIN / "pytest", *options]
    counts, reasons = "", []
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if re.search(r"\d+ \w+.* in \d", line):
                counts = line.strip("= \n")
            if skipped := re.match(r"SKIPPED \[\d+\] \S+: (.+)", line):
                reasons.append(skipped[1])
    must = os.environ.get("PYBOOTD_TEST_ALL") == "1" and group not in ("unit", "lowest")
    if process.returncode not in (0, NOTHING_RAN):
        return "FAILED", counts or f"pytest ended with {process.returncode}"
    if " passed" not in f" {counts}":
        why = ", ".join(dict.fromkeys(reasons)) or "no test in this group"
        return ("FAILED" if must else "skipped"), why
    return "passed", counts


def main(groups: list[str]) -> int:
    """Run the groups and sum up; 1 when one has failed."""
    results, summary = [], []
    for group in groups:
        print(f"--- {group}", flush=True)
        began = time.monotonic()
        result, said = lint() if group == "lint" else tests(group)
        results.append(result)
        summary.append(f"{group:6} {result:7} {time.monotonic() - began:4.0f} s  {said}")
    print("--- summary", *summary, sep="\n")
    if "FAILED" in results:
        print("not everything passed")
        return 1
    skipped = results.count("skipped")
    print(f"all passed but {skipped} skipped" if skipped else "all passed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
