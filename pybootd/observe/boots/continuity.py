"""What belongs to one boot: functions of a boot, a question or a fetch, and the time."""

from __future__ import annotations

from pybootd.core.client import Client
from pybootd.observe.boots.boot import Boot
from pybootd.observe.boots.roles import FileRole
from pybootd.observe.boots.steps import BootTransfer, StepKind, is_step

PAUSE_S = 120.0
"""Seconds of silence after which an unfinished boot is not gone on with."""
CHAINED_S = 120.0
"""Seconds within which iPXE, once loaded, asks for an address."""
STARTING_S = 8.0
"""Seconds that a kernel takes at least before its system fetches a file."""
SWITCHED_S = 60.0
"""Seconds within which firmware goes on by another way, from PXE to HTTP Boot say."""
REPEATED_S = 20.0
"""Seconds within which a client asks again that did not get our answer."""
MAX_CARD_DISTANCE = 8
"""By how much the MACs of one machine's cards differ at most."""

_OF_SYSTEMS = (FileRole.OTHER, FileRole.ROOT)
_MISSES = (StepKind.MISSED, StepKind.FORBIDDEN, StepKind.UNAVAILABLE)
_WAYS = ("PXEClient:", "HTTPClient")


def is_stale(boot: Boot, now: float) -> bool:
    """Tell whether nothing has been heard of a boot for too long to go on with it."""
    # the second takes long where many files were fetched, and is seldom needed
    return now - boot.touched > PAUSE_S and now - boot.last_heard(now) > PAUSE_S


def is_new_boot(boot: Boot, client: Client, now: float, *, asking: bool) -> bool:
    """Tell whether a DHCP request begins another boot than the newest.

    ``asking``: it looks for a server, so it may be the first request of a boot.
    """
    if not client.network_boot:  # the system that was booted, or a loader's own question
        return is_stale(boot, now) and not boot.booting
    if boot.has_step(StepKind.SYSTEM) or is_stale(boot, now):
        return True
    fetched = next(boot.transfers(), None)
    if fetched is None and _is_other_firmware(boot, client):
        return True  # another question of the same card: of a tool, or of another firmware
    if not asking or (fetched is None and not boot.has_step(StepKind.CONFIRMED, *_MISSES)):
        return False
    if is_next_way(boot, client, now):
        return False
    return not _goes_on(boot, client, now)


def _goes_on(boot: Boot, client: Client, now: float) -> bool:
    """Tell whether firmware or a loader that asks from the start goes on with its boot."""
    newest = boot.steps[-1]
    quiet = now - newest.ended
    if is_step(newest, StepKind.CONFIRMED):
        # the answer got lost: U-Boot then begins again
        lost = bool(boot.boot_file) and client.architecture == boot.architecture
        return lost and quiet < REPEATED_S
    # iPXE, once loaded, asks again, and U-Boot does for each file
    u_boot = client.vendor_class.startswith("U-Boot")
    if not (client.ipxe or u_boot) or quiet >= CHAINED_S:
        return False
    if u_boot and is_step(newest, *_MISSES):
        return True
    before = next((one for one in reversed(boot.steps) if not is_step(one, StepKind.OFFERED)), None)
    return isinstance(before, BootTransfer) and before.came


def is_next_way(boot: Boot, client: Client, now: float) -> bool:
    """Tell whether UEFI goes on from PXE to HTTP Boot, or back, after the first way failed."""
    before, after = boot.vendor_class[:10], client.vendor_class[:10]
    if before == after or before not in _WAYS or after not in _WAYS or not boot.steps:
        return False
    tried = next(boot.transfers(), None) is not None or boot.has_step(StepKind.CONFIRMED, *_MISSES)
    return tried and not boot.up and now - boot.steps[-1].ended < SWITCHED_S


def is_system_fetching(boot: Boot, role: FileRole, now: float) -> bool:
    """Tell whether a fetch shows by the pause before it that no loader fetches any more.

    A loader asks for one file right after the other; a system has to start first.
    """
    pause = now - boot.steps[-1].ended if boot.steps else 0.0
    return role in _OF_SYSTEMS and pause > STARTING_S and _awaits_system(boot)


def is_other_card(boot: Boot, mac: bytes, other: bytes, now: float) -> bool:
    """Tell whether another MAC that asks is most likely another card of the booting machine."""
    if mac[:-1] != other[:-1] or abs(mac[-1] - other[-1]) > MAX_CARD_DISTANCE:
        return False
    return now - boot.touched < PAUSE_S and _awaits_system(boot)


def _awaits_system(boot: Boot) -> bool:
    """Tell whether a kernel came, and its system has not been heard of."""
    came = any(one.came and one.role is FileRole.KERNEL for one in boot.transfers())
    return came and not boot.active and not boot.has_step(StepKind.SYSTEM)


def _is_other_firmware(boot: Boot, client: Client) -> bool:
    """Tell whether another architecture asks before anything was fetched or confirmed."""
    known = boot.architecture
    asked = boot.has_step(StepKind.OFFERED) and not boot.has_step(StepKind.CONFIRMED)
    return asked and known is not None and client.architecture not in (None, known)
