"""Captures of boots, made packet by packet."""

import struct
from ipaddress import IPv4Address as A

from pybootd.dhcp4.wire import options, packet
from pybootd.dhcp4.wire.packet import MessageType, Packet
from pybootd.tftp.wire import packet as tftp

SERVER, CLIENT, OTHER = "10.7.0.1", "10.7.0.100", "10.7.0.2"
MAC = bytes.fromhex("525400123456")
UEFI = b"PXEClient:Arch:00007:UNDI:003016"


def ip_packet(source, target, protocol, payload, number=0, fragment=0):
    head = struct.pack(
        "!BBHHHBBH", 0x45, 0, 20 + len(payload), number & 0xFFFF, fragment, 64, protocol, 0
    )
    return head + A(source).packed + A(target).packed + payload


class Capture:
    """Packets with their times; each way of writing them down is a method."""

    def __init__(self, when=1_700_000_000.0):
        self.when = when
        self.packets = []
        self._number = 0

    def pass_time(self, seconds):
        self.when += seconds

    def add_packet(self, data, after=0.01):
        self.when += after
        self.packets.append((self.when, data))

    def add_udp(self, source, source_port, target, target_port, data, after=0.01, mtu=0):
        self._number += 1
        udp = struct.pack("!HHHH", source_port, target_port, 8 + len(data), 0) + data
        if not mtu:
            self.add_packet(ip_packet(source, target, 17, udp, self._number), after)
            return
        for at in range(0, len(udp), mtu):
            more = 0x2000 if at + mtu < len(udp) else 0
            part = ip_packet(source, target, 17, udp[at : at + mtu], self._number, more | at // 8)
            self.add_packet(part, after)

    def add_tcp(self, source, source_port, target, target_port, sequence, data, flags=0x18):
        self._number += 1
        head = struct.pack(
            "!HHIIBBHHH", source_port, target_port, sequence, 0, 0x50, flags, 65535, 0, 0
        )
        self.add_packet(ip_packet(source, target, 6, head + data, self._number))

    def ask(self, kind, xid=7, mac=MAC, **more):
        given = {
            options.TYPE: bytes((kind,)),
            options.CLASS: UEFI,
            options.ARCHITECTURE: b"\0\7",
            **{getattr(options, name): value for name, value in more.items()},
        }
        data = packet.encode(Packet(xid=xid, flags=0x8000, chaddr=mac, options=given))
        self.add_udp("0.0.0.0", 68, "255.255.255.255", 67, data)

    def answer(self, kind, file="loader.efi", xid=7, mac=MAC, server=SERVER, next_server=None):
        given = {options.TYPE: bytes((kind,)), options.SERVER_ID: A(server).packed}
        given[options.MASK] = A("255.255.255.0").packed
        message = Packet(2, xid=xid, chaddr=mac, options=given)
        message.yiaddr = A(CLIENT)
        message.siaddr = A(next_server or server)
        message.file = file.encode()
        self.add_udp(server, 67, "255.255.255.255", 68, packet.encode(message))

    def lease(self, file="loader.efi", **more):
        self.ask(MessageType.DISCOVER)
        self.answer(MessageType.OFFER, file, **more)
        self.ask(MessageType.REQUEST, SERVER_ID=A(SERVER).packed)
        self.answer(MessageType.ACK, file, **more)

    def fetch(self, name, content, port=2000, size=512, blocks=None, mtu=0):
        """Send a file by TFTP; ``blocks``: so many of them, and not the rest."""
        asked = () if size == 512 else (("blksize", str(size)),)
        self.add_udp(CLIENT, port, SERVER, 69, tftp.encode(tftp.Rrq(name, "octet", asked)))
        if asked:
            self.add_udp(SERVER, 3000, CLIENT, port, tftp.encode(tftp.Oack(asked)))
            self.add_udp(CLIENT, port, SERVER, 3000, tftp.encode(tftp.Ack(0)))
        for number, at in enumerate(range(0, len(content) + 1, size), 1):
            if blocks is not None and number > blocks:
                return
            data = tftp.encode(tftp.Data(number, content[at : at + size]))
            self.add_udp(SERVER, 3000, CLIENT, port, data, mtu=mtu)
            self.add_udp(CLIENT, port, SERVER, 3000, tftp.encode(tftp.Ack(number)))

    def refuse(self, name, port=2001):
        self.add_udp(CLIENT, port, SERVER, 69, tftp.encode(tftp.Rrq(name, "octet", ())))
        data = tftp.encode(tftp.Error(1, "not here"))
        self.add_udp(SERVER, 3001, CLIENT, port, data)

    def get(self, name, status=200, content=b"", port=4000, sent=None, piece=1400):
        """Answer one request by HTTP; ``sent``: so many octets of the content, not the rest."""
        asked = f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        self.add_tcp(CLIENT, port, SERVER, 80, 100, asked)
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        whole = (head + content)[: None if sent is None else len(head) + sent]
        for at in range(0, len(whole), piece):
            self.add_tcp(SERVER, 80, CLIENT, port, 500 + at, whole[at : at + piece])

    def write_pcap(self, link=101, head=b"", snaplen=65535, copies=1):
        made = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, link)
        for when, data in self.packets:
            for copy in range(copies):
                frame = (head + data)[:snaplen]
                fraction = int(when % 1 * 1e6) + 40 * copy
                lengths = (len(frame), len(head) + len(data))
                made += struct.pack("<IIII", int(when), fraction, *lengths) + frame
        return made
