"""A file cut into ready-to-send DATA packets, shared by all who read it; and streams.

Two kinds of blocks, alike for who sends them: ``CachedBlocks`` of a file that stands still,
``StreamBlocks`` of octets that come once. Blocks count from 1 without wrapping, the wire's
numbers wrap to 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence

from pybootd.files.source import Body, StaticBody, StreamBody
from pybootd.tftp.sender import UNKNOWN_LAST_BLOCK
from pybootd.tftp.wire.netascii import encode_netascii
from pybootd.tftp.wire.packet import ack_packet, data_header

Buffer = bytes | memoryview

CHUNK_OVERHEAD = 512
"""Octets of a chunk's memory beside its packets."""
PACKET_OVERHEAD = 256
"""Octets of memory for each packet that is looked at alone."""
MIN_CHUNK_OCTETS = 8192
MAX_CHUNK_OCTETS = 1 << 18


class BlockSource(ABC):
    """The packets of one transfer. ``last_block`` is UNKNOWN_LAST_BLOCK while it is unknown."""

    last_block: int
    size: int | None

    @abstractmethod
    def read_packets(self, block: int, count: int) -> Sequence[Buffer]:
        """Return packets that follow one another, fewer where the source has no more yet.

        A buffer may hold several, each but the last of full length. Raises FileError.
        """

    @abstractmethod
    def release_below(self, block: int) -> None:
        """Let go of everything below this block: it is acknowledged."""

    @abstractmethod
    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when a packet that was not there may be."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; may be called twice."""


class BlockChunk:
    """Some packets of a file one behind the other, each but the last ``packet_length`` octets."""

    __slots__ = ("_acks", "_packets", "first_block", "memory", "packet_length", "view")

    def __init__(self, first_block: int, packets: bytes, packet_length: int) -> None:
        self.first_block = first_block
        self.packet_length = packet_length
        self.view: memoryview | None = memoryview(packets)  # None once it had to go
        count = -(-len(packets) // packet_length)
        self.memory = len(packets) + (CHUNK_OVERHEAD + count * PACKET_OVERHEAD)
        self._packets: list[memoryview] = []
        self._acks: list[bytes] = []

    @property
    def packets(self) -> list[memoryview]:
        """The packets one by one; empty once it had to go."""
        if not self._packets and self.view is not None:
            starts = range(0, len(self.view), self.packet_length)
            self._packets += [self.view[start : start + self.packet_length] for start in starts]
        return self._packets

    @property
    def acks(self) -> list[bytes]:
        """What acknowledges each of the packets."""
        if not self._acks:
            end = self.first_block + len(self.packets)
            self._acks += map(ack_packet, range(self.first_block, end))
        return self._acks

    def drop_packets(self) -> None:
        """Let the packets go, also for those who hold the list."""
        self.view = None
        self._packets.clear()
        self._acks.clear()


_NO_CHUNK = BlockChunk(0, b"", 1)
_NO_CHUNK.drop_packets()


class CutFile:
    """One version of a file cut for one block size, for all transfers that send it."""

    def __init__(
        self, cache: BlockCache, body: StaticBody, blocksize: int, chunk_octets: int
    ) -> None:
        self.cache = cache
        self.body = body
        self.blocksize = blocksize
        self.packet_length = blocksize + 4
        self.last_block = body.size // blocksize + 1
        self.blocks_per_chunk = _round_to_windows(chunk_octets // self.packet_length)
        self.chunks: dict[int, BlockChunk] = {}
        self.users = 0

    def load_chunk(self, block: int) -> BlockChunk:
        """Return the chunk that holds the block, cut now if need be. Raises Unavailable."""
        index = (block - 1) // self.blocks_per_chunk
        chunk = self.chunks.get(index)
        if chunk is None:
            first = index * self.blocks_per_chunk + 1
            packets = self._cut_packets(
                first, min(self.blocks_per_chunk, self.last_block + 1 - first)
            )
            chunk = BlockChunk(first, packets, self.packet_length)
            self.chunks[index] = chunk
        self.cache.note_use(self, index, chunk)
        return chunk

    def _cut_packets(self, first: int, count: int) -> bytes:
        size = self.blocksize
        data = self.body.pread(count * size, (first - 1) * size)
        parts: list[bytes] = []
        for number in range(count):  # views would save a copy and cost twice as much
            parts += data_header(first + number), data[number * size : (number + 1) * size]
        return b"".join(parts)


def _round_to_windows(blocks: int) -> int:
    """Round to what windows of usual sizes fill, so that few of them have a chunk's edge inside."""
    return max(1, blocks) if blocks < 32 else (blocks + 32) // 64 * 64


class BlockCache:
    """Cut files by file and block size; the chunk that was longest unused goes.

    ``limit`` bounds the octets of all chunks.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # so that a thousand transfers of a thousand files still find room
        self._chunk_octets = min(max(limit // 1024, MIN_CHUNK_OCTETS), MAX_CHUNK_OCTETS)
        self._files: dict[tuple[Hashable, int], CutFile] = {}
        self._chunks: OrderedDict[tuple[int, int], tuple[CutFile, BlockChunk]] = OrderedDict()
        self.octets = 0

    @property
    def files(self) -> int:
        """How many cut files are remembered."""
        return len(self._files)

    def acquire_file(self, body: StaticBody, blocksize: int) -> CutFile:
        """Return the cut file for one more transfer; a body that isn't needed is closed."""
        key = (body.key, blocksize)
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = CutFile(self, body, blocksize, self._chunk_octets)
        elif not file.users:
            file.body = body
        else:
            body.close()
        file.users += 1
        return file

    def release_file(self, file: CutFile) -> None:
        """Note that one transfer less needs the file; what is cut stays while there is room."""
        file.users -= 1
        if not file.users:
            file.body.close()
            self._forget_if_empty(file)

    def note_use(self, file: CutFile, index: int, chunk: BlockChunk) -> None:
        """Note a use of a chunk, and let others go if there is no room."""
        key = (id(file), index)
        if key in self._chunks:
            self._chunks.move_to_end(key)
            return
        self._chunks[key] = (file, chunk)
        self.octets += chunk.memory
        while self.octets > self._limit and len(self._chunks) > 1:
            (_, old_index), (owner, old) = self._chunks.popitem(last=False)
            self.octets -= old.memory
            old.drop_packets()
            del owner.chunks[old_index]
            self._forget_if_empty(owner)

    def drop_unused(self) -> None:
        """Let everything go that no running transfer needs."""
        for file in [file for file in self._files.values() if not file.users]:
            for index, chunk in file.chunks.items():
                self.octets -= chunk.memory
                chunk.drop_packets()
                del self._chunks[id(file), index]
            file.chunks.clear()
            self._forget_if_empty(file)

    def _forget_if_empty(self, file: CutFile) -> None:
        if not file.users and not file.chunks:
            self._files.pop((file.body.key, file.blocksize), None)


class CachedBlocks(BlockSource):
    """One transfer's way through a cut file."""

    __slots__ = (
        "_chunk",
        "_closed",
        "_file",
        "_packet_length",
        "last_block",
        "size",
    )

    def __init__(self, file: CutFile) -> None:
        self._file = file
        self._packet_length = file.packet_length
        self._chunk = _NO_CHUNK
        self._closed = False
        self.last_block = file.last_block
        self.size: int | None = file.body.size

    def list_packets(self, block: int) -> tuple[int, Sequence[memoryview], Sequence[bytes]]:
        """Return the first block of those around this one, their packets, and their ACKs.

        The lists are empty once their memory is needed elsewhere. Raises Unavailable.
        """
        chunk = self._chunk = self._file.load_chunk(block)
        return chunk.first_block, chunk.packets, chunk.acks

    def slice_packets(self, block: int, count: int) -> memoryview | None:
        """Return packets in one piece if they are in the chunk that was used last."""
        chunk, length = self._chunk, self._packet_length
        start = (block - chunk.first_block) * length
        if chunk.view is None or start < 0:
            return None
        piece = chunk.view[start : start + count * length]
        return piece if len(piece) > (count - 1) * length else None

    def read_packets(self, block: int, count: int) -> Sequence[memoryview]:
        """Return packets in one piece, or in more where chunks meet."""
        length = self._packet_length
        pieces = []
        while count:
            chunk, view = self._chunk, self._chunk.view
            start = (block - chunk.first_block) * length
            if view is None or not 0 <= start < len(view):
                chunk, view = self._load_chunk(block)
                start = (block - chunk.first_block) * length
            piece = view[start : start + count * length]
            pieces.append(piece)
            got = -(-len(piece) // length)
            block += got
            count -= got
        return pieces

    def _load_chunk(self, block: int) -> tuple[BlockChunk, memoryview]:
        chunk = self._chunk = self._file.load_chunk(block)
        if chunk.view is None:
            raise RuntimeError("a chunk went while it was being used")
        return chunk, chunk.view

    def release_below(self, block: int) -> None:
        """Do nothing: the cache decides what goes."""

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Never needed: every block is there."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the cut file back."""
        if not self._closed:
            self._closed = True
            self._file.cache.release_file(self._file)


class StreamBlocks(BlockSource):
    """The blocks of a stream: those that are not acknowledged are held, the rest is to come."""

    __slots__ = ("_blocksize", "_body", "_first_block", "_packets", "last_block", "size")

    def __init__(self, body: StreamBody, blocksize: int) -> None:
        self._body = body
        self._blocksize = blocksize
        self._packets: deque[bytes] = deque()
        self._first_block = 1
        self.last_block = UNKNOWN_LAST_BLOCK
        self.size = body.size

    def read_packet(self, block: int) -> bytes | None:
        """Return one packet; None when the source has not got it yet.

        Raises Unavailable when the rest will never come.
        """
        while (
            block >= self._first_block + len(self._packets)
            and self.last_block == UNKNOWN_LAST_BLOCK
        ):
            data = self._body.read(self._blocksize)
            if data is None:
                return None
            number = self._first_block + len(self._packets)
            self._packets.append(data_header(number) + data)
            if len(data) < self._blocksize:
                self.last_block = number
                self.size = (number - 1) * self._blocksize + len(data)
        index = block - self._first_block
        return self._packets[index] if 0 <= index < len(self._packets) else None

    def read_packets(self, block: int, count: int) -> Sequence[bytes]:
        """Return the packets that are there."""
        found = []
        for number in range(block, block + count):
            packet = self.read_packet(number)
            if packet is None:
                break
            found.append(packet)
        return found

    def release_below(self, block: int) -> None:
        """Let go of everything below this block: it is acknowledged."""
        while self._first_block < block and self._packets:
            self._packets.popleft()
            self._first_block += 1

    @property
    def held(self) -> int:
        """How many packets are held: they may have to be sent again."""
        return len(self._packets)

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when the stream may have more."""
        self._body.when_ready(callback)

    def close(self) -> None:
        """Close the stream."""
        self._body.close()


class NetasciiStream(StreamBody):
    """A body as netascii. Its size is not known beforehand."""

    _STEP = 1 << 14  # octets that are translated at once

    def __init__(self, body: Body) -> None:
        self._body = body
        self._offset = 0
        self._ready = bytearray()
        self._ended = False
        self.size = None

    def read(self, count: int) -> bytes | None:
        """Return the next octets, as StreamBody says."""
        while len(self._ready) < count and not self._ended:
            data = self._read_body()
            if data is None:
                return None
            self._ended = len(data) < self._STEP
            self._ready += encode_netascii(data)
        taken = bytes(self._ready[:count])
        del self._ready[:count]
        return taken

    def _read_body(self) -> bytes | None:
        if isinstance(self._body, StaticBody):
            data = self._body.pread(self._STEP, self._offset)
            self._offset += len(data)
            return data
        if isinstance(self._body, StreamBody):
            return self._body.read(self._STEP)
        raise TypeError(f"{type(self._body).__name__} is neither a StaticBody nor a StreamBody")

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when ``read`` may have more to say."""
        if isinstance(self._body, StreamBody):
            self._body.when_ready(callback)

    def close(self) -> None:
        """Close the body."""
        self._body.close()
