"""The lease file damaged, taken away, locked, the clock set: no lease is lost."""

import contextlib
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pybootd.dhcp4.wire.packet import MessageType
from pybootd.leases.lease_file import read_lease_file

from .fault_rig import INI, Rig

SERVER = IPv4Address("192.168.1.1").packed
MACS = [f"52:54:00:00:00:{number:02x}" for number in range(8)]

pytestmark = pytest.mark.net


@pytest.fixture
def rig(lan, firmware, tmp_path):
    made = Rig(lan[0], firmware, tmp_path)
    yield made
    made.daemon.stop()
    assert not made.said("Traceback")


def damage(file):
    """Overwrite all but the header, as a failing disk might."""
    octets = len(file.read_bytes())
    with file.open("r+b") as opened:
        opened.seek(100)
        opened.write(os.urandom(octets - 100))


def test_a_damaged_file_is_set_aside_and_everybody_keeps_the_address(rig):
    rig.daemon.start()
    rig.boot(MACS)
    rig.daemon.stop()
    damage(rig.file)
    rig.daemon.start()
    assert rig.says("is damaged") == 1
    assert list(rig.file.parent.glob("leases.db.damaged-*"))
    rig.boot(reversed(MACS))
    assert rig.kept() == rig.told


def test_a_file_damaged_under_the_running_daemon_is_written_again(rig):
    rig.daemon.start()
    rig.boot(MACS[:4])
    with contextlib.closing(sqlite3.connect(rig.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE clock SET drift = drift + 0.001")
        damage(rig.file.with_name("leases.db-wal"))
        # what the daemon remembers of the file is to be read again
        other.execute("COMMIT")
    rig.boot(MACS)
    assert rig.says("is damaged") == 1
    assert rig.kept() == rig.told
    os.kill(rig.daemon.pid, signal.SIGKILL)
    rig.daemon.stop()
    rig.daemon.start()
    assert not rig.said("damaged")
    assert rig.kept() == rig.told
    rig.boot(MACS)


def test_a_file_taken_away_from_the_running_daemon_is_written_again(rig):
    rig.daemon.start()
    rig.boot(MACS[:2])
    shutil.rmtree(rig.file.parent)
    rig.boot(MACS[1:4])
    assert rig.says("was taken away: a fresh one holds all 2 leases") == 1
    assert rig.kept().items() >= {mac: rig.told[mac] for mac in MACS[:4]}.items()
    # another is put in its place: it is no longer the one that is written
    another = rig.file.with_name("another")
    another.write_bytes(b"other")
    another.rename(rig.file)
    rig.boot(MACS[3:])
    assert rig.says("what was there is kept as") == 1
    assert rig.kept() == rig.told


def test_a_file_locked_by_another_program_delays_confirmations_alone(rig):
    rig.daemon.start()
    rig.boot(MACS[:2])
    with contextlib.closing(sqlite3.connect(rig.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert rig.firmware.boot(MACS[2], patience=1.0) is None
        # nobody waits for the lock: not the loop, so not those who ask for files either
        asking = threading.Event()

        def ask():
            while not asking.wait(0.01):
                rig.firmware.send(MACS[2], MessageType.REQUEST, o50=rig.wanted(2), o54=SERVER)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            began = time.monotonic()
            for _ in range(10):
                got = rig.host.run(
                    "curl", "-s", "--max-time", "20", "tftp://192.168.1.1/pxelinux.0"
                )
                assert got.stdout == "boot me" * 300
            took = time.monotonic() - began
        finally:
            asking.set()
            thread.join()
        assert took < 8  # where each request waits for the lock: more than a second each
        assert rig.says("no lease is confirmed: ") == 1
    rig.boot(MACS)
    assert rig.kept() == rig.told


def test_a_file_belongs_to_one_daemon(rig):
    rig.daemon.start()
    rig.boot(MACS[:2])
    ini = rig.daemon.ini.with_name("second.ini")
    ini.write_text(INI.replace("[bootp]", "[bootp]\nport = 1067"))
    words = (sys.executable, "-m", "pybootd", "-p", "-c", ini)
    second = rig.host.run(*words, check=False)
    assert second.returncode == 1
    last = second.stderr.splitlines()[-1]
    assert last.endswith(f"lease file {rig.file}: another pybootd uses it")
    rig.boot(MACS)


@pytest.mark.net("faketime")
@pytest.mark.parametrize("step", [86_400, -86_400])
def test_a_clock_that_is_set_ends_no_lease(lan, firmware, tmp_path, monkeypatch, step):
    text = INI.replace("pool_count = 99", "pool_count = 3\nreclaim = expired")
    rig = Rig(lan[0], firmware, tmp_path, text)
    wall = tmp_path / "wall"
    wall.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", "libfaketime.so.1")
    library = next(Path("/usr/lib").glob("*/faketime"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(wall))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")  # nor does setting a real clock

    def left():
        """Return the seconds that each lease in the file has left, by the clock as it is set."""
        leases = read_lease_file(rig.file, lambda: time.time() + int(wall.read_text()))
        return [lease.expires for lease in leases]

    rig.daemon.start()
    rig.boot(MACS[:3])
    wall.write_text(f"{step:+}")
    rig.boot(MACS[:1])
    assert rig.firmware.boot(MACS[3], patience=1.0) is None  # all three are taken
    assert len(left()) == 3
    assert all(3500 < seconds <= 3601 for seconds in left())
    os.kill(rig.daemon.pid, signal.SIGKILL)
    rig.daemon.stop()
    rig.daemon.start()
    stamp = datetime.fromtimestamp(time.time() + step).astimezone()
    assert rig.says(stamp.strftime("%Y-%m-%d"))
    assert rig.firmware.boot(MACS[3], patience=1.0) is None
    rig.boot(MACS[:3])
    assert all(3500 < seconds <= 3601 for seconds in left())
    rig.daemon.stop()
    assert not rig.said("Traceback")
