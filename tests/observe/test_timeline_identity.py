"""The owner of a boot: told by identity, and by the address that is proved."""

from dataclasses import replace

from pybootd.core import events
from tests.observe.story import IPXE, UEFI, A, Story

STRANGER = replace(UEFI, mac=bytes.fromhex("52540066e666"), uuid=None)


def test_clients_without_a_hardware_address_have_a_row_each() -> None:
    """InfiniBand: only the client-id tells them apart (RFC 4390 2.1)."""
    story = Story()
    one, two = (replace(UEFI, mac=b"", client_id=client_id) for client_id in (b"\xff1", b"\xff2"))
    story.lease(one, A)
    story.lease(two, A + 1)
    story.fetch("loader.efi", peer=str(A + 1))
    assert [record.name for record in story.timeline.records()] == ["id:ff32", "id:ff31"]
    assert not list(story.boot("id:ff31").transfers())
    (transfer,) = story.boot("id:ff32").transfers()
    assert transfer.requested == "loader.efi"


def test_a_claim_gives_no_one_anothers_transfers() -> None:
    story = Story()
    story.lease()
    claim = replace(STRANGER, address=A)
    story.tell(events.Confirmed(claim, A, "loader.efi", True, proxy=True, claimed=True))
    story.fetch("loader.efi")
    assert [one.requested for one in story.boot().transfers()] == ["loader.efi"]
    assert not list(story.boot("52:54:00:66:e6:66").transfers())


def test_a_client_whose_address_another_server_gave_is_found_by_the_table_of_clients() -> None:
    story = Story()
    claim = replace(IPXE, address=A)
    story.tell(events.Offered(IPXE, A, "menu.ipxe", proxy=True))
    story.tell(events.Confirmed(claim, A, "menu.ipxe", True, proxy=True, claimed=True))
    known = story.clients.note_client(IPXE)
    story.clients.confirm_address(known, A)  # as the neighbour table does
    story.fetch("menu.ipxe")
    assert [one.requested for one in story.boot().transfers()] == ["menu.ipxe"]


def test_an_address_that_went_to_another_machine_is_that_ones() -> None:
    story = Story()
    story.lease()
    known = story.clients.note_client(STRANGER)
    story.clients.confirm_address(known, A)
    story.fetch("loader.efi")
    assert not list(story.boot().transfers())
    assert len(list(story.boot("52:54:00:66:e6:66").transfers())) == 1
