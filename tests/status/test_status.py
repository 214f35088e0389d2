"""The status address over real sockets: JSON, the stream of changes, metrics, and who may look."""

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pybootd.core import events
from pybootd.status.events import VIEWERS
from tests.observe.story import SYSTEM, UEFI

from .looking import Rig

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_client_with_its_boots_steps_and_transfers(rig: Rig) -> None:
    rig.lease()
    rig.fetch("loader.efi", 5000)
    rig.start("linux", 8000)
    (row,) = rig.json("/api/clients")["clients"]
    assert (row["mac"], row["address"]) == ("52:54:00:12:34:56", "10.7.0.100")
    assert (row["state"], row["stage"], row["kind"]) == ("booting", "kernel", "efi-x86_64")
    assert [one["sent"] for one in row["transfers"]] == [4000]
    for name in ("52-54-00-12-34-56", "52:54:00:12:34:56", "10.7.0.100"):
        document = rig.json(f"/api/clients/{name}")
        assert document["version"] == 1
        (boot,) = document["client"]["boots"]
        told = [(step["type"], step["what"], step.get("outcome")) for step in boot["steps"]]
        assert told == [
            ("step", "offered", None),
            ("step", "address confirmed", None),
            ("transfer", "boot file", "done"),
            ("transfer", "kernel", "running"),
        ]
        assert boot["steps"][2]["until"] > boot["steps"][2]["at"] > 0
    for name, said in (
        ("52-54-00-00-00-00", "unknown-machine"),
        ("failed", "no-failure"),
    ):
        status, body = rig.get(f"/api/clients/{name}")
        assert (status, json.loads(body)["code"]) == (404, said)


def test_search_finds_by_mac_address_name_and_verdict(rig: Rig) -> None:
    for number in range(5):
        mac, address = bytes((2, 0, 0, 0, 0, number)), IPv4Address(0x0A070010 + number)
        rig.lease(replace(UEFI, mac=mac, uuid=None), address)
        rig.fetch("loader.efi", peer=str(address))
    rig.miss("loader.efi", "10.7.0.18")
    rig.lease(replace(SYSTEM, mac=bytes((2, 0, 0, 0, 0, 4)), hostname="rack4"), IPv4Address(1))

    def found(text: str) -> list[str]:
        return [one["mac"][-2:] for one in rig.json(f"/api/clients?search={text}")["clients"]]

    assert found("02-00-00-00-00-01") == ["01"]
    assert found("10.7.0.19") == ["03"]
    assert found("RACK4") == ["04"]
    assert found("missing-file") == ["02"]
    assert found("failed") == ["02"]
    assert found("nothing+like+it") == []
    assert len(rig.json("/api/clients?limit=2&offset=1")["clients"]) == 2
    assert rig.json("/api/clients/failed")["client"]["mac"].endswith("02")


def test_a_verdict_tells_of_names_like_the_missing_one(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "loader-2.efi").touch()
    rig.lease()
    rig.miss("loader.efi")
    verdict = rig.json("/api/clients/failed")["client"]["verdict"]
    assert (verdict["name"], verdict["grade"]) == ("missing-file", "fault")
    assert "loader-2.efi" in verdict["advice"]


def test_changes_are_streamed_and_nothing_ticks_without_a_viewer(rig: Rig) -> None:
    assert not rig.loop._timers
    sock = rig.ask("/api/events")
    first = rig.read(sock, b"event: stats")
    assert b"text/event-stream" in first
    rig.lease()
    rig.start("linux")
    rig.pass_time(1.0)
    told = rig.read(sock, b"event: clients")
    (row,) = json.loads(re.findall(rb"event: clients\ndata: (.*)\n", told)[-1])
    assert row["transfers"][0]["name"] == "linux"
    rig.end("linux")
    sock.close()
    rig.pass_time(120.0)
    assert not [entry for entry in rig.loop._timers if entry[2].callback is not None]


def test_a_verdict_that_only_time_brings_is_streamed(rig: Rig) -> None:
    rig.lease()
    sock = rig.ask("/api/events")
    rig.read(sock, b"event: stats")
    rig.pass_time(30.0)
    assert b"not-fetched" in rig.read(sock, b"not-fetched")


def test_a_viewer_who_takes_nothing_costs_bounded_memory(rig: Rig) -> None:
    sock = rig.ask("/api/events")
    rig.read(sock, b"event: stats")
    for number in range(3000):
        rig.tell(events.Refused(replace(UEFI, mac=number.to_bytes(6)), "x" * 200))
        if not number % 50:
            rig.pass_time(0.5)
    rig.pass_time(30.0)
    (feed,) = rig.watching._server._status._live._feeds
    assert feed._octets <= 1 << 20


def test_there_are_only_so_many_viewers(rig: Rig) -> None:
    for _ in range(VIEWERS):
        rig.read(rig.ask("/api/events"), b"event: stats")
    assert rig.get("/api/events")[0] == 403
    assert rig.get("/api/clients")[0] == 200


def test_metrics(rig: Rig) -> None:
    rig.lease()
    rig.fetch("loader.efi", 5000)
    rig.miss("linux")
    rig.pass_time(60)
    status, text = rig.get("/metrics")
    assert status == 200
    lines = text.splitlines()
    assert 'pybootd_dhcp_total{outcome="confirmed"} 1.0' in lines
    assert 'pybootd_transfers_total{outcome="done",protocol="tftp"} 1.0' in lines
    assert 'pybootd_sent_bytes_total{protocol="tftp"} 5000.0' in lines
    assert 'pybootd_files_refused_total{protocol="tftp",reason="missing"} 1.0' in lines
    assert 'pybootd_clients_failed{verdict="missing-file"} 1.0' in lines
    assert any(line.startswith("pybootd_loop_delay_seconds ") for line in lines)


def test_what_strangers_say_is_data(rig: Rig) -> None:
    rig.lease(UEFI)
    rig.lease(replace(SYSTEM, hostname=EVIL))
    rig.fetch("a\n\x1b[2Jb\udcff")
    rig.fetch(EVIL)
    (row,) = rig.json("/api/clients")["clients"]
    assert row["hostname"] == EVIL
    status, body = rig.get("/api/clients/10.7.0.100")
    assert status == 200
    assert body.isascii()
    assert body.isprintable()
    steps = json.loads(body)["client"]["boots"][0]["steps"]
    assert "a\n\x1b[2Jb\udcff" in [step.get("name") for step in steps]
    metrics = rig.get("/metrics")[1]
    assert "script" not in metrics
    assert "\x1b" not in metrics
    head = rig.read(rig.ask("/api"), b"stats")
    assert b"Content-Security-Policy: default-src 'none'" in head
    assert b"X-Content-Type-Options: nosniff" in head


def test_a_strangers_web_page_can_not_read_it_by_another_name(rig: Rig) -> None:
    sock = socket.create_connection(("127.0.0.1", rig.port), 5)
    rig.sockets.append(sock)
    sock.sendall(b"GET /api HTTP/1.1\r\nHost: rebound.example:8067\r\n\r\n")
    sock.setblocking(False)
    assert b" 403 " in rig.read(sock, b"\r\n\r\n")


def test_beyond_loopback_a_token_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pybootd")
    rig = Rig(tmp_path, address=IPv4Address("0.0.0.0"))
    try:
        (token,) = re.findall(r"status page: http://0.0.0.0:\d+/#(\S+)", caplog.text)
        assert rig.get("/api/clients")[0] == 403
        assert rig.get("/metrics")[0] == 403
        assert rig.get("/api/events")[0] == 403
        assert rig.get("/api/clients?token=wrong")[0] == 403
        assert rig.get(f"/api/clients?token={token}")[0] == 200
        assert rig.get("/api/clients", f"Authorization: Bearer {token}")[0] == 200
    finally:
        rig.close()


def test_a_port_that_is_taken_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        rig = Rig(tmp_path, port=taken.getsockname()[1])
        rig.close()
    assert "is taken by another program" in caplog.text
    assert "running without it" in caplog.text


def test_nothing_that_answers_is_loaded_before_somebody_asks() -> None:
    code = """
import sys
from pybootd.status import service as watching
dear = {"h11", "prometheus_client", "pybootd.status.documents", "pybootd.observe.diagnosis.rules"}
assert not dear & set(sys.modules), dear & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
