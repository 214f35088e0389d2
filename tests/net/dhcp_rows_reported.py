"""Rows more, of what real clients do that the RFCs don't foresee: kinds that people reported."""

from pybootd.dhcp4.wire.packet import encode

from .dhcp_rows import (
    ACK,
    DISCOVER,
    INFORM,
    MASK,
    NAK,
    OFFER,
    PXE,
    RELEASE,
    REQUEST,
    ROWS,
    WRONG,
    row,
)
from .dhcp_wire import BROADCAST_MAC, EVERYBODY, FIRST, NOBODY, RELAY, SERVER, Client, Wire, in_pool

__all__ = ["ROWS"]

CIADDRS = {"its old": FIRST + 7, "another network's": WRONG, "the server's": SERVER}


def _packet(client: Client, kind: int, octets: str, size: int = 300) -> bytes:
    """Write a message whose options are given in hexadecimal, behind option 53."""
    head = encode(client.packet(kind))[:243]
    return (head + bytes.fromhex(octets)).ljust(size, b"\0")


for _name, _old in CIADDRS.items():

    @row("RFC 2131 4.1", f"a DISCOVER with {_name} address in ciaddr: to its MAC")
    def _(wire: Wire, old: object = _old) -> None:
        client = Client(wire)
        offer = client.say(DISCOVER, ciaddr=old)
        assert (offer.kind, offer.mac, offer.to) == (OFFER, client.chaddr, offer.packet.yiaddr)

    @row("RFC 2131 4.1", f"a DISCOVER with {_name} address in ciaddr: by broadcast where it asks")
    def _(wire: Wire, old: object = _old) -> None:
        offer = Client(wire).say(DISCOVER, ciaddr=old, flags=0x8000)
        assert (offer.kind, offer.mac, offer.to) == (OFFER, BROADCAST_MAC, EVERYBODY)

    @row("RFC 2131 4.3.2", f"SELECTING with {_name} address in ciaddr: to its MAC")
    def _(wire: Wire, old: object = _old) -> None:
        client = Client(wire)
        address = client.discover().packet.yiaddr
        ack = client.say(REQUEST, wanted=address, server=SERVER, ciaddr=old)
        assert (ack.kind, ack.packet.yiaddr) == (ACK, address)
        assert (ack.mac, ack.to) == (client.chaddr, address)

    @row("RFC 2131 4.3.2", f"INIT-REBOOT with {_name} address in ciaddr: to its MAC")
    def _(wire: Wire, old: object = _old) -> None:
        client = Client(wire)
        address = client.lease().packet.yiaddr
        ack = client.say(REQUEST, wanted=address, ciaddr=old)
        assert (ack.kind, ack.packet.yiaddr) == (ACK, address)
        assert (ack.mac, ack.to) == (client.chaddr, address)


@row("RFC 2131 4.1", "an INFORM is answered at ciaddr")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    ack = client.say(INFORM, ciaddr=address, how=client.from_its_address(address))
    assert (ack.kind, ack.to, ack.packet.yiaddr) == (ACK, address, NOBODY)


for _what, _octets in {
    "a stray octet at the end": "ff",
    "an option that is cut off": "0c03626f",
    "an option whose length is beyond all": "3cff61",
    "no END": "",
    "an END padded with ENDs": "ff" * 40,
    "an illegal option 52": "340104ff",
    "an option 52 of two octets": "34020101ff",
    "an empty host name": "0c00ff",
    "an empty client-id": "3d00ff",
    "an empty parameter list": "3700ff",
    "an empty class": "3c00ff",
    "a size of 0": "39020000ff",
    "option 50 of 0.0.0.0": "320400000000ff",
    "bare text in option 77": "4d0469505845ff",
}.items():

    @row("RFC 1122 1.2.2", f"liberal: a DISCOVER with {_what} gets its offer")
    def _(wire: Wire, octets: str = _octets) -> None:
        client = Client(wire)
        data = _packet(client, DISCOVER, octets, 0 if octets[:2] in ("0c", "3c", "") else 300)
        assert in_pool(client.hear(data).packet.yiaddr)


for _code in (0, 2, 5, 6, 9, 99, 255):

    @row("RFC 2132 9.6", f"option 53 = {_code} in a request gets silence")
    def _(wire: Wire, code: int = _code) -> None:
        Client(wire).silence(code)


@row("RFC 2131 3.3", "a client that asks for no mask gets it")
def _(wire: Wire) -> None:
    offer = Client(wire).discover(options={55: b"\6\x0f"})
    assert offer.options[1] == MASK.packed


@row("RFC 1542 2.1", "BOOTP: no option 52, no options in the fields")
def _(wire: Wire) -> None:
    reply = Client(wire).say(None, options={55: bytes((17, 15, 12, 6, 3, 1))})
    assert b"\x34\1" not in reply.data[240:]
    assert reply.data[108:118] == b"boot.file\0"


@row("RFC 1542 2.1", "BOOTP: the mask, the router and the name servers fit")
def _(wire: Wire) -> None:
    assert {1, 3, 6} <= Client(wire).say(None).options.keys()


@row("RFC 3046 2.2", "option 82 without a relay comes back")
def _(wire: Wire) -> None:
    circuit = bytes.fromhex("010465746830")
    assert Client(wire).discover(options={82: circuit}).options.get(82) == circuit


@row("RFC 2131 4.1", "a DISCOVER from a made-up address is answered at its MAC")
def _(wire: Wire) -> None:
    client = Client(wire)
    offer = client.hear(encode(client.packet(DISCOVER)), source=WRONG)
    assert (offer.mac, offer.to) == (client.chaddr, offer.packet.yiaddr)


@row("RFC 2131 4.1", "the broadcast bit comes back through a relay")
def _(wire: Wire) -> None:
    client = Client(wire)
    (offer,) = wire.through_relay(
        encode(client.packet(DISCOVER, giaddr=RELAY, flags=0x8000, options=PXE))
    )
    assert offer.packet.flags == 0x8000


@row("RFC 2131 4.3.2", "a REQUEST that names the server and no address takes none away")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    client.silence(REQUEST, server=SERVER)
    assert client.say(REQUEST, wanted=address).kind == ACK


@row("RFC 2131 4.3.2", "after RELEASE the address asked for again comes back")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    client.silence(RELEASE, ciaddr=address, server=SERVER, how=client.from_its_address(address))
    assert client.discover(wanted=address).packet.yiaddr == address


@row("RFC 2131 4.3.2", "a NAK for another network, with ciaddr too")
def _(wire: Wire) -> None:
    nak = Client(wire).say(REQUEST, wanted=WRONG, ciaddr=WRONG)
    assert (nak.kind, nak.mac) == (NAK, BROADCAST_MAC)
