"""A real systemd in its own namespaces: nothing of this machine is started or stopped by it."""

import os
import signal
import time
from pathlib import Path

# its own cgroups, taken away at the end
OUTER = """
mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir /sys/fs/cgroup/pybootd-$$ || exit 1
cd /sys/fs/cgroup/pybootd-$$
sh -c 'echo $$ >cgroup.procs; exec unshare -pmCiu --kill-child --fork sh {folder}/inner'
find . -mindepth 1 -depth -type d -exec rmdir {{}} + ; cd ..; rmdir pybootd-$$
"""


class NoSystemd(Exception):
    """None can be run here."""


def children(pid, depth):
    """List the processes that a process started, or (2) that these started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    found = path.read_text().split() if path.exists() else []
    return found if depth == 1 else [pid for one in found for pid in children(one, depth - 1)]


class Systemd:
    """Started on a host by a script, whose last command it is; ``folder`` is for what is written.

    Raises NoSystemd.
    """

    def __init__(self, host, folder, inner):
        self._host, self.folder = host, folder
        (folder / "outer").write_text(OUTER.format(folder=folder))
        (folder / "inner").write_text(inner)
        with (folder / "outer.log").open("w") as said:
            outer = ("unshare", "-m", "sh", folder / "outer")
            self._outer = host.popen(*outer, stdout=said, stderr=said)
        deadline = time.monotonic() + 20
        while not (found := children(self._outer.pid, 2)):
            if self._outer.poll() is not None or time.monotonic() > deadline:
                raise NoSystemd("this system lets no systemd run in a namespace")
            time.sleep(0.02)
        self._pid = found[0]

    def close(self):
        if self._outer.poll() is None:
            os.kill(int(self._pid), signal.SIGKILL)
            self._outer.wait(10)

    def run(self, *words, check=True, timeout=60.0):
        """Run a command where systemd is."""
        inside = ("nsenter", "-t", self._pid, "-p", "-m", "-C")
        return self._host.run(*inside, *words, check=check, timeout=timeout)

    def ctl(self, *words):
        return self.run("systemctl", *words, check=False)

    def property(self, name, unit="pybootd"):
        return self.ctl("show", unit, "--value", "-p", name).stdout.strip()

    def said(self):
        log = self.folder / "log"
        return log.read_text() if log.exists() else self.ctl("status", "pybootd").stdout

    def rights(self):
        """Read what the daemon is and may do, as /proc has it."""
        said = self.run("cat", f"/proc/{self.property('MainPID')}/status").stdout
        return dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)

    def wait(self, name, value, patience=60, unit="pybootd"):
        deadline = time.monotonic() + patience
        while (found := self.property(name, unit)) != value:
            assert time.monotonic() < deadline, f"{name} is {found!r}: {self.said()}"
            time.sleep(0.1)
