"""What the administrator sets is what clients get: for all, for a subnet, a class, a client."""

from itertools import product
from pathlib import Path

import pytest

from pybootd.config.ini import ConfigError
from pybootd.config.loader import load
from pybootd.daemon import Daemon
from pybootd.dhcp4.wire import pxe
from pybootd.dhcp4.wire.packet import MessageType
from tests.dhcp4.desk import HERE, MAC, OTHER, PXE, Desk, answer, request

START = """[tftp]
root = .
[bootp]
pool_start = 192.168.1.100
allow_simple_dhcp = on
conflict_check = off
leases = memory
[bootfile]
default = default.0
efi-x86_64 = shim.efi
http-efi-x86_64 = http://192.168.1.1/shim.efi
ipxe = menu.ipxe
"""
# option -> what is written, what is sent
OPTIONS = {
    "43": ("0104c0a80101", bytes.fromhex("0104c0a80101")),
    "vendor-encapsulated-options": ("01:04:c0:a8:01:01", bytes.fromhex("0104c0a80101")),
    "60": ("ArubaInstantAP", b"ArubaInstantAP"),
    "66": ("10.0.0.5", b"10.0.0.5"),
    "tftp-server-name": ("http://10.0.0.5/phones", b"http://10.0.0.5/phones"),
    "67": ("SEP.cnf.xml", b"SEP.cnf.xml"),
    "150": ("10.0.0.5, 10.0.0.6", bytes((10, 0, 0, 5, 10, 0, 0, 6))),
    "bootfile-name": ("network-confg", b"network-confg"),
    "224": ('"zone 7"', b"zone 7"),
}
CODES = {
    "vendor-encapsulated-options": 43,
    "tftp-server-name": 66,
    "bootfile-name": 67,
}
CLIENTS = {
    "phone": {60: b"Cisco Systems, Inc. IP Phone CP-7960"},
    "switch": {60: b"Arista;DCS-7050S-64;01.23;JPE12345678", 61: b"\1" + MAC},
    "bios": {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0", 97: b"\0" + bytes(16)},
    "uefi": PXE,
    "ipxe": {**PXE, 77: b"iPXE", 175: b"\xb1\x05\1\2\3\4\5"},
    "http": {60: b"HTTPClient:Arch:00016:UNDI:003001", 93: b"\0\x10"},
}
PHONES = ("phone", "switch")
SECTIONS = {
    "options": "[options]\n{name} = {text}\n",
    "subnet": "[subnet 192.168.1.0/24]\npool_start = 192.168.1.100\noption {name} = {text}\n",
    "class": "[class c]\nmatch mac = 52:54:00:*\noption {name} = {text}\n",
    "client": "[client 52-54-00-12-34-56]\nOption  {name} = {text}\n",
}


def desk(tmp_path: Path, text: str) -> Desk:
    start = START.replace("pool_start = 192.168.1.100\n", "") if "[subnet" in text else START
    path = tmp_path / "pybootd.ini"
    path.write_text(start + text)
    config = load(path)
    assert config.warnings == ()
    return Desk(config=config)


def discover(kind: str, *wanted: int, mac: bytes = MAC):
    asked = {55: bytes((1, 3, *wanted))}
    return request(MessageType.DISCOVER, mac=mac, options={**CLIENTS[kind], **asked})


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_set_is_sent(tmp_path: Path, section: str, name: str) -> None:
    """Asked for, or always; to clients that boot from here and to those that don't."""
    text, value = OPTIONS[name]
    code = CODES.get(name) or int(name)
    for always, kind, asked in product((False, True), CLIENTS, (False, True)):
        line = SECTIONS[section].format(name=name, text="!" * always + text)
        offer = desk(tmp_path, line).ask(discover(kind, *[code] * asked))
        assert offer is not None
        if always or asked:
            assert offer.options[code] == value, (always, kind, asked)
        elif kind in PHONES:
            assert code not in offer.options
        if kind not in PHONES and code not in (60, 67):  # it boots as ever
            told = CLIENTS[kind][60].partition(b":")[0]
            assert kind == "ipxe" or offer.options[60] == told
            assert (
                offer.options[67].rstrip(b"\0")
                == {
                    "bios": b"default.0",
                    "uefi": b"shim.efi",
                    "ipxe": b"menu.ipxe",
                    "http": b"http://192.168.1.1/shim.efi",
                }[kind]
            )


def test_what_makes_a_machine_boot_stays_where_another_option_is_set(tmp_path: Path) -> None:
    offer = desk(tmp_path, "[options]\n43 = 0104c0a80101\n").ask(discover("uefi"))
    assert offer is not None
    assert offer.options[43] == pxe.FETCH_FILE  # it didn't ask for 43: that is for phones


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("", b"all"),
        ("[subnet 192.168.1.0/24]\npool_start = 192.168.1.100\noption 224 = '1'\n", b"subnet"),
        ("[class a]\nmatch mac = 52:*\noption 224 = '2'\n", b"first"),
        ("[client 52-54-00-12-34-56]\noption 224 = '3'\n", b"client"),
    ],
)
def test_the_narrower_section_goes_before_the_wider_one(
    tmp_path: Path, text: str, sent: bytes
) -> None:
    """Each with all of the wider ones beside it."""
    every = {
        b"all": "[options]\n224 = 'all'\n",
        b"subnet": "[subnet 192.168.1.0/24]\npool_start = 192.168.1.100\noption 224 = 'subnet'\n",
        b"first": "[class a]\nmatch mac = 52:*\noption 224 = 'first'\n"
        "[class b]\nmatch mac = 52:54:*\noption 224 = 'second'\noption 225 = 'b'\n",
        b"client": "[client 52-54-00-12-34-56]\noption 224 = 'client'\n",
    }
    upto = [*every][: [*every].index(sent) + 1]
    quoted = "".join(every[one] for one in upto).replace("'", '"')
    place = desk(tmp_path, quoted)
    offer = place.ask(discover("phone", 224, 225))
    assert offer is not None
    assert offer.options[224] == sent
    assert offer.options.get(225) == (b"b" if sent in (b"first", b"client") else None)
    stranger = place.ask(discover("phone", 224, mac=bytes.fromhex("0200000000aa")))
    assert stranger is not None
    assert stranger.options[224] == (b"all" if sent == b"all" else b"subnet")


def test_an_option_that_one_client_gets_always_is_no_other_s(tmp_path: Path) -> None:
    place = desk(tmp_path, "[client 52-54-00-12-34-56]\noption 150 = !10.0.0.5\n")
    mine, theirs = place.ask(discover("phone")), place.ask(discover("phone", 150, mac=OTHER))
    assert mine is not None
    assert theirs is not None
    assert mine.options[150] == bytes((10, 0, 0, 5))
    assert 150 not in theirs.options


def test_a_host_name(tmp_path: Path) -> None:
    """The client's goes before option 12 for all, its own option 12 before that."""
    text = "[options]\nhost-name = all\n[client 52-54-00-12-34-56]\nhostname = rack7\n"
    offer = desk(tmp_path, text).ask(discover("phone", 12))
    assert offer is not None
    assert offer.options[12] == b"rack7"
    offer = desk(tmp_path, text + "option host-name = mine\n").ask(discover("phone", 12))
    assert offer is not None
    assert offer.options[12] == b"mine"


@pytest.mark.parametrize("section", ["options", "class", "client"])
@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_set_is_sent_beside_another_dhcp_server(
    tmp_path: Path, section: str, name: str
) -> None:
    text, value = OPTIONS[name]
    code = CODES.get(name) or int(name)
    for always, kind, asked in product((False, True), ("bios", "ipxe", "http"), (False, True)):
        line = SECTIONS[section].format(name=name, text="!" * always + text)
        proxy = "mode = proxy\n[bootfile]"
        start = START.replace("allow_simple_dhcp = on\n", "").replace("[bootfile]", proxy)
        path = tmp_path / "pybootd.ini"
        path.write_text(start + line)
        place = Desk(config=load(path))
        packet = discover(kind, *[code] * asked)
        offer = answer(place.handler.proxy.handle_port_67(packet, HERE, place.now))
        assert offer is not None
        if always or asked:
            assert offer.options[code] == value, (always, kind, asked)
        assert offer.options[54]


ARISTA = """[class arista]
match vendor_class = Arista;*
option bootfile-name = !http://10.0.0.5/ztp
"""
CISCO = """[options]
150 = 10.0.0.5
[class phones]
match vendor_class = Cisco Systems, Inc. IP Phone*
option 66 = 10.0.0.6
"""
UNIFI = """[subnet 192.168.1.0/24]
pool_start = 192.168.1.100
option 43 = 0104c0a80101
"""


@pytest.mark.parametrize(
    ("text", "kind", "wanted", "sent"),
    [
        (ARISTA, "switch", (67,), {67: b"http://10.0.0.5/ztp"}),
        (ARISTA, "switch", (), {67: b"http://10.0.0.5/ztp"}),
        (CISCO, "phone", (66, 150), {66: b"10.0.0.6", 150: bytes((10, 0, 0, 5))}),
        (UNIFI, "phone", (43,), {43: bytes.fromhex("0104c0a80101")}),
    ],
)
@pytest.mark.parametrize("step", [MessageType.DISCOVER, MessageType.REQUEST, MessageType.INFORM])
def test_zero_touch_provisioning(
    tmp_path: Path,
    text: str,
    kind: str,
    wanted: tuple[int, ...],
    sent: dict[int, bytes],
    step: MessageType,
) -> None:
    """Switches and phones that boot nothing of ours, as their makers say to set them up."""
    place = desk(tmp_path, text)
    reply = place.ask(discover(kind, *wanted))
    assert reply is not None
    if step != MessageType.DISCOVER:
        asked = {**CLIENTS[kind], 55: bytes(wanted), 54: reply.options[54]}
        fields = {"wanted": reply.yiaddr} if step == MessageType.REQUEST else {}
        if step == MessageType.INFORM:
            del asked[54]
            reply = place.ask(request(step, options=asked, ciaddr=reply.yiaddr))
        else:
            reply = place.ask(request(step, options=asked, **fields))
        assert reply is not None
    assert {code: reply.options.get(code) for code in sent} == sent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[client 52-54-00-12-34-56]\noption router = x\n", "option router: 'x'"),
        (
            "[class a]\nmatch mac = *\noption tftp-server-nam = x\n",
            "did you mean tftp-server-name?",
        ),
        ("[subnet 192.168.1.0/24]\npool_start = 192.168.1.9\noption 255 = x\n", "from 1 to 254"),
        ("[client 52-54-00-12-34-56]\noption 53 = 1\n", "can't be set here"),
        ("[client 52-54-00-12-34-56]\noption 66 = a\noption tftp-server-name = b\n", "set twice"),
        ("[client 52-54-00-12-34-56]\noption 43 = xyz\n", "option 43: 'xyz'"),
        ("[client 52-54-00-12-34-56]\noption 66 =\n", "option 66: "),
        ("[options]\n66 = \n", "66: "),
    ],
)
def test_a_wrong_option_of_a_section_is_told_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    start = START.replace("pool_start = 192.168.1.100\n", "") if "[subnet" in text else START
    path = tmp_path / "pybootd.ini"
    path.write_text(start + text)
    with pytest.raises(ConfigError) as caught:
        Daemon.from_file(path)
    (found,) = caught.value.faults
    assert found.place.line == (start + text).count("\n")
    assert said in str(found)
