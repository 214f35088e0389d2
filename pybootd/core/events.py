"""What happened, as frozen values, and the bus that hands them out.

A protocol publishes; the log, the notifications and whatever watches subscribe. An event never
decides anything: a listener that fails is logged and no boot stops for it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from pybootd.core.client import Client, IPAddress

log = logging.getLogger(__name__)

E = TypeVar("E")


class FileProblem(Enum):
    """Why a file can't be served, or not be taken from a client."""

    NOT_FOUND = "not-found"
    """There is no such file."""
    BAD_NAME = "bad-name"
    """The name is empty, too long, or holds what no name may hold."""
    FILTER_TARGET = "filter-target"
    """What a line of [filters] leads to is not there."""
    CLIENT_VALUE = "client-value"
    """A line of [filters] needs a value of the client that is unknown, or fits no path."""
    OUTSIDE_ROOT = "outside-root"
    """The name, or a link in it, leads out of the root."""
    NOT_A_FILE = "not-a-file"
    """It is a directory, a device, a socket or the like."""
    NO_PERMISSION = "no-permission"
    """The daemon has no right to it, or the client's address has none."""
    UNKNOWN_CLIENT = "unknown-client"
    """With [httpd] check_ip: the client's address was not given by this server."""
    ALTERED = "altered"
    """It isn't what [pins] says that it must be."""
    UNCHECKED = "unchecked"
    """It is pinned, and can't be had whole to be checked."""
    CHANGED = "changed"
    """It changed while it was sent, on disk or at its origin."""
    READ_ERROR = "read-error"
    """The system can't open or read it."""
    TEMPLATE = "template"
    """Its template has a fault."""
    ORIGIN_STATUS = "origin-status"
    """Its web server answered with an error; the exception's ``status`` is the number."""
    ORIGIN_UNREACHABLE = "origin-unreachable"
    """Its web server gives no answer."""
    ORIGIN_BROKE_OFF = "origin-broke-off"
    """Its web server stopped before the end."""
    ORIGIN_ANSWER = "origin-answer"
    """Its web server's answer can't be used."""
    BUSY = "busy"
    """Too much is under way at once."""
    EXISTS = "exists"
    """An upload's name is taken."""
    NO_SPACE = "no-space"
    """An upload is larger than the disk or the administrator has room for."""
    UPLOADS_REFUSED = "uploads-refused"
    """The upload folder takes no file of this name, or none at all."""
    BAD_REQUEST = "bad-request"
    """The request asks for what its protocol does not have, or this server does not do."""
    CONFIGURATION = "configuration"
    """What the configuration names can't be used."""
    STOPPED = "stopped"
    """The daemon stops."""
    INTERNAL = "internal"
    """A fault of pybootd's."""
    OTHER = "other"
    """None of these: a plug-in's own."""


class TransferOutcome(Enum):
    """How a transfer ended."""

    __hash__ = object.__hash__  # the enum's own is Python code, and runs for every transfer

    DONE = "done"
    ABORTED = "aborted"
    """By the client."""
    PROBED = "probed"
    """The client wanted its size alone."""
    TIMEOUT = "silent"
    """The client fell silent."""
    FAILED = "failed"
    """By a fault on this side."""
    STOPPED = "stopped"
    """With the daemon."""


class EndCause(Enum):
    """Why a transfer ended, where its outcome does not say all."""

    NONE = ""
    LAST_ACK_MISSING = "last-ack-missing"
    """The client acknowledged all but the last block: it may have the file (RFC 1350 6)."""
    ASKED_AGAIN = "asked-again"
    """The client asked again, from the same port."""
    PORT_CLOSED = "port-closed"
    """The client's port is closed."""
    CLIENT_ERROR = "client-error"
    """The client sent an error; the event's reason is its text."""
    CONNECTION_LOST = "connection-lost"
    """The client closed the connection, or it broke."""
    TOO_MANY = "too-many"
    """Too many transfers at once: this one gave way."""
    FILE = "file"
    """The file could not be read or written to its end; the event's problem says why."""
    PROTOCOL = "protocol"
    """The client broke the protocol."""
    PARTIAL = "partial"
    """The client asked for a part of the file (RFC 9110 14.2)."""
    NOT_MODIFIED = "not-modified"
    """The client has the file already (RFC 9110 15.4.5)."""
    INTERNAL = "internal"
    """A fault of pybootd's."""


class RefusalCause(Enum):
    """Why a DHCP request was refused."""

    OTHER = "other"
    ACCESS = "access"
    """The access list says no."""
    NO_ACCESS = "access-unknown"
    """The access list can't tell."""
    POOL = "pool-empty"
    """No address is free."""
    NO_FILE = "no-boot-file"
    """No boot file is configured for it."""
    NOT_BOOTING = "not-booting"
    """It does not boot from the network, and no such client is served."""
    WRONG_ADDRESS = "wrong-address"
    """It asked for an address that it can't have."""
    NO_SUBNET = "no-subnet"
    """No pool is on the network that it asks from."""
    NOT_WRITTEN = "lease-not-written"
    """Its lease can't be written: without that nothing is confirmed."""
    SEND_REFUSED = "send-refused"
    """This host's system refuses to send the answer, a firewall most likely (EPERM)."""
    DATABASE_AWAY = "database-away"
    """The lease database does not answer."""


class ConflictCause(Enum):
    """How an address was found to be in use by another machine."""

    DECLINED = "declined"
    """The client found it (DHCPDECLINE)."""
    PROBED = "probed"
    """It answered an ARP probe of ours."""


class BootFileReason(Enum):
    """Which kind of entry decided on a client's boot file; the last three: why it gets none."""

    ACCESS_LIST = "access"
    CLIENT = "client"
    IPXE = "ipxe"
    ARCHITECTURE = "architecture"
    DEFAULT = "default"
    NO_ENTRY = "no-entry"
    IPXE_AGAIN = "ipxe-again"
    NO_URL = "no-url"


class BootFileHint(Enum):
    """Which line the configuration lacks for a client."""

    WRITE_URL = "url"
    WRITE_IPXE = "ipxe"
    WRITE_ARCHITECTURE = "architecture"


@dataclass(frozen=True, slots=True)
class Offered:
    """A client was offered an address.

    ``file_server``: where it is told to fetch the file, if that isn't us; ``proxy``: another
    server gives the address, this offer (its address 0.0.0.0) the boot file alone.
    ``file_reason``: why this file, where that is known.
    """

    client: Client
    address: IPAddress
    boot_file: str
    file_server: str = ""
    proxy: bool = False
    file_reason: BootFileReason | None = None


@dataclass(frozen=True, slots=True)
class ChoseAnother:
    """A client took the offer of another DHCP server, ``server`` if it says which."""

    client: Client
    server: IPAddress | None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A client's address is confirmed: DHCPACK, or the reply to a BOOTP request.

    ``booting``: the client is a network boot ROM or loader, not an operating system.
    ``file_server``, ``proxy`` and ``file_reason`` as in Offered; another server confirms
    the address then, or will. ``claimed``: that the client has it is not proved, only said.
    """

    client: Client
    address: IPAddress
    boot_file: str
    booting: bool
    file_server: str = ""
    proxy: bool = False
    file_reason: BootFileReason | None = None
    claimed: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """A client gave its address back."""

    client: Client
    address: IPAddress
    booting: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A client's request was refused or left unanswered on purpose.

    ``reason`` says more than ``cause``, for people.
    """

    client: Client
    reason: str
    level: int = logging.INFO
    cause: RefusalCause = RefusalCause.OTHER


@dataclass(frozen=True, slots=True)
class Advice:
    """A client shows that the configuration lacks something; ``text`` says what to write."""

    client: Client
    text: str
    hint: BootFileHint | None = None


@dataclass(frozen=True, slots=True)
class ModeChosen:
    """With ``mode = auto``: what we are on an interface, ``dhcp`` or ``proxy`` beside ``other``."""

    interface: str
    mode: str
    other: IPAddress | None


@dataclass(frozen=True, slots=True)
class AddressConflict:
    """An address is used by another machine, whose MAC is ``user`` if it is known."""

    client: Client
    address: IPAddress
    cause: ConflictCause
    user: bytes = b""


class TransferStarted(NamedTuple):  # a frozen dataclass takes thrice as long to make
    """A file goes out to a client; ``size`` in octets, None while unknown.

    ``blocksize`` and ``windowsize`` are those of TFTP. ``progress`` tells, while the transfer
    runs, the octets that have arrived and the blocks sent again.
    """

    protocol: str
    peer: str
    requested: str
    served: str
    size: int | None
    blocksize: int = 0
    windowsize: int = 0
    progress: Callable[[], tuple[int, int]] | None = None


class TransferEnded(NamedTuple):
    """A file's transfer is over; ``sent`` in octets of the file, ``seconds`` from its request.

    ``cause`` says more than the outcome; ``problem`` is the file's, where that ended it, and
    ``reason`` what the client or the file's source said. ``progress`` is that of its start, where
    it had one: a client may fetch a file twice at a time.
    """

    protocol: str
    peer: str
    requested: str
    served: str
    sent: int
    seconds: float
    retransmissions: int
    outcome: TransferOutcome
    reason: str = ""
    cause: EndCause = EndCause.NONE
    problem: FileProblem | None = None
    progress: Callable[[], tuple[int, int]] | None = None


@dataclass(frozen=True, slots=True)
class TransferRefused:
    """A request for a file was refused; a plain miss is normal traffic (``missing``).

    ``problem`` says why, ``reason`` more of it, for people. ``served``: what the name led to,
    where a filter changed it; ``unavailable``: there may be such a file, but it can't be had now;
    ``upload``: the client wanted to bring it.
    """

    protocol: str
    peer: str
    requested: str
    reason: str
    missing: bool
    served: str = ""
    unavailable: bool = False
    upload: bool = False
    problem: FileProblem = FileProblem.OTHER

    @property
    def led_to(self) -> str:
        """What the name led to; empty: nowhere else."""
        return self.served if self.served != self.requested.lstrip("/") else ""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A client's upload is over; ``octets`` came, in ``seconds`` from its request.

    ``retransmissions``: answers sent again. Unless the outcome is DONE, nothing of it was kept.
    """

    protocol: str
    peer: str
    name: str
    octets: int
    seconds: float
    retransmissions: int
    outcome: TransferOutcome
    reason: str = ""
    cause: EndCause = EndCause.NONE
    problem: FileProblem | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are no packet of the protocol; ``peer``: the sender's address, of DHCP its MAC."""

    protocol: str
    peer: str
    reason: str


class EventBus:
    """Hands events out to those who asked for their type."""

    def __init__(self) -> None:
        self._listeners: defaultdict[type, list[Callable[[Any], None]]] = defaultdict(list)

    def subscribe(self, kind: type[E], listener: Callable[[E], None]) -> None:
        """Call ``listener`` with every event of exactly this type."""
        self._listeners[kind].append(listener)

    def publish(self, event: object) -> None:
        """Hand the event to its listeners, in the order in which they subscribed."""
        for listener in self._listeners.get(type(event), ()):
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on %s", type(event).__name__)
