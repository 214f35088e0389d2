"""What daemons with one lease database, a real one, show of each other's machines."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.core import events
from pybootd.core.client_table import ClientTable
from pybootd.dhcp4.server import DhcpServer
from pybootd.leases.shared import admin
from pybootd.status import service
from pybootd.status.cluster import ClusterPresence
from pybootd.status.peers import PeerMachine, Peers
from tests.observe.story import SYSTEM, UEFI
from tests.postgres import Cluster

from .looking import Rig

pytestmark = pytest.mark.net

EVIL = "<script>\x1b[2J\u202e[bold]x"
FIRST, SECOND, THIRD = (replace(UEFI, mac=bytes((2, 0, 0, 0, 0, n)), uuid=None) for n in (1, 2, 3))
AT = [IPv4Address(0x0A070010 + number) for number in range(4)]


class One(Rig):
    """What one daemon sees, and tells the others."""

    def __init__(self, folder: Path, url: str, name: str) -> None:
        super().__init__(folder)
        config = Config(bootp=BootpConfig(pool_start=AT[0], leases=url))
        dhcp = DhcpServer(
            config, self.loop, self.bus, ClientTable()
        )  # the leases are not looked at
        self.presence = ClusterPresence(url, self.loop, dhcp, self.watching.changed_rows)
        self.presence.name = name
        self.watching.presence = self.presence
        self.presence.start()

    def rows(self, search: str = "") -> dict[str, Any]:
        document = self.json(f"/api/clients?search={search}")
        rows = {row["name"][-2:]: row for row in document["clients"]}
        assert len(rows) == len(document["clients"]) == document["total"]
        return rows

    def seers(self, search: str = "") -> dict[str, str]:
        return {name: row["daemon"] for name, row in self.rows(search).items()}


class Site:
    """Several of them; their clocks go on while the test waits."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.north, self.south = (One(folder, url, name) for name in ("north", f"south {EVIL}"))

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline
            for one in (self.north, self.south):
                one.now += 0.2
                one.loop.turn(0.005)

    def sql(self, statement: str) -> int:
        """Return how many rows it touched."""
        with psycopg.connect(self.url, autocommit=True) as file:
            return file.execute(statement.encode()).rowcount


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    url = cluster.create()
    admin.migrate_database(url)
    made = Site(tmp_path, url)
    yield made
    for one in (made.north, made.south):
        one.presence.close()
        one.close()


def test_each_shows_all_machines_and_who_saw_them(site: Site) -> None:
    north, south = site.north, site.south
    north.lease(FIRST, AT[1])
    south.lease(SECOND, AT[2])
    south.miss("linux", str(AT[2]))
    south.lease(replace(SYSTEM, mac=THIRD.mac, hostname="no-netboot"), AT[3])
    site.until(lambda: len(north.rows()) == len(south.rows()) == 2)
    assert north.seers() == south.seers() == {"01": "north", "02": south.presence.name}
    site.until(lambda: north.rows()["02"]["state"] == "failed")
    row = north.rows()["02"]
    assert row["elsewhere"]
    assert (row["verdict"]["name"], row["transfers"]) == ("missing-file", [])
    for words, found in {
        "south": {"02"},
        "north": {"01"},
        "02-00-00-00-00-02": {"02"},
        str(AT[2]): {"02"},
        "linux+FAILED": {"02"},
        "south+north": set(),
    }.items():
        assert set(north.rows(words)) == found, words
    assert len(north.json("/api/clients?limit=1")["clients"]) == 1
    site.until(lambda: len(north.json("/api/site")["daemons"]) == 2)
    said = north.command("status").stdout
    for words in (
        "02:00:00:00:00:01",
        "02:00:00:00:00:02",
        "1 machines here",
        "(this one)",
        "north",
    ):
        assert words in said
    for name in (str(AT[2]), "02-00-00-00-00-02"):
        told = north.json(f"/api/clients/{name}")["client"]
        assert (told["daemon"], told["boots"]) == (south.presence.name, [])
        said = north.command("why", name).stdout
        assert "A file (kernel) is not there: linux." in said
        assert "The daemon south" in said
        assert all(one.isprintable() for one in said.replace("\n", ""))


def test_a_machine_that_both_saw_is_there_once_with_its_newest_outcome(site: Site) -> None:
    north, south = site.north, site.south
    north.lease(FIRST, AT[1])
    north.miss("linux", str(AT[1]))
    site.until(lambda: south.seers() == {"01": "north"})
    for one in (north, south):
        one.pass_time(300)
    south.lease(FIRST, AT[1])
    south.fetch("linux", peer=str(AT[1]))
    site.until(lambda: north.seers() == {"01": south.presence.name})
    assert north.rows()["01"]["stage"] == south.rows()["01"]["stage"] == "kernel"
    assert south.seers() == north.seers()
    looking = north.ask("/api/events")
    north.read(looking, b"event: stats")
    north.pass_time(11)  # what it saw itself is news to who looks on, but old
    assert b"event: clients" not in north.read(looking, b"event: stats")
    told = north.json("/api/clients/02:00:00:00:00:01")["client"]
    assert told["stage"] == "kernel"
    assert told["boots"][0]["verdict"]["name"] == "missing-file"
    assert "What this daemon saw of it before:" in north.command("why", str(AT[1])).stdout
    for one in (north, south):
        one.pass_time(300)
    north.lease(replace(SYSTEM, mac=FIRST.mac), AT[1])
    assert north.seers() == {"01": "north"}
    site.until(lambda: south.seers() == {"01": "north"})


def test_who_was_not_chosen_knows_no_outcome(site: Site) -> None:
    north, south = site.north, site.south
    chosen = IPv4Address("10.7.0.1")
    north.lease(FIRST, AT[1])
    south.tell(events.Offered(FIRST, AT[1], "loader.efi"), each=2.0)
    south.tell(events.ChoseAnother(FIRST, chosen))
    south.lease(SECOND, AT[2])
    north.tell(events.Offered(SECOND, AT[2], "loader.efi"))
    site.until(lambda: len(north.presence.others) == len(south.presence.others) == 2)
    assert north.seers() == south.seers() == {"01": "north", "02": south.presence.name}


def test_machines_of_others_are_streamed(site: Site) -> None:
    north, south = site.north, site.south
    looking = north.ask("/api/events")
    north.read(looking, b"event: stats")
    south.lease(SECOND, AT[2])
    site.until(lambda: len(north.presence.others))
    told = north.read(looking, b"event: clients")
    (row,) = json.loads(re.findall(rb"event: clients\ndata: (.*)\n", told)[-1])
    assert (row["mac"], row["elsewhere"]) == ("02:00:00:00:00:02", True)
    looking.close()
    site.until(lambda: north.presence.changed is None)


def test_more_machines_than_are_told_in_one_go(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(service, "_RECENT", 3)
    for number in range(10):
        client = replace(UEFI, mac=bytes((2, 0, 0, 0, 1, number)), uuid=None)
        site.south.lease(client, IPv4Address(0x0A070050 + number))
    site.until(lambda: len(site.north.presence.others) == 10)
    written = [one.written for one in site.north.presence.others]
    for _ in range(2):  # what stands still is not written again
        answered = site.south.presence._answered
        site.until(lambda answered=answered: site.south.presence._answered > answered)
    assert [one.written for one in site.north.presence.others] == written


def test_the_database_goes_and_comes_back(site: Site, cluster: Cluster) -> None:
    north, south = site.north, site.south
    south.lease(FIRST, AT[1])
    site.until(lambda: len(north.rows()) == 1)
    assert north.json("/api/site")["database_away"] is None
    cluster.stop()
    try:
        site.until(lambda: north.json("/api")["stats"]["database_away"])
        south.lease(SECOND, AT[2])
        north.lease(THIRD, AT[3])
        assert set(north.rows()) == {"01", "03"}
        assert "has not answered for" in north.command("status").stdout
    finally:
        cluster.start()
    site.sql("DELETE FROM pybootd.boot")  # as when it crashed before that was on disk
    site.until(lambda: north.json("/api/site")["database_away"] is None)
    site.until(lambda: site.sql("SELECT machine FROM pybootd.boot") == 3)
    site.until(lambda: set(north.rows()) == set(south.rows()) == {"01", "02", "03"})


def test_silence_without_a_database_means_nothing(site: Site, cluster: Cluster) -> None:
    north, south = site.north, site.south
    site.until(lambda: len(north.presence.daemons) == 2)
    south.presence.close()
    cluster.stop()
    try:
        site.until(lambda: north.presence.away)
    finally:
        cluster.start()
    site.sql("UPDATE pybootd.daemon SET seen = seen - 300 WHERE name LIKE 'south%'")
    site.until(lambda: north.presence.away is None)
    away = north.presence.daemons[1]
    assert (away["seen"] > 290, away["silent"]) == (True, False)
    site.until(lambda: north.presence.daemons[1]["silent"])


def test_a_daemon_that_is_away_is_said_to_be(site: Site) -> None:
    north, south = site.north, site.south
    south.lease(FIRST, AT[1])
    site.until(lambda: len(north.rows()) == 1 and len(north.presence.daemons) == 2)
    south.presence.close()
    site.sql("UPDATE pybootd.daemon SET seen = seen - 300 WHERE name LIKE 'south%'")
    site.until(lambda: north.json("/api/site")["daemons"][1]["silent"])
    here, away = north.json("/api/site")["daemons"]
    assert (here["silent"], here["here"]) == (False, True)
    assert away["seen"] > 290
    assert "away, last sign of life" in north.command("status").stdout
    assert set(north.rows()) == {"01"}


def test_a_host_whose_clock_is_wrong(site: Site) -> None:
    site.north.lease(FIRST, AT[1])
    site.until(lambda: len(site.south.rows()) == 1)
    site.sql(
        """
        INSERT INTO pybootd.daemon
            SELECT 'east', version, started, seen, counts FROM pybootd.daemon LIMIT 1;
        INSERT INTO pybootd.boot SELECT 'east', machine, pybootd.now(), "row" || jsonb_build_object(
            'began', ("row"->'last')::float + 3585, 'last', ("row"->'last')::float + 3600,
            'ago', 7200, 'stage', 'kernel') FROM pybootd.boot
        """
    )
    site.until(lambda: len(site.north.presence.others))
    assert site.north.seers() == {"01": "north"}
    east = site.north.presence.others.by_name("02:00:00:00:00:01")
    assert east is not None
    assert abs(time.time() - 7200 - east.last) < 60
    assert json.loads(east.text)["began"] == pytest.approx(east.last - 15, abs=0.01)


def test_others_are_bounded_in_number_and_age() -> None:
    row = {"address": "", "hostname": "", "uuid": "", "kind": "", "state": "up", "stage": "up"}
    row |= {"verdict": None, "began": 1.0, "last": 5.0}
    week, kept = 7 * 86400.0, Peers(most=3)
    told = [PeerMachine("south", row | {"name": str(n)}, float(n), week + n) for n in range(5)]
    assert kept.note_machines(told, week) == told
    assert [one.name for one in kept.list_newest()] == ["4", "3", "2"]
    assert json.loads(told[0].text)["began"] == week - 4
    assert kept.note_machines([], 2 * week + 3.5) == []
    assert [one.name for one in kept] == ["4"]
