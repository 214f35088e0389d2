"""The real daemon gives up root's rights, and serves as before."""

import functools
import hashlib
import os
import pwd
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from pybootd.lab.daemon_process import DaemonError, DaemonProcess
from pybootd.leases.shared.admin import migrate_database
from tests import postgres
from tests.files.origin import octets

pytestmark = pytest.mark.net("curl")

UUID_ = UUID("12345678-abcd-ef00-1111-abcdefabcdef")
NOBODY = pwd.getpwnam("nobody")
NONE, BIND = 0, 1 << 10  # CAP_NET_BIND_SERVICE
INI = """
[bootp]
pool_start = 192.168.1.100
boot_file = pxelinux.0
leases = {leases}
{bootp}
[tftp]
root = {folder}/files
{tftp}
[httpd]
enable = on
[security]
{security}
"""


def open_to_all(host, *needed):
    """Let every user read these folders on the host, whatever closed folders they stand in."""
    above = {
        path: next((a for a in reversed(path.parents) if not a.stat().st_mode & 1), None)
        for path in needed
    }
    run = functools.partial(host.run, cwd=Path("/"))  # where we are may be hidden meanwhile
    for number, (path, closed) in enumerate(above.items()):
        if closed:
            run("mkdir", "-p", f"/run/open/{number}")
            run("mount", "--bind", path, f"/run/open/{number}")
    for closed in {closed for closed in above.values() if closed}:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", closed)
    for number, (path, closed) in enumerate(above.items()):
        if closed:
            run("mkdir", "-p", path)
            run("mount", "--bind", f"/run/open/{number}", path)


@pytest.fixture
def serve(lan):
    """Start the daemon with these lines; returns it and its log's text."""
    top = Path(__file__).parents[2]
    open_to_all(lan[0], Path(sys.base_prefix), Path(sys.prefix), top / "pybootd")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        (folder / "state").mkdir()
        (folder / "files" / "pxelinux.0").write_bytes(b"boot me" * 300)
        running = []

        def start(security, bootp="", said="log", leases=folder / "state" / "leases.db", tftp=""):
            ini = folder / "pybootd.ini"
            values = {"security": security, "bootp": bootp, "leases": leases, "tftp": tftp}
            ini.write_text(INI.format(folder=folder, **values))
            daemon = DaemonProcess(lan[0], ini, folder / "log", (67, 69))
            running.append(daemon)
            daemon.start()
            deadline = time.monotonic() + 30
            while not (folder / said).exists() or " serves " not in (folder / said).read_text():
                if not daemon.is_running():  # its ports were bound, but no more
                    raise DaemonError(daemon.describe_failure("it ended"))
                assert time.monotonic() < deadline
                time.sleep(0.02)
            return daemon, folder

        yield start
        for daemon in running:
            daemon.stop()


def status(pid):
    """Read who the process is, and what it may do."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    rights = {int(found[name], 16) for name in ("CapPrm", "CapEff")}
    assert int(found["CapInh"], 16) == 0
    assert found["NoNewPrivs"] == "1"
    return {int(n) for n in found["Uid"].split()}, {int(n) for n in found["Gid"].split()}, rights


def fetched(client, url):
    done = client.run("curl", "-s", "--max-time", "5", "--interface", "eth0", url, check=False)
    return done.stdout


def test_it_becomes_the_user_and_serves_on(lan, firmware, serve):
    daemon, folder = serve("user = nobody")
    uids, gids, rights = status(daemon.pid)
    assert (uids, gids, rights) == ({NOBODY.pw_uid}, {NOBODY.pw_gid}, {NONE})
    mac = "52:54:00:12:34:56"
    ack = firmware.boot(mac, UUID_)
    assert str(ack.yiaddr) == "192.168.1.100"
    # flags 0: the reply is a frame to the client's own MAC, by the packet socket of the start
    lan[1].run("udhcpc", "-i", "eth0", "-n", "-q", "-t", "3", "-s", "/bin/true")
    lan[1].ip("address", "add", "192.168.1.100/24", "dev", "eth0")
    assert fetched(lan[1], "tftp://192.168.1.1/pxelinux.0") == "boot me" * 300
    assert fetched(lan[1], "http://192.168.1.1/pxelinux.0") == "boot me" * 300
    fetched(lan[1], "tftp://192.168.1.1/none")
    for path in (folder / "state", *(folder / "state").iterdir()):
        assert path.stat().st_uid == NOBODY.pw_uid, path
    assert daemon.stop() == 0
    said = (folder / "log").read_text()
    assert "running as nobody\n" in said
    assert "Traceback" not in said
    assert "WARNING" not in said
    with sqlite3.connect(folder / "state" / "leases.db") as file:
        assert file.execute("SELECT count(*) FROM lease").fetchone() == (1,)


def test_the_password_of_its_database_is_the_users(lan, firmware, serve, tmp_path):
    """Its library looks below HOME, which was root's."""
    if reason := postgres.missing():
        pytest.skip(reason)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".pgpass").write_text("*:*:*:boot:sesame\n")
    (home / ".pgpass").chmod(0o600)
    for path in (home, home / ".pgpass"):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    users = tmp_path / "passwd"
    text = Path("/etc/passwd").read_text()
    users.write_text(text.replace(f":{NOBODY.pw_dir}:", f":{home}:"))
    lan[0].run("mount", "--bind", users, "/etc/passwd")
    with postgres.Cluster(access="local all boot scram-sha-256\n") as cluster:
        url = cluster.create()
        migrate_database(url)
        with psycopg.connect(url, autocommit=True) as file:
            file.execute("CREATE ROLE boot LOGIN SUPERUSER PASSWORD 'sesame'")
        open_to_all(lan[0], home)
        daemon, folder = serve("user = nobody", leases=url.replace("postgres@", "boot@"))
        assert str(firmware.boot("52:54:00:12:34:56", UUID_).yiaddr).startswith("192.168.1.")
        assert daemon.stop() == 0
    assert "password" not in (folder / "log").read_text()


def test_an_interface_that_comes_back_is_served(lan, firmware, serve):
    """Port 67 is bound again by CAP_NET_BIND_SERVICE, which is kept for this alone."""
    server = lan[0]
    daemon, folder = serve("user = nobody\ngroup = daemon", "interface = eth0")
    assert status(daemon.pid)[1:] == ({1}, {BIND})
    server.ip("link", "set", "dev", "eth0", "name", "gone")
    deadline = time.monotonic() + 30
    while 67 in server.udp_ports():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.ip("link", "set", "dev", "gone", "name", "eth0")
    while 67 not in server.udp_ports():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert firmware.boot("52:54:00:12:34:56", UUID_) is not None
    assert "no right" not in (folder / "log").read_text()


def test_root_is_told_once_that_it_is_root(serve):
    daemon, folder = serve("")
    assert daemon.stop() == 0
    assert (folder / "log").read_text().count("WARNING running as root") == 1


def test_leases_of_an_earlier_start_as_root_are_handed_over(lan, firmware, serve):
    daemon, folder = serve("")
    assert firmware.boot("52:54:00:12:34:56", UUID_) is not None
    daemon.host.run("kill", f"-{signal.SIGKILL}", str(daemon.pid))
    daemon, folder = serve("user = nobody")
    assert firmware.boot("52:54:00:12:34:57", UUID_) is not None
    assert daemon.stop() == 0
    assert "memory" not in (folder / "log").read_text()
    with sqlite3.connect(folder / "state" / "leases.db") as file:
        assert file.execute("SELECT count(*) FROM lease").fetchone() == (2,)


def test_nothing_but_lease_files_is_handed_over(serve, lan):
    """Neither a folder with other files in it, nor what a link names."""
    daemon, folder = serve("user = nobody")
    daemon.stop()
    state = folder / "state"
    (folder / "secret").write_text("root's")
    (state / "leases.db-symbolic").symlink_to(folder / "secret")
    os.link(folder / "secret", state / "leases.db-linked")
    (state / "other").touch()
    os.chown(state, 0, 0)
    daemon, folder = serve("user = nobody")
    daemon.stop()
    assert (folder / "secret").stat().st_uid == 0
    assert state.stat().st_uid == 0
    assert "leases are kept in memory" in (folder / "log").read_text()


INIS = {
    "[bootp] leases": ("", "state/leases.db"),
    "[logger] file": ("\n[logger]\ntype = file\nfile = ./state/own.log", "state/own.log"),
    "[cache] dir": ("\n[cache]\ndir = ./state/cache", "state/cache"),
    "[tftp] upload": ("", "state/in"),
}


def _link_by_nobody(path, secret):
    path.symlink_to(secret)
    os.lchown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    os.chown(path.parent, NOBODY.pw_uid, NOBODY.pw_gid)


def _link_by_a_stranger(path, secret):
    path.symlink_to(secret)
    os.lchown(path, 4321, 4321)
    path.parent.chmod(0o1777)


def _folder_for_everybody(path, secret):
    path.parent.chmod(0o777)


def _folder_of_a_stranger(path, secret):
    os.chown(path.parent, 4321, 4321)
    path.parent.chmod(0o777)


@pytest.mark.parametrize("setting", INIS)
@pytest.mark.parametrize(
    "spoil",
    [_link_by_nobody, _link_by_a_stranger, _folder_for_everybody, _folder_of_a_stranger],
)
def test_a_path_that_another_can_change_is_refused(serve, tmp_path, setting, spoil):
    """The daemon ends with a line that names the part; what a link names stays as it was."""
    with tempfile.TemporaryDirectory() as made:
        secret = Path(made) / "shadow"
        secret.mkdir() if setting in ("[cache] dir", "[tftp] upload") else secret.touch(0o600)
        beside = Path(made) / "shadow-beside"
        beside.touch(0o600)
        daemon, folder = serve("")
        daemon.stop()
        for left in (folder / "state").iterdir():
            left.unlink()
        lines, name = INIS[setting]
        others = {} if setting == "[bootp] leases" else {"leases": "memory"}
        if setting == "[tftp] upload":
            others["tftp"] = "upload = ./state/in"
            if "link" not in spoil.__name__:
                (folder / name).mkdir()
                os.chown(folder / name, NOBODY.pw_uid, NOBODY.pw_gid)
        spoil(folder / name, secret)
        with pytest.raises(DaemonError) as told:
            serve(f"user = nobody{lines}", **others)
        assert f"{setting}: " in str(told.value)
        assert " is not used: " in str(told.value) or " has no right " in str(told.value)
        assert "Traceback" not in str(told.value)
        assert (secret.stat().st_uid, beside.stat().st_uid) == (0, 0)


def test_a_folder_with_anything_else_in_it_stays_roots(serve):
    """A tag of another program, and a lease file that another owns, go to nobody else."""
    daemon, folder = serve("")
    daemon.stop()
    cache, state = folder / "cache", folder / "state"
    cache.mkdir()
    (cache / "CACHEDIR.TAG").write_text("another program's")
    (cache / "CACHEDIR.TAG").chmod(0o600)
    os.chown(state / "leases.db", 1234, 1234)
    daemon, folder = serve("user = nobody" + CACHE)
    daemon.stop()
    for path in (cache, cache / "CACHEDIR.TAG", state):
        assert path.stat().st_uid == 0


CACHE = """
[filters]
etag/* = http://192.168.1.2:8000/{filename}
[cache]
dir = ./cache
"""


@pytest.fixture
def website(lan):
    """Start a web server on the client's host; returns its process."""
    client = lan[1]
    client.ip("address", "add", "192.168.1.2/24", "dev", "eth0")
    script = Path(__file__).parents[1] / "files" / "origin.py"
    running = client.popen(sys.executable, script, ".")
    client.run("curl", "-s", "--retry-connrefused", "--retry", "9", "http://192.168.1.2:8000/")
    yield running
    running.kill()
    running.wait()


def kept(lan, folder, count):
    """Fetch a file of so many octets; wait until it is in the cache."""
    data, file = octets(count), folder / "got"
    url = f"tftp://192.168.1.1/etag/octets/{count}"
    lan[1].run("curl", "-s", "--max-time", "9", "-o", file, url)
    assert file.read_bytes() == data
    path = folder / "cache" / "files" / hashlib.sha256(data).hexdigest()
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.02)
    return path


def test_the_user_keeps_files_of_a_web_server(lan, serve, website):
    """The folder is the user's: root gives away nothing that it holds."""
    daemon, folder = serve("")
    daemon.stop()
    (folder / "cache").mkdir()
    os.chown(folder / "cache", NOBODY.pw_uid, NOBODY.pw_gid)
    daemon, folder = serve("user = nobody" + CACHE)
    first = kept(lan, folder, 5000)
    daemon.stop()
    daemon, folder = serve("user = nobody" + CACHE)
    assert status(daemon.pid)[0] == {NOBODY.pw_uid}
    second = kept(lan, folder, 6000)
    website.kill()
    website.wait()
    assert kept(lan, folder, 5000) == first
    assert kept(lan, folder, 6000) == second
    daemon.stop()
    cache = folder / "cache"
    assert {path.stat().st_uid for path in (cache, *cache.iterdir(), second)} == {NOBODY.pw_uid}
    said = (folder / "log").read_text()
    assert "what the cache has is served" in said
    assert "fetched again" not in said
    assert "not kept" not in said


def test_a_cache_among_other_files_is_not_handed_over(lan, serve, website):
    """The files are served all the same, and a line at the start says what is wrong."""
    daemon, folder = serve("")
    daemon.stop()
    (folder / "cache").mkdir()
    (folder / "cache" / "other").touch()
    daemon, folder = serve("user = nobody" + CACHE)
    wrong = f"[cache] dir: nobody has no right to write to {folder / 'cache'}"
    assert (folder / "log").read_text().count(wrong) == 1
    file = folder / "got"
    lan[1].run("curl", "-s", "--max-time", "9", "-o", file, "tftp://192.168.1.1/etag/octets/5000")
    assert file.read_bytes() == octets(5000)
    assert (folder / "cache").stat().st_uid == 0
    assert [path.name for path in (folder / "cache").iterdir()] == ["other"]


def test_a_root_that_the_user_can_not_read(serve, lan):
    daemon, folder = serve("")
    daemon.stop()
    (folder / "files").chmod(0o700)
    with pytest.raises(DaemonError, match="nobody has no right to read") as told:
        serve("user = nobody")
    assert "Traceback" not in str(told.value)


def test_it_reloads_and_logs_as_the_user(serve, firmware):
    logger = "user = nobody\n[logger]\ntype = file\nfile = {}/own.log"
    with tempfile.TemporaryDirectory() as logs:
        os.chown(logs, NOBODY.pw_uid, NOBODY.pw_gid)
        _reload_and_log(serve, firmware, logger.format(logs), Path(logs) / "own.log")


def _reload_and_log(serve, firmware, logger, own):
    daemon, folder = serve(logger, said=own)
    assert own.stat().st_uid == NOBODY.pw_uid
    ini = folder / "pybootd.ini"
    ini.write_text(ini.read_text().replace("user = nobody", "user = daemon"))
    os.kill(daemon.pid, signal.SIGHUP)
    deadline = time.monotonic() + 10
    while "is in force" not in own.read_text():
        assert time.monotonic() < deadline, own.read_text()
        time.sleep(0.02)
    assert "[security] user: changed, but that requires a restart" in own.read_text()
    assert status(daemon.pid)[0] == {NOBODY.pw_uid}
    assert firmware.boot("52:54:00:12:34:56", UUID_) is not None
    assert daemon.stop() == 0
    assert "Traceback" not in own.read_text()
