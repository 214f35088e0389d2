"""What events make of a client's timeline: where a boot begins, how far it came, what is kept."""

import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address

from pybootd.core import events
from pybootd.core.events import TransferOutcome
from pybootd.observe.boots.boot import BOOTS
from pybootd.observe.boots.roles import FileRole
from pybootd.observe.boots.steps import BootTransfer, Step, StepKind

from .story import IPXE, SYSTEM, UEFI, A, Story


def whole(story: Story) -> None:
    story.lease()
    story.fetch("loader.efi", outcome=TransferOutcome.PROBED)
    story.fetch("loader.efi")
    story.miss("grub.cfg-01-52")
    story.fetch("grub.cfg")
    story.fetch("linux")
    story.fetch("initrd.gz")


def test_stages_follow_each_other() -> None:
    story = Story()
    seen = []
    steps = [
        lambda: story.tell(events.Offered(UEFI, IPv4Address("10.7.0.100"), "loader.efi")),
        story.lease,
        lambda: story.fetch("/loader.efi"),
        lambda: story.fetch("grub/grub.cfg"),
        lambda: story.fetch("vmlinuz-6.1"),
        lambda: story.fetch("initrd.gz"),
        lambda: story.lease(SYSTEM),
    ]
    for step in steps:
        step()
        seen.append(story.boot().stage)
    assert seen == [
        StepKind.OFFERED,
        StepKind.CONFIRMED,
        FileRole.BOOT_FILE,
        FileRole.CONFIGURATION,
        FileRole.KERNEL,
        FileRole.INITRD,
        StepKind.SYSTEM,
    ]
    assert len(story.boots()) == 1
    record = story.timeline.find_client("52-54-00-12-34-56")
    assert record is story.timeline.find_client("10.7.0.100")
    assert record is not None
    assert (record.hostname, record.uuid) == ("box", str(UEFI.uuid))


def test_an_upload_that_is_refused_is_no_part_of_a_boot() -> None:
    """Else a running machine that brings a file twice was called one whose boot failed."""
    story = Story()
    whole(story)
    story.lease(SYSTEM)
    why = "there is a file of this name already"
    story.tell(events.TransferRefused("tftp", str(A), "dump", why, False, upload=True))
    assert story.boot().stage is StepKind.SYSTEM
    assert story.boot().steps[-1].kind is StepKind.SYSTEM


def test_a_client_that_starts_over_starts_a_new_boot_and_the_last_ten_are_kept() -> None:
    story = Story()
    for _ in range(BOOTS + 3):
        whole(story)
        story.lease(SYSTEM)
        story.now += 30
    numbers = [boot.number for boot in story.boots()]
    assert numbers == list(range(4, BOOTS + 4))
    assert story.timeline.steps == sum(len(boot.steps) for boot in story.boots())
    first, second = story.boots()[:2]
    assert first.followed == second.began


def test_a_discover_that_is_repeated_is_one_step_of_one_boot() -> None:
    story = Story()
    for _ in range(4):
        story.tell(events.Offered(UEFI, IPv4Address("10.7.0.100"), "loader.efi"), each=8)
    (step,) = story.boot().steps
    assert isinstance(step, Step)
    assert (step.count, step.ended - step.began) == (4, 24)


def test_ipxe_goes_on_with_the_boot_that_loaded_it_and_a_restart_does_not() -> None:
    story = Story()
    story.lease()
    story.fetch("loader.efi")
    story.lease(IPXE)
    assert len(story.boots()) == 1
    assert story.boot().ipxe
    story.fetch("menu.ipxe")
    story.now += 200
    story.lease(IPXE)
    assert len(story.boots()) == 2


def test_a_system_that_renews_its_address_stays_up() -> None:
    story = Story()
    whole(story)
    for _ in range(5):
        story.lease(SYSTEM)
        story.now += 43200
    assert len(story.boots()) == 1
    assert story.boot().stage is StepKind.SYSTEM
    assert len(story.boot().steps) < 15


def test_a_loader_that_asked_for_an_address_is_no_system() -> None:
    story = Story()
    story.lease()
    story.fetch("loader.efi")
    story.lease(SYSTEM)
    assert story.boot().up
    story.fetch("linux")
    assert not story.boot().up


def test_progress_is_asked_for_when_somebody_looks() -> None:
    story = Story()
    story.lease()
    story.start("linux", 4000)
    (running,) = story.boot().running
    assert (running.sent, running.retransmissions) == (2000, 3)
    story.end("linux", 4000)
    assert not story.boot().running
    assert (running.sent, running.retransmissions, running.outcome) == (
        4000,
        5,
        TransferOutcome.DONE,
    )


def test_a_transfer_to_an_unknown_address_is_a_client_of_that_name() -> None:
    story = Story()
    story.fetch("linux", peer="10.7.0.9")
    assert story.boot("10.7.0.9").stage is FileRole.KERNEL
    story.lease(UEFI, IPv4Address("10.7.0.9"))
    assert [record.name for record in story.timeline.records()] == ["52:54:00:12:34:56"]


def test_the_head_request_of_http_is_a_probe() -> None:
    story = Story()
    story.lease()
    story.end("loader.efi", 0, TransferOutcome.PROBED)
    (probe,) = story.boot().transfers()
    assert probe.outcome is TransferOutcome.PROBED


def test_a_client_whose_first_sign_is_a_file_goes_by_its_mac_where_it_is_known() -> None:
    story = Story()
    known = story.clients.note_client(SYSTEM)
    story.lease(SYSTEM)
    story.clients.confirm_address(known, A)
    story.fetch("linux")
    assert story.boot().stage is FileRole.KERNEL
    assert story.boot().booting


def test_a_pc_that_does_not_boot_from_the_network_leaves_no_trace() -> None:
    story = Story()
    story.refuse(SYSTEM)
    story.lease(SYSTEM)
    assert len(story.timeline) == 0
    story.refuse(UEFI)
    assert story.boot().stage is StepKind.REFUSED


def test_a_boot_of_very_many_steps_keeps_its_start_and_its_end() -> None:
    story = Story()
    story.lease()
    for number in range(1000):
        story.miss(f"file{number}")
    boot = story.boot()
    assert len(boot.steps) == 200
    assert boot.left_out == 802
    first, last = boot.steps[0], boot.steps[-1]
    assert isinstance(first, Step)
    assert isinstance(last, Step)
    assert (first.kind, last.subject) == (StepKind.OFFERED, "file999")


def test_what_runs_is_kept_however_many_steps_a_boot_has() -> None:
    story = Story()
    for number in range(60):
        story.miss(f"before{number}")
    for number in range(100):
        story.start(f"slow{number}")
    for number in range(300):
        story.fetch(f"quick{number}")
    assert len(story.boot(str(A)).running) == 100
    for number in range(100):
        story.end(f"slow{number}")
    for number in range(300):
        story.fetch(f"after{number}")
    boot = story.boot(str(A))
    assert (len(boot.steps), boot.left_out) == (200, 560)
    assert [step.requested for step in boot.transfers()][-150:] == [
        f"after{number}" for number in range(150, 300)
    ]


def test_a_flood_of_clients_is_bounded_and_the_longest_unheard_go() -> None:
    story = Story(clients=50, steps=200)
    for number in range(500):
        mac = number.to_bytes(6)
        address = IPv4Address(0x0A070000 + number)
        story.lease(replace(UEFI, mac=mac), address)
        story.fetch("loader.efi", peer=str(address))
    assert len(story.timeline) <= 50
    assert story.timeline.steps <= 200
    assert story.timeline.find_client("10.7.0.1") is None
    assert next(story.timeline.records()).mac == (499).to_bytes(6)


def test_strangers_make_no_machine_forgotten() -> None:
    """Who only ever asks, with ever new MACs, takes the place of others who only ask."""
    story = Story(clients=50, steps=200)
    story.lease()
    for number in range(500):
        story.refuse(replace(UEFI, mac=number.to_bytes(6)))
    assert len(story.timeline) == 50
    assert story.timeline.find_client(str(A)) is not None
    assert story.timeline.find_client("00:00:00:00:01:f3") is not None  # the newest


def test_names_are_cut_to_what_is_worth_keeping() -> None:
    story = Story()
    story.fetch("x" * 5000)
    (transfer,) = story.boot("10.7.0.100").transfers()
    assert isinstance(transfer, BootTransfer)
    assert len(transfer.requested) == 200


MEASURE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from ipaddress import IPv4Address
from tests.observe.story import SYSTEM, UEFI, Story
from tests.observe.test_timeline import whole
def kib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4
story = Story()
before = kib()
for number in range(20_000):
    mac, address = number.to_bytes(6), IPv4Address(0x0A000000 + number)
    story.lease(replace(UEFI, mac=mac), address)
    for name in ("loader.efi", "grub.cfg", "linux", "initrd.gz"):
        story.fetch(name, peer=str(address))
    story.lease(replace(SYSTEM, mac=mac), address)
assert len(story.timeline) == 10_000
print(kib() - before)
"""


def test_ten_thousand_booted_clients_take_little_memory() -> None:
    import pybootd

    root = str(next(iter(pybootd.__path__))).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, root], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40_000  # KiB; measured: see docs/internals/observing.rst
