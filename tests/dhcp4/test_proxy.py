"""Beside another DHCP server: what to boot, never an address (PXE 2.1; captured firmware)."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.access.base import Access, AccessDecision
from pybootd.config.bootfile import BootFileConfig
from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import load
from pybootd.core.client import Client
from pybootd.core.events import Advice, Confirmed, Offered, Refused
from pybootd.dhcp4.actions import Action
from pybootd.dhcp4.own_options import OwnOption
from pybootd.dhcp4.reply import Reply
from pybootd.dhcp4.request import Arrival
from pybootd.dhcp4.wire.packet import NOBODY, MessageType, Packet, decode, encode
from pybootd.system.sockets import BROADCAST

from .desk import HERE, LAN, MAC, PXE, SERVER, WAN, A, Desk, answer, elsewhere, events, request
from .vectors import VECTORS

DISCOVER, REQUEST, INFORM = MessageType.DISCOVER, MessageType.REQUEST, MessageType.INFORM
HAD = A("192.168.1.55")  # the address that the other server gave
BIOS = {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0", 97: b"\0" + bytes(range(16))}
IPXE = BIOS | {77: b"iPXE", 175: b"\xeb\3\1\0\0"}
FETCH = b"\6\1\x08\xff"


class ProxyDesk(Desk):
    """A desk whose port 67 is a proxy's."""

    def __init__(self, **more: object) -> None:
        super().__init__(mode="proxy", pool_start=None, **more)  # type: ignore[arg-type]

    def effects(self, packet: Packet, origin: Arrival = HERE) -> list[Action]:
        return self.handler.proxy.handle_port_67(decode(encode(packet)), origin, self.now)


def at_4011(packet: Packet, desk: Desk, port: int = 4011, source: A = HAD) -> Sequence[Action]:
    origin = elsewhere(source=source, unicast=True, port=port, boot_server=True)
    beside = desk.config.bootp.mode == "proxy"
    packet = decode(encode(packet))
    return desk.handler.proxy.handle_port_4011(packet, origin, desk.now, beside_other=beside)


def test_a_bios_hears_of_its_file_at_once() -> None:
    desk = ProxyDesk()
    effects = desk.effects(request(DISCOVER, options=BIOS))
    offer = answer(effects)
    assert offer is not None
    assert (offer.yiaddr, offer.siaddr, offer.file) == (NOBODY, SERVER, b"pxelinux.0")
    assert (offer.options[60], offer.options[43]) == (b"PXEClient", FETCH)
    assert offer.options[97] == BIOS[97]
    assert (offer.options[53], offer.options[54]) == (b"\2", SERVER.packed)
    assert (offer.options[66], offer.options[67]) == (str(SERVER).encode(), b"pxelinux.0\0")
    assert not {1, 3, 6, 51, 58, 59} & set(offer.options)
    (event,) = events(effects)
    assert isinstance(event, Offered)
    assert (event.address, event.boot_file, event.proxy) == (NOBODY, "pxelinux.0", True)
    reply = desk.reply(request(DISCOVER, options=BIOS))
    assert (reply.to, reply.port, reply.mac, reply.durable) == (BROADCAST, 68, b"", False)
    assert len(reply.data) >= 300


def test_uefi_is_to_ask_port_4011() -> None:
    desk = ProxyDesk()
    effects = desk.effects(request(DISCOVER, options=PXE, flags=0x8000))
    offer = answer(effects)
    assert offer is not None
    assert (offer.options[60], offer.options[97], offer.siaddr) == (b"PXEClient", PXE[97], SERVER)
    assert not {43, 66, 67} & set(offer.options)
    assert offer.file == b""
    assert events(effects)[0].boot_file == "shim.efi"

    desk.neighbours[HAD] = MAC
    asked = request(REQUEST, options=PXE, ciaddr=HAD)
    effects = at_4011(asked, desk)
    (reply,) = [one for one in effects if isinstance(one, Reply)]
    (event,) = events(effects)
    assert (event.address, event.boot_file, event.proxy) == (HAD, "shim.efi", True)
    assert not event.claimed
    ack = decode(reply.data)
    assert (reply.to, reply.port, reply.boot_server) == (HAD, 4011, True)
    assert (ack.options[53], ack.yiaddr, ack.siaddr) == (b"\5", NOBODY, SERVER)
    assert (ack.file, ack.options[67]) == (b"shim.efi", b"shim.efi\0")
    assert 51 not in ack.options
    known = desk.clients.find_by_address(HAD)
    assert known is not None
    assert (known.client.mac, known.booted, known.boot_file) == (MAC, True, "shim.efi")


def test_ipxe_is_told_at_once_wherever_it_runs() -> None:
    for code in (b"\0\0", b"\0\7"):
        offer = ProxyDesk().ask(request(DISCOVER, options=IPXE | {93: code}))
        assert offer is not None
        assert (offer.file, offer.options[43]) == (b"menu.ipxe", FETCH)
        assert 175 not in offer.options  # it is to wait for a proxy: for us


def test_ipxe_on_port_4011_gets_its_boot_item_back() -> None:
    item = bytes.fromhex("470480000000ff")
    asked = request(REQUEST, options={60: b"PXEClient", 93: b"\0\0", 43: item}, ciaddr=HAD)
    (reply,) = [one for one in at_4011(asked, Desk(), port=68) if isinstance(one, Reply)]
    ack = decode(reply.data)
    assert (reply.to, reply.port) == (HAD, 68)
    assert (ack.options[43], ack.options[60], ack.file) == (item, b"PXEClient", b"pxelinux.0")


@pytest.mark.parametrize("kind", [DISCOVER, MessageType.RELEASE, MessageType.DECLINE, 9])
def test_port_4011_answers_requests_alone(kind: int) -> None:
    assert not at_4011(request(kind, options=PXE, ciaddr=HAD), Desk())


def test_port_4011_answers_an_inform() -> None:
    assert answer(at_4011(request(INFORM, options=PXE, ciaddr=HAD), Desk())) is not None


def test_port_4011_in_mode_dhcp_is_for_our_networks_alone() -> None:
    packet = request(REQUEST, options=PXE, ciaddr=A("10.9.0.55"))
    origin = Arrival(WAN, A("10.9.0.1"), A("10.9.0.55"), True, 4011, True)
    assert Desk().handler.proxy.handle_port_4011(packet, origin, 1.0) == []
    assert answer(ProxyDesk().handler.proxy.handle_port_4011(packet, origin, 1.0)) is not None


def test_nothing_for_clients_that_do_not_boot() -> None:
    desk = ProxyDesk(allow_simple_dhcp=True)
    for kind in (None, DISCOVER, REQUEST, INFORM):
        assert desk.effects(request(kind)) == []
        assert not at_4011(request(kind, ciaddr=HAD), desk)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: one.name)
def test_who_of_the_real_clients_is_answered(vector) -> None:
    desk = ProxyDesk(files=BootFileConfig("any", "menu.ipxe", {16: "http://10.0.0.1/x.efi"}))
    offer = desk.ask(decode(vector.data))
    assert (offer is not None) == vector.network_boot
    assert offer is None or offer.yiaddr == NOBODY


def test_http_boot_gets_a_url() -> None:
    http = {60: b"HTTPClient:Arch:00016:UNDI:003000", 93: b"\0\x10"}
    url = b"http://10.0.0.1/x.efi"
    offer = ProxyDesk(files=BootFileConfig("any", "", {16: url.decode()})).ask(
        request(DISCOVER, options=http)
    )
    assert offer is not None
    assert (offer.options[60], offer.options[67].rstrip(b"\0")) == (b"HTTPClient", url)
    assert 43 not in offer.options


@pytest.mark.parametrize("enable", ["on", "off"])
def test_http_boot_and_our_own_files(tmp_path: Path, enable: str) -> None:
    path = tmp_path / "pybootd.ini"
    path.write_text(
        "[bootp]\nmode = proxy\n[bootfile]\ndefault = boot/x 1.efi\n"
        f"[httpd]\nenable = {enable}\nport = 81\n"
    )
    desk = Desk(config=load(path, ("bootp",)))
    http = request(DISCOVER, options={60: b"HTTPClient:Arch:00016:UNDI:003000", 93: b"\0\x10"})
    effects = desk.handler.proxy.handle_port_67(http, elsewhere(), 1.0)
    offer = answer(effects)
    if enable == "on":
        assert offer is not None
        assert offer.options[67] == b"http://192.168.1.1:81/boot/x%201.efi"
    else:
        assert offer is None
        (advice,) = [one.text for one in events(effects) if isinstance(one, Advice)]
        assert "write [bootfile] 00016 = http://HOST/FILE, or [httpd] enable = yes" in advice


def test_a_pi_is_answered_without_a_file() -> None:
    offer = ProxyDesk(files=BootFileConfig()).ask(
        request(DISCOVER, mac=bytes.fromhex("b827eb000001"), options=BIOS)
    )
    assert offer is not None
    assert b"Raspberry Pi Boot   " in offer.options[43]


def test_no_file_no_answer() -> None:
    effects = ProxyDesk(files=BootFileConfig()).effects(request(DISCOVER, options=BIOS))
    assert answer(effects) is None
    (reason,) = [one.reason for one in events(effects) if isinstance(one, Refused)]
    assert reason == "there is no file for it"


def test_a_client_is_known_by_the_address_at_which_the_system_sees_it() -> None:
    desk = ProxyDesk()
    desk.ask(request(DISCOVER, options=BIOS))
    (event,) = events(
        desk.effects(request(REQUEST, options=BIOS, wanted=HAD, server=A("192.168.1.2")))
    )
    assert isinstance(event, Confirmed)
    assert (event.address, event.boot_file, event.booting) == (HAD, "pxelinux.0", True)
    assert event.claimed  # it says so
    assert desk.clients.find_by_address(HAD) is None
    desk.neighbours[HAD] = MAC
    known = desk.clients.find_by_address(HAD)
    assert known is not None
    assert known.server == SERVER
    # and so is the system that it boots
    (event,) = events(desk.effects(request(REQUEST, wanted=HAD + 1, server=A("192.168.1.2"))))
    assert isinstance(event, Confirmed)
    assert (event.address, event.booting, event.proxy) == (HAD + 1, False, True)
    desk.neighbours[HAD + 1] = MAC
    assert desk.clients.find_by_address(HAD + 1) is known


def test_the_access_list_is_asked() -> None:
    class Nobody(Access):
        @classmethod
        def from_config(cls, section: Section) -> Access:
            return cls()

        def check(self, client: Client) -> AccessDecision:
            return AccessDecision(False, "not in [mac]")

    desk = ProxyDesk(access=Nobody())
    effects = desk.effects(request(DISCOVER, options=BIOS))
    assert answer(effects) is None
    assert [(one.reason, one.level) for one in events(effects)] == [("not in [mac]", logging.INFO)]
    assert answer(at_4011(request(REQUEST, options=PXE, ciaddr=HAD), desk)) is None


def test_a_relayed_request_goes_back_to_the_relay() -> None:
    relay = A("10.20.0.1")
    reply = ProxyDesk().reply(request(DISCOVER, options=BIOS | {82: b"\1\1x"}, giaddr=relay))
    assert (reply.to, reply.port) == (relay, 67)
    assert decode(reply.data).options[82] == b"\1\1x"


def test_options_that_are_always_sent() -> None:
    desk = ProxyDesk(settings=(OwnOption(210, b"pxe/", True), OwnOption(42, b"\1\2\3\4")))
    offer = desk.ask(request(DISCOVER, options=BIOS))
    assert offer is not None
    assert (offer.options[210], 42 in offer.options) == (b"pxe/", False)


def test_an_interface_without_an_address_is_no_place_to_answer_from() -> None:
    assert ProxyDesk().effects(request(DISCOVER, options=BIOS), Arrival(LAN, NOBODY)) == []


def test_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "pybootd.ini"
    path.write_text("[bootp]\nmode = proxy\nallow_simple_dhcp = on\n")
    config = load(path, ("bootp",))  # no pool_start
    assert config.bootp.mode == "proxy"
    (warning,) = config.warnings
    assert "allow_simple_dhcp: warning: has no meaning with mode = proxy" in str(warning)
    path.write_text("[bootp]\nmode = auto\n")
    with pytest.raises(ConfigError, match="pool_start"):
        load(path, ("bootp",))


@given(
    st.dictionaries(
        st.sampled_from((43, 50, 53, 54, 55, 57, 60, 61, 77, 82, 93, 97, 118, 175)),
        st.binary(max_size=300),
    ),
    st.integers(0, 9),
    st.booleans(),
)
def test_whatever_is_sent_is_survived(sent: dict[int, bytes], kind: int, boot: bool) -> None:
    packet = Packet(chaddr=MAC, ciaddr=HAD, options=sent | {53: bytes((kind,))})
    for desk in (SHARED, SHARED_PROXY):
        for origin in (HERE, elsewhere(source=HAD, port=4011, boot_server=True)):
            proxy = desk.handler.proxy
            answer = proxy.handle_port_4011 if boot else proxy.handle_port_67
            effects = answer(packet, origin, 1.0)
            for effect in (*effects, *desk.handler.handle_request(packet, origin, 1.0)):
                if isinstance(effect, Reply):
                    assert len(effect.data) >= 300
                    assert decode(effect.data).op == 2


SHARED, SHARED_PROXY = Desk(), ProxyDesk()
