"""Machines that boot as real ones do (their requests, in their order), from files on a disk.

What they ask for is answered by the real resolver; what happened is published as the servers do,
and judged by the real documents. Time is pushed on.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import UUID

from pybootd.core import events
from pybootd.core.client import Client
from pybootd.core.events import EndCause, FileProblem, RefusalCause, TransferOutcome
from pybootd.core.workers import Later
from pybootd.files.local import LocalSource
from pybootd.files.resolver import Files
from pybootd.files.source import FileError, FileRequest, Missing, Unavailable
from pybootd.observe.diagnosis.verdicts import Diagnosis
from pybootd.status.documents import Documents
from pybootd.status.looks import look_at_file

from . import content
from .story import Story

SERVER = "10.7.0.1"
PREFIXES = ["10.7.0.100"[:0]]
UUID_1 = UUID("00112233-4455-6677-8899-aabbccddeeff")


class Scene(Story):
    """One daemon, its files, and the machines that boot from it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.files = Files(LocalSource(folder))
        self.documents = Documents(
            self.timeline,
            lambda: self.now,
            lambda: self.now + 1.7e9,
            functools.cache(lambda name: look_at_file([self.files], name)),
        )
        self.put("linux", content.bzimage())
        self.put("initrd.gz", content.gz())

    def put(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def judge(self, name: str) -> list[Diagnosis | None]:
        """Return the verdict on each of a machine's boots."""
        record = self.timeline.find_client(name)
        assert record is not None
        return [self.documents.judge_boot(boot) for boot in record.boots]

    def state(self, name: str) -> str:
        record = self.timeline.find_client(name)
        assert record is not None
        return str(self.documents.rows.standing_of(record).state)


class Machine:
    """One machine, as its firmware asks; what runs later asks in its place."""

    def __init__(
        self,
        scene: Scene,
        mac: str = "52:54:00:12:34:56",
        address: str = "10.7.0.100",
        architecture: int | None = 7,
        vendor: str = "",
        uuid: UUID | None = UUID_1,
    ) -> None:
        self.scene = scene
        self.mac = mac
        self.address = IPv4Address(address)
        vendor = vendor or f"PXEClient:Arch:{architecture or 0:05d}:UNDI:003000"
        self.firmware = Client(
            bytes.fromhex(mac.replace(":", "")),
            uuid=uuid,
            architecture=architecture,
            vendor_class=vendor,
            network_boot=True,
            interface="eth0",
        )
        self.client = self.firmware

    # DHCP

    def discover(self, file: str, times: int = 1, **more: Any) -> None:
        for _ in range(times):
            self.scene.tell(events.Offered(self.client, self.address, file, **more))
            self.scene.wait(4)

    def lease(self, file: str = "", **more: Any) -> None:
        client, network_boot = self.client, self.client.network_boot
        known = replace(client, address=self.address)
        self.scene.tell(
            events.Offered(client, self.address, file, **more),
            events.Confirmed(known, self.address, file, network_boot, **more),
        )

    def refuse(self, cause: RefusalCause, times: int = 3) -> None:
        for _ in range(times):
            self.scene.tell(events.Refused(self.client, "words", cause=cause))
            self.scene.wait(4)

    def power_on(self) -> None:
        self.client = self.firmware

    def run_ipxe(self, file: str, **more: Any) -> None:
        self.client = replace(self.firmware, ipxe=True, user_class="iPXE")
        self.lease(file, **more)

    def run_grub(self) -> None:
        self.client = replace(self.firmware, network_boot=False, architecture=None, uuid=None)
        self.client = replace(self.client, vendor_class="")
        self.lease()

    def run_system(self, hostname: str = "box", vendor: str = "") -> None:
        self.scene.wait(15)
        self.client = Client(
            self.firmware.mac, hostname=hostname, vendor_class=vendor, interface="eth0"
        )
        self.lease()

    # files

    def get(
        self,
        name: str,
        *,
        protocol: str = "tftp",
        sent: int | None = None,
        outcome: TransferOutcome = TransferOutcome.DONE,
        cause: EndCause = EndCause.NONE,
        again: int = 0,
        seconds: float = 0.5,
        blocksize: int = 1468,
    ) -> bool:
        """Fetch a file; ``sent`` octets of it where it ends before. False: it is refused."""
        tell, peer = self.scene.tell, str(self.address)
        try:
            found: Any = self.scene.files.open(FileRequest(name, peer, SERVER))
            opened = found.call() if isinstance(found, Later) else found
        except FileError as error:
            tell(
                events.TransferRefused(
                    protocol,
                    peer,
                    name,
                    str(error),
                    isinstance(error, Missing),
                    error.served,
                    isinstance(error, Unavailable),
                    problem=error.problem,
                )
            )
            return False
        size, served = opened.body.size, opened.served
        opened.body.close()
        if protocol == "http":
            blocksize = 0
        arrived = size if sent is None else sent
        window = 0 if protocol == "http" else 4
        tell(
            events.TransferStarted(
                protocol, peer, name, served, size, blocksize, window, lambda: (arrived, again)
            )
        )
        self.scene.wait(seconds)
        tell(
            events.TransferEnded(
                protocol, peer, name, served, arrived, seconds, again, outcome, "", cause
            )
        )
        return True

    def probe(self, name: str, protocol: str = "tftp") -> bool:
        """Ask for a file's size alone, as firmware does before it fetches it."""
        return self.get(name, protocol=protocol, sent=0, outcome=TransferOutcome.PROBED, seconds=0)

    def drop(self, name: str, sent: int = 0, again: int = 5, **more: Any) -> None:
        """Ask for a file, and fall silent after so many octets."""
        self.get(name, sent=sent, again=again, outcome=TransferOutcome.TIMEOUT, seconds=5, **more)

    def try_names(self, *names: str, **more: Any) -> bool:
        """Ask for one name after the other until there is one."""
        return any(self.get(name, **more) for name in names)

    def forbid(self, name: str, problem: FileProblem, protocol: str = "http") -> None:
        self.scene.tell(
            events.TransferRefused(
                protocol, str(self.address), name, "words", False, problem=problem
            )
        )

    # what firmware and loaders do

    def uefi(self, file: str) -> bool:
        """UEFI PXE: address, size, file."""
        self.power_on()
        self.lease(file)
        return self.probe(file) and self.get(file)

    def http_boot(self, file: str) -> bool:
        """UEFI HTTP Boot: HEAD, then GET."""
        http = {7: 16, 11: 19}.get(self.firmware.architecture or 7, 16)
        vendor = f"HTTPClient:Arch:{http:05d}:UNDI:003000"
        self.client = replace(self.firmware, architecture=http, vendor_class=vendor)
        self.lease(f"http://{SERVER}/{file}")
        return self.probe(file, "http") and self.get(file, protocol="http")

    def bios(self, file: str) -> bool:
        self.power_on()
        self.lease(file)
        return self.get(file)

    def pxelinux(self, folder: str = "") -> bool:
        """Look for the configuration by UUID, MAC, address, default."""
        prefixes = ["0A070064"[:length] for length in range(8, 0, -1)]
        names = [str(UUID_1), "01-" + self.mac.replace(":", "-"), *prefixes, "default"]
        return self.try_names(*(f"{folder}pxelinux.cfg/{name}" for name in names))

    def shim(self, loader: str = "grubx64.efi") -> bool:
        self.try_names("revocations_sku.efi", "revocations_sbat.efi", "shim_certificate_0.efi")
        return self.get(loader)

    def grub(self) -> bool:
        """Load modules that may not be there, then the configuration."""
        for name in ("command.lst", "fs.lst", "crypto.lst", "terminal.lst"):
            self.get(f"/grub/x86_64-efi/{name}")
        mac = self.mac.replace(":", "-")
        prefixes = ["0A070064"[:length] for length in range(8, 0, -1)]
        return self.try_names(
            f"/grub/grub.cfg-01-{mac}",
            *(f"/grub/grub.cfg-{one}" for one in prefixes),
            "/grub/grub.cfg",
        )

    def linux(self, kernel: str = "linux", initrd: str = "initrd.gz", **more: Any) -> bool:
        return self.get(kernel, **more) and self.get(initrd, **more)


Act = Callable[[Scene], None]
