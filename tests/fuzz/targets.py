"""What can be fuzzed: each target is a function of octets that raises when a promise is broken."""

from collections.abc import Callable
from dataclasses import dataclass

from . import codecs, commands, paths, responder, settings, transfers, uploads, web


@dataclass(frozen=True)
class Target:
    """``covers`` are the files of ``pybootd`` that it is about; ``longest`` in octets."""

    name: str
    run: Callable[[bytes], None]
    covers: tuple[str, ...]
    longest: int = 1024
    words: tuple[bytes, ...] = ()


_TFTP = (
    b"octet\0",
    b"netascii\0",
    b"blksize\0",
    b"tsize\0",
    b"timeout\0",
    b"windowsize\0",
    b"\0\1",
)
_HTTP = (
    *(b"GET /", b"HEAD ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n\r\n", b"Host: x\r\n"),
    *(b"Range: bytes=", b"If-Range: ", b"If-Match: ", b"If-None-Match: ", b"If-Modified-Since: "),
    *(b"Connection: close\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n"),
    *(b'"tag"', b"Sun, 06 Nov 1994 08:49:37 GMT", b"Expect: 100-continue\r\n", b"%2e", b"http://h"),
)
_PATHS = (b"../", b"..\\", b"dir/", b"/grub/grub.cfg", b"back/", b"home/", b"loop", b"12345678/")
_FILTERS = (
    b"{mac}",
    b"{filename}",
    b"{hostname}",
    b"{arch}",
    b"{group}",
    b"*",
    b"?",
    b"\n\n",
    b"= ",
)

ALL = (
    Target(
        "dhcp-packet",
        codecs.dhcp_packet,
        ("dhcp4/wire/packet.py",),
        1600,
        (codecs.COOKIE, b"\x34\1\3"),
    ),
    Target(
        "dhcp-options", codecs.dhcp_options, ("dhcp4/wire/pxe.py", "dhcp4/wire/packet.py"), 1024
    ),
    Target(
        "dhcp-server",
        responder.dhcp_server,
        tuple(
            f"{name}.py"
            for name in (
                "dhcp4/handler",
                "dhcp4/reply",
                "dhcp4/subnets",
                "dhcp4/admission",
                "dhcp4/proxy/handler",
                "leases/pool",
            )
        ),
        1024,
    ),
    Target("tftp-packet", codecs.tftp_packet, ("tftp/packet.py", "tftp/options.py"), 600, _TFTP),
    Target(
        "tftp-server",
        transfers.tftp_server,
        tuple(f"tftp/{name}.py" for name in ("server", "session", "transfer", "blocks", "ports")),
        512,
        _TFTP,
    ),
    Target(
        "tftp-upload",
        uploads.tftp_upload,
        ("tftp/intake.py", "tftp/reception.py", "files/upload.py"),
        512,
        _TFTP,
    ),
    Target(
        "names",
        paths.file_names,
        ("files/names.py", "files/local.py", "files/elsewhere.py"),
        512,
        _PATHS,
    ),
    Target("filters", paths.filters, ("files/filters.py",), 512, _PATHS + _FILTERS),
    Target("http", web.http_connection, ("http/connection.py", "http/conditions.py"), 1024, _HTTP),
    Target(
        "ini",
        settings.ini_file,
        ("inifile.py", "config.py", "reading.py", "profiles.py", "former.py", "values.py"),
        2048,
        settings.WORDS,
    ),
    Target(
        "capture",
        commands.capture,
        tuple(
            f"commands/replay/{name}.py"
            for name in ("pcap", "dissect", "player", "http_flows", "story", "replayer", "command")
        ),
        4096,
        (
            b"GET /x HTTP/1.1\r\n",
            b"\r\nContent-Length: 9\r\n\r\n",
            codecs.COOKIE,
            b"\x45\0",
            b"\0\1a\0octet\0",
        ),
    ),
    Target(
        "api-answer",
        commands.api_answer,
        ("commands/api_client.py", "commands/shapes.py", "commands/display.py"),
        4096,
        (
            b'"clients":[',
            b'"version":1,',
            b"1e999",
            b"null",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"event: ",
            b"data: ",
        ),
    ),
    Target(
        "probe-answers",
        commands.probe_answers,
        tuple(
            f"commands/probe/{name}.py"
            for name in ("judge", "form_rules", "file_rules", "fetch", "result", "content")
        ),
        4096,
        (codecs.COOKIE, b"http://[::1", b"PXEClient", b"\0\6blksize\0", b"HTTP/1.1 200 OK\r\n\r\n"),
    ),
    Target(
        "lease-file",
        commands.lease_file,
        ("commands/leases.py", "leases/lease_file.py", "leases/sqlite.py"),
        9000,
        (b"SQLite format 3\0",),
    ),
)
BY_NAME = {target.name: target for target in ALL}
