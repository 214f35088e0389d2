"""The log: one line for each event, text or JSON, and nothing that steers a terminal."""

import json
import logging
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.config.options.service import LoggerConfig
from pybootd.core import events
from pybootd.core.client import Client
from pybootd.core.events import TransferOutcome
from pybootd.core.text import make_printable
from pybootd.observe.log.event_log import EventLog
from pybootd.observe.log.handlers import LogError, open_log
from pybootd.observe.log.throttle import SOURCE
from pybootd.observe.wording import OUTCOMES

PC = Client(
    bytes.fromhex("525400123456"),
    uuid=UUID("00112233-4455-6677-8899-aabbccddeeff"),
    architecture=7,
    network_boot=True,
)
REASON = events.BootFileReason.ARCHITECTURE
BOOTS = events.Confirmed(
    PC, IPv4Address("192.168.1.100"), "bootnetx64.efi", booting=True, file_reason=REASON
)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "log"
    open_log(LoggerConfig(type="none")).close()
    logging.getLogger("pybootd").propagate = True


def lines(path: Path, config: LoggerConfig, *published: object) -> list[str]:
    open_log(config)
    bus = events.EventBus()
    EventLog(bus)
    for event in published:
        bus.publish(event)
    return path.read_text().splitlines()


def test_a_boot_is_one_line(logged: Path) -> None:
    said = lines(logged, LoggerConfig(type="file", file=logged), BOOTS)
    assert len(said) == 1
    assert said[0].endswith(
        "INFO    52:54:00:12:34:56 boots efi-x86_64: 192.168.1.100, bootnetx64.efi"
    )


def test_a_flood_of_transfers_is_told_by_their_number(logged: Path) -> None:
    ended = events.TransferEnded("http", "10.0.0.9", "f", "f", 1, 0.0, 0, TransferOutcome.DONE)
    config = LoggerConfig(type="file", file=logged)
    said = lines(logged, config, *[ended] * (SOURCE[0] + 1000), ended._replace(peer="10.0.0.8"))
    assert SOURCE[0] < len(said) < SOURCE[0] + 100
    assert said[-1].partition(" http ")[2].startswith("10.0.0.8 f: done, 1 octets")
    left_out = sum(int(line.rpartition("(")[2].split()[0]) for line in said if "left out" in line)
    assert left_out + len(said) == SOURCE[0] + 1001


def test_json_lines_hold_the_facts(logged: Path) -> None:
    config = LoggerConfig(type="file", file=logged, format="json")
    line = json.loads(lines(logged, config, BOOTS)[0])
    assert line["mac"] == "52:54:00:12:34:56"
    assert line["uuid"] == "00112233-4455-6677-8899-aabbccddeeff"
    assert line["ip"] == "192.168.1.100"
    assert line["level"] == "info"
    assert (line["file"], line["file_reason"]) == ("bootnetx64.efi", "architecture")


def test_the_level_leaves_lines_out(logged: Path) -> None:
    config = LoggerConfig(type="file", file=logged, level="warning")
    refused = events.TransferRefused("tftp", "10.0.0.2", "../x", "leads out of the root", False)
    said = lines(logged, config, BOOTS, refused)
    assert [line.partition("WARNING ")[2] for line in said] == [
        "tftp 10.0.0.2 ../x: leads out of the root"
    ]


def test_names_from_strangers_steer_nothing(logged: Path) -> None:
    missed = events.TransferRefused("tftp", "10.0.0.2", "a\n\x1b[2Jb\udcff", "no such file", True)
    said = lines(logged, LoggerConfig(type="file", file=logged), missed)
    assert len(said) == 1
    assert r"a\n\x1b[2Jb\udcff" in said[0]
    assert make_printable("é—ok") == "é—ok"


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (events.TransferOutcome.DONE, "INFO"),
        (events.TransferOutcome.TIMEOUT, "WARNING"),
        (events.TransferOutcome.ABORTED, "INFO"),
    ],
)
def test_a_transfer_that_ended_says_how(
    logged: Path, outcome: events.TransferOutcome, level: str
) -> None:
    ended = events.TransferEnded("tftp", "10.0.0.2", "k", "k", 2_000_000, 0.5, 3, outcome)
    said = lines(logged, LoggerConfig(type="file", file=logged), ended)[0]
    how = OUTCOMES[outcome]
    assert level in said
    assert said.endswith(f"{how}, 2000000 octets in 0.50 s (4.0 MB/s), 3 sent again")


def test_a_miss_names_the_file_that_a_filter_led_to(logged: Path) -> None:
    """Else "x: no such file" was said of a file x that nobody looked for."""
    for served, shown in (("list.txt", "x (list.txt)"), ("x", "x"), ("", "x")):
        missed = events.TransferRefused("tftp", "10.0.0.2", "x", "no such file", True, served)
        said = lines(logged, LoggerConfig(type="file", file=logged), missed)[-1]
        assert said.endswith(f"tftp 10.0.0.2 {shown}: no such file")


def test_a_transfer_within_one_turn_has_no_rate(logged: Path) -> None:
    """A small file over HTTP; it was said to have come with 0.0 MB/s."""
    ended = events.TransferEnded(
        "http", "10.0.0.2", "k", "k", 2_000, 0.0, 0, events.TransferOutcome.DONE
    )
    said = lines(logged, LoggerConfig(type="file", file=logged), ended)[0]
    assert said.endswith("done, 2000 octets in 0.00 s")


def test_a_log_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"No such file or directory: change \[logger\] file"):
        open_log(LoggerConfig(type="file", file=tmp_path / "none" / "log"))


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str], logged: Path) -> None:
    open_log(LoggerConfig())
    bus = events.EventBus()
    EventLog(bus)
    bus.publish(BOOTS)
    assert "boots efi-x86_64" in capsys.readouterr().err


def test_a_log_file_goes_on_while_no_new_one_can_be_made(logged: Path) -> None:
    folder, moved = logged.parent / "folder", logged.parent / "moved"
    folder.mkdir()
    handler = open_log(LoggerConfig(type="file", file=folder / "log"))
    log = logging.getLogger("pybootd")
    folder.rename(moved)
    log.info("one")
    folder.mkdir()
    handler._looked = 0  # type: ignore[attr-defined]  # a second later
    log.info("two")
    assert "one" in (moved / "log").read_text()
    assert "two" in (folder / "log").read_text()


def test_syslog_holds_up_nobody(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that doesn't read, is gone, and is back; a blocking socket once stopped the daemon."""

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(str(logged))
        return sock

    monkeypatch.setattr("pybootd.observe.log.handlers._SYSLOG_SOCKETS", (str(logged),))
    with pytest.raises(LogError, match="no syslog listens"):
        open_log(LoggerConfig(type="syslog"))
    log = logging.getLogger("pybootd")
    with listen() as reader:
        open_log(LoggerConfig(type="syslog"))
        for _ in range(2000):
            log.warning("hello\n")
        head, _, said = reader.recv(1000).partition(b"]: ")
        assert head.startswith(b"<28>pybootd[")
        assert said == rb"WARNING hello\n"
    logged.unlink()
    log.info("nobody is there")
    with listen() as reader:
        log.info("here again")
        assert reader.recv(1000).endswith(b"here again")


def test_what_a_raspberry_pi_tries_in_vain_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    open_log(LoggerConfig())
    bus = events.EventBus()
    EventLog(bus)
    for name in ("bootsig.bin", "12345678/recovery.elf", "12345678/start.elf"):
        bus.publish(events.TransferRefused("tftp", "10.0.0.9", name, "no such file", True))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "12345678/start.elf: no such file" in said[0]


def test_one_peer_does_not_fill_the_disk(logged: Path) -> None:
    config = LoggerConfig(type="file", file=logged)
    nonsense = events.Malformed("tftp", "10.0.0.2", "no packet")
    missed = events.TransferRefused("tftp", "10.0.0.3", "none", "no such file", True)
    said = lines(logged, config, *[nonsense] * 10_000, missed)
    assert "tftp 10.0.0.3 none: no such file" in said[-1]
    # its own 200 and the word on them; twice, where a new minute began meanwhile
    assert len(said) - 1 in range(200, 404)
    assert any("10.0.0.2: refused 200 times in a minute" in line for line in said)
