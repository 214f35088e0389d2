"""HTTP questions that end by their deadline, over TLS as well."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybootd.access.question import Questioner

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve one connection; give the location."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as plain:
                if tls is None:
                    serve(plain)
                    return
                with tls.wrap_socket(plain, server_side=True) as secured:
                    serve(secured)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def answer_once(sock: socket.socket) -> None:
    asked = b""
    while b"\r\n\r\n" not in asked:
        asked += sock.recv(4096)
    sock.sendall(
        ANSWER if asked.startswith(b"GET /a%20b?mac=1 HTTP/1.1\r\n") else b"HTTP/1.1 400 \r\n\r\n"
    )


def trickle(sock: socket.socket) -> None:
    sock.recv(4096)
    with contextlib.suppress(OSError):
        for _ in range(500):
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n"[:1])
            time.sleep(0.01)


def ask(url: str, seconds: float = 5.0) -> tuple[int, str]:
    return Questioner("test").ask_url(url, time.monotonic() + seconds)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Make a certificate of 127.0.0.1 that the client trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("not installed: openssl")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=asked", "-addext", "subjectAltName=IP:127.0.0.1"]
    words = [*command.split(), *names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_a_blank_in_the_path_is_escaped() -> None:
    with serving(answer_once) as location:
        assert ask(f"http://{location}/a b?mac=1") == (200, "yes")


def test_a_question_over_tls(tls: ssl.SSLContext) -> None:
    with serving(answer_once, tls) as location:
        assert ask(f"https://{location}/a%20b?mac=1") == (200, "yes")


def test_a_certificate_that_is_not_trusted_is_an_error(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with serving(answer_once, tls) as location, pytest.raises(OSError, match="CERTIFICATE"):
        ask(f"https://{location}/")


def test_a_trickle_over_tls_ends_with_the_time(tls: ssl.SSLContext) -> None:
    with serving(trickle, tls) as location:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(f"https://{location}/", 0.3)
        assert time.monotonic() - began < 1.0


def test_a_handshake_that_does_not_come_ends_with_the_time() -> None:
    with serving(trickle) as location:
        began = time.monotonic()
        with pytest.raises(OSError):  # it is no TLS, or too late
            ask(f"https://{location}/", 0.3)
        assert time.monotonic() - began < 1.0


def test_a_deadline_that_has_passed_asks_nobody() -> None:
    with pytest.raises(TimeoutError):
        ask("http://127.0.0.1:1/", 0.0)
