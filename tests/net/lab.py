"""A client, the real daemon, and behind it a web server on its own network."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.network import Host

TOP = Path(__file__).parents[2]
SERVER, CLIENT, MIRROR = "10.7.0.1", "10.7.0.2", "10.8.0.2"
LEASED = "10.7.0.100"


@dataclass
class Lab:
    """A client, the server, and behind it the mirror: a web server on its own network."""

    folder: Path
    server: Host
    client: Host
    mirror: Host

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @contextmanager
    def serving(self, text: str, *options: str) -> Iterator[DaemonProcess]:
        ini = self.folder / "pybootd.ini"
        ini.write_text(text)
        ports = (69,) if "-t" in options else (67, 69)
        with DaemonProcess(self.server, ini, self.folder / "log", ports, *options) as daemon:
            yield daemon
            assert daemon.stop() == 0
        assert "Traceback" not in self.said()

    @contextmanager
    def website(self, root: Path) -> Iterator[str]:
        running = self.start_website(root)
        try:
            yield f"http://{MIRROR}"
        finally:
            running.terminate()
            running.wait()

    def start_website(self, root: Path) -> subprocess.Popen[str]:
        """Start it; each of its answers is a line of the file ``answers``."""
        script = TOP / "tests" / "files" / "origin.py"
        log = self.folder / "answers"
        running = self.mirror.popen(sys.executable, script, root, "--port", "80", "--log", log)
        self.server.run("curl", "-s", "--retry-connrefused", "--retry", "9", f"http://{MIRROR}/")
        return running

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def get(self, name: str) -> bytes | str:
        """Fetch with tftp-hpa's client: the file's octets, or what the client complains of."""
        into = self.folder / "got"
        into.unlink(missing_ok=True)
        ran = self.client.run("tftp", "-m", "octet", SERVER, "-c", "get", name, into, check=False)
        # it ends with 0 whatever happens
        return ran.stdout + ran.stderr if "Error code" in ran.stdout else into.read_bytes()

    def lease(self) -> None:
        """Let the client get its address from the server, as a host of the name "node7"."""
        config = self.folder / "dhclient.conf"
        config.write_text('send host-name "node7";\n')
        files = ("-cf", config, "-lf", self.folder / "leases", "-pf", self.folder / "pid")
        self.client.run("ip", "address", "flush", "dev", "eth0")
        self.client.popen("dhclient", "-4", "-d", "-1", *files, "eth0")
        deadline = time.monotonic() + 40
        while LEASED not in self.client.ip("address", "show", "dev", "eth0"):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
