"""What an access list promises, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pybootd.client import Client
from pybootd.config import Section
from pybootd.loop import Later


@dataclass(frozen=True, slots=True)
class Verdict:
    """May this client be served? ``allow`` None: no opinion, the next one decides.

    ``reason`` is for people ("not in [mac]"). ``error``: nobody could say (an authorization server
    that doesn't answer, say): the request stays unanswered and is logged as an error.
    ``hostname`` and ``file`` are for this client alone, empty where there is nothing to say.
    """

    allow: bool | None
    reason: str
    error: bool = False
    hostname: str = ""
    file: str = ""


class Access(ABC):
    """One access list. A third party's class is found through entry point ``pybootd.access``."""

    @classmethod
    @abstractmethod
    def from_config(cls, section: Section) -> Access:
        """Build it from the section of its own name; raises ConfigError with every fault."""

    @abstractmethod
    def check(self, client: Client) -> Verdict | Later[Verdict]:
        """Decide at once, or say what blocking call decides.

        ``client.uuid`` is the UUID that the client once showed, also in requests that lack it;
        ``client.address`` is the address that it has or had.
        """
