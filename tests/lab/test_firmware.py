"""The software client's download, packet by packet."""

import pytest

from pybootd.lab.firmware import BootError, FileNotServed, FirmwareTransfer
from pybootd.tftp.wire import packet as tftp


class Wire:
    """Where the client's packets end up."""

    def __init__(self):
        self.sent = []

    def sendto(self, data, peer):
        self.sent.append(tftp.decode(data))

    def taken(self):
        sent, self.sent = self.sent, []
        return sent


def download(*granted, progress=None):
    wire = Wire()
    made = FirmwareTransfer(wire, "10.7.0.1", "linux", granted, progress)
    if granted:
        made.take_packet(tftp.encode(tftp.Oack(granted)))
        assert wire.taken() == [tftp.Ack(0)]
    return made, wire


def give(made, block, payload):
    made.take_packet(tftp.encode(tftp.Data(block, payload)))


def test_each_block_is_acknowledged_until_a_short_one():
    made, wire = download()
    give(made, 1, b"a" * 512)
    assert wire.taken() == [tftp.Ack(1)]
    assert not made.done
    give(made, 2, b"")
    assert wire.taken() == [tftp.Ack(2)]
    assert made.done
    assert bytes(made.got) == b"a" * 512


def test_window_is_acknowledged_at_its_end_and_a_gap_once():
    made, wire = download(("blksize", "8"), ("windowsize", "3"))
    give(made, 1, b"11111111")
    assert wire.taken() == []
    give(made, 3, b"33333333")  # 2 was lost
    assert wire.taken() == [tftp.Ack(1)]
    give(made, 4, b"44444444")
    assert wire.taken() == []
    for block in (2, 3, 4):
        give(made, block, b"%d" % block * 8)
    assert wire.taken() == [tftp.Ack(4)]
    assert bytes(made.got) == b"11111111222222223333333344444444"


def test_lost_first_block_of_a_window_is_asked_for_once_and_a_repetition_is_ignored():
    made, wire = download(("blksize", "8"), ("windowsize", "4"))
    for block in (2, 3, 4):
        give(made, block, b"%d" % block * 8)
    assert wire.taken() == [tftp.Ack(0)]
    give(made, 1, b"11111111")
    give(made, 1, b"11111111")
    assert wire.taken() == []
    assert bytes(made.got) == b"11111111"


def test_a_block_whose_ack_got_lost_is_acknowledged_again():
    """RFC 1350 2: the sender repeats it until then, and gives up in the end."""
    made, wire = download(("blksize", "8"))
    for _ in range(3):
        give(made, 1, b"11111111")
    assert wire.taken() == [tftp.Ack(1)] * 3
    assert bytes(made.got) == b"11111111"


def test_block_numbers_go_on_past_65535():
    made, wire = download(("blksize", "8"))
    for number in range(1, 65538):
        give(made, number & 0xFFFF, b"12345678")
    assert wire.taken()[-2:] == [tftp.Ack(0), tftp.Ack(1)]
    assert len(made.got) == 65537 * 8


def test_progress_tells_the_announced_size():
    seen = []
    made, _ = download(("tsize", "600"), ("blksize", "512"), progress=lambda *now: seen.append(now))
    give(made, 1, b"a" * 512)
    give(made, 2, b"a" * 88)
    assert seen == [(0, 600), (512, 600), (600, 600)]


@pytest.mark.parametrize(
    ("code", "message", "kind", "text"),
    [
        (1, "no such file", FileNotServed, "linux: no such file"),
        (2, "", BootError, "linux: TFTP error 2"),
    ],
)
def test_refusal_is_told(code, message, kind, text):
    made, wire = download()
    with pytest.raises(kind, match=f"^{text}$"):
        made.take_packet(tftp.encode(tftp.Error(code, message)))
    assert wire.taken() == []


@pytest.mark.parametrize(
    "granted", [("blksize", "0"), ("blksize", "9"), ("blksize", "many"), ("windowsize", "2")]
)
def test_more_than_was_asked_for_or_nonsense_ends_it(granted):
    made = FirmwareTransfer(Wire(), "10.7.0.1", "linux", (("blksize", "8"),), None)
    with pytest.raises(BootError, match=granted[0]):
        made.take_packet(tftp.encode(tftp.Oack((granted,))))


@pytest.mark.parametrize("data", [b"", b"\0\x09", b"\0\5"])
def test_what_is_no_packet_ends_it(data):
    made, _ = download()
    with pytest.raises(BootError, match="no TFTP packet"):
        made.take_packet(data)
