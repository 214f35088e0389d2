"""``[bootfile]``: which file for which architecture (option 93), and for a running iPXE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from pybootd.config.guesses import guess_architecture
from pybootd.config.options.clients import FILE_OR_URL
from pybootd.config.reader import ConfigReader
from pybootd.core.architecture import ARCHITECTURE_CODES, architecture_name, parse_architecture
from pybootd.core.text import did_you_mean

# iPXE as its binaries are named: undionly.kpxe, ipxe-arm64.efi
_IPXE = re.compile(
    r"(?:.*/)?(?:[^/]*\.k{1,3}pxe|(?:undionly|snp|snponly|ipxe)[^/]*\.(?:0|efi|pxe|lkrn))", re.I
)


@dataclass(frozen=True, slots=True)
class BootFileConfig:
    """``[bootfile]``; an empty name is none."""

    default: str = ""
    ipxe: str = ""
    by_architecture: Mapping[int, str] = field(default_factory=dict)


def host_of(boot_file: str) -> str:
    """Return the host that a URL names; empty: it is none, and comes from the TFTP server."""
    try:
        return (urlsplit(boot_file).hostname or "") if "://" in boot_file else ""
    except ValueError:  # a server of somebody else's may name anything
        return ""


def is_ipxe(file: str) -> bool:
    """Tell whether a boot file is iPXE itself, by its name."""
    return _IPXE.fullmatch(re.split("[?#]", file)[0]) is not None


def read_bootfile(reading: ConfigReader) -> BootFileConfig:
    """Read the section, ``[bootp] boot_file`` as its default included."""
    section = reading.section("bootfile")
    words = {"default": reading.section("bootp").options.get("boot_file", ""), "ipxe": ""}
    files: dict[int, str] = {}
    for option, name in section.options.items():
        if not reading.parse_value(section, option, FILE_OR_URL, name):
            continue
        if option.lower() in words:
            words[option.lower()] = name
            continue
        try:
            code = parse_architecture(option)
            if code in files:
                problem = f"{architecture_name(code)} is written twice: keep one"
                reading.faults.append(section.fault(option, problem))
            files[code] = name
        except ValueError as error:
            guess = guess_architecture(option) or did_you_mean(
                option, (*words, *ARCHITECTURE_CODES)
            )
            reading.faults.append(section.fault(option, str(error), guess))
    if not words["ipxe"]:
        _warn_of_loops(reading)
    _warn_of_names(reading)
    return BootFileConfig(words["default"], words["ipxe"], MappingProxyType(files))


def _warn_of_loops(reading: ConfigReader) -> None:
    """Warn of iPXE as a boot file where iPXE in its turn would get nothing else to boot."""
    every = reading.sections.values()
    if any(
        option.lower().startswith("match user_class") for one in every for option in one.options
    ):
        return  # its own class
    for section in every:
        for option, name in section.options.items():
            places = section.name.lower() == "bootfile" or option.lower() == "boot_file"
            if places and is_ipxe(name):
                problem = f"{name} is iPXE, which has nothing to boot then: write [bootfile] "
                reading.warnings.append(section.warning(option, problem + "ipxe = SCRIPT"))
                return


def _warn_of_names(reading: ConfigReader) -> None:
    """Warn of a URL that names its host where clients are told of no name server to ask."""
    bootp = reading.section("bootp").options
    told = {
        option.lower()
        for name, section in reading.sections.items()
        if name == "bootp" or name.startswith("subnet ")
        for option in section.options
    }
    if "dns" in told or bootp.get("mode", "").lower() == "proxy":  # then the other server tells
        return
    section = reading.section("bootfile")
    for option, file in section.options.items():
        host = re.match(r"[a-z+]+://(?:\[[^]]*\]|([^/:?#]*))", file, re.I)
        if host and re.search("[a-z]", host[1] or "", re.I):
            problem = (
                f"clients know no name server to ask for {host[1]}: write [bootp] dns = ADDRESS"
            )
            reading.warnings.append(section.warning(option, problem))
            return
