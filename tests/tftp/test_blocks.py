"""Files cut into packets: shared, bounded, right beyond the wrap; streams; netascii."""

from dataclasses import dataclass

import pytest

from pybootd.files.source import StaticBody, Unavailable
from pybootd.tftp.blocks import BlockCache, CachedBlocks, NetasciiStream, StreamBlocks
from pybootd.tftp.sender import UNKNOWN_LAST_BLOCK

from .lab import Trickle


@dataclass
class Pattern(StaticBody):
    """A file of any size that takes no memory: every octet tells its place."""

    size: int
    key: object = 1
    reads: int = 0
    closed: bool = False
    changed: bool = False

    def pread(self, count: int, offset: int) -> bytes:
        if self.changed:
            raise Unavailable("the file changed while it was read")
        self.reads += 1
        return octets(offset, min(self.size, offset + count))

    def close(self) -> None:
        self.closed = True


def octets(start: int, end: int) -> bytes:
    return bytes((i * 7 + (i >> 8)) & 0xFF for i in range(start, end))


def packet_of(blocks: CachedBlocks, block: int) -> memoryview:
    (packet,) = blocks.read_packets(block, 1)
    return packet


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 5000])
def test_every_packet_is_its_header_and_its_part_of_the_file(size: int) -> None:
    blocks = CachedBlocks(BlockCache(1 << 20).acquire_file(Pattern(size), 512))
    assert blocks.last_block == size // 512 + 1
    for block in range(1, blocks.last_block + 1):
        start = (block - 1) * 512
        expected = b"\0\3" + block.to_bytes(2) + octets(start, min(size, start + 512))
        assert bytes(packet_of(blocks, block)) == expected


def test_packets_beyond_the_wrap() -> None:
    blocks = CachedBlocks(BlockCache(1 << 20).acquire_file(Pattern(8 * 70_000 * 3), 8))
    for block in (65535, 65536, 65537, 131072, 200_000):
        assert bytes(packet_of(blocks, block)) == (
            b"\0\3" + (block & 0xFFFF).to_bytes(2) + octets((block - 1) * 8, block * 8)
        )


def test_a_run_is_the_packets_in_order_across_chunks() -> None:
    blocks = CachedBlocks(BlockCache(1 << 20).acquire_file(Pattern(100_000), 1000))
    whole = b"".join(bytes(packet_of(blocks, block)) for block in range(1, 102))
    for first, count in ((1, 1), (1, 64), (5, 20), (90, 12)):
        run = b"".join(map(bytes, blocks.read_packets(first, count)))
        assert run == whole[(first - 1) * 1004 : (first - 1 + count) * 1004]


def test_a_file_is_read_and_cut_once_for_all() -> None:
    cache = BlockCache(1 << 20)
    bodies = [Pattern(100_000) for _ in range(5)]
    users = [CachedBlocks(cache.acquire_file(body, 1000)) for body in bodies]
    for block in range(1, 102):
        assert len({bytes(packet_of(user, block)) for user in users}) == 1
    chunk = 8192 // 1004
    assert sum(body.reads for body in bodies) == -(-101 // chunk)
    assert [body.closed for body in bodies] == [False, True, True, True, True]
    for user in users:
        user.close()
        user.close()
    assert bodies[0].closed
    # what was cut is still there for who comes next
    late = Pattern(100_000)
    again = CachedBlocks(cache.acquire_file(late, 1000))
    assert bytes(packet_of(again, 1)) == b"\0\3\0\1" + octets(0, 1000)
    assert late.reads == 0


def test_each_block_size_and_each_version_has_its_own_packets() -> None:
    cache = BlockCache(1 << 20)
    old, new, other = Pattern(1000, "old"), Pattern(999, "new"), Pattern(1000, "old")
    cuts = [
        cache.acquire_file(old, 512),
        cache.acquire_file(new, 512),
        cache.acquire_file(other, 100),
    ]
    assert len({id(cut) for cut in cuts}) == 3


def test_memory_stays_within_its_bound() -> None:
    limit = 1 << 18
    cache = BlockCache(limit)
    users = [CachedBlocks(cache.acquire_file(Pattern(200_000, n), 1468)) for n in range(20)]
    for block in range(1, 137):
        for user in users:
            start = (block - 1) * 1468
            assert bytes(packet_of(user, block)[4:]) == octets(start, min(200_000, start + 1468))
            assert cache.octets <= limit
    for user in users:
        user.close()
    cache.drop_unused()
    assert cache.octets == 0
    assert cache.files == 0


def test_a_chunk_that_had_to_go_is_cut_again() -> None:
    cache = BlockCache(1 << 16)
    body = Pattern(100_000, "first")
    blocks = CachedBlocks(cache.acquire_file(body, 1000))
    first = bytes(packet_of(blocks, 1))
    reads = body.reads
    other = CachedBlocks(cache.acquire_file(Pattern(1_000_000, "second"), 1000))
    for block in range(1, 1001):
        other.read_packets(block, 1)
    assert bytes(packet_of(blocks, 1)) == first
    assert body.reads == reads + 1


def test_a_changed_file_is_never_mixed() -> None:
    body = Pattern(100_000)
    blocks = CachedBlocks(BlockCache(1 << 20).acquire_file(body, 1000))
    packet_of(blocks, 1)
    body.changed = True
    assert bytes(packet_of(blocks, 2)[4:]) == octets(1000, 2000)  # it was cut before
    with pytest.raises(Unavailable):
        packet_of(blocks, 50)


def test_a_stream_is_held_until_acknowledged() -> None:
    body = Trickle()
    blocks = StreamBlocks(body, 10)
    assert blocks.read_packet(1) is None
    assert blocks.read_packets(1, 4) == []
    body.data += b"0123456789abcdefghijkl"
    assert blocks.read_packets(1, 4) == [b"\0\3\0\x010123456789", b"\0\3\0\2abcdefghij"]
    assert blocks.last_block == UNKNOWN_LAST_BLOCK
    assert blocks.read_packet(1) == b"\0\3\0\x010123456789"  # for a retransmission
    blocks.release_below(2)
    assert blocks.read_packet(1) is None
    body.ended = True
    assert blocks.read_packets(2, 4) == [b"\0\3\0\2abcdefghij", b"\0\3\0\3kl"]
    assert (blocks.last_block, blocks.size) == (3, 22)
    assert blocks.read_packet(4) is None


def test_a_stream_that_fills_its_last_block_ends_with_an_empty_one() -> None:
    body = Trickle()
    blocks = StreamBlocks(body, 10)
    body.data += bytes(20)
    body.ended = True
    assert [len(packet) for packet in blocks.read_packets(1, 9)] == [14, 14, 4]
    assert (blocks.last_block, blocks.size) == (3, 20)


def test_a_streams_numbers_wrap() -> None:
    body = Trickle()
    blocks = StreamBlocks(body, 8)
    for block in range(1, 65538):
        body.data += bytes(8)
        packet = blocks.read_packet(block)
        blocks.release_below(block)
    assert packet == b"\0\3\0\1" + bytes(8)


@pytest.mark.parametrize(
    ("plain", "netascii"),
    [
        (b"", b""),
        (b"a\nb", b"a\r\nb"),
        (b"a\rb", b"a\r\0b"),
        (b"\r\n", b"\r\0\r\n"),
        (b"\n" * 20_000, b"\r\n" * 20_000),
        (b"x" * 16_383 + b"\r\n", b"x" * 16_383 + b"\r\0\r\n"),
    ],
    ids=["empty", "LF", "CR", "CR LF", "long", "step"],
)
@pytest.mark.parametrize("size", [1, 8, 512])
def test_netascii(plain: bytes, netascii: bytes, size: int) -> None:
    body = Trickle()
    body.data += plain
    body.ended = True
    text = NetasciiStream(body)
    found = b""
    while piece := text.read(size):
        assert len(piece) == min(size, len(netascii) - len(found))
        found += piece
    assert found == netascii
