"""[options]: names, numbers, values of each type, and what is wrong with the others."""

import pytest

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.dhcp4.own_options import read_own_options
from pybootd.dhcp4.wire.options import TABLE, name, parse_option


@pytest.mark.parametrize(
    ("key", "text", "code", "value"),
    [
        ("router", "10.0.0.1, 10.0.0.2", 3, "0a0000010a000002"),
        ("ntp_server", "10.0.0.1;10.0.0.2", 42, "0a0000010a000002"),
        ("HOST-NAME", "box", 12, "626f78"),
        ("domain-name", '" a b "', 15, "20612062 20"),
        ("interface-mtu", "1400", 26, "0578"),
        ("26", "0x578", 26, "0578"),
        ("time-offset", "-3600", 2, "fffff1f0"),
        ("ip-forwarding", "on", 19, "01"),
        ("default-ip-ttl", "64", 23, "40"),
        ("path-mtu-plateau-table", "68, 296", 25, "00440128"),
        ("vendor-encapsulated-options", "01:02:ff", 43, "0102ff"),
        ("domain-search", "ab.c, d", 119, "026162016300 016400"),
        ("121", "10.0.0.0/8 1.1.1.1 0.0.0.0/0 1.1.1.2", 121, "080a010101010001010102"),
        ("static-route", "10.0.0.1 10.0.0.2", 33, "0a0000010a000002"),
        ("224", "0x0102", 224, "0102"),
        ("224", "10.0.0.1", 224, "0a000001"),
        ("224", "300", 224, "012c"),
        ("224", "some text", 224, "736f6d652074657874"),
        ("209", "pxe/menu.cfg", 209, "7078652f6d656e752e636667"),
    ],
)  # fmt: skip
def test_values(key: str, text: str, code: int, value: str) -> None:
    assert parse_option(key, text) == (code, bytes.fromhex(value))


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("ruter", "10.0.0.1", "did you mean router"),
        ("router", "10.0.0", "no IPv4 address"),
        ("router", "", "at least one"),
        ("static-route", "10.0.0.1", "pairs"),
        ("interface-mtu", "70000", "between 0 and 65535"),
        ("interface-mtu", "big", "no whole number"),
        ("ip-forwarding", "perhaps", "neither on nor off"),
        ("43", "0x1", "hexadecimal"),
        ("host-name", "", "empty"),
        ("domain-search", " ", "at least one"),
        ("121", "10.0.0.0/8", "NET/LEN"),
        ("121", "10.0.0.1/8 10.0.0.1", "no network"),
        ("255", "1", "1 to 254"),
        ("lease-time", "60", "lease_time"),
        ("53", "1", "can't be set here"),
    ],
)
def test_faults(key: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_option(key, text)


def test_names() -> None:
    assert (name(67), name(224)) == ("bootfile-name", "224")
    assert len({entry[0] for entry in TABLE.values()}) == len(TABLE)


def test_a_section_with_every_fault_at_once() -> None:
    section = Section("options", options={"router": "x", "nosuch": "1", "42": "10.0.0.1"})
    with pytest.raises(ConfigError) as caught:
        read_own_options(Config(sections={"options": section}))
    assert [fault.place.option for fault in caught.value.faults] == ["router", "nosuch"]


def test_an_option_set_twice_is_a_fault() -> None:
    section = Section("options", options={"router": "10.0.0.1", "3": "10.0.0.2"})
    with pytest.raises(ConfigError, match="set twice"):
        read_own_options(Config(sections={"options": section}))


def test_sent_when_asked_or_always() -> None:
    section = Section("options", options={"42": "10.0.0.1", "209": "!menu.cfg"})
    ntp, menu = read_own_options(Config(sections={"options": section}))
    assert (ntp.code, ntp.value, ntp.always) == (42, b"\n\0\0\1", False)
    assert (menu.code, menu.value, menu.always) == (209, b"menu.cfg", True)
