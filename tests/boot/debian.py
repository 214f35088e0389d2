"""A Debian in a folder, made by debootstrap of the mirror that apt uses here."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from pybootd import __version__
from pybootd.lab.network import PATH, Host

# its own devices, /proc and /run; the folder is the root, as it is to systemd
ENTER = """
mount --bind {root} {root} && cd {root} || exit 1
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for one in null zero full random urandom tty; do : >dev/$one; mount --bind /dev/$one dev/$one; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
{more}
pivot_root . mnt && cd / && umount -l /mnt || exit 1
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root \\
    DEBIAN_FRONTEND=noninteractive {exec}
"""
SYSTEMD = "container=lxc /lib/systemd/systemd --system"
_TARGETS = "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)"
# how apt reaches its mirror, and whether that may be an old one
_REACHED = ("Acquire::http::", "Acquire::https::", "Acquire::Check-")


class DebianError(Exception):
    """There can be no such folder, or a command in it failed; the text is for people."""


def must(true, text):
    if not true:
        raise DebianError(text)


def run(*words, timeout=600.0, check=True, env=None):
    """Run a command to its end, its output captured as text. Raises DebianError."""
    more = {"PATH": PATH, **(env or {})}
    done = subprocess.run(
        list(map(str, words)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env={**os.environ, **more},
    )
    if check and done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise DebianError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{said}")
    return done


def release():
    """Return the name of this machine's Debian release."""
    lines = Path("/etc/os-release").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if "=" in line)
    if told.get("ID") != "debian" or "VERSION_CODENAME" not in told:
        raise DebianError("needs Debian, of the release that the package is built for")
    return told["VERSION_CODENAME"].strip('"')


def sources():
    """List apt's sources of Debian itself, as (address, suite, component)."""
    for update in (True, False):
        rows = run("apt-get", "indextargets", "--format", _TARGETS, "Created-By: Packages").stdout
        found = [tuple(row.split()[1:]) for row in rows.splitlines() if row.startswith("Debian ")]
        if found or not update:
            break
        run("apt-get", "-q", "update")
    if not found:
        raise DebianError("apt has no source of Debian: look into /etc/apt/sources.list.d")
    return found


def names(listing):
    """Return the packages that apt-get said it brings."""
    found = re.search(r"NEW packages will be installed:\n((?:  .*\n)+)", listing)
    return found[1].split() if found else []


def newer(deb, folder):
    """Make a package of the next version, whose configuration file is another."""
    tree = folder / "next"
    run("dpkg-deb", "-R", deb, tree)
    for name, old, new in (
        ("DEBIAN/control", f"Version: {__version__}", f"Version: {__version__}+next"),
        ("etc/pybootd.ini", "root = /srv/tftp", "root = /srv/tftp\n; of the next version"),
    ):
        text = (tree / name).read_text()
        must(old in text, f"{name} has no line {old!r}")
        (tree / name).write_text(text.replace(old, new))
    made = folder / "pybootd_next.deb"
    run("dpkg-deb", "--root-owner-group", "--build", tree, made)
    return made


class Debian:
    """A context manager: the folder goes at the end, and everything was mounted in namespaces.

    ``name``: the release, ``trixie`` say; "" for the one of this machine.
    """

    def __init__(self, name=""):
        self.name = name
        # 300 MB, so not where a tmpfs may be
        self.folder = Path(tempfile.mkdtemp(prefix="pybootd-debian-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.root = self.folder / "root"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if str(self.folder) in Path("/proc/self/mountinfo").read_text():
            raise DebianError(f"something is mounted in {self.folder}: take it away by hand")
        shutil.rmtree(self.folder)

    def make(self, *packages):
        """Install the base system and these packages; the release's name."""
        own = release()
        name = self.name or own
        known = [
            (mirror, suite.replace(own, name, 1), part)
            for mirror, suite, part in sources()
            if suite.startswith(own)
        ]
        mirrors = [address for address, suite, part in known if (suite, part) == (name, "main")]
        if not mirrors:
            raise DebianError(f"apt has no source of {name} main")
        lines = run("apt-config", "dump").stdout.splitlines()
        proxies = dict(line.rstrip(";").split(" ", 1) for line in lines if "::Proxy " in line)
        env = {
            f"{scheme}_proxy": proxies[f"Acquire::{scheme}::Proxy"].strip('"')
            for scheme in ("http", "https")
            if f"Acquire::{scheme}::Proxy" in proxies
        }
        if mirrors[0].startswith("https:"):
            packages = ("ca-certificates", *packages)
        chosen = [f"--include={','.join(packages)}"] if packages else []
        words = ("debootstrap", "--variant=minbase", *chosen, name, self.root, mirrors[0])
        run(*self.apart(*words), env=env)
        apt = self.root / "etc/apt"
        (apt / "sources.list").write_text("".join(f"deb {' '.join(row)}\n" for row in known))
        reached = [line for line in lines if line.startswith(_REACHED)]
        (apt / "apt.conf.d/00reached").write_text("\n".join([*reached, ""]))
        shutil.copy("/etc/hosts", self.root / "etc/hosts")
        self.apt("update")
        return name

    def apart(self, *words):
        # it ends with us, however we end
        return [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "-mpf",
            "--kill-child",
            "--mount-proc",
            *words,
        ]

    def script(self, name, exec_='"$@"', more=""):
        """Write a script that makes the folder its root; it runs ``exec_``, else its arguments.

        ``more``: shell commands, run in the folder just before.
        """
        path = self.folder / name
        path.write_text(ENTER.format(root=self.root, exec=exec_, more=more))
        return path

    def run(self, *words, check=True, timeout=600.0):
        """Run a command in the folder, with this machine's network. Raises DebianError."""
        words = ("sh", self.script("enter"), *words)
        return run(*self.apart(*words), check=check, timeout=timeout)

    def apt(self, *words):
        """Run apt-get in the folder; what it said."""
        return self.run("apt-get", "-q", "-y", *words).stdout

    def on(self, host: Host, *words, more=""):
        """Return the command that runs ``words`` in the folder on a host; its id stays the same."""
        return ("unshare", "-m", "sh", self.script(f"on-{host.name}", more=more), *words)
