"""The numbers of docs/scaling.rst: arithmetic, and a simulation of machines that power on at once.

``paper.py`` prints the tables; ``--write FILE`` puts them between the marks of that file, and
``--check FILE`` says whether it has them as they are.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Constant(NamedTuple):
    """A figure, its unit, and where it was measured or what makes it an assumption."""

    value: float
    unit: str
    source: str


MEASURED = {
    "DHCP, CPU": Constant(0.11, "ms a DORA", "bench/dhcp, pybootd at 2500 DORA/s, SQLite"),
    "shared, CPU": Constant(0.17, "ms a DORA", "bench/scale, the daemon's part, PostgreSQL"),
    "DHCP, SQLite": Constant(2500, "DORA/s", "bench/dhcp, most with less than 1 % lost"),
    "TFTP, window 1": Constant(3.06, "us a block", "bench/tftp, 100 clients, window 1"),
    "TFTP, window 16": Constant(0.79, "us a block", "bench/tftp, 100 clients, window 16"),
    "PostgreSQL": Constant(2500, "leases/s", "bench/scale, the most that was tried"),
    "HTTP": Constant(0.11, "s a GB", "bench/http, 20 MB to 50 clients, CPU"),
}
ASSUMED = {
    "loader": Constant(1, "MB", "iPXE, or shim and GRUB without their fonts"),
    "system": Constant(48, "MB", "Debian 12's installer: kernel 8, initrd 40"),
    "DORAs": Constant(3, "a boot", "the ROM, the loader, the system"),
    "spread": Constant(20, "s", "from the first machine's first DISCOVER to the last one's"),
    "patience": Constant(60, "s", "4 + 8 + 16 + 32, a PXE ROM's repetitions (PXE 2.1, 2.2.1)"),
    "turn": Constant(0.3, "ms", "a client's from a window's last block to its ACK"),
    "client": Constant(1000, "Mbit/s", "a machine's own link"),
    "rack": Constant(40, "machines", "one switch, one relay"),
}
BLOCK = 1468
FRAME = BLOCK + 4 + 8 + 20 + 14 + 4 + 20  # TFTP, UDP, IP, Ethernet, its check, preamble and gap
SEGMENT, SEGMENT_FRAME = 1448, 1448 + 32 + 20 + 14 + 4 + 20  # TCP with timestamps


def constant(name: str) -> float:
    return (MEASURED | ASSUMED)[name].value


@dataclass(frozen=True)
class Way:
    """How the system's files travel."""

    name: str
    window: int  # blocks; 0: HTTP

    @property
    def cpu(self) -> float:
        """Seconds of the daemon's CPU for an octet."""
        if not self.window:
            return constant("HTTP") / 1e9
        return constant(f"TFTP, window {self.window}") / 1e6 / BLOCK

    def wire(self, megabits: float) -> float:
        """Octets of files a second that a link carries."""
        share = BLOCK / FRAME if self.window else SEGMENT / SEGMENT_FRAME
        return megabits * 1e6 / 8 * share

    @property
    def alone(self) -> float:
        """Octets a second that one machine takes at most."""
        wire = self.wire(constant("client"))
        if not self.window:
            return wire
        amount = self.window * BLOCK
        return amount / (amount / wire + constant("turn") / 1e3)


@dataclass(frozen=True)
class Site:
    """A way to lay out daemons."""

    name: str
    way: Way
    link: float  # Mbit/s of one daemon
    served: int = 0  # machines a daemon has; 0: one daemon has all
    own: bool = False  # each daemon has its own pools and SQLite file

    def daemons(self, machines: int) -> int:
        return -(-machines // self.served) if self.served else 1


TFTP1, TFTP16, HTTP = Way("TFTP, window 1", 1), Way("TFTP, window 16", 16), Way("HTTP", 0)
SITES = (
    Site("one daemon, TFTP, window 1", TFTP1, 1000),
    Site("one daemon, HTTP", HTTP, 1000),
    Site("one daemon, HTTP, 10 Gbit/s", HTTP, 10_000),
    Site("a daemon for 10 racks, HTTP, 10 Gbit/s", HTTP, 10_000, 400),
    Site("a daemon for each rack, HTTP", HTTP, 1000, 40),
    Site("the same, each with its own pool", HTTP, 1000, 40, own=True),
)
SIZES = (10, 100, 1000, 10_000, 100_000)


@dataclass
class Outcome:
    """What became of the machines of one daemon."""

    done: list[float] = field(default_factory=list)  # s from the first machine's power-on
    waited: list[float] = field(default_factory=list)  # s from a DISCOVER to its ACK
    given_up: int = 0
    writes: dict[int, int] = field(default_factory=dict)  # leases written, by the second

    def peak(self) -> int:
        return max(self.writes.values(), default=0)


REPEATS = (4.0, 12.0, 28.0)  # s after the first DISCOVER


class Simulation:
    """One daemon: requests in a queue, transfers that share CPU and link evenly.

    Time goes in steps. DHCP comes first, as a turn of the loop reads all that arrived; what CPU
    is left goes to the files. ``progress`` is what each transfer has got since the start, so that
    one number moves all of them.
    """

    def __init__(self, site: Site, machines: int, daemons: int, step: float) -> None:
        self.site, self.step = site, step
        self.store = store_of(site, daemons)  # leases a second
        self.each = exchange(site, daemons) / 1e3  # seconds of CPU
        chance = random.Random(machines)
        spread = constant("spread")
        #: (when, number of the machine, which of its exchanges)
        self.coming = [(chance.uniform(0, spread), one, 0) for one in range(machines)]
        heapq.heapify(self.coming)
        self.asking: deque[tuple[float, int, int]] = deque()
        self.work: dict[int, float] = {}  # the progress at which a machine's transfers end
        self.ends: list[tuple[float, int, int]] = []
        self.progress = 0.0
        self.cpu = self.writes = 0.0  # what is left of a step, or was borrowed from the next
        self.outcome = Outcome()
        self.now = 0.0

    def run(self) -> Outcome:
        while self.coming or self.asking or self.ends:
            if not self.asking and not self.ends:
                self.now = max(self.now, self.coming[0][0])
            self.now += self.step
            self.cpu = min(self.cpu, 0.0) + self.step
            self.writes = min(self.writes, 0.0) + self.store * self.step
            self._answer()
            self._send()
        return self.outcome

    def _answer(self) -> None:
        """Serve the queue while there are CPU and writes left."""
        while self.coming and self.coming[0][0] <= self.now:
            self.asking.append(heapq.heappop(self.coming))
        while self.asking and self.cpu > 0 and self.writes > 0:
            since, machine, turn = self.asking.popleft()
            waited = self.now - since
            if waited > constant("patience"):
                self.outcome.given_up += 1
                continue
            # each repeated DISCOVER was read and answered too: half an exchange
            self.cpu -= self.each * (1 + sum(waited > one for one in REPEATS) / 2)
            self.writes -= 1
            self.outcome.waited.append(waited)
            second = int(self.now)
            self.outcome.writes[second] = self.outcome.writes.get(second, 0) + 1
            if turn == constant("DORAs") - 1:
                self.outcome.done.append(self.now)
            else:
                size = constant("loader" if turn == 0 else "system") * 1e6
                heapq.heappush(self.ends, (self.progress + size, machine, turn))

    def _send(self) -> None:
        if not self.ends or self.cpu <= 0:
            return
        way = self.site.way
        octets = min(way.wire(self.site.link) * self.step, self.cpu / way.cpu)
        self.progress += min(octets / len(self.ends), way.alone * self.step)
        while self.ends and self.ends[0][0] <= self.progress:
            _, machine, turn = heapq.heappop(self.ends)
            heapq.heappush(self.coming, (self.now, machine, turn + 1))


def share(values: list[float], part: float) -> float:
    """Return the value that this part of them doesn't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def on_paper(site: Site, machines: int) -> tuple[float, str]:
    """Seconds until the last machine has all, and what takes them."""
    daemons = site.daemons(machines)
    each = min(site.served or machines, machines)
    amount = (constant("loader") + constant("system")) * 1e6
    requests = constant("DORAs") * each
    cpu = requests * exchange(site, daemons) / 1e3 + each * amount * site.way.cpu
    takes = {
        "link": each * amount / site.way.wire(site.link),
        "CPU": cpu,
        "store": constant("DORAs") * each / store_of(site, daemons),
        "client": amount / site.way.alone,
    }
    what = max(takes, key=lambda name: takes[name])
    return constant("spread") + takes[what], what


def store_of(site: Site, daemons: int) -> float:
    """Leases a second that one of so many daemons can write."""
    if site.own or daemons == 1:
        return constant("DHCP, SQLite")
    return constant("PostgreSQL") / daemons


def exchange(site: Site, daemons: int) -> float:
    """Return the milliseconds of CPU that an exchange takes of one of so many daemons."""
    alone = site.own or daemons == 1
    return constant("DHCP, CPU" if alone else "shared, CPU")


def seconds(value: float) -> str:
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def count(value: float) -> str:
    return f"{value:,.0f}"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Make a simple table of reStructuredText."""
    wide = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = " ".join("=" * width for width in wide)
    for row in (None, head, None, *rows, None):
        if row is None:
            yield rule
        else:
            yield " ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip()


def constants_table(which: dict[str, Constant], last: str) -> Iterator[str]:
    rows = [(name, f"{one.value:g} {one.unit}", one.source) for name, one in which.items()]
    yield from table(("constant", "value", last), rows)


def machine_table() -> Iterator[str]:
    """Tell what one machine takes of one daemon."""
    octets = (constant("loader") + constant("system")) * 1e6
    exchange = constant("DORAs") * constant("DHCP, CPU") / 1e3
    rows = []
    for way in (TFTP1, TFTP16, HTTP):
        files = octets * way.cpu
        wire = way.wire(1000)
        rows.append(
            (
                way.name,
                f"{exchange * 1e3:.2f} ms",
                f"{files * 1e3:.1f} ms",
                f"{octets / way.alone:.1f} s",
                f"{1 / (exchange + files):.0f}",
                f"{wire / octets:.1f}",
            )
        )
    head = ("way", "CPU, DHCP", "CPU, files", "alone", "machines/s, CPU", "machines/s, 1 Gbit/s")
    yield from table(head, rows)


def paper_table() -> Iterator[str]:
    rows = []
    for machines in SIZES:
        for site in SITES:
            takes, what = on_paper(site, machines)
            daemons = site.daemons(machines)
            rows.append((count(machines), site.name, count(daemons), seconds(takes), what))
    yield from table(("machines", "site", "daemons", "all have it after", "limit"), rows)


def simulated_table() -> Iterator[str]:
    rows = []
    for machines in SIZES:
        for site in SITES:
            daemons = site.daemons(machines)
            each = min(site.served or machines, machines)
            takes, _ = on_paper(site, machines)
            step = min(1.0, max(0.02, takes / 20_000))
            result = Simulation(site, each, daemons, step).run()
            rows.append(
                (
                    count(machines),
                    site.name,
                    seconds(share(result.done, 0.5)),
                    seconds(max(result.done, default=0)),
                    f"{share(result.waited, 0.99):.2f} s",
                    count(result.given_up * daemons),
                    count(result.peak() * daemons),
                    f"{daemons * (constant('loader') + constant('system')) / 1e3:,.2f} GB",
                )
            )
    head = ("machines", "site", "half up", "all up", "DHCP, 99 %", "gave up", "writes/s", "origin")
    yield from table(head, rows)


def renewals_table() -> Iterator[str]:
    """Count the writes a second of machines that run, each renewing at T1, half of its lease."""
    rows = [
        (count(machines), *(f"{machines / (hours * 1800):.2f}" for hours in (1, 12, 168)))
        for machines in SIZES
    ]
    yield from table(("machines", "lease of 1 h", "12 h", "7 days"), rows)


TABLES = {
    "measured": lambda: constants_table(MEASURED, "bench"),
    "assumed": lambda: constants_table(ASSUMED, "what it is"),
    "machine": machine_table,
    "paper": paper_table,
    "simulated": simulated_table,
    "renewals": renewals_table,
}


def filled(text: str) -> str:
    """Return the text with each table put between its marks, ``.. NAME`` and ``.. end of NAME``."""
    for name, made in TABLES.items():
        before, mark, rest = text.partition(f".. {name}\n")
        _, end, after = rest.partition(f".. end of {name}\n")
        if not mark or not end:
            raise ValueError(f"the marks of the table {name!r} are not there")
        text = f"{before}{mark}\n" + "\n".join(made()) + f"\n\n{end}{after}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description="The numbers of docs/scaling.rst.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into FILE")
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare them with FILE's")
    options = parser.parse_args()
    if options.check:
        text = options.check.read_text()
        if filled(text) != text:
            print(f"{options.check}: its tables are not what --write makes", file=sys.stderr)
            return 1
        print(f"{options.check}: every number is reproduced")
    elif options.write:
        options.write.write_text(filled(options.write.read_text()))
    else:
        for name, made in TABLES.items():
            print(name, *made(), "", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
