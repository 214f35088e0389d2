"""What a stranger on the wire does: ``stranger.py THING`` takes what it can of one thing.

It says "begun" once it has done so 200 times, and goes on until it is ended.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pybootd.dhcp4.wire.packet import BROADCAST_FLAG, MessageType, Packet, encode

SERVER = "192.168.1.1"
REST_S = 0.002  # between two of its acts
BEGUN = 200


class Stranger:
    """The sockets that it holds."""

    def __init__(self) -> None:
        self.kept: list[socket.socket] = []

    def open_socket(self, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        self.kept.append(made)
        return made

    def keep_newest(self, count: int) -> None:
        while len(self.kept) > count:
            self.kept.pop(0).close()


def rrq(name: str, *options: str) -> bytes:
    return b"\0\x01" + "\0".join((name, "octet", *options, "")).encode()


def hold_transfers(stranger: Stranger) -> Iterator[None]:
    """Acknowledge once, then say nothing for as long as a client may."""
    while True:
        sock = stranger.open_socket()
        with contextlib.suppress(OSError):
            sock.sendto(rrq("initrd", "timeout", "255", "blksize", "1428"), (SERVER, 69))
        yield
        with contextlib.suppress(OSError):
            _, peer = sock.recvfrom(2000)
            sock.sendto(b"\0\x04\0\0", peer)
        stranger.keep_newest(3000)


def hold_uploads(stranger: Stranger) -> Iterator[None]:
    number = 0
    while True:
        number += 1
        sock = stranger.open_socket()
        with contextlib.suppress(OSError):
            sock.sendto(
                b"\0\x02" + f"stranger-{number}\0octet\0timeout\x00255\0".encode(), (SERVER, 69)
            )
        yield
        stranger.keep_newest(1000)


def hold_connections(stranger: Stranger) -> Iterator[None]:
    """Open connections and send an octet of a request on each now and then."""
    while True:
        sock = stranger.open_socket(socket.SOCK_STREAM)
        with contextlib.suppress(OSError):
            sock.connect((SERVER, 80))
        yield
        for one in stranger.kept[-20:]:
            with contextlib.suppress(OSError):
                one.send(b"G")
        stranger.keep_newest(1000)


def ask_for_addresses(stranger: Stranger) -> Iterator[None]:
    sock = stranger.open_socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
    sock.bind(("0.0.0.0", 68))
    number = 0
    while True:
        number += 1
        packet = Packet(xid=number, flags=BROADCAST_FLAG, chaddr=b"\x02\0" + number.to_bytes(4))
        packet.options[53] = bytes((MessageType.DISCOVER,))
        packet.options[60] = b"PXEClient:Arch:00007:UNDI:003016"
        packet.options[93] = b"\0\x07"
        with contextlib.suppress(OSError):
            sock.sendto(encode(packet), ("255.255.255.255", 67))
        yield


def decline_offers(stranger: Stranger) -> Iterator[None]:
    sock = stranger.open_socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
    sock.bind(("0.0.0.0", 68))
    server = socket.inet_aton(SERVER)
    while True:
        for last in range(100, 200):
            packet = Packet(xid=last, chaddr=b"\x02\x01\0\0\0" + bytes((last,)))
            packet.options[60] = b"PXEClient:Arch:00007:UNDI:003016"
            packet.options[93] = b"\0\x07"
            wanted = socket.inet_aton(f"192.168.1.{last}")
            for kind in (MessageType.DISCOVER, MessageType.DECLINE):
                packet.options[53] = bytes((kind,))
                packet.options[50] = wanted
                if kind is MessageType.DECLINE:
                    packet.options[54] = server
                with contextlib.suppress(OSError):
                    sock.sendto(encode(packet), ("255.255.255.255", 67))
                yield


def ask_for(name: str) -> Callable[[Stranger], Iterator[None]]:
    """Ask for one name from ever new ports, as requests that bear a forged address do."""

    def act(stranger: Stranger) -> Iterator[None]:
        number = 0
        while True:
            number += 1
            sock = stranger.open_socket()
            with contextlib.suppress(OSError):
                sock.sendto(rrq(name.format(number)), (SERVER, 69))
            yield
            stranger.keep_newest(500)

    return act


STRANGERS = {
    "transfers": hold_transfers,
    "uploads": hold_uploads,
    "connections": hold_connections,
    "offers": ask_for_addresses,
    "declined addresses": decline_offers,
    "template workers": ask_for("heavy.cfg"),
    "looks for missing files": ask_for("none-{}"),
}


def main() -> None:
    for count, _ in enumerate(STRANGERS[sys.argv[1]](Stranger())):
        if count == BEGUN:
            print("begun", flush=True)
        time.sleep(REST_S)


if __name__ == "__main__":
    main()
