"""The configuration: every value typed, every fault at once, a guess at what was meant."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pybootd.config.ini import ConfigError, parse_ini
from pybootd.config.loader import Config, examine, load
from pybootd.config.options.bootp import BootpConfig


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pybootd.ini"
    path.write_text(text)
    return path


def faults(tmp_path: Path, text: str, services: tuple[str, ...] = ("bootp", "tftp")) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load(path, services)
    return [str(fault).removeprefix(f"{path}") for fault in error.value.faults]


GOOD = """
# a comment
[bootpd]
pool_start = 10.0.0.10
dns = 10.0.0.1; 10.0.0.2, 10.0.0.3
lease_time = 60
[tftpd]
root = ./files
timeout = 0.5
port_range = 20000-20010
[bootfile]
default = any.0
00007 = a.efi
EFI-ARM64 = b.efi
ipxe = http://10.0.0.1/boot.ipxe
[static_dhcp]
aa:bb:cc:dd:ee:ff = 10.0.0.5
[buggy_clients]
AA-BB-CC/24 = yes
aa:bb:cc:dd:ee:ff = no
"""


def test_values_are_typed_and_aliases_are_one(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD))
    assert config.bootp.pool_start == IPv4Address("10.0.0.10")
    assert config.bootp.dns == tuple(map(IPv4Address, ("10.0.0.1", "10.0.0.2", "10.0.0.3")))
    assert config.bootp.max_lease_time == 60
    assert config.tftp.root == str(tmp_path / "files")
    assert config.tftp.timeout == 0.5
    assert config.tftp.port_range == (20000, 20010)
    assert config.bootfile.default == "any.0"
    assert dict(config.bootfile.by_architecture) == {7: "a.efi", 11: "b.efi"}
    assert dict(config.static) == {bytes.fromhex("aabbccddeeff"): IPv4Address("10.0.0.5")}
    assert config.bootfile.ipxe == "http://10.0.0.1/boot.ipxe"
    assert [(prefix.bits, buggy) for prefix, buggy in config.buggy] == [(48, False), (24, True)]
    assert not config.warnings


def test_five_different_faults_are_told_at_once(tmp_path: Path) -> None:
    text = """[bootp]
pool_start = 10.0.0.300
allow_simple_dhcp = maybe
pool_cuont = 4
[logger]
level = wraning
[tftp]
blocksize = 70000
"""
    assert faults(tmp_path, text) == [
        ":2: [bootp] pool_start: '10.0.0.300' is no IPv4 address: four numbers from 0 to 255,"
        " as in 192.168.1.1",
        ":3: [bootp] allow_simple_dhcp: 'maybe' is neither on nor off: write on or off",
        ":6: [logger] level: 'wraning': expected one of critical, error, warning, info, debug"
        " (did you mean warning?)",
        ":8: [tftp] blocksize: 70000 is not from 8 to 65464",
        ":4: [bootp] pool_cuont: warning: unknown option, ignored (did you mean pool_count?)",
    ]


def test_faults_of_form_are_told_with_the_others(tmp_path: Path) -> None:
    text = """early = 1
[bootp]
pool_start = 10.0.0.10
pool_start = 10.0.0.11
just words
lease_time = never
[bootp]
[bootpd]
[tftp]
root = .
"""
    assert faults(tmp_path, text) == [
        ":1: early: stands before the first [section]",
        ":4: [bootp] pool_start: written twice, first in line 3",
        ":5: [bootp]: 'just words' is no setting: write option = value",
        ":6: [bootp] lease_time: 'never' is not an integer, from 1 to 4294967295"
        " (did you mean 4294967295?)",
        ":7: [bootp]: section written twice, first in line 2",
        ":8: [bootpd]: the same as [bootp] in line 2: keep one",
    ]


def test_what_a_service_needs_is_required_of_that_service_alone(tmp_path: Path) -> None:
    assert load(write(tmp_path, "[tftp]\nroot = .\n"), ("tftp",))
    assert load(write(tmp_path, "[bootp]\npool_start = 10.0.0.1\n"), ("bootp",))
    assert len(faults(tmp_path, "")) == 1
    (said,) = faults(tmp_path, "[tftp]\nroot = .\n")  # who wants no more is told how
    assert said.endswith("(files alone: pybootd -t)")


def test_the_http_server_has_the_root_of_tftp_or_its_own(tmp_path: Path) -> None:
    httpd = load(write(tmp_path, "[tftp]\nroot = .\n[httpd]\nport = 81\n"), ("httpd",)).httpd
    assert (httpd.root, httpd.port, httpd.address) == ("", 81, IPv4Address("0.0.0.0"))
    text = "[bootp]\naddress = 10.0.0.1\n[httpd]\nroot = ./x\ncheck_ip = on\n"
    httpd = load(write(tmp_path, text), ("httpd",)).httpd
    assert (httpd.root, httpd.check_ip) == (str(tmp_path / "x"), True)
    assert httpd.address == IPv4Address("10.0.0.1")
    assert faults(tmp_path, "[httpd]\nport = 0\n", ("bootp", "httpd"))[-1].startswith(
        ":2: [httpd] port: 0 is not from 1"
    )


def test_the_section_of_an_access_list_is_known(tmp_path: Path) -> None:
    text = "[bootp]\npool_start = 10.0.0.1\naccess = badge\n[badge]\ncolour = red\n"
    config = load(write(tmp_path, text), ("bootp",))
    assert config.sections["badge"].options == {"colour": "red"}
    assert not config.warnings


def test_a_section_that_nobody_knows_is_a_warning(tmp_path: Path) -> None:
    text = "[tftp]\nroot = .\n[botfile]\ndefault = x\n"
    warnings = load(write(tmp_path, text), ("tftp",)).warnings
    assert [str(warning).rpartition(".ini")[2] for warning in warnings] == [
        ":3: [botfile]: warning: unknown section, ignored (did you mean [bootfile]?)"
    ]


def test_an_option_in_the_wrong_section_is_told_where_it_belongs(tmp_path: Path) -> None:
    text = "[bootp]\npool_start = 10.0.0.1\nRoot = .\n[tftp]\nroot = .\npool_count = 3\n"
    warnings = [str(warning) for warning in load(write(tmp_path, text)).warnings]
    assert [one.partition("ignored ")[2] for one in warnings] == [
        "(did you mean [tftp] root?)",
        "(did you mean [bootp] pool_count?)",  # not upload_count, which [tftp] has
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[bootp]\nlease_time = 60\nmax_lease_time = 30\n", "less than lease_time"),
        ("[bootp]\nnotify = 10.0.0.1\n", "write a.b.c.d:port"),
        ("[buggy_clients]\naa:bb:cc = on\n", "is a part of a MAC: write all of it, or aa:bb:cc/24"),
        ("[buggy_clients]\nAA-BB/24 = on\n", "24 bits are more than AA-BB holds"),
        ("[bootp]\nnetmask = 255.0.255.0\n", "no netmask, such as 255.255.255.0"),
        ("[bootp]\nnetmask = 24\n", "no netmask, such as 255.255.255.0"),
        ("[bootp]\nleases = mysql://u:p@db/x\n", "leases: mysql:// is no database for leases"),
        ("[bootfile]\nefi = a\n", "a name, such as bios or efi-x86_64"),
        ("[bootp]\ngateway = selv\n", "nor none nor self"),
        ("[logger]\ntype = file\n", "file: required with type = file"),
        ("[tftp]\nport_range = 9-3\n", "no range of ports"),
        ("[tftp]\ntimeout = soon\n", "no number of seconds"),
        ("[bootfile]\nefi-x86-64 = a\n", "did you mean efi-x86_64?"),
        ("[bootfile]\n00007 =\n", "has no value"),
        ("[static_dhcp]\nAA-BB = 10.0.0.1\n", "no MAC address"),
        (
            "[static_dhcp]\nAA-BB-CC-DD-EE-FF = 10.0.0.1\nAA-BB-CC-DD-EE-FE = 10.0.0.1\n",
            "kept for another MAC",
        ),
        ("[bootp]\npool_start = 255.255.255.250\npool_count = 100\n", "out of IPv4"),
        ("[security]\nuser = no-such", "'no-such' is no user here"),
        ("[security]\nuser = root\ngroup = no-such", "'no-such' is no group here"),
        ("[security]\ngroup = root", "[security] user: required with group"),
    ],
)
def test_a_faulty_value_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in fault for fault in faults(tmp_path, text))


def test_a_file_that_is_missing_or_no_text_is_one_clear_line(tmp_path: Path) -> None:
    config, found = examine(tmp_path / "none.ini", ("bootp", "tftp"))
    assert isinstance(config, Config)
    assert [fault.problem for fault in found] == [
        "can't be read: No such file or directory: name another file with -c"
    ]
    path = tmp_path / "binary.ini"
    path.write_bytes(b"[tftp]\nroot = \xff\xfe\n")
    found = examine(path, ("tftp",))[1]
    assert [(fault.place.line, fault.problem) for fault in found] == [
        (2, "not UTF-8 text: save the file as UTF-8")
    ]


def test_indented_options_are_options(tmp_path: Path) -> None:
    text = "[bootp]\n  pool_start = 10.0.0.1\n  pool_count = 3\n"
    assert load(write(tmp_path, text), ("bootp",)).bootp.pool_count == 3


def test_a_line_that_an_indent_makes_part_of_the_one_above_is_a_warning(tmp_path: Path) -> None:
    """Else a pool's size, or a whole section, were silently part of a boot file's name."""
    text = "[tftp]\nroot = .\n[bootp]\npool_start = 10.0.0.1\ndns = 10.0.1.2,\n  10.0.1.3\n"
    assert not load(write(tmp_path, text)).warnings
    text += "boot_file = a.0\n\tpool_count = 3\n  [httpd]\n  [boot.lst]/x\n; [a]\n"
    config = load(write(tmp_path, text))
    assert (config.bootp.pool_count, config.httpd.enable) == (10, False)
    said = [str(warning).partition(":")[2] for warning in config.warnings]
    assert [one.partition("; ")[0] for one in said] == [
        "8: [bootp] pool_count: warning: indented, so it is read as a part of line 7",
        "9: [httpd]: warning: indented, so it is read as a part of line 7",
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[bootfile]\nbios = undionly.kpxe\nefi-x86_64 = ipxe.efi\n", 1),
        ("[bootfile]\nbios = undionly.kpxe\nipxe = boot.ipxe\n", 0),
        ("[bootfile]\nbios = pxelinux.0\n", 0),
    ],
)
def test_ipxe_that_would_load_itself_is_a_warning(tmp_path: Path, text: str, count: int) -> None:
    path = write(tmp_path, f"[bootp]\npool_start = 10.0.0.10\n{text}[tftp]\nroot = .\n")
    warnings = list(map(str, load(path).warnings))
    assert len(warnings) == count
    if count:
        assert ":4: [bootfile] bios: warning: undionly.kpxe is iPXE" in warnings[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tftp]\nroot = .\n[httpd]\n[tftp]\n[httpd]\nroot = x\nroot = y\n", [4, 5, 7]),
        ("[tftp]\nroot = .\n[bootp]\nleases = a\0b\n", [4]),
    ],
)
def test_what_once_ended_in_a_traceback(tmp_path: Path, text: str, said: list[int]) -> None:
    """Found by mutating the sample: a section written twice with others between, a NUL."""
    found = faults(tmp_path, text, ("tftp", "httpd"))
    assert [int(fault.split(":")[1]) for fault in found] == said


@pytest.mark.parametrize("indent", [" ", "\t", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_what_continues_a_refused_line_is_left_out_with_it(tmp_path: Path, indent: str) -> None:
    """Else it continued the option before, and that option's followers stood in no line."""
    text = f"[tftp]\nroot = .\nport = 1\nport = 2\n{indent}[httpd]\nport = 3\nretries = x\n"
    sections, faults = parse_ini(text, tmp_path)
    assert sections["tftp"].options == {"root": ".", "port": "1", "retries": "x"}
    assert sections["tftp"].lines == {"root": 2, "port": 3, "retries": 7}
    assert [fault.place.line for fault in faults] == [4, 6]


@pytest.mark.parametrize(
    ("bootp", "url", "warned"),
    [
        ("", "http://boot.example/x.efi", True),
        ("dns = 10.0.0.1\n", "http://boot.example/x.efi", False),
        ("mode = proxy\n", "http://boot.example/x.efi", False),
        ("", "http://10.0.0.1:8080/x.efi", False),
        ("", "boot/x.efi", False),
    ],
)
def test_a_url_with_a_name_wants_a_name_server(
    tmp_path: Path, bootp: str, url: str, warned: bool
) -> None:
    text = f"[bootp]\npool_start = 10.0.0.10\n{bootp}[bootfile]\nhttp-efi-x86_64 = {url}\n"
    warnings = load(write(tmp_path, text), ("bootp",)).warnings
    assert bool(warnings) is warned
    assert not warned or "no name server to ask for boot.example" in str(warnings[0])


def test_an_option_written_twice_in_other_letters(tmp_path: Path) -> None:
    (said,) = faults(tmp_path, "[tftp]\nroot = .\nPort = 1\nport = 2\n", ("tftp",))
    assert said == ":4: [tftp] port: written twice, first in line 3"


def test_a_comment_behind_a_value_is_explained(tmp_path: Path) -> None:
    (said,) = faults(tmp_path, "[tftp]\nroot = .\nport = 69 ; as usual\n", ("tftp",))
    assert said.endswith("a comment needs its own line (did you mean 69?)")


@pytest.mark.parametrize(
    "line", ["[bootp]\nboot_file = a.0 ; BIOS", "[bootfile]\nbios = a.0 # BIOS"]
)
def test_a_comment_in_the_name_of_a_file_is_a_warning(tmp_path: Path, line: str) -> None:
    """Else such a name was sent to machines, and --check found no fault."""
    warnings = load(write(tmp_path, f"{line}\n[tftp]\nroot = .;\n"), ("tftp",)).warnings
    assert [str(one).endswith("a comment needs its own line") for one in warnings] == [True]


def test_what_no_terminal_shows_does_not_split_or_color_a_fault(tmp_path: Path) -> None:
    """Found by fuzzing: a name that holds a form feed, a line separator, an escape."""
    text = (
        "a\x0cb\u2028c\x1b[2J = 1\n[bootp]\npool_start = 10.0.0.10\nx\x85y = 2\n[tftp]\nroot = .\n"
    )
    found = faults(tmp_path, text)
    assert found[0] == r":1: a\x0cb\u2028c\x1b[2J: stands before the first [section]"
    assert all(fault.isprintable() for fault in found)


def test_leases_of_several_daemons(tmp_path: Path) -> None:
    url = "postgresql://boot@db.example/leases?sslmode=verify-full"
    pool = "[tftp]\nroot = .\n[bootp]\npool_start = 10.0.0.10\n"
    bootp = load(write(tmp_path, f"{pool}leases = {url}\nlease_copy = copy.db\n")).bootp
    assert (bootp.leases, bootp.shared, bootp.lease_copy) == (url, True, str(tmp_path / "copy.db"))
    # not the file of the time before, whose leases would be taken for what the database lost
    bootp = load(write(tmp_path, f"{pool}leases = {url}\n")).bootp
    assert bootp.lease_copy not in ("none", BootpConfig().leases)
    bootp = load(write(tmp_path, f"{pool}leases = {url}\nlease_copy = none\nshare = 2/3\n")).bootp
    assert (bootp.lease_copy, bootp.share) == ("none", (2, 3))
    bootp = load(write(tmp_path, f"{pool}leases = leases.db\n")).bootp
    assert (bootp.leases, bootp.shared) == (str(tmp_path / "leases.db"), False)
    (fault,) = faults(tmp_path, f"{pool}share = 4/3\n")
    assert "share: a part of the clients, as 1/3, 2/3 and 3/3 on three servers" in fault
