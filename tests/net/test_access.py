"""Who may boot, and who is told of it: the real daemon, real and crafted clients."""

import contextlib
import re
import socket
import statistics
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.dhcp4.wire.packet import MessageType

TOP = Path(__file__).parents[2]
EXAMPLE = TOP / "tests" / "plugin_example"
DEMO = TOP / "tests" / "httptestd.py"
NODE = UUID("12345678-abcd-ef00-1111-abcdefabcdef")  # as tests/config.ini lists it
NOBODY = UUID("12345678-abcd-ef00-1111-111111111111")


# what the guide's section doesn't say, for it is about something else
FILES = """
[tftp]
root = ./files
[filters]
named = {file}
"""


class SlowServer(ThreadingHTTPServer):
    """Grants everybody but ``slow``, whose question it never answers."""

    daemon_threads = True
    slow = "52-54-00-00-00-01"

    def __init__(self):
        super().__init__(("127.0.0.1", 8000), Judge)
        self.asked, self.ended, self.slow_asked = threading.Event(), threading.Event(), 0


class Judge(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.server.slow in self.path:
            self.server.slow_asked += 1
            self.server.asked.set()
            self.server.ended.wait(30)
            return
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def slow_server(lan):
    with lan[0].inside():
        server = SlowServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.net
def test_while_one_answer_is_awaited_others_boot_as_fast_as_ever(firmware, daemon, slow_server):
    """The authorization server takes its whole time for one client."""
    log = daemon("""
[bootp]
pool_start = 192.168.1.100
boot_file = pxelinux.0
access = http
timeout = 6
[http]
location = 127.0.0.1:8000
always_check = on
[tftp]
root = ./files
""")

    def exchanges(count=15):
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            assert firmware.boot("52:54:00:00:00:02", NODE)
            taken.append((time.perf_counter() - began) * 1000)
        return statistics.median(taken)

    exchanges(1)  # its address was probed for conflicts once
    alone = exchanges()
    began = time.monotonic()
    waiting = firmware.send("52:54:00:00:00:01", MessageType.DISCOVER, NODE)
    assert slow_server.asked.wait(5)
    firmware.send(
        "52:54:00:00:00:01", MessageType.DISCOVER, NODE
    )  # impatient, but asked about once
    beside = exchanges()
    assert time.monotonic() - began < 6, "the other answer was not awaited any more"
    print(f"four messages, ms: {alone:.1f} alone, {beside:.1f} beside one who waits")
    assert beside < 3 * alone + 20
    told = log.line_of("no answer within 6 s")
    assert "52:54:00:00:00:01" in told
    assert firmware.receive(waiting, 0.2) is None
    assert slow_server.slow_asked == 1


def guide(section):
    """Return the first .ini of a section of the guide on access."""
    text = (TOP / "docs/guides/access.rst").read_text()
    body = text.partition(f"\n{section}\n---")[2]
    block = re.search(r"::\n\n((?:    .*\n|\n)+)", body)[1]
    return textwrap.dedent(block)


@pytest.mark.net("tftp")
def test_the_guide_s_authorization_over_http(lan, firmware, daemon, follow, tmp_path):
    server, client = lan
    asked = tmp_path / "asked"
    with asked.open("w") as output:
        server.popen(sys.executable, DEMO, stdout=output, stderr=output)
        log = daemon(guide("Authorization over HTTP") + FILES)
        follow(asked).line_of("http://127.0.0.1:13400/boot and /linux")

        granted = firmware.boot("52:54:00:12:34:56", NODE)
        assert granted.file == b"pxelinux.0"
        assert granted.options[12] == b"node1"
        client.ip("address", "add", f"{granted.yiaddr}/24", "dev", "eth0")
        got = tmp_path / "got"
        for name in ("pxelinux.0", "named"):
            client.run("tftp", "-m", "binary", "192.168.1.1", "-c", "get", name, str(got))
            assert got.read_bytes() == b"boot me" * 300
            got.unlink()
        # the system that it booted shows no UUID
        assert firmware.boot("52:54:00:12:34:56").options[12] == b"node1"

        assert firmware.boot("52:54:00:12:34:57", NOBODY, patience=0.5) is None
        told = log.line_of("52:54:00:12:34:57")
        assert told.endswith("refused by http://127.0.0.1:13400/boot (401)")
        lines = asked.read_text().splitlines()[1:]
    assert lines == [
        f"/boot?mac=52-54-00-12-34-56&uuid={NODE} -> 200 OK (client: node1, file: pxelinux.0)",
        f"/linux?mac=52-54-00-12-34-56&uuid={NODE}&ip={granted.yiaddr} -> 200 OK (client: node1)",
        f"/boot?mac=52-54-00-12-34-57&uuid={NOBODY} -> 401 Unauthorized",
    ]


@pytest.fixture
def listeners(lan):
    """Make two listeners on the server's loopback; each returns what it hears next."""
    with contextlib.ExitStack() as sockets:

        def listener(port):
            with lan[0].inside():
                sock = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", port))
            sock.settimeout(20)
            return lambda: sock.recv(1000).decode("ascii")

        yield listener(4000), listener(4001)


@pytest.mark.net("dhclient")
def test_boots_leases_and_releases_are_told_to_two_listeners(
    lan, firmware, daemon, listeners, follow, tmp_path
):
    _, client = lan
    daemon("""
[bootp]
pool_start = 192.168.1.100
boot_file = pxelinux.0
allow_simple_dhcp = on
notify = 127.0.0.1:4000; 127.0.0.1:4001
[tftp]
root = ./files
""")
    ack = firmware.boot("52:54:00:12:34:56", NODE)
    expected = f"BOOT,{NODE},52:54:00:12:34:56,{ack.yiaddr}"
    assert [hear() for hear in listeners] == [expected] * 2
    firmware.socket.close()  # dhclient wants the port

    leases = tmp_path / "leases"
    dhclient = ["dhclient", "-4", "-lf", leases, "-pf", tmp_path / "pid"]
    running = client.popen(*dhclient, "-d", "eth0", stderr=subprocess.DEVNULL)
    expected = f"LEASE,{NODE},52:54:00:12:34:56,{ack.yiaddr}"
    assert [hear() for hear in listeners] == [expected] * 2
    follow(leases).line_of(f"fixed-address {ack.yiaddr};")
    running.terminate()
    running.wait()
    client.run(*dhclient, "-r", "eth0", check=False)
    expected = f"RELEASE,{NODE},52:54:00:12:34:56,{ack.yiaddr}"
    assert [hear() for hear in listeners] == [expected] * 2


@pytest.mark.net("tftp")
def test_a_third_party_s_classes_serve_by_their_names(lan, firmware, daemon, tmp_path, monkeypatch):
    site = tmp_path / "site"
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(["cp", "-r", EXAMPLE, tmp_path / "example"], check=True)
    install = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", site]
    subprocess.run([*install, tmp_path / "example"], check=True, timeout=100)
    monkeypatch.setenv("PYTHONPATH", str(site))
    with zipfile.ZipFile(tmp_path / "boot.zip", "w") as archive:
        archive.writestr("boot/bcd", b"store" * 1000)
    (tmp_path / "macs").write_text("52:54:00:12:34:56\n")
    log = daemon(f"""
[bootp]
pool_start = 192.168.1.100
boot_file = boot/bcd
access = macfile
[macfile]
path = macs
[tftp]
root = zip://{tmp_path / "boot.zip"}
filters = lowercase, patterns
""")
    ack = firmware.boot("52:54:00:12:34:56", NODE)
    assert firmware.boot("52:54:00:12:34:57", NOBODY, patience=0.5) is None
    assert log.line_of("52:54:00:12:34:57").endswith(f"not in {tmp_path}/macs")
    client = lan[1]
    client.ip("address", "add", f"{ack.yiaddr}/24", "dev", "eth0")
    got = tmp_path / "got"
    client.run("tftp", "-m", "binary", "192.168.1.1", "-c", "get", "BOOT/Bcd", str(got))
    assert got.read_bytes() == b"store" * 1000


@pytest.mark.net
def test_a_system_is_known_by_the_uuid_that_its_firmware_showed(firmware, daemon):
    log = daemon(f"""
[bootp]
pool_start = 192.168.1.100
boot_file = pxelinux.0
allow_simple_dhcp = on
access = uuid
[uuid]
{NODE} = on
[tftp]
root = ./files
""")
    assert firmware.boot("52:54:00:12:34:57", patience=0.3) is None
    log.line_of("52:54:00:12:34:57 refused: not in [uuid]: it has shown no UUID")
    for uuid in (NODE, None):
        assert str(firmware.boot("52:54:00:12:34:56", uuid).yiaddr) == "192.168.1.100"
