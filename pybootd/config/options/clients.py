"""Who boots what: ``[bootfile]``, ``[client]``, ``[class]``, ``[subnet]``, and the access lists."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pybootd.config import values
from pybootd.config.options.bootp import BootpConfig
from pybootd.config.options.declaration import Option, SectionDeclaration
from pybootd.config.values import ValueParser

MATCH_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "vendor_class": "option 60",
        "user_class": "option 77",
        "architecture": "name or number",
        "mac": "in either letter case",
        "uuid": "in either letter case",
        "hostname": "the name that the client says",
        "relay": "address of the relay",
        "circuit_id": "text, or hexadecimal where the relay sends none",
        "interface": "that the request came in on",
    }
)
"""What a class may look at, and what that is."""

_PREFIX = "MAC or prefix"
_ALLOWED = "``on``: may boot; ``off``: may not."
FILE_OR_URL = ValueParser(values.parse_word, "a file or a URL", free=True)
_HOSTNAME = Option(
    "hostname",
    values.HOSTNAME,
    "Host name that is given to the client.",
    default_text="none",
    example="rack7",
    also=("class",),
)
_VARIABLE = Option(
    "NAME",
    values.WORD,
    "Any other name is a variable for filters and templates.",
    example="release = trixie",
    also=("class",),
    free=True,
)

DHCP_OPTION = Option(
    "option NAME",
    ValueParser(values.parse_word, "a value that fits the option", free=True),
    "A DHCP option for these clients, by name or number, as in ``[options]``: sent to a client"
    " that asks for it; with ``!`` in front of the value, sent always. What ``[client]`` says goes"
    " before ``[class]``, that before ``[subnet]``, that before ``[options]``.",
    example="option 43 = 0104c0a80101\noption tftp-server-name = !10.0.0.5",
    also=("class", "subnet"),
    free=True,
)

BOOTP = SectionDeclaration(
    "bootp", "The DHCP server: BOOTP, DHCP and PXE.", BootpConfig, aliases=("bootpd",)
)
BOOTFILE = SectionDeclaration(
    "bootfile",
    "Boot file by architecture, as the client says it (option 93).",
    extra=(
        Option(
            "ARCHITECTURE",
            FILE_OR_URL,
            "Boot file of one architecture: five digits (``00007``) or a name, such as ``bios``,"
            " ``efi-ia32``, ``efi-x86_64``, ``efi-arm64``, ``http-efi-x86_64``.",
            preset="bios = debian-installer/amd64/pxelinux.0\n"
            "efi-x86_64 = debian-installer/amd64/bootnetx64.efi",
            free=True,
        ),
        Option(
            "default",
            FILE_OR_URL,
            "Boot file when no other entry fits.",
            default_text="none",
            example="debian-installer/amd64/pxelinux.0",
        ),
        Option(
            "ipxe",
            FILE_OR_URL,
            "For a client that already runs iPXE, before its architecture. Required where iPXE"
            " itself is loaded above.",
            default_text="none",
            example="http://192.168.1.1/boot.ipxe",
        ),
    ),
)
STATIC_DHCP = SectionDeclaration(
    "static_dhcp",
    "Addresses that are kept for clients, inside or outside the pool. These clients are allowed"
    " unless ``[mac]`` denies them.",
    extra=(
        Option(
            "MAC",
            values.ADDRESS,
            "Address that is kept for the client.",
            example="AA-BB-CC-DD-EE-FF = 192.168.1.50",
            free=True,
        ),
    ),
)
SUBNET = SectionDeclaration(
    "subnet",
    "One more network, with what differs from ``[bootp]``. It is chosen by the relay's address,"
    " else by the interface's own network.",
    label="NET/LEN",
    sample_label="10.20.0.0/24",
    sample_lines=("pool_start = 10.20.0.100", "pool_count = 50"),
)
CLIENT = SectionDeclaration(
    "client",
    "What is different for one client.",
    label="MAC",
    sample_label="52-54-00-12-34-56",
    sample_lines=("boot_file = shim.efi",),
    extra=(
        Option(
            "address",
            values.ADDRESS,
            "Address that is kept for the client, as in ``[static_dhcp]``.",
            default_text="none",
            example="192.168.1.51",
        ),
        _HOSTNAME,
        DHCP_OPTION,
        _VARIABLE,
    ),
)
CLASS = SectionDeclaration(
    "class",
    "What is different for every client that fits all ``match`` lines. A client's own section goes"
    " before its classes, these in the order in which they stand, then ``[subnet]``, then"
    " ``[bootp]``.",
    label="NAME",
    sample_label="boards",
    sample_lines=("boot_file = board.efi",),
    extra=(
        Option(
            "match FIELD",
            ValueParser(values.parse_word, "a pattern, as in ``[filters]``", free=True),
            "What these clients have in common. The fields: "
            + ", ".join(f"``{name}`` ({what})" for name, what in MATCH_FIELDS.items())
            + ".",
            example="match architecture = *-arm*",
            free=True,
        ),
    ),
)
MAC = SectionDeclaration(
    "mac",
    "Who may boot, with ``access = mac``. The longest prefix decides; a client in no line is"
    " refused.",
    extra=(
        Option(
            _PREFIX,
            values.BOOLEAN,
            _ALLOWED,
            example="AA-BB-CC-DD-EE-FF = on\nAA-BB-CC/24 = off",
            free=True,
        ),
    ),
)
UUID = SectionDeclaration(
    "uuid",
    "Who may boot, with ``access = uuid``. A client in no line is refused.",
    extra=(
        Option(
            "UUID",
            values.BOOLEAN,
            _ALLOWED,
            example="00112233-4455-6677-8899-aabbccddeeff = on",
            free=True,
        ),
    ),
)
HTTP = SectionDeclaration(
    "http",
    "With ``access = http`` a web server is asked who may boot, as"
    " ``{location}{pxe or dhcp}?mac=...&uuid=...``.",
    extra=(
        Option(
            "location",
            values.AS_WRITTEN,
            "URL that the paths are put behind; without a scheme, ``http://``. Required.",
            default="",
            default_text="none",
            example="127.0.0.1:13400",
        ),
        Option(
            "pxe",
            values.AS_WRITTEN,
            "Path that is asked when a request has PXE information, as those of firmware have.",
            default="",
            default_text="none",
            example="/boot",
        ),
        Option(
            "dhcp",
            values.AS_WRITTEN,
            "Path that is asked for any other request.",
            default="",
            default_text="none",
            example="/linux",
        ),
        Option(
            "always_check",
            values.BOOLEAN,
            "Ask at every request, not only when the client's boot stage changes.",
            default=False,
        ),
    ),
)
BUGGY_CLIENTS = SectionDeclaration(
    "buggy_clients",
    "Clients that are answered by broadcast, even where a narrower answer would do.",
    extra=(
        Option(
            _PREFIX,
            values.BOOLEAN,
            "``on``: answer to 255.255.255.255.",
            example="AA-BB-CC/24 = on",
            free=True,
        ),
    ),
)
OPTIONS = SectionDeclaration(
    "options",
    "DHCP options that clients are sent.",
    extra=(
        Option(
            "NAME or number",
            ValueParser(values.parse_word, "a value that fits the option", free=True),
            "Sent to every client that asks for it, in place of what pybootd would send; with"
            " ``!`` in front of the value, sent always. For some clients alone: ``option NAME`` in"
            " ``[client]``, ``[class]`` or ``[subnet]``.",
            example="time-offset = 3600\n161 = !10.0.0.1",
            free=True,
        ),
    ),
)
