"""Boots that administrators report: faults with what a right verdict says, and healthy ones.

``ISSUE`` are those that were found wrong; ``OWN`` were made up afterwards from public reports.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pybootd.core import events
from pybootd.core.client import Client
from pybootd.core.events import EndCause, FileProblem, RefusalCause, TransferOutcome

from . import content
from .machines import UUID_1, Machine, Scene

Act = Callable[[Scene], None]


@dataclass
class Case:
    """One boot; ``codes``: the right ones, ``words``: what must be said; none of both: healthy."""

    group: str
    title: str
    act: Act
    codes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    later: float = 400.0
    machine: str = "52:54:00:12:34:56"


CASES: list[Case] = []


def fault(group: str, title: str, codes: str, *words: str, **more: object) -> Callable[[Act], Act]:
    def keep(act: Act) -> Act:
        CASES.append(Case(group, title, act, tuple(codes.split()), words, **more))  # type: ignore[arg-type]
        return act

    return keep


def healthy(group: str, title: str, **more: object) -> Callable[[Act], Act]:
    return fault(group, title, "", **more)


def twice(machine: Machine, act: Callable[[], object]) -> None:
    """Do it, and again when the machine has restarted."""
    act()
    machine.scene.wait(30)
    act()
    machine.scene.wait(30)


# what the issue lists: faults


@fault("issue", "initrd cut off, and the machine restarts", "broken-file", "initrd.gz", "gzip")
def _(scene: Scene) -> None:
    scene.put("initrd.gz", content.gz()[:9000])
    scene.put("grub/grub.cfg", content.GRUB)
    scene.put("bootnetx64.efi", content.SHIM)
    scene.put("grubx64.efi", content.SIGNED_GRUB)
    pc = Machine(scene)

    def boot() -> None:
        _ = pc.uefi("bootnetx64.efi") and pc.shim()
        pc.run_grub()
        _ = pc.grub() and pc.linux("/linux", "/initrd.gz")

    twice(pc, boot)


@fault("issue", "arm64 Image under an x86 GRUB", "wrong-architecture", "linux", "ARM")
def _(scene: Scene) -> None:
    scene.put("linux", content.arm64_image())
    scene.put("grub/grub.cfg", content.GRUB)
    scene.put("grubx64.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("grubx64.efi")
    _ = pc.grub() and pc.get("/linux")


@fault("issue", "boot file is an HTML page, and it starts over", "wrong-content", "HTML")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", content.HTML)
    pc = Machine(scene)
    twice(pc, lambda: pc.uefi("bootx64.efi"))


@fault("issue", "boot file is an HTML page, firmware stops", "wrong-content", "HTML")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", content.HTML)
    Machine(scene).uefi("bootx64.efi")


@fault("issue", "empty boot file: only its size is asked for", "wrong-content", "empty")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", b"")
    pc = Machine(scene)
    pc.lease("bootx64.efi")
    pc.probe("bootx64.efi")


@fault("issue", "dangling link", "missing-file", "link", "pxelinux-6.04.0")
def _(scene: Scene) -> None:
    (scene.folder / "pxelinux.0").symlink_to("pxelinux-6.04.0")
    pc = Machine(scene, architecture=0)
    pc.bios("pxelinux.0")


@fault("issue", "iPXE script without #!ipxe", "wrong-content", "#!ipxe")
def _(scene: Scene) -> None:
    scene.put("boot.ipxe", content.SCRIPT[7:])
    scene.put("snponly.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("snponly.efi")
    pc.run_ipxe("boot.ipxe")
    pc.get("boot.ipxe")


@fault("issue", "preseed that the installer misses", "missing-file", "preseed.cfg", "installer")
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", content.PXELINUX)
    pc = Machine(scene, architecture=0)
    _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux() and pc.linux()
    pc.run_system()
    scene.wait(20)
    pc.get("preseed.cfg", protocol="http")


@fault("issue", "relay that drops replies", "answer-lost", "relay", "10.9.0.1")
def _(scene: Scene) -> None:
    from dataclasses import replace
    from ipaddress import IPv4Address

    pc = Machine(scene)
    pc.client = replace(pc.client, relay=IPv4Address("10.9.0.1"))
    pc.discover("loader.efi", times=5)


@fault("issue", "path that loses large packets at the boot file", "block-too-large", "large")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe(size=90000))
    pc = Machine(scene)
    pc.lease("loader.efi")
    pc.probe("loader.efi")
    for _ in range(3):
        pc.drop("loader.efi", again=5, blocksize=1468)


@fault("issue", "pool of no network", "no-pool", "pool")
def _(scene: Scene) -> None:
    Machine(scene).refuse(RefusalCause.NO_SUBNET)


@fault("issue", "an https URL that nobody serves", "not-fetched other-file-server", "https")
def _(scene: Scene) -> None:
    pc = Machine(scene, architecture=16, vendor="HTTPClient:Arch:00016:UNDI:003000")
    pc.lease("https://10.7.0.1/bootx64.efi", file_server="10.7.0.1")


@fault("issue", "check_ip refuses an installer with another address", "forbidden-file", "check_ip")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.forbid("preseed.cfg", FileProblem.UNKNOWN_CLIENT)


@fault("issue", "disk full under a pinned cache", "origin-down disk-full", "space")
def _(scene: Scene) -> None:
    pc = Machine(scene)
    pc.lease("loader.efi")
    pc.forbid("loader.efi", FileProblem.NO_SPACE, "tftp")


@fault("issue", "disk full under the lease file", "lease-not-written", "disk")
def _(scene: Scene) -> None:
    pc = Machine(scene)
    pc.discover("loader.efi")
    pc.refuse(RefusalCause.NOT_WRITTEN, 4)


@fault("issue", "GRUB that refuses an unsigned kernel", "secure-boot", "GRUB", "linux")
def _(scene: Scene) -> None:
    scene.put("bootnetx64.efi", content.SHIM)
    scene.put("grubx64.efi", content.SIGNED_GRUB)
    scene.put("grub/grub.cfg", content.GRUB)
    pc = Machine(scene)
    _ = pc.uefi("bootnetx64.efi") and pc.shim()
    pc.run_grub()
    _ = pc.grub() and pc.get("/linux")


@fault("issue", "Raspberry Pi without start4.elf", "missing-file", "start4.elf")
def _(scene: Scene) -> None:
    scene.put("config.txt", b"arm_64bit=1\n")
    pi = Machine(scene, mac="dc:a6:32:01:02:03", architecture=0, uuid=None)
    pi.lease("")
    for folder in ("9ffefdef/", ""):
        pi.try_names(*(folder + name for name in ("start4.elf", "start.elf")))
        if pi.get(folder + "config.txt"):
            pi.try_names("pieeprom.sig", "recover4.elf", "start4cd.elf", "start4.elf", "start.elf")
    CASES_MACHINE["pi"] = pi.mac


CASES_MACHINE: dict[str, str] = {}
CASES[-1].machine = "dc:a6:32:01:02:03"


@fault("issue", "syslinux.efi without ldlinux.e64", "missing-file", "ldlinux.e64")
def _(scene: Scene) -> None:
    scene.put("syslinux.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("syslinux.efi")
    pc.try_names("ldlinux.e64", "boot/isolinux/ldlinux.e64", "isolinux/ldlinux.e64",
                 "boot/syslinux/ldlinux.e64", "syslinux/ldlinux.e64", "/ldlinux.e64")  # fmt: skip


@fault("issue", "plain DHCP while allow_simple_dhcp is off", "not-served", "allow_simple_dhcp")
def _(scene: Scene) -> None:
    pc = Machine(scene)
    pc.client = Client(pc.firmware.mac, hostname="laptop", interface="eth0")
    pc.refuse(RefusalCause.NOT_BOOTING)


@fault("issue", "a TFTP mode that is refused", "forbidden-file bad-request", "mode")
def _(scene: Scene) -> None:
    pc = Machine(scene, architecture=0)
    pc.lease("loader.0")
    pc.forbid("loader.0", FileProblem.BAD_REQUEST, "tftp")


@fault("issue", "misspelt boot file, then HTTP Boot", "missing-file", "bootx46.efi")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("bootx46.efi")
    scene.wait(5)
    pc.http_boot("bootx46.efi")


# what the issue lists: healthy


@healthy("issue", "memtest86+, then a reset")
def _(scene: Scene) -> None:
    scene.put("memtest.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("memtest.efi")
    scene.wait(7200)
    pc.uefi("memtest.efi")


@healthy("issue", "a UKI is restarted")
def _(scene: Scene) -> None:
    scene.put("uki.efi", content.pe(size=4_000_000))
    pc = Machine(scene)
    for _ in range(3):
        pc.uefi("uki.efi")
        pc.run_system()
        scene.wait(600)


@healthy("issue", "a UKI with a fixed address is restarted")
def _(scene: Scene) -> None:
    scene.put("uki.efi", content.pe(size=4_000_000))
    pc = Machine(scene)
    for _ in range(3):
        pc.uefi("uki.efi")
        scene.wait(3600)


@healthy("issue", "embedded iPXE that exits to the disk each day")
def _(scene: Scene) -> None:
    scene.put("ipxe.efi", content.pe())
    pc = Machine(scene)
    for _ in range(3):
        pc.uefi("ipxe.efi")
        pc.run_ipxe("ipxe.efi")
        scene.wait(86400)


@healthy("issue", "GRUB exits, then the HTTP Boot entry, then the disk")
def _(scene: Scene) -> None:
    scene.put("grubx64.efi", content.pe())
    scene.put("grub/grub.cfg", b"exit\n")
    pc = Machine(scene)
    pc.uefi("grubx64.efi")
    pc.grub()
    scene.wait(6)
    pc.http_boot("grubx64.efi")


@healthy("issue", "a system with a fixed address")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    scene.wait(3600)


@healthy("issue", "a system with a fixed address that fetches its squashfs here")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    scene.put("live/filesystem.squashfs", b"hsqs" + bytes(5_000_000))
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    scene.wait(25)
    pc.get("live/filesystem.squashfs", protocol="http", seconds=30)


@healthy("issue", "the system asks by another card")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    scene.wait(20)
    other = Machine(scene, mac="52:54:00:12:34:57", address="10.7.0.101")
    other.client = Client(other.firmware.mac, hostname="box", interface="eth0")
    other.lease()
    scene.wait(300)


@healthy("issue", "Pi 3's bootsig.bin", machine="b8:27:eb:01:02:03")
def _(scene: Scene) -> None:
    for name in ("bootcode.bin", "start.elf", "fixup.dat", "config.txt", "kernel8.img"):
        scene.put(name, bytes(30000))
    pi = Machine(scene, mac="b8:27:eb:01:02:03", architecture=0, uuid=None)
    pi.discover("")
    pi.get("bootcode.bin")
    pi.get("bootsig.bin")
    scene.wait(1)
    for name in ("start.elf", "config.txt", "fixup.dat", "recovery.elf", "kernel8.img"):
        pi.get(f"1a2b3c4d/{name}") or pi.get(name)
    pi.run_system()


@healthy("issue", "U-Boot's boot.scr.uimg")
def _(scene: Scene) -> None:
    scene.put("extlinux/extlinux.conf", content.PXELINUX)
    scene.put("linux", content.arm64_image())
    board = Machine(scene, architecture=22, vendor="U-Boot.armv8", uuid=None)
    board.lease("boot.scr.uimg")
    board.get("boot.scr.uimg")
    board.lease("boot.scr.uimg")
    board.try_names("pxelinux.cfg/01-52-54-00-12-34-56", "pxelinux.cfg/default",
                    "extlinux/extlinux.conf")  # fmt: skip
    board.linux()
    board.run_system()


@healthy("issue", "a NIC tried once")
def _(scene: Scene) -> None:
    pc = Machine(scene)
    pc.discover("loader.efi")
    scene.wait(600)


@healthy("issue", "a host on which an administrator runs probe")
def _(scene: Scene) -> None:
    for architecture in (0, 7, 11, 16):
        host = Machine(scene, architecture=architecture)
        host.discover("loader.efi")


# made up from public reports: faults


@fault("own", "ldlinux.c32 is not there", "missing-file", "ldlinux.c32")
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", bytes(30000))
    pc = Machine(scene, architecture=0)
    pc.bios("pxelinux.0")
    pc.try_names("ldlinux.c32", "boot/isolinux/ldlinux.c32", "isolinux/ldlinux.c32",
                 "boot/syslinux/ldlinux.c32", "syslinux/ldlinux.c32", "/ldlinux.c32")  # fmt: skip


@fault("own", "ldlinux.c32 came and nothing after it: of another version", "loader-stopped",
       "ldlinux.c32", "version")  # fmt: skip
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    pc = Machine(scene, architecture=0)
    pc.bios("pxelinux.0")
    pc.get("ldlinux.c32")


@fault("own", "vesamenu.c32 without libutil.c32", "missing-file", "libutil.c32")
def _(scene: Scene) -> None:
    for name in ("pxelinux.0", "ldlinux.c32", "vesamenu.c32", "libcom32.c32"):
        scene.put(name, content.elf())
    scene.put("pxelinux.cfg/default", b"DEFAULT vesamenu.c32\nLABEL x\n KERNEL linux\n")
    pc = Machine(scene, architecture=0)
    _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux()
    _ = pc.get("vesamenu.c32") and pc.get("libcom32.c32") and pc.get("libutil.c32")


@fault("own", "pxelinux.cfg names a kernel that is not there", "missing-file", "vmlinux")
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", b"DEFAULT x\nLABEL x\n KERNEL vmlinux\n")
    pc = Machine(scene, architecture=0)
    _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux() and pc.get("vmlinux")


@fault("own", "pxelinux.cfg/default is empty", "wrong-content", "pxelinux.cfg/default", "empty")
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", b"")
    pc = Machine(scene, architecture=0)
    _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux()


@fault("own", "pxelinux.cfg/default holds GRUB's configuration", "wrong-content", "GRUB")
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", content.GRUB)
    pc = Machine(scene, architecture=0)
    _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux()


@fault("own", "a BIOS machine gets a UEFI program", "wrong-architecture", "UEFI", "bios")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", content.pe())
    pc = Machine(scene, architecture=0)
    twice(pc, lambda: pc.bios("bootx64.efi"))


@fault("own", "a UEFI machine gets undionly.kpxe", "wrong-architecture", "BIOS")
def _(scene: Scene) -> None:
    scene.put("undionly.kpxe", b"\xea\x05\x00" + bytes(70000))
    pc = Machine(scene)
    twice(pc, lambda: pc.uefi("undionly.kpxe"))


@fault("own", "UEFI gets an iPXE script in place of iPXE", "wrong-content", "iPXE script")
def _(scene: Scene) -> None:
    scene.put("menu.ipxe", content.SCRIPT)
    pc = Machine(scene)
    pc.uefi("menu.ipxe")


@fault("own", "UEFI gets a kernel without an EFI stub", "wrong-content wrong-architecture",
       "kernel", "EFI stub")  # fmt: skip
def _(scene: Scene) -> None:
    scene.put("vmlinuz", content.bzimage(efi=0))
    pc = Machine(scene)
    twice(pc, lambda: pc.uefi("vmlinuz"))


@fault("own", "an ARM64 server gets x86's GRUB", "wrong-architecture", "x86-64")
def _(scene: Scene) -> None:
    scene.put("grub.efi", content.pe())
    pc = Machine(scene, architecture=11)
    pc.uefi("grub.efi")


@fault("own", "HTTP Boot gets a login page", "wrong-content", "HTML")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", content.HTML.replace(b"404 Not Found", b"Sign in"))
    pc = Machine(scene)
    pc.http_boot("bootx64.efi")


@fault("own", "HTTP Boot and an empty file", "wrong-content", "empty")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", b"")
    pc = Machine(scene)
    pc.http_boot("bootx64.efi")


@fault("own", "boot file copied in part", "broken-file", "bootx64.efi", "ends")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", content.pe(size=90000, signed="Microsoft")[:2000])
    pc = Machine(scene)
    twice(pc, lambda: pc.uefi("bootx64.efi"))


@fault("own", "an unsigned program under Secure Boot", "secure-boot", "not signed")
def _(scene: Scene) -> None:
    scene.put("ipxe.efi", content.pe())
    pc = Machine(scene)
    twice(pc, lambda: pc.uefi("ipxe.efi"))


@fault("own", "initrd.xz cut off, kernel panic and reset", "broken-file", "initrd.xz", "xz")
def _(scene: Scene) -> None:
    scene.put("initrd.xz", content.xz()[:5000])
    scene.put("ipxe.efi", content.pe())
    scene.put("boot.ipxe", content.SCRIPT)
    pc = Machine(scene)

    def boot() -> None:
        pc.uefi("ipxe.efi")
        pc.run_ipxe("boot.ipxe")
        pc.get("boot.ipxe")
        pc.linux("linux", "initrd.xz", protocol="http")

    twice(pc, boot)


@fault("own", "initrd.zst cut off", "broken-file", "zstd")
def _(scene: Scene) -> None:
    scene.put("initrd.img", content.zst(whole=False))
    scene.put("ipxe.efi", content.pe())
    scene.put("boot.ipxe", content.SCRIPT)
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("boot.ipxe")
    pc.get("boot.ipxe")
    pc.linux("linux", "initrd.img", protocol="http")


@fault("own", "the kernel is a saved error page", "wrong-content", "linux", "HTML")
def _(scene: Scene) -> None:
    scene.put("linux", content.HTML)
    scene.put("pxelinux.0", bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", content.PXELINUX)
    pc = Machine(scene, architecture=0)
    _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux() and pc.get("linux")


@fault("own", "the initrd is a saved error page", "wrong-content", "initrd.gz", "HTML")
def _(scene: Scene) -> None:
    scene.put("initrd.gz", content.HTML)
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)

    def boot() -> None:
        pc.uefi("loader.efi")
        pc.linux()

    twice(pc, boot)


@fault("own", "shim without grubx64.efi", "missing-file", "grubx64.efi")
def _(scene: Scene) -> None:
    scene.put("shimx64.efi", content.SHIM)
    pc = Machine(scene)
    _ = pc.uefi("shimx64.efi") and pc.shim()


@fault(
    "own", "shim refuses an unsigned GRUB and looks for MokManager", "secure-boot", "grubx64.efi"
)
def _(scene: Scene) -> None:
    scene.put("shimx64.efi", content.SHIM)
    scene.put("grubx64.efi", content.pe())
    pc = Machine(scene)
    _ = pc.uefi("shimx64.efi") and pc.shim()
    pc.get("mmx64.efi")


@fault("own", "iPXE script that begins with a byte order mark", "wrong-content", "byte order mark")
def _(scene: Scene) -> None:
    scene.put("boot.ipxe", b"\xef\xbb\xbf" + content.SCRIPT)
    scene.put("ipxe.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("boot.ipxe")
    pc.get("boot.ipxe")


@fault("own", "iPXE script that names a missing kernel", "missing-file", "vmlinuz-6.1")
def _(scene: Scene) -> None:
    scene.put("boot.ipxe", b"#!ipxe\nkernel vmlinuz-6.1\nboot\n")
    scene.put("ipxe.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("boot.ipxe")
    _ = pc.get("boot.ipxe") and pc.get("vmlinuz-6.1")


@fault("own", "iPXE script with a kernel on a server that is down", "stopped-after loader-stopped",
       "10.9.9.9")  # fmt: skip
def _(scene: Scene) -> None:
    scene.put("boot.ipxe", b"#!ipxe\nkernel http://10.9.9.9/linux\nboot\n")
    scene.put("ipxe.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("boot.ipxe")
    pc.get("boot.ipxe")


@fault("own", "GRUB without grub.cfg", "no-configuration", "grub.cfg")
def _(scene: Scene) -> None:
    scene.put("grubx64.efi", content.pe())
    pc = Machine(scene)
    _ = pc.uefi("grubx64.efi") and pc.grub()


@fault("own", "grub.cfg is empty", "wrong-content", "grub.cfg", "empty")
def _(scene: Scene) -> None:
    scene.put("grubx64.efi", content.pe())
    scene.put("grub/grub.cfg", b"\n")
    pc = Machine(scene)
    _ = pc.uefi("grubx64.efi") and pc.grub()


@fault("own", "grub.cfg names a kernel that is not there", "missing-file", "vmlinuz")
def _(scene: Scene) -> None:
    scene.put("grubx64.efi", content.pe())
    scene.put("grub/grub.cfg", b"linux /vmlinuz\ninitrd /initrd.gz\nboot\n")
    pc = Machine(scene)
    _ = pc.uefi("grubx64.efi") and pc.grub() and pc.get("/vmlinuz")


@fault("own", "kernel came, initrd of the configuration was never asked for", "loader-stopped",
       "initrd.gz")  # fmt: skip
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", content.PXELINUX)
    pc = Machine(scene, architecture=0)
    _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux() and pc.get("linux")


@fault("own", "the initrd lacks the card's driver; it restarts again and again", "no-system")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)

    def boot() -> None:
        pc.uefi("loader.efi")
        pc.linux()
        scene.wait(90)

    twice(pc, boot)
    twice(pc, boot)


@fault("own", "Pi 5 without a kernel", "missing-file", "kernel", machine="2c:cf:67:01:02:03")
def _(scene: Scene) -> None:
    for name in ("config.txt", "bcm2712-rpi-5-b.dtb", "cmdline.txt"):
        scene.put(name, bytes(30000))
    pi = Machine(scene, mac="2c:cf:67:01:02:03", architecture=0, uuid=None)
    pi.lease("")
    for name in ("config.txt", "cmdline.txt", "bcm2712-rpi-5-b.dtb"):
        pi.get(f"1a2b3c4d/{name}") or pi.get(name)
    pi.try_names("1a2b3c4d/kernel_2712.img", "kernel_2712.img", "kernel8.img")


@fault("own", "U-Boot finds neither script nor configuration", "no-configuration missing-file",
       "pxelinux.cfg/default")  # fmt: skip
def _(scene: Scene) -> None:
    board = Machine(scene, architecture=22, vendor="U-Boot.armv8", uuid=None)
    board.lease("boot.scr.uimg")
    board.get("boot.scr.uimg")
    board.lease("boot.scr.uimg")
    board.try_names("pxelinux.cfg/01-52-54-00-12-34-56", "pxelinux.cfg/0A070064",
                    "pxelinux.cfg/default-arm-armv8", "pxelinux.cfg/default-arm",
                    "pxelinux.cfg/default")  # fmt: skip


@fault("own", "wimboot without BCD", "missing-file", "BCD")
def _(scene: Scene) -> None:
    for name in ("wimboot", "ipxe.efi", "bootmgr"):
        scene.put(name, content.pe())
    scene.put("boot.ipxe", b"#!ipxe\nkernel wimboot\ninitrd boot/BCD BCD\nboot\n")
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("boot.ipxe")
    _ = pc.get("boot.ipxe") and pc.get("wimboot", protocol="http")
    pc.get("boot/BCD", protocol="http")


@fault("own", "boot.wim does not fit into memory", "gave-up", "boot.wim", "memory")
def _(scene: Scene) -> None:
    for name in ("wimboot", "ipxe.efi", "BCD", "boot.sdi"):
        scene.put(name, content.pe())
    scene.put("boot.wim", b"MSWIM\0\0\0" + bytes(9_000_000))
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("wimboot")
    for name in ("wimboot", "BCD", "boot.sdi"):
        pc.get(name, protocol="http")
    pc.get("boot.wim", protocol="http", sent=4_000_000, outcome=TransferOutcome.ABORTED,
           cause=EndCause.CONNECTION_LOST)  # fmt: skip


@fault("own", "ESXi misses a module", "missing-file", "s.v00")
def _(scene: Scene) -> None:
    scene.put("mboot.efi", content.pe())
    scene.put("boot.cfg", b"kernel=b.b00\nmodules=s.v00 --- useropts.gz\n")
    scene.put("b.b00", content.gz())
    pc = Machine(scene)
    _ = pc.uefi("mboot.efi") and pc.get("01-52-54-00-12-34-56/boot.cfg")
    _ = pc.get("boot.cfg") and pc.get("b.b00") and pc.get("s.v00")


@fault("own", "kickstart that the daemon may not read", "forbidden-file", "ks.cfg", "read")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()
    pc.forbid("ks.cfg", FileProblem.NO_PERMISSION)


@fault("own", "autoinstall that the installer misses", "missing-file", "user-data", "installer")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    scene.put("meta-data", b"\n")
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system("ubuntu-server")
    _ = pc.get("meta-data", protocol="http") and pc.get("user-data", protocol="http")


@fault("own", "boot file in another folder", "missing-file", "bios/pxelinux.0")
def _(scene: Scene) -> None:
    scene.put("bios/pxelinux.0", bytes(30000))
    pc = Machine(scene, architecture=0)
    twice(pc, lambda: pc.bios("pxelinux.0"))


@fault("own", "our packets are refused by this host's firewall", "send-refused", "firewall")
def _(scene: Scene) -> None:
    pc = Machine(scene)
    for _ in range(4):
        pc.refuse(RefusalCause.SEND_REFUSED, times=1)
        pc.discover("loader.efi")


@fault("own", "a relay's network has no [subnet]", "no-pool", "[subnet")
def _(scene: Scene) -> None:
    from dataclasses import replace
    from ipaddress import IPv4Address

    pc = Machine(scene)
    pc.client = replace(pc.client, relay=IPv4Address("10.20.0.1"))
    pc.refuse(RefusalCause.NO_SUBNET)


@fault("own", "the boot file is lost on a bad cable", "lossy", "cable")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe(size=900_000))
    pc = Machine(scene)
    pc.lease("loader.efi")
    pc.probe("loader.efi")
    pc.drop("loader.efi", sent=300_000, again=120)


@fault("own", "two DHCP servers", "another-server", "10.7.0.9")
def _(scene: Scene) -> None:
    from ipaddress import IPv4Address

    pc = Machine(scene)
    pc.discover("loader.efi")
    scene.tell(events.ChoseAnother(pc.client, IPv4Address("10.7.0.9")))


@fault("own", "TFTP is stopped by a firewall", "not-fetched", "69")
def _(scene: Scene) -> None:
    pc = Machine(scene)
    pc.lease("loader.efi")
    scene.wait(40)
    pc.lease("loader.efi")


@fault("own", "the live system's squashfs is not there", "missing-file", "filesystem.squashfs")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()
    pc.get("live/filesystem.squashfs", protocol="http")


# made up from public reports: healthy


@healthy("own", "pxelinux boots the disk each day")
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", b"DEFAULT disk\nLABEL disk\n LOCALBOOT 0\n")
    pc = Machine(scene, architecture=0)
    for _ in range(3):
        _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux()
        scene.wait(86400)


@healthy("own", "GRUB's menu waits for somebody", later=3600.0)
def _(scene: Scene) -> None:
    scene.put("grubx64.efi", content.pe())
    scene.put("grub/grub.cfg", b"set timeout=-1\nmenuentry 'x' {\n linux /linux\n}\n")
    pc = Machine(scene)
    _ = pc.uefi("grubx64.efi") and pc.grub()


@healthy("own", "WinPE by wimboot")
def _(scene: Scene) -> None:
    for name in ("wimboot", "ipxe.efi", "BCD", "boot.sdi", "boot.wim"):
        scene.put(name, content.pe())
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("wimboot")
    for name in ("wimboot", "BCD", "boot.sdi", "boot.wim"):
        pc.get(name, protocol="http")
    pc.run_system("minint-abc", "MSFT 5.0")


@healthy("own", "ESXi with a static address")
def _(scene: Scene) -> None:
    scene.put("mboot.efi", content.pe())
    scene.put("boot.cfg", b"kernel=b.b00\nmodules=s.v00\n")
    for name in ("b.b00", "s.v00"):
        scene.put(name, content.gz())
    pc = Machine(scene)
    _ = pc.uefi("mboot.efi") and pc.get("01-52-54-00-12-34-56/boot.cfg")
    _ = pc.get("boot.cfg") and pc.get("b.b00") and pc.get("s.v00")
    scene.wait(3600)


@healthy("own", "iPXE looks for autoexec.ipxe")
def _(scene: Scene) -> None:
    scene.put("ipxe.efi", content.pe())
    scene.put("boot.ipxe", content.SCRIPT)
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.get("autoexec.ipxe")
    pc.run_ipxe("boot.ipxe")
    _ = pc.get("boot.ipxe") and pc.linux(protocol="http")
    pc.run_system()


@healthy("own", "a system that is up fetches packages for an hour")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    for number in range(30):
        scene.put(f"pool/p{number}.deb", bytes(90000))
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()
    for number in range(30):
        pc.get(f"pool/p{number}.deb", protocol="http")
        scene.wait(120)
    pc.get("dists/stable/InRelease.gz", protocol="http")


@healthy("own", "Debian's installer, then a restart from the disk")
def _(scene: Scene) -> None:
    scene.put("bootnetx64.efi", content.SHIM)
    scene.put("grubx64.efi", content.SIGNED_GRUB)
    scene.put("grub/grub.cfg", content.GRUB)
    scene.put("preseed.cfg", b"d-i x\n")
    pc = Machine(scene)
    _ = pc.uefi("bootnetx64.efi") and pc.shim()
    pc.run_grub()
    _ = pc.grub() and pc.linux("/linux", "/initrd.gz")
    pc.run_system()
    pc.get("preseed.cfg", protocol="http")
    pc.get("late_command.sh", protocol="http")
    scene.wait(900)
    pc.run_system("debian")


@healthy("own", "HTTP Boot to a system")
def _(scene: Scene) -> None:
    scene.put("uki.efi", content.pe(size=4_000_000))
    pc = Machine(scene)
    pc.http_boot("uki.efi")
    pc.run_system()


@healthy("own", "a kernel that needs no initrd")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.get("linux")
    pc.run_system()


@healthy("own", "somebody switches it off and on in the menu")
def _(scene: Scene) -> None:
    scene.put("grubx64.efi", content.pe())
    scene.put("grub/grub.cfg", content.GRUB)
    pc = Machine(scene)
    _ = pc.uefi("grubx64.efi") and pc.grub()
    scene.wait(60)
    _ = pc.uefi("grubx64.efi") and pc.grub() and pc.linux("/linux", "/initrd.gz")
    pc.run_system()


@healthy("own", "Pi 4 with files in the root", machine="dc:a6:32:01:02:03")
def _(scene: Scene) -> None:
    for name in ("start4.elf", "fixup4.dat", "config.txt", "kernel8.img", "cmdline.txt",
                 "bcm2711-rpi-4-b.dtb"):  # fmt: skip
        scene.put(name, bytes(30000))
    pi = Machine(scene, mac="dc:a6:32:01:02:03", architecture=0, uuid=None)
    pi.lease("")
    pi.get("9ffefdef/start4.elf")
    for name in ("config.txt", "pieeprom.sig", "recover4.elf", "start4.elf", "fixup4.dat",
                 "dt-blob.bin", "bcm2711-rpi-4-b.dtb", "cmdline.txt", "armstub8-gic.bin",
                 "kernel8.img"):  # fmt: skip
        pi.get(name)
    pi.run_system("raspberrypi")


@healthy("own", "firmware takes the last ACK for granted, and chain-loads")
def _(scene: Scene) -> None:
    scene.put("ipxe.efi", content.pe())
    scene.put("boot.ipxe", content.SCRIPT)
    pc = Machine(scene)
    pc.lease("ipxe.efi")
    pc.get("ipxe.efi", sent=7900, outcome=TransferOutcome.TIMEOUT, cause=EndCause.LAST_ACK_MISSING)
    pc.run_ipxe("boot.ipxe")
    _ = pc.get("boot.ipxe") and pc.linux(protocol="http")
    pc.run_system()


@healthy("own", "doctor asks for files and for an address")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    host = Machine(scene)
    host.discover("loader.efi")
    host.get("loader.efi", sent=0, outcome=TransferOutcome.ABORTED, cause=EndCause.CLIENT_ERROR)


@healthy("own", "netboot.xyz: its own script, then files from the Internet")
def _(scene: Scene) -> None:
    scene.put("netboot.xyz.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("netboot.xyz.efi")
    pc.run_ipxe("netboot.xyz.efi")
    scene.wait(120)
    pc.run_system("debian")


@healthy("own", "a menu by iPXE ends in the disk", later=3600.0)
def _(scene: Scene) -> None:
    scene.put("ipxe.efi", content.pe())
    scene.put("menu.ipxe", b"#!ipxe\nmenu x\nitem disk\nchoose it\nexit\n")
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("menu.ipxe")
    pc.get("menu.ipxe")


@healthy("own", "shim's MokManager enrols a key")
def _(scene: Scene) -> None:
    for name in ("shimx64.efi", "grubx64.efi", "mmx64.efi"):
        scene.put(name, content.SHIM)
    scene.put("grub/grub.cfg", content.GRUB)
    pc = Machine(scene)
    _ = pc.uefi("shimx64.efi") and pc.shim() and pc.get("mmx64.efi")
    scene.wait(60)
    _ = pc.uefi("shimx64.efi") and pc.shim() and pc.grub() and pc.linux("/linux", "/initrd.gz")
    pc.run_system()


@healthy("own", "a diskless system with NFS root asks once more after an hour")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system("node1")
    scene.wait(3600)
    pc.run_system("node1")


@healthy("own", "UEFI tries IPv6 and a USB stick first: it asks twice")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.discover("loader.efi", times=2)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()


@healthy("own", "a uniform kernel that is restarted by kexec")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()
    scene.wait(100)
    pc.get("linux", protocol="http")
    pc.get("initrd.gz", protocol="http")
    pc.run_system()


@healthy("own", "cloud-init asks for optional files")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    scene.put("user-data", b"#cloud-config\n")
    scene.put("meta-data", b"\n")
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system("ubuntu")
    for name in ("meta-data", "vendor-data", "network-config", "user-data"):
        pc.get(name, protocol="http")


assert UUID_1
