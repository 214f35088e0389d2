"""``access = http`` against a real HTTP server on the loopback."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.access.http import MAX_QUESTIONS, HttpAccess
from pybootd.config.ini import ConfigError, Section
from pybootd.core.client import Client
from pybootd.core.loop import Loop
from pybootd.core.workers import MAX_WAITING, Later, TooManyWaitingError

MAC = bytes.fromhex("525400123456")
SHOWN = UUID("00112233-4455-6677-8899-aabbccddeeff")
PXE = Client(MAC, uuid=SHOWN, network_boot=True)
LINUX = Client(MAC, uuid=SHOWN, address=IPv4Address("10.0.0.7"), known=True)
QUERY = "mac=52-54-00-12-34-56&uuid=00112233-4455-6677-8899-aabbccddeeff"


class Server(ThreadingHTTPServer):
    """Answers every question with ``status`` and ``body``, and notes what was asked."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.headers, self.asked = 200, b"", {}, []
        self.stall = threading.Event()
        self.stall.set()
        self.ended = threading.Event()
        self.trickle = False
        self.pause = 0.0

    @property
    def location(self):
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        server.stall.wait(10)
        time.sleep(server.pause)
        with contextlib.suppress(OSError):
            if server.status is None:
                return  # the connection is cut without an answer
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            while server.trickle and not server.ended.wait(0.03):
                self.wfile.write(b"\n")
            self.wfile.write(server.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.ended.set()
        server.stall.set()
        server.shutdown()
        thread.join()


def access(server, timeout=5.0, **options):
    options = {"location": server.location, "pxe": "boot", "dhcp": "linux", **options}
    built = HttpAccess.from_config(Section("http", Path("p.ini"), options))
    built.timeout = timeout
    return built


def ask(access, client):
    answer = access.check(client)
    assert isinstance(answer, Later)
    assert answer.pool == ("access of known clients" if client.known else "access")
    assert answer.owner == client.identity
    return answer.call()


def test_pxe_and_plain_dhcp_ask_their_own_paths(server):
    asking = access(server)
    assert ask(asking, PXE).allow is True
    assert ask(asking, LINUX).allow is True
    assert ask(asking, Client(MAC, network_boot=True)).allow is True
    assert server.asked == [
        f"/boot?{QUERY}",
        f"/linux?{QUERY}&ip=10.0.0.7",
        "/boot?mac=52-54-00-12-34-56",
    ]


@pytest.mark.parametrize(
    ("location", "path", "url"),
    [
        ("10.0.0.1:80", "boot", "http://10.0.0.1:80/boot?mac="),
        ("10.0.0.1", "/boot", "http://10.0.0.1/boot?mac="),
        ("http://10.0.0.1/", "/boot", "http://10.0.0.1/boot?mac="),
        ("https://10.0.0.1/may//", "//boot/", "https://10.0.0.1/may/boot/?mac="),
        ("http://10.0.0.1/may.cgi", "", "http://10.0.0.1/may.cgi?mac="),
        ("10.0.0.1", "may.cgi?stage=pxe", "http://10.0.0.1/may.cgi?stage=pxe&mac="),
    ],
)
def test_slashes_and_the_scheme_are_put_right(location, path, url):
    asking = HttpAccess(location, path, "")
    assert asking.make_question_url(Client(MAC, network_boot=True)) == f"{url}52-54-00-12-34-56"


def test_names_in_the_answer_are_for_this_client(server):
    server.body = b"# hello\r\nclient: node7\r\nFile :  boot/node7.efi \r\nother: x\r\n"
    verdict = ask(access(server), PXE)
    assert (verdict.allow, verdict.hostname, verdict.file) == (True, "node7", "boot/node7.efi")


def test_a_file_may_be_a_url(server):
    server.body = b"file: http://10.0.0.1:8080/a b.efi"
    assert ask(access(server), PXE).file == "http://10.0.0.1:8080/a b.efi"


@pytest.mark.parametrize(
    "body", [b"client: a\0b", b"client: a\x1b[2J", b"client: " + b"a" * 256, b"\xff" * 4000, b":"]
)
def test_what_is_no_name_is_passed_over(server, body):
    server.body = body
    verdict = ask(access(server), PXE)
    assert (verdict.allow, verdict.hostname, verdict.file) == (True, "", "")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_server_and_is_asked_for_again(server, status):
    asking = access(server)
    server.status = status
    verdict = ask(asking, PXE)
    assert (verdict.allow, verdict.error) == (False, False)
    assert verdict.reason == f"refused by http://{server.location}/boot ({status})"
    server.status = 200
    assert ask(asking, PXE).allow is True


@pytest.mark.parametrize("status", [204, 302, 404, 500, 503])
def test_any_other_answer_is_an_error(server, status):
    server.status = status
    server.headers = {"Location": f"http://{server.location}/elsewhere"}
    verdict = ask(access(server), PXE)
    assert verdict.error
    assert verdict.allow is None
    where = f"http://{server.location}/boot"
    assert verdict.reason == f"authorization server {where} answered {status}"
    assert len(server.asked) == 1  # a redirection is not followed


def test_a_grant_holds_until_the_boot_stage_changes(server):
    server.body = b"client: node7"
    asking = access(server)
    assert ask(asking, PXE).hostname == "node7"
    repeated = asking.check(PXE)
    assert (repeated.allow, repeated.hostname) == (True, "node7")
    ask(asking, LINUX)
    assert asking.check(LINUX).allow is True
    ask(asking, PXE)  # the machine was restarted
    ask(asking, Client(MAC, uuid=UUID(int=7), network_boot=True))  # another machine with its card
    assert len(server.asked) == 4


def test_a_refusal_takes_the_grant_back(server):
    asking = access(server)
    ask(asking, PXE)
    server.status = 401
    assert ask(asking, LINUX).allow is False
    assert ask(asking, PXE).allow is False


def test_with_always_check_the_server_is_asked_at_every_request(server):
    asking = access(server, always_check="on")
    ask(asking, PXE)
    ask(asking, PXE)
    assert len(server.asked) == 2


def test_grants_are_kept_for_a_bounded_number_of_clients(server):
    asking = HttpAccess(server.location, "", "", max_grants=2)
    for last in (1, 2, 3):
        ask(asking, Client(bytes((0, 0, 0, 0, 0, last))))
    assert isinstance(asking.check(Client(bytes((0, 0, 0, 0, 0, 1)))), Later)
    assert asking.check(Client(bytes((0, 0, 0, 0, 0, 3)))).allow is True


def test_silence_is_an_error_when_the_time_is_over(server):
    server.stall.clear()
    verdict = ask(access(server, timeout=0.2), PXE)
    assert verdict.error
    where = f"http://{server.location}/boot"
    assert verdict.reason == f"authorization server {where}: no answer within 0.2 s"


def test_a_trickle_is_an_error_when_the_time_is_over(server):
    server.trickle = True
    verdict = ask(access(server, timeout=0.15), PXE)
    assert verdict.error
    assert verdict.reason.endswith("no answer within 0.15 s")


class Trickler:
    """Answers with one octet at a time, for as long as the client reads."""

    def __init__(self, octets):
        self._octets = octets
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.location = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                threading.Thread(
                    target=self._trickle, args=self._listener.accept()[:1], daemon=True
                ).start()

    def _trickle(self, sock):
        with sock, contextlib.suppress(OSError):
            for octet in self._octets:
                if self._ended.wait(0.01):
                    return
                sock.sendall(bytes((octet,)))

    def close(self):
        self._ended.set()
        self._listener.close()


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"\n" * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n\n\r\n" * 200,
        b"a" * 1000,
    ],
    ids=["header", "informational", "body", "chunks", "status"],
)
def test_a_trickle_ends_with_the_time_wherever_it_is(octets):
    """The whole exchange is bounded, and so for how long a worker is held."""
    with contextlib.closing(Trickler(octets)) as trickler:
        began = time.monotonic()
        verdict = ask(access(trickler, timeout=0.3), PXE)
        took = time.monotonic() - began
    assert verdict.error
    assert verdict.reason.endswith("no answer within 0.3 s")
    assert 0.3 <= took < 1.0


def test_a_question_that_has_waited_too_long_is_not_asked(server):
    call = access(server, timeout=0.01).check(PXE)
    time.sleep(0.02)  # it waits for a worker
    verdict = call.call()
    assert verdict.error
    assert server.asked == []


def test_a_flood_of_new_clients_keeps_known_ones_from_nothing_and_new_ones_for_seconds(server):
    """What waits is bounded, and who has an address goes first."""
    server.pause = 0.02
    with contextlib.closing(Loop()) as loop:
        loop.open()
        asking, flood, known, late = access(server), [], [], []

        def submit(number, told, **more):
            client = Client(number.to_bytes(6), network_boot=True, **more)
            loop.run_in_worker(asking.check(client), lambda outcome, now: told.append(outcome))

        for number in range(3000):
            submit(number, flood)
        submit(5000, known, known=True)
        loop.turn()
        refused = [one for one in flood if one.error is not None]
        assert 3000 - len(flood) <= MAX_WAITING + MAX_QUESTIONS
        assert refused
        assert all(isinstance(one.error, TooManyWaitingError) for one in refused)
        while not known:
            loop.turn(0.01)
        assert known[0].get().allow is True
        assert len(flood) < 3000 - MAX_WAITING // 2  # most of them still wait
        submit(6000, late)
        began = time.monotonic()
        while not late:
            loop.turn(0.01)
        assert late[0].get().allow is True
        assert time.monotonic() - began < 5


def test_a_client_without_a_hardware_address_is_named_by_its_client_id(server):
    """InfiniBand: htype 32, hlen 0 (RFC 4390 2.1)."""
    asking = access(server)
    one, two = (Client(b"", client_id=client_id, network_boot=True) for client_id in (b"1", b"2"))
    assert ask(asking, one).allow is True
    assert asking.check(one).allow is True  # a grant holds for one of them alone
    assert ask(asking, two).allow is True
    assert server.asked == ["/boot?mac=-&client_id=31", "/boot?mac=-&client_id=32"]


def test_a_cut_connection_is_an_error(server):
    server.status = None
    verdict = ask(access(server), PXE)
    assert verdict.error
    assert "without response" in verdict.reason
    assert "\n" not in verdict.reason


def test_a_server_that_is_down_is_an_error_of_one_line(server):
    asking = HttpAccess("127.0.0.1:1", "boot", "linux")
    verdict = asking.check(PXE).call()
    assert verdict.error
    assert verdict.reason == "authorization server http://127.0.0.1:1/boot: Connection refused"


def test_a_rack_asks_all_at_once(server):
    """No client waits for the answer to another."""
    server.stall.clear()
    with contextlib.closing(Loop()) as loop:
        loop.open()
        asking, granted = access(server), []
        for last in range(50):
            client = Client(bytes((0, 0, 0, 0, 0, last)))
            loop.run_in_worker(
                asking.check(client), lambda outcome, now: granted.append(outcome.get())
            )
        for _ in range(1000):
            loop.turn(0.01)
            if len(server.asked) == 50:
                server.stall.set()
            if len(granted) == 50:
                break
    assert [verdict.allow for verdict in granted] == [True] * 50


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "location: the URL of the server to ask is missing"),
        ({"location": "ftp://10.0.0.1"}, "ftp is neither http nor https"),
        ({"location": "10.0.0.1:99999"}, "is not an HTTP URL"),
        ({"location": "http://"}, "it names no host"),
        ({"location": "http://[::1"}, "is not an HTTP URL"),
        ({"location": "10.0.0.1", "always_check": "maybe"}, "always_check: 'maybe' is neither"),
    ],
)
def test_faults_are_told(options, told):
    with pytest.raises(ConfigError) as caught:
        HttpAccess.from_config(Section("http", Path("p.ini"), options))
    assert told in str(caught.value)


def test_the_http_client_is_loaded_only_to_ask():
    code = "import sys, pybootd.access.http; sys.exit('pybootd.access.question' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
