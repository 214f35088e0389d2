"""Client system architectures (option 93): their numbers and names."""

from __future__ import annotations

import re
from types import MappingProxyType

# Option 93, client system architecture: RFC 4578 2.1 and IANA "Processor Architecture Types".
# 7 and 9 are swapped in RFC 4578 (erratum 4624): real x64 firmware sends 7.
ARCHITECTURES = MappingProxyType(
    {
        0: "bios",
        1: "pc98",
        2: "efi-itanium",
        3: "dec-alpha",
        4: "arc-x86",
        5: "intel-lean",
        6: "efi-ia32",
        7: "efi-x86_64",
        8: "efi-xscale",
        9: "efi-ebc",
        10: "efi-arm32",
        11: "efi-arm64",
        12: "powerpc",
        13: "powerpc-epapr",
        14: "opal",
        15: "http-efi-ia32",
        16: "http-efi-x86_64",
        17: "http-efi-ebc",
        18: "http-efi-arm32",
        19: "http-efi-arm64",
        20: "http-bios",
        21: "uboot-arm32",
        22: "uboot-arm64",
        23: "http-uboot-arm32",
        24: "http-uboot-arm64",
        25: "efi-riscv32",
        26: "http-efi-riscv32",
        27: "efi-riscv64",
        28: "http-efi-riscv64",
        29: "efi-riscv128",
        30: "http-efi-riscv128",
        31: "s390",
        32: "s390-extended",
        33: "efi-mips32",
        34: "efi-mips64",
        35: "efi-sunway32",
        36: "efi-sunway64",
        37: "efi-loongarch32",
        38: "http-efi-loongarch32",
        39: "efi-loongarch64",
        40: "http-efi-loongarch64",
        41: "rpiboot",
    }
)
BIOS = 0
ARCHITECTURE_CODES = MappingProxyType({name: code for code, name in ARCHITECTURES.items()})


def architecture_name(code: int) -> str:
    """Name an architecture; one that the table lacks goes by its five digits (``00224``)."""
    return ARCHITECTURES.get(code, f"{code:05d}")


def parse_architecture(text: str) -> int:
    """Read an architecture from its name or its number (five digits, or fewer).

    Raises ValueError with a message for people.
    """
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= 0xFFFF:
        return int(text)
    try:
        return ARCHITECTURE_CODES[text.lower()]
    except KeyError:
        problem = f"{text!r} is no architecture: five digits or a name, such as bios or efi-x86_64"
        raise ValueError(problem) from None
