"""``pybootd demo``: a machine boots from the real daemon in a private network, for all to see.

Either a client in software that checks every byte, or a real virtual machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from uuid import UUID

from pybootd import __version__
from pybootd.commands.api_client import ApiClient, ApiError
from pybootd.core.events import TransferOutcome
from pybootd.lab import debian_installer, machine
from pybootd.lab.daemon_process import DaemonError, DaemonProcess
from pybootd.lab.firmware import BootError, ClientLease, FileNotServed, Firmware
from pybootd.lab.network import Network, NetworkError, Switch, missing, user_namespace
from pybootd.lab.screen import MIN_TIMED_OCTETS, Screen, Stage, format_octets
from pybootd.observe.boots.steps import StepKind

_SERVER, _POOL = "10.7.0.1", "10.7.0.100"
_MAC, _UUID = "52:54:00:12:34:56", UUID("00112233-4455-6677-8899-aabbccddeeff")
_INI = """\
[logger]
format = json
[bootp]
pool_start = {pool}
leases = memory
[bootfile]
bios = {bios}
efi-x86_64 = {efi}
[tftp]
root = ./boot
"""
_LOADER, _KERNEL, _INITRD = "loader.efi", "linux", "initrd.gz"
_CONFIG = "loader.cfg"
_SIZES = {_LOADER: 1_048_504, _KERNEL: 8_222_656, _INITRD: 40_810_276}  # as Debian's are
_STATUS_PORT = 8067
_MAX_BOOT_TIME_S = 600.0


class Stopped(Exception):
    """SIGINT or SIGTERM came."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="pybootd demo",
        description="Boot a machine from the real daemon in a private network, and show it happen."
        " The network is made of namespaces that end with the demo; nothing outside is touched."
        " Works as root, and without where the system allows user namespaces.",
        epilog="Exit status: 0 when the machine has booted and every byte was right, else 1.",
    )
    # the same text on every system: the reference is made of it
    packages = ", ".join((*machine.PACKAGES, "debian-installer-NUMBER-netboot-amd64"))
    made.add_argument(
        "--firmware",
        choices=("virtual", "bios", "uefi"),
        default=os.environ.get("FIRMWARE") or "virtual",
        help="virtual: a client in software that checks every byte (default);"
        " bios, uefi: a real virtual machine boots the Debian installer"
        f" (needs root and the Debian packages {packages})",
    )
    return made


def main(argv: list[str]) -> int:
    """Run the demo; the exit status."""
    given = parser().parse_args(argv)
    screen = Screen()
    handlers = {
        number: signal.signal(number, _raise_stopped) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        if given.firmware == "virtual" and os.geteuid() != 0:
            user_namespace([sys.executable, "-m", "pybootd", "demo", *argv])
        if reason := _find_lacking(given.firmware):
            raise NetworkError(reason)
        with tempfile.TemporaryDirectory(prefix="pybootd-demo-") as folder:
            if given.firmware == "virtual":
                _boot_virtual(screen, Path(folder))
            else:
                _boot_real(screen, Path(folder), given.firmware)
    except (ApiError, BootError, DaemonError, NetworkError, machine.MachineError) as error:
        screen.print_fault(str(error))
        return 1
    except Stopped:
        screen.print_fault("stopped before the machine had booted")
        return 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return 0


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _find_lacking(firmware: str) -> str:
    return missing() if firmware == "virtual" else machine.missing() or debian_installer.missing()


@dataclass
class _Scene:
    """The private network with the daemon in it; the time counts from the machine's power on."""

    screen: Screen
    folder: Path
    stack: ExitStack
    network: Network
    switch: Switch
    daemon: DaemonProcess
    power_on: float = 0.0
    faultless: bool = True
    stages: list[Stage] = field(default_factory=list)

    def elapsed(self) -> float:
        """Return the seconds since power on."""
        return time.monotonic() - self.power_on

    def print_daemon_log(self) -> None:
        self.faultless = self.screen.print_daemon_log(self.daemon.console) and self.faultless

    def stop_daemon(self) -> None:
        """End the daemon as an administrator would; raises DaemonError when it isn't clean."""
        status = self.daemon.stop()
        self.print_daemon_log()
        if status != 0:
            raise DaemonError(f"the daemon ended with {status}")
        if not self.faultless:
            raise DaemonError("the daemon met a fault of pybootd's: see its traceback above")


def _set_up(screen: Screen, folder: Path, stack: ExitStack, bios: str, efi: str) -> _Scene:
    """Start the daemon on a host of a private network; ``folder`` holds the boot tree already."""
    ini = folder / "pybootd.ini"
    ini.write_text(_INI.format(pool=_POOL, bios=bios, efi=efi), encoding="ascii")
    screen.print_heading("pybootd.ini")
    for line in ini.read_text(encoding="ascii").splitlines():
        screen.print_line(line, style="dim")
    network = stack.enter_context(Network())
    switch = network.switch()
    host = network.host("server")
    host.plug(switch, f"{_SERVER}/24")
    daemon = stack.enter_context(DaemonProcess(host, ini, folder / "daemon.log"))
    stack.callback(screen.print_daemon_log, daemon.console)  # also when something fails
    screen.print_heading("a private network")
    screen.print_line(f"server   {_SERVER}, pybootd {__version__}, process {daemon.pid}")
    return _Scene(screen, folder, stack, network, switch, daemon)


# the virtual machine in software


def _boot_virtual(screen: Screen, folder: Path) -> None:
    screen.print_heading("a machine without a disk boots from the network")
    tree = folder / "boot"
    _fill_tree(tree)
    with ExitStack() as stack:
        scene = _set_up(screen, folder, stack, _LOADER, _LOADER)
        host = scene.network.host("machine")
        firmware = Firmware(host, host.plug(scene.switch, mac=_MAC), _MAC, _UUID)
        screen.print_line(f"machine  {_MAC}, no disk; its UEFI firmware is played by this program")
        screen.print_heading("power on")
        scene.power_on = time.monotonic()
        lease = _obtain_lease(scene, firmware)
        _boot_files(scene, firmware, lease)
        scene.stop_daemon()
        screen.print_timeline(scene.stages)
        fetched = [stage for stage in scene.stages if stage.size]
        total = format_octets(sum(stage.size for stage in fetched))
        took = scene.stages[-1].ended
        screen.print_line(
            f"booted in {took:.2f} s: {len(fetched)} files, {total}, every byte right", "green"
        )


def _fill_tree(tree: Path) -> None:
    """Fill the boot tree with files of real sizes, alike in every run."""
    tree.mkdir()
    for number, (name, octets) in enumerate(_SIZES.items()):
        (tree / name).write_bytes(random.Random(number).randbytes(octets))  # noqa: S311
    config = f"linux {_KERNEL} console=ttyS0\ninitrd {_INITRD}\n"
    (tree / _CONFIG).write_text(config, encoding="ascii")


def _obtain_lease(scene: _Scene, firmware: Firmware) -> ClientLease:
    began = scene.elapsed()
    scene.screen.print_moment(began, "DISCOVER   who gives me an address and a boot file?")
    lease = firmware.obtain_lease()
    scene.screen.print_moment(began + lease.offered_after, f"OFFER      {lease.address}")
    confirmed = began + lease.confirmed_after
    scene.screen.print_moment(
        confirmed, f"ACK        {lease.address}, {lease.boot_file} on {lease.tftp_server}"
    )
    scene.print_daemon_log()
    scene.stages.append(Stage(f"address {lease.address}", began, confirmed))
    return lease


def _boot_files(scene: _Scene, firmware: Firmware, lease: ClientLease) -> None:
    """Do what firmware and boot loader do: each file is known from the one before."""
    loader_size = firmware.ask_size(lease.tftp_server, lease.boot_file, 1468)
    scene.screen.print_moment(scene.elapsed(), f"{lease.boot_file} has {loader_size} bytes")
    loader = _fetch_and_compare(scene, firmware, lease, lease.boot_file, blksize=1468, windowsize=4)
    if loader_size not in (None, len(loader)):
        raise BootError(f"{lease.boot_file}: {loader_size} bytes announced, {len(loader)} sent")
    own = f"{_CONFIG}-01-{_MAC.replace(':', '-')}"
    began = scene.elapsed()
    try:
        firmware.fetch_file(lease.tftp_server, own, blksize=1408, tsize=0)
    except FileNotServed:
        scene.screen.print_moment(scene.elapsed(), f"{own} is not there: the common one then")
        scene.stages.append(Stage(f"{_CONFIG}-01-...", began, scene.elapsed(), 0, "not there"))
    config = _fetch_and_compare(scene, firmware, lease, _CONFIG, blksize=1408, tsize=0)
    for line in config.decode("ascii").splitlines():
        name = line.split()[1]
        _fetch_and_compare(scene, firmware, lease, name, tsize=0, blksize=1408, windowsize=16)


def _fetch_and_compare(
    scene: _Scene, firmware: Firmware, lease: ClientLease, name: str, **wanted: int
) -> bytes:
    """Fetch a file and compare it with the one on the server's disk. Raises BootError."""
    began = scene.elapsed()
    with scene.screen.show_bar(name) as progress:
        content = firmware.fetch_file(lease.tftp_server, name, progress, **wanted)
    ended = scene.elapsed()
    scene.screen.print_fetched(ended, name, len(content))
    scene.print_daemon_log()
    served = (scene.folder / "boot" / name).read_bytes()
    if hashlib.sha256(content).digest() != hashlib.sha256(served).digest():
        raise BootError(f"{name}: not what the server has on its disk ({len(content)} bytes came)")
    scene.stages.append(Stage(name, began, ended, len(content), "every byte right"))
    return content


# a real virtual machine


def _boot_real(screen: Screen, folder: Path, firmware: machine.Firmware) -> None:
    screen.print_heading("a machine without a disk boots into Debian's installer")
    debian_installer.build(folder / "boot")
    files = debian_installer.BOOT_FILES
    with ExitStack() as stack:
        scene = _set_up(screen, folder, stack, files["bios"], files["efi-x86_64"])
        stack.enter_context(machine.advertise_router(scene.switch))
        pc = stack.enter_context(machine.Machine(firmware, scene.switch, folder / "pc", _MAC))
        scene.power_on = pc.started
        what = "BIOS (SeaBIOS, iPXE)" if firmware == "bios" else "UEFI (OVMF)"
        screen.print_line(f"machine  {_MAC}, no disk; QEMU with {what}")
        screen.print_heading("power on")
        _show_boot(scene, pc)
        scene.stages += _read_served_stages(scene)
        scene.stages.sort(key=lambda stage: stage.began)
        scene.stop_daemon()
        screen.print_timeline(scene.stages)
        screen.print_line(f"booted into the installer in {scene.stages[-1].ended:.1f} s", "green")


def _show_boot(scene: _Scene, pc: machine.Machine) -> None:
    """Show the machine's console and the daemon's log up to the installer's first line."""
    marks = {"Linux version": "Linux starts", debian_installer.FIRST_LINE: "the installer starts"}
    while marks:
        running = pc.is_running()
        for line in pc.read_lines():
            scene.screen.print_moment(line.seconds, line.text)
            for mark in [mark for mark in marks if mark in line.text]:
                scene.stages.append(Stage(marks.pop(mark), line.seconds, line.seconds))
        scene.print_daemon_log()
        if marks and (not running or scene.elapsed() > _MAX_BOOT_TIME_S):
            raise BootError(
                f"the machine has not shown {next(iter(marks))!r}\n{pc.describe_end(5)}"
            )
        time.sleep(0.05)


def _read_served_stages(scene: _Scene) -> list[Stage]:
    """Ask the daemon when the machine got its address and its large files. Raises ApiError."""
    with scene.daemon.host.inside():
        client = ApiClient("127.0.0.1", _STATUS_PORT).fetch_client(_MAC)
    power_on = time.time() - scene.elapsed()
    stages = []
    for boot in client["boots"]:
        for step in boot["steps"]:
            began, ended = (boot["began"] + step[name] - power_on for name in ("at", "until"))
            if step["type"] == "step":
                if step["code"] == StepKind.CONFIRMED.value:
                    stages.append(Stage(f"address {boot['address']}", began, began))
            elif step["outcome"] == TransferOutcome.DONE.value and step["sent"] >= MIN_TIMED_OCTETS:
                name = step["name"].rpartition("/")[2]
                stages.append(Stage(name, began, ended, step["sent"]))
    return stages
