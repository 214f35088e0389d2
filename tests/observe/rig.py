"""The real daemon in this process, on a host of a private network, and time that can be pushed on.

The client runs in its own thread, on its own host; the daemon's loop turns here.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from pybootd.config.loader import load
from pybootd.core.loop import Loop
from pybootd.daemon import Daemon
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.lab.firmware import BootError, Firmware
from pybootd.lab.network import Network
from pybootd.observe.diagnosis.evidence import Evidence
from pybootd.observe.diagnosis.rules import judge
from pybootd.observe.diagnosis.verdicts import Diagnosis

SERVER = "10.7.0.1"
MAC = "52:54:00:12:34:56"
INI = """\
[bootp]
pool_start = 10.7.0.100
leases = memory
conflict_check = off
{bootp}
[bootfile]
efi-x86_64 = {boot_file}
{bootfile}
[tftp]
root = ./boot
retries = 2
timeout = 0.2
{tftp}
{more}
"""


class Client(Firmware):
    """Firmware whose class, architecture and patience a test may choose."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.extra: dict[int, bytes] = {}
        self.sockets: list[socket.socket] = []
        self.pass_time: Callable[[float], None] = lambda seconds: None

    def make_message(self, kind: MessageType, xid: int) -> Packet:
        made = super().make_message(kind, xid)
        made.options.update(self.extra)
        for code in [code for code, value in made.options.items() if value == b"-"]:
            del made.options[code]
        return made

    def port(self) -> socket.socket:
        """Make a UDP socket on the client's host; it stays open until the test ends."""
        with self.host.inside():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(5)
        self.sockets.append(made)
        return made

    def broadcaster(self) -> socket.socket:
        """Make one that sends and takes broadcasts as a DHCP client's does."""
        made = self.port()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode())
        made.bind(("", 68))
        return made

    def become(self, architecture: int, vendor_class: str = "") -> None:
        self.extra[options.ARCHITECTURE] = architecture.to_bytes(2)
        text = vendor_class or f"PXEClient:Arch:{architecture:05d}:UNDI:003000"
        self.extra[options.CLASS] = text.encode()

    def run_ipxe(self) -> None:
        self.extra[options.USER_CLASS] = b"iPXE"

    def run_system(self, name: bytes = b"box") -> None:
        """Ask from now on as an operating system does."""
        gone = dict.fromkeys((options.ARCHITECTURE, options.CLASS, options.UUID, 94), b"-")
        self.extra = {**gone, options.HOSTNAME: name}

    def obtain(self) -> Any:
        """Get an address, whether or not there is one on the interface already."""
        self.host.run("ip", "address", "flush", "dev", self.interface)
        return self.obtain_lease()

    def system_up(self) -> None:
        self.run_system()
        with contextlib.suppress(BootError):  # our client wants a boot file, a system doesn't
            self.obtain_lease()


class Rig:
    """A server and one client on a switch; ``shift`` is how far the daemon's clock runs ahead."""

    def __init__(self, network: Network, folder: Path, **ini: str) -> None:
        self.folder = folder
        self.shift = 0.0
        (folder / "boot").mkdir(exist_ok=True)
        lan = network.switch()
        self.server, host = network.host("server"), network.host("client")
        self.server.plug(lan, f"{SERVER}/24")
        uuid = UUID("00112233-4455-6677-8899-aabbccddeeff")
        self.client = Client(host, host.plug(lan, mac=MAC), MAC, uuid, patience=0.3)
        self.client.pass_time = self.pass_time
        path = folder / "pybootd.ini"
        given = {
            "bootp": "",
            "bootfile": "",
            "tftp": "",
            "more": "",
            "boot_file": "loader.efi",
            **ini,
        }
        path.write_text(INI.format(**given))
        self.loop = Loop(lambda: time.monotonic() + self.shift)
        self.daemon = Daemon(load(path), loop=self.loop)

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, *error: object) -> None:
        self.daemon.close()
        for made in self.client.sockets:
            made.close()

    def put(self, name: str, content: bytes | int) -> None:
        path = self.folder / "boot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(content))

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the daemon while the client is at work."""
        self.shift += seconds

    def run(self, act: Callable[[Client], object], later: float = 0.0) -> None:
        """Let the client act, then ``later`` seconds pass."""
        caught: list[BaseException] = []

        def play() -> None:
            try:
                act(self.client)
            except BootError:
                pass
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=play)
        with self.server.inside():
            self.loop.open()
            self.daemon.open()
            thread.start()
            while thread.is_alive():
                self.loop.turn(0.02)
            for _ in range(4):
                self.loop.turn(0.0)
            left = later
            while left > 0:  # as a loop sees it that is woken now and then
                self.shift += min(left, 0.5)
                left -= 0.5
                self.loop.turn(0.0)
        if caught:
            raise caught[0]

    def verdicts(self) -> list[Diagnosis | None]:
        """Judge each boot of the client, oldest first."""
        watching = self.daemon.watching
        assert watching is not None
        (record,) = list(watching.timeline.records())
        return [
            judge(Evidence(boot, self.loop.now, watching.look_at_file)) for boot in record.boots
        ]

    def ends(self) -> tuple[str, ...]:
        """Say how the client's transfers ended, in all of its boots."""
        watching = self.daemon.watching
        assert watching is not None
        (record,) = list(watching.timeline.records())
        transfers = [one for boot in record.boots for one in boot.transfers()]
        return tuple(one.outcome.value if one.outcome else "running" for one in transfers)
