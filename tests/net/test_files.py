"""Filters and remote roots, asked for by real TFTP clients of the real daemon."""

import random
import re
import threading
import time
import zlib

import pytest

from . import crowd
from .lab import LEASED, MIRROR, SERVER, TOP, Lab, put

pytestmark = pytest.mark.net("tftp")


@pytest.mark.net("tftp", "dhclient")
def test_each_filter_example_of_the_guide(lab: Lab) -> None:
    guide = (TOP / "docs/guides/filters.rst").read_text()
    found = re.findall(r"\n    \[filters\]\n((?:    .+\n)+)", guide)
    assert len(found) == 1
    examples = found[0].replace("/srv/", f"{lab.folder}/srv/")
    mac = lab.client.mac().replace(":", "-")
    put(
        lab.folder,
        {
            "root/lists/node7.txt": "images/7\n",
            "root/images/7": "image",
            f"root/hosts/{mac}/grub.cfg": "own",
            "root/undionly.kpxe": "ipxe",
            "srv/firmware/firmware/card.bin": "firmware",
            "releases/12/current/linux": "release",
            "root/plain": "plain",
        },
    )
    with lab.serving(
        f"[bootp]\npool_start = {LEASED}\nallow_simple_dhcp = on\nleases = memory\n"
        f"[tftp]\nroot = ./root\n[filters]\n{examples}"
    ):
        assert "{hostname} of this client is not known" in str(lab.get("startup"))
        lab.lease()
        served = {
            "pxelinux.cfg/default": (TOP / "pybootd/etc/pxe.cfg").read_bytes(),
            "/pxelinux.cfg/01-52-54-00-12-34-56": (TOP / "pybootd/etc/pxe.cfg").read_bytes(),
            "startup": b"image",
            "/grub/grub.cfg": b"own",
            "firmware/card.bin": b"firmware",
            "current\\linux": b"release",
            "ipxe/ab": b"ipxe",
            "plain": b"plain",
        }
        for name, content in served.items():
            assert lab.get(name) == content, name
        for line in examples.splitlines():
            pattern = line.strip().partition(" = ")[0]
            wildcard = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
            assert any(re.fullmatch(rf"/?{wildcard}", name.replace("\\", "/")) for name in served)
        assert "no such file" in str(lab.get("firmware/other"))
        assert "out of the root" in str(lab.get("firmware/../../../../etc/passwd"))


def test_a_remote_root_and_what_it_refuses(lab: Lab) -> None:
    put(lab.folder, {"site/dir/a file": "here", "site/list": "dir/a file\n"})
    with (
        lab.website(lab.folder / "site") as url,
        lab.serving(f"[tftp]\nroot = {url}\n[filters]\nlisted = [list]\n", "-t"),
    ):
        for name in ("dir/a file", "listed", "chunked/dir/a file", "gzip/dir/a file"):
            assert lab.get(name) == b"here"
        refusals = {
            "nothing": "Error code 1: .*/nothing: 404",
            "status/403/x": "Error code 2: .*403 Forbidden",
            "status/500/x": "Error code 0: .*500 Internal",
            "hangup/x": "Error code 0: .*the connection broke",
            "cut/@1/dir/a file": "Error code 0: .*cut after 1 of 4 octets",
        }
        for name, complaint in refusals.items():
            assert re.search(complaint, str(lab.get(name))), name
    with lab.serving(f"[tftp]\nroot = http://{MIRROR}\n", "-t"):
        assert "can't connect: Connection refused" in str(lab.get("dir/a file"))


def test_a_stall_in_one_file_delays_no_other(lab: Lab) -> None:
    stalled = bytes(range(256)) * 400
    (lab.folder / "site").mkdir()
    (lab.folder / "site" / "stalled").write_bytes(stalled)
    put(lab.folder, {"root/local": "local" * 20000})
    with (
        lab.website(lab.folder / "site") as url,
        lab.serving(f"[tftp]\nroot = ./root\n[filters]\nsilent/* = {url}/{{filename}}\n", "-t"),
    ):
        far: list[crowd.Member] = []
        before = time.monotonic()

        def fetch() -> None:
            name = "silent/3@50000/stalled"
            far.extend(crowd.fetch(lab.client, SERVER, [name], blksize=1024, windowsize=4))

        alone = timed(lab)
        thread = threading.Thread(target=fetch)
        thread.start()
        time.sleep(0.5)  # now it stalls
        beside = [timed(lab) for _ in range(3)]
        assert thread.is_alive()
        thread.join()
    assert time.monotonic() - before > 3
    assert not far[0].error
    assert (far[0].octets, far[0].sum) == (len(stalled), zlib.crc32(stalled))
    print(f"a local file: {alone:.3f} s alone, {max(beside):.3f} s beside a stall")
    assert sorted(beside)[1] < alone + 0.5  # one may have met a busy machine


def timed(lab: Lab) -> float:
    """Fetch the local file; the seconds that it took."""
    before = time.monotonic()
    assert lab.get("local") == b"local" * 20000
    return time.monotonic() - before


@pytest.mark.timeout(180)
def test_fifty_clients_of_a_remote_file_cost_little_memory(lab: Lab) -> None:
    content = random.Random(1).randbytes(40_000_000)
    (lab.folder / "site").mkdir()
    (lab.folder / "site" / "initrd").write_bytes(content)
    with (
        lab.website(lab.folder / "site") as url,
        lab.serving(f"[tftp]\nroot = {url}\n", "-t") as daemon,
    ):
        before = time.monotonic()
        names = ["initrd"] * 50
        clients = crowd.fetch(lab.client, SERVER, names, blksize=8192, windowsize=8, limit=120)
        seconds = time.monotonic() - before
        peak = crowd.peak_memory(daemon.pid)
    assert not [client.error for client in clients if client.error]
    assert {(client.octets, client.sum) for client in clients} == {
        (len(content), zlib.crc32(content))
    }
    repeated = sum(client.repeated for client in clients)
    print(f"50 x 40 MB in {seconds:.1f} s, {repeated} repetitions, peak memory {peak:.1f} MB")
    assert peak < 100
    assert [str(path) for path in lab.folder.rglob("initrd")] == [f"{lab.folder}/site/initrd"]


TEMPLATES = f"""\
[bootp]
pool_start = {LEASED}
allow_simple_dhcp = on
leases = memory
conflict_check = off
[client 52-54-00-00-00-07]
release = trixie
[tftp]
root = ./root
[httpd]
enable = on
"""


@pytest.mark.net("tftp", "dhclient", "curl")
def test_a_template_over_tftp_and_http(lab: Lab) -> None:
    text = "{{ mac }} {{ ip }} {{ hostname }} {{ release }} {{ server }}\n"
    put(lab.root, {"grub/grub.cfg.j2": text, "bad.j2": "\n{{ nope }}\n"})
    lab.client.ip("link", "set", "eth0", "address", "52:54:00:00:00:07")
    rendered = f"52-54-00-00-00-07 {LEASED} node7 trixie {SERVER}\n"
    url = f"http://{SERVER}"
    with lab.serving(TEMPLATES):
        lab.lease()
        assert lab.get("/grub/grub.cfg") == rendered.encode()
        assert lab.client.run("curl", "-s", f"{url}/grub/grub.cfg").stdout == rendered
        head = lab.client.run("curl", "-s", "-I", f"{url}/grub/grub.cfg").stdout
        assert f"Content-Length: {len(rendered)}" in head
        assert "text/plain" in head
        why = "bad.j2 line 2: 'nope' is undefined"
        assert why in lab.get("bad")
        failed = lab.client.run("curl", "-s", "-w", "%{http_code}", f"{url}/bad").stdout
        assert why in failed
        assert failed.endswith("503")
    said = lab.said()
    assert "grub/grub.cfg (grub/grub.cfg.j2): done" in said
    assert re.search(rf"WARNING *tftp {LEASED} bad: {re.escape(why)}", said)
    assert re.search(rf"WARNING *http {LEASED} bad: {re.escape(why)}", said)


def test_a_file_beside_the_boot_file_and_one_behind_a_link_that_leads_out(lab: Lab) -> None:
    put(
        lab.folder,
        {"root/vendor/boot.efi": "boot", "root/vendor/grubx64.efi": "grub", "stage/img": "image"},
    )
    (lab.folder / "root/img").symlink_to(lab.folder / "stage/img")
    tftp = f"[tftp]\nroot = ./root\nlinks = {lab.folder}/stage\n"
    with lab.serving(f"[bootp]\npool_start = {LEASED}\nleases = memory\n{tftp}"):
        assert "no such file" in str(lab.get("grubx64.efi"))
        assert lab.get("vendor/boot.efi") == b"boot"
        assert lab.get("grubx64.efi") == b"grub"
        assert lab.get("img") == b"image"
