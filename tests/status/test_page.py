"""The status page in a real browser: it shows, moves, searches, and obeys nobody's file names."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.config.options.service import StatusConfig
from pybootd.core import events
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, TransferOutcome
from pybootd.core.loop import Loop
from pybootd.dhcp4.server import DhcpServer
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.leases.shared import admin
from pybootd.status import cluster as cluster_module
from pybootd.status import events as live
from pybootd.status.cluster import ClusterPresence
from pybootd.status.service import StatusService
from tests.observe.story import SYSTEM, UEFI, Story
from tests.postgres import Cluster

from .browser import browser, keep, page

pytestmark = pytest.mark.net

TOKEN = "sesame"  # noqa: S105
EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"


class Running(Story):
    """The status address in its own thread, as in a daemon."""

    def __init__(self, folder: Path, token: str = "") -> None:
        self.loop, self.bus, self.clients = Loop(), EventBus(), ClientTable()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        files = {"tftp": Files(LocalSource(folder))}
        status = StatusConfig(port=self.port, token=token)
        self.watching = StatusService(status, self.loop, self.bus, self.clients, files, None)
        self.timeline = self.watching.timeline
        self.octets = 0
        self.presence: ClusterPresence | None = None

    def share(self, url: str, name: str) -> None:
        """Tell other daemons, and hear of them, through this database; before it runs."""
        config = Config(bootp=BootpConfig(pool_start=IPv4Address("10.7.0.100"), leases=url))
        dhcp = DhcpServer(config, self.loop, self.bus, ClientTable())  # it has no lease
        self.presence = ClusterPresence(url, self.loop, dhcp, self.watching.changed_rows)
        self.presence.name = name
        self.watching.presence = self.presence

    def run(self) -> None:
        self.loop.open()
        if self.presence is not None:
            self.presence.start()
        self.watching.open()
        self.watching.start()
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def close(self) -> None:
        self.loop.call_from_thread(lambda now: self.loop.stop())
        self.thread.join()
        if self.presence is not None:
            self.presence.close()
        self.watching.close()
        self.loop.close()

    def tell(self, *told: object, each: float = 0.0) -> None:
        done = threading.Event()

        def publish(now: float) -> None:
            for event in told:
                self.bus.publish(event)
            done.set()

        self.loop.call_from_thread(publish)
        assert done.wait(5)

    def start(self, name: str, size: int = 1000, peer: str = "10.7.0.100") -> None:
        progress = {"progress": lambda: (self.octets, 0)}
        self.tell(events.TransferStarted("tftp", peer, name, name, size, 512, 1, **progress))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as made:
        yield made


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    made.run()
    yield made
    made.close()


def populate(running: Running) -> None:
    for number, name in enumerate(("linux", "initrd.gz", "menu.cfg", "x.efi")):
        mac, address = bytes((2, 0, 0, 0, 0, number)), IPv4Address(0x0A070010 + number)
        client = replace(UEFI, mac=mac, uuid=None, architecture=(7, 0, 11, 7)[number])
        running.lease(client, address)
        running.fetch("loader.efi", 800_000, peer=str(address))
        running.fetch(name, 9_000_000, peer=str(address))
        if number < 2:
            running.lease(replace(SYSTEM, mac=mac, hostname=f"rack-{number}"), address)
    refused = replace(UEFI, mac=bytes((2, 0, 0, 0, 0, 9)), uuid=None)
    running.refuse(refused)


def test_it_shows_machines_moves_bars_and_opens_the_waterfall(
    chromium: Any, running: Running
) -> None:
    populate(running)
    with page(chromium, running.url) as shown:
        rows = shown.locator("tr.machine")
        rows.nth(4).wait_for()
        running.lease()
        running.fetch("loader.efi", 700_000)
        running.miss("grub.cfg-01-52-54-00-12-34-56")
        running.fetch("grub.cfg", 400)
        running.start("linux", 8_000_000)
        row = shown.locator("tr.machine", has_text="52:54:00:12:34:56")
        bar = row.locator("progress")
        bar.wait_for()
        values = set()
        for octets in (1_000_000, 4_000_000, 7_000_000):
            running.octets = octets
            shown.wait_for_function(
                "wanted => document.querySelector('progress').value === wanted",
                arg=octets,
            )
            values.add(bar.evaluate("bar => bar.value / bar.max"))
        assert values == {0.125, 0.5, 0.875}
        row.get_by_role("button").click()
        fall = shown.get_by_role("list", name="What happened, in order")
        fall.wait_for()
        told = fall.inner_text()
        for words in ("address confirmed", "boot file: loader.efi", "file not found", "kernel"):
            assert words in told
        keep(shown, "desktop-light")
        running.end("linux", 8_000_000)
        running.lease(replace(SYSTEM, hostname="box"))
        shown.locator("tr.machine .state.up", has_text="up").first.wait_for()
        shown.get_by_text("The system is up.").wait_for()


def test_dark_and_phone(chromium: Any, running: Running) -> None:
    populate(running)
    running.lease()
    running.octets = 3_000_000
    running.start("linux", 8_000_000)
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    for name, more in {
        "desktop-dark": {"color_scheme": "dark"},
        "phone-light": phone,
        "phone-dark": {**phone, "color_scheme": "dark"},
    }.items():
        with page(chromium, running.url, **more) as shown:
            shown.locator("progress").wait_for()
            shown.locator("tr.machine", has_text="failed").get_by_role("button").click()
            shown.get_by_text("not allowed to boot").first.wait_for()
            keep(shown, name)
            assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
            paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (paper == "rgb(22, 23, 24)") == name.endswith("dark")


def test_search_and_keyboard(chromium: Any, running: Running) -> None:
    populate(running)
    with page(chromium, running.url) as shown:
        rows = shown.locator("tr.machine")
        rows.nth(4).wait_for()
        for words, found in {
            "02-00-00-00-00-01": 1,
            "10.7.0.18": 1,
            "rack-0": 1,
            "not allowed": 1,
            "refused failed": 1,
            "nothing at all": 0,
        }.items():
            shown.keyboard.press("/")
            shown.locator("#search").fill(words)
            shown.wait_for_function(
                "count => document.querySelectorAll('tr.machine').length === count", arg=found
            )
        shown.keyboard.press("Escape")
        rows.nth(4).wait_for()
        shown.keyboard.press("Tab")
        shown.keyboard.press("Enter")
        opened = shown.locator("button[aria-expanded=true]")
        opened.wait_for()
        assert opened.evaluate("button => button === document.activeElement")
        shown.keyboard.press("Enter")
        opened.wait_for(state="detached")


def test_more_machines_than_rows(chromium: Any, running: Running) -> None:
    for number in range(205):
        client = replace(UEFI, mac=bytes((2, 0, 0, 0, 0, number)), uuid=None)
        running.lease(client, IPv4Address(0x0A070010 + number))
    with page(chromium, running.url) as shown:
        count = shown.get_by_text("200 of 205 machines")
        count.wait_for()
        running.start("linux", 8_000_000, peer="10.7.0.16")  # one of those that have no row
        shown.locator("progress").wait_for()
        assert count.is_visible()


def test_names_of_strangers_do_nothing(chromium: Any, running: Running) -> None:
    running.lease(UEFI)
    running.fetch(f"{EVIL}\n\x1b[2J\u202e.efi", 5000)
    running.fetch(EVIL, 5000, TransferOutcome.ABORTED)
    running.lease(replace(SYSTEM, hostname=EVIL))
    with page(chromium, running.url) as shown:  # a dialog or a strange request fails it
        row = shown.locator("tr.machine")
        row.get_by_role("button").click()
        shown.get_by_role("list", name="What happened, in order").wait_for()
        text = shown.locator("main").inner_text()
        assert EVIL in text
        assert "\\x1b[2J\\u202e" in text
        assert shown.locator("img, main script").count() == 0


def test_machines_of_other_daemons_and_a_database_that_goes(
    chromium: Any, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = ((cluster_module, "EVERY", 0.5), (cluster_module, "GONE", 2.0), (live, "_SLOW", 0.5))
    for module, name, seconds in quick:
        monkeypatch.setattr(module, name, seconds)
    url = cluster.create()
    admin.migrate_database(url)
    north, south = Running(tmp_path), Running(tmp_path)
    north.share(url, "north")
    south.share(url, f"south {EVIL}")
    north.run()
    south.run()
    north.lease(replace(UEFI, mac=bytes(6), uuid=None), IPv4Address("10.7.0.9"))
    south.lease()
    south.miss(f"{EVIL}\x1b[2J\u202e")
    south.lease(replace(SYSTEM, hostname=EVIL))
    try:
        with page(chromium, north.url) as shown:  # a dialog or a strange request fails it
            shown.set_default_timeout(60_000)
            theirs = shown.locator("tr.machine", has_text="52:54:00:12:34:56")
            theirs.locator(".seer", has_text=f"south {EVIL}").wait_for()
            shown.locator("tr.machine .seer", has_text="north").wait_for()
            daemons = shown.locator("#site tbody tr")
            daemons.nth(1).wait_for()
            shown.locator("#search").fill(f"SOUTH {EVIL}")
            shown.get_by_text("1 machine", exact=True).wait_for()
            theirs.get_by_role("button").click()
            told = f"The daemon south {EVIL} saw it last: system up. Its page shows each step."
            shown.get_by_text(told).wait_for()
            assert EVIL in theirs.locator(".host").inner_text()
            assert shown.locator("img, main script").count() == 0
            shown.locator("#search").fill("")
            shown.get_by_text("2 machines", exact=True).wait_for()
            assert daemons.all_inner_texts()[0].split("\t")[:1] == ["north (this one)"]
            cluster.stop()
            try:
                line = shown.get_by_text("The lease database has not answered for")
                line.wait_for()
                north.lease(replace(UEFI, mac=b"\2" * 6, uuid=None), IPv4Address("10.7.0.10"))
                shown.locator("tr.machine").nth(2).wait_for()
                keep(shown, "database-away")
            finally:
                cluster.start()
            line.wait_for(state="hidden")
            south.close()
            daemons.filter(has_text="away, last sign of life").wait_for()
            theirs.locator(".seer", has_text="(away)").wait_for()
            assert "away" not in daemons.filter(has_text="north").inner_text()
            keep(shown, "daemon-away")
            shown.set_viewport_size({"width": 390, "height": 844})
            assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
            keep(shown, "daemon-away-phone")
    finally:
        north.close()
        if south.thread.is_alive():
            south.close()


def test_a_token_is_asked_for_once(chromium: Any, tmp_path: Path) -> None:
    running = Running(tmp_path, token=TOKEN)
    running.run()
    try:
        running.lease()
        context = chromium.new_context()
        shown = context.new_page()
        shown.goto(running.url)
        shown.get_by_label("token").fill(TOKEN)
        shown.get_by_role("button", name="Show").click()
        shown.locator("tr.machine").wait_for()
        context.close()
        with page(chromium, f"{running.url}#{TOKEN}") as shown:
            shown.locator("tr.machine").wait_for()
            assert TOKEN not in shown.url
    finally:
        running.close()
