"""How little a TFTP server in Python can cost here: pybootd's loop without all that makes it one.

bare.py PORT FOLDER: as floor.c, and in as few steps of Python as the author knew how: no timers,
no retransmission, no checks, no log. The distance from floor.c to this is the interpreter's price,
that from this to pybootd is the price of our code.
"""

import os
import resource
import select
import socket
import sys
from pathlib import Path

SEGMENTS, OCTETS = 64, 65507
SOL_UDP, UDP_SEGMENT = 17, 103

Packets = list[memoryview]
cuts: dict[tuple[str, int, int], Packets] = {}


def cut(folder: str, name: str, size: int, step: int) -> Packets:
    """Return what leaves with each call, ``step`` packets in one piece."""
    pieces = cuts.get((name, size, step))
    if pieces is None:
        data = (Path(folder) / name).read_bytes()
        packets = b"".join(
            (3 << 16 | block & 0xFFFF).to_bytes(4) + data[(block - 1) * size : block * size]
            for block in range(1, len(data) // size + 2)
        )
        stride = (size + 4) * step
        view = memoryview(packets)
        pieces = [view[at : at + stride] for at in range(0, len(packets), stride)]
        cuts[name, size, step] = pieces
    return pieces


def request(listening: socket.socket, folder: str) -> tuple[socket.socket, list[bytes], Packets]:
    """Take a request and send the OACK; return its socket, the ACKs to come, what each lets out."""
    data, peer = listening.recvfrom(1024)
    words = data[2:].decode().split("\0")
    options = dict(zip(words[2:-1:2], words[3:-1:2], strict=False))
    size, window = int(options.get("blksize", 512)), int(options.get("windowsize", 1))
    step = min(window, SEGMENTS, OCTETS // (size + 4))
    if step != window:
        raise SystemExit("bare.py: a window must fit one call")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.connect(peer)
    if step > 1:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, size + 4)
    pieces = cut(folder, words[0], size, step)
    last = sum(-(-len(piece) // (size + 4)) for piece in pieces[-1:]) + (len(pieces) - 1) * step
    numbers = [0, *range(step, last, step), last]
    acks = [(4 << 16 | number & 0xFFFF).to_bytes(4) for number in numbers]
    sock.send(b"\0\6" + b"".join(f"{k}\0{v}\0".encode() for k, v in options.items()))
    return sock, acks, pieces


def serve(port: int, folder: str) -> None:
    """Turn for ever: read what came, then send what it lets out."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("", port))
    poller = select.epoll()
    poller.register(listening, select.EPOLLIN)
    own = listening.fileno()
    running: dict[int, tuple[socket.socket, list[bytes], Packets]] = {}
    at: dict[int, int] = {}
    read, write, poll = os.read, os.write, poller.poll
    while True:
        posted = []
        for number, _ in poll():
            if number == own:
                made = request(listening, folder)
                number = made[0].fileno()
                running[number], at[number] = made, 0
                poller.register(number, select.EPOLLIN | select.EPOLLET)
                continue
            sock, acks, pieces = running[number]
            index = at[number]
            if read(number, 64) != acks[index]:
                continue
            at[number] = index + 1
            if index < len(pieces):
                posted.append((number, pieces[index]))
            else:
                del running[number]
                sock.close()
        for number, piece in posted:
            write(number, piece)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    serve(int(sys.argv[1]), sys.argv[2])
