"""Where fuzzing starts: what real clients and people write."""

from pathlib import Path

from pybootd.config.reference import render_sample
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
    "names": [b"b.efi\0dir/../a\0\\Case\\file", b"p12345678/b.efi\0grub.cfg", b"abs\0dir/back/a"],
    "filters": [b"*=dir/{filename}\n\n\0\0c", b"a*\\?= [in]\nx=/{mac}/b\n\n\7\1ha/b"],
}
