"""The unit of systemd: a real systemd starts it in its own namespaces, and a client boots."""

import hashlib
import shutil
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from uuid import UUID

import pytest

from tests.net.test_privileges import open_to_all

from .unit import NoSystemd, Systemd

pytestmark = pytest.mark.net("systemctl", "nsenter", "curl")

TOP = Path(__file__).parents[2]
CLIENT = ("52:54:00:12:34:56", UUID("12345678-abcd-ef00-1111-abcdefabcdef"))
BIND_AND_RAW = 1 << 10 | 1 << 13
# nothing of this machine is started, and nothing of it written
INNER = """
cd /
mount --make-rprivate /
mount -t proc proc /proc
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
for there in /run /etc/systemd/system /var/lib /var/log /var/cache; do
    mount -t tmpfs tmpfs $there
done
# PrivateTmp makes folders there, which would stay
case " {folder} {top} {prefix} {base}" in
    *" /var/tmp/"*) ;;
    *) mount -t tmpfs -o mode=1777 tmpfs /var/tmp ;;
esac
mkdir -p /run/systemd/system/pybootd.service.d
ln -s /dev/null /etc/systemd/system/network-online.target
cp {folder}/pybootd.service {folder}/pybootd.socket /run/systemd/system/
cp {folder}/test.conf /run/systemd/system/pybootd.service.d/
exec env -i PATH=$PATH container=lxc /lib/systemd/systemd --system --unit={unit}
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


@pytest.fixture
def start(lan):
    """Start systemd with a unit, and with more lines in the service."""
    # writable here, in the host's own view of them, and the interpreter not hidden in /root
    open_to_all(lan[0], Path(sys.base_prefix), Path(sys.prefix), TOP / "pybootd")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "files" / "deep").mkdir(parents=True)
        secret = folder / "origins.ini"
        secret.write_text("[http://192.168.1.9:8000]\ntoken = abc\n")
        secret.chmod(0o640)
        shutil.chown(secret, "root", "daemon")
        for name in ("pxelinux.0", "deep/file"):
            (folder / "files" / name).write_bytes(b"boot me" * 300)
        for unit in ("service", "socket"):
            text = (TOP / "etc" / f"pybootd.{unit}").read_text()
            # systemd here has neither basic.target nor what it waits for
            text = text.replace("[Socket]", "DefaultDependencies=no\n[Socket]")
            (folder / f"pybootd.{unit}").write_text(text)
        where = {"base": sys.base_prefix, "prefix": sys.prefix, "top": TOP}
        own = DROP_IN.format(python=sys.executable, folder=folder, **where)
        running = []

        def start(unit, lines="", ini=INI):
            (folder / "pybootd.ini").write_text(ini)
            (folder / "test.conf").write_text(textwrap.dedent(own) + lines)
            try:
                running.append(
                    Systemd(lan[0], folder, INNER.format(folder=folder, unit=unit, **where))
                )
            except NoSystemd as reason:
                pytest.skip(str(reason))
            return running[0]

        yield start
        for one in running:
            one.close()


def test_the_unit_serves_reloads_and_stops(lan, firmware, start):
    unit = start("pybootd.service")
    unit.wait("ActiveState", "active")
    assert unit.property("StatusText") == "serves DHCP, TFTP"
    found = unit.rights()
    assert "0" not in found["Uid"].split()
    assert {int(found[name], 16) for name in ("CapEff", "CapBnd")} == {BIND_AND_RAW}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")

    assert str(firmware.boot(*CLIENT).yiaddr) == "192.168.1.100"
    lan[1].ip("address", "add", "192.168.1.100/24", "dev", "eth0")
    for name in ("pxelinux.0", "deep/file"):  # the latter by openat2, if the filter lets it pass
        done = lan[1].run("curl", "-s", "--max-time", "9", f"tftp://192.168.1.1/{name}")
        assert done.stdout == "boot me" * 300

    assert unit.ctl("reload", "pybootd").returncode == 0
    deadline = time.monotonic() + 30
    while "is in force" not in unit.said():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert firmware.boot(*CLIENT) is not None
    assert unit.ctl("stop", "pybootd").returncode == 0
    assert unit.property("Result") == "success"
    kept = unit.run("ls", "/var/lib/private/pybootd")
    assert "leases.db" in kept.stdout.split()
    said = unit.said()
    assert "Traceback" not in said
    assert "WARNING" not in said


def test_the_unit_keeps_files_of_a_web_server(lan, start):
    """With [cache] dir = /var/cache/pybootd, and credentials that a group may read."""
    client = lan[1]
    client.ip("address", "add", "192.168.1.9/24", "dev", "eth0")
    far = (
        "credentials = ./origins.ini\n"
        "[filters]\nsecret/* = http://192.168.1.9:8000/{filename}\n"
        "[cache]\ndir = /var/cache/pybootd\n"
    )
    unit = start("pybootd.service", "SupplementaryGroups=daemon\n", INI + far)
    site = client.popen(
        sys.executable, TOP / "tests" / "files" / "origin.py", unit.folder / "files"
    )
    try:
        client.run("curl", "-s", "--retry-connrefused", "--retry", "9", "http://192.168.1.9:8000/")
        unit.wait("ActiveState", "active")
        fetch = ("curl", "-s", "--max-time", "9", "tftp://192.168.1.1/secret/etag/deep/file")
        assert client.run(*fetch).stdout == "boot me" * 300
    finally:
        site.kill()
        site.wait()
    deadline = time.monotonic() + 20
    while "what the cache has is served" not in unit.said():  # an answer holds for half a second
        assert client.run(*fetch).stdout == "boot me" * 300
        assert time.monotonic() < deadline
        time.sleep(0.1)
    kept = ("ls", "/var/cache/private/pybootd/files")
    found = unit.run(*kept).stdout.split()
    assert found == [hashlib.sha256(b"boot me" * 300).hexdigest()]


def test_the_ports_that_systemd_binds_need_no_right(lan, firmware, start):
    """The first DISCOVER starts the daemon, which may do nothing that others may not."""
    unit = start("pybootd.socket", "AmbientCapabilities=\nCapabilityBoundingSet=\n")
    unit.wait("ActiveState", "active", unit="pybootd.socket")
    assert unit.property("ActiveState") == "inactive"
    first = firmware.send(CLIENT[0], 1, CLIENT[1])
    assert firmware.receive(first, 60) is not None, unit.said()
    ack = firmware.boot(*CLIENT)
    assert str(ack.yiaddr) == "192.168.1.100"
    found = unit.rights()
    assert "0" not in found["Uid"].split()
    assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    lan[1].ip("address", "add", "192.168.1.100/24", "dev", "eth0")
    fetch = ("curl", "-s", "--max-time", "19", "tftp://192.168.1.1/pxelinux.0")
    assert lan[1].run(*fetch).stdout == "boot me" * 300
    # what is asked while the daemon restarts waits for it
    assert unit.ctl("restart", "pybootd").returncode == 0
    assert lan[1].run(*fetch).stdout == "boot me" * 300
    assert "handed to us" not in unit.said()
    assert "Traceback" not in unit.said()


@pytest.mark.net("systemd-socket-activate", "setpriv", "curl")
def test_a_socket_that_systemd_socket_activate_binds(lan, tmp_path):
    """Nobody at all may serve port 69, by the tool that people try socket activation with."""
    server, client = lan
    open_to_all(server, Path(sys.base_prefix), Path(sys.prefix), TOP / "pybootd")
    client.ip("address", "add", "192.168.1.9/24", "dev", "eth0")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        (folder / "files" / "pxelinux.0").write_bytes(b"boot me" * 300)
        (folder / "pybootd.ini").write_text("[tftp]\nroot = ./files\n[status]\nport = 0\n")
        with (tmp_path / "log").open("w") as log:
            nobody = ("setpriv", "--reuid", "nobody", "--clear-groups", "--bounding-set", "-all")
            running = server.popen(
                *("systemd-socket-activate", "-d", "-l", "0.0.0.0:69", "--fdname", "tftp"),
                *(
                    *nobody,
                    sys.executable,
                    "-B",
                    "-m",
                    "pybootd",
                    "-t",
                    "-c",
                    folder / "pybootd.ini",
                ),
                stderr=log,
                cwd=TOP,
            )
            deadline = time.monotonic() + 20
            while 69 not in server.udp_ports():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            fetch = ("curl", "-s", "--max-time", "40", "tftp://192.168.1.1/pxelinux.0")
            assert client.run(*fetch, timeout=60).stdout == "boot me" * 300
            running.terminate()
            assert running.wait(20) == 0
    said = (tmp_path / "log").read_text()
    assert "serves TFTP" in said
    assert "handed to us" not in said
