"""The middle box: passes frames between its two interfaces, and loses, repeats and delays some.

``python box.py LOSS REPEATED LATE SEED``, each a share of all frames; runs until it is ended.
"""

import contextlib
import heapq
import random
import select
import socket
import sys
import time

ETH_P_ALL = 3
PACKET_OUTGOING = 4
DELAY = 0.003  # seconds that a late frame is held, while others pass it


def _open(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.setsockopt(263, 1, _promiscuous(interface))  # SOL_PACKET, PACKET_ADD_MEMBERSHIP
    sock.bind((interface, 0))
    sock.setblocking(False)
    return sock


def _promiscuous(interface: str) -> bytes:
    # struct packet_mreq, packet(7): index, PACKET_MR_PROMISC, no address
    return socket.if_nametoindex(interface).to_bytes(4, sys.byteorder) + b"\1\0\0\0" + bytes(8)


def main(loss: float, repeated: float, late: float, seed: int) -> None:
    """Pass frames on for ever."""
    chance = random.Random(seed)
    sides = [_open("eth0"), _open("eth1")]
    held: list[tuple[float, int, socket.socket, bytes]] = []
    count = 0
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        ready = select.select(sides, [], [], wait)[0]
        for side in ready:
            other = sides[1 - sides.index(side)]
            for _ in range(64):
                try:
                    frame, origin = side.recvfrom(65536)
                except BlockingIOError:
                    break
                if origin[2] == PACKET_OUTGOING or chance.random() < loss:
                    continue
                count += 1
                if chance.random() < late:
                    heapq.heappush(held, (time.monotonic() + DELAY, count, other, frame))
                    continue
                for _ in range(2 if chance.random() < repeated else 1):
                    _send(other, frame)
        while held and held[0][0] <= time.monotonic():
            _, _, other, frame = heapq.heappop(held)
            _send(other, frame)


def _send(sock: socket.socket, frame: bytes) -> None:
    with contextlib.suppress(OSError):  # its buffer is full: one more loss
        sock.send(frame)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
