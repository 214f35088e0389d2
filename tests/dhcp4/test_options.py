"""[options]: names, numbers, values of each type, and what is wrong with the others."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybootd.config.client_classes import NO_PROFILE
from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.dhcp4.own_options import read_own_options
from pybootd.dhcp4.wire.options import (
    OWN,
    TABLE,
    format_value,
    option_name,
    option_type,
    parse_option,
)


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
        ("interface-mtu", "big", "not an integer"),
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
    assert (option_name(67), option_name(224)) == ("bootfile-name", "224")
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
    own = read_own_options(Config(sections={"options": section}))
    given = own.find_options(NO_PROFILE, IPv4Network("10.0.0.0/8"))
    assert given.values == {42: b"\n\0\0\1", 209: b"menu.cfg"}
    assert given.always == {209: b"menu.cfg"}


# both ways

CODES = st.sampled_from([*sorted(TABLE), 224])
ADDRESSES = st.ip_addresses(v=4).map(str)
TEXTS = st.one_of(
    st.text(max_size=40),
    ADDRESSES,
    st.lists(ADDRESSES, min_size=1, max_size=4).map(", ".join),
    st.integers(-(2**33), 2**33).map(str),
    st.lists(st.integers(0, 70000), min_size=1).map(lambda many: ", ".join(map(str, many))),
    st.sampled_from(["on", "off", "yes", "0x0102", "01:02:ff", "DISCOVER", "1=00:01, 2=", "60 s"]),
    st.lists(st.sampled_from(["ab.c", "d", "xn--a.e", "b\u00fccher.de"]), min_size=1).map(" ".join),
    st.sampled_from(["10.0.0.0/8 1.1.1.1", "0.0.0.0/0 1.1.1.2 10.1.0.0/16 1.1.1.3"]),
)


@given(CODES, st.binary(max_size=64))
def test_octets_of_every_type_come_back(code: int, octets: bytes) -> None:
    """What is read from a packet is written as it was, and its text means the same."""
    kind = option_type(code)
    assert format_value(code, octets).isprintable()
    try:
        value = kind.from_wire(octets)
    except ValueError:
        return
    again = kind.to_wire(value)
    assert kind.from_wire(again) == value
    if code != 119:  # its names may have been compressed
        assert again == octets
    assert kind.from_text(kind.to_text(value)) == value


@given(CODES, TEXTS)
def test_text_of_every_type_comes_back(code: int, text: str) -> None:
    kind = option_type(code)
    try:
        value = kind.from_text(text)
    except ValueError:
        return
    assert kind.from_wire(kind.to_wire(value)) == value
    assert kind.from_text(kind.to_text(value)) == value


SAMPLES = (b"\1", b"\1\0", b"\0\0\1\0", bytes(8), b"\1a\0", b"\0\1\2\3\4", b"\1\1\0")


@pytest.mark.parametrize("code", sorted(TABLE))
def test_every_type_takes_something(code: int) -> None:
    kind = option_type(code)
    found = []
    for sample in SAMPLES:
        try:
            found.append(kind.from_wire(sample))
        except ValueError:
            continue
    assert found
    assert all(kind.from_text(kind.to_text(value)) == value for value in found)


@pytest.mark.parametrize(
    ("code", "octets", "text"),
    [
        (3, "0a0000010a000002", "10.0.0.1, 10.0.0.2"),
        (3, "0a00", "0a:00"),
        (51, "00015180", "86400 s"),
        (53, "01", "DISCOVER"),
        (53, "63", "99"),
        (55, "010306", "1, 3, 6"),
        (67, "612e3000", "a.0"),
        (12, "1b5b30", "\\x1b[0"),
        (43, "060108ff", "06:01:08:ff"),
        (82, "01046574683002020a0b", "1=65:74:68:30, 2=0a:0b"),
        (82, "0105", "01:05"),
        (93, "00070000", "7, 0"),
        (119, "026162016300 0178c000", "ab.c, x.ab.c"),
        (119, "c000", "c0:00"),
        (121, "080a010101010001010102", "10.0.0.0/8 1.1.1.1, 0.0.0.0/0 1.1.1.2"),
        (224, "0102", "01:02"),
        (224, "01", "0x01"),
        (224, "", ""),
    ],
)
def test_values_as_they_are_shown(code: int, octets: str, text: str) -> None:
    assert format_value(code, bytes.fromhex(octets)) == text


def test_what_cannot_be_set_has_a_name_too() -> None:
    assert OWN.keys() <= TABLE.keys()
    with pytest.raises(ValueError, match="can't be set here"):
        parse_option("server-identifier", "10.0.0.1")
