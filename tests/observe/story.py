"""Events as a daemon publishes them, told by a test, and what the timeline makes of them."""

from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID

from pybootd.core import events
from pybootd.core.client import Client
from pybootd.core.client_table import ClientTable
from pybootd.core.events import EventBus, RefusalCause, TransferOutcome
from pybootd.observe.boots.boot import Boot
from pybootd.observe.boots.timeline import Timeline

A = IPv4Address("10.7.0.100")
UEFI = Client(
    bytes.fromhex("525400123456"),
    uuid=UUID("00112233-4455-6677-8899-aabbccddeeff"),
    architecture=7,
    vendor_class="PXEClient:Arch:00007:UNDI:003000",
    network_boot=True,
    interface="eth0",
)
IPXE = replace(UEFI, ipxe=True, user_class="iPXE")
SYSTEM = replace(UEFI, network_boot=False, architecture=None, vendor_class="", hostname="box")


class Story:
    """One daemon's bus and timeline, and a clock that moves when it is told."""

    def __init__(self, **bounds: int) -> None:
        self.now = 1000.0
        self.bus = EventBus()
        self.clients = ClientTable()
        self.timeline = Timeline(self.bus, lambda: self.now, self.clients.find_by_address, **bounds)

    def tell(self, *told: object, each: float = 0.1) -> None:
        for event in told:
            self.bus.publish(event)
            self.now += each

    def lease(self, client: Client = UEFI, address: IPv4Address = A) -> None:
        file = "loader.efi" if client.network_boot else ""
        known = replace(client, address=address)
        self.tell(
            events.Offered(client, address, file),
            events.Confirmed(known, address, file, client.network_boot),
        )

    def fetch(
        self,
        name: str,
        size: int = 1000,
        outcome: TransferOutcome = TransferOutcome.DONE,
        peer: str = str(A),
    ) -> None:
        self.start(name, size, peer)
        self.end(name, size, outcome, peer)

    def start(self, name: str, size: int = 1000, peer: str = str(A)) -> None:
        progress = {"progress": lambda: (size // 2, 3)}
        self.tell(events.TransferStarted("tftp", peer, name, name, size, 512, 1, **progress))

    def end(
        self,
        name: str,
        size: int = 1000,
        outcome: TransferOutcome = TransferOutcome.DONE,
        peer: str = str(A),
    ) -> None:
        self.tell(events.TransferEnded("tftp", peer, name, name, size, 0.1, 5, outcome))

    def miss(self, name: str, peer: str = str(A)) -> None:
        self.tell(events.TransferRefused("tftp", peer, name, "no such file", True))

    def refuse(self, client: Client = UEFI, cause: RefusalCause = RefusalCause.ACCESS) -> None:
        self.tell(events.Refused(client, "not in [mac]", cause=cause))

    def boot(self, name: str = "52:54:00:12:34:56") -> Boot:
        record = self.timeline.find_client(name)
        assert record is not None
        return record.boot

    def boots(self, name: str = "52:54:00:12:34:56") -> list[Boot]:
        record = self.timeline.find_client(name)
        return list(record.boots) if record else []
