"""Requests as TFTP clients of the field send them, and what was reported of each."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pybootd.core.events import TransferOutcome, TransferRefused
from pybootd.tftp.wire.packet import Ack, Data, Error, ErrorCode, Oack

from .lab import Client, running

SIZE = 5000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("root")
    for name in ("file", "Boot/BCD", "SEP0004F2000001.cnf.xml", "a b"):
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_bytes(os.urandom(SIZE))
    (made / "whole").write_bytes(os.urandom(1024))
    return made


@dataclass(frozen=True)
class Case:
    """What a client asks for, and which options it is granted; ``name`` is the file it gets."""

    request: bytes
    granted: dict[str, str] = field(default_factory=dict)
    name: str = "file"


def words(*texts: str) -> bytes:
    return b"\0\1" + b"".join(text.encode() + b"\0" for text in texts)


CASES = {
    # net/tftp.c: timeout, tsize and blksize; windowsize since 2020.10 (tftpwindowsize)
    "U-Boot": Case(
        words("file", "octet", "timeout", "5", "tsize", "0", "blksize", "1468"),
        {"timeout": "5", "tsize": "5000", "blksize": "1468"},
    ),
    "U-Boot with a window": Case(
        words("file", "octet", "timeout", "5", "blksize", "1468", "windowsize", "16"),
        {"timeout": "5", "blksize": "1468", "windowsize": "16"},
    ),
    # tftpblocksize beyond the MTU, with CONFIG_IP_DEFRAG
    "U-Boot with IP_DEFRAG": Case(
        words("file", "octet", "timeout", "5", "blksize", "16352"),
        {"timeout": "5", "blksize": "16352"},  # loopback carries it
    ),
    # gPXE and iPXE before 2011, atftp: RFC 2090, its value is empty in a request
    "multicast": Case(
        words("file", "octet", "blksize", "1432", "tsize", "0", "multicast", ""),
        {"blksize": "1432", "tsize": "5000"},
    ),
    # wdsmgfw.efi and bootmgr: a private option that no other server knows
    "WDS": Case(
        words("\\Boot\\BCD", "octet", "tsize", "0", "blksize", "1456", "windowsize", "4")
        + b"msftwindow\x0031416\0",
        {"tsize": "5000", "blksize": "1456", "windowsize": "4"},
        "Boot/BCD",
    ),
    "WDS, in other letters": Case(words("boot\\bcd", "octet"), {}, "Boot/BCD"),
    # tftp.exe -i
    "Windows": Case(
        words("file", "octet", "tsize", "0", "blksize", "512", "timeout", "1"),
        {"tsize": "5000", "blksize": "512", "timeout": "1"},
    ),
    "curl 8": Case(
        words("file", "octet", "tsize", "0", "blksize", "512", "timeout", "6"),
        {"tsize": "5000", "blksize": "512", "timeout": "6"},
    ),
    "Cisco IP phone": Case(
        words("SEP0004F2000001.cnf.xml", "octet"), {}, "SEP0004F2000001.cnf.xml"
    ),
    "Cisco IOS, a path from the root": Case(
        words("//file", "octet", "blksize", "8192"), {"blksize": "8192"}
    ),
    "Juniper, in capitals": Case(
        words("file", "OCTET", "BLKSIZE", "1024", "TSIZE", "0"),
        {"BLKSIZE": "1024", "TSIZE": "5000"},
    ),
    "Raspberry Pi 4": Case(
        words("file", "octet", "tsize", "0", "blksize", "1024"),
        {"tsize": "5000", "blksize": "1024"},
    ),
    "busybox": Case(
        words("file", "octet", "tsize", "0", "blksize", "65464"),
        {"tsize": "5000", "blksize": "65464"},
    ),
    # ROMs that send a buffer of fixed length
    "padded by NULs": Case(
        words("file", "octet", "blksize", "1024") + bytes(460), {"blksize": "1024"}
    ),
    "padded by garbage": Case(words("file", "octet") + b"\xaa" * 7, {}),
    "a blank in the name": Case(words("a b", "octet"), {}, "a b"),
    "leading zeros": Case(words("file", "octet", "blksize", "01024"), {"blksize": "1024"}),
    # RFC 2349 names it; Nokia and Brocade send no value that is a number
    "an option that makes no sense": Case(
        words("file", "octet", "timeout", "none", "rollover", "0"), {}
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_client_of_the_field_gets_its_file(root: Path, case: str) -> None:
    asked = CASES[case]
    with running(root) as lab:
        client = lab.client()
        client.send(asked.request, lab.address)
        if asked.granted:
            assert client.receive() == Oack(tuple(asked.granted.items()))
            client.send(Ack(0))
        granted = {name.lower(): text for name, text in asked.granted.items()}
        got = take(client, int(granted.get("blksize", 512)), int(granted.get("windowsize", 1)))
        assert got == (root / asked.name).read_bytes()
        assert [event.outcome for event in lab.ended()] == [TransferOutcome.DONE]


def take(client: Client, size: int, window: int, tail: bytes = b"") -> bytes:
    """Take the blocks and acknowledge them; ``tail`` is what each ACK has behind its number."""
    content, block = b"", 0
    while True:
        packet = client.receive()
        assert isinstance(packet, Data), f"after block {block}"
        assert packet.block == block + 1
        block, content = block + 1, content + packet.payload
        last = len(packet.payload) < size
        if last or block % window == 0:
            client.send(b"\0\4" + block.to_bytes(2) + tail)
        if last:
            return content


@pytest.mark.parametrize("options", [(), ("blksize", "1024"), ("windowsize", "4")], ids=str)
def test_acks_that_are_padded_to_the_shortest_frame_count(
    root: Path, options: tuple[str, ...]
) -> None:
    """Boot ROMs whose UDP length counts the padding of Ethernet."""
    with running(root) as lab:
        client = lab.client()
        client.send(words("file", "octet", *options), lab.address)
        if options:
            client.receive()
            client.send(b"\0\4\0\0" + bytes(14))
        size = 1024 if "1024" in options else 512
        window = 4 if "windowsize" in options else 1
        assert take(client, size, window, bytes(14)) == (root / "file").read_bytes()


def test_a_file_of_whole_blocks_ends_with_an_empty_one(root: Path) -> None:
    """RFC 1350 6; clients that stop at tsize never acknowledge it (old PXELINUX)."""
    with running(root) as lab:
        client = lab.client()
        client.send(words("whole", "octet"), lab.address)
        assert take(client, 512, 1) == (root / "whole").read_bytes()


def test_a_grub_that_closes_the_file_early_is_no_fault(root: Path) -> None:
    """It opens a file to see whether it is there, and says so by ERROR 0 "closed"."""
    with running(root) as lab:
        client = lab.client()
        client.send(words("/file", "octet", "blksize", "1024", "tsize", "0"), lab.address)
        client.receive()
        client.send(Ack(0))
        assert isinstance(client.receive(), Data)
        client.send(Error(0, "closed"))
        assert client.waiting() == []
        assert len(lab.ended()) == 1
        assert client.fetch("/file", blksize="1024", tsize="0") == (root / "file").read_bytes()


def test_a_client_that_refuses_the_oack_asks_without_options(root: Path) -> None:
    """Intel's Boot Agent: ERROR 8 or 0 to a size probe, then the same from the same port."""
    for code in (0, 8):
        with running(root) as lab:
            client = lab.client()
            client.send(words("file", "octet", "tsize", "0"), lab.address)
            assert isinstance(client.receive(), Oack)
            client.send(Error(code, "TFTP Aborted"))
            assert client.fetch("file") == (root / "file").read_bytes()


def test_a_phone_that_brings_its_log_hears_that_writes_are_refused(root: Path) -> None:
    """Polycom: a WRQ of MAC-boot.log at each start, in the middle of its reads."""
    with running(root) as lab:
        client = lab.client()
        client.send(b"\0\x020004f2000001-boot.log\0octet\0", lab.address)
        packet = client.receive()
        assert isinstance(packet, Error)
        assert packet.code == ErrorCode.ACCESS_VIOLATION
        assert [event.upload for event in lab.events if isinstance(event, TransferRefused)] == [
            True
        ]
        assert client.fetch("file") == (root / "file").read_bytes()


def test_a_client_that_acknowledges_twice_gets_each_block_once(root: Path) -> None:
    """GRUB 2.02 sends its last ACK again for each packet that it did not expect."""
    with running(root) as lab:
        client = lab.client()
        client.send(words("file", "octet"), lab.address)
        seen = []
        packet = client.receive()
        while isinstance(packet, Data):
            seen.append(packet.block)
            client.send(Ack(packet.block))
            client.send(Ack(packet.block))
            packet = client.receive()
        assert seen == list(range(1, SIZE // 512 + 2))


def test_a_window_that_is_cut_short_by_the_client_goes_on(root: Path) -> None:
    """edk2 acknowledges in mid-window when its buffer is full, then goes on behind that."""
    with running(root) as lab:
        client = lab.client()
        client.send(words("file", "octet", "blksize", "512", "windowsize", "4"), lab.address)
        client.receive()
        client.send(Ack(0))
        got: dict[int, bytes] = {}
        for _ in range(40):
            packets = [packet for packet in client.waiting() if isinstance(packet, Data)]
            if not packets:
                break
            for packet in packets[:2]:
                got[packet.block] = packet.payload
            client.send(Ack(max(got)))
            lab.wait(0.05)
        assert b"".join(got[block] for block in sorted(got)) == (root / "file").read_bytes()
