"""What is remembered of clients, and for how long."""

from ipaddress import IPv4Address

from pybootd.core.client import Client
from pybootd.core.client_table import ClientTable

A = IPv4Address("10.7.0.100")


def seen(clients: ClientTable, number: int) -> None:
    clients.note_client(Client(number.to_bytes(6)))


def test_strangers_make_no_machine_forgotten() -> None:
    """Who only ever asks, with ever new MACs, takes the place of others who only ask."""
    clients = ClientTable(limit=50)
    genuine = clients.note_client(Client(b"genuin"))
    clients.confirm_address(genuine, A)
    for number in range(500):
        seen(clients, number)
    assert len(clients) == 50
    assert clients.find_by_address(A) is genuine
    assert clients.find_by_identity(b"genuin") is genuine
    assert clients.find_by_identity((499).to_bytes(6)) is not None
    assert clients.find_by_identity((450).to_bytes(6)) is None


def test_of_machines_with_addresses_the_longest_unheard_goes() -> None:
    clients = ClientTable(limit=50)
    for number in range(60):
        known = clients.note_client(Client(number.to_bytes(6)))
        clients.confirm_address(known, IPv4Address(0x0A070000 + number))
    assert len(clients) == 50
    assert clients.find_by_address(IPv4Address("10.7.0.9")) is None
    assert clients.find_by_address(IPv4Address("10.7.0.10")) is not None
