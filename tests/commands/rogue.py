"""A server that answers as it is told, however wrong: DHCP, port 4011, TFTP and HTTP.

Run as a program on a host of a private network, with a description in JSON as its argument.
"""

import json
import select
import socket
import struct
import sys
import threading
from ipaddress import IPv4Address as A

from pybootd.dhcp4.wire import packet
from pybootd.dhcp4.wire.packet import Packet
from pybootd.tftp.wire import packet as tftp

DEFAULTS = {
    "address": "10.7.0.150",
    "siaddr": "10.7.0.1",
    "file": "loader.efi",
    "options": {
        "53": "02",
        "54": "0a070001",
        "1": "ffffff00",
        "51": "00000e10",
        "3": "0a070001",
    },
    "unicast": False,
    "boot_server": None,  # file that port 4011 names
    "files": {},
    "tftp": True,
    "oack": None,
    "http": None,  # head and body, as hexadecimal digits
}


def main():
    told = json.loads(sys.argv[1])
    server = DEFAULTS | told
    server["options"] = {
        code: value
        for code, value in (DEFAULTS["options"] | told.get("options", {})).items()
        if value is not None
    }
    sockets = {}
    for port in (67, *([4011] if server["boot_server"] else []), *([69] if server["tftp"] else [])):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if port == 67:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.bind(("", port))
        sockets[sock] = port
    if server["http"]:
        threading.Thread(
            target=serve_http, args=(bytes.fromhex(server["http"]),), daemon=True
        ).start()
    while True:
        for sock in select.select(list(sockets), [], [])[0]:
            data, peer = sock.recvfrom(2048)
            if sockets[sock] == 69:
                threading.Thread(target=serve_tftp, args=(server, data, peer), daemon=True).start()
            else:
                answer(server, sock, sockets[sock], data, peer)


def answer(server, sock, port, data, peer):
    asked = packet.decode(data)
    given = {int(code): bytes.fromhex(value) for code, value in server["options"].items()}
    made = Packet(2, xid=asked.xid, chaddr=asked.chaddr, flags=asked.flags, options=given)
    made.siaddr = A(server["siaddr"])
    if port == 4011:
        given[53] = b"\5"
        made.file = server["boot_server"].encode()
        sock.sendto(packet.encode(made), peer)
        return
    made.yiaddr = A(server["address"])
    made.file = (
        bytes.fromhex(server["file"][4:])
        if server["file"].startswith("hex:")
        else server["file"].encode()
    )
    if server["unicast"]:
        send_frame(packet.encode(made), server["address"], asked.chaddr)
    else:
        sock.sendto(packet.encode(made), ("255.255.255.255", 68))


def send_frame(data, target, mac):
    udp = struct.pack("!HHHH", 67, 68, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    head += A("10.7.0.1").packed + A(target).packed
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as raw:
        raw.sendto(head + udp, ("eth0", 0x0800, 0, 0, mac))


def serve_tftp(server, data, peer):
    asked = tftp.decode(data)
    if not isinstance(asked, tftp.Rrq):
        return
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        content = server["files"].get(asked.name)
        if content is None:
            sock.sendto(tftp.encode(tftp.Error(1, "not here")), peer)
            return
        content = bytes.fromhex(content)
        if server["oack"]:
            sock.sendto(bytes.fromhex(server["oack"]), peer)
            sock.recv(2048)
        for number, at in enumerate(range(0, len(content) + 1, 512), 1):
            sock.sendto(tftp.encode(tftp.Data(number & 0xFFFF, content[at : at + 512])), peer)
            sock.recv(2048)


def serve_http(answer):
    with socket.create_server(("", 80)) as listening:
        while True:
            sock, _ = listening.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(answer)


if __name__ == "__main__":
    main()
