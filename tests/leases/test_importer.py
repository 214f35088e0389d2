"""pybootd leases --import: what is taken over, what is left out, and that it is all or nothing."""

import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from pybootd.commands import leases as command
from pybootd.leases.importer import plan_import
from pybootd.leases.lease import FOREVER, Lease, LeaseState
from pybootd.leases.lease_file import read_lease_file
from pybootd.leases.sqlite import SqliteStore
from tests.leases.moving import (
    HOUR,
    INI,
    KEPT,
    NOW,
    ONE,
    THREE,
    TWO,
    A,
    blocked,
    call,
    fill,
    lease,
    said,
    same,
)


# in either kind of store, where one has an older lease, an offer, or nothing, at the address
@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lease(1, ONE), None),
        (lease(1, ONE, left=-HOUR), None),  # it stays its client's
        (lease(1, ONE, LeaseState.RELEASED, -HOUR), None),
        (blocked(1), None),
        (lease(1, ONE), lease(1, ONE, left=HOUR - 60)),
        (lease(1, ONE, LeaseState.RELEASED, -5.0), lease(1, ONE, left=HOUR - 60)),
        (lease(1, ONE), lease(1, ONE, LeaseState.OFFERED, 60.0, seconds=0.0)),
        (lease(1, ONE), lease(1, TWO, LeaseState.OFFERED, -1.0, seconds=0.0)),
        (lease(1, ONE), blocked(1, -1.0)),
        (blocked(1), blocked(1, 100.0)),
    ],
)
def test_it_is_taken_over(theirs: Lease, ours: Lease | None, one_each: bool) -> None:
    made = plan_import([theirs], [ours] if ours else [], NOW, networks=[] if one_each else None)
    assert (made.write, made.free, made.already_there, made.left_out) == ([theirs], [], 0, [])


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lease(1, ONE), lease(1, ONE)),
        (lease(1, ONE), lease(1, ONE, left=HOUR - 0.5)),  # two clocks read at two moments
        (lease(1, ONE, left=HOUR - 60), lease(1, ONE)),
        (lease(1, ONE, left=HOUR - 60), lease(1, ONE, LeaseState.RELEASED, -5.0)),
        (lease(1, ONE), lease(1, ONE, left=FOREVER, seconds=FOREVER)),
        (lease(1, ONE, left=FOREVER, seconds=FOREVER), lease(1, ONE)),
        (blocked(1, 100.0), blocked(1)),
    ],
)
def test_what_is_there_is_as_new(theirs: Lease, ours: Lease, one_each: bool) -> None:
    made = plan_import([theirs], [ours], NOW, networks=[] if one_each else None)
    assert (made.write, made.free, made.already_there, made.left_out) == ([], [], 1, [])


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        (lease(1, ONE), lease(1, TWO, left=-HOUR), "belongs to 02:00:00:00:00:02"),
        (lease(1, ONE), lease(1, TWO, LeaseState.RELEASED, -9.0), "belongs to 02:00:00:00:00:02"),
        (lease(1, ONE), lease(1, TWO, LeaseState.OFFERED, 9.0), "is offered to 02:00:00:00:00:02"),
        (blocked(1), lease(1, TWO, left=-HOUR), "belongs to 02:00:00:00:00:02"),
    ],
)
def test_an_address_that_is_anothers_stays(
    theirs: Lease, ours: Lease, why: str, one_each: bool
) -> None:
    made = plan_import([theirs], [ours], NOW, networks=[] if one_each else None)
    assert (made.write, made.free, made.already_there) == ([], [], 0)
    whose = "02:00:00:00:00:01" if theirs.owner else "nobody"
    assert made.left_out == [f"10.0.0.1 of {whose} is left out: it {why} there"]


def test_an_address_that_somebody_uses_stays_blocked() -> None:
    made = plan_import([lease(1, ONE)], [blocked(1)], NOW)
    assert made.left_out == [
        "10.0.0.1 of 02:00:00:00:00:01 is left out: somebody else uses it there"
    ]


@pytest.mark.parametrize(
    "nothing",
    [blocked(1, -1.0), lease(1, ONE, LeaseState.OFFERED, 50.0), lease(1, b"", LeaseState.FREE)],
)
def test_what_holds_nobody_to_anything_is_not_worth_a_word(nothing: Lease) -> None:
    made = plan_import([nothing], [], NOW)
    assert (made.write, made.already_there, made.left_out) == ([], 0, [])


def test_a_client_has_one_address_in_each_network_of_a_database() -> None:
    one, other, third = lease(1, ONE), lease(100, ONE, left=HOUR - 60), lease(200, ONE)
    networks = [IPv4Network("10.0.0.0/26"), IPv4Network("10.0.0.0/25")]
    made = plan_import([one, other, third], [], NOW, networks)
    assert (made.write, made.left_out) == ([one, third, other], [])
    made = plan_import([other], [third, lease(101, ONE)], NOW, networks)
    assert len(made.left_out) == 1


def test_a_client_has_one_address_in_a_database() -> None:
    other = lease(2, ONE, left=HOUR - 60)
    made = plan_import([lease(1, ONE)], [other], NOW, networks=[])
    assert [(one.address, one.state) for one in made.free] == [(other.address, LeaseState.FREE)]
    assert [one.address for one in made.write] == [A("10.0.0.1")]
    made = plan_import([other], [lease(1, ONE)], NOW, networks=[])
    assert made.left_out == [
        "10.0.0.2 of 02:00:00:00:00:01 is left out: the client has 10.0.0.1 there"
    ]
    # a file may have one for each network; of two in one network the pool drops the older
    assert plan_import([other], [lease(1, ONE)], NOW).write == [other]
    # and of two that come only the newer
    made = plan_import([other, lease(1, ONE)], [], NOW, networks=[])
    assert [one.address for one in made.write] == [A("10.0.0.1")]
    assert len(made.left_out) == 1


@pytest.mark.parametrize("left", [20.0, -20.0])
def test_a_client_that_is_offered_another_address(left: float) -> None:
    offer = lease(2, ONE, LeaseState.OFFERED, left, seconds=0.0)
    made = plan_import([lease(1, ONE)], [offer], NOW, networks=[])
    why = "10.0.0.1 of 02:00:00:00:00:01 is left out: the client is offered 10.0.0.2 there"
    assert made.left_out == ([why] if left > 0 else [])
    assert len(made.free) == len(made.write) == (left < 0)


# the command, on files


def test_one_file_to_another(ini: Path, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(ini, old) == 0
    assert capsys.readouterr().out == (
        f"{ini.parent}/new.db: 6 leases taken over, 0 were there, 0 left out\n"
    )
    assert same(read_lease_file(ini.parent / "new.db"), KEPT)
    assert same(read_lease_file(old), KEPT)
    assert call(ini, old) == 0  # which does no harm
    assert said(capsys) == ("0 leases taken over, 6 were there, 0 left out\n", "")


def test_who_is_who_is_said_by_the_configuration(
    ini: Path, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file keeps no identity: this client's new network card is another MAC."""
    fill(ini.parent / "new.db", [lease(2, THREE, client_id=b"\1x", left=-70.0)])
    ini.write_text(f"{INI.format('new.db')}identity = client-id\n")
    assert call(ini, old) == 0
    assert read_lease_file(ini.parent / "new.db")[1].mac == TWO
    fill(ini.parent / "new.db", [lease(2, THREE, client_id=b"\1x", left=-70.0)])
    ini.write_text(INI.format("new.db"))
    assert call(ini, old) == 1
    line = "10.0.0.2 of 02:00:00:00:00:02 is left out: it belongs to 02:00:00:00:00:03 there"
    assert f"pybootd leases: {line}\n" in capsys.readouterr().err
    assert read_lease_file(ini.parent / "new.db")[1].mac == THREE


def test_a_file_that_a_daemon_uses(
    ini: Path, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = SqliteStore(ini.parent / "new.db")
    daemon.open()
    assert call(ini, old) == 1
    assert "new.db: another pybootd uses it" in capsys.readouterr().err
    assert list(daemon.load_leases(NOW)) == []
    daemon.close()
    daemon = SqliteStore(old)
    daemon.open()
    assert call(ini, old) == 0
    out, err = said(capsys)
    assert "leases that it gives from now on stay there; stop it, and import again" in err
    assert out.startswith("6 leases taken over")
    daemon.close()
    assert call(ini, old) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("lost", "file is not a database"),
        ("middle", "integrity check: "),
        ("a row", "some of its leases can't be read"),
        ("newer", "written by a newer pybootd"),
        ("gone", "there is none"),
        ("other", "file is not a database"),
    ],
)
def test_a_file_that_cant_be_read_whole(
    ini: Path, what: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd = [lease(n, bytes((2, n)), hostname="x" * 99) for n in range(1, 200)]
    old = fill(ini.parent / "old.db", crowd)
    with sqlite3.connect(old) as file:
        if what == "a row":
            file.execute("UPDATE lease SET uuid = 'x' WHERE address % 9 = 1")
        if what == "newer":
            file.execute("PRAGMA user_version = 99")
    file.close()
    data = old.read_bytes()
    if what == "lost":
        old.write_bytes(bytes(4096) + data[4096:])
    if what == "middle":
        old.write_bytes(data[:8192] + bytes(4096) + data[12288:])
    if what == "gone":
        old.unlink()
    if what == "other":
        old.write_text("[bootp]\n" * 999)
    assert call(ini, old) == 1
    out, err = capsys.readouterr()
    assert why in err
    assert err.startswith(f"pybootd leases: lease file {old}: ")
    assert err.count("\n") == 1
    assert out == ""
    assert not (ini.parent / "new.db").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (INI.format("./old.db"), "[bootp] leases names the same"),
        (INI.format("memory"), "leases = memory"),
        (f"{INI.format('new.db')}identity = name\n", "4: [bootp] identity: "),
        (INI.format("postgresql://x?y"), "not a connection URL that libpq reads"),
        (INI.format("postgresql:///x?host=/nowhere"), "lease database x on /nowhere: "),
    ],
)
def test_a_configuration_that_names_no_place_for_them(
    ini: Path, old: Path, text: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ini.write_text(text)
    assert call(ini, old) == 1
    out, err = capsys.readouterr()
    assert why in err
    assert err.count("\n") == 1
    assert out == ""


def test_without_what_talks_to_a_database(
    ini: Path, old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert call(ini, "postgresql:///x") == 1
    assert "a lease database needs psycopg: on Debian apt install" in capsys.readouterr().err
    ini.write_text(INI.format("postgresql:///x"))
    assert call(ini, old) == 1
    assert "a lease database needs psycopg: on Debian apt install" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_half_done(ini: Path) -> None:
    fill(ini.parent / "new.db", [lease(1, THREE)])
    crowd = [lease(n, bytes((2, n)), hostname="x" * 200) for n in range(2, 250)]
    old = fill(ini.parent / "old.db", crowd)
    done = subprocess.run(
        [sys.executable, "-m", "pybootd", "leases", "-c", ini, "--import", old],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (32768, 32768)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"pybootd leases: lease file {ini.parent}/new.db: ")
    assert [one.address for one in read_lease_file(ini.parent / "new.db")] == [A("10.0.0.1")]
    assert call(ini, old) == 0
    assert len(read_lease_file(ini.parent / "new.db")) == 249


def test_interrupted_it_has_not_done_it(
    ini: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "import_leases", interrupted)
    assert call(ini, old) == 1


def test_a_folder_that_is_the_daemons_alone(
    ini: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kept_out(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", kept_out)
    assert call(ini, "/var/lib/private/leases.db") == 1
    said = "pybootd leases: lease file /var/lib/private/leases.db: Permission denied\n"
    assert capsys.readouterr().err == said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_root_makes_belongs_to_the_daemon(open_ini: Path, old: Path) -> None:
    """Systemd makes the daemon's user, whose folder it is; who can't write forgets all."""
    folder = open_ini.parent / "state"
    folder.mkdir()
    os.chown(folder, 4321, 4322)
    open_ini.write_text(INI.format("state/leases.db"))
    assert call(open_ini, old) == 0
    owners = {one.name: (one.stat().st_uid, one.stat().st_gid) for one in folder.iterdir()}
    assert owners == dict.fromkeys(("leases.db", "leases.db.lock"), (4321, 4322))
    # the daemon's files in another user's folder stay its own
    os.chown(folder, 0, 0)
    assert call(open_ini, old) == 0
    assert (folder / "leases.db").stat().st_uid == 4321


def test_a_link_of_the_daemons_user_leads_root_nowhere(open_ini: Path, old: Path) -> None:
    """A program of the daemon's user could have put it there."""
    secret, state = open_ini.parent / "secret", open_ini.parent / "state"
    secret.write_bytes(old.read_bytes())
    secret.chmod(0o600)
    state.mkdir()
    (state / "leases.db").symlink_to(secret)
    os.chown(state, 4321, 4322)
    open_ini.write_text(INI.format("state/leases.db"))
    before = secret.stat()
    assert call(open_ini, old) == 1
    after = secret.stat()
    assert (after.st_uid, after.st_mtime_ns) == (before.st_uid, before.st_mtime_ns)


@pytest.fixture
def open_ini() -> Iterator[Path]:
    """Return the path of a configuration in a folder that every user may enter."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder / "pybootd.ini"
