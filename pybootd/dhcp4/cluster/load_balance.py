"""Which of several servers answers a client at once (RFC 3074)."""

from __future__ import annotations

from pybootd.core.bounded_map import BoundedMap
from pybootd.core.client import make_identity
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.wire import options
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet

DELAY_S = 4.0  # after which the others answer, too; a client asks again after four seconds
_BUCKETS = 256
_MAX_HEARD = 4096  # clients that another server is to answer
# RFC 3074 6: the permutation that Pearson's hash walks through
_PERMUTATION = bytes.fromhex(
    "fbaf77d7510e4fbf6731b58fba9d00e81f20373c983a11edae46a090dc5a39df3b03128c6fa6cbc4"
    "86f37c5fdeb3c541b430240f6b2ee982a51e7ba1d1176110285bdb3d640ad26dfa7f168a1d6cf443"
    "cf09b2cc4a627ef9a774224dc1c8790514714723800db65e19e2e3c74b1b29f5e6e02be1b11a9b96"
    "d48eda73f149586927723effc0c991d6a89edd949a7a0c5452a32c8be4eccdf2d90bbb929f4056ef"
    "c32a6ac67670b8ac5702ad75b0e5f7fd89b963a466932d42e7348dd3c2cef6ee386e4ef83ff0bd5d"
    "5c3335b713ab48322168654508fc53784c875536ca7dbcd560eb88d0a281be849c262f0107fe1804"
    "d88359151c8525999550aa4406a9ea97"
)


def hash_client(key: bytes) -> int:
    """Return a client's number of 0 to 255; ``key``: its client-id, else its hardware address."""
    mixed = len(key) % _BUCKETS
    for octet in reversed(key):
        mixed = _PERMUTATION[mixed ^ octet]
    return mixed


class LoadBalance:
    """The part ``number`` (from 1) of ``parts`` of all clients is ours to answer at once."""

    def __init__(self, number: int, parts: int) -> None:
        self._first = _BUCKETS * (number - 1) // parts
        self._end = _BUCKETS * number // parts
        self._heard: BoundedMap[bytes, float] = BoundedMap(_MAX_HEARD)

    def takes_request(self, packet: Packet, origin: Arrival, now: float) -> bool:
        """Tell whether to deal with the request now.

        What is sent to one server is that server's; what all of them hear is for the one whose part
        the client is in, and for all once nobody has answered for ``DELAY_S`` seconds: as ``secs``
        says, or as we have heard the client, for some always say 0.
        """
        sent = packet.options
        kind = int.from_bytes(sent.get(options.TYPE, b""))
        if kind in (MessageType.RELEASE, MessageType.DECLINE):
            return True
        identity = make_identity(packet.chaddr, sent.get(options.CLIENT_ID))
        if options.SERVER_ID in sent:
            self._heard.pop(identity, None)  # somebody answered
            return True
        if origin.unicast and packet.giaddr == NOBODY:
            return True
        if self._first <= hash_client(sent.get(options.CLIENT_ID) or identity) < self._end:
            return True
        return packet.secs >= DELAY_S or self._has_waited(identity, now)

    def _has_waited(self, identity: bytes, now: float) -> bool:
        heard = self._heard.get(identity)
        if heard is None:
            heard = self._heard[identity] = now
        return now - heard >= DELAY_S
