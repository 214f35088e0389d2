"""What a DHCP server must do, a row for each behaviour with its source. They hold for any server.

The server has: pool 10.7.1.0 and 2,000 addresses; leases of an hour, two at most; clients told
apart by client-id; router 10.7.0.1, name servers 1.1.1.1 and 8.8.8.8, domain example.com; boot file
``boot.file`` at 10.7.0.9; no other DHCP server is on the wire.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address as A

from pybootd.dhcp4.wire.packet import COOKIE, encode

from .dhcp_wire import (
    BROADCAST_MAC,
    COUNT,
    EVERYBODY,
    FIRST,
    LEASE_TIME,
    MASK,
    MAX_LEASE_TIME,
    NEXT_SERVER,
    NOBODY,
    RELAY,
    SERVER,
    Client,
    Seen,
    Wire,
    in_pool,
)

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
WRONG = A("192.168.99.7")  # of no network here
UUID = b"\0" + bytes(range(16))
PXE = {60: b"PXEClient:Arch:00007:UNDI:003000", 93: b"\0\7", 94: b"\1\3\0", 97: UUID}
EVERYTHING = bytes((1, 3, 6, 12, 15, 28, 42, 51, 54, 58, 59, 66, 67))

Check = Callable[[Wire], None]


@dataclass(frozen=True)
class Row:
    source: str
    name: str
    check: Check


ROWS: list[Row] = []


def row(source: str, name: str) -> Callable[[Check], Check]:
    def note(check: Check) -> Check:
        ROWS.append(Row(source, name, check))
        return check

    return note


def number(value: bytes) -> int:
    return int.from_bytes(value)


# Header fields of the replies to a client: what must stand in each (RFC 2131 table 3).

REPLIES: dict[str, Callable[[Client], Seen]] = {
    "OFFER": lambda c: c.discover(secs=7, flags=0x8000, options={55: EVERYTHING}),
    "ACK": lambda c: c.lease(secs=7, flags=0x8000, options={55: EVERYTHING}),
    "NAK": lambda c: c.say(REQUEST, wanted=WRONG, secs=7, flags=0x8000, options={55: EVERYTHING}),
    "ACK of INFORM": lambda c: inform(c),
    "BOOTP reply": lambda c: c.say(None, secs=7, flags=0x8000),
}


def inform(client: Client) -> Seen:
    address = FIRST + COUNT + int.from_bytes(client.chaddr[4:])
    how = client.from_its_address(address)
    return client.say(
        INFORM, ciaddr=address, secs=7, flags=0x8000, options={55: EVERYTHING}, how=how
    )


def _header(reply: str, what: str, holds: Callable[[Client, Seen], bool]) -> None:
    def check(wire: Wire) -> None:
        client = Client(wire)
        seen = REPLIES[reply](client)
        assert holds(client, seen), f"{seen.packet}"

    ROWS.append(Row("RFC 2131 table 3" if reply != "BOOTP reply" else "RFC 951 3", what, check))


for _reply in REPLIES:
    for _what, _holds in (
        ("op is BOOTREPLY", lambda c, s: s.packet.op == 2),
        ("htype and hlen are those of Ethernet", lambda c, s: s.data[1:3] == b"\1\6"),
        ("hops is 0", lambda c, s: s.packet.hops == 0),
        ("secs is 0", lambda c, s: s.packet.secs == 0),
        ("flags come back", lambda c, s: s.packet.flags == 0x8000),
        (
            "chaddr comes back, padded with zeros",
            lambda c, s: s.data[28:44] == c.chaddr + bytes(10),
        ),
        ("the magic cookie is there", lambda c, s: s.data[236:240] == COOKIE),
        ("it comes from port 67 to 68", lambda c, s: (s.sport, s.port) == (67, 68)),
        ("at least 300 octets", lambda c, s: len(s.data) >= 300),
        ("an END stands behind the options", lambda c, s: 255 in s.data[240:]),
    ):
        _header(_reply, f"{_reply}: {_what}", _holds)
    if _reply != "BOOTP reply":
        _header(_reply, f"{_reply}: names the server", lambda c, s: s.options[54] == SERVER.packed)
        _header(
            _reply,
            f"{_reply}: holds nothing that clients alone send",
            lambda c, s: not {50, 55, 57} & s.options.keys(),
        )

_header("OFFER", "OFFER: ciaddr is 0", lambda c, s: s.packet.ciaddr == NOBODY)
_header("OFFER", "OFFER: yiaddr is of the pool", lambda c, s: in_pool(s.packet.yiaddr))
_header("OFFER", "OFFER: a lease time", lambda c, s: number(s.options[51]) == LEASE_TIME)
_header("ACK", "ACK: ciaddr is the request's", lambda c, s: s.packet.ciaddr == NOBODY)
_header("ACK", "ACK: yiaddr is of the pool", lambda c, s: in_pool(s.packet.yiaddr))
_header("ACK", "ACK: a lease time", lambda c, s: number(s.options[51]) == LEASE_TIME)
_header("NAK", "NAK: yiaddr is 0", lambda c, s: s.packet.yiaddr == NOBODY)
_header("NAK", "NAK: ciaddr is 0", lambda c, s: s.packet.ciaddr == NOBODY)
_header("NAK", "NAK: siaddr is 0", lambda c, s: s.packet.siaddr == NOBODY)
_header("NAK", "NAK: no lease time", lambda c, s: 51 not in s.options)
_header(
    "NAK", "NAK: nothing but what it may hold", lambda c, s: s.options.keys() <= {53, 54, 56, 61}
)
_header("NAK", "NAK: neither sname nor file", lambda c, s: not s.packet.file + s.packet.sname)
_header("NAK", "NAK: is broadcast", lambda c, s: (s.mac, s.to) == (BROADCAST_MAC, EVERYBODY))
_header("ACK of INFORM", "INFORM: yiaddr is 0", lambda c, s: s.packet.yiaddr == NOBODY)
_header("ACK of INFORM", "INFORM: no times", lambda c, s: not {51, 58, 59} & s.options.keys())
_header("ACK of INFORM", "INFORM: the options asked", lambda c, s: {1, 3, 6} <= s.options.keys())
_header("ACK of INFORM", "INFORM: to ciaddr", lambda c, s: s.to == s.packet.ciaddr)
_header("ACK of INFORM", "INFORM: to its MAC", lambda c, s: s.mac == c.chaddr)
_header(
    "BOOTP reply", "BOOTP: no DHCP options", lambda c, s: not {51, 53, 58, 59} & s.options.keys()
)
_header("BOOTP reply", "BOOTP: an address", lambda c, s: in_pool(s.packet.yiaddr))
_header("BOOTP reply", "BOOTP: the mask", lambda c, s: s.options.get(1) == MASK.packed)


# DISCOVER (RFC 2131 4.3.1)


@row("RFC 2131 4.3.1", "two clients get two addresses")
def _(wire: Wire) -> None:
    assert Client(wire).lease().packet.yiaddr != Client(wire).lease().packet.yiaddr


@row("RFC 2131 4.3.1", "a repeated DISCOVER is offered the same address")
def _(wire: Wire) -> None:
    client = Client(wire)
    assert client.discover().packet.yiaddr == client.discover().packet.yiaddr


@row("RFC 2131 4.3.1", "a client is offered the address that it has")
def _(wire: Wire) -> None:
    client = Client(wire)
    assert client.lease().packet.yiaddr == client.discover().packet.yiaddr


@row("RFC 2131 4.3.1", "a client is offered the address that it had and released")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    client.silence(RELEASE, ciaddr=address, server=SERVER, how=client.from_its_address(address))
    assert client.discover().packet.yiaddr == address


@row("RFC 2131 4.3.1", "the address asked for is offered when free")
def _(wire: Wire) -> None:
    wanted = FIRST + 1500
    assert Client(wire).discover(wanted=wanted).packet.yiaddr == wanted


@row("RFC 2131 4.3.1", "the address asked for is not offered when another has it")
def _(wire: Wire) -> None:
    taken = Client(wire).lease().packet.yiaddr
    offered = Client(wire).discover(wanted=taken).packet.yiaddr
    assert offered != taken
    assert in_pool(offered)


@row("RFC 2131 4.3.1", "the address asked for is not offered when outside the pool")
def _(wire: Wire) -> None:
    for wanted in (WRONG, SERVER, A("10.7.0.0"), A("10.7.255.255"), NOBODY, EVERYBODY):
        assert in_pool(Client(wire).discover(wanted=wanted).packet.yiaddr)


@row("RFC 2131 4.3.1", "a shorter lease is granted as asked")
def _(wire: Wire) -> None:
    ack = Client(wire).lease(options={51: (600).to_bytes(4)})
    assert number(ack.options[51]) == 600


@row("RFC 2131 4.3.1", "a longer lease is granted up to the maximum")
def _(wire: Wire) -> None:
    for asked in (MAX_LEASE_TIME * 2, 0xFFFFFFFF):
        ack = Client(wire).lease(options={51: asked.to_bytes(4)})
        assert number(ack.options[51]) == MAX_LEASE_TIME


@row("RFC 2131 4.4.5", "T1 is before T2, that before the end")
def _(wire: Wire) -> None:
    options = Client(wire).lease(options={55: EVERYTHING}).options
    assert number(options[58]) < number(options[59]) < number(options[51])


@row("RFC 2131 4.4.5", "T1 is half the lease, T2 seven eighths")
def _(wire: Wire) -> None:
    options = Client(wire).lease(options={55: EVERYTHING}).options
    assert number(options[58]) == LEASE_TIME // 2
    assert number(options[59]) == LEASE_TIME * 7 // 8


# REQUEST (RFC 2131 4.3.2)


@row("RFC 2131 4.3.2", "SELECTING: what was offered is confirmed")
def _(wire: Wire) -> None:
    client = Client(wire)
    offer = client.discover()
    ack = client.say(REQUEST, wanted=offer.packet.yiaddr, server=SERVER)
    assert (ack.kind, ack.packet.yiaddr) == (ACK, offer.packet.yiaddr)


@row("RFC 2131 4.3.2", "SELECTING: a repeated REQUEST is confirmed again")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    again = client.say(REQUEST, wanted=address, server=SERVER)
    assert (again.kind, again.packet.yiaddr) == (ACK, address)


@row("RFC 2131 3.1.4", "SELECTING: another server's name gets no answer")
def _(wire: Wire) -> None:
    client = Client(wire)
    offer = client.discover()
    client.silence(REQUEST, wanted=offer.packet.yiaddr, server=A("10.7.0.77"))


@row("RFC 2131 3.1.4", "SELECTING: another server's name gives our offer back")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.discover(wanted=FIRST + 1600).packet.yiaddr
    client.silence(REQUEST, wanted=address, server=A("10.7.0.77"))
    assert Client(wire).discover(wanted=address).packet.yiaddr == address


@row("RFC 2131 4.3.2", "SELECTING: an address that was not offered is refused")
def _(wire: Wire) -> None:
    client = Client(wire)
    offer = client.discover()
    other = Client(wire).lease().packet.yiaddr
    assert offer.packet.yiaddr != other
    assert client.say(REQUEST, wanted=other, server=SERVER).kind == NAK


@row("RFC 2131 4.3.2", "INIT-REBOOT: the right address is confirmed")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    ack = client.say(REQUEST, wanted=address)
    assert (ack.kind, ack.packet.yiaddr, ack.packet.ciaddr) == (ACK, address, NOBODY)


@row("RFC 2131 4.3.2", "INIT-REBOOT: another address than the client's is refused")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    assert client.say(REQUEST, wanted=address + 500).kind == NAK


@row("RFC 2131 4.3.2", "INIT-REBOOT: a known client on the wrong network is refused")
def _(wire: Wire) -> None:
    client = Client(wire)
    client.lease()
    assert client.say(REQUEST, wanted=WRONG).kind == NAK


@row("RFC 2131 4.3.2", "INIT-REBOOT: an unknown client on the wrong network is refused")
def _(wire: Wire) -> None:
    assert Client(wire).say(REQUEST, wanted=WRONG).kind == NAK


@row("RFC 2131 4.3.2", "INIT-REBOOT: no record of the client, no answer")
def _(wire: Wire) -> None:
    Client(wire).silence(REQUEST, wanted=FIRST + 1700)


@row("RFC 2131 4.3.2", "RENEWING: confirmed, by unicast to ciaddr")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    ack = client.say(REQUEST, ciaddr=address, how=client.from_its_address(address))
    assert (ack.kind, ack.packet.yiaddr, ack.packet.ciaddr) == (ACK, address, address)
    assert (ack.to, ack.mac, ack.port) == (address, client.chaddr, 68)


@row("RFC 2131 4.1", "RENEWING: to ciaddr even with the broadcast bit")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    how = client.from_its_address(address)
    ack = client.say(REQUEST, ciaddr=address, flags=0x8000, how=how)
    assert (ack.to, ack.mac) == (address, client.chaddr)


@row("RFC 2131 4.3.2", "REBINDING: confirmed though it was broadcast")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    ack = client.say(REQUEST, ciaddr=address, how={"source": address})
    assert (ack.kind, ack.packet.yiaddr, ack.to) == (ACK, address, address)


@row("RFC 2131 4.3.2", "RENEWING another's address is not confirmed")
def _(wire: Wire) -> None:
    owner, other = Client(wire), Client(wire)
    address = owner.lease().packet.yiaddr
    other.lease()
    seen = wire.ask(encode(other.packet(REQUEST, ciaddr=address)), other.chaddr, source=address)
    assert not seen or seen[0].kind == NAK
    wire.addresses[address] = owner.chaddr
    assert owner.say(REQUEST, ciaddr=address, how=owner.from_its_address(address)).kind == ACK


@row("RFC 2131 4.3.2", "REBINDING on another network is refused")
def _(wire: Wire) -> None:
    assert Client(wire).say(REQUEST, ciaddr=WRONG).kind == NAK


# DECLINE, RELEASE, INFORM (RFC 2131 4.3.3 to 4.3.5)


@row("RFC 2131 4.3.3", "a declined address is not offered to its client again")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    client.silence(DECLINE, wanted=address, server=SERVER)
    assert client.discover().packet.yiaddr != address


@row("RFC 2131 4.3.3", "a declined address is blocked even when asked for by name")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    client.silence(DECLINE, wanted=address, server=SERVER)
    assert client.discover(wanted=address).packet.yiaddr != address
    assert Client(wire).discover(wanted=address).packet.yiaddr != address


@row("RFC 2131 4.3.3", "a DECLINE from another does nothing")
def _(wire: Wire) -> None:
    owner = Client(wire)
    address = owner.lease().packet.yiaddr
    Client(wire).silence(DECLINE, wanted=address, server=SERVER)
    assert owner.say(REQUEST, wanted=address).kind == ACK


@row("RFC 2131 4.3.4", "RELEASE gets no answer")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.lease().packet.yiaddr
    client.silence(RELEASE, ciaddr=address, server=SERVER, how=client.from_its_address(address))


@row("RFC 2131 4.3.4", "a RELEASE from another does nothing")
def _(wire: Wire) -> None:
    owner, other = Client(wire), Client(wire)
    address = owner.lease().packet.yiaddr
    other.silence(RELEASE, ciaddr=address, server=SERVER, how=other.from_its_address(address))
    assert other.discover(wanted=address).packet.yiaddr != address
    assert owner.say(REQUEST, wanted=address).kind == ACK


@row("RFC 2131 4.3.5", "INFORM binds nothing")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = FIRST + 1800
    client.say(INFORM, ciaddr=address, how=client.from_its_address(address))
    assert Client(wire).discover(wanted=address).packet.yiaddr == address


# Where replies go (RFC 2131 4.1)


@row("RFC 2131 4.1", "with the broadcast bit an OFFER is broadcast")
def _(wire: Wire) -> None:
    offer = Client(wire).discover(flags=0x8000)
    assert (offer.mac, offer.to) == (BROADCAST_MAC, EVERYBODY)


@row("RFC 2131 4.1", "with the broadcast bit an ACK is broadcast")
def _(wire: Wire) -> None:
    ack = Client(wire).lease(flags=0x8000)
    assert (ack.mac, ack.to) == (BROADCAST_MAC, EVERYBODY)


@row("RFC 2131 4.1", "without the broadcast bit an OFFER goes to chaddr and yiaddr")
def _(wire: Wire) -> None:
    client = Client(wire)
    offer = client.discover()
    assert (offer.mac, offer.to) == (client.chaddr, offer.packet.yiaddr)


@row("RFC 2131 4.1", "without the broadcast bit an ACK goes to chaddr and yiaddr")
def _(wire: Wire) -> None:
    client = Client(wire)
    ack = client.lease()
    assert (ack.mac, ack.to) == (client.chaddr, ack.packet.yiaddr)


@row("RFC 2131 4.1", "to chaddr, not to the frame's sender")
def _(wire: Wire) -> None:
    client, bridge = Client(wire), Client(wire)
    # the switch must know both
    bridge.discover()
    client.discover()
    seen = wire.ask(encode(client.packet(DISCOVER)), bridge.chaddr)
    assert seen[0].mac == client.chaddr


@row("RFC 2131 4.1", "to port 68 whatever port the request came from")
def _(wire: Wire) -> None:
    assert Client(wire).say(DISCOVER, how={"sport": 5000}).port == 68


@row("RFC 2131 2", "reserved flag bits change nothing")
def _(wire: Wire) -> None:
    client = Client(wire)
    offer = client.discover(flags=0x7FFF)
    assert (offer.mac, offer.to) == (client.chaddr, offer.packet.yiaddr)


@row("RFC 2131 4.1", "the source address is the server's own")
def _(wire: Wire) -> None:
    assert Client(wire).discover().source == SERVER


# What is no request


@row("RFC 2131 2", "op = BOOTREPLY gets no answer")
def _(wire: Wire) -> None:
    Client(wire).silence(DISCOVER, op=2)


@row("RFC 768", "a wrong UDP checksum gets no answer")
def _(wire: Wire) -> None:
    Client(wire).silence(DISCOVER, how={"checksum": 0x1234})


@row("RFC 768", "UDP checksum 0 is none, and accepted")
def _(wire: Wire) -> None:
    Client(wire).say(DISCOVER, how={"checksum": 0})


@row("RFC 2132 9.6", "messages of servers get no answer")
def _(wire: Wire) -> None:
    for kind in (OFFER, ACK, NAK):
        Client(wire).silence(kind, wanted=FIRST, server=SERVER)


@row("RFC 2132 9.6", "an unknown kind of message gets no answer")
def _(wire: Wire) -> None:
    Client(wire).silence(99)


@row("robustness", "octets that are no packet harm nobody")
def _(wire: Wire) -> None:
    client = Client(wire)
    good = encode(client.packet(DISCOVER))
    for bad in (b"", b"x", good[:100], good[:242], good[:1] + b"\1\xff" + good[3:], bytes(1400)):
        client.quiet(bad.ljust(8, b"\0"))
    client.discover()


@row("robustness", "an option that runs past the end harms nobody")
def _(wire: Wire) -> None:
    client = Client(wire)
    data = encode(client.packet(DISCOVER))
    wire.ask(data[:243] + b"\x0c\xff", client.chaddr, quiet=True)
    client.discover()


# Options (RFC 2132, 3396)


@row("RFC 2132 3.3", "the mask stands before the router whatever the order asked")
def _(wire: Wire) -> None:
    order = Client(wire).lease(options={55: bytes((3, 6, 1))}).order()
    assert order.index(1) < order.index(3)


@row("RFC 2131 4.3.1", "what is asked is given: mask, router, name servers, domain")
def _(wire: Wire) -> None:
    options = Client(wire).lease(options={55: bytes((1, 3, 6, 15))}).options
    assert options[1] == MASK.packed
    assert options[3] == SERVER.packed
    assert options[6] == A("1.1.1.1").packed + A("8.8.8.8").packed
    assert options[15].rstrip(b"\0") == b"example.com"


@row("RFC 2132 9.8", "options come in the order asked")
def _(wire: Wire) -> None:
    order = Client(wire).lease(options={55: bytes((15, 6, 28, 1))}).order()
    assert [code for code in order if code in (15, 6, 28)] == [15, 6, 28]


@row("RFC 2132 9.8", "an OFFER gives what its ACK will")
def _(wire: Wire) -> None:
    client = Client(wire)
    offer = client.discover(options={55: bytes((1, 3, 6, 15, 28))})
    ack = client.say(
        REQUEST, wanted=offer.packet.yiaddr, server=SERVER, options={55: bytes((1, 3, 6, 15, 28))}
    )
    for code in (1, 3, 6, 15, 51):
        assert offer.options[code] == ack.options[code]


@row("RFC 2132 3.1", "PAD between options is passed over")
def _(wire: Wire) -> None:
    client = Client(wire)
    data = encode(client.packet(DISCOVER))
    client.hear(data[:240] + bytes(5) + data[240:])


@row("robustness", "a missing END is forgiven")
def _(wire: Wire) -> None:
    client = Client(wire)
    client.hear(encode(client.packet(DISCOVER))[:243] + bytes(57))


@row("RFC 2131 3", "unknown options are passed over")
def _(wire: Wire) -> None:
    Client(wire).discover(options={224: b"\1\2\3", 254: b"", 130: bytes(100)})


@row("RFC 2132 9.3", "options may stand in file")
def _(wire: Wire) -> None:
    client = Client(wire)
    data = bytearray(encode(client.packet(DISCOVER)))
    data[240:247] = b"\x34\1\1\xff\0\0\0"
    data[108:112] = b"\x35\1\1\xff"
    assert client.hear(bytes(data)).kind == OFFER


@row("RFC 2132 9.3", "options may stand in sname")
def _(wire: Wire) -> None:
    client = Client(wire)
    data = bytearray(encode(client.packet(DISCOVER)))
    data[240:247] = b"\x34\1\2\xff\0\0\0"
    data[44:48] = b"\x35\1\1\xff"
    assert client.hear(bytes(data)).kind == OFFER


@row("RFC 3396 5", "an option in two pieces is one")
def _(wire: Wire) -> None:
    client = Client(wire)
    data = encode(client.packet(DISCOVER))
    offer = client.hear(data[:240] + b"\x3d\2\0a\x35\1\1\x3d\1b\xff".ljust(60, b"\0"))
    assert offer.options.get(61, b"\0ab") == b"\0ab"
    assert offer.kind == OFFER


@row("RFC 2131 2", "without option 57 no more than 576 octets")
def _(wire: Wire) -> None:
    offer = Client(wire).discover(options={55: bytes(range(1, 150))})
    assert len(offer.data) + 28 <= 576


@row("RFC 2132 9.10", "no more than option 57 says")
def _(wire: Wire) -> None:
    offer = Client(wire).discover(options={55: bytes(range(1, 150)), 57: (600).to_bytes(2)})
    assert len(offer.data) + 28 <= 600


@row("RFC 791", "no fragments whatever option 57 says")
def _(wire: Wire) -> None:
    offer = Client(wire).discover(options={55: bytes(range(1, 150)), 57: b"\xff\0"})
    assert len(offer.data) + 28 <= 1500


# Who is who (RFC 2131 4.2, RFC 6842)

IDENTITIES = (b"\1\2\3", b"\0\xff\0", b"\xff" * 19, b"\0" * 40, b"x" * 255)


@row("RFC 2131 4.2", "one MAC with two client-ids is two clients")
def _(wire: Wire) -> None:
    client = Client(wire)
    one = client.lease(options={61: b"\0one"}).packet.yiaddr
    assert client.lease(options={61: b"\0two"}).packet.yiaddr != one


@row("RFC 2131 4.2", "one client-id with two MACs is one client")
def _(wire: Wire) -> None:
    first, second = Client(wire), Client(wire)
    ident = b"\0" + first.chaddr
    one = first.lease(options={61: ident}).packet.yiaddr
    assert second.discover(options={61: ident}).packet.yiaddr == one


@row("RFC 2131 4.2", "a client-id is opaque")
def _(wire: Wire) -> None:
    given = {Client(wire).lease(options={61: b"\0k" + bytes((n,))}).packet.yiaddr for n in range(3)}
    assert len(given) == 3


for _ident in IDENTITIES:

    def _echo(wire: Wire, ident: bytes = _ident) -> None:
        client = Client(wire)
        sent = {61: ident + client.chaddr if len(ident) < 200 else ident}
        assert client.discover(options=sent).options.get(61) == sent[61]

    ROWS.append(
        Row("RFC 6842 3", f"client-id {_ident[:6].hex()}... comes back in the OFFER", _echo)
    )


@row("RFC 6842 3", "the client-id comes back in the ACK")
def _(wire: Wire) -> None:
    assert Client(wire).lease(options={61: b"\0ack"}).options.get(61) == b"\0ack"


@row("RFC 6842 3", "the client-id comes back in the NAK")
def _(wire: Wire) -> None:
    nak = Client(wire).say(REQUEST, wanted=WRONG, options={61: b"\0nak"})
    assert (nak.kind, nak.options.get(61)) == (NAK, b"\0nak")


@row("RFC 6842 3", "a client-id that was not sent does not come back")
def _(wire: Wire) -> None:
    assert 61 not in Client(wire).lease().options


# Relays (RFC 1542, RFC 2131 4.1, RFC 3046)

AGENT = {82: b"\1\4port\2\3abc"}


@row("RFC 2131 4.1", "relayed: to giaddr, port 67")
def _(wire: Wire) -> None:
    offer = Client(wire).relayed(DISCOVER)
    assert (offer.to, offer.port, offer.packet.giaddr) == (RELAY, 67, RELAY)


@row("RFC 2131 4.1", "relayed: to port 67 whatever port the relay sent from")
def _(wire: Wire) -> None:
    assert Client(wire).relayed(DISCOVER, port=False).kind == OFFER


@row("RFC 2131 4.1", "relayed: to giaddr even with the broadcast bit, which comes back")
def _(wire: Wire) -> None:
    assert Client(wire).relayed(DISCOVER, flags=0x8000).packet.flags == 0x8000


@row("RFC 2131 table 3", "relayed: hops is 0 in replies")
def _(wire: Wire) -> None:
    assert Client(wire).relayed(DISCOVER).packet.hops == 0


@row("RFC 2131 4.3.2", "relayed: an ACK")
def _(wire: Wire) -> None:
    assert Client(wire).relayed_lease().kind == ACK


@row("RFC 2131 4.3.2", "relayed: a NAK has the broadcast bit set")
def _(wire: Wire) -> None:
    nak = Client(wire).relayed(REQUEST, wanted=WRONG)
    assert (nak.kind, nak.packet.flags & 0x8000, nak.packet.giaddr) == (NAK, 0x8000, RELAY)


for _kind in ("OFFER", "ACK", "NAK"):

    def _agent(wire: Wire, kind: str = _kind) -> None:
        client = Client(wire)
        seen = {
            "OFFER": lambda: client.relayed(DISCOVER, options=AGENT),
            "ACK": lambda: client.relayed_lease(options=AGENT),
            "NAK": lambda: client.relayed(REQUEST, wanted=WRONG, options=AGENT),
        }[kind]()
        assert seen.options.get(82) == AGENT[82]

    ROWS.append(Row("RFC 3046 2.2", f"option 82 comes back in the {_kind}", _agent))


@row("RFC 3046 2.1", "option 82 is the last")
def _(wire: Wire) -> None:
    assert Client(wire).relayed_lease(options=AGENT).order()[-1] == 82


@row("RFC 3046 2.2", "option 82 is not made up")
def _(wire: Wire) -> None:
    assert 82 not in Client(wire).relayed_lease().options


@row("RFC 2131 4.3.1", "a relay on no network of ours gets no answer")
def _(wire: Wire) -> None:
    client = Client(wire)
    data = encode(client.packet(DISCOVER, giaddr=WRONG))
    assert not wire.through_relay(data, quiet=True)


@row("RFC 2131 4.3.2", "a relayed client renews straight with the server")
def _(wire: Wire) -> None:
    client = Client(wire)
    address = client.relayed_lease().packet.yiaddr
    ack = client.say(REQUEST, ciaddr=address, how=client.from_its_address(address))
    assert (ack.kind, ack.packet.yiaddr, ack.to) == (ACK, address, address)


@row("RFC 951 8", "BOOTP through a relay")
def _(wire: Wire) -> None:
    reply = Client(wire).relayed(None)
    assert (reply.packet.op, reply.to) == (2, RELAY)
    assert in_pool(reply.packet.yiaddr)


# BOOTP (RFC 951, 1534)


@row("RFC 951 7.3", "BOOTP: the same client, the same address")
def _(wire: Wire) -> None:
    client = Client(wire)
    assert client.say(None).packet.yiaddr == client.say(None).packet.yiaddr


@row("RFC 951 7.3", "BOOTP: another server's name in sname gets no answer")
def _(wire: Wire) -> None:
    Client(wire).silence(None, sname=b"somebody.else")


@row("RFC 1542 2.1", "BOOTP: no more than 300 octets")
def _(wire: Wire) -> None:
    assert len(Client(wire).say(None).data) == 300


@row("RFC 951 7.3", "BOOTP: the boot file and its server")
def _(wire: Wire) -> None:
    packet = Client(wire).say(None).packet
    assert (packet.file, packet.siaddr) == (b"boot.file", NEXT_SERVER)


# Network boot (RFC 4578, PXE 2.1)


@row("RFC 2131 table 1", "boot file in file, its server in siaddr")
def _(wire: Wire) -> None:
    packet = Client(wire).lease(options=PXE | {55: EVERYTHING}).packet
    assert (packet.file, packet.siaddr) == (b"boot.file", NEXT_SERVER)


@row("RFC 2132 9.5", "option 67 when asked for")
def _(wire: Wire) -> None:
    options = Client(wire).lease(options=PXE | {55: EVERYTHING}).options
    assert options[67].rstrip(b"\0") == b"boot.file"


@row("RFC 4578 2.3", "the client's UUID comes back")
def _(wire: Wire) -> None:
    assert Client(wire).lease(options=PXE).options.get(97) == UUID


@row("PXE 2.1 2.4.5", "option 60 comes with what makes it fetch the file")
def _(wire: Wire) -> None:
    options = Client(wire).lease(options=PXE).options
    assert options.get(60, b"").startswith(b"PXEClient")
    assert b"\6\1\x08" in options.get(43, b"")
