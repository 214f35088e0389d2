"""The Debian package in a Debian made for it: installed, started, booted from, taken away.

Usage: python -m tests.boot.installed      (as root; it prints a line for each step)
"""

import contextlib
import json
import shutil
import signal
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

from pybootd import __version__
from pybootd.lab import debian_installer, machine, network
from pybootd.lab.firmware import BootError, Firmware
from pybootd.lab.machine import Machine, MachineError
from pybootd.lab.network import Network, NetworkError, end_process
from tests.net.unit import NoSystemd, Systemd
from tests.postgres import Cluster

from .debian import SYSTEMD, Debian, DebianError, must, names, newer, run

TOP = Path(__file__).parents[2]
PC, DESK, OTHER = "52:54:00:12:34:56", "52:54:00:00:00:09", "52:54:00:00:00:0a"
SERVER = IPv4Address("10.7.0.1")
# beside pybootd: what a user has on a server, and what tells whether it is well installed
TOOLS = ("systemd", "man-db", "bash-completion")
INI = """\
; an administrator's own
[bootp]
pool_start = 10.7.0.100
{more}
[bootfile]
bios = pxelinux.0
efi-x86_64 = debian-installer/amd64/bootnetx64.efi
[tftp]
root = /srv/tftp
"""
SERVICE = """\
[pybootd]
host=/srv/db
dbname={name}
user=boot
password=sesame
"""
COMPLETE = """
    . /usr/share/bash-completion/bash_completion
    _completion_loader pybootd
    COMP_WORDS=(pybootd le) COMP_CWORD=1
    $(complete -p pybootd | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo "${COMPREPLY[@]}"
"""
ACCESS = "local all boot scram-sha-256\n"
DEBIANS = ("/var/lib/dpkg", "/var/lib/systemd")  # what they know of a package that was removed
CGROUP = "mount -t cgroup2 cgroup2 sys/fs/cgroup\n"


@contextlib.contextmanager
def step(name):
    """Print a line when it is done: how long it took, and what there is to say of it."""
    began, said = time.monotonic(), []
    try:
        yield said.append
    except BaseException:
        print(f"{time.monotonic() - began:6.1f} s  {name:12} FAILED", flush=True)
        raise
    print(f"{time.monotonic() - began:6.1f} s  {name:12} {'; '.join(said)}", flush=True)


def wait(true, text, patience=30.0):
    deadline = time.monotonic() + patience
    while not true():
        must(time.monotonic() < deadline, text() if callable(text) else text)
        time.sleep(0.05)


class Trial:
    """The folder, and a private network in which it is a host beside a client and a PC."""

    def __init__(self, debian, network, cluster):
        self.debian, self.cluster = debian, cluster
        self.lan = network.switch()
        self.server, self.client = network.host("server"), network.host("client")
        self.server.plug(self.lan, f"{SERVER}/24")
        self.client.plug(self.lan)
        self.log = debian.folder / "log"
        self.db = f"mkdir -p srv/db; mount --bind {cluster.folder} srv/db\n"
        self.name = self.database()
        self.deb = self.next = None

    def database(self):
        """Make a database of a user with a password; its name."""
        name = self.cluster.create().split("@/")[1].split("?")[0]
        for command in (
            "CREATE ROLE boot LOGIN PASSWORD 'sesame'",
            f"ALTER DATABASE {name} OWNER TO boot",
        ):
            where = (f"--host={self.cluster.folder}", "--username=postgres", "--dbname=postgres")
            self.cluster.run("psql", *where, f"--command={command}")
        return name

    def configure(self, more=""):
        (self.debian.root / "etc/pybootd.ini").write_text(INI.format(more=more))

    def here(self, *words, check=True):
        """Run a command in the folder as the server; what it said. Raises DebianError."""
        done = self.server.run(
            *self.debian.on(self.server, *words, more=self.db), check=False, timeout=60
        )
        said = done.stdout + done.stderr
        must(done.returncode == 0 or not check, f"{' '.join(words)}: {said}")
        return said

    @contextlib.contextmanager
    def daemon(self):
        """Run the daemon there by hand, as root."""
        with self.log.open("w") as said:
            words = self.debian.on(self.server, "pybootd", more=self.db)
            process = self.server.popen(*words, stdout=said, stderr=said)
        try:
            wait(
                lambda: {67, 69} <= self.server.udp_ports() or process.poll() is not None,
                "it did not serve within 30 s",
            )
            must(process.poll() is None, f"it did not start: {self.log.read_text()}")
            yield process
        finally:
            status = end_process(process, 10)
        must(status == 0, f"exit {status}: {self.log.read_text()}")
        must("Traceback" not in self.log.read_text(), self.log.read_text())

    def fetch(self, name):
        self.client.ip("address", "replace", "10.7.0.9/24", "dev", "eth0")
        firmware = Firmware(self.client, "eth0", DESK, UUID(int=9))
        return firmware.fetch_file(SERVER, name)

    def lease(self, mac=DESK, patience=3.0):
        """Get an address and a boot file for the client, as firmware does."""
        self.client.ip("address", "flush", "dev", "eth0")
        return Firmware(self.client, "eth0", mac, UUID(int=9), patience).obtain_lease()

    def boot(self, firmware):
        """Boot the demo's machine; seconds from power on to the first line of the installer."""
        folder = self.debian.folder / firmware
        with machine.advertise_router(self.lan), Machine(firmware, self.lan, folder, PC) as pc:
            return pc.wait_for_line(debian_installer.FIRST_LINE, timeout=240)


def prepare(trial):
    """Build the package, make the folder, install it there."""
    debian = trial.debian
    with step("built") as say:
        run("sh", TOP / "packaging/deb.sh", sys.executable, debian.folder)
        (trial.deb,) = debian.folder.glob("*.deb")
        say(f"{trial.deb.name}, {trial.deb.stat().st_size / 1e6:.1f} MB")
    with step("debootstrap") as say:
        say(f"Debian {debian.make()}, of the mirror that apt uses here")
        debian.apt("install", "--no-install-recommends", *TOOLS)
        say(f"with {', '.join(TOOLS)}")
    with step("installed") as say:
        for deb in (trial.deb, newer(trial.deb, debian.folder)):
            shutil.copy(deb, debian.root / "root")
        brought = names(debian.apt("install", f"/root/{trial.deb.name}"))
        must({"pybootd", "python3"} <= set(brought), f"apt-get brought {brought}")
        say(f"apt-get brought {len(brought) - 1} packages with it, python3 and what that needs")
        enabled = debian.run("systemctl", "is-enabled", "pybootd").stdout.strip()
        say(f"the unit is {enabled}")
        must(enabled == "enabled", "the unit is not enabled")
        changed = debian.run("dpkg", "--verify", "pybootd").stdout
        must(not changed, f"not as packed: {changed}")
        (debian.root / "srv/tftp/hello").write_text("boot me\n")


def looked_at(trial):
    """Try what a person tries first: the command, manual page, completion, the unit's file."""
    with step("commands") as say:
        must(trial.here("pybootd", "--version") == f"pybootd {__version__}\n", "another version")
        say(trial.here("pybootd", "--check").strip())
        sample = (TOP / "pybootd/etc/pybootd.ini").read_text()
        must(trial.here("pybootd", "--sample") == sample, "--sample prints another file")
        said = trial.here("pybootd", "doctor", check=False)
        must("no boot file is named" in said, said)
        say("--version, --sample and doctor say what they should")
    with step("manual page") as say:
        page = trial.here("env", "MANWIDTH=80", "man", "--warnings", "pybootd")
        must("pool_start" in page, "it lacks pool_start")
        must(": warning" not in page, page[-600:])
        say(f"{len(page.splitlines())} lines, no complaint of groff")
    with step("completion") as say:
        offered = trial.here("bash", "-c", COMPLETE).split()
        must(offered == ["leases"], f"pybootd le: {offered}")
        say(f"pybootd le: bash offers {offered[0]}")
    with step("unit's file") as say:
        said = trial.here("systemd-analyze", "verify", "pybootd.service")
        must(not said, said)
        say("systemd-analyze verify has nothing to say")


def by_hand(trial):
    """Start the daemon there without systemd: as it came, then as a boot server."""
    debian = trial.debian
    with step("as it came") as say, trial.daemon():
        must(trial.fetch("hello") == b"boot me\n", "another file came")
        try:
            trial.lease(patience=0.5)
        except BootError as error:
            say(f"it serves /srv/tftp by TFTP and gives no addresses: {error}")
        else:
            raise DebianError("it gave an address")
    with step("boots a BIOS") as say:
        root = debian.root / "srv/tftp"
        shutil.rmtree(root)
        debian_installer.build(root)
        trial.configure()
        with trial.daemon():
            seconds = trial.boot("bios")
            say(f"QEMU shows Debian's installer after {seconds:.1f} s")
            must(PC in trial.here("pybootd", "status"), "pybootd status doesn't name it")
            must(PC in trial.here("pybootd", "leases").lower(), "pybootd leases doesn't name it")
            say("pybootd status and leases name it")


def shared(trial):
    """Keep leases in a database: without the library, then with Debian's."""
    passwords = trial.debian.root / "root/passwords"
    passwords.write_text("*:*:*:boot:sesame\n")
    passwords.chmod(0o600)
    url = f"postgresql://boot@/{trial.name}?host=/srv/db&passfile=/root/passwords"
    trial.configure(f"leases = {url}")
    with step("no psycopg") as say:
        for words in (("pybootd", "leases", "--migrate"), ("pybootd", "--check"), ("pybootd",)):
            said = trial.here(*words, check=False).splitlines()
            must("python3-psycopg" in said[-1], f"{' '.join(words)}: {said}")
        say(said[-1])
    with step("psycopg") as say:
        brought = names(trial.debian.apt("install", "python3-psycopg"))
        say(f"apt-get install python3-psycopg brought {len(brought)} packages")
        say(trial.here("pybootd", "leases", "--migrate").strip())
        with trial.daemon():
            address = trial.lease().address
            copy = trial.debian.root / "var/lib/pybootd/copy.db"
            wait(copy.exists, "it keeps no copy of the database")
            kept = trial.here("pybootd", "leases").lower()
            must(DESK in kept and str(address) in kept, kept)
        say(f"a client has {address}, and pybootd leases finds it in PostgreSQL")
    trial.configure()


@contextlib.contextmanager
def booted(trial):
    """Start the folder's systemd on the server; None where that can't be."""
    inner = trial.debian.script("inner-made", SYSTEMD, trial.db + CGROUP).read_text()
    try:
        unit = Systemd(trial.server, trial.debian.folder, inner)
    except NoSystemd as reason:
        print(f"          systemd      not tried: {reason}", flush=True)
        yield None
        return
    try:
        yield unit
    finally:
        unit.close()


def active(unit):
    unit.wait("ActiveState", "active")
    must(unit.property("StatusText") == "serves DHCP, TFTP", unit.ctl("status", "pybootd").stdout)


def as_unit(trial, unit):
    """Let the folder's systemd run it, from its own boot on."""
    with step("systemd") as say:
        active(unit)
        owner = unit.rights()["Uid"].split()[0]
        must(owner != "0", "it runs as root")
        say(f"the folder's systemd booted and started the unit, as user {owner}")
        must(PC in unit.run("pybootd", "leases").stdout.lower(), "the leases before are gone")
        say("with the leases of before")
        done = unit.ctl("reload", "pybootd")
        must(done.returncode == 0, done.stderr + unit.ctl("status", "pybootd").stdout)
        journal = ("journalctl", "-u", "pybootd")
        wait(lambda: "is in force" in unit.run(*journal).stdout, "it did not reload")
        say("systemctl reload reads the file again")
    with step("boots UEFI") as say:
        say(f"QEMU shows Debian's installer after {trial.boot('uefi'):.1f} s")


def shared_as_unit(trial, unit):
    """Keep leases in a database whose password a group of the unit may read."""
    with step("psycopg") as say:
        trial.configure("leases = postgresql:///?service=pybootd")
        service = trial.debian.root / "etc/postgresql-common/pg_service.conf"
        service.parent.mkdir(exist_ok=True)
        service.write_text(SERVICE.format(name=trial.name))
        service.chmod(0o640)
        unit.run("groupadd", "--system", "pybootd-db")
        unit.run("chgrp", "pybootd-db", "/etc/postgresql-common/pg_service.conf")
        own = trial.debian.root / "etc/systemd/system/pybootd.service.d/group.conf"
        own.parent.mkdir()
        own.write_text("[Service]\nSupplementaryGroups=pybootd-db\n")
        unit.ctl("daemon-reload")
        must(unit.ctl("restart", "pybootd").returncode == 0, unit.said())
        active(unit)
        address = trial.lease(OTHER).address  # who is not known yet gets none without the database
        must(OTHER in unit.run("pybootd", "leases").stdout.lower(), "it is not in PostgreSQL")
        say(f"as a unit, too, with a password that a group may read: {address}")
        shutil.rmtree(own.parent)
        unit.ctl("daemon-reload")
        trial.configure()
        must(unit.ctl("restart", "pybootd").returncode == 0, unit.said())
        active(unit)


def apt(place, *words):
    done = place("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", *words,
                 check=False, timeout=120)  # fmt: skip
    must(done.returncode == 0, f"apt-get {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def held(place):
    """Who has which address, not for how long: that goes on."""
    found = json.loads(place("pybootd", "leases", "--json").stdout)
    return {(one["mac"], one["address"], one["state"]) for one in found}


def upgraded(trial, unit):
    """Install over it what is the same, and what is newer."""
    place, ini = unit.run if unit else trial.debian.run, trial.debian.root / "etc/pybootd.ini"
    before, leases = ini.read_text(), held(place)
    for name, words in (
        ("again", ("--reinstall", f"/root/{trial.deb.name}")),
        ("upgrade", ("-o", "Dpkg::Options::=--force-confold", "/root/pybootd_next.deb")),
    ):
        with step(name) as say:
            pid = unit.property("MainPID") if unit else None
            apt(place, "install", *words)
            must(ini.read_text() == before, "/etc/pybootd.ini was changed")
            must(held(place) == leases, "leases are gone")
            say("/etc/pybootd.ini and the leases are as before")
            if unit:
                active(unit)
                must(unit.property("MainPID") != pid, "the daemon wasn't restarted")
                say("the daemon was restarted")
    if unit:
        with step("disabled") as say:
            unit.ctl("disable", "--now", "pybootd")
            apt(place, "install", "--reinstall", "/root/pybootd_next.deb")
            must(unit.ctl("is-enabled", "pybootd").stdout == "disabled\n", "it was enabled")
            must(unit.property("ActiveState") == "inactive", "it was started")
            unit.ctl("enable", "--now", "pybootd")
            active(unit)
            say("a unit that was disabled stays so")
    dist = trial.debian.root / "etc/pybootd.ini.dpkg-dist"
    must("of the next version" in dist.read_text(), "the new configuration file isn't there")


def remains(trial):
    """List what has our name in the folder, and what is served."""
    root = trial.debian.root
    own = [path for path in root.rglob("*pybootd*") if path.parent != root / "root"]
    found = [path for path in own if not any(parent in own for parent in path.parents)]
    listed = sorted(f"/{path.relative_to(root)}" for path in found)
    # man(1) keeps what it showed
    return [
        one for one in listed if not one.startswith(("/proc", "/sys", "/run", "/var/cache/man"))
    ]


def gone(trial, unit):
    """Remove it, install it again, purge it."""
    place, root = unit.run if unit else trial.debian.run, trial.debian.root
    leases = held(place)
    with step("removed") as say:
        apt(place, "remove", "pybootd")
        must(not {67, 69} & trial.server.udp_ports(), "it still serves")
        must(not (root / "usr/lib/pybootd").exists(), "/usr/lib/pybootd is still there")
        must((root / "etc/pybootd.ini").exists(), "/etc/pybootd.ini is gone")
        left = [one for one in remains(trial) if not one.startswith(DEBIANS)]
        say(f"nothing serves; what remains: {' '.join(left)} and the files of /srv/tftp")
    with step("back") as say:
        apt(place, "install", "/root/pybootd_next.deb")
        must("an administrator's own" in (root / "etc/pybootd.ini").read_text(), "another file")
        must(held(place) == leases, "leases are gone")
        if unit:
            active(unit)
        say("installed again, it goes on with file and leases")
    with step("purged") as say:
        apt(place, "purge", "pybootd")
        must(not {67, 69} & trial.server.udp_ports(), "it still serves")
        left = remains(trial)
        must(not left, f"still there: {left}")
        must((root / "srv/tftp/pxelinux.0").exists(), "/srv/tftp was emptied")
        say("what remains: the files of /srv/tftp")


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):  # what was made is taken away then, too
        signal.signal(number, lambda *_: sys.exit(1))
    if reason := network.missing("debootstrap", "dpkg-deb") or machine.missing():
        print(f"make installed: {reason}", file=sys.stderr)
        return 1
    began = time.monotonic()
    try:
        with Debian() as debian, Cluster(access=ACCESS) as cluster, Network() as made:
            trial = Trial(debian, made, cluster)
            prepare(trial)
            looked_at(trial)
            by_hand(trial)
            shared(trial)
            with booted(trial) as unit:
                if unit:
                    as_unit(trial, unit)
                    shared_as_unit(trial, unit)
                upgraded(trial, unit)
                gone(trial, unit)
    except (DebianError, MachineError, NetworkError, BootError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"{time.monotonic() - began:6.1f} s  in all, and nothing of it is left here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
