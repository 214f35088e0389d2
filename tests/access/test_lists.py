"""``[mac]`` and ``[uuid]``, and how the configured list is chosen."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from pybootd.access.base import build_access
from pybootd.access.http import HttpAccess
from pybootd.access.mac import MacAccess
from pybootd.access.uuid import UuidAccess
from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.config.options.bootp import BootpConfig
from pybootd.core.client import Client

PATH = Path("pybootd.ini")


def section(name, **options):
    return Section(name, PATH, options, {option: 10 + n for n, option in enumerate(options)})


def mac(text):
    return Client(bytes.fromhex(text.replace("-", "")))


def mac_list(**entries):
    return MacAccess.from_config(section("mac", **entries))


def test_a_mac_is_allowed_blocked_or_unknown():
    access = mac_list(**{"52-54-00-12-34-56": "enable", "52:54:00:ab:cd:ef": "off"})
    verdict = access.check(mac("52-54-00-12-34-56"))
    assert (verdict.allow, verdict.reason) == (True, "52-54-00-12-34-56 is allowed in [mac]")
    verdict = access.check(mac("52-54-00-AB-CD-EF"))
    assert (verdict.allow, verdict.reason) == (False, "52:54:00:ab:cd:ef is blocked in [mac]")
    verdict = access.check(mac("52-54-00-00-00-00"))
    assert (verdict.allow, verdict.reason) == (None, "not in [mac]")


def test_the_longest_prefix_decides_whatever_the_order():
    access = mac_list(
        **{
            "AA-BB-CC-DD/32": "off",
            "AA-BB-CC/24": "on",
            "AA-BB-CC-DD-EE-FF": "on",
            "AA-BB-CC-DD-E0/36": "on",
        }
    )
    assert access.check(mac("AA-BB-CC-00-00-01")).allow is True
    assert access.check(mac("AA-BB-CC-DD-00-01")).allow is False
    assert access.check(mac("AA-BB-CC-DD-E7-01")).allow is True
    assert access.check(mac("AA-BB-CC-DD-EE-FF")).allow is True
    assert access.check(mac("AA-BB-CD-00-00-01")).allow is None


def test_a_list_that_blocks_a_few_allows_the_rest_by_the_empty_prefix():
    access = mac_list(**{"AA-BB-CC/24": "off", "00/0": "on"})
    assert access.check(mac("AA-BB-CC-00-00-01")).allow is False
    assert access.check(mac("52-54-00-00-00-01")).allow is True


@pytest.mark.parametrize("hardware", ["", "5254", "5254001234560102"])
def test_only_the_empty_prefix_holds_clients_without_a_mac(hardware):
    """An InfiniBand client shows no hardware address (RFC 4390 2.1)."""
    assert mac_list(**{"00/0": "on"}).check(mac(hardware)).allow is True
    assert mac_list(**{"00/0": "off"}).check(mac(hardware)).allow is False
    for prefix in ("00/1", "00/8", "52-54/16", "00-00-00-00-00-00"):
        assert mac_list(**{prefix: "on"}).check(mac(hardware)).allow is None


def test_every_fault_of_a_mac_list_is_told():
    with pytest.raises(ConfigError) as caught:
        mac_list(
            **{
                "52-54-00-12-34": "on",
                "52-54-00-12-34-56": "perhaps",
                "AA-BB/49": "on",
                "AA-BB-CC/24": "on",
                "aa:bb:cc:dd/24": "off",
            }
        )
    told = str(caught.value).splitlines()
    assert len(told) == 4
    assert told[0].startswith("pybootd.ini:10: [mac] 52-54-00-12-34: ")
    assert told[1].startswith("pybootd.ini:11: [mac] 52-54-00-12-34-56: 'perhaps' is neither on")
    assert told[2].startswith("pybootd.ini:12: [mac] AA-BB/49: ")
    assert told[3] == "pybootd.ini:14: [mac] aa:bb:cc:dd/24: AA-BB-CC/24 above says the contrary"


LISTED = UUID("00112233-4455-6677-8899-aabbccddeeff")
BLOCKED = UUID("12345678-abcd-ef00-1111-123412341234")


def uuid_list(**entries):
    return UuidAccess.from_config(section("uuid", **entries))


def test_a_uuid_is_allowed_blocked_or_unknown():
    access = uuid_list(**{str(LISTED).upper(): "on", str(BLOCKED): "no"})
    assert access.check(Client(b"", uuid=LISTED)).allow is True
    verdict = access.check(Client(b"", uuid=BLOCKED))
    assert (verdict.allow, verdict.reason) == (False, f"{BLOCKED} is blocked in [uuid]")
    other = UUID(int=1)
    verdict = access.check(Client(b"", uuid=other))
    assert (verdict.allow, verdict.reason) == (None, f"{other} is not in [uuid]")
    assert access.check(Client(b"")).reason == "not in [uuid]: it has shown no UUID"


def test_a_uuid_in_the_order_of_the_wire_is_the_same_one():
    # option 97 of this client: 00 33221100 5544 7766 8899aabbccddeeff
    access = uuid_list(**{"33221100-5544-7766-8899-aabbccddeeff": "on"})
    assert access.check(Client(b"", uuid=LISTED)).allow is True


def test_every_fault_of_a_uuid_list_is_told():
    with pytest.raises(ConfigError) as caught:
        uuid_list(
            **{"1234": "on", str(LISTED): "on", str(LISTED).upper(): "off", str(BLOCKED): "?"}
        )
    assert len(caught.value.faults) == 3


def config(access, sections=(), static=None, timeout=5.0):
    return Config(
        PATH,
        bootp=BootpConfig(access=access, timeout=timeout),
        static=static or {},
        sections={entry.name: entry for entry in sections},
    )


def test_the_configured_list_is_built_from_the_section_of_its_name():
    assert build_access(config("")) is None
    access = build_access(config("MAC", [section("mac", **{"00/0": "on"})]))
    assert isinstance(access, MacAccess)
    access = build_access(config("http", [section("http", location="10.0.0.1")], timeout=2.5))
    assert isinstance(access, HttpAccess)
    assert access.timeout == 2.5


def test_a_list_without_its_section_is_a_fault_unless_static_clients_are_meant():
    for name in ("mac", "uuid", "http"):
        with pytest.raises(ConfigError, match=rf"\[{name}\]: \[bootp\] access = {name} needs"):
            build_access(config(name))
    static = {bytes(6): IPv4Address("10.0.0.9")}
    assert build_access(config("mac", static=static)).check(mac("52-54-00-00-00-01")).allow is None


@pytest.mark.parametrize("used", ["", "uuid"])
def test_a_list_that_is_not_in_use_is_read_all_the_same(used):
    lists = [section("mac", **{"12": "on"}), section("uuid", **{"34": "on"}), section("http")]
    with pytest.raises(ConfigError) as caught:
        build_access(config(used, lists))
    assert {fault.place.section for fault in caught.value.faults} == {"mac", "uuid"}
    assert build_access(config("", [section("mac", **{"00/0": "on"})])) is None


def test_an_unknown_list_is_a_fault_that_stands_where_it_was_written():
    place = Section("bootp", PATH, {"access": "mc"}, {"access": 4})
    with pytest.raises(ConfigError) as caught:
        build_access(config("mc", [place]))
    fault = caught.value.faults[0]
    assert replace(fault, problem="") == place.fault("access", "", "mac")
    assert "there are http, mac, uuid" in fault.problem
