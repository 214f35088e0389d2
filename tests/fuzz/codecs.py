"""Octets that claim to be a packet: each is read or refused, and what is read can be written."""

from ipaddress import IPv4Address
from uuid import UUID

from pybootd.config.bootfile import BootFileConfig
from pybootd.core.client import Client
from pybootd.dhcp4.bootfile import describe_hint
from pybootd.dhcp4.request import read_server_id_override
from pybootd.dhcp4.wire import pxe
from pybootd.dhcp4.wire.packet import COOKIE, DhcpPacketError, Packet, decode, encode
from pybootd.tftp.wire import packet as tftp
from pybootd.tftp.wire.options import Terms, negotiate
from tests.dhcp4.desk import choose

from .feed import Feed

FILES = BootFileConfig("default.0", "menu.ipxe", {0: "pxelinux.0", 7: "shim.efi"})
_HEADER = bytes((1, 1, 6, 0)) + b"xid!" + bytes(20) + b"\x52\x54\0\x12\x34\x56" + bytes(10)
_RANGES = {"blksize": (8, 65464), "windowsize": (1, 65535), "timeout": (1, 255)}


def dhcp_packet(data: bytes) -> None:
    """Two octets are a limit, the rest is a message: header, options, overload."""
    feed = Feed(data)
    limit = 300 + feed.number() % 1300
    try:
        packet = decode(feed.rest())
    except DhcpPacketError as error:
        assert str(error).isprintable()
        return
    written = encode(packet)
    assert decode(written) == packet
    assert encode(decode(written)) == written
    _fits(packet, limit)


def _fits(packet: Packet, limit: int) -> None:
    data = encode(packet, limit)
    assert len(data) <= limit
    again = decode(data)
    assert again.options.items() <= packet.options.items()
    assert (again.file, again.sname) == (packet.file, packet.sname)


def dhcp_options(data: bytes) -> None:
    """Options alone, in the vendor field, ``file`` and ``sname``: what they say of the client."""
    feed = Feed(data)
    file, sname = feed.take(feed.octet() % 129), feed.take(feed.octet() % 65)
    fields = sname.ljust(64, b"\0") + file.ljust(128, b"\0")
    try:
        packet = decode(_HEADER + fields + COOKIE + feed.rest())
    except DhcpPacketError:
        return
    _fits(packet, 300)
    client = pxe.read_client(packet, "lan0")
    for said in (client.vendor_class, client.user_class, client.hostname, client.circuit_id):
        assert said.isascii()
        assert said.isprintable()
    assert isinstance(client.uuid, UUID | None)
    assert isinstance(read_server_id_override(packet), IPv4Address | None)
    _answers(packet, client)


def _answers(packet: Packet, client: Client) -> None:
    """See that what a reply takes over from a request can be written."""
    choice = choose(FILES, client)
    chosen = choice.told
    assert not (client.ipxe and chosen.endswith(".kpxe"))
    assert describe_hint(client, choice).isprintable()
    given = pxe.reply_options(packet, client, chosen)
    for sent in (given, pxe.boot_server_options(packet, given)):
        reply = Packet(2, chaddr=packet.chaddr, options=sent)
        assert decode(encode(reply)) == reply
    for code in (43, 82, 175):
        for item, value in pxe.parse_vendor(packet.options.get(code, b"")).items():
            assert 0 < item < 255
            assert bytes((item, len(value))) + value in packet.options[code]


def tftp_packet(data: bytes) -> None:
    """One datagram, and what its options are granted; three octets are what we have to grant."""
    feed = Feed(data)
    blocksize = 8 + feed.number() % 65457
    size = None if (least := feed.octet()) == 255 else least << (least % 32)
    tftp._decode_request.cache_clear()
    negotiate.cache_clear()
    octets = feed.rest()
    try:
        packet = tftp.decode(octets)
    except tftp.TftpPacketError as error:
        assert str(error).isprintable()
        return
    written = tftp.encode(packet)
    assert tftp.decode(written) == packet
    assert len(written) <= len(octets) + 1  # an ERROR's text may lack its NUL
    if isinstance(packet, tftp.Rrq | tftp.Wrq):
        _granted(packet.options, negotiate(packet.options, blocksize, 64, size), blocksize, size)


def _granted(asked: tftp.Options, terms: Terms, blocksize: int, size: int | None) -> None:
    """RFC 2347: nothing that wasn't asked for, nothing twice; RFC 2348, 2349, 7440: in range."""
    names = [name.lower() for name, _ in terms.granted]
    wanted = [name.lower() for name, _ in asked]
    assert all(wanted.count(name) == 1 for name in names)
    assert sorted(names, key=wanted.index) == names
    for name, text in terms.granted:
        word, value = name.lower(), int(text)
        low, high = _RANGES.get(word, (size, size))
        assert low is not None
        assert high is not None
        assert low <= value <= high
    assert 8 <= terms.blocksize <= max(512, blocksize)
    assert 1 <= terms.windowsize <= 64
    assert bool(terms.oack) == bool(terms.granted)
    if terms.oack:
        assert tftp.decode(terms.oack) == tftp.Oack(terms.granted)
        assert len(terms.oack) <= 2 + sum(len(name.encode()) + 22 for name in names)
