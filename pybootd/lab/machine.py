"""A virtual PC with real firmware (QEMU), plugged into a switch of a private network.

BIOS: SeaBIOS with iPXE's ROM. UEFI: OVMF with its own network stack, with ``uefi-http`` by HTTP
Boot alone, with ``uefi-secure`` only what Microsoft has signed. Emulated without KVM, so it runs
wherever QEMU does; needs /dev/net/tun, which an unprivileged user may not open.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pybootd.lab import network
from pybootd.lab.console import Console, Line
from pybootd.lab.network import Switch, end_process

Firmware = Literal["bios", "uefi", "uefi-http", "uefi-secure"]

PACKAGES = ("qemu-system-x86", "ipxe-qemu", "ovmf")
_OVMF = Path("/usr/share/OVMF")
# Debian 12 and earlier, Debian 13
_ROMS = (Path("/usr/lib/ipxe/qemu/pxe-e1000.rom"), Path("/usr/share/qemu/pxe-e1000.rom"))
_QEMU = "qemu-system-x86_64"
# nobody but the firmware changes its variables
_GUARDED = ("-global", "driver=cfi.pflash01,property=secure,value=on")


class MachineError(Exception):
    """A machine can't be had, or it did not do what was expected; the text is for people."""


def missing() -> str:
    """Say why no virtual PC can run here; "" when one can."""
    if reason := network.missing(_QEMU):
        return reason
    files = (_OVMF / "OVMF_CODE_4M.fd", _OVMF / "OVMF_VARS_4M.fd", find_rom())
    if lacking := [path.name for path in files if not path.is_file()]:
        return f"not installed: {', '.join(lacking)} (packages {', '.join(PACKAGES)})"
    try:
        with Path("/dev/net/tun").open("rb"):
            return ""
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"


def find_rom() -> Path:
    """Return iPXE's ROM for the virtual network card; where none is installed, where it belongs."""
    return next((path for path in _ROMS if path.is_file()), _ROMS[-1])


class Machine:
    """One PC without a disk that boots from the network; its serial console goes to a file.

    ``folder`` holds what it writes: the console, UEFI's variables, QEMU's own complaints.
    """

    def __init__(
        self,
        firmware: Firmware,
        switch: Switch,
        folder: Path,
        mac: str = "52:54:00:12:34:56",
        uuid: str = "00112233-4455-6677-8899-aabbccddeeff",
    ) -> None:
        self.firmware = firmware
        self.switch = switch
        self.folder = folder
        self.mac = mac
        self.uuid = uuid
        self.started = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._console = Console(folder / "console.log")

    def start(self) -> None:
        """Switch the power on. Raises MachineError."""
        if reason := missing():
            raise MachineError(reason)
        self.folder.mkdir(parents=True, exist_ok=True)
        own = self._bios() if self.firmware == "bios" else self._uefi()
        command = [_QEMU, "-accel", "tcg", *own, *self._common()]
        with (self.folder / "qemu.log").open("w") as log:
            self._process = self.switch.popen(*command, stdout=log, stderr=log)
        self.started = self._console.started = time.monotonic()

    def _common(self) -> list[str]:
        cable = f"tap,id=n0,ifname={self.switch.tap()},script=no,downscript=no"
        serial = f"file:{self.folder / 'console.log'}"
        quiet = ["-nodefaults", "-display", "none", "-no-reboot", "-m", "768", "-uuid", self.uuid]
        return [*quiet, "-netdev", cable, "-serial", serial]

    def _bios(self) -> list[str]:
        card = f"e1000,netdev=n0,bootindex=1,mac={self.mac}"
        # without graphics SeaBIOS, iPXE and pxelinux speak to the serial line
        return ["-machine", "pc,graphics=off", "-device", card]

    def _uefi(self) -> list[str]:
        secure = self.firmware == "uefi-secure"
        build = "4M.ms.fd" if secure else "4M.fd"  # .ms: with Microsoft's keys
        variables = self.folder / "vars.fd"
        shutil.copyfile(_OVMF / f"OVMF_VARS_{build}", variables)
        code = f"if=pflash,format=raw,unit=0,readonly=on,file={_OVMF / f'OVMF_CODE_{build}'}"
        store = f"if=pflash,format=raw,unit=1,file={variables}"
        # romfile= : else iPXE's driver replaces OVMF's own network stack
        card = f"virtio-net-pci,netdev=n0,bootindex=1,romfile=,mac={self.mac}"
        off = ["IPv6PXESupport"] + ["IPv4PXESupport"] * (self.firmware == "uefi-http")
        without = [("-fw_cfg", f"name=opt/org.tianocore/{support},string=n") for support in off]
        return [
            *("-machine", "q35,smm=on" if secure else "q35", "-drive", code, "-drive", store),
            *(_GUARDED if secure else ()),
            *("-device", card, "-device", "virtio-rng-pci", *itertools.chain(*without)),
        ]

    def read_lines(self) -> Iterator[Line]:
        """Yield the console's lines that came since the last call, escapes taken out."""
        return self._console.read_lines()

    def wait_for_line(self, text: str, timeout: float) -> float:
        """Wait until the console shows a line with the text; the seconds since power on.

        ``timeout`` in seconds, from now. Raises MachineError with the console's last lines.
        """
        deadline = time.monotonic() + timeout
        while True:
            running = self.is_running()
            for line in self.read_lines():
                if text in line.text:
                    return line.seconds
            if not running or time.monotonic() > deadline:
                why = "not" if running else "the machine ended and never"
                raise MachineError(
                    f"{why} shown within {timeout:g} s: {text!r}\n{self.describe_end()}"
                )
            time.sleep(0.05)

    def is_running(self) -> bool:
        """Tell whether the power is still on."""
        return self._process is not None and self._process.poll() is None

    def describe_end(self, count: int = 20) -> str:
        """Return what QEMU complained of and the console's last lines, for a report."""
        complaints = (self.folder / "qemu.log").read_text(errors="replace")
        return complaints + "\n".join(self._console.seen[-count:])

    def close(self) -> None:
        """Switch the power off."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process, 5)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def advertise_router(switch: Switch, every: float = 1.0) -> Iterator[None]:
    """Advertise an IPv6 router without a prefix on the switch; iPXE else waits 13 s for one.

    ``every`` is the time between advertisements in seconds.
    """
    with switch.inside():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    ended = threading.Event()

    def advertise() -> None:
        while not ended.wait(every):
            with contextlib.suppress(OSError):
                sock.sendto(build_advertisement(), (switch.BRIDGE, 0))

    thread = threading.Thread(target=advertise, name="router")
    with sock:
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def build_advertisement() -> bytes:
    """Build a router advertisement to all nodes (RFC 4861 4.2): no prefix, not a default router."""
    source = socket.inet_pton(socket.AF_INET6, "fe80::5054:ff:fe00:1")
    target = socket.inet_pton(socket.AF_INET6, "ff02::1")
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0)
    # RFC 8200 8.1: the checksum covers a pseudo-header too
    summed = source + target + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6) + body
    total = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255)
    ethernet = bytes.fromhex("333300000001 525400000001 86dd")
    return ethernet + header + source + target + body
