"""``access = uuid``: the clients whose UUID is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from pybootd.access.base import Access, AccessDecision
from pybootd.config.ini import ConfigError, Section
from pybootd.core.client import Client
from pybootd.core.text import parse_flag


class UuidAccess(Access):
    """``[uuid]``: UUID = boolean. It is a list of those who may: the rest is not served.

    An entry may also be written as pybootd 1 wanted it: the octets in the order in which they
    come over the wire, its first three groups reversed (RFC 4578 2.3 sends them little-endian).
    """

    def __init__(self, entries: Mapping[UUID, bool]) -> None:
        self._entries = dict(entries)

    @classmethod
    def from_config(cls, section: Section) -> UuidAccess:
        """Read the list; raises ConfigError with every fault."""
        entries: dict[UUID, bool] = {}
        faults = []
        for option, value in section.options.items():
            try:
                allowed = parse_flag(value)
                if entries.setdefault(_parse(option), allowed) != allowed:
                    faults.append(section.fault(option, "the same UUID above says the contrary"))
            except ValueError as error:
                faults.append(section.fault(option, str(error)))
        if faults:
            raise ConfigError(faults)
        return cls(entries)

    def check(self, client: Client) -> AccessDecision:
        """Decide by the UUID that the client shows, or showed earlier."""
        if client.uuid is None:
            return AccessDecision(None, "not in [uuid]: it has shown no UUID")
        for uuid in (client.uuid, UUID(bytes=client.uuid.bytes_le)):
            allowed = self._entries.get(uuid)
            if allowed is not None:
                return AccessDecision(
                    allowed, f"{uuid} is {'allowed' if allowed else 'blocked'} in [uuid]"
                )
        return AccessDecision(None, f"{client.uuid} is not in [uuid]")


def _parse(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
        raise ValueError(f"{text!r} is not a UUID: write {form}, in hexadecimal") from None
