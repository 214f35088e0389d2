"""What is measured, and what has to come out."""

from collections.abc import Callable
from dataclasses import dataclass

ALL = (
    "pybootd",
    "before",
    "dnsmasq",
    "tftpd-hpa",
    "atftpd",
    "PyPI tftp",
    "tftpy",
    "py3tftp",
    "fbtftp",
)
FLOORS = ("C floor", "bare loop")
"""What costs are measured from: no servers, so no target is about them."""
WINDOWS = ("pybootd", "before", "atftpd", "PyPI tftp", "py3tftp")


@dataclass(frozen=True)
class Target:
    """Our figure over a peer's has to be at most, or at least, so much.

    ``peer`` "best": the peer that is best at it in the same repetition.
    """

    figure: str
    peer: str
    must: float
    goal: float

    @property
    def small_is_good(self) -> bool:
        return self.figure == "us/block"

    def met(self, ratio: float) -> str:
        if self.small_is_good:
            return "goal" if ratio <= self.goal else "must" if ratio <= self.must else "NOT MET"
        return "goal" if ratio >= self.goal else "must" if ratio >= self.must else "NOT MET"


@dataclass(frozen=True)
class Case:
    """One load. ``size`` in octets, slow servers get files a tenth as large; ``loss`` in percent.

    ``delay``: milliseconds that each ACK is held back. ``card``: what is sent at once arrives at
    once, as if the sender's network card cut it into datagrams; else the sender's CPU does.
    """

    name: str
    title: str
    servers: tuple[str, ...]
    clients: int = 100
    total: int = 0
    size: int = 10 << 20
    files: int = 1
    block: int = 1468
    window: int = 1
    loss: float = 0.0
    delay: float = 0.0
    card: bool = False
    targets: tuple[Target, ...] = ()
    limits: Callable[[dict[str, float]], list[str]] = lambda record: []

    def arguments(self, slow: bool) -> list[str]:
        values = {
            "f": f"{self.size_for(slow)}.%d",
            "k": self.files,
            "n": self.clients,
            "m": (self.total // 5 if slow else self.total) or self.clients,
            "b": self.block,
            "w": self.window,
            "l": self.loss,
            "d": self.delay,
        }
        words = [word for key, value in values.items() for word in (f"-{key}", str(value))]
        return [*words, "-g"] if self.card else words

    def size_for(self, slow: bool) -> int:
        return self.size // 10 if slow and self.size > 1 << 20 else self.size


def at_most(name: str, limit: float) -> Callable[[dict[str, float]], list[str]]:
    return lambda record: [] if record[name] <= limit else [f"{name} {record[name]} > {limit}"]


def thousand(record: dict[str, float]) -> list[str]:
    found = at_most("failed", 0)(record) + at_most("client_resent", 0)(record)
    found += at_most("rss", 60)(record)
    return found if record["jain"] >= 0.95 else [*found, f"jain {record['jain']} < 0.95"]


CASES = {
    case.name: case
    for case in (
        Case(
            "w1",
            "100 clients, window 1",
            (*ALL, *FLOORS),
            targets=(
                Target("us/block", "dnsmasq", 1.1, 0.9),
                Target("us/block", "tftpd-hpa", 0.45, 0.35),
                Target("us/block", "atftpd", 0.5, 0.35),
                Target("us/block", "PyPI tftp", 0.65, 0.5),
                Target("us/block", "fbtftp", 0.2, 0.1),
                Target("MB/s", "fbtftp", 4, 6),
            ),
        ),
        Case(
            "w16",
            "100 clients, window 16",
            WINDOWS,
            window=16,
            targets=(
                Target("us/block", "atftpd", 0.35, 0.25),
                Target("us/block", "PyPI tftp", 0.35, 0.25),
            ),
        ),
        Case(
            "w4",
            "100 clients, window 4",
            WINDOWS,
            window=4,
            targets=(Target("us/block", "atftpd", 0.45, 0.3),),
        ),
        Case(
            "w64",
            "10 clients, window 64",
            (*WINDOWS, "C floor"),
            clients=10,
            total=100,
            window=64,
            targets=(Target("MB/s", "best", 5, 7),),
        ),
        Case(
            "w64card",
            "10 clients, window 64, cut into datagrams behind the server's CPU",
            (*WINDOWS, "C floor"),
            clients=10,
            total=100,
            window=64,
            card=True,
            targets=(Target("MB/s", "best", 5, 7),),
        ),
        Case(
            "small",
            "4 KiB files, 100 at a time",
            ("pybootd", "dnsmasq", "PyPI tftp", "fbtftp"),
            total=5000,
            size=4096,
            targets=(
                Target("files/s", "PyPI tftp", 2, 3),
                Target("files/s", "fbtftp", 15, 25),
                Target("files/s", "dnsmasq", 0.4, 0.6),
            ),
        ),
        Case(
            "thousand",
            "1,000 clients, 100 kB each",
            ("pybootd", "dnsmasq"),
            clients=1000,
            size=100_000,
            limits=thousand,
        ),
        Case(
            "loss1",
            "10 clients, 1 % loss, window 1, 256 KiB",
            ("pybootd", "dnsmasq", "tftpd-hpa", "atftpd", "PyPI tftp", "py3tftp"),
            clients=10,
            size=1 << 18,
            loss=1,
            targets=(Target("MB/s", "best", 3, 5),),
        ),
        Case(
            "loss16",
            "10 clients, 1 % loss, window 16, 1 MiB",
            WINDOWS,
            clients=10,
            size=1 << 20,
            window=16,
            loss=1,
            targets=(Target("MB/s", "best", 1.5, 3),),
        ),
        Case(
            "far",
            "10 clients, window 16, ACKs 5 ms late, 1 MiB",
            ("pybootd", "atftpd"),
            clients=10,
            size=1 << 20,
            window=16,
            delay=5,
        ),
        Case(
            "files",
            "100 clients, 100 files of 10 MB, window 1",
            ("pybootd", "dnsmasq"),
            files=100,
            size=10_000_000,
            limits=at_most("rss", 64 * 1.048576 + 40),
        ),
    )
}
