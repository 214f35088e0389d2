"""What comes to a command from outside: captures, servers' answers, JSON, lease files.

Whatever it is, the command shows it or says in one line why not, and no terminal is steered.
"""

import contextlib
import http.client
import io
import logging
import sqlite3
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

from rich.console import Console

from pybootd.commands import leases, status
from pybootd.commands.api_client import ApiClient, ApiError
from pybootd.commands.display import CommandError, machine_table, print_boot
from pybootd.commands.probe.command import print_result, result_document
from pybootd.commands.probe.judge import probe_network
from pybootd.commands.probe.prober import Prober, read_answer
from pybootd.commands.replay.command import print_replay, replay_capture
from pybootd.lab.firmware import FirmwareTransfer
from pybootd.leases.lease_file import read_lease_file, remove_leases
from pybootd.leases.sqlite import SqliteStore
from pybootd.leases.store import StoreError
from pybootd.system.interfaces import Interface

from .feed import Feed
from .settings import folder

_MAC = bytes.fromhex("525400123456")
_XID = 7
_INI = """\
[bootp]
pool_start = 10.7.0.100
[bootfile]
efi-x86_64 = loader.efi
[tftp]
root = ./root
"""


def _check_printed(console: Console) -> None:
    file = console.file
    assert isinstance(file, io.StringIO)
    bad = [letter for letter in file.getvalue() if not letter.isprintable() and letter != "\n"]
    assert not bad, bad


def _check_error(error: Exception) -> None:
    assert str(error)
    assert str(error).isprintable(), repr(str(error))


def _open_console() -> Console:
    return Console(file=io.StringIO(), highlight=False, width=120)


def capture(data: bytes) -> None:
    """Replay a file of these octets, by itself and with our answers beside."""
    path, ini = folder() / "boot.pcap", folder() / "replay.ini"
    path.write_bytes(data)
    ini.write_text(_INI)
    for config in (None, str(ini)):
        try:
            document, asked = replay_capture(path, config)
        except CommandError as error:
            _check_error(error)
            continue
        console = _open_console()
        print_replay(console, document, asked if config else ())
        _check_printed(console)


class _Wire(http.client.HTTPConnection):
    """A connection to a server that says these octets, whatever it is asked."""

    said = b""

    def connect(self) -> None:
        self.sock = _Socket(self.said)  # type: ignore[assignment]


class _Socket:
    def __init__(self, said: bytes) -> None:
        self._said = said

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._said)

    def sendall(self, data: bytes) -> None:
        assert data

    def settimeout(self, seconds: float | None) -> None:
        assert seconds is None or seconds > 0

    def close(self) -> None:
        """Nothing is held."""


def api_answer(data: bytes) -> None:
    """Let the status address answer with these octets; the first says which command asks."""
    feed = Feed(data)
    how, said = feed.octet(), feed.rest()
    if how & 4:  # a body alone
        kind = b"200 OK" if how & 8 else b"404 Not Found"
        said = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(said), said)
    _Wire.said = said
    daemon = ApiClient("127.0.0.1", 8067, connect=_Wire)
    console = _open_console()
    try:
        if how & 3 == 0:
            print_boot(console, daemon.fetch_client("10.7.0.1"), how)
        elif how & 3 == 1:
            found = daemon.fetch_clients("x", 10)
            console.print(machine_table(found["clients"], found["now"], seers=bool(how & 16)))
        elif how & 3 == 2:
            status.print_stats(console, daemon.fetch_stats(), 3)
        else:
            for _, value in daemon.follow_events():
                assert isinstance(value, list | dict)
    except ApiError as error:
        _check_error(error)
    _check_printed(console)


class _StrangeNet(Prober):
    """A network whose servers say what the octets tell."""

    def __init__(self, feed: Feed, architecture: int) -> None:
        address = IPv4Address("10.7.0.9")
        link = Interface("eth0", 2, (_interface_address(address),), _MAC)
        super().__init__(link, _MAC, UUID(int=1), architecture)
        self._feed = feed

    def _take_piece(self) -> bytes:
        return self._feed.take(self._feed.number() % 1500)

    def _take_answer(self, port: int):
        data = self._take_piece()
        if len(data) > 44:  # the request's number and MAC: else nothing is an answer
            data = b"\2" + data[1:4] + _XID.to_bytes(4) + data[8:28] + _MAC + data[34:]
            data = data[:2] + b"\6" + data[3:]
        return read_answer(IPv4Address("10.7.0.1"), port, 0.1, data, _XID, _MAC)

    def collect_offers(self, wait: float):
        found = [self._take_answer(67) for _ in range(self._feed.octet() % 3 + 1)]
        return [one for one in found if one is not None]

    def ask_boot_server(self, server, wait: float):
        return self._take_answer(4011)

    def resolve_name(self, server: str) -> IPv4Address:
        return IPv4Address(server)

    def connect_http(self, host: str, port: int) -> http.client.HTTPConnection:
        _Wire.said = self._take_piece()
        made = _Wire(host, port)
        host.encode("idna")  # as what looks the name up does
        return made

    def fetch_file(self, server, name, progress=None, **wanted) -> bytes:
        asked = tuple((option, str(value)) for option, value in wanted.items())
        return FirmwareTransfer(self, str(server), name, asked, progress).fetch()  # type: ignore[arg-type]

    # a socket's, for the transfer

    def recvfrom(self, size: int):
        if not self._feed:
            raise TimeoutError
        return self._take_piece(), ("10.7.0.1", 3000)

    def sendto(self, data: bytes, peer: object) -> None:
        assert data


def _interface_address(address: IPv4Address):
    from ipaddress import IPv4Interface

    return IPv4Interface(f"{address}/24")


def probe_answers(data: bytes) -> None:
    """Let the first octet choose the machine, the others be what servers send to it."""
    feed = Feed(data)
    how = feed.octet()
    prober = _StrangeNet(feed, (7, 0, 16, 11)[how & 3])
    prober.ipxe = bool(how & 4)
    result = probe_network(prober, 0.0)
    for finding in result.findings:
        assert finding.code
        _check_error(Exception(str(finding)))
    assert result_document(result)["boots"] == result.would_boot
    console = _open_console()
    print_result(console, result)
    _check_printed(console)


_VALUES = (
    None,
    0,
    1,
    -1,
    1 << 40,
    0.5,
    1e300,
    float("inf"),
    "",
    "bound",
    "\x1b[2J",
    b"",
    b"\2" * 6,
)


def lease_file(data: bytes) -> None:
    """Take a file of these octets, or one whose rows they choose, for a lease file."""
    feed = Feed(data)
    path = folder() / "leases.db"
    for name in folder().glob("leases.db*"):
        name.unlink()
    if feed.octet() & 1:
        path.write_bytes(feed.rest())
    else:
        _write_rows(path, feed)
    try:
        found = read_lease_file(path, lambda: 1000.0)
        for line in leases.format_lease_table(found):
            assert line.isprintable()
        assert [leases.make_lease_document(one)["address"] for one in found] == [
            str(one.address) for one in found
        ]
        remove_leases(path, b"\2" * 6)
    except StoreError as error:
        assert str(error)
    store = SqliteStore(path, lambda: 1000.0)
    log = logging.getLogger("pybootd")
    log.disabled = True  # every row that can't be read is a line
    try:
        store.open()
        assert all(one.mac is not None for one in store.load_leases(0.0))
    except StoreError as error:
        assert str(error)
    finally:
        store.close()
        log.disabled = False


def _write_rows(path: Path, feed: Feed) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("PRAGMA user_version = 1")
        file.execute("CREATE TABLE clock (drift)")
        file.execute(
            "CREATE TABLE lease (address PRIMARY KEY, mac, client_id, state, expires, seconds,"
            " hostname, uuid, booted)"
        )
        for _ in range(feed.octet() % 3):
            file.execute("INSERT INTO clock VALUES (?)", (feed.choose(_VALUES),))
        while feed:
            row = [feed.choose(_VALUES) for _ in range(9)]
            file.execute("INSERT OR REPLACE INTO lease VALUES (?,?,?,?,?,?,?,?,?)", row)
