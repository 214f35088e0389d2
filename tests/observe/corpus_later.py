"""A second set of boots, made up after the rules were written, to see what they know beyond it."""

from dataclasses import replace
from ipaddress import IPv4Address

from pybootd.core.client import Client
from pybootd.core.events import EndCause, FileProblem, TransferOutcome

from . import content
from .corpus import fault, healthy, twice
from .machines import Machine, Scene


@fault(
    "later", "lpxelinux.0 gets its kernel by HTTP, which is a login page", "wrong-content", "HTML"
)
def _(scene: Scene) -> None:
    scene.put("lpxelinux.0", b"\xea" + bytes(90000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", content.PXELINUX)
    scene.put("linux", content.HTML)
    pc = Machine(scene, architecture=0)
    _ = pc.bios("lpxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux()
    pc.get("linux", protocol="http")


@fault("later", "the kernel was copied in part", "broken-file", "linux")
def _(scene: Scene) -> None:
    scene.put("linux", content.bzimage(400_000)[:150_000])
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)

    def boot() -> None:
        pc.uefi("loader.efi")
        pc.get("linux")

    twice(pc, boot)


@fault("later", "U-Boot board gets an x86 kernel", "wrong-architecture", "x86")
def _(scene: Scene) -> None:
    scene.put("extlinux/extlinux.conf", content.PXELINUX)
    board = Machine(scene, architecture=22, vendor="U-Boot.armv8", uuid=None)
    board.lease("boot.scr.uimg")
    board.get("boot.scr.uimg")
    board.lease("boot.scr.uimg")
    board.try_names("pxelinux.cfg/default", "extlinux/extlinux.conf")
    board.linux()


@fault("later", "ARM server gets an x86 kernel by GRUB", "wrong-architecture", "x86")
def _(scene: Scene) -> None:
    scene.put("grubaa64.efi", content.pe(0xAA64))
    scene.put("grub/grub.cfg", content.GRUB)
    pc = Machine(scene, architecture=11)
    _ = pc.uefi("grubaa64.efi") and pc.grub() and pc.get("/linux")


@fault("later", "32-bit UEFI tablet gets the x64 loader", "wrong-architecture", "efi-ia32")
def _(scene: Scene) -> None:
    scene.put("bootx64.efi", content.pe())
    pc = Machine(scene, architecture=6)
    pc.uefi("bootx64.efi")


@fault("later", "the squashfs that the live system fetches is cut off", "broken-file", "squashfs")
def _(scene: Scene) -> None:
    image = bytearray(b"hsqs" + bytes(300_000))
    image[40:48] = (900_000).to_bytes(8, "little")
    scene.put("live/filesystem.squashfs", bytes(image))
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)

    def boot() -> None:
        pc.uefi("loader.efi")
        pc.linux()
        scene.wait(20)
        pc.get("live/filesystem.squashfs", protocol="http")

    twice(pc, boot)


@fault("later", "the initrd is empty after a full disk", "wrong-content", "initrd.gz", "empty")
def _(scene: Scene) -> None:
    scene.put("initrd.gz", b"")
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()


@fault("later", "the boot menu of iPXE is a web application's error text", "wrong-content",
       "boot.php")  # fmt: skip
def _(scene: Scene) -> None:
    scene.put("boot.php", b"Fatal error: Uncaught Error: Call to undefined function\n")
    scene.put("ipxe.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("boot.php")
    pc.get("boot.php")


@fault("later", "grub.cfg is a web page", "wrong-content", "grub.cfg", "HTML")
def _(scene: Scene) -> None:
    scene.put("grub/grub.cfg", content.HTML)
    scene.put("grubx64.efi", content.pe())
    pc = Machine(scene)
    _ = pc.uefi("grubx64.efi") and pc.grub()


@fault("later", "Windows: boot.wim is missing under wimboot", "missing-file", "boot.wim")
def _(scene: Scene) -> None:
    for name in ("wimboot", "ipxe.efi", "BCD", "boot.sdi"):
        scene.put(name, content.pe())
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("wimboot")
    for name in ("wimboot", "BCD", "boot.sdi", "sources/boot.wim"):
        pc.get(name, protocol="http")


@fault("later", "WDS: bootmgfw asks for its BCD with backslashes", "missing-file", "BCD")
def _(scene: Scene) -> None:
    scene.put("boot/bootmgfw.efi", content.pe(signed="Microsoft Windows Production PCA 2011"))
    pc = Machine(scene)
    _ = pc.uefi("boot/bootmgfw.efi") and pc.get("\\Boot\\BCD")


@fault("later", "the kickstart's URL has a typing error", "missing-file", "ks.cfgg")
def _(scene: Scene) -> None:
    scene.put("ks.cfg", b"x")
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()
    pc.get("ks.cfgg", protocol="http")


@fault("later", "RHEL: install.img, the second stage, is missing", "missing-file", "install.img")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()
    pc.get(".treeinfo", protocol="http")
    pc.get("images/install.img", protocol="http")


@fault("later", "memdisk's ISO does not fit and the machine falls silent", "gave-up", "win.iso")
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", b"\xea" + bytes(30000))
    for name in ("ldlinux.c32", "memdisk"):
        scene.put(name, content.elf())
    scene.put("pxelinux.cfg/default", b"DEFAULT x\nLABEL x\n KERNEL memdisk\n INITRD win.iso\n")
    scene.put("win.iso", bytes(8_000_000))
    pc = Machine(scene, architecture=0)
    _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux() and pc.get("memdisk")
    pc.drop("win.iso", sent=3_000_000)


@fault("later", "a VPN carries no large packet: the kernel stops at its first block",
       "block-too-large", "large")  # fmt: skip
def _(scene: Scene) -> None:
    scene.put("ipxe.efi", content.pe())
    pc = Machine(scene)
    pc.lease("ipxe.efi")
    pc.get("ipxe.efi", blocksize=512)
    pc.drop("linux", blocksize=1432)


@fault("later", "another server's offer behind a relay", "another-server", "10.8.0.2")
def _(scene: Scene) -> None:
    from pybootd.core import events

    pc = Machine(scene)
    pc.client = replace(pc.client, relay=IPv4Address("10.8.0.1"))
    pc.discover("loader.efi")
    scene.tell(events.ChoseAnother(pc.client, IPv4Address("10.8.0.2")))


@fault("later", "GRUB's module folder is missing: it loads no module, then no configuration",
       "no-configuration", "grub.cfg")  # fmt: skip
def _(scene: Scene) -> None:
    scene.put("grubx64.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("grubx64.efi")
    for name in ("normal.mod", "command.lst"):
        pc.get(f"/boot/grub/x86_64-efi/{name}")
    pc.get("/boot/grub/grub.cfg")


@fault("later", "no file for the architecture: an ARM board", "no-boot-file", "efi-arm64")
def _(scene: Scene) -> None:
    pc = Machine(scene, architecture=11)
    pc.lease("")


@fault("later", "the origin of a remote root is down", "origin-down", "linux")
def _(scene: Scene) -> None:
    from pybootd.core import events

    pc = Machine(scene)
    pc.lease("loader.efi")
    scene.put("loader.efi", content.pe())
    pc.get("loader.efi")
    scene.tell(
        events.TransferRefused(
            "tftp", str(pc.address), "linux", "words", False, unavailable=True,
            problem=FileProblem.ORIGIN_UNREACHABLE,
        )
    )  # fmt: skip


@fault("later", "a machine is unplugged in the middle of its initrd", "gave-up", "initrd.gz")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.get("linux")
    pc.drop("initrd.gz", sent=8000)


@healthy("later", "a diskless node with a fixed address fetches its root by HTTP")
def _(scene: Scene) -> None:
    scene.put("ipxe.efi", content.pe())
    scene.put("boot.ipxe", content.SCRIPT)
    scene.put("rootfs.squashfs", b"hsqs" + bytes(900))
    pc = Machine(scene)
    pc.uefi("ipxe.efi")
    pc.run_ipxe("boot.ipxe")
    _ = pc.get("boot.ipxe") and pc.linux(protocol="http")
    scene.wait(12)
    pc.get("rootfs.squashfs", protocol="http")


@healthy("later", "a signed loader is restarted after a minute in its menu")
def _(scene: Scene) -> None:
    scene.put("bootmgfw.efi", content.pe(signed="Microsoft Windows Production PCA 2011"))
    pc = Machine(scene)
    pc.uefi("bootmgfw.efi")
    scene.wait(45)
    pc.uefi("bootmgfw.efi")


@healthy("later", "an iPXE boot from SAN")
def _(scene: Scene) -> None:
    scene.put("undionly.kpxe", b"\xea" + bytes(70000))
    scene.put("san.ipxe", b"#!ipxe\nsanboot iscsi:10.7.0.2::::iqn.x\n")
    pc = Machine(scene, architecture=0)
    pc.bios("undionly.kpxe")
    pc.run_ipxe("san.ipxe")
    pc.get("san.ipxe")


@healthy("later", "a server looks at PXE on two cards, then boots the disk")
def _(scene: Scene) -> None:
    scene.put("pxelinux.0", b"\xea" + bytes(30000))
    scene.put("ldlinux.c32", content.elf())
    scene.put("pxelinux.cfg/default", b"DEFAULT l\nLABEL l\n LOCALBOOT -1\n")
    for mac, address in (("52:54:00:12:34:56", "10.7.0.100"), ("52:54:00:12:34:57", "10.7.0.101")):
        pc = Machine(scene, mac=mac, address=address, architecture=0)
        _ = pc.bios("pxelinux.0") and pc.get("ldlinux.c32") and pc.pxelinux()
        scene.wait(10)


@healthy("later", "firmware cancels the boot file when somebody presses Esc")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()
    scene.wait(600)
    pc.power_on()
    pc.discover("loader.efi")


@healthy("later", "a telephone that takes its configuration here")
def _(scene: Scene) -> None:
    pc = Machine(scene)
    pc.client = Client(pc.firmware.mac, hostname="phone", plain_bootp=True, interface="eth0")
    pc.lease()


@healthy("later", "Fedora CoreOS: ignition after the system is up")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    scene.put("config.ign", b"{}")
    scene.put("rootfs.img", content.gz())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system("core")
    pc.get("config.ign", protocol="http")
    pc.get("rootfs.img", protocol="http", sent=0, outcome=TransferOutcome.PROBED)


@healthy("later", "installer probes for what a mirror may lack")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    pc.uefi("loader.efi")
    pc.linux()
    pc.run_system()
    for name in ("updates.img", "product.img", "dists/stable/main/i18n/Translation-de.xz"):
        pc.get(name, protocol="http")


@healthy("later", "HTTP Boot, then GRUB by HTTP, then a system")
def _(scene: Scene) -> None:
    scene.put("grubx64.efi", content.SIGNED_GRUB)
    scene.put("grub/grub.cfg", content.GRUB)
    pc = Machine(scene)
    pc.http_boot("grubx64.efi")
    pc.run_grub()
    pc.get("grub/grub.cfg", protocol="http")
    pc.linux(protocol="http")
    pc.run_system()


@healthy("later", "a thin client is switched off and on each evening")
def _(scene: Scene) -> None:
    scene.put("loader.efi", content.pe())
    pc = Machine(scene)
    for _ in range(3):
        pc.uefi("loader.efi")
        pc.linux()
        pc.run_system()
        scene.wait(40_000)
    assert EndCause.NONE.value == ""
