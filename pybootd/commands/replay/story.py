"""Each machine's boots as a capture tells them, and what was wrong, whichever server it was."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from pybootd.commands.replay.dissect import Datagram, Segment
from pybootd.commands.replay.player import Player
from pybootd.config.loader import Config
from pybootd.core.events import EventBus
from pybootd.files.resolver import Files
from pybootd.observe.boots.timeline import Timeline
from pybootd.observe.diagnosis import verdicts
from pybootd.observe.diagnosis.evidence import FileLook
from pybootd.status.documents import Documents
from pybootd.status.looks import look_at_file

Json = dict[str, Any]

_AFTERWARDS_S = 300.0  # of silence, to see what a machine's last words mean
# what is concluded from silence: it must be in the capture, else nobody knows
_FROM_SILENCE = frozenset(
    one.code
    for one in (
        verdicts.NOT_REQUESTED,
        verdicts.PROXY_NOT_ASKED,
        verdicts.OTHER_FILE_SERVER,
        verdicts.NOT_FETCHED,
        verdicts.SECURE_BOOT,
        verdicts.GAVE_UP,
        verdicts.NO_SYSTEM,
        verdicts.SIZE_PROBE,
        verdicts.STOPPED,
    )
)
# problem ("": as it is) and advice, where the server is not known to be pybootd: {dhcp} gave the
# address, {files} the files
_ABOUT_OTHERS = MappingProxyType(
    {
        verdicts.ANSWER_LOST.code: (
            "The answers of {dhcp} do not reach it: it asked again and again, and was answered"
            " each time.",
            "Look for what drops packets to UDP port 68 on the way: a firewall of {dhcp}, a switch"
            " port that blocks strange DHCP servers (DHCP snooping), a wrong VLAN. If only this"
            " kind of machine is deaf, let {dhcp} answer by broadcast.",
        ),
        verdicts.REFUSED_ADDRESS.code: (
            "",
            "{dhcp} said no (DHCPNAK): its log tells why. Often two servers know different networks"
            " or leases.",
        ),
        verdicts.PROXY_NOT_ASKED.code: (
            "",
            "Let UDP port 4011 of the proxy through its firewall, and see that {dhcp} sends neither"
            " option 60 nor a boot file itself.",
        ),
        verdicts.NO_BOOT_FILE.code: (
            "{dhcp} names no boot file for this machine.",
            "Give {dhcp} one for this architecture: dhcp-boot (dnsmasq), next-server and filename"
            " (ISC DHCP), next-server and boot-file-name (Kea), options 66 and 67 (others).",
        ),
        verdicts.OTHER_FILE_SERVER.code: (
            "",
            "See whether that server has the file. If another should be asked, change next-server"
            " (siaddr, option 66) on {dhcp}.",
        ),
        verdicts.NOT_FETCHED.code: (
            "It was told its boot file, and no request for it is in the capture.",
            "See that the server that {dhcp} names serves it (UDP port 69 for TFTP), that no"
            " firewall is between, and that the capture was taken where such a request passes.",
        ),
        verdicts.MISSING_FILE.code: (
            "",
            "Put it where {files} takes its files from, or correct its name where it is written"
            " (in the configuration of {dhcp}, or of the boot loader).",
        ),
        verdicts.NO_CONFIGURATION.code: (
            "",
            "Write one of these files where {files} takes its files from.",
        ),
        verdicts.FORBIDDEN_FILE.code: (
            "",
            "See the log of {files}: the file's rights, or a path that leads out of its root.",
        ),
        verdicts.ORIGIN_DOWN.code: ("", "See the log of {files}."),
        verdicts.TEMPLATE.code: ("", "See the log of {files}."),
        verdicts.WRONG_ARCHITECTURE.code: (
            "",
            "Let {dhcp} name a file for this architecture (option 93 tells it).",
        ),
        verdicts.IPXE_LOOP.code: (
            "",
            "A machine that already runs iPXE must get something else, its script: let {dhcp} tell"
            " it by option 77 = iPXE.",
        ),
        verdicts.BLOCK_TOO_LARGE.code: (
            "Blocks of that size do not get through.",
            "Let {files} grant smaller blocks, 1428 octets or fewer, or set the MTU of the way.",
        ),
        verdicts.LOSSY.code: (
            "",
            "Look at cable, switch port and duplex setting, and for a network that is full.",
        ),
        verdicts.SLOW.code: (
            "",
            "Look for a link at 10 Mbit/s or half duplex, a tunnel or a far network; let {files}"
            " grant larger blocks.",
        ),
        verdicts.GAVE_UP.code: (
            "",
            "Look at its screen: it may be out of memory, switched off, or unplugged.",
        ),
    }
)


def make_client_documents(
    captured: Sequence[Datagram | Segment], ended: float, config: Config | None
) -> list[Json]:
    """Make each client's document of what was captured until ``ended``, in seconds.

    What only silence would tell is not said where the capture ends before it.
    """
    bus = EventBus()
    player = Player(bus)
    timeline = Timeline(bus, lambda: player.now, lambda address: None)
    player.play_capture(captured, ended)
    files = [Files.from_config(config)] if config and config.tftp.root else []

    @functools.cache
    def look(name: str) -> FileLook:
        return look_at_file(files, name) if files else FileLook()

    def read_documents(now: float) -> list[Json]:
        documents = Documents(timeline, lambda: now, lambda: now, look)
        found = [documents.describe_client(record.name) for record in timeline.records()]
        return [one["client"] for one in found if one is not None]

    then = read_documents(player.now)
    later = read_documents(player.now + _AFTERWARDS_S)
    return [_describe_client(player, *both) for both in zip(then, later, strict=True)]


def _describe_client(player: Player, then: Json, later: Json) -> Json:
    """Choose, boot by boot, what is known at the capture's end or what silence would add."""
    boots = [_choose_boot(*both) for both in zip(then["boots"], later["boots"], strict=True)]
    for boot in boots:
        if boot["verdict"] is not None:
            boot["verdict"] = _word_verdict(player, later["mac"], boot["address"], boot["verdict"])
    newest = boots[0]
    shown: Json = {name: newest[name] for name in ("state", "verdict")}
    return {**later, **shown, "boots": boots}


def _choose_boot(then: Json, later: Json) -> Json:
    verdict = later["verdict"]
    if then["verdict"] is None and verdict is not None and verdict["name"] in _FROM_SILENCE:
        return {**later, "verdict": None, "state": "booting"}
    return later


def _word_verdict(player: Player, mac: str, address: str, verdict: Json) -> Json:
    """Speak of the server that the capture shows."""
    problem, advice = _ABOUT_OTHERS.get(verdict["name"], ("", ""))
    names = {
        "dhcp": player.dhcp_servers.get(mac, "the DHCP server"),
        "files": player.file_servers.get(address, "the file server"),
    }
    changed = {"what": problem.format(**names), "advice": advice.format(**names)}
    return verdict | {name: text for name, text in changed.items() if text}
