"""The servers that are measured, and how a person starts each; sets up those that are missing."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pybootd.lab.network import which

# the Python of another checkout's .venv: that build is measured beside this one, as "before"
BEFORE = os.environ.get("PYBOOTD_BEFORE", "")
PYPI = ("tftpy==0.8.7", "fbtftp==0.5", "py3tftp==1.3.0", "tftp[cli]==0.2.1")
DEBIAN = ("tftpd-hpa", "atftpd", "libwrap0")

TFTPY = """
import sys, tftpy
tftpy.TftpServer(sys.argv[1]).listen("0.0.0.0", 69)
"""
FBTFTP = """
import os, sys
from fbtftp.base_handler import BaseHandler, ResponseData
from fbtftp.base_server import BaseServer

class File(ResponseData):
    def __init__(self, path):
        self._size = os.stat(path).st_size
        self._reader = open(path, "rb")
    def read(self, n):
        return self._reader.read(n)
    def size(self):
        return self._size
    def close(self):
        self._reader.close()

class Handler(BaseHandler):
    def get_response_data(self):
        return File(os.path.join(sys.argv[1], self._path))

class Server(BaseServer):
    def get_handler(self, server_addr, peer, path, options):
        return Handler(server_addr, peer, path, options, lambda stats: None)

server = Server("0.0.0.0", 69, 5, 2, None)
server.run()
"""


@dataclass(frozen=True)
class Server:
    """One server. ``slow``: it gets smaller files, so that a run ends; ``windows``: RFC 7440."""

    name: str
    command: Callable[[Path, Path, Path], list[str]]
    windows: bool = True
    slow: bool = False


def pybootd(_: Path, root: Path, scratch: Path) -> list[str]:
    ini = scratch / "pybootd.ini"
    log = scratch / "pybootd.log"
    ini.write_text(f"[logger]\ntype = file\nlevel = info\nfile = {log}\n[tftp]\nroot = {root}\n")
    return [sys.executable, "-m", "pybootd", "-t", "-c", str(ini)]


def before(_: Path, root: Path, scratch: Path) -> list[str]:
    return [BEFORE, *pybootd(_, root, scratch)[1:]]


def dnsmasq(_: Path, root: Path, scratch: Path) -> list[str]:
    return [
        which("dnsmasq") or "dnsmasq",
        *("-k", "--port=0", "--conf-file=/dev/null", "--user=root", "--enable-tftp"),
        *(f"--tftp-root={root}", "--tftp-max=2000", f"--pid-file={scratch}/dnsmasq.pid"),
        f"--log-facility={scratch}/dnsmasq.log",
    ]


def unpacked(peers: Path, program: str) -> list[str]:
    folders = ":".join(map(str, (peers / "root").glob("**/lib/*-linux-gnu")))
    return ["env", f"LD_LIBRARY_PATH={folders}", str(peers / "root/usr/sbin" / program)]


def tftpd_hpa(peers: Path, root: Path, _: Path) -> list[str]:
    words = unpacked(peers, "in.tftpd")
    return [*words, "-L", "-a", "0.0.0.0:69", "-u", "root", "-s", str(root)]


def atftpd(peers: Path, root: Path, scratch: Path) -> list[str]:
    (scratch / "atftpd.log").touch()  # it makes none
    return [
        *unpacked(peers, "atftpd"),
        *("--daemon", "--no-fork", "--user", "root.root", "--maxthread", "1100"),
        *("--logfile", str(scratch / "atftpd.log"), str(root)),
    ]


def pypi_tftp(peers: Path, root: Path, _: Path) -> list[str]:
    program = str(peers / "venv/bin/pytftp")
    return [program, "serve", "-q", "-l", "0.0.0.0:69", "--max-sessions", "2000", str(root)]


def py3tftp(peers: Path, root: Path, _: Path) -> list[str]:
    start = 'cd "$1" && exec "$2" --host 0.0.0.0 -p 69'
    return ["sh", "-c", start, "sh", str(root), str(peers / "venv/bin/py3tftp")]


def c_floor(peers: Path, root: Path, _: Path) -> list[str]:
    return [str(peers.parent / "floor"), "69", str(root)]


def bare_loop(_: Path, root: Path, __: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("bare.py")), "69", str(root)]


def script(text: str) -> Callable[[Path, Path, Path], list[str]]:
    return lambda peers, root, _: [str(peers / "venv/bin/python"), "-c", text, str(root)]


SERVERS = {
    server.name: server
    for server in (
        Server("pybootd", pybootd),
        *([Server("before", before)] if BEFORE else []),
        Server("dnsmasq", dnsmasq, windows=False),
        Server("tftpd-hpa", tftpd_hpa, windows=False),
        Server("atftpd", atftpd),
        Server("PyPI tftp", pypi_tftp),
        Server("tftpy", script(TFTPY), windows=False, slow=True),
        Server("py3tftp", py3tftp, slow=True),
        Server("fbtftp", script(FBTFTP), windows=False, slow=True),
        Server("C floor", c_floor),
        Server("bare loop", bare_loop, windows=False),
    )
}


def set_up(peers: Path) -> None:
    """Put the peers into a folder, none of them into the system."""
    if (peers / "done").exists():
        return
    peers.mkdir(parents=True, exist_ok=True)
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": peers}
    subprocess.run([sys.executable, "-m", "venv", "venv"], **quiet)
    pip = ["venv/bin/pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *PYPI], **quiet)
    subprocess.run(["apt-get", "download", "-qq", *DEBIAN], **quiet, stderr=subprocess.DEVNULL)
    for package in sorted(peers.glob("*.deb")):
        subprocess.run(["dpkg", "-x", package.name, "root"], **quiet)
    (peers / "done").touch()
