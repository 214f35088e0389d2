"""Requests as HTTP clients of the field send them, octet for octet, and what they need."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .test_server import Lab, Peer, running

SIZE = 100_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("root")
    (made / "sub").mkdir()
    for name in ("file", "sub/file.efi", "a b.cfg", "ä.cfg", "a+b", "a&b;c=d"):
        (made / name).write_bytes(name.encode() + os.urandom(SIZE))
    return made


@pytest.fixture
def lab(root: Path) -> Iterator[Lab]:
    with running(root) as made:
        yield made


def lines(*texts: str) -> bytes:
    return "\r\n".join((*texts, "", "")).encode()


@dataclass(frozen=True)
class Case:
    """What a client sends; ``part`` is what it gets of the file ``name``, with this status."""

    request: bytes
    name: str = "file"
    status: int = 200
    part: slice = field(default_factory=lambda: slice(None))
    keeps: bool = True


CASES = {
    "GRUB 2.06": Case(lines("GET /file HTTP/1.1", "Host: 10.0.0.1", "User-Agent: GRUB 2.06")),
    "GRUB, seeking": Case(
        lines(
            "GET /file HTTP/1.1", "Host: 10.0.0.1", "User-Agent: GRUB 2.06", "Range: bytes=5000-"
        ),
        status=206,
        part=slice(5000, None),
    ),
    "GRUB, a blank": Case(
        lines("GET /a b.cfg HTTP/1.1", "Host: 10.0.0.1", "User-Agent: GRUB 2.06"), "a b.cfg"
    ),
    "GRUB, UTF-8": Case(
        lines("GET /ä.cfg HTTP/1.1", "Host: 10.0.0.1", "User-Agent: GRUB 2.06"), "ä.cfg"
    ),
    "a plus is a plus": Case(lines("GET /a+b HTTP/1.1", "Host: x"), "a+b"),
    "what is reserved elsewhere": Case(lines("GET /a&b;c=d HTTP/1.1", "Host: x"), "a&b;c=d"),
    "iPXE": Case(
        lines(
            *("GET /file HTTP/1.1", "Connection: keep-alive", "User-Agent: iPXE/1.21.1+"),
            *("Host: 10.0.0.1",),
        )
    ),
    # sanboot: blocks of a disk, by ranges on one connection
    "iPXE, a block": Case(
        lines(
            *("GET /file HTTP/1.1", "Connection: keep-alive", "User-Agent: iPXE/1.21.1+"),
            *("Host: 10.0.0.1", "Range: bytes=512-1023"),
        ),
        status=206,
        part=slice(512, 1024),
    ),
    "UEFI HTTP Boot": Case(
        lines(
            *("GET /sub/file.efi HTTP/1.1", "Host: 10.0.0.1", "Accept: */*"),
            *("User-Agent: UefiHttpBoot/1.0",),
        ),
        "sub/file.efi",
    ),
    # a boot URI of http://10.0.0.1//sub/file.efi
    "UEFI, two slashes": Case(lines("GET //sub//file.efi HTTP/1.1", "Host: x"), "sub/file.efi"),
    "UEFI, closing": Case(
        lines("GET /file HTTP/1.1", "Host: 10.0.0.1", "Connection: close"), keeps=False
    ),
    "through a proxy": Case(lines("GET http://10.0.0.1:80/file HTTP/1.1", "Host: 10.0.0.1")),
    "curl": Case(
        lines("GET /file HTTP/1.1", "Host: 10.0.0.1", "User-Agent: curl/8.5.0", "Accept: */*")
    ),
    "curl, resuming": Case(
        lines("GET /file HTTP/1.1", "Host: x", "Range: bytes=99999-", "User-Agent: curl/8.5.0"),
        status=206,
        part=slice(99999, None),
    ),
    "the whole as a range": Case(
        lines("GET /file HTTP/1.1", "Host: x", "Range: bytes=0-"), status=206
    ),
    "expecting": Case(lines("GET /file HTTP/1.1", "Host: x", "Expect: 100-continue")),
    "U-Boot's wget": Case(b"GET /file HTTP/1.0\r\n\r\n", keeps=False),
    "busybox wget": Case(
        lines("GET /file HTTP/1.1", "Host: 10.0.0.1", "User-Agent: Wget", "Connection: close"),
        keeps=False,
    ),
    "wget 1.1x": Case(
        lines(
            *("GET /file HTTP/1.0", "User-Agent: Wget/1.11", "Accept: */*", "Host: 10.0.0.1"),
            *("Connection: Keep-Alive",),
        ),
        keeps=True,
    ),
    "netcat": Case(b"GET /file HTTP/1.0\n\n", keeps=False),
    "line ends of LF": Case(b"GET /file HTTP/1.1\nHost: x\n\n"),
    "an empty host": Case(lines("GET /file HTTP/1.1", "Host:")),
    "a folded field": Case(lines("GET /file HTTP/1.1", "Host: x", "User-Agent: a", " b")),
    "anything encoded": Case(lines("GET /%66%69%6Ce HTTP/1.1", "Host: x")),
    "gzip is accepted": Case(
        lines("GET /file HTTP/1.1", "Host: x", "Accept-Encoding: gzip, deflate, br")
    ),
    # a query makes each request another one, against caches
    "a query": Case(lines("GET /file?mac=52:54:00:12:34:56&x=%zz HTTP/1.1", "Host: x")),
    "upgrading": Case(
        lines(
            *("GET /file HTTP/1.1", "Host: x", "Connection: Upgrade, HTTP2-Settings"),
            *("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        )
    ),
    "a body of nothing": Case(lines("GET /file HTTP/1.1", "Host: x", "Content-Length: 0")),
    "an empty line after a request": Case(lines("GET /file HTTP/1.1", "Host: x") + b"\r\n"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_client_of_the_field_gets_its_file(lab: Lab, root: Path, case: str) -> None:
    asked, peer = CASES[case], lab.peer()
    wanted = (root / asked.name).read_bytes()[asked.part]
    for _ in range(2 if asked.keeps else 1):
        peer.send(asked.request)
        answer = peer.answer()
        assert (answer.status, answer.body == wanted) == (asked.status, True)
        assert answer.fields["Content-Length"] == str(len(wanted))
        assert "Content-Encoding" not in answer.fields
    if not asked.keeps:
        assert ended(lab, peer)


def ended(lab: Lab, peer: Peer) -> bool:
    lab.turn()
    peer.take()
    return peer.over and not peer.cut


def test_a_client_that_ends_its_side_gets_its_file(lab: Lab, root: Path) -> None:
    """``nc -N``, and boot ROMs that shut down their side after the request."""
    peer = lab.peer()
    peer.send(lines("GET /file HTTP/1.0"))
    peer.sock.shutdown(socket.SHUT_WR)
    assert peer.answer().body == (root / "file").read_bytes()


def test_head_then_get_on_one_connection(lab: Lab, root: Path) -> None:
    """UEFI: HEAD for the size and the type, then GET, in one or in two connections."""
    peer = lab.peer()
    head = peer.get("sub/file.efi", "User-Agent: UefiHttpBoot/1.0", method="HEAD")
    got = peer.get("sub/file.efi", "User-Agent: UefiHttpBoot/1.0")
    assert head.fields == got.fields
    assert head.fields["Content-Type"] == "application/efi"
    assert got.body == (root / "sub/file.efi").read_bytes()


def test_a_disk_by_ranges_on_one_connection(lab: Lab, root: Path) -> None:
    """IPXE's sanboot, QEMU's curl driver, Redfish's virtual media."""
    peer, wanted = lab.peer(), (root / "file").read_bytes()
    for first in range(0, 50_000, 2048):
        answer = peer.get("file", f"Range: bytes={first}-{first + 2047}")
        assert (answer.status, answer.body) == (206, wanted[first : first + 2048])
