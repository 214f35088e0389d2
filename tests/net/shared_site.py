"""Three daemons with one lease database, two relays, and a storm in which things go wrong.

Some clients fetch a boot file meanwhile, from the daemon whose ACK they have.
"""

import contextlib
import os
import signal
import time
from collections import Counter
from ipaddress import IPv4Address as A
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from pybootd.dhcp4.wire.packet import MessageType
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Network
from pybootd.leases.shared import admin
from tests.postgres import Cluster

from .shared_crowd import WAIT, Client, Crowd, turn
from .shared_files import NAME, Files, write

SERVERS = [A("10.7.0.1"), A("10.7.0.2"), A("10.7.0.3")]
RELAYS = [A("10.8.0.1"), A("10.9.0.1")]
NETWORKS = ["10.8.0.0/16", "10.9.0.0/16"]
_CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
INI = """\
[logger]
level = warning
[status]
port = 0
[bootp]
allow_simple_dhcp = on
lease_time = 600
leases = {url}
lease_copy = {copy}
{more}
[subnet 10.8.0.0/16]
pool_start = 10.8.1.0
pool_count = {count}
[subnet 10.9.0.0/16]
pool_start = 10.9.1.0
pool_count = {count}
[bootfile]
efi-x86_64 = {boot}
[tftp]
root = ./files
"""


class Site:
    """A context manager; ``count`` clients are divided between the two relays.

    Each ``boots``-th client fetches a file of ``size`` octets; 0: none does.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        count: int,
        wait: float = WAIT,
        more: str = "",
        boots: int = 0,
        size: int = 1 << 20,
    ) -> None:
        self.cluster, self.folder = cluster, folder
        self.url = cluster.create()
        admin.migrate_database(self.url)
        self._all = contextlib.ExitStack()
        self._count, self._wait, self._more = count, wait, more
        self._boots = boots
        write(folder / "files", size)
        self.daemons: list[DaemonProcess] = []
        self.crowds: list[Crowd] = []
        self.files: Files | None = None
        self.killed, self.killed_at = 1, 0.0  # the daemon that the storm kills, and when
        self.marks: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as begun:
            network = begun.enter_context(Network())
            lan, relay = network.switch(), network.host("relays")
            relay.plug(lan, "10.7.0.9/24", *(f"{address}/16" for address in RELAYS))
            for net in NETWORKS:  # its clients' addresses are all its own
                relay.ip("route", "add", "local", net, "dev", "lo")
            for number, address in enumerate(SERVERS):
                host = network.host(f"server{number}")
                host.plug(lan, f"{address}/24")
                for net in NETWORKS:
                    host.ip("route", "add", net, "via", "10.7.0.9")
                ini = self.folder / f"{number}.ini"
                copy, room = self.folder / f"{number}.db", self._count // 2 + 50
                text = INI.format(url=self.url, copy=copy, count=room, more=self._more, boot=NAME)
                ini.write_text(text.replace("{number}", str(number + 1)))
                daemon = DaemonProcess(host, ini, self.folder / f"{number}.log")
                self.daemons.append(begun.enter_context(daemon))
            for group, address in enumerate(RELAYS):
                crowd = Crowd(
                    relay, address, SERVERS, group, self._count // 2, self._wait, self._boots
                )
                begun.callback(crowd.close)
                self.crowds.append(crowd)
            self.files = Files(relay, self.folder / "files", self.crowds)
            begun.callback(self.files.close)
            self._wait_until_served()
            self._all = begun.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._all.close()

    def _wait_until_served(self) -> None:
        """Wait until each daemon, whose port is bound, has its two connections, too."""
        deadline = time.monotonic() + 30
        with psycopg.connect(self.url, autocommit=True) as file:
            while True:
                (count,) = file.execute(_CONNECTIONS).fetchone() or (0,)
                if count >= 2 * len(SERVERS):
                    return
                assert time.monotonic() < deadline, "not every daemon has found the database"
                time.sleep(0.05)

    @property
    def clients(self) -> list[Client]:
        return [client for crowd in self.crowds for client in crowd.clients.values()]

    def mark(self, what: str) -> None:
        self.marks.append((time.monotonic() - self.files.zero, what))

    def acked(self) -> int:
        return sum(bool(client.told) for client in self.clients)

    def turn(self, seconds: float, share: float = 1.0) -> bool:
        """Let all go on until so many have an address, and some file is on its way.

        Left out: until none waits for anything. False: not in ``seconds``.
        """
        count = len(self.clients) * share
        serving = self.files.serving

        def reached() -> bool:
            return self.acked() >= count and (not self._boots or bool(serving()))

        return turn([*self.crowds, self.files], seconds, reached if share < 1 else None)

    def storm(self, outage: float, patience: float) -> bool:
        """All start at once; a daemon is killed, the database stopped and started.

        True: every client got through, in ``patience`` seconds each time.
        """
        for crowd in self.crowds:
            crowd.begun = self.files.zero = self.crowds[0].begun
            crowd.start(crowd.clients.values())
        self.mark(f"{len(self.clients)} clients start")
        done = self.turn(patience, 0.3)
        self.kill()
        done &= self.turn(patience, 0.6)
        self.mark(f"{self.acked()} have their address; PostgreSQL is stopped")
        self.cluster.stop()
        self.renew()
        end = time.monotonic() + outage
        turn([*self.crowds, self.files], outage + 1, lambda: time.monotonic() > end)
        self.mark(f"{self.acked()} have their address; PostgreSQL is started")
        self.cluster.start()
        done &= self.turn(patience)
        self.mark(f"{self.acked()} have their address; all renew it")
        for crowd in self.crowds:
            crowd.renew(crowd.clients.values())
        done &= self.turn(patience)
        self.mark("all have renewed it" if done else "some never got through")
        return done

    def kill(self) -> None:
        """Kill the daemon that sends most files, if any sends one."""
        serving = self.files.serving()
        self.killed = max((1, 0, 2), key=lambda number: serving[SERVERS[number]])
        os.kill(self.daemons[self.killed].pid, signal.SIGKILL)
        self.killed_at = time.monotonic() - self.files.zero
        self.mark(f"{self.acked()} have their address; {SERVERS[self.killed]} is killed")

    def renew(self) -> None:
        """Let those that have an address ask for more time."""
        for crowd in self.crowds:
            crowd.renew([client for client in crowd.clients.values() if client.told])

    def faults(self) -> list[str]:
        """Say what is wrong with what clients were told, and with what the database has."""
        found = []
        told = {client.mac: set(client.told) for client in self.clients}
        found += [f"{mac.hex(':')}: {sorted(map(str, all_))}" for mac, all_ in told.items()
                  if len(all_) != 1]  # fmt: skip
        times = Counter(address for all_ in told.values() for address in all_)
        found += [f"{address} is {n} clients'" for address, n in times.items() if n > 1]
        kept = {(one.mac, one.address) for one in admin.read_database(self.url)}
        lost = {(mac, address) for mac, all_ in told.items() for address in all_} - kept
        found += [f"lost: {mac.hex(':')} {address}" for mac, address in lost]
        found += [f"{client.mac.hex(':')} has no whole file" for client in self.clients
                  if client.boots and client.mac not in self.files.having]  # fmt: skip
        for one in self.files.all:
            died = one.server == SERVERS[self.killed] and one.ended > self.killed_at
            if one.how != "whole" and not (one.how == "failed" and died):
                found.append(f"{one.client.mac.hex(':')}: {one.server}'s file: {one.how}")
        return found

    def table(self) -> str:
        """Write who answered what when, between what happened."""
        kinds = (MessageType.OFFER, MessageType.ACK, MessageType.NAK)
        names = "".join(f"{server!s:>26}" for server in SERVERS)
        lines = [f"        {names}", "second  " + 3 * "   OFFER   ACK   NAK    MB"]
        heard = sum((crowd.heard for crowd in self.crowds), Counter())
        octets: Counter[tuple[int, A]] = Counter()
        for when, server, count in self.files.moved:
            octets[int(when), server] += count
        marks = list(self.marks)
        for second in range(max((key[0] for key in [*heard, *octets]), default=0) + 1):
            while marks and marks[0][0] < second + 1:
                when, what = marks.pop(0)
                lines.append(f"{when:6.1f}  {what}")
            rows = [[*(heard[second, server, kind] for kind in kinds),
                     round(octets[second, server] / 1e6)] for server in SERVERS]  # fmt: skip
            if any(map(any, rows)):
                cells = ("  " + "".join(f"{n or '-':>6}" for n in row) for row in rows)
                lines.append(f"{second:6}  " + "".join(cells))
        lines += [f"{when:6.1f}  {what}" for when, what in marks]
        return "\n".join(lines)
