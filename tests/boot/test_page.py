"""The status page, in a real browser, while real firmware boots."""

import shlex

import pytest

from pybootd.lab import debian_installer
from pybootd.lab.daemon_process import DaemonProcess
from pybootd.lab.machine import Machine
from tests.status.browser import browser, keep, page

from .test_installer import INI

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]


def test_a_boot_is_seen_from_its_first_question_to_the_kernel(
    installer_tree, server, lan, tmp_path
):
    ini = tmp_path / "pybootd.ini"
    bios, efi = debian_installer.BOOT_FILES["bios"], debian_installer.BOOT_FILES["efi-x86_64"]
    # as over a slow line, so that there is a bar to see
    slow = "windowsize = 1\nblocksize = 1024\n"
    ini.write_text(INI.format(bios=bios, efi=efi, root=installer_tree) + slow)
    inside = shlex.join(server.command("chromium"))
    program = tmp_path / "chromium"
    program.write_text(f'#!/bin/sh\nexec {inside} "$@"\n')
    program.chmod(0o755)
    with (
        browser(str(program)) as chromium,
        DaemonProcess(server, ini, tmp_path / "daemon.log"),
        page(chromium, "http://127.0.0.1:8067/") as shown,
        Machine("bios", lan, tmp_path / "pc") as machine,
    ):
        shown.set_default_timeout(300_000)
        row = shown.locator("tr.machine", has_text=machine.mac)
        row.wait_for()
        row.locator("progress").first.wait_for()
        row.get_by_role("button").click()
        fall = shown.get_by_role("list", name="What happened, in order")
        fall.get_by_text("kernel: ").wait_for()
        shown.wait_for_function(
            """() => {
                const bar = document.querySelector("tr.machine progress");
                if (bar && bar.position > 0 && bar.position < 1) {
                    window.seen ??= bar.value;
                    return bar.value > window.seen;
                }
            }"""
        )
        keep(shown, "qemu-boot")
        shown.locator("#search").fill(machine.mac.upper().replace(":", "-"))
        row.wait_for()
        machine.wait_for_line("Linux version", timeout=300)
        assert "failed" not in row.inner_text()
        keep(shown, "qemu-booted")
