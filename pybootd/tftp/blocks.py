"""A file cut into ready-to-send DATA packets, shared by all who read it; and streams.

Two kinds of blocks, alike for who sends them: ``Shared`` of a file that stands still, ``Held`` of
octets that come once. Blocks count from 1 without wrapping, the wire's numbers wrap to 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence

from pybootd.files.source import Body, StaticBody, StreamBody
from pybootd.tftp.sender import UNKNOWN
from pybootd.tftp.wire.packet import Opcode

Buffer = bytes | memoryview

# octets of a chunk's memory beside its packets, and for each of them
_OVERHEAD, _SLICE = 512, 256
_DATA = Opcode.DATA << 16


def header(block: int) -> bytes:
    """Return the first four octets of a block's packet (RFC 1350 5; numbers wrap to 0)."""
    return (_DATA | block & 0xFFFF).to_bytes(4)


def ack(block: int) -> bytes:
    """Return the octets that acknowledge a block."""
    return (Opcode.ACK << 16 | block & 0xFFFF).to_bytes(4)


class Blocks(ABC):
    """The packets of one transfer. ``last`` is the number of the last block, or UNKNOWN."""

    last: int
    size: int | None

    @abstractmethod
    def packet(self, block: int) -> Buffer | None:
        """Return one packet; None when the source has not got it yet. Raises FileError."""

    @abstractmethod
    def run(self, block: int, count: int) -> Sequence[Buffer]:
        """Return packets that follow one another, fewer where the source has no more yet.

        A buffer may hold several, each but the last of full length. Raises FileError.
        """

    @abstractmethod
    def acknowledged(self, block: int) -> None:
        """Let go of everything below this block."""

    @abstractmethod
    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when a packet that was not there may be."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; may be called twice."""


class Chunk:
    """Some packets of a file, one behind the other, each but the last ``stride`` octets long."""

    __slots__ = ("_acks", "_packets", "first", "stride", "view", "weight")

    def __init__(self, first: int, packets: bytes, stride: int) -> None:
        self.first = first
        self.stride = stride
        self.view: memoryview | None = memoryview(packets)  # None once it had to go
        self.weight = len(packets) + (_OVERHEAD + -(-len(packets) // stride) * _SLICE)
        self._packets: list[memoryview] = []
        self._acks: list[bytes] = []

    @property
    def packets(self) -> list[memoryview]:
        """The packets one by one; empty once it had to go."""
        if not self._packets and self.view is not None:
            starts = range(0, len(self.view), self.stride)
            self._packets += [self.view[start : start + self.stride] for start in starts]
        return self._packets

    @property
    def acks(self) -> list[bytes]:
        """What acknowledges each of the packets."""
        if not self._acks:
            self._acks += map(ack, range(self.first, self.first + len(self.packets)))
        return self._acks

    def drop(self) -> None:
        """Let the packets go, also for those who hold the list."""
        self.view = None
        self._packets.clear()
        self._acks.clear()


_NOTHING = Chunk(0, b"", 1)
_NOTHING.drop()


class Cut:
    """One version of a file cut for one block size, for all transfers that send it."""

    def __init__(self, cache: Cache, body: StaticBody, blocksize: int, octets: int) -> None:
        self.cache = cache
        self.body = body
        self.blocksize = blocksize
        self.stride = blocksize + 4
        self.last = body.size // blocksize + 1
        self.per = _whole_windows(octets // self.stride)  # blocks a chunk
        self.chunks: dict[int, Chunk] = {}
        self.users = 0

    def chunk(self, block: int) -> Chunk:
        """Return the chunk that holds the block, cut now if need be. Raises Unavailable."""
        index = (block - 1) // self.per
        chunk = self.chunks.get(index)
        if chunk is None:
            first = index * self.per + 1
            packets = self._cut(first, min(self.per, self.last + 1 - first))
            chunk = Chunk(first, packets, self.stride)
            self.chunks[index] = chunk
        self.cache.used(self, index, chunk)
        return chunk

    def _cut(self, first: int, count: int) -> bytes:
        size = self.blocksize
        data = self.body.pread(count * size, (first - 1) * size)
        parts: list[bytes] = []
        for number in range(count):  # views would save a copy and cost twice as much
            parts += header(first + number), data[number * size : (number + 1) * size]
        return b"".join(parts)


def _whole_windows(blocks: int) -> int:
    """Round to what windows of usual sizes fill, so that few of them have a chunk's edge inside."""
    return max(1, blocks) if blocks < 32 else (blocks + 32) // 64 * 64


class Cache:
    """Cuts by file and block size, bounded in octets: the chunk that was longest unused goes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # so that a thousand transfers of a thousand files still find room
        self._chunk = min(max(limit // 1024, 8192), 1 << 18)
        self._cuts: dict[tuple[Hashable, int], Cut] = {}
        self._chunks: OrderedDict[tuple[int, int], tuple[Cut, Chunk]] = OrderedDict()
        self.octets = 0

    def take(self, body: StaticBody, blocksize: int) -> Cut:
        """Return the file's cut for one more transfer; the body is closed if one is at hand."""
        key = (body.key, blocksize)
        cut = self._cuts.get(key)
        if cut is None:
            cut = self._cuts[key] = Cut(self, body, blocksize, self._chunk)
        elif not cut.users:
            cut.body = body
        else:
            body.close()
        cut.users += 1
        return cut

    def give_back(self, cut: Cut) -> None:
        """Note that one transfer less needs the cut; what is cut stays for the next, if it may."""
        cut.users -= 1
        if not cut.users:
            cut.body.close()
            self._forget_if_empty(cut)

    def used(self, cut: Cut, index: int, chunk: Chunk) -> None:
        """Note a use of a chunk, and let others go if there is no room."""
        key = (id(cut), index)
        if key in self._chunks:
            self._chunks.move_to_end(key)
            return
        self._chunks[key] = (cut, chunk)
        self.octets += chunk.weight
        while self.octets > self._limit and len(self._chunks) > 1:
            (_, gone), (owner, old) = self._chunks.popitem(last=False)
            self.octets -= old.weight
            old.drop()
            del owner.chunks[gone]
            self._forget_if_empty(owner)

    def clear(self) -> None:
        """Let everything go that no running transfer needs."""
        for cut in [cut for cut in self._cuts.values() if not cut.users]:
            for index, chunk in cut.chunks.items():
                self.octets -= chunk.weight
                chunk.drop()
                del self._chunks[id(cut), index]
            cut.chunks.clear()
            self._forget_if_empty(cut)

    def _forget_if_empty(self, cut: Cut) -> None:
        if not cut.users and not cut.chunks:
            self._cuts.pop((cut.body.key, cut.blocksize), None)


class Shared(Blocks):
    """One transfer's way through a cut."""

    __slots__ = ("_chunk", "_closed", "_cut", "_first", "_packets", "_stride", "last", "size")

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._stride = cut.stride
        self._chunk = _NOTHING
        self._first = 0  # the chunk's first block, and its packets
        self._packets: list[memoryview] = []
        self._closed = False
        self.last = cut.last
        self.size: int | None = cut.body.size

    def packet(self, block: int) -> memoryview:
        """Return one packet. Raises Unavailable when the file changed."""
        index = block - self._first
        if index >= 0:
            try:
                return self._packets[index]
            except IndexError:
                pass
        chunk = self._chunk = self._cut.chunk(block)
        self._first, self._packets = chunk.first, chunk.packets
        return self._packets[block - self._first]

    def at_hand(self, block: int) -> tuple[int, Sequence[memoryview], Sequence[bytes]]:
        """Return the number of the first packet around this one, the packets, and their ACKs.

        The lists are empty once their memory is needed elsewhere. Raises Unavailable.
        """
        chunk = self._chunk = self._cut.chunk(block)
        return chunk.first, chunk.packets, chunk.acks

    def stretch(self, block: int, count: int) -> memoryview | None:
        """Return packets in one piece if they are in the chunk that was used last."""
        chunk, stride = self._chunk, self._stride
        start = (block - chunk.first) * stride
        if chunk.view is None or start < 0:
            return None
        piece = chunk.view[start : start + count * stride]
        return piece if len(piece) > (count - 1) * stride else None

    def run(self, block: int, count: int) -> Sequence[memoryview]:
        """Return packets in one piece, or in more where chunks meet."""
        stride = self._stride
        pieces = []
        while count:
            chunk, view = self._chunk, self._chunk.view
            start = (block - chunk.first) * stride
            if view is None or not 0 <= start < len(view):
                chunk, view = self._find(block)
                start = (block - chunk.first) * stride
            piece = view[start : start + count * stride]
            pieces.append(piece)
            got = -(-len(piece) // stride)
            block += got
            count -= got
        return pieces

    def _find(self, block: int) -> tuple[Chunk, memoryview]:
        chunk = self._chunk = self._cut.chunk(block)
        if chunk.view is None:
            raise RuntimeError("a chunk went while it was being used")
        return chunk, chunk.view

    def acknowledged(self, block: int) -> None:
        """Do nothing: the cache decides what goes."""

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Never needed: every block is there."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the cut back."""
        if not self._closed:
            self._closed = True
            self._cut.cache.give_back(self._cut)


class Held(Blocks):
    """The blocks of a stream: those that are not acknowledged are held, the rest is to come."""

    __slots__ = ("_body", "_first", "_packets", "_size", "last", "size")

    def __init__(self, body: StreamBody, blocksize: int) -> None:
        self._body = body
        self._size = blocksize
        self._packets: deque[bytes] = deque()
        self._first = 1
        self.last = UNKNOWN
        self.size = body.size

    def packet(self, block: int) -> bytes | None:
        """Return one packet. Raises Unavailable when the rest will never come."""
        while block >= self._first + len(self._packets) and self.last == UNKNOWN:
            data = self._body.read(self._size)
            if data is None:
                return None
            number = self._first + len(self._packets)
            self._packets.append(header(number) + data)
            if len(data) < self._size:
                self.last = number
                self.size = (number - 1) * self._size + len(data)
        index = block - self._first
        return self._packets[index] if 0 <= index < len(self._packets) else None

    def run(self, block: int, count: int) -> Sequence[bytes]:
        """Return the packets that are there."""
        found = []
        for number in range(block, block + count):
            packet = self.packet(number)
            if packet is None:
                break
            found.append(packet)
        return found

    def acknowledged(self, block: int) -> None:
        """Let go of everything below this block."""
        while self._first < block and self._packets:
            self._packets.popleft()
            self._first += 1

    def when_ready(self, callback: Callable[[float], None]) -> None:
        """Call back once when the stream may have more."""
        self._body.when_ready(callback)

    def close(self) -> None:
        """Close the stream."""
        self._body.close()


class NetasciiEncoder(StreamBody):
    """A body in netascii (RFC 1350 1, RFC 764): LF goes out as CR LF, CR as CR NUL.

    Its size is not known beforehand. The translation knows no blocks, so a CR at a block's edge
    has its second octet in the next block.
    """

    _STEP = 1 << 14

    def __init__(self, body: Body) -> None:
        self._body = body
        self._offset = 0
        self._ready = bytearray()
        self._ended = False
        self.size = None

    def read(self, count: int) -> bytes | None:
        """Take the next octets, as StreamBody says."""
        while len(self._ready) < count and not self._ended:
            data = self._next()
            if data is None:
                return None
            self._ended = len(data) < self._STEP
            self._ready += data.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
        taken = bytes(self._ready[:count])
        del self._ready[:count]
        return taken

    def _next(self) -> bytes | None:
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
