"""``[tftp]``, ``[httpd]``, ``[cache]``, ``[filters]``, ``[pins]``: what is served, and how."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from pybootd.config import values
from pybootd.config.options.declaration import Option, SectionDeclaration, option
from pybootd.config.values import ANY

KI, MI, GI = 1 << 10, 1 << 20, 1 << 30
MAX_SIZE = 1 << 50
MAX_BLOCK = 65464  # RFC 2348


@dataclass(frozen=True, slots=True)
class TftpConfig:
    """``[tftp]``. ``timeout`` in seconds; ``port_range`` is inclusive, None lets the system choose.

    ``root`` is an absolute path or a URL prefix; ``filters`` are asked in this order; ``cache``
    and ``upload_size`` are in octets; ``upload`` is as it was written, "" where nobody may write;
    ``links`` are absolute.
    """

    root: str = option(
        values.PATH_TEXT,
        "",
        "What is served: ``./dir`` (relative to this file), ``/dir``, or a URL,"
        " ``http://mirror/dir``. Required. Where ``X`` is asked for and only ``X.j2`` is there,"
        " that is a template for it.",
        default_text="none",
        example="./tftpboot",
        preset="./tftpboot",
    )
    filters: tuple[str, ...] = option(
        values.NAMES,
        ("patterns",),
        "Who says what is served in place of a requested name, in this order: ``patterns`` are the"
        " lines of ``[filters]``, other names are installed plug-ins.",
    )
    address: IPv4Address = option(
        values.ADDRESS,
        ANY,
        "Address to listen on.",
        default_text="as in ``[bootp]``",
        restart=True,
    )
    port: int = option(values.PORT, 69, "Port to listen on.", restart=True)
    blocksize: int = option(
        values.integer(8, MAX_BLOCK),
        MAX_BLOCK,
        "Largest block that is granted to a client that asks, lowered to what the path's packets"
        " carry whole. A client that doesn't ask gets 512.",
        unit="octets",
    )
    windowsize: int = option(
        values.integer(1, 65535),
        64,
        "Largest window that is granted to a client that asks.",
        unit="blocks",
    )
    timeout: float = option(
        values.seconds(0.01, 255),
        1.0,
        "How long to wait for a client that has not answered before a block is sent again; one"
        " that has answered is waited for as long as its answers took (at least 0.1 seconds). Each"
        " further wait is twice as long. A client that asks for a timeout gets that one.",
        unit="seconds",
    )
    retries: int = option(
        values.integer(0, 100),
        5,
        "How often a block is sent again before the transfer ends; a client that has answered is"
        " waited for up to 30 seconds, as it may be writing its flash.",
    )
    port_range: tuple[int, int] | None = option(
        values.PORT_RANGE,
        None,
        "Ports for transfers, for firewalls and containers. Clients share them where there are too"
        " few; with fewer than 1,024, what an address without a lease is sent is bounded.",
        default_text="any",
        example="20000-21023",
        restart=True,
    )
    fragments: bool = option(
        values.BOOLEAN,
        False,
        "Grant blocks that a packet of the network can't hold, so that each leaves in fragments.",
    )
    offload: bool = option(
        values.BOOLEAN, True, "Let the system or the network card cut a window into packets."
    )
    cache: int = option(
        values.size(64 * KI, 1 << 40),
        64 * MI,
        "Memory for files that are cut into packets.",
        unit="octets",
    )
    requests: int = option(
        values.integer(0, 1_000_000),
        500,
        "Requests that one address may make without going on to fetch a file, ten times as many at"
        " once; what is beyond is dropped. ``0``: no limit.",
        unit="requests a second",
    )
    links: tuple[Path, ...] = option(
        values.FOLDERS,
        (),
        "Folders outside ``root`` that links in it may lead to.",
        default_text="none: a link that leads out of ``root`` is refused",
        example="/var/cache/labgrid",
    )
    upload: str = option(
        values.PATH_TEXT,
        "",
        "Directory that takes new files from clients. It can't be ``root`` or above it.",
        default_text="none: every write is refused",
        example="./upload",
    )
    upload_size: int = option(
        values.size(0, MAX_SIZE), 64 * MI, "Size of the largest file that is taken.", unit="octets"
    )
    upload_count: int = option(
        values.integer(1, 1_000_000),
        1000,
        "Number of files that the directory may hold.",
        unit="files",
    )
    credentials: Path | None = option(
        values.PATH,
        None,
        "File that says who we are to web servers: sections ``[https://HOST]`` with ``user`` and"
        " ``password``, or ``token``.",
        default_text="none",
        example="origins.ini",
    )


@dataclass(frozen=True, slots=True)
class HttpdConfig:
    """``[httpd]``. ``root`` is "" where it is that of ``[tftp]``.

    ``connections``: the most that one address may have at once.
    """

    enable: bool = option(
        values.BOOLEAN, False, "Run the HTTP file server, as ``-H`` does.", restart=True
    )
    root: str = option(
        values.PATH_TEXT,
        "",
        "What is served, written as in ``[tftp]``.",
        default_text="that of ``[tftp]``",
        example="./http",
    )
    address: IPv4Address = option(
        values.ADDRESS,
        ANY,
        "Address to listen on.",
        default_text="as in ``[bootp]``",
        restart=True,
    )
    port: int = option(values.PORT, 80, "Port to listen on.", restart=True)
    check_ip: bool = option(
        values.BOOLEAN,
        False,
        "Serve only clients whose address this DHCP server has given; as a proxy, those that it has"
        " answered and sees on its own links.",
    )
    connections: int = option(
        values.integer(1, 65535),
        128,
        "Connections that one address may have at once.",
        unit="connections",
    )


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """``[cache]``: ``dir`` None: nothing is kept; ``size`` in octets."""

    dir: Path | None = option(
        values.PATH,
        None,
        "Directory where files of web servers are kept.",
        default_text="none: nothing is kept",
        example="/var/cache/pybootd",
    )
    size: int = option(
        values.size(0, MAX_SIZE),
        10 * GI,
        "Space that they may take; those used least recently go first.",
        unit="octets",
    )


TFTP = SectionDeclaration("tftp", "Files over TFTP.", TftpConfig, aliases=("tftpd",))
HTTPD = SectionDeclaration(
    "httpd", "Files over HTTP, for UEFI HTTP Boot, iPXE, GRUB and installers.", HttpdConfig
)
CACHE = SectionDeclaration(
    "cache",
    "What is kept on disk of a web server's files (a remote ``root``, the URL of a filter): each is"
    " fetched once, and served while the web server is down.",
    CacheConfig,
)
PINS = SectionDeclaration(
    "pins",
    "What a file must be to be served, by its checksum (``sha256sum FILE``). The first line that"
    " fits the name of what is served decides; a file that differs is refused.",
    extra=(
        Option(
            "PATTERN",
            values.CHECKSUM,
            "The checksum of every file that fits the pattern.",
            example="debian/linux ="
            " sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            free=True,
        ),
    ),
)
FILTERS = SectionDeclaration(
    "filters",
    "What is served in place of a requested name. The first line that fits decides; ``*`` stands"
    " for any run of characters, ``/`` too, ``?`` for one.",
    extra=(
        Option(
            "PATTERN",
            values.ValueParser(values.parse_word, "a path, a URL, or ``[path]``", free=True),
            "A path below ``root``, an absolute path, a URL, or ``[path]``: a text file that holds"
            " the name to serve on its first line. ``pybootd/etc/...`` is a file that comes with"
            " pybootd. Variables: ``{filename}``, ``{file}``, ``{mac}``, ``{ip}``, ``{uuid}``,"
            " ``{arch}``, ``{hostname}``, ``{server}``, and those of ``[client]`` and ``[class]``.",
            example="pxelinux.cfg/* = pybootd/etc/pxe.cfg\n"
            "grub.cfg-* = grub/{mac}.cfg\n"
            "current/linux = [release.txt]",
            free=True,
        ),
    ),
)
