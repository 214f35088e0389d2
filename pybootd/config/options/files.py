"""``[tftp]``, ``[httpd]``: what is served, and how."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from pybootd.config.values import ANY


@dataclass(frozen=True, slots=True)
class TftpConfig:
    """``[tftp]``. ``timeout`` in seconds; ``port_range`` is inclusive, None lets the system choose.

    ``root`` is an absolute path or a URL prefix; ``filters`` are asked in this order; ``cache``
    and ``upload_size`` are in octets; ``upload`` is as it was written, "" where nobody may write.
    """

    root: str = ""
    filters: tuple[str, ...] = ("patterns",)
    address: IPv4Address = ANY
    port: int = 69
    blocksize: int = 65464
    windowsize: int = 64
    timeout: float = 1.0
    retries: int = 5
    port_range: tuple[int, int] | None = None
    fragments: bool = False
    offload: bool = True
    cache: int = 64 << 20
    requests: int = 500
    upload: str = ""
    upload_size: int = 64 << 20
    upload_count: int = 1000
    credentials: Path | None = None


@dataclass(frozen=True, slots=True)
class HttpdConfig:
    """``[httpd]``. ``root`` is "" where it is that of ``[tftp]``.

    ``connections``: the most that one address may have at once.
    """

    enable: bool = False
    root: str = ""
    address: IPv4Address = ANY
    port: int = 80
    check_ip: bool = False
    connections: int = 128


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """``[cache]``: ``dir`` None: nothing is kept; ``size`` in octets."""

    dir: Path | None = None
    size: int = 10 << 30
