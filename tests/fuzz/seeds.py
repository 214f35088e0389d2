"""Where fuzzing starts: what real clients and people write."""

import gzip
import json
from ipaddress import IPv4Address
from pathlib import Path

from pybootd.config.reference import render_sample
from pybootd.dhcp4.wire.packet import Packet, encode
from tests.commands.captures import Capture
from tests.dhcp4.vectors import VECTORS
from tests.tftp.test_packet import VECTORS as TFTP

EXAMPLES = Path(__file__).parents[1] / "config/examples"
_EVERYBODY = bytes((8, 1, 0))  # a server of two addresses that serves all
_DISCOVER = bytes((0, 1, 0, 0, 0))
_REQUEST = bytes((0, 3, 0, 0, 1, 50, 1, 5))
_OTHERS = bytes((0, 3, 1, 0, 1, 50, 1, 5))


def _get(*fields: str, line: str = "GET /a%20b?c=1 HTTP/1.1") -> bytes:
    return "\r\n".join([line, "Host: x", *fields, "", ""]).encode()


def _raw(data: bytes) -> bytes:
    return bytes((0, 255, 0)) + len(data).to_bytes(2) + data


_ROW = [
    _get(),
    _get(line="HEAD / HTTP/1.1"),
    _get(line="GET http://h/x HTTP/1.0"),
    _get("Connection: close", "Range: bytes=0-9", 'If-Range: "tag"'),
    _get("Range: bytes=-5"),
    _get("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"),
    _get("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT"),
    _get('If-None-Match: W/"tag", "x"'),
    _get('If-Match: "other"'),
    _get("Content-Length: 3", line="POST /x HTTP/1.1") + b"abc",
    _get("Transfer-Encoding: chunked", "Expect: 100-continue") + b"3\r\nabc\r\n0\r\n\r\n",
]

_VERDICT = {"grade": "fault", "what": "x", "advice": "y", "evidence": ["z"]}
_RUN = {"name": "a/linux", "sent": 5, "size": 9, "rate": 3}
_NAMED = {"name": "52:54:00:12:34:56", "hostname": "h", "address": "10.7.0.1", "kind": "bios"}
_ROW_DOCUMENT = {
    **_NAMED,
    "state": "failed",
    "stage": "kernel",
    "boot": 1,
    "last": 5.0,
    "verdict": _VERDICT,
    "transfers": [_RUN],
}
_STEP = {"type": "step", "code": "offered", "what": "offered", "at": 0, "until": 1}
_BOOT_DOCUMENT = {
    "number": 1,
    "began": 5.0,
    "address": "10.7.0.1",
    "kind": "bios",
    "state": "failed",
    "stage": "kernel",
    "verdict": None,
    "left_out": 2,
    "steps": [
        _STEP | {"text": "10.7.0.1", "more": "", "count": 2},
        _STEP | _RUN | {"type": "transfer", "retransmissions": 1, "outcome": "done", "reason": ""},
    ],
}
_DAEMON = {"name": "d", "version": "2", "here": True, "silent": False, "seen": 1.0, "leases": 3}
_POOL = {"network": "10.7.0.0/24", "taken": 1, "addresses": 9}
_STATS = {"clients": 1, "running": 0, "pools": [_POOL], "daemons": [_DAEMON], "database_away": 7}
_ANSWERS = {
    12: {"version": 1, "client": _ROW_DOCUMENT | {"boots": [_BOOT_DOCUMENT]}},
    13: {"version": 1, "now": 9.0, "total": 3, "clients": [_ROW_DOCUMENT]},
    14: {"version": 1, "stats": _STATS},
    4: {"code": "unknown-machine", "detail": "none"},
    5: {"code": "token-needed"},
}


def _capture() -> Capture:
    made = Capture()
    made.lease()
    made.fetch("loader.efi", b"MZ" + bytes(1500))
    made.get("linux", content=b"x" * 900)
    made.refuse("initrd")
    return made


def _offer(file: str, options: dict[int, bytes]) -> bytes:
    given = {53: b"\2", 54: b"\x0a\7\0\1", 1: b"\xff\xff\xff\0", 51: b"\0\0\1\0"} | options
    made = Packet(2, xid=7, chaddr=bytes(6), options=given)
    made.yiaddr = made.siaddr = IPv4Address("10.7.0.1")
    made.file = file.encode()
    return encode(made)


def _frames(*pieces: bytes) -> bytes:
    return b"".join(len(piece).to_bytes(2) + piece for piece in pieces)


SEEDS: dict[str, list[bytes]] = {
    "dhcp-packet": [b"\0\0" + one.data for one in VECTORS],
    "dhcp-options": [b"\0\0" + one.data[240:] for one in VECTORS],
    "dhcp-server": [
        _EVERYBODY + _DISCOVER + _REQUEST + _OTHERS,
        # the same when the lease has run out
        _EVERYBODY + _DISCOVER + _REQUEST + b"\5" + _OTHERS[1:],
        *(_EVERYBODY + _raw(one.data) for one in VECTORS),
    ],
    "tftp-packet": [b"\x05\xb4\x10" + data for _, data, _ in TFTP]
    + [b"\x05\xb4\x10\0\1f\0octet\0tsize\0000\0blksize\00099\0BLKSIZE\00098\0"],
    # each name: asked for, then acknowledged twice, or brought in one block
    "tftp-server": [bytes((0, 0, how, 0x21, 0x21, 0x21)) for how in range(64)],
    "tftp-upload": [bytes((0, 0, how, 0x21, 5)) for how in range(64)],
    "http": [
        bytes((n % 3,)) + cut + request
        for n, request in enumerate(_ROW * 3)
        for cut in (b"", _get() + b"\xff")
    ],
    "ini": [file.read_bytes() for file in EXAMPLES.iterdir()]
    + [section.encode() for section in render_sample().split("\n\n")],
    "capture": [
        _capture().write_pcap(),
        _capture().write_pcap(link=1, head=bytes(12) + b"\x08\0", snaplen=90),
        gzip.compress(_capture().write_pcap()),
        *(_capture().write_pcap(link=link, head=b"\2\0\0\0") for link in (0, 9, 113, 127)),
        *(_capture().write_pcap()[:cut] for cut in (24, 40, 300, 777, 1500)),
    ],
    "api-answer": [bytes((how,)) + json.dumps(told).encode() for how, told in _ANSWERS.items()]
    + [
        bytes((3, *b"HTTP/1.1 200 OK\r\n\r\n", *b"event: stats\ndata: "))
        + json.dumps(_STATS).encode()
        + b"\n",
        b"\3HTTP/1.1 200 OK\r\n\r\nevent: clients\ndata: [1]\n",
        b"\0HTTP/1.1 403 \x1b[31m\r\n\r\n",
        b"\0\xff\xff",
        b"\0HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"\x0c" + b"[" * 3000,
        b"\x0d" + json.dumps(_ANSWERS[13] | {"total": 1e300}).encode(),
    ],
    "probe-answers": [
        bytes((how, 0)) + _frames(one.data, b"\0\6blksize\0008\0", b"\0\3\0\1MZ")
        for how in (0, 1, 2, 5)
        for one in VECTORS[:6]
    ]
    + [
        bytes((how, 0)) + _frames(_offer(file, options), *more)
        for how in (0, 1, 4)
        for file, options, more in (
            ("loader.efi", {}, (b"\0\6blksize\08\0", b"\0\3\0\1MZ")),
            ("loader.efi", {60: b"PXEClient", 43: b"\6\1\x08\xff"}, (b"\0\5\0\1no\0",)),
            ("loader.efi", {60: b"PXEClient", 43: b"\x08\7\0\0\1\x0a\7\0\1"}, ()),
            ("", {66: b"a.example", 67: b"x\xff"}, ()),
        )
    ]
    + [
        bytes((2, 0)) + _frames(_offer(url, {60: b"HTTPClient"}), answer)
        for url in ("http://10.7.0.1/x", "http://[::1/x", "http://10.7.0.1:99999/", "https://x/")
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nMZ", b"HTTP/1.1 500 \x1b\r\n")
    ],
    "lease-file": [
        bytes((0, count, *range(row, row + 9), *range(9))) for count in range(3) for row in range(5)
    ]
    + [b"\1SQLite format 3\0" + bytes(100), b"\1", b"\1no database"],
    "names": [b"b.efi\0dir/../a\0\\Case\\file", b"p12345678/b.efi\0grub.cfg", b"abs\0dir/back/a"],
    "filters": [b"*=dir/{filename}\n\n\0\0c", b"a*\\?= [in]\nx=/{mac}/b\n\n\7\1ha/b"],
}
