"""Several networks, and settings for some clients: from the configuration to the replies."""

from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from pybootd.config.ini import ConfigError
from pybootd.config.loader import load
from pybootd.core.client import Client
from pybootd.dhcp4.wire.packet import MessageType, Packet

from .desk import FIRST, MAC, OTHER, PXE, SERVER, A, Desk, elsewhere, kind, request

DISCOVER, REQUEST = MessageType.DISCOVER, MessageType.REQUEST
BOOTP = "[bootp]\nallow_simple_dhcp = on\nconflict_check = off\n"
TWO = f"""{BOOTP}pool_start = 192.168.1.100
dns = 192.168.1.9
gateway = 192.168.1.254
boot_file = any.0
[subnet 10.20.0.0/24]
pool_start = 10.20.0.50
pool_count = 2
domain = far.example
lease_time = 600
[subnet 10.30.0.0/16]
pool_start = 10.30.1.1
dns = 10.30.0.9
gateway = 10.30.0.3
next_server = 10.30.0.2
"""
Make = Callable[..., Desk]


@pytest.fixture
def desk(tmp_path: Path) -> Make:
    def make(text: str) -> Desk:
        path = tmp_path / "pybootd.ini"
        path.write_text(text)
        return Desk(config=load(path, ("bootp",)))

    return make


def offered(desk: Desk, packet: Packet) -> Packet:
    found = desk.ask(packet)
    assert found is not None
    assert kind(found) == MessageType.OFFER
    return found


# [subnet]


def test_the_relays_network_decides(desk: Make) -> None:
    two = desk(TWO)
    near = offered(two, request(DISCOVER))
    far = offered(two, request(DISCOVER, mac=OTHER, giaddr=A("10.20.0.1")))
    farther = offered(two, request(DISCOVER, giaddr=A("10.30.0.1")))
    assert (near.yiaddr, near.options[3]) == (FIRST, A("192.168.1.254").packed)
    assert (near.options[1], near.options[6]) == (
        A("255.255.255.0").packed,
        A("192.168.1.9").packed,
    )
    assert far.yiaddr == A("10.20.0.50")
    assert far.options[3] == A("10.20.0.1").packed  # another network's router would be none
    assert far.options[15] == b"far.example"
    assert (far.options[51], far.options[54]) == ((600).to_bytes(4), SERVER.packed)
    assert far.options[28] == A("10.20.0.255").packed
    assert (farther.yiaddr, farther.siaddr) == (A("10.30.1.1"), A("10.30.0.2"))
    assert farther.options[1] == A("255.255.0.0").packed
    assert farther.options[3] == A("10.30.0.3").packed
    assert farther.options[6] == A("10.30.0.9").packed


def test_a_relay_of_no_network_gets_no_answer(desk: Make) -> None:
    assert desk(TWO).ask(request(DISCOVER, giaddr=A("10.99.0.1"))) is None


def test_the_interfaces_own_network_decides_without_a_relay(desk: Make) -> None:
    alone = desk(f"{BOOTP}[subnet 192.168.1.0/24]\npool_start = 192.168.1.7\n")
    offer = offered(alone, request(DISCOVER))
    assert (offer.yiaddr, offer.options[3]) == (A("192.168.1.7"), SERVER.packed)


def relay_agent(**parts: bytes) -> bytes:
    codes = {"circuit": 1, "link": 5, "override": 11}
    return b"".join(bytes((codes[name], len(value))) + value for name, value in parts.items())


def test_link_selection(desk: Make) -> None:  # RFC 3527
    two = desk(TWO)
    chosen = relay_agent(link=A("10.20.0.0").packed)
    reply = two.reply(request(DISCOVER, giaddr=A("10.30.0.1"), options={82: chosen}))
    assert reply.to == A("10.30.0.1")
    offer = offered(two, request(DISCOVER, giaddr=A("10.30.0.1"), options={82: chosen}))
    assert (offer.yiaddr, offer.options[82]) == (A("10.20.0.50"), chosen)
    assert 3 not in offer.options  # the relay is not of this network
    nowhere = relay_agent(link=A("10.99.0.0").packed)
    assert two.ask(request(DISCOVER, giaddr=A("10.30.0.1"), options={82: nowhere})) is None


def test_subnet_selection(desk: Make) -> None:  # RFC 3011
    two = desk(TWO)
    chosen = A("10.20.0.0").packed
    offer = offered(two, request(DISCOVER, options={118: chosen}))
    assert (offer.yiaddr, offer.options[118]) == (A("10.20.0.50"), chosen)
    # RFC 3527 3: the relay's choice goes before the client's
    both = {118: chosen, 82: relay_agent(link=A("10.30.0.0").packed)}
    assert offered(two, request(DISCOVER, options=both)).yiaddr == A("10.30.1.1")


def test_server_identifier_override(desk: Make) -> None:  # RFC 5107
    two = desk(TWO)
    relay = A("10.20.0.1")
    sent = {82: relay_agent(circuit=b"eth1", override=relay.packed)}
    offer = offered(two, request(DISCOVER, giaddr=relay, options=sent))
    assert (offer.options[54], offer.siaddr) == (relay.packed, SERVER)
    take = {"wanted": offer.yiaddr, "server": relay, "giaddr": relay}
    ack = two.ask(request(REQUEST, options=sent, **take))
    assert (kind(ack), ack and ack.options[54]) == (MessageType.ACK, relay.packed)
    assert two.leased(offer.yiaddr)
    assert two.ask(request(REQUEST, **take)) is None  # without the relay's word it is another's


def test_a_client_renews_straight_what_it_got_through_a_relay(desk: Make) -> None:
    two = desk(TWO)
    ack = two.lease(giaddr=A("10.20.0.1"))
    renewed = two.ask(
        request(REQUEST, ciaddr=ack.yiaddr), elsewhere(source=ack.yiaddr, unicast=True)
    )
    assert (kind(renewed), renewed and renewed.yiaddr) == (MessageType.ACK, ack.yiaddr)


def test_a_subnet_without_a_pool_has_reservations_alone(desk: Make) -> None:
    text = f"{BOOTP}pool_start = 192.168.1.100\n[subnet 10.20.0.0/24]\n"
    kept = desk(f"{text}[client 52-54-00-12-34-56]\naddress = 10.20.0.9\n")
    assert offered(kept, request(DISCOVER, giaddr=A("10.20.0.1"))).yiaddr == A("10.20.0.9")
    assert kept.ask(request(DISCOVER, mac=OTHER, giaddr=A("10.20.0.1"))) is None


def test_the_smaller_network_counts(desk: Make) -> None:
    text = f"{BOOTP}pool_start = 10.9.1.1\nnetmask = 255.255.0.0\n"
    both = desk(f"{text}[subnet 10.9.7.0/24]\npool_start = 10.9.7.7\n")
    assert [one.network for one in both.subnets] == [
        IPv4Network("10.9.7.0/24"),
        IPv4Network("10.9.0.0/16"),
    ]
    assert offered(both, request(DISCOVER, giaddr=A("10.9.7.1"))).yiaddr == A("10.9.7.7")
    assert offered(both, request(DISCOVER, giaddr=A("10.9.8.1"))).yiaddr == A("10.9.1.1")


# [client] and [class]

SOME = f"""{BOOTP}pool_start = 192.168.1.100
[bootfile]
default = any.0
ipxe = menu.ipxe
efi-x86_64 = shim.efi
[client 52-54-00-12-34-56]
address = 192.168.1.7
hostname = desk
boot_file = own.0
disk = /dev/nvme0n1
[class arm]
match architecture = efi-arm*
boot_file = arm.efi
role = board
[class lab]
match vendor_class = PXEClient*
match mac = 52-54-00-*
hostname = lab
role = lab
disk = /dev/sda
"""


def test_a_clients_own_goes_before_its_class(desk: Make) -> None:
    some = desk(SOME)
    ack = some.lease(options=PXE)
    assert (ack.yiaddr, ack.file, ack.options[12]) == (A("192.168.1.7"), b"own.0", b"desk")
    known = some.clients.find_by_identity(MAC)
    assert known is not None
    assert known.variables == {"disk": "/dev/nvme0n1", "role": "lab"}
    assert (known.hostname, known.file) == ("desk", "own.0")


def test_a_class_goes_before_the_architecture(desk: Make) -> None:
    some = desk(SOME)
    arm = offered(some, request(DISCOVER, mac=OTHER, options=PXE | {93: b"\0\x0b"}))
    assert (arm.file, arm.options[12]) == (b"arm.efi", b"lab")
    x64 = offered(some, request(DISCOVER, mac=OTHER, options=PXE))
    assert x64.file == b"shim.efi"
    strange = offered(some, request(DISCOVER, mac=b"\2\0\0\0\0\7", options=PXE))
    assert 12 not in strange.options


def test_a_class_that_names_no_file_leaves_it_to_the_architecture(desk: Make) -> None:
    ack = desk(SOME).lease(mac=OTHER, options=PXE)
    assert ack.file == b"shim.efi"


CLIENT = Client(
    MAC,
    architecture=9,
    vendor_class="PXEClient:Arch:00009",
    user_class="iPXE lab",
    hostname="node-7",
    relay=A("10.20.0.1"),
    interface="eth1",
    circuit_id="ge-0/0/7",
)


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("vendor_class = PXEClient:*", True),
        ("vendor_class = pxeclient:*", False),
        ("user_class = *lab", True),
        ("architecture = efi-ebc", True),
        ("architecture = 00009", True),
        ("architecture = efi-x86_64", True),
        ("architecture = efi-arm64", False),
        ("mac = 52-54-00-12-34-*", True),
        ("mac = 52:54:00:12:34:5?", True),
        ("mac = AA-*", False),
        ("uuid = 00*", False),
        ("hostname = node-?", True),
        ("relay = 10.20.*", True),
        ("circuit_id = ge-0/0/*", True),
        ("interface = eth1", True),
        ("interface = eth", False),
    ],
)
def test_what_a_class_matches(tmp_path: Path, line: str, fits: bool) -> None:
    path = tmp_path / "pybootd.ini"
    path.write_text(f"{BOOTP}pool_start = 10.0.0.1\n[class one]\nmatch {line}\nboot_file = x\n")
    profiles = load(path, ("bootp",)).profiles
    assert bool(profiles.find_profile(CLIENT).boot_file) is fits


def test_the_circuit_id_as_text_or_in_hexadecimal(desk: Make) -> None:
    text = f"{BOOTP}pool_start = 192.168.1.100\n"
    some = desk(f"{text}[class a]\nmatch circuit_id = 0004*\nhostname = hex\n")
    for circuit, name in ((b"\0\4\0\1", b"hex"), (b"0004x", b"hex"), (b"eth7", None)):
        sent = {82: relay_agent(circuit=circuit)}
        offer = offered(some, request(DISCOVER, options=sent, giaddr=A("192.168.1.2")))
        assert offer.options.get(12) == name


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "[subnet 10.0.0.1/24]\n",
            ":5: [subnet 10.0.0.1/24]: '10.0.0.1/24' is an address in a network",
        ),
        ("[subnet 10.1.0.0/24]\npool_start = 10.2.0.1\n", ":6: [subnet 10.1.0.0/24] pool_start: "),
        ("[subnet 192.168.1.0/24]\npool_start = 192.168.1.5\n", "the pool of [bootp] begins in"),
        ("[subnet 10.1.0.0/24]\n[subnet 10.1.0.0/16]\n", ":6: [subnet 10.1.0.0/16] pool_start: "),
        ("[client nobody]\n", "[client nobody]: 'nobody' is no MAC address"),
        ("[client 52:54:00:12:34:56]\n[client 52-54-00-12-34-56]\n", "has a section already"),
        ("[client 52-54-00-12-34-56]\naddress = x\n", "'x' is a name: write an IPv4 address"),
        ("[client 52-54-00-12-34-56]\nuuid = x\n", "{uuid} is a variable that every client has"),
        ("[class x]\nhostname = x\n", "[class x]: fits no client: write a line such as"),
        ("[class x]\nmatch vender_class = x\n", "(did you mean vendor_class?)"),
        ("[class x]\nmatch mac = *\naddress = 10.0.0.1\n", "one address is for one client alone"),
        ("[class]\nmatch mac = *\n", "has no name: write [class NAME]"),
        (
            "[static_dhcp]\n52-54-00-12-34-56 = 192.168.1.8\n"
            "[client 52-54-00-12-34-56]\naddress = 192.168.1.9\n",
            "its [client] section has an address, too",
        ),
        (
            "[client 52-54-00-12-34-56]\naddress = 192.168.1.9\n"
            "[client 52-54-00-12-34-57]\naddress = 192.168.1.9\n",
            "192.168.1.9 is kept for [client 52-54-00-12-34-56] in line 5",
        ),
    ],
)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "pybootd.ini"
    path.write_text(f"{BOOTP}pool_start = 192.168.1.100\n{text}")
    with pytest.raises(ConfigError) as error:
        load(path, ("bootp",))
    assert fault in str(error.value)


def test_an_option_that_is_only_a_variable_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "pybootd.ini"
    path.write_text(f"{BOOTP}pool_start = 10.0.0.1\n[client 52-54-00-12-34-56]\ndns = 10.0.0.1\n")
    (warning,) = load(path, ("bootp",)).warnings
    assert "is only a variable here, {dns}" in str(warning)


def test_a_pool_of_a_subnet_is_enough_and_none_is_not(tmp_path: Path) -> None:
    path = tmp_path / "pybootd.ini"
    path.write_text("[subnet 10.0.0.0/24]\npool_start = 10.0.0.9\n")
    assert load(path, ("bootp",)).bootp.pool_start is None
    path.write_text("[subnet 10.0.0.0/24]\n")
    with pytest.raises(ConfigError, match="pool_start: required"):
        load(path, ("bootp",))
