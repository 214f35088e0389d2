"""The unit of systemd: a real systemd starts it in namespaces of its own, and a client boots."""

import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from uuid import UUID

import pytest

from tests.net.test_privileges import open_to_all

pytestmark = pytest.mark.net("systemd", "systemctl", "nsenter", "curl")

TOP = Path(__file__).parents[2]
CLIENT = ("52:54:00:12:34:56", UUID("12345678-abcd-ef00-1111-abcdefabcdef"))
BIND_AND_RAW = 1 << 10 | 1 << 13
# cgroups of its own, taken away at the end
OUTER = """
mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir /sys/fs/cgroup/pybootd-$$ || exit 1
cd /sys/fs/cgroup/pybootd-$$
sh -c 'echo $$ >cgroup.procs; exec unshare -pmCiu --kill-child --fork sh {folder}/inner'
find . -mindepth 1 -depth -type d -exec rmdir {{}} + ; cd ..; rmdir pybootd-$$
"""
# nothing of this machine is started, and nothing of it written
INNER = """
cd /
mount --make-rprivate /
mount -t proc proc /proc
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
for there in /run /etc/systemd/system /var/lib /var/log; do mount -t tmpfs tmpfs $there; done
mkdir -p /run/systemd/system/pybootd.service.d
ln -s /dev/null /etc/systemd/system/network-online.target
cp {folder}/pybootd.service /run/systemd/system/
cp {folder}/test.conf /run/systemd/system/pybootd.service.d/
exec env -i PATH=$PATH container=lxc "$(command -v systemd)" --system --unit=pybootd.service
"""
# only where the program and its file are, and where it logs; PrivateTmp hides what is below /tmp
DROP_IN = """
[Unit]
DefaultDependencies=no
[Service]
ExecStart=
ExecStart={python} -B -m pybootd -c {folder}/pybootd.ini
WorkingDirectory={top}
BindReadOnlyPaths={folder} {base} {prefix} {top}
StandardError=append:{folder}/log
"""
INI = """
[bootp]
pool_start = 192.168.1.100
boot_file = pxelinux.0
[tftp]
root = ./files
"""


def children(pid, depth):
    """List the processes that a process started, or (2) that these started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    found = path.read_text().split() if path.exists() else []
    return found if depth == 1 else [pid for one in found for pid in children(one, depth - 1)]


class Systemd:
    def __init__(self, host, folder):
        self._host, self._folder = host, folder
        for name, script in (("outer", OUTER), ("inner", INNER)):
            (folder / name).write_text(script.format(folder=folder))
        self._outer = host.popen("unshare", "-m", "sh", folder / "outer")
        deadline = time.monotonic() + 20
        while not (found := children(self._outer.pid, 2)):
            if self._outer.poll() is not None or time.monotonic() > deadline:
                pytest.skip("this system lets no systemd run in a namespace")
            time.sleep(0.02)
        self._pid = found[0]

    def close(self):
        os.kill(int(self._pid), signal.SIGKILL)
        self._outer.wait(10)

    def ctl(self, *words):
        inside = ("nsenter", "-t", self._pid, "-p", "-m", "-C", "systemctl", *words)
        return self._host.run(*inside, check=False)

    def property(self, name):
        return self.ctl("show", "pybootd", "--value", "-p", name).stdout.strip()

    def said(self):
        log = self._folder / "log"
        return log.read_text() if log.exists() else self.ctl("status", "pybootd").stdout

    def wait(self, name, value, patience=60):
        deadline = time.monotonic() + patience
        while (found := self.property(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {found!r}: {self.said()}"
            time.sleep(0.1)


@pytest.fixture
def systemd(lan):
    # writable here, in the host's own view of them, and the interpreter not hidden in /root
    open_to_all(lan[0], Path(sys.base_prefix), Path(sys.prefix), TOP / "pybootd")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        (folder / "files" / "pxelinux.0").write_bytes(b"boot me" * 300)
        (folder / "pybootd.ini").write_text(INI)
        shutil.copy(TOP / "etc" / "pybootd.service", folder)
        where = {"base": sys.base_prefix, "prefix": sys.prefix, "top": TOP}
        own = DROP_IN.format(python=sys.executable, folder=folder, **where)
        (folder / "test.conf").write_text(textwrap.dedent(own))
        made = Systemd(lan[0], folder)
        yield made
        made.close()


def test_the_unit_serves_reloads_and_stops(lan, firmware, systemd):
    unit = systemd
    unit.wait("ActiveState", "active")
    assert unit.property("StatusText") == "serves DHCP, TFTP"
    pid = unit.property("MainPID")
    status = unit._host.run("nsenter", "-t", unit._pid, "-p", "-m", "cat", f"/proc/{pid}/status")
    found = dict(line.split(":\t", 1) for line in status.stdout.splitlines() if ":\t" in line)
    assert "0" not in found["Uid"].split()
    assert {int(found[name], 16) for name in ("CapEff", "CapBnd")} == {BIND_AND_RAW}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")

    assert str(firmware.boot(*CLIENT).yiaddr) == "192.168.1.100"
    lan[1].ip("address", "add", "192.168.1.100/24", "dev", "eth0")
    done = lan[1].run("curl", "-s", "--max-time", "9", "tftp://192.168.1.1/pxelinux.0")
    assert done.stdout == "boot me" * 300

    assert unit.ctl("reload", "pybootd").returncode == 0
    deadline = time.monotonic() + 30
    while "is in force" not in unit.said():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert firmware.boot(*CLIENT) is not None
    assert unit.ctl("stop", "pybootd").returncode == 0
    assert unit.property("Result") == "success"
    kept = unit._host.run("nsenter", "-t", unit._pid, "-m", "ls", "/var/lib/private/pybootd")
    assert "leases.db" in kept.stdout.split()
    said = unit.said()
    assert "Traceback" not in said
    assert "WARNING" not in said
