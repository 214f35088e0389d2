"""``access = mac``: the clients whose MAC, or a prefix of it, is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from pybootd.access.base import Access, AccessDecision
from pybootd.config.ini import ConfigError, Section
from pybootd.core.client import Client
from pybootd.core.mac import MacPrefix, parse_mac_prefix
from pybootd.core.text import parse_flag

_NO_MAC = bytes(6)


class MacAccess(Access):
    """``[mac]``: MAC or prefix = boolean; the longest prefix decides.

    It is a list of those who may: a client that no entry holds is not served. A list that only
    blocks says so of the rest with ``00/0 = on``.
    """

    def __init__(self, entries: Mapping[MacPrefix, tuple[str, bool]]) -> None:
        self._by_length: dict[int, dict[bytes, tuple[str, bool]]] = {}
        for prefix in sorted(entries, key=lambda prefix: -prefix.bits):
            same_length = self._by_length.setdefault(prefix.bits, {})
            same_length[prefix.value] = entries[prefix]

    @classmethod
    def from_config(cls, section: Section) -> MacAccess:
        """Read the list; raises ConfigError with every fault."""
        entries: dict[MacPrefix, tuple[str, bool]] = {}
        faults = []
        for option, value in section.options.items():
            try:
                written, bits = parse_mac_prefix(option)
                allowed = parse_flag(value)
            except ValueError as error:
                faults.append(section.fault(option, str(error)))
                continue
            prefix = MacPrefix(_cut(written, bits), bits)
            first, before = entries.setdefault(prefix, (option, allowed))
            if before != allowed:
                faults.append(section.fault(option, f"{first} above says the contrary"))
        if faults:
            raise ConfigError(faults)
        return cls(entries)

    def check(self, client: Client) -> AccessDecision:
        """Decide by the longest prefix that holds the client's MAC."""
        # 00/0 is every client, also one without a hardware address of six octets
        mac = client.mac if len(client.mac) == 6 else None
        for bits, same_length in self._by_length.items():
            found = same_length.get(_cut(mac or _NO_MAC, bits)) if mac or not bits else None
            if found is not None:
                written, allowed = found
                word = "allowed" if allowed else "blocked"
                return AccessDecision(allowed, f"{written} is {word} in [mac]")
        return AccessDecision(None, "not in [mac]")


def _cut(mac: bytes, bits: int) -> bytes:
    """Keep the first bits of six octets; the others become 0."""
    shift = 48 - bits
    return (int.from_bytes(mac) >> shift << shift).to_bytes(6)
