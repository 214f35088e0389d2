"""What the README promises of a fresh machine: its commands in a bare Debian 12 and 13.

Usage: python -m tests.boot.fresh [RELEASE...]      (as root; a line for each step)

Each release is installed by debootstrap with git, make and python3 alone. The last commit is cloned
into root's home, and the commands are run there as a user would, with this machine's network.
"""

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from pybootd.lab import network

from .debian import Debian, DebianError, run

TOP = Path(__file__).parents[2]
RELEASES = ("bookworm", "trixie")  # 12 and 13
BARE = ("git", "make", "python3")
COMMANDS = (
    ("make", "demo"),
    ("make", "test"),
    ("make", "demo", "FIRMWARE=bios"),
    ("make", "demo", "FIRMWARE=uefi"),
)
PATIENCE_S = 3 * 3600.0
# as on a machine: a virtual PC needs tun, a test of systemd its control groups
MORE = """
mkdir run/lock dev/net; : >dev/net/tun; mount --bind /dev/net/tun dev/net/tun
mount -o remount,rw sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
"""
OWN = {"trixie": "mount -t tmpfs -o mode=1777 tmpfs tmp\n"}  # what its systemd does


def measure(folder):
    """Return the octets that a folder takes on disk."""
    return int(run("du", "-sxB1", folder).stdout.split()[0])


def try_command(debian, log, *words):
    """Run a command in the clone; what it took, and its last lines when it failed."""
    began, before = time.monotonic(), measure(debian.root)
    script = debian.script(
        "try", 'PYBOOTD_TEST_ALL=1 sh -c "cd /root/pybootd && $*"', MORE + OWN.get(debian.name, "")
    )
    with log.open("w") as said:
        done = subprocess.run(
            debian.apart("sh", script, *words),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
        )
    took, grown = time.monotonic() - began, (measure(debian.root) - before) / 1e6
    lines = log.read_text(errors="replace").splitlines()
    failed = done.returncode != 0
    said = f"{'FAILED' if failed else 'passed'}, {grown:.0f} MB more on disk"
    print(f"{took:7.1f} s  {' '.join(words):24} {said}")
    shown = lines[-40:] if failed else summary(lines)
    print(*(f"            {line}" for line in shown), sep="\n", flush=True)
    return not failed


def summary(lines):
    """Return what a command said at its end: the table of the groups, or the last line."""
    with contextlib.suppress(ValueError):
        return lines[lines.index("--- summary") + 1 :]
    told = [line for line in lines if line.strip()]
    return [re.sub(r"\s+", " ", told[-1])] if told else []


def copy_pip(root):
    """Let pip in the folder reach its index as it does here: address, proxy, certificates."""
    told = run(sys.executable, "-m", "pip", "config", "list").stdout
    found = dict(re.findall(r"^(?:global|:env:)\.(cert|index-url|proxy)='(.*)'$", told, re.M))
    if "cert" in found:
        shutil.copy(found["cert"], root / "etc/pip-certificates.pem")
        found["cert"] = "/etc/pip-certificates.pem"
    lines = [f"{name} = {value}" for name, value in found.items()]
    (root / "etc/pip.conf").write_text("\n".join(["[global]", *lines, ""]))


def try_release(name, logs):
    """Make the release, clone, and try every command; whether all of them passed."""
    with Debian(name) as debian:
        began = time.monotonic()
        debian.make(*BARE)
        copy_pip(debian.root)
        version = (debian.root / "etc/debian_version").read_text().strip()
        took, size = time.monotonic() - began, measure(debian.root) / 1e6
        said = f"{', '.join(BARE)} alone, {size:.0f} MB"
        print(f"{took:7.1f} s  Debian {version} ({name}): {said}", flush=True)
        run("git", "clone", "-q", "--no-local", TOP, debian.root / "root/pybootd")
        failed = 0
        for number, words in enumerate(COMMANDS, 1):
            failed += not try_command(debian, logs / f"{name}-{number}.log", *words)
        return not failed


def main(names):
    for number in (signal.SIGTERM, signal.SIGHUP):  # what was made is taken away then, too
        signal.signal(number, lambda *_: sys.exit(1))
    if reason := network.missing("debootstrap", "git"):
        print(f"make fresh: {reason}", file=sys.stderr)
        return 1
    logs = TOP / ".cache" / "fresh"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    try:
        passed = [try_release(name, logs) for name in names or RELEASES]
    except DebianError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"what the commands said: {logs}")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
