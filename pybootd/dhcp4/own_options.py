"""``[options]``: the options that the administrator sets."""

from __future__ import annotations

from dataclasses import dataclass

from pybootd.config.ini import ConfigError, Section
from pybootd.config.loader import Config
from pybootd.dhcp4.wire.options import option_name, parse_option


@dataclass(frozen=True, slots=True)
class OwnOption:
    """One option of ``[options]``: its value, and whether clients get it unasked (``!``)."""

    code: int
    value: bytes
    always: bool = False


def read_own_options(config: Config) -> tuple[OwnOption, ...]:
    """Read ``[options]``; raises ConfigError with every fault."""
    section = config.sections.get("options", Section("options"))
    found: dict[int, OwnOption] = {}
    faults = []
    for key, text in section.options.items():
        always = text.startswith("!")
        try:
            code, value = parse_option(key, text[1:] if always else text)
        except ValueError as error:
            faults.append(section.fault(key, str(error)))
            continue
        if code in found:
            faults.append(section.fault(key, f"option {code} ({option_name(code)}) is set twice"))
        found[code] = OwnOption(code, value, always)
    if faults:
        raise ConfigError(faults)
    return tuple(found.values())
