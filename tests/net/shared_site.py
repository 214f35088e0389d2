"""Three daemons with one lease database, two relays, and a storm in which things go wrong."""

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

from pybootd.dhcp import postgres
from pybootd.dhcp.packet import Message
from pybootd.tools.daemon import Daemon
from pybootd.tools.network import Network
from tests.postgres import Cluster

from .shared_crowd import WAIT, Client, Crowd, turn

SERVERS = [A("10.7.0.1"), A("10.7.0.2"), A("10.7.0.3")]
RELAYS = [A("10.8.0.1"), A("10.9.0.1")]
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
"""


class Site:
    """A context manager; ``count`` clients are divided between the two relays."""

    def __init__(
        self, cluster: Cluster, folder: Path, count: int, wait: float = WAIT, more: str = ""
    ) -> None:
        self.cluster, self.folder = cluster, folder
        self.url = cluster.create()
        postgres.migrate(self.url)
        self._all = contextlib.ExitStack()
        self._count, self._wait, self._more = count, wait, more
        self.daemons: list[Daemon] = []
        self.crowds: list[Crowd] = []
        self.marks: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as begun:
            network = begun.enter_context(Network())
            lan, relay = network.switch(), network.host("relays")
            relay.plug(lan, "10.7.0.9/24", *(f"{address}/16" for address in RELAYS))
            for number, address in enumerate(SERVERS):
                host = network.host(f"server{number}")
                host.plug(lan, f"{address}/24")
                for net in RELAYS:
                    host.ip("route", "add", f"{net}/32", "via", "10.7.0.9")
                ini = self.folder / f"{number}.ini"
                copy, room = self.folder / f"{number}.db", self._count // 2 + 50
                text = INI.format(url=self.url, copy=copy, count=room, more=self._more)
                ini.write_text(text.replace("{number}", str(number + 1)))
                daemon = Daemon(host, ini, self.folder / f"{number}.log", (67,), "-p")
                self.daemons.append(begun.enter_context(daemon))
            for group, address in enumerate(RELAYS):
                crowd = Crowd(relay, address, SERVERS, group, self._count // 2, self._wait)
                begun.callback(crowd.close)
                self.crowds.append(crowd)
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
        self.marks.append((time.monotonic() - self.crowds[0].begun, what))

    def acked(self) -> int:
        return sum(bool(client.told) for client in self.clients)

    def storm(self, outage: float, patience: float) -> bool:
        """All start at once; a daemon is killed, the database stopped and started.

        True: every client got through, in ``patience`` seconds each time.
        """
        count = len(self.clients)
        for crowd in self.crowds:
            crowd.begun = self.crowds[0].begun
            crowd.start(crowd.clients.values())
        self.mark(f"{count} clients start")
        done = turn(self.crowds, patience, lambda: self.acked() >= count * 0.3)
        os.kill(self.daemons[1].pid, signal.SIGKILL)
        self.mark(f"{self.acked()} have their address; {SERVERS[1]} is killed")
        done &= turn(self.crowds, patience, lambda: self.acked() >= count * 0.6)
        self.mark(f"{self.acked()} have their address; PostgreSQL is stopped")
        self.cluster.stop()
        self.renew()
        end = time.monotonic() + outage
        turn(self.crowds, outage + 1, lambda: time.monotonic() > end)
        self.mark(f"{self.acked()} have their address; PostgreSQL is started")
        self.cluster.start()
        done &= turn(self.crowds, patience)
        self.mark(f"{self.acked()} have their address; all renew it")
        for crowd in self.crowds:
            crowd.renew(crowd.clients.values())
        done &= turn(self.crowds, patience)
        self.mark("all have renewed it" if done else "some never got through")
        return done

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
        kept = {(one.mac, one.address) for one in postgres.read_database(self.url)}
        lost = {(mac, address) for mac, all_ in told.items() for address in all_} - kept
        return found + [f"lost: {mac.hex(':')} {address}" for mac, address in lost]

    def table(self) -> str:
        """Write who answered what when, between what happened."""
        kinds = (Message.OFFER, Message.ACK, Message.NAK)
        lines = ["second  " + "".join(f"{server!s:>9} OFFER   ACK   NAK" for server in SERVERS)]
        heard = sum((crowd.heard for crowd in self.crowds), Counter())
        marks = list(self.marks)
        for second in range(max((key[0] for key in heard), default=0) + 1):
            while marks and marks[0][0] < second + 1:
                when, what = marks.pop(0)
                lines.append(f"{when:6.1f}  {what}")
            row = [[heard[second, server, kind] for kind in kinds] for server in SERVERS]
            if any(map(any, row)):
                cells = "".join("         " + "".join(f"{n or '-':>6}" for n in one) for one in row)
                lines.append(f"{second:6}  {cells}")
        lines += [f"{when:6.1f}  {what}" for when, what in marks]
        return "\n".join(lines)
